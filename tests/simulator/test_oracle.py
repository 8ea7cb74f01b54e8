"""The closed form and the simulator agree, and nothing that a model sees improves on the first."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import chi2, rankdata

from configs.source import Simulation
from simulator.invoices import SCHEMA
from simulator.oracle import buys_again, oracle_probability
from simulator.population import DAY, Population, draw_purchases, population, season, warped_clock
from simulator.simulator import SimulatedLog, simulate
from simulator.streams import Streams

pytestmark = pytest.mark.slow

START, DAYS, HORIZON = date(2024, 1, 1), 730, 90
# Online Retail II, and a shop where customers buy often and leave often.
SHOPS = {"faithful": population(Simulation()), "fickle": Population(r=1.4, alpha=25, a=0.8, b=1.6)}
WHAT_IS_VALID = r"""
    customer_id is not null and unit_price > 0 and invoiced_at < '2100-01-01'
    and (quantity > 0 or invoice_id ^@ 'C')
    and regexp_full_match(trim(product_id), '\d{5}[A-Za-z]?')
"""


def closed_form(people: Population, x, t_x, T, t):
    return buys_again(x, t_x, T, t, people.r, people.alpha, people.a, people.b)


def z_score(outcome, probability) -> float:
    """How many standard errors the outcomes lie from the sum of their probabilities."""
    error = np.sqrt((probability * (1 - probability)).sum())
    return float((outcome - probability).sum() / error)


def gain(outcome, probability, features) -> float:
    """The p-value of a score test: can a logistic model on top of `probability` use `features`?

    The test is at logit(probability) as the offset, so nothing is fitted. A small value says yes.
    """
    score = features.T @ (outcome - probability)
    information = features.T @ (features * (probability * (1 - probability))[:, None])
    return float(chi2.sf(score @ np.linalg.solve(information, score), features.shape[1]))


def history(shop: Population, strength: float, as_of_day: int, customers: int = 60_000):
    """x, t_x, T, t in warped days and the outcome, and t_x, T, t on the plain clock."""
    clock = warped_clock(season(strength), START, DAYS)
    bought = draw_purchases(Streams(11, 0), shop, customers, clock)
    as_of, until = as_of_day * DAY, (as_of_day + HORIZON) * DAY
    seen = bought.second < as_of
    inside = ~seen & (bought.second < until)
    number = np.bincount(bought.customer[seen], minlength=customers)
    outcome = np.bincount(bought.customer[inside], minlength=customers) > 0
    known = number > 0
    first = bought.second[np.flatnonzero(np.diff(bought.customer, prepend=-1))][known]
    # Within a customer the purchases are in order, so the last one seen is the one that stays.
    last = np.zeros(customers)
    last[bought.customer[seen]] = bought.second[seen]
    last = last[known]
    warped = [clock.warp(second) for second in (first, last, as_of, until)]
    plain = [np.asarray(second) / DAY for second in (first, last, as_of, until)]
    spans = [(lt - f, now - f, end - now) for f, lt, now, end in (warped, plain)]
    return number[known] - 1, spans[0], spans[1], outcome[known]


@pytest.mark.parametrize(
    ("shop", "strength", "as_of_day"),  # late November; late August, before the peak
    [("faithful", 0.0, 330), ("faithful", 0.8, 600), ("fickle", 0.8, 330)],
)
def test_oracle_is_calibrated_overall_and_in_every_group(shop, strength, as_of_day):
    people = SHOPS[shop]
    x, (t_x, T, t), plain, outcome = history(people, strength, as_of_day)
    probability = closed_form(people, x, t_x, T, t)
    edges = np.quantile(probability, np.arange(1, 10) / 10)
    decile = np.searchsorted(edges, probability)
    groups = {
        "all": x >= 0,
        **{f"decile {number}": decile == number for number in range(10)},
        **{f"{number} repeat purchases": x == number for number in range(4)},
        "many repeat purchases": x > 10,
        "new": T < 60,
        "old": T > 300,
        "long silent": (x > 2) & (T - t_x > 120),
    }
    scores = {
        name: z_score(outcome[rows], probability[rows])
        for name, rows in groups.items()
        if rows.sum() > 200 and probability[rows].sum() > 10  # fewer are not near to normal
    }
    assert max(map(abs, scores.values())) < 4, scores
    assert abs(scores["all"]) < 3
    if (shop, as_of_day) == ("faithful", 600):  # a missing season, and a wrong drop-out
        assert z_score(outcome, closed_form(people, x, *plain)) > 10
        wrong = Population(people.r, people.alpha, 1.3 * people.a, people.b)
        assert z_score(outcome, closed_form(wrong, x, t_x, T, t)) > 4


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[SimulatedLog, Path, dict[str, np.ndarray]]:
    """Many customers with tiny baskets; their rows as of one date, with outcome and features."""
    folder = tmp_path_factory.mktemp("large")
    simulation = Simulation(customers=25_000, lines_per_invoice=2.0, products=200, dirt=3.0)
    made = simulate(simulation, 21, folder)
    with duckdb.connect() as connection:
        connection.execute(
            f"""copy (from '{made.raw}' where {WHAT_IS_VALID}) to '{folder}/valid.parquet';
            create table valid as from '{folder}/valid.parquet';
            copy (
                with seen as (from valid where invoiced_at < date '2025-08-01')
                select customer_id, date '2025-08-01' as as_of,
                    customer_id in (
                        select customer_id from valid
                        where quantity > 0 and invoiced_at >= '2025-08-01'
                          and invoiced_at < date '2025-08-01' + {HORIZON}
                    ) as outcome,
                    ln(avg(quantity * unit_price) filter (quantity > 0)) as line_value,
                    count(*) filter (quantity > 0) / count(distinct invoice_id) as lines,
                    max(quantity) as largest_quantity,
                    any_value(country) = 'United Kingdom' as home,
                    bool_or(quantity < 0) as cancelled,
                    avg(hour(invoiced_at)) as hour,
                    avg(isodow(invoiced_at)) as weekday,
                    count(distinct product_id) / count(*) as variety,
                    customer_id::int as id,
                from seen group by customer_id having count(*) filter (quantity > 0) > 0
                order by hash(customer_id)
            ) to '{folder}/table.parquet'"""
        )
        columns = connection.execute(f"from '{folder}/table.parquet'").fetchnumpy()
    return made, folder, columns


FEATURES = [
    "line_value", "lines", "largest_quantity", "home", "cancelled", "hour", "weekday", "variety",
    "id",
]  # fmt: skip


def test_no_simple_feature_improves_on_the_oracle(large):
    made, folder, columns = large
    outcome = columns["outcome"]
    probability = oracle_probability(
        folder / "valid.parquet", folder / "table.parquet", made.truth, HORIZON
    )
    # Ranks: no outlier decides, and a monotone effect of any form is found.
    features = np.column_stack([rankdata(columns[name]) for name in FEATURES])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    p_values = {
        name: gain(outcome, probability, features[:, [i]]) for i, name in enumerate(FEATURES)
    }
    with_all = np.column_stack([np.ones(len(probability)), logit(probability), features])
    p_values["all of them, and a recalibration"] = gain(outcome, probability, with_all)
    assert min(p_values.values()) > 0.001, p_values
    # The test would notice what an oracle leaves out:
    flat = np.full(len(probability), outcome.mean())
    for signal in (probability, columns["cancelled"].astype(float)):
        assert gain(outcome, flat, (signal - signal.mean())[:, None]) < 1e-12


def test_best_reachable_score_is_that_of_a_real_shop(tmp_path):
    made = simulate(Simulation(), 7, tmp_path)
    table = tmp_path / "table.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"""copy (
                with purchases as (
                    select customer_id, invoice_id, min(invoiced_at) as at_time
                    from '{made.raw}' where {WHAT_IS_VALID} and quantity > 0 group by all
                ), dates as (
                    select unnest(generate_series(
                        timestamp '2024-07-01', timestamp '2025-10-01', interval 1 month
                    ))::date as as_of
                )
                select customer_id, as_of,
                    bool_or(at_time >= as_of and at_time < as_of + {HORIZON}) as label
                from purchases, dates group by all
                having max(at_time) filter (at_time < as_of) >= as_of - 365
                order by as_of, customer_id
            ) to '{table}'"""
        )
        label = connection.execute(f"select label from '{table}'").fetchnumpy()["label"]
    probability = oracle_probability(made.raw, table, made.truth, HORIZON)
    rank = rankdata(probability)
    positives, negatives = label.sum(), (~label).sum()
    auc = (rank[label].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    assert 0.72 < auc < 0.85
    assert probability.mean() == pytest.approx(label.mean(), abs=0.02)


# The closed form.
shapes = st.floats(0.2, 3)
counts = st.integers(0, 200)
spans = st.floats(0, 2000)
ahead = st.floats(0.1, 1000)
people = st.builds(
    Population, r=shapes, alpha=st.floats(5, 200), a=st.floats(0.05, 2), b=st.floats(0.3, 5)
)


@given(people, counts, spans, spans, ahead)
def test_closed_form_is_a_probability_that_rises_with_the_horizon(people, x, t_x, silence, t):
    t_x = t_x if x else 0.0
    short, long = closed_form(people, x, t_x, t_x + silence, np.array([t, 2 * t]))
    assert 0 <= short <= long <= 1


@given(people, st.integers(1, 200), spans, ahead)
def test_of_two_customers_who_just_bought_the_one_with_more_purchases_is_likelier_to_buy_again(
    people, x, T, t
):
    few, many = closed_form(people, np.array([x, x + 1]), T, T, t)
    assert few <= many


@given(people, st.integers(1, 200), st.floats(1, 1000), st.floats(0, 500), st.floats(1, 500), ahead)
def test_a_longer_silence_makes_it_less_likely(people, x, t_x, silence, more, t):
    T = t_x + silence + np.array([0, more])
    recent, silent = closed_form(people, x, t_x, T, t)
    assert silent <= recent


def test_extreme_histories_do_not_overflow():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert closed_form(SHOPS["faithful"], 100_000, 10.0, 3000.0, 90.0) == 0
        assert closed_form(SHOPS["faithful"], 100_000, 3000.0, 3000.0, 90.0) > 0.99


@pytest.mark.parametrize(
    ("shop", "x", "t_x", "T"),
    [
        *(("faithful", *seen) for seen in ((0, 0, 30), (1, 20, 300), (4, 150, 200))),
        *(("fickle", *seen) for seen in ((0, 0, 400), (1, 20, 40), (4, 60, 200))),
    ],
)
def test_closed_form_agrees_with_the_posterior_by_monte_carlo(shop, x, t_x, T):
    people, t = SHOPS[shop], 90.0
    rng = np.random.default_rng(5)
    rate = rng.gamma(people.r, 1 / people.alpha, 400_000)
    leaves = rng.beta(people.a, people.b, rate.size)
    # The likelihood of the history (Fader, Hardie & Lee 2005, equation 3), split by the present.
    still_here = rate**x * (1 - leaves) ** x * np.exp(-rate * T)
    has_left = (x > 0) * rate**x * leaves * (1 - leaves) ** max(x - 1, 0) * np.exp(-rate * t_x)
    weight = still_here + has_left
    value = still_here * -np.expm1(-rate * t) / weight
    estimate = np.average(value, weights=weight)
    error = np.sqrt((weight**2 * (value - estimate) ** 2).sum()) / weight.sum()
    assert closed_form(people, x, t_x, T, t) == pytest.approx(estimate, abs=4.5 * error)
    assert error < 0.01


# From files.
@pytest.fixture
def by_hand(tmp_path):
    """Writes purchases (customer, invoice, time[, quantity]) and the rows of a table (customer,
    as-of date); returns the probabilities of the rows."""
    truth = simulate(Simulation(customers=50, days=200), 1, tmp_path).truth

    def answer(purchases, table, horizon_days=HORIZON):
        rows = [
            {
                "invoice_id": invoice, "product_id": "10000", "description": "MUG",
                "quantity": (*rest, 1)[0], "unit_price": 1.0,
                "invoiced_at": datetime.fromisoformat(time), "customer_id": customer,
                "country": "EIRE",
            }
            for customer, invoice, time, *rest in purchases
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path / "t.parquet")
        wanted = [{"customer_id": c, "as_of": date.fromisoformat(d)} for c, d in table]
        pq.write_table(pa.Table.from_pylist(wanted), tmp_path / "q.parquet")
        return oracle_probability(
            tmp_path / "t.parquet", tmp_path / "q.parquet", truth, horizon_days
        )

    return answer


ONE = ("7", "1", "2024-01-10 10:00:00")
TWO = ("7", "2", "2024-03-05 12:00:00")
OTHER = ("8", "3", "2024-02-06 09:00:00")


def test_answers_come_in_the_order_of_the_table(by_hand):
    questions = [("8", "2024-06-01"), ("7", "2024-04-01"), ("7", "2024-02-01"), ("8", "2024-03-01")]
    together = by_hand([ONE, TWO, OTHER], questions)
    alone = [by_hand([ONE, TWO, OTHER], [question])[0] for question in questions]
    assert together.dtype == np.float64
    assert together.tolist() == alone


def test_answer_is_the_closed_form_on_warped_time(by_hand):
    clock = warped_clock(season(Simulation().season), START, 300)
    seconds = [
        (datetime.fromisoformat(p[2]) - datetime(2024, 1, 1)).total_seconds() for p in (ONE, TWO)
    ]
    as_of = (date(2024, 4, 1) - START) / timedelta(days=1)
    first, last, now, end = clock.warp([*seconds, as_of * DAY, (as_of + 30) * DAY])
    expected = closed_form(SHOPS["faithful"], 1, last - first, now - first, end - now)
    assert by_hand([ONE, TWO], [("7", "2024-04-01")], 30)[0] == pytest.approx(float(expected))


def test_what_comes_at_the_as_of_date_or_later_is_not_seen(by_hand):
    question = [("7", "2024-03-05")]
    later = [TWO, ("7", "9", "2024-03-05 08:00:00"), ("7", "10", "2124-01-01 08:00:00")]
    assert by_hand([ONE], question) == by_hand([ONE, *later], question)


def test_an_invoice_is_one_purchase_and_a_cancellation_is_not_a_purchase(by_hand):
    question = [("7", "2024-04-01")]
    second_line = ("7", "2", "2024-03-05 12:00:30")
    cancellation = ("7", "C4", "2024-03-20 12:00:00", -1)
    assert by_hand([ONE, TWO], question) == by_hand([ONE, TWO, second_line, cancellation], question)


def test_a_customer_without_purchases_is_an_error_with_the_id(by_hand):
    with pytest.raises(ValueError, match=r"row 1 is about customer 8 as of 2024-02-01.*1 such row"):
        by_hand([ONE, OTHER], [("7", "2024-02-01"), ("8", "2024-02-01")])
