"""The best score that any model can reach on a simulated log, computed from its truth.

The BG/NBD closed form of Fader, Hardie & Lee (2005), "Counting Your Customers the Easy Way: An
Alternative to the Pareto/NBD Model", Marketing Science 24(2), with the true parameters, on the
season's warped clock, which a drift of the purchase rate bends too. It sees what a model may see,
the purchases before the as-of date, and what no model may: the parameters the log was drawn from.

`buys_again` takes every purchase for seen. From a date on only a share ``q`` of the repeat
purchases may be (`configs.settings.Drift.missing_customers`), and a customer may drop out after a
purchase that nobody saw: `buys_again_and_is_seen`. Given the rate and the drop-out probability
``p`` this is a Poisson process of seen purchases that ends after each of them with probability
``p``, and in between at ``(1 - q) p`` times the rate. The rate integrates in closed form, as in the
paper; ``p`` does not, so that is a quadrature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.duck import as_pattern, connect
from configs.settings import Compute
from configs.source import Drift
from simulator.population import DAY, Population, Season, WarpedClock, faster, warped_clock

Floats = NDArray[np.float64]

_NODES = 24  # more change nothing beyond 1e-12
_ROWS_AT_A_TIME = 20_000

# A purchase is an invoice, not a line; a line of quantity <= 0 is not one. The row
# number keeps the answer in the order of the table, which SQL alone does not promise.
_HISTORIES = """
with purchases as (
    select customer_id::varchar as customer_id, invoice_id, min(invoiced_at) as bought_at
    from read_parquet($transactions)
    where quantity > 0 and customer_id is not null and invoiced_at is not null
    group by all
), wanted as (
    select customer_id::varchar as customer_id, as_of::date as as_of,
        file_row_number as row_number
    from read_parquet($table, file_row_number = true)
)
select
    count(bought_at) as purchases,
    date_diff('second', $start::timestamp, min(bought_at)) as first,
    date_diff('second', $start::timestamp, max(bought_at)) as last,
    date_diff('second', $start::timestamp, any_value(wanted.as_of)::timestamp) as as_of_second
from wanted left join purchases
    on purchases.customer_id = wanted.customer_id and bought_at < wanted.as_of
