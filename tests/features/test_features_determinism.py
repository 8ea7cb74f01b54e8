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


def test_neither_the_order_of_the_rows_nor_the_threads_move_a_bit():
    """With more rows than DuckDB hands to one thread at a time (122,880)."""
    rng, small = np.random.default_rng(3), as_table(shop_log(40, 400))
    large = small.take(rng.integers(len(small), size=150_000))
    prices = pa.array(np.round(rng.gamma(0.5, 3, len(large)) + 0.001, 3))
    large = large.set_column(large.column_names.index("unit_price"), "unit_price", prices)
    expected = ask(large, AS_OF, threads=1).bits()
    assert len(expected) > 50
    assert ask(large.take(rng.permutation(len(large))), AS_OF, threads=2).bits() == expected


def test_neither_the_order_of_the_rows_nor_the_number_of_passes_changes_the_file(
    tmp_path: Path, monkeypatch
):
    log, question = shop_log(40, 400), Features(horizon_days=60, min_history_days=90)

    def built(name: str) -> bytes:
        build_table(write(log, tmp_path / "log.parquet"), tmp_path / name, question)
        return (tmp_path / name).read_bytes()

    expected = built("table.parquet")
    random.Random(5).shuffle(log)
    assert built("shuffled.parquet") == expected
    monkeypatch.setattr(engine, "ROWS_PER_PASS", 200)
    assert built("many_passes.parquet") == expected


def test_a_customer_without_the_others_has_the_same_features_given_the_start_of_the_whole_log():
    log = shop_log(12, 200)
    start = min(line.invoiced_at for line in log if line.quantity > 0).date()
    batch = ask(log, AS_OF).bits()
    for customer in ("customer 3", "customer 7"):
        own = [line for line in log if line.customer_id == customer]
        expected = {key: value for key, value in batch.items() if key[0] == customer}
        assert ask(own, AS_OF, log_start=start).bits() == expected


def test_neither_the_order_nor_the_size_of_the_spine_matters():
    log = shop_log(12, 200)
    batch = ask(log, AS_OF).bits()
    assert ask(log, [], spine=reversed(batch)).bits() == batch
    assert ask(log, AS_OF[:1]).bits() == {k: v for k, v in batch.items() if k[1] == AS_OF[0]}

    dates = [date(2023, 9, 1) + timedelta(days=4 * n) for n in range(120)]  # one each
    together = ask(log, dates).features
    spine = [(f"customer {n % 12}", dates[n]) for n in range(0, 120, 7)]
    apart = ask(log, [], spine=spine).features
    assert set(apart) == set(spine)
    assert apart == {key: together.get(key, values) for key, values in apart.items()}
