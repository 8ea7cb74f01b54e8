"""Planted drift: nothing before its date, the right size after it, and the oracle knows of it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from common.errors import UserError
from configs.source import Drift, Simulation
from simulator import simulator
from simulator.oracle import (
    Truth,
    buys_again,
    buys_again_and_is_seen,
    drifted_clock,
    probability,
    read_truth,
)
from simulator.population import (
    DAY,
    Change,
    Population,
    draw_purchases,
    population,
    season,
    warped_clock,
)
from simulator.simulator import simulate
from simulator.streams import Streams

pytestmark = pytest.mark.slow

ON = date(2025, 1, 1)
SHOP = Simulation(customers=1200, days=600, products=300, lines_per_invoice=5.0)
TINY = Simulation(customers=120, days=300, products=60, lines_per_invoice=3.0, dirt=5.0)


def rows(simulation: Simulation, seed: int = 3) -> pa.Table:
    with TemporaryDirectory() as folder:
        return pq.read_table(simulate(simulation, seed, Path(folder)).raw)


def planted(simulation: Simulation, on: date = ON, **effects) -> Simulation:
    return simulation.model_copy(update={"drift": Drift(on=on, **effects)})


def from_then_on(table: pa.Table, on: date = ON) -> np.ndarray:
    """Which rows stand on or after the first invoice of that day. Rows come in the order of their
    invoices, and none begins with a row that has another time than its own."""
    time = table["invoiced_at"].to_numpy()
    in_log = time < np.datetime64("2100-01-01")
    begin = np.flatnonzero(in_log & (time >= np.datetime64(on)))
    return np.arange(time.size) >= (begin[0] if begin.size else time.size)


effects = st.fixed_dictionaries(
    {
        "price_level": st.floats(0.1, 10),
        "customer_mix": st.floats(0, 1),
        "purchase_rate": st.floats(0, 5),
        "missing_customers": st.floats(0, 1),
        "broken_unit": st.floats(0, 1),
    }
)


@given(effects, st.integers(1, 299), st.integers(0, 1000), st.sampled_from([500_000, 700]))
@example({}, 150, 3, 500_000)
@examples(max_examples=5, deadline=None)
def test_before_its_date_the_log_is_the_log_without_drift(planned, day, seed, lines_at_a_time):
    """In one chunk and in many; a date without effects changes nothing at all."""
    on = TINY.start + timedelta(days=day)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulator, "_LINES_AT_A_TIME", lines_at_a_time)
        plain, drifted = rows(TINY, seed), rows(planted(TINY, on, **planned), seed)
    if planned:
        plain, drifted = (table.filter(~from_then_on(table, on)) for table in (plain, drifted))
    assert drifted.equals(plain)


@pytest.fixture(scope="module")
def plain() -> pa.Table:
    return rows(SHOP)


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False)


def changed(plain: pa.Table, drifted: pa.Table, name: str) -> np.ndarray:
    """The rows of two logs that differ in the column `name`; they may differ in nothing else."""
    assert drifted.drop_columns([name]).equals(plain.drop_columns([name]))
    same = pc.equal(plain[name], drifted[name]).fill_null(False).to_numpy()
    both_missing = pc.and_(pc.is_null(plain[name]), pc.is_null(drifted[name])).to_numpy()
    return ~(same | both_missing)


def test_prices_rise_to_their_level(plain):
    drifted = rows(planted(SHOP, price_level=1.25))
    moved = changed(plain, drifted, "unit_price")
    old, new = column(plain, "unit_price")[moved], column(drifted, "unit_price")[moved]
    assert np.abs(new - 1.25 * old).max() < 0.0051
    # What is no product, or is cancelled of an earlier sale, keeps its price; the rest moves.
    sales = from_then_on(plain) & (column(plain, "quantity") > 0)
    sales &= (column(plain, "unit_price") > 0) & pc.match_substring_regex(
        plain["product_id"], "^[0-9]{5}"
    ).to_numpy()
    assert moved[sales].all()


def test_a_broken_unit_multiplies_the_quantities_of_some_products(plain, share=0.3):
    drifted = rows(planted(SHOP, broken_unit=share))
    moved = changed(plain, drifted, "quantity")
    old, new = column(plain, "quantity")[moved], column(drifted, "quantity")[moved]
    sold = (old > 0) & (old < 70_000)
    assert (new[sold] == 12 * old[sold]).all()
    after = from_then_on(plain) & (column(plain, "quantity") > 0)
    after &= column(plain, "unit_price") > 0
    assert moved[after].mean() == pytest.approx(share, abs=0.03)
    # Whole products: of each all sales, or none. (A few lines of dirt name another product.)
    codes = np.char.upper(np.char.strip(column(plain, "product_id").astype(str)))
    _, product = np.unique(codes[after], return_inverse=True)
    by_product = np.bincount(product, moved[after]) / np.bincount(product)
    assert (np.minimum(by_product, 1 - by_product) < 0.1).all()


def test_repeat_invoices_lose_their_customer(plain, share=0.2):
    drifted = rows(planted(SHOP, missing_customers=share))
    lost = changed(plain, drifted, "customer_id")
    assert drifted["customer_id"].filter(pa.array(lost)).null_count == lost.sum()
    customer, invoice = column(plain, "customer_id"), column(plain, "invoice_id")
    sale = ~pc.starts_with(plain["invoice_id"], "C").to_numpy() & (customer != None)  # noqa: E711
    _, first = np.unique(customer[sale].astype(str), return_index=True)
    is_first = np.isin(invoice, invoice[sale][first])
    assert not lost[is_first].any()
    repeat = sale & ~is_first & from_then_on(plain)
    _, one_line = np.unique(invoice[repeat], return_index=True)
    lost_invoices = lost[repeat][one_line]
    error = np.sqrt(share * (1 - share) / lost_invoices.size)
    assert lost_invoices.mean() == pytest.approx(share, abs=4 * error)


def newcomers(table: pa.Table) -> tuple[float, float]:
    """Of the customers who come after the date: the share abroad, and the usual order value."""
    frame = table.filter(
        pc.and_(pc.is_valid(table["customer_id"]), pc.greater(table["quantity"], 0))
    )
    frame = frame.filter(pc.less(frame["quantity"], 70_000)).to_pandas()
    frame = frame[frame["invoiced_at"] < "2100-01-01"]
    first = frame.groupby("customer_id")["invoiced_at"].transform("min")
    new = frame[first >= np.datetime64(ON)]
    value = (new["quantity"] * new["unit_price"]).groupby(new["invoice_id"]).sum()
    abroad = new.groupby("customer_id")["country"].first() != "United Kingdom"
    return abroad.mean(), float(np.exp(np.log(value[value > 0]).mean()))


def test_new_customers_are_of_another_mix():
    shop = SHOP.model_copy(update={"customers": 4000})
    plain, drifted = rows(shop), rows(planted(shop, customer_mix=0.8))
    (abroad, value), (abroad_then, value_then) = newcomers(plain), newcomers(drifted)
    assert abroad == pytest.approx(0.09, abs=0.03)
    assert abroad_then == pytest.approx(0.8 + 0.2 * 0.09, abs=0.04)
    # Four in five order for half as much.
    assert value_then / value == pytest.approx(0.5**0.8, rel=0.15)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_purchases_come_at_the_new_rate(factor):
    people, clock = population(SHOP), warped_clock(season(0.8), SHOP.start, SHOP.days)
    second = (ON - SHOP.start).days * DAY
    plain, drifted = (
        draw_purchases(Streams(1, 0), people, 40_000, clock, change)
        for change in (None, Change(second, factor))
    )

    def repeats(bought) -> int:  # in the first fortnight: few have left since
        again = np.diff(bought.customer, prepend=-1) == 0
        return int((again & (bought.second >= second) & (bought.second < second + 14 * DAY)).sum())

    assert repeats(drifted) / repeats(plain) == pytest.approx(factor, rel=0.05)


FICKLE = Population(r=1.4, alpha=25, a=0.8, b=1.6)
EFFECTS = {
    "slower": Drift(on=ON, purchase_rate=0.4),
    "faster": Drift(on=ON, purchase_rate=2.5),
    "some unseen": Drift(on=ON, missing_customers=0.3),
    "most unseen, and faster": Drift(on=ON, missing_customers=0.8, purchase_rate=2.0),
    "none seen": Drift(on=ON, missing_customers=1.0),
}


def histories(people: Population, drift: Drift, as_of: date, customers: int = 25_000):
    """What is seen of customers as of a date, the end of the horizon, and what then comes."""
    truth = Truth(people, season(0.8), drift, date(2024, 1, 1), date(2025, 12, 31))
    clock = warped_clock(truth.season, truth.start, 730)
    on = (ON - truth.start).days * DAY
    bought = draw_purchases(
        Streams(11, 0), people, customers, clock, Change(on, drift.purchase_rate)
    )
    customer, second = bought.customer, bought.second
    lost = np.random.default_rng(4).random(second.size) < drift.missing_customers
    lost &= (second >= on) & (np.diff(customer, prepend=-1) == 0)
    customer, second = customer[~lost], second[~lost]
    now = (as_of - truth.start).days * DAY
    until = now + 90 * DAY
    seen = second < now
    number = np.bincount(customer[seen], minlength=customers)
    known = number > 0
    last = np.zeros(customers)
    last[customer[seen]] = second[seen]
    outcome = np.bincount(customer[~seen & (second < until)], minlength=customers) > 0
    first = second[np.flatnonzero(np.diff(customer, prepend=-1))]
    rows = {
        "purchases": number[known],
        "first": first[known],
        "last": last[known],
        "as_of_second": np.full(known.sum(), now),
    }
    return truth, rows, np.full(known.sum(), until), outcome[known]


def z_score(outcome, expected) -> float:
    error = np.sqrt((expected * (1 - expected)).sum())
    return float((outcome - expected).sum() / max(error, 1e-9))


@pytest.mark.parametrize(
    ("effect", "as_of"),  # across the date, and after it
    [
        *((effect, date(2024, 12, 1)) for effect in EFFECTS),
        ("most unseen, and faster", date(2025, 6, 1)),
    ],
)
def test_oracle_is_calibrated_under_drift(effect, as_of):
    truth, rows, until, outcome = histories(FICKLE, EFFECTS[effect], as_of)
    expected = probability(rows, until, truth)
    x = rows["purchases"] - 1
    silence = (rows["as_of_second"] - rows["last"]) / DAY
    decile = np.searchsorted(np.quantile(expected, np.arange(1, 10) / 10), expected)
    on = (ON - truth.start).days * DAY
    groups = {
        "all": x >= 0,
        **{f"decile {n}": decile == n for n in range(10)},
        **{f"{n} repeat purchases": x == n for n in range(3)},
        "many repeat purchases": x > 5,
        "long silent": silence > 120,
        "first seen after the date": rows["first"] >= on,
        "seen last after the date": (rows["last"] >= on) & (x > 0),
    }
    scores = {
        name: z_score(outcome[group], expected[group])
        for name, group in groups.items()
        if group.sum() > 200 and expected[group].sum() > 10
    }
    assert max(map(abs, scores.values()), default=0) < 4, scores
    if as_of < ON:  # an oracle that does not know of the drift would be noticed
        unaware = Truth(truth.population, truth.season, Drift(), truth.start, truth.end)
        assert abs(z_score(outcome, probability(rows, until, unaware))) > 4


spans = st.floats(0, 900)
people = st.builds(
    Population, r=st.floats(0.2, 3), alpha=st.floats(5, 200), a=st.floats(0.05, 2),
    b=st.floats(0.3, 5),
)  # fmt: skip


@given(people, st.integers(0, 60), spans, spans, st.floats(0.1, 300), st.floats(0, 1))
@examples(max_examples=40, deadline=None)
def test_with_every_purchase_seen_the_quadrature_is_the_closed_form(who, x, t_x, silence, t, part):
    t_x = t_x if x else 0.0
    T = t_x + silence
    closed = buys_again(x, t_x, T, t, who.r, who.alpha, who.a, who.b)

    def split(time: float) -> tuple[np.ndarray, np.ndarray]:
        before = min(time, part * (T + t))
        return np.array([before]), np.array([time - before])

    (found,) = buys_again_and_is_seen(
        np.array([float(x)]), split(t_x), split(T), split(T + t), 1.0,
        who.r, who.alpha, who.a, who.b,
    )  # fmt: skip
    assert found == pytest.approx(float(closed), abs=1e-9)


@given(people, st.integers(0, 60), spans, spans, st.floats(0.1, 300))
@examples(max_examples=40, deadline=None)
def test_the_fewer_are_seen_the_less_likely_is_it_to_see_one(who, x, t_x, silence, t):
    t_x = t_x if x else 0.0
    T = t_x + silence  # all of it before the date, so that the past says the same
    nothing = np.zeros(1)
    found = [
        buys_again_and_is_seen(
            np.array([float(x)]), (np.array([t_x]), nothing), (np.array([T]), nothing),
            (np.array([T]), np.array([t])), seen, who.r, who.alpha, who.a, who.b,
        )[0]
        for seen in (0.0, 0.3, 0.7, 1.0)
    ]  # fmt: skip
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert (np.diff(found) >= -1e-12).all()


def test_truth_knows_the_drift(tmp_path):
    made = simulate(planted(TINY, date(2024, 6, 1), purchase_rate=2.0), 1, tmp_path)
    truth = read_truth(made.truth)
    assert truth.drift == Drift(on=date(2024, 6, 1), purchase_rate=2.0)
    clock, on = drifted_clock(truth, TINY.days)
    plain = warped_clock(truth.season, truth.start, TINY.days)
    assert on == 152 * DAY
    assert clock.warp(on) == plain.warp(on)
    gained = clock.warp(on + 30 * DAY) - clock.warp(on)
    assert gained == pytest.approx(2 * (plain.warp(on + 30 * DAY) - plain.warp(on)))


def test_a_date_outside_the_log_or_effects_without_a_date_are_refused(tmp_path):
    for on in (date(2024, 1, 1), date(2024, 10, 27), date(2023, 1, 1)):
        with pytest.raises(UserError) as refused:
            simulate(planted(TINY, on, price_level=1.1), 1, tmp_path)
        assert str(on) in refused.value.what
        assert "2024-01-01 to 2024-10-26" in refused.value.what
        assert refused.value.where == "setting 'source.simulation.drift.on'"
    simulation = TINY.model_copy(update={"drift": Drift(price_level=1.1, broken_unit=0.1)})
    with pytest.raises(UserError, match="no date, so broken_unit, price_level would"):
        simulate(simulation, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []
    for on in (date(2024, 1, 2), date(2024, 10, 26)):  # the first and the last possible day
        simulate(planted(TINY, on, price_level=1.1), 1, tmp_path)
