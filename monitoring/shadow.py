"""Compare a challenger in shadow with the champion: their predictions for the same rows.

Both predictions are in one row of the shadow's log (`serving.shadow`), so only the labels have to
be joined, later. A pair shares everything that makes a season or a group of customers easy or hard
to predict, so the difference of two models shows long before the level of either does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.customer_hash import hashed
from common.duck import connect, parquet
from common.statistics import clustered_error, components, log_losses, rank
from configs.settings import Compute, Features, Gate
from features.engine import make, read_log
from monitoring.facts import ShadowComparison
from monitoring.performance import clustered_mean, low_high
from monitoring.request_files import list_files, read_each

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEWEST = 100  # pairs: with fewer nothing is compared
FEWEST_LABELS = 50  # rows of each outcome: with fewer the labels are not used
MOST_LABELLED = 1_000_000  # rows: of more, so many are taken by their hash
COLUMNS = (
    *("asked_at", "request", "row", "customer", "as_of", "probability", "decision", "seconds"),
    *("call_rows", "champion_probability", "champion_decision", "champion_seconds"),
    "champion_call_rows",
)


@dataclass(frozen=True)
class Purchases:
    """Where the labels of the pairs come from. transactions: valid rows in canonical columns.

    key: of the hashes (`common/customer_hash.py`).  known_until: the first day whose rows are not
    known."""

    transactions: Path | list[Path]
    settings: Features
    key: bytes
    known_until: date


def compare_shadow(
    folder: Path,
    model: str,
    champion: int,
    challenger: int,
    *,
    since: date = date.min,
    until: date = date.max,
    purchases: Purchases | None = None,
    compute: Compute | None = None,
    spill: Path | None = None,
) -> ShadowComparison:
    """Compare the predictions of two versions for the same rows, from the log of the shadow in
    `folder`.

    model: its name.  since, until: days, the last not counted.  purchases: none: without labels. A
    row has the label of its customer at its as-of date, where the request named one, or at the day
    of the request; it is ripe a horizon later. Of a customer who was scored several times for
    one date the last row counts.  spill: where DuckDB may.
    """
    log_files = list_files(folder, since, until)
    blank = ShadowComparison(model, champion, challenger, "none")
    with connect(spill, compute) as connection:
        connection.execute("""
            CREATE TABLE pairs (
                asked_at TIMESTAMP, request BIGINT, "row" INTEGER, customer VARCHAR, as_of DATE,
                probability DOUBLE, decision BOOLEAN, seconds DOUBLE, call_rows INTEGER,
                champion_probability DOUBLE, champion_decision BOOLEAN, champion_seconds DOUBLE,
                champion_call_rows INTEGER
            )
        """)

        def read(connection: DuckDBPyConnection, rows: str) -> None:
            names = ", ".join(f'"{name}"' for name in COLUMNS)
            connection.execute(
                f"""INSERT INTO pairs SELECT {names} FROM {rows}
                WHERE model = ? AND version = ? AND champion_version = ?""",
                [model, challenger, champion],
            )

        left_out = (*log_files.left_out, *read_each(connection, log_files.files, read))
        blank = replace(blank, left_out=left_out)
        result = _agreement(connection, blank)
        if result.rows:
            result = replace(result, **_timed(connection))
        if result.rows and purchases is not None:
            result = replace(result, **_labelled(connection, purchases))
    return replace(result, text=in_words(result))


def harm(pairs: ShadowComparison, limits: Gate) -> tuple[str, ...]:
    """List the reasons why the challenger should not become champion, in sentences. Too few rows
    are not one: the caller counts them."""
    reasons = []
    if pairs.no_answer:
        reasons.append(
            f"it has no probability for {pairs.no_answer:,} of {pairs.rows + pairs.no_answer:,}"
            " rows that the champion answered"
        )
    named = "decisions", pairs.agreement
    if pairs.agreement is None:
        named = "rankings (Spearman)", pairs.rank_correlation
    if named[1] is not None and named[1] < limits.shadow_agreement:
        reasons.append(
            f"the agreement of the two {named[0]} is {named[1]:.2f}, at least"
            f" {limits.shadow_agreement:g} is required (gate.shadow_agreement)"
        )
    slow = pairs.challenger_p99_ms
    if slow is not None and slow > limits.max_latency_ms:
        reasons.append(
            f"a row takes {slow:.2f} ms (99th percentile), at most {limits.max_latency_ms:g} are"
            " allowed (gate.max_latency_ms)"
        )
    if pairs.roc_auc_high is not None and pairs.roc_auc_high < -limits.margin:
        reasons.append(
            f"ROC AUC is significantly lower than the champion's: {_interval('roc_auc', pairs)}"
        )
    if pairs.log_loss_low is not None and pairs.log_loss_low > limits.max_log_loss_rise:
        reasons.append(
            f"log loss is significantly higher than the champion's: {_interval('log_loss', pairs)}"
        )
    return tuple(reasons)


def in_words(pairs: ShadowComparison) -> str:
    """Describe the comparison in sentences."""
    who = f"version {pairs.challenger} in shadow of version {pairs.champion}"
    if pairs.state == "none":
        return f"V{who[1:]} has not scored a row yet."
    days = f"{pairs.days} day{'s' * (pairs.days != 1)} ({pairs.first} to {pairs.last})"
    text = f"{who[0].upper()}{who[1:]}: {pairs.rows:,} rows on {days}"
    if pairs.state == "too_few":
        return f"{text}: too few to compare, {FEWEST} are needed."
    same = "" if pairs.agreement is None else f"{pairs.agreement:.1%} of the decisions are the same"
    if pairs.rank_correlation is not None:
        same += f"{', ' if same else ''}rank correlation {pairs.rank_correlation:.3f}"
    shift = (
        f"mean probability {pairs.mean_challenger:.3f}, the champion's {pairs.mean_champion:.3f}"
    )
    text += f"; {same}{'; ' if same else ''}{shift}."
    if pairs.challenger_p99_ms is not None and pairs.champion_p99_ms is not None:
        text += (
            f" A row takes {pairs.challenger_p99_ms:.3f} ms (99th percentile), the champion's"
            f" {pairs.champion_p99_ms:.3f}."
        )
    if pairs.roc_auc is not None:
        text += (
            f" {pairs.labelled:,} rows have labels: ROC AUC {_interval('roc_auc', pairs)}, log loss"
            f" {_interval('log_loss', pairs)} against the champion."
        )
    elif pairs.labelled:
        text += f" {pairs.labelled:,} rows have labels: too few to compare."
    return text


def _interval(name: str, pairs: ShadowComparison) -> str:
    values = (getattr(pairs, name + end) for end in ("", "_low", "_high"))
    return "{:+.4f} [{:+.4f}, {:+.4f}]".format(*values)


def _agreement(connection: DuckDBPyConnection, blank: ShadowComparison) -> ShadowComparison:
    row = connection.execute("""
        SELECT count(probability), count(*) - count(probability),
               count(DISTINCT CAST(asked_at AS DATE)) FILTER (probability IS NOT NULL),
               min(asked_at) FILTER (probability IS NOT NULL),
               max(asked_at) FILTER (probability IS NOT NULL),
               count(DISTINCT customer),
               avg(CAST(decision = champion_decision AS DOUBLE)),
               avg(champion_probability) FILTER (probability IS NOT NULL), avg(probability)
        FROM pairs
    """).fetchall()[0]
    rows, no_answer, days, first, last, customers, agreement, champions, challengers = row
    if not rows:
        return replace(blank, no_answer=no_answer)
    counted = replace(
        blank,
        state="ok" if rows >= FEWEST else "too_few",
        days=days,
        first=str(first.date()),
        last=str(last.date()),
        rows=rows,
        customers=customers,
        no_answer=no_answer,
    )
    if rows < FEWEST:
        return counted
    # The mean rank of ties: as many rows as are below, and half of the others.
    ((correlation,),) = connection.execute("""
        SELECT CASE WHEN stddev_pop(a) > 0 AND stddev_pop(b) > 0 THEN corr(a, b) END FROM (
            SELECT rank() OVER (ORDER BY probability)
                   + count(*) OVER (PARTITION BY probability) / 2.0 AS a,
                   rank() OVER (ORDER BY champion_probability)
                   + count(*) OVER (PARTITION BY champion_probability) / 2.0 AS b
            FROM pairs WHERE probability IS NOT NULL
        )
    """).fetchall()
    return replace(
        counted,
        agreement=agreement,
        rank_correlation=correlation,
        mean_champion=champions,
        mean_challenger=challengers,
        shift=challengers - champions,
    )


def _timed(connection: DuckDBPyConnection) -> dict[str, Any]:
    """Compute the milliseconds of a row, over one row of each call that had as many rows for
    both."""
    calls, ours, theirs = connection.execute("""
        SELECT count(*), quantile_cont(seconds * 1000, [0.5, 0.99]),
               quantile_cont(champion_seconds * 1000, [0.5, 0.99])
        FROM pairs WHERE "row" = 0 AND call_rows = champion_call_rows
    """).fetchall()[0]
    if calls < FEWEST:
        return {"timed_calls": calls}
    return {
        "timed_calls": calls,
        "challenger_median_ms": ours[0],
        "challenger_p99_ms": ours[1],
        "champion_median_ms": theirs[0],
        "champion_p99_ms": theirs[1],
    }


def _labelled(connection: DuckDBPyConnection, purchases: Purchases) -> dict[str, Any]:
    """Compute the paired difference on the rows whose outcome is known."""
    horizon = purchases.settings.horizon_days
    newest = purchases.known_until - timedelta(days=horizon)
    connection.execute(f"""
        CREATE TABLE ripe AS
        SELECT *, coalesce(as_of, CAST(asked_at AS DATE)) AS label_from FROM pairs
        WHERE probability IS NOT NULL AND customer IS NOT NULL
          AND coalesce(as_of, CAST(asked_at AS DATE)) <= DATE '{newest}'
    """)
    ((last,),) = connection.execute("SELECT max(label_from) FROM ripe").fetchall()
    if last is None:
        return {}
    end = last + timedelta(days=horizon)
    source = parquet(purchases.transactions)
    connection.execute(
        f"CREATE VIEW transactions AS FROM {source} WHERE invoiced_at < DATE '{end}'"
    )
    read_log(connection, purchases.settings)
    connection.create_function(
        "hashed", lambda name: hashed(purchases.key, name), ["VARCHAR"], "VARCHAR"
    )
    connection.execute("""
        CREATE TABLE known AS SELECT customer_id, hashed(customer_id) AS customer
        FROM (SELECT DISTINCT customer_id FROM order_parts)
    """)
    connection.execute(f"""
        CREATE TABLE latest AS
        SELECT customer_id, label_from AS as_of, probability, champion_probability
        FROM ripe JOIN known USING (customer)
        QUALIFY row_number() OVER (
            PARTITION BY customer_id, label_from ORDER BY asked_at DESC, request DESC, "row" DESC
        ) = 1
        ORDER BY hash(customer_id, label_from) LIMIT {MOST_LABELLED}
    """)
    connection.execute("CREATE TABLE spine AS SELECT customer_id, as_of FROM latest")
    make(connection, "buyers")
    rows = connection.execute("""
        SELECT probability, champion_probability,
               dense_rank() OVER (ORDER BY customer_id) - 1 AS customer,
               CAST(buyers.customer_id IS NOT NULL AS TINYINT) AS bought
        FROM latest LEFT JOIN buyers USING (customer_id, as_of) ORDER BY customer_id, as_of
    """).fetchnumpy()
    ours, theirs, customer, bought = (
        np.asarray(rows[name])
        for name in ("probability", "champion_probability", "customer", "bought")
    )
    return paired(ours, theirs, bought, customer)


def paired(
    challenger: np.ndarray, champion: np.ndarray, bought: np.ndarray, customer: np.ndarray
) -> dict[str, Any]:
    """Compute the challenger's ROC AUC and log loss minus the champion's, with 95 % intervals.

    Arrays (n,): probabilities float64, outcomes of 0 and 1, and the number of each customer, from 0
    on: rows of one customer are correlated (DeLong's components, clustered:
    `common/statistics.py`). Only the counts where there are too few of either outcome.
    """
    counted: dict[str, Any] = {"labelled": len(bought), "positives": int(bought.sum())}
    if min(bought.sum(), len(bought) - bought.sum()) < FEWEST_LABELS:
        return counted
    a, b = rank(challenger, bought), rank(champion, bought)
    assert a is not None and b is not None
    roc_auc = a.roc_auc - b.roc_auc
    roc_auc_error = clustered_error(components(a, bought) - components(b, bought), customer)
    losses = log_losses(bought, challenger) - log_losses(bought, champion)
    loss, loss_error = clustered_mean(losses, customer)
    counted |= {"roc_auc": roc_auc, **low_high("roc_auc", roc_auc, roc_auc_error)}
    return counted | {"log_loss": loss, **low_high("log_loss", loss, loss_error)}
