"""Summarise the requests to the service from its log: one more source beside the monthly scores.

Read in groups of files with bounded memory; what cannot be read is named (`request_files.py`).
Nothing here alarms: which customers the clients send is their choice, and changes with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.duck import connect, parquet, quoted
from configs.settings import Compute
from monitoring.drift import psi
from monitoring.facts import FeatureShares, Requests
from monitoring.request_files import list_files, read_each

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEWEST = 100  # answers on each side: with fewer nothing is compared
MOST_SCORES = 1_000_000  # that are compared: of more, so many are taken by their hash
SCORES = "batch scores"
# period: 0, the one that is read; 1, the one that it is compared with.
ANSWERS = """
CREATE TABLE answers (
    period TINYINT, day DATE, request BIGINT, version INTEGER, customer VARCHAR, probability DOUBLE
)
"""


def read_requests(
    folder: Path,
    model: str,
    since: date,
    until: date,
    *,
    features: Sequence[Mapping[str, Any]] = (),
    scores: Sequence[Path] = (),
    earlier: tuple[date, date] | None = None,
    compute: Compute | None = None,
    spill: Path | None = None,
) -> Requests:
    """Read the log of requests in `folder` of the days from `since` to before `until`.

    model: its name; a log may hold those of several presets.  features: those of the champion,
    dicts of name and categories as in `bundle.json`.  scores: Parquet files of batch scores
    (probability, version).  earlier: another period of the log, from a day to before a day: the
    shares of missing and unseen values are compared with it, and so are the scores where there are
    too few batch scores. Scores are compared of the version alone that answered most.  spill: where
    DuckDB may.
    """
    log_files = list_files(folder, since, until)
    with connect(spill, compute) as connection:
        connection.execute(ANSWERS)
        shares, shares_before = _Shares(features), _Shares(features)
        left_out = list(log_files.left_out) + _load(connection, log_files.files, model, 0, shares)
        requests, rows, days, customers = _one(
            connection,
            "SELECT count(DISTINCT request), count(*), count(DISTINCT day),"
            " count(DISTINCT customer) FROM answers",
        )
        versions = connection.execute(
            "SELECT version, count(*) FROM answers GROUP BY ALL ORDER BY 2 DESC, 1 DESC"
        ).fetchall()
        if not rows:
            text = "The service had no request in this period, or keeps no log of them."
            return Requests(str(since), str(until), "none", left_out=tuple(left_out), text=text)
        version = versions[0][0]
        now = _scores_of(connection, 0, version)
        beside, other = "", np.empty(0)
        if scores:
            beside, other = SCORES, _batch_scores(connection, scores, version)
        if earlier:
            before = list_files(folder, *earlier)
            left_out += before.left_out
            left_out += _load(connection, before.files, model, 1, shares_before)
            then = _scores_of(connection, 1, version)
            if len(then) > len(other) and len(other) < FEWEST:
                beside, other = f"{earlier[0]} to {earlier[1] - timedelta(days=1)}", then
    enough = min(len(now), len(other)) >= FEWEST
    result = Requests(
        since=str(since),
        until=str(until),
        state="ok" if rows >= FEWEST else "too_few",
        requests=requests or None,
        rows=rows,
        days=days,
        customers=customers,
        versions=tuple((int(number), count) for number, count in versions),
        version=version,
        mean=float(now.mean()),
        beside=beside,
        mean_beside=float(other.mean()) if len(other) else None,
        deciles=deciles(now, other) if enough else (),
        psi=psi(now, other) if enough else None,
        features=shares.result(shares_before),
        left_out=tuple(left_out),
    )
    return replace(result, text=in_words(result, len(other)))


def deciles(now: np.ndarray, before: np.ndarray) -> tuple[float, ...]:
    """Compute the share of `now` (n,) in each decile of `before` (m,): ten numbers that add up to
    1, each .1 where nothing has changed. A value on an edge belongs to the decile below it."""
    edges = np.quantile(before, np.linspace(0.1, 0.9, 9))
    counts = np.bincount(np.searchsorted(edges, now, side="left"), minlength=10)
    return tuple((counts / len(now)).tolist())


def in_words(requests: Requests, others: int) -> str:
    """Describe the figures in a sentence. others: how many scores they are compared with."""
    answered = ", ".join(f"version {number}: {count:,}" for number, count in requests.versions)
    text = (
        f"{requests.rows:,} answers on {requests.days} day{'s' * (requests.days != 1)} ({answered})"
    )
    if requests.state == "too_few":
        return f"{text}: too few to say more, {FEWEST} are needed."
    text += f"; mean probability of version {requests.version} {requests.mean:.3f}"
    if requests.psi is not None and requests.mean_beside is not None:
        text += f", {requests.beside} {requests.mean_beside:.3f}; PSI {requests.psi:.2f}"
    elif requests.beside:
        text += f"; {requests.beside}: {others:,} by this version, too few to compare with"
    return f"{text}."


class _Shares:
    """Missing and unseen values, counted feature by feature over all files."""

    def __init__(self, features: Sequence[Mapping[str, Any]]) -> None:
        self._codes = {one["name"]: len(one.get("categories") or ()) for one in features}
        self.rows: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()

    def query(self, names: Sequence[str]) -> tuple[list[str], str]:
        """Return the known features among these, and SQL for two counts of each: rows without a
        value, and values that are not one of the categories (the code after the last)."""
        selected = [name for name in names if name in self._codes]
        counts = []
        for name in selected:
            value = f"features.{quoted(name)}"
            unseen = f"{value} = {self._codes[name]}" if self._codes[name] else "false"
            counts += [f"count(*) FILTER ({value} IS NULL)", f"count(*) FILTER ({unseen})"]
        return selected, ", ".join(counts)

    def add(self, names: Sequence[str], rows: int, counts: Sequence[int]) -> None:
        for place, name in enumerate(names):
            self.rows[name] += rows
            self._missing[name] += counts[2 * place]
            self._unseen[name] += counts[2 * place + 1]

    def result(self, before: _Shares) -> tuple[FeatureShares, ...]:
        """Return the shares, with those of the period before."""
        return tuple(
            FeatureShares(name, *self._of(name, 1), *before._of(name, FEWEST))
            for name in self._codes
            if self.rows[name]
        )

    def _of(self, name: str, fewest: int) -> tuple[float | None, float | None]:
        """Return the shares of missing and of unseen values; None where there are too few rows, and
        for unseen values where the feature has no categories."""
        rows = self.rows[name]
        if rows < fewest:
            return None, None
        unseen = self._unseen[name] / rows if self._codes[name] else None
        return self._missing[name] / rows, unseen


def _load(
    connection: DuckDBPyConnection, files: Sequence[Path], model: str, period: int, shares: _Shares
) -> list[str]:
    """Load the responses and count missing values; returns the files that could not be read."""
    left_out: list[str] = []
    for (numbered, names), group in _by_columns(files, left_out).items():
        request = "request" if numbered else "NULL"
        insert = f"""INSERT INTO answers
            SELECT {period}, CAST(asked_at AS DATE), {request}, version, customer, probability"""
        selected, counts = shares.query(names)
        read = partial(_read_group, model, insert, selected, counts, shares)
        left_out += read_each(connection, group, read)
    return left_out


def _read_group(
    model: str,
    insert: str,
    selected: Sequence[str],
    counts: str,
    shares: _Shares,
    connection: DuckDBPyConnection,
    rows: str,
) -> None:
    """Load files with the same columns. rows: SQL of their rows."""
    counted = ()
    if selected:
        counted = _one(
            connection, f"SELECT count(*), {counts} FROM {rows} WHERE model = ?", [model]
        )
    connection.execute(f"{insert} FROM {rows} WHERE model = ?", [model])
    if counted:  # counted once it is known that the files can be read
        shares.add(selected, counted[0], counted[1:])


def _by_columns(
    files: Sequence[Path], left_out: list[str]
) -> dict[tuple[bool, tuple[str, ...]], list[Path]]:
    """The files by what they have: whether requests are numbered, which earlier versions of the
    project did not do, and the features. Those of two champions may differ, and a feature that a
    file does not have is not one that is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups: dict[tuple[bool, tuple[str, ...]], list[Path]] = {}
    for file in files:
        try:
            schema = pq.read_schema(file)
            kind = schema.field("features").type
            names = tuple(kind.field(place).name for place in range(kind.num_fields))
        except (OSError, KeyError, pa.ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            left_out.append(f"{file.parent.name}/{file.name}: it cannot be read ({reason})")
        else:
            groups.setdefault(("request" in schema.names, names), []).append(file)
    return groups


def _scores_of(connection: DuckDBPyConnection, period: int, version: int) -> np.ndarray:
    return _numbers(
        connection,
        f"""SELECT probability FROM answers WHERE period = {period} AND version = {version}
        ORDER BY hash(day, customer, probability) LIMIT {MOST_SCORES}""",
    )


def _batch_scores(
    connection: DuckDBPyConnection, scores: Sequence[Path], version: int
) -> np.ndarray:
    return _numbers(
        connection,
        f"""SELECT probability FROM {parquet(list(scores))} WHERE version = {version}
        ORDER BY hash(customer_id, as_of) LIMIT {MOST_SCORES}""",
    )


def _numbers(connection: DuckDBPyConnection, query: str) -> np.ndarray:
    values = connection.execute(query).fetchnumpy()["probability"]
    return np.asarray(values, dtype=np.float64)


def _one(connection: DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    (row,) = connection.execute(query, list(values)).fetchall()
    return row