group by row_number
order by row_number
"""
_WANTED = """
select customer_id, as_of::date from read_parquet($table, file_row_number = true)
where file_row_number = $row
"""


@dataclass(frozen=True)
class Truth:
    """What ``truth.json`` of a simulated log says."""

    population: Population
    season: Season
    drift: Drift
    start: date
    end: date


def read_truth(path: Path) -> Truth:
    """Reads ``truth.json`` as `simulator.simulator.simulate` writes it."""
    truth = json.loads(path.read_text())
    shop = {k: tuple(v) for k, v in truth["season"].items()}
    return Truth(
        population=Population(**truth["population"]),
        season=Season(**shop),
        drift=Drift.model_validate_json(json.dumps(truth["drift"])),
        start=date.fromisoformat(truth["start"]),
        end=date.fromisoformat(truth["end"]),
    )


def oracle_probability(
    transactions: Path,
    table: Path,
    truth: Path,
    horizon_days: int,
    compute: Compute | None = None,
) -> NDArray[np.float64]:
    """The true probability that each customer buys in ``[as_of, as_of + horizon_days)``.

    Parameters
    ----------
    transactions : Parquet of valid rows in canonical columns. A purchase is a distinct invoice of
        a customer with a quantity above 0; its time is the earliest ``invoiced_at``.
    table : Parquet with ``customer_id`` and ``as_of`` (a date: the midnight at its start); other
        columns are ignored. The query may spill into a folder beside it.
    truth : ``truth.json`` of the simulation that made the transactions.
    horizon_days : length of the label window in days.
    compute : what DuckDB may use. Beyond that, memory is some hundred bytes per row of `table`.

    Returns
    -------
    Shape ``(rows,)``, in the order of the rows of `table`, each in [0, 1].

    Raises
    ------
    ValueError
        If a row's customer has no purchase before its as-of date: its probability is undefined.
    """
    known = read_truth(truth)
    rows_of = as_pattern(table)
    files = {
        "transactions": as_pattern(transactions),
        "table": rows_of,
        "start": str(known.start),
    }
    with (
        TemporaryDirectory(prefix=".oracle-", dir=table.parent) as folder,
        connect(Path(folder), compute) as connection,
    ):
        rows = connection.execute(_HISTORIES, files).fetchnumpy()
        unknown = np.flatnonzero(rows["purchases"] == 0)
        if unknown.size:
            row = int(unknown[0])
            (missing,) = connection.execute(_WANTED, {"table": rows_of, "row": row}).fetchall()
            raise ValueError(
                f"{table}: row {row} is about customer {missing[0]} as of {missing[1]}, who has no "
                f"purchase before that date in {transactions} ({unknown.size} such rows): the "
                "oracle answers for customers seen before"
            )
    until = rows["as_of_second"].astype(np.float64) + horizon_days * DAY
    return probability(rows, until, known)


def probability(rows: Mapping[str, np.ndarray], until: Floats, known: Truth) -> Floats:
    """The probability of a purchase that is seen, from an as-of second up to `until`.

    `rows` has, by customer, the number of ``purchases`` seen, the seconds of the ``first`` and the
    ``last`` of them and the ``as_of_second``, all after midnight of the log's first day.
    """
    days = int(np.ceil(until.max(initial=DAY) / DAY))
    clock, on = drifted_clock(known, days)
    times = {"until": until, **{name: rows[name] for name in ("first", "last", "as_of_second")}}
    warped = {name: clock.warp(second.astype(np.float64)) for name, second in times.items()}
    first, now = warped["first"], warped["as_of_second"]
    x = rows["purchases"].astype(np.float64) - 1
    people = known.population
    parameters = (people.r, people.alpha, people.a, people.b)
    lost = known.drift.missing_customers
    if not lost or until.max(initial=0) <= on:
        last, end = warped["last"], warped["until"]
        return buys_again(x, last - first, now - first, end - now, *parameters)
    since = float(clock.warp(on))

    def parts(warped_time: Floats) -> tuple[Floats, Floats]:
        before = np.maximum(np.minimum(warped_time, since) - first, 0)
        return before, warped_time - first - before

    return buys_again_and_is_seen(
        x, parts(warped["last"]), parts(now), parts(warped["until"]), 1 - lost, *parameters
    )


def drifted_clock(known: Truth, days: int) -> tuple[WarpedClock, float]:
    """The clock over `days` on which purchase rates are constant, and the second at which the drift
    begins (infinity where there is none, or only later)."""
    clock = warped_clock(known.season, known.start, days)
    if known.drift.on is None or (known.drift.on - known.start).days >= days:
        return clock, np.inf
    second = (known.drift.on - known.start).days * DAY
    return faster(clock, second, known.drift.purchase_rate), second


def alive(
    x: ArrayLike, t_x: ArrayLike, T: ArrayLike, r: float, alpha: float, a: float, b: float
) -> Floats:
    """The probability that a customer with this history has not dropped out by `T`.

    ``1 / (1 + a / (b + x - 1) * ((alpha + T) / (alpha + t_x)) ** (r + x))``, and 1 where `x` is 0:
    in this model nobody leaves before a repeat purchase. Parameters as in `buys_again`.
    """
    x, t_x, T = (np.asarray(values, dtype=np.float64) for values in (x, t_x, T))
    # On the log scale: a long silence after many purchases overflows the power.
    gone = (r + x) * (np.log(alpha + T) - np.log(alpha + t_x))
    gone = gone + np.log(a) - np.log(b + np.maximum(x, 1) - 1)
    return np.where(x > 0, np.exp(-np.logaddexp(0, gone)), 1.0)


def buys_again(
    x: ArrayLike,
    t_x: ArrayLike,
    T: ArrayLike,
    t: ArrayLike,
    r: float,
    alpha: float,
    a: float,
    b: float,
) -> Floats:
    """The probability of at least one purchase in the `t` days after `T`.

    ``alive(x, t_x, T) * (1 - ((alpha + T) / (alpha + T + t)) ** (r + x))``: the rate of one who is
    alive is Gamma(r + x, alpha + T), and drop-out only comes with a purchase.

    Parameters
    ----------
    x : repeat purchases so far (the first purchase is not one).
    t_x : warped days from the first purchase to the last, 0 if `x` is 0.
    T : warped days from the first purchase to now, at least `t_x`.
    t : warped days ahead. `x`, `t_x`, `T` and `t` broadcast against each other.
    r, alpha, a, b : the parameters of `simulator.population.Population`.
    """
    x, T, t = (np.asarray(values, dtype=np.float64) for values in (x, T, t))
    some = -np.expm1(-(r + x) * np.log1p(t / (alpha + T)))
    return alive(x, t_x, T, r, alpha, a, b) * some


def buys_again_and_is_seen(
    x: Floats,
    last: tuple[Floats, Floats],
    now: tuple[Floats, Floats],
    until: tuple[Floats, Floats],
    seen: float,
    r: float,
    alpha: float,
    a: float,
    b: float,
) -> Floats:
    """The probability that at least one purchase is seen between `now` and `until`.

    Parameters
    ----------
    x : repeat purchases seen so far, shape ``(n,)``.
    last, now, until : warped days since the first purchase, in two parts: before some are unseen,
        and since; each of shape ``(n,)``.
    seen : the share of repeat purchases that are seen in the second part.
    r, alpha, a, b : the parameters of `simulator.population.Population`.
    """
    from scipy.special import roots_sh_jacobi

    answer = np.empty(x.shape)
    for repeats in np.unique(x):
        same = np.flatnonzero(x == repeats)
        # Gauss-Jacobi quadrature of the drop-out probability, which is Beta(a, misses) distributed.
        misses = b + max(repeats - 1, 0)
        p, weight = roots_sh_jacobi(_NODES, a + misses - 1, a)
        weight = weight / weight.sum()
        for begin in range(0, same.size, _ROWS_AT_A_TIME):
            rows = same[begin : begin + _ROWS_AT_A_TIME]
            three = [
                (before[rows, None], since[rows, None]) for before, since in (last, now, until)
            ]
            answer[rows] = _seen_again(repeats, three, seen, r + repeats, alpha, p, weight)
    return answer


def _seen_again(
    x: float,
    times: list[tuple[Floats, Floats]],
    seen: float,
    power: float,
    alpha: float,
    p: Floats,
    weight: Floats,
) -> Floats:
    """As `buys_again_and_is_seen`, for customers with the same `x`; columns are nodes of `p`."""
    last, now, until = times
    pace = seen + (1 - seen) * p  # at which a seen purchase, or an end, comes in the second part
    unseen_end = np.where(pace > 0, (1 - seen) * p / np.where(pace > 0, pace, 1), 1.0)
    logs = [
        -power * np.log(alpha + before + pace * since)
        for before, since in (now, last, (now[0], last[1]), until, (until[0], now[1]))
    ]
    highest = np.max([part.max(axis=1) for part in logs], axis=0)[:, None]
    still, at_last, since_last, quiet, ended = (np.exp(part - highest) for part in logs)
    stays = weight * ((1 - p) if x > 0 else 1.0)
    alive = still @ stays
    gone = (at_last @ (weight * p) if x > 0 else 0.0) + (since_last - still) @ (stays * unseen_end)
    not_seen = quiet @ (stays * (1 - unseen_end)) + ended @ (stays * unseen_end)
    return np.clip((alive - not_seen) / (alive + gone), 0, 1)
