"""The simulated log: the same each time, dirty as set, and true underneath the dirt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.source import Simulation
from ingestion.canonical import COLUMNS
from simulator import simulator
from simulator.__main__ import main
from simulator.invoices import Spill, write
from simulator.population import DAY, HOUR, draw_purchases, population, season, warped_clock
from simulator.simulator import SimulatedLog, chunks_of_customers, simulate
from simulator.streams import SHOP, Streams, every

pytestmark = pytest.mark.slow

SMALL = Simulation(customers=200, days=250, products=100, lines_per_invoice=4.0)
# A sale that any contract keeps. Needs `$start` and `$end`, the limits of the log.
CLEAN = r"""
    customer_id is not null and description is not null and unit_price > 0
    and quantity between 1 and 50000 and invoice_id ^@ 'C' = false
    and invoiced_at >= $start::date and invoiced_at < $end::date
    and regexp_full_match(product_id, '\d{5}[A-Z]{0,2}')
"""


def opened(raw: Path, simulation: Simulation = SMALL) -> duckdb.DuckDBPyConnection:
    """A connection in which ``raw`` is the log and ``clean`` its clean sales lines."""
    limits = {"start": simulation.start, "end": simulation.start + timedelta(simulation.days)}
    connection = duckdb.connect()
    connection.execute(f"create table raw as from read_parquet('{raw}')")
    connection.execute(f"create table clean as from raw where {CLEAN}", limits)
    return connection


def ask(raw: Path, query: str, simulation: Simulation = SMALL) -> list[tuple]:
    with opened(raw, simulation) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def default(tmp_path_factory) -> SimulatedLog:
    return simulate(Simulation(), 7, tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="module")
def ask_default(default) -> Iterator[Callable[[str], list[tuple]]]:
    with opened(default.raw, Simulation()) as connection:
        yield lambda query: connection.execute(query).fetchall()


def test_same_settings_and_seed_give_the_same_bytes(tmp_path):
    one, two, other = (
        simulate(SMALL, seed, tmp_path / name)
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    assert one.raw.read_bytes() == two.raw.read_bytes() != other.raw.read_bytes()
    assert one.truth.read_bytes() == two.truth.read_bytes()
    simulate(SMALL, 3, tmp_path / "one")  # over what is there
    assert {path.name for path in one.raw.parent.iterdir()} == {"raw.parquet", "truth.json"}


def test_columns_and_types_are_canonical(default):
    with duckdb.connect() as connection:
        columns = connection.execute(f"describe from read_parquet('{default.raw}')").fetchall()
    assert {name: kind for name, kind, *_ in columns} == COLUMNS
    assert pq.read_schema(default.raw).pandas_metadata is None


def test_default_log_has_the_size_and_shape_of_a_real_shop(default, ask_default):
    ((rows, mean_lines, customers, home),) = ask_default(
        """select (select count(*) from raw), count(*) / count(distinct invoice_id),
                  count(distinct customer_id),
                  count(distinct customer_id) filter (country = 'United Kingdom')
           from clean"""
    )
    shop = Simulation()
    assert 250_000 < rows < 380_000
    assert mean_lines == pytest.approx(shop.lines_per_invoice, rel=0.05)
    assert customers == shop.customers
    assert home / customers == pytest.approx(0.91, abs=0.03)


@pytest.fixture
def many_chunks(monkeypatch) -> int:
    """The log in chunks of about so many lines: `SMALL` has some 4,000."""
    monkeypatch.setattr(simulator, "_LINES_AT_A_TIME", 500)
    return 500


def test_chunks_cover_the_customers_and_have_one_size(many_chunks):
    chunks = chunks_of_customers(SMALL)
    assert len(chunks) > 5
    assert [customer for chunk in chunks for customer in chunk] == list(range(SMALL.customers))
    assert len({len(chunk) for chunk in chunks[:-1]}) == 1


def test_a_log_of_many_chunks_is_one_log_of_which_few_chunks_are_held(
    tmp_path, many_chunks, monkeypatch
):
    sizes = []

    def watched(parts, *others):
        def each():
            for part in parts:
                sizes.append(part.size)
                yield part

        write(each(), *others)

    monkeypatch.setattr(simulator, "write", watched)
    made = simulate(SMALL, 3, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"raw.parquet", "truth.json"}
    assert sum(sizes) == pq.read_metadata(made.raw).num_rows
    assert len(sizes) > 5 and max(sizes) < 3 * many_chunks
    invoice, time = invoices_and_times(made.raw)
    assert set(np.diff(invoice)) == {0, 1}  # in order, without a gap
    assert (np.diff(time[time < np.datetime64("2100-01-01")]) >= np.timedelta64(0)).all()
    ((customers, several, histories, different),) = ask(
        made.raw,
        """with histories as (
               select list(at_time order by at_time) as history from (
                   select distinct customer_id, invoice_id, min(invoiced_at) as at_time
                   from clean group by all
               ) group by customer_id
           ) select count(distinct customer_id), (select count(*) from (
                 select invoice_id from raw where customer_id is not null
                 group by invoice_id having count(distinct customer_id) > 1
             )), (select count(*) from histories), (select count(distinct history) from histories)
             from clean""",
    )
    assert customers == histories == different == SMALL.customers and several == 0
    again = simulate(SMALL, 3, tmp_path / "again")
    assert made.raw.read_bytes() == again.raw.read_bytes()


def test_nothing_is_left_behind_when_it_fails_half_way(tmp_path, many_chunks, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spill, "sorted", full)
    with pytest.raises(OSError, match="No space left"):
        simulate(SMALL, 3, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]


def test_a_stream_is_its_own_and_given_out_once():
    streams = Streams(1, 2)
    births = streams("births").random(3)
    assert (Streams(1, 2)("births").random(5)[:3] == births).all()  # more of it: the same first
    for other in (Streams(1, 3)("births"), Streams(2, 2)("births"), streams("rates")):
        assert (other.random(3) != births).all()
    with pytest.raises(ValueError, match="'births' is drawn from twice"):
        streams("births")


@given(st.floats(1e-6, 3), st.floats(0, 2000), st.floats(0, 2000), st.integers(0, 99))
def test_more_lines_move_no_earlier_pick(rate, size, more, seed):
    def picks(length: float) -> np.ndarray:
        return every(np.random.default_rng(seed), rate, length)

    short, long = picks(size), picks(size + more)
    assert (long[: short.size] == short).all()
    assert (long[short.size :] >= size).all()
    assert abs(short.size - rate * size) <= 1
    assert (np.diff(short) >= 0).all()


def invoices_and_times(raw: Path) -> tuple[np.ndarray, np.ndarray]:
    """The number of the invoice and the time of each row."""
    table = pq.read_table(raw, columns=["invoice_id", "invoiced_at"])
    number = np.array([int(text.lstrip("AC")) for text in table["invoice_id"].to_pylist()])
    return number, table["invoiced_at"].to_numpy()


def test_rows_come_in_the_order_of_time_and_of_invoice_number(default):
    invoice, time = invoices_and_times(default.raw)
    in_log = time < np.datetime64(Simulation().start + timedelta(Simulation().days))
    assert (np.diff(invoice) >= 0).all()
    assert (np.diff(time[in_log]) >= np.timedelta64(0)).all()


KINDS = {
    "anonymous": ("customer_id is null", Simulation().anonymous_share),
    "cancellation": ("invoice_id ^@ 'C' and quantity < 0", Simulation().cancelled_share),
    "no product": (r"not regexp_full_match(trim(product_id), '\d{5}[A-Za-z]{0,2}')", 0.006),
    "zero price": ("unit_price = 0", 0.0058),
    "negative price": ("unit_price < 0 and invoice_id ^@ 'A'", 0.00001),
    "negative, not cancelled": ("quantity < 0 and not invoice_id ^@ 'C'", 0.0033),
    "no description": ("description is null", 0.004),
    "messy code": (r"regexp_full_match(product_id, '\d{5}( |[a-z])')", 0.004),
    "absurd quantity": ("abs(quantity) in (80995, 74215)", 0.000004),
    "no time": ("invoiced_at is null", 0.0002),
    "future time": ("invoiced_at > '2100-01-01'", 0.00005),
}


def test_errors_of_every_kind_come_at_their_rate(ask_default):
    counts = ", ".join(f"count(*) filter ({condition})" for condition, _ in KINDS.values())
    distinct = "(select count(*) from (select distinct * from raw))"
    ((rows, distinct_rows, *each),) = ask_default(f"select count(*), {distinct}, {counts} from raw")
    assert rows - distinct_rows == pytest.approx(0.011 * rows, rel=0.15)
    for count, (kind, (_, expected)) in zip(each, KINDS.items(), strict=True):
        assert count >= 1 and count == pytest.approx(rows * expected, rel=0.15, abs=4), kind


def test_a_log_with_all_error_rates_at_zero_is_clean(tmp_path):
    spotless = SMALL.model_copy(
        update={"dirt": 0.0, "anonymous_share": 0.0, "cancelled_share": 0.0}
    )
    raw = simulate(spotless, 1, tmp_path).raw
    assert ask(raw, "select count(*) from raw") == ask(raw, "select count(*) from clean")


@pytest.mark.parametrize(("dirt", "lines"), [(1.0, 1.0), (50.0, 3.0)])
def test_every_true_purchase_keeps_a_clean_line_and_no_other_is_made(tmp_path, dirt, lines):
    simulation = SMALL.model_copy(update={"dirt": dirt, "lines_per_invoice": lines})
    raw = simulate(simulation, 5, tmp_path).raw
    clock = warped_clock(season(simulation.season), simulation.start, simulation.days)
    (customers,) = chunks_of_customers(simulation)
    true = draw_purchases(Streams(5, SHOP + 1), population(simulation), len(customers), clock)
    starts = np.flatnonzero(np.diff(true.customer, prepend=-1))
    histories = sorted(tuple(part.tolist()) for part in np.split(true.second, starts[1:]))

    # Clean lines show every purchase; a reader who takes any positive line sees no more of them.
    for rows in ("clean", "raw where quantity > 0 and customer_id is not null"):
        seen = ask(
            raw,
            f"""with purchases as (
                    select customer_id, invoice_id,
                           date_diff('second', date '{simulation.start}', min(invoiced_at)) as s
                    from {rows} group by all
                )
                select list(s order by s) from purchases group by customer_id""",
        )
        assert sorted(tuple(row[0]) for row in seen) == histories


def test_a_cancellation_takes_back_part_of_an_earlier_sale_to_the_same_customer(ask_default):
    orphans = ask_default(
        """select count(*) from raw as back
           where invoice_id ^@ 'C' and not exists (
               from raw as sale
               where sale.customer_id = back.customer_id
                 and upper(trim(sale.product_id)) = upper(trim(back.product_id))
                 and sale.unit_price = back.unit_price and sale.quantity >= -back.quantity
                 and sale.invoiced_at < back.invoiced_at
           )"""
    )
    assert orphans == [(0,)]


def test_nothing_is_sold_at_night_or_over_the_holidays(ask_default):
    open_times = ask_default(
        """select min(hour(invoiced_at)), max(hour(invoiced_at)),
                  count(*) filter (monthday >= '12-24' or monthday <= '01-03')
           from (select *, strftime(invoiced_at, '%m-%d') as monthday from clean)"""
    )
    assert open_times == [(8, 17, 0)]


def test_truth_says_what_the_log_was_drawn_from(default):
    truth = json.loads(default.truth.read_text())
    assert (truth["start"], truth["end"]) == ("2024-01-01", "2025-12-31")
    assert truth["population"] == {"r": 0.6, "alpha": 7 * 6.9, "a": 0.2, "b": 1.8}


@pytest.mark.parametrize(
    "change",
    [
        {"customers": 50, "days": 200, "products": 20, "lines_per_invoice": 1.0},
        {"lines_per_invoice": 200.0, "products": 20},
        {"season": 0.0, "anonymous_share": 0.9, "cancelled_share": 0.5},
        {"dropout_a": 0.001, "dropout_b": 5.0, "purchase_shape": 0.05},
        {"start": date(2023, 12, 25), "days": 200},
    ],
)
def test_the_corners_of_the_settings_give_a_log(tmp_path, change):
    simulation = Simulation(**(SMALL.model_dump() | change))
    raw = simulate(simulation, 1, tmp_path).raw
    customers = ask(raw, "select count(distinct customer_id) from clean", simulation)
    assert customers == [(simulation.customers,)]


CLOCK = warped_clock(season(0.8), date(2024, 1, 1), 730)
seconds = st.floats(0, 730 * DAY)
warped_days = st.floats(0, float(CLOCK.warped[-1]), exclude_max=True)


@given(warped_days, seconds, seconds)
def test_warped_time_never_runs_backwards_and_back_is_the_same_time(warped, one, two):
    early, late = CLOCK.warp(sorted([one, two]))
    assert early <= late
    assert CLOCK.warp(CLOCK.unwarp(warped)) == pytest.approx(warped, abs=1e-6)


@given(seconds)
def test_clock_time_and_back_is_the_same_second_where_the_shop_is_open(second):
    hour = int(second // HOUR)
    is_open = hour + 1 < CLOCK.warped.size and CLOCK.warped[hour] < CLOCK.warped[hour + 1]
    warped = CLOCK.warp(second)
    if warped < CLOCK.warped[-1]:
        back = float(CLOCK.unwarp(warped))
        # Saturdays are so slow that a rounding error of warped time is some milliseconds there.
        assert back == pytest.approx(second, abs=0.1) if is_open else back >= second - 0.1


def test_over_28_years_warped_time_is_clock_time():
    days = (date(2029, 1, 1) - date(2001, 1, 1)).days
    assert warped_clock(season(0.8), date(2001, 1, 1), days).warped[-1] == pytest.approx(days)
    for strength, year in ((0.0, 1970), (0.3, 2024), (1.0, 2090)):
        clock = warped_clock(season(strength), date(year, 1, 1), 365)
        assert clock.warped[-1] == pytest.approx(365, rel=0.02)


def test_asking_beyond_the_clock_is_an_error():
    with pytest.raises(ValueError, match="covers 730 days from 2024-01-01"):
        CLOCK.warp(731 * DAY)
    with pytest.raises(ValueError, match="warped days must be in"):
        CLOCK.unwarp(-1.0)


def test_the_command_writes_a_log_and_prints_its_size(tmp_path, capsys):
    words = ["customers=60", "days=250", "start=2023-05-01", "products=50", "seed=3"]
    assert main([str(tmp_path), *words]) == 0
    rows = pq.read_metadata(tmp_path / "raw.parquet").num_rows
    assert f"{rows:,} lines" in capsys.readouterr().out
    by_hand = Simulation(customers=60, days=250, start=date(2023, 5, 1), products=50)
    same = simulate(by_hand, 3, tmp_path / "by_hand")
    assert (tmp_path / "raw.parquet").read_bytes() == same.raw.read_bytes()


def test_the_command_refuses_what_is_not_a_setting(tmp_path, capsys):
    assert main([]) == main([str(tmp_path), "customers"]) == 2
    assert main([str(tmp_path), "customers=1"]) == main([str(tmp_path), "shoppers=100"]) == 1
    assert "shoppers" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
