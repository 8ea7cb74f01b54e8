"""The same rows give the same bytes, whatever their order, the threads, or who else is asked."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made_logs import as_table, ask, shop_log, write

from configs.settings import Features
from features import engine
from features.build import build_table

pytestmark = pytest.mark.slow

AS_OF = (date(2024, 3, 1), date(2024, 9, 1))
QUESTION = Features(horizon_days=60, min_history_days=90)
SEASON = {"season_orders", "season_revenue"}  # what they lack depends on the start of the log


@pytest.fixture(scope="module")
def large() -> pa.Table:
    """More rows than DuckDB hands to one thread at a time (122,880)."""
    small = as_table(shop_log(40, 400))
    rng = np.random.default_rng(3)
    table = small.take(rng.integers(len(small), size=150_000))
    prices = np.round(rng.gamma(0.5, 3, len(table)) + 0.001, 3)
    return table.set_column(table.column_names.index("unit_price"), "unit_price", pa.array(prices))


def test_neither_the_order_of_the_rows_nor_the_threads_move_a_bit(large):
    backwards = large.take(np.arange(len(large))[::-1])
    shuffled = large.take(np.random.default_rng(4).permutation(len(large)))
    expected = ask(large, AS_OF, threads=1).bits()
    assert len(expected) > 50
    assert ask(backwards, AS_OF, threads=2).bits() == expected
    assert ask(shuffled, AS_OF, threads=2).bits() == expected


def test_the_same_rows_in_another_order_give_the_same_file(tmp_path: Path):
    log = shop_log(40, 400)
    build_table(write(log, tmp_path / "log.parquet"), tmp_path / "one.parquet", QUESTION)
    random.Random(5).shuffle(log)
    build_table(write(log, tmp_path / "log.parquet"), tmp_path / "two.parquet", QUESTION)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_a_customer_alone_has_the_features_that_the_customer_has_among_all():
    log = shop_log(6, 100)
    batch = ask(log, AS_OF).features
    assert len(batch) == 12
    for (customer, as_of), expected in batch.items():
        own = [line for line in log if line.customer_id == customer]
        alone = ask(own, [], spine=[(customer, as_of)]).features[customer, as_of]
        for name, value in alone.items():
            if name in SEASON and value is None:
                continue  # the customer's own rows do not show how far the log reaches back
            assert value == expected[name], (customer, as_of, name)


def test_a_customer_alone_lacks_nothing_when_the_start_of_the_whole_log_is_given():
    log = shop_log(12, 200)
    start = min(line.invoiced_at for line in log if line.quantity > 0).date()
    batch = ask(log, AS_OF).bits()
    for customer in ("customer 3", "customer 7"):
        own = [line for line in log if line.customer_id == customer]
        alone = ask(own, AS_OF, log_start=start).bits()
        assert alone == {key: value for key, value in batch.items() if key[0] == customer}


@pytest.mark.parametrize("rows", [200, 1000])
def test_the_number_of_passes_does_not_matter(rows, monkeypatch, tmp_path: Path):
    log = write(shop_log(40, 400), tmp_path / "log.parquet")
    build_table(log, tmp_path / "one.parquet", QUESTION)
    monkeypatch.setattr(engine, "ROWS_PER_PASS", rows)
    build_table(log, tmp_path / "many.parquet", QUESTION)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "many.parquet").read_bytes()


def test_as_of_dates_may_be_many_and_all_different():
    log = shop_log(12, 200)
    dates = [date(2023, 9, 1) + timedelta(days=4 * n) for n in range(120)]
    together = ask(log, dates).features
    spine = [(f"customer {n % 12}", dates[n]) for n in range(0, 120, 7)]
    each = ask(log, [], spine=spine).features
    assert each == {key: together[key] for key in each if key in together}
    assert len(each) == len(spine)


def test_the_order_and_the_size_of_the_spine_do_not_matter():
    log = shop_log(12, 200)
    batch = ask(log, AS_OF).bits()
    assert ask(log, [], spine=reversed(batch)).bits() == batch
    assert ask(log, AS_OF[:1]).bits() == {k: v for k, v in batch.items() if k[1] == AS_OF[0]}
