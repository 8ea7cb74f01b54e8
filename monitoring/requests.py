"""What the service was asked, by its log: one more source beside the monthly scores.

Read in groups of files with bounded memory; what cannot be read is named (`request_files.py`).
Nothing here alarms: who is asked about is the callers' choice, and changes with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.duck import connect, parquet, quoted
from configs.settings import Compute
from monitoring.drift import psi
from monitoring.facts import FeatureShares, Requests
from monitoring.request_files import list_files, read_each

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEWEST = 100  # answers on each side: with fewer nothing is compared
MOST_SCORES = 1_000_000  # that are compared: of more, so many are taken by their hash
SCORES = "batch scores"


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

    model: its name; a log may hold those of several presets.  features: those of the version that
    answers, dicts of name and categories as in `bundle.json`; of each feature that the log has, the
    shares of missing and of unseen values are said.  scores: Parquet files of batch scores
    (probability, version) to compare with; or earlier: another period of the log. In both only the
    version counts that answered most.  spill: where DuckDB may.
    """
    found = list_files(folder, since, until)
    with connect(spill, compute) as connection:
        _make_table(connection)
        shares = _Shares(features)
        left_out = list(found.left_out) + _load(connection, found.files, model, 0, shares)
        rows, days, customers = _one(
            connection,
            "SELECT count(*), count(DISTINCT day), count(DISTINCT customer) FROM answers",
        )
        versions = connection.execute(
            "SELECT version, count(*) FROM answers GROUP BY ALL ORDER BY 2 DESC, 1 DESC"
        ).fetchall()
        if not rows:
            text = "The service was asked nothing in this period, or keeps no log of it."
            return Requests(str(since), str(until), "none", left_out=tuple(left_out), text=text)
        version, beside, other = versions[0][0], "", np.empty(0)
        now = _scores_of(connection, 0, version)
        if scores:
            beside = SCORES
            other = _batch_scores(connection, scores, version)
        elif earlier:
            beside = f"{earlier[0]} to before {earlier[1]}"
            before = list_files(folder, *earlier)
            left_out += list(before.left_out) + _load(connection, before.files, model, 1, None)
            other = _scores_of(connection, 1, version)
    enough = min(len(now), len(other)) >= FEWEST
    result = Requests(
        since=str(since),
        until=str(until),
        state="ok" if rows >= FEWEST else "too_few",
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
        features=shares.result(),
        left_out=tuple(left_out),
    )
    return Requests(**{**vars(result), "text": in_words(result, len(other))})


def deciles(now: np.ndarray, before: np.ndarray) -> tuple[float, ...]:
    """The share of `now` (n,) in each decile of `before` (m,): ten numbers that add up to 1, each
    .1 where nothing has changed. A value on an edge belongs to the decile below it."""
    edges = np.quantile(before, np.linspace(0.1, 0.9, 9))
    counts = np.bincount(np.searchsorted(edges, now, side="left"), minlength=10)
    return tuple((counts / len(now)).tolist())


def in_words(found: Requests, others: int) -> str:
    """What was read, in sentences. others: how many scores it is compared with."""
    answered = ", ".join(f"version {number}: {count:,}" for number, count in found.versions)
    text = f"{found.rows:,} answers on {found.days} day{'s' * (found.days != 1)} ({answered})"
    if found.state == "too_few":
        return f"{text}: too few to say more, {FEWEST} are needed."
    text += f"; mean probability of version {found.version} {found.mean:.3f}"
    if found.psi is not None and found.mean_beside is not None:
        text += f", {found.beside} {found.mean_beside:.3f}; PSI {found.psi:.2f}"
    elif found.beside:
        text += f"; {found.beside}: {others:,} by this version, too few to compare with"
    return f"{text}."


class _Shares:
    """Missing and unseen values, counted feature by feature over all files."""

    def __init__(self, features: Sequence[Mapping[str, Any]]) -> None:
        self._codes = {one["name"]: len(one.get("categories") or ()) for one in features}
        self.rows: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()

    def query(self, names: Sequence[str]) -> tuple[list[str], str]:
        """The features among these, and SQL for two counts of each: rows without a value, and
        values that are none of the categories (the code after the last)."""
        wanted = [name for name in names if name in self._codes]
        counts = []
        for name in wanted:
            value = f"features.{quoted(name)}"
            unseen = f"{value} = {self._codes[name]}" if self._codes[name] else "false"
            counts += [f"count(*) FILTER ({value} IS NULL)", f"count(*) FILTER ({unseen})"]
        return wanted, ", ".join(counts)

    def add(self, wanted: Sequence[str], rows: int, counts: Sequence[int]) -> None:
        for place, name in enumerate(wanted):
            self.rows[name] += rows
            self._missing[name] += counts[2 * place]
            self._unseen[name] += counts[2 * place + 1]

    def result(self) -> tuple[FeatureShares, ...]:
        return tuple(
            FeatureShares(
                name,
                self._missing[name] / self.rows[name],
                self._unseen[name] / self.rows[name] if categories else None,
            )
            for name, categories in self._codes.items()
            if self.rows[name]
        )


def _make_table(connection: DuckDBPyConnection) -> None:
    """period: 0, the one that is read; 1, the one that it is compared with."""
    connection.execute("""
        CREATE TABLE answers (
            period TINYINT, day DATE, version INTEGER, customer VARCHAR, probability DOUBLE
        )
    """)


def _load(
    connection: DuckDBPyConnection,
    files: Sequence[Path],
    model: str,
    period: int,
    shares: _Shares | None,
) -> list[str]:
    """Take the answers in, and count missing values; returns the files that could not be read."""
    left_out: list[str] = []
    for names, group in _by_features(files, left_out, shares is not None).items():
        wanted, counts = shares.query(names) if shares else ([], "")

        def read(connection: DuckDBPyConnection, rows: str) -> None:
            found = ()
            if wanted:  # noqa: B023  (called before the next turn)
                found = _one(
                    connection,
                    f"SELECT count(*), {counts} FROM {rows} WHERE model = ?",  # noqa: B023
                    [model],
                )
            connection.execute(
                f"""INSERT INTO answers
                SELECT {period}, CAST(asked_at AS DATE), version, customer, probability
                FROM {rows} WHERE model = ?""",
                [model],
            )
            if shares and found:  # once it is known that the files can be read
                shares.add(wanted, found[0], found[1:])  # noqa: B023

        left_out += read_each(connection, group, read)
    return left_out


def _by_features(
    files: Sequence[Path], left_out: list[str], needed: bool
) -> dict[tuple[str, ...], list[Path]]:
    """The files by the features that they have: those of two champions may differ, and a feature
    that a file does not have is not one that is missing. needed: else they are not looked into."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not needed:
        return {(): list(files)}
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        try:
            kind = pq.read_schema(file).field("features").type
            names = tuple(kind.field(place).name for place in range(kind.num_fields))
        except (OSError, KeyError, pa.ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            left_out.append(f"{file.parent.name}/{file.name}: it cannot be read ({reason})")
        else:
            groups.setdefault(names, []).append(file)
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
    found = connection.execute(query).fetchnumpy()["probability"]
    return np.asarray(found, dtype=np.float64)


def _one(connection: DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    (row,) = connection.execute(query, list(values)).fetchall()
    return row
