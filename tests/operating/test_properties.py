"""What holds of the figures of every month, in whatever order months come."""

from __future__ import annotations

import pytest
from shop import FIRST, refill

from monitoring.facts import end_of
from monitoring.state import read_judged

pytestmark = pytest.mark.slow

MONTHS = ("2026-04", "2026-05", "2026-06", "2026-07")
KINDS = ("scores", "facts", "verdicts", "baseline")


@pytest.fixture(scope="module")
def in_order(opened, tmp_path_factory) -> dict[str, str]:
    """The hashes of four months, each processed when it was over."""
    from flows import operate

    shop, known = opened
    refill(known, shop.var)
    shop.open()
    shop.deliver(before=FIRST)
    for month in MONTHS:
        shop.deliver(month)
        operate.operate(shop.settings(str(end_of(month))), lambda _: None)
    return shop.hashes(KINDS)


def test_a_backfill_in_any_order_and_once_more_gives_the_same_bytes(shop, run, in_order):
    shop.deliver(*MONTHS)
    parts = [("2026-06", "2026-06"), ("2026-04", "2026-05"), ("2026-07", "2026-07")]
    for first, last in parts:
        done = run(shop, "backfill", "2026-08-01", from_=first, to=last)
        assert done.code == 0, done.err
    assert shop.hashes(KINDS) == in_order
    done = run(shop, "backfill", "2026-08-01", from_="2026-04")
    assert "2026-05: " in done.out and " scored" not in done.out
    assert shop.hashes(KINDS) == in_order


def test_several_due_months_at_once_are_one_after_the_other_and_judging_again_changes_no_byte(
    shop, run, in_order
):
    shop.deliver(*MONTHS, "2026-08", "2026-09")
    assert run(shop, "operate", "2026-08-20").code == 0
    assert [one.verdict.month for one in read_judged(shop.kept)[0]] == list(MONTHS)
    assert shop.hashes(KINDS) == in_order
    files = {file: file.stat().st_mtime_ns for file in shop.kept.glob("facts/*/*.parquet")}
    assert run(shop, "monitor", "2026-08-31").code == 0  # which sees most of August
    assert shop.hashes(KINDS) == in_order
    assert {file: file.stat().st_mtime_ns for file in files} == files, "they were not even written"
    run(shop, "operate", "2026-10-01")
    assert in_order.items() <= shop.hashes(KINDS).items(), "later months change nothing"


def test_facts_that_are_made_again_with_later_rows_in_the_log_are_the_same(shop, run, in_order):
    shop.deliver(*MONTHS)
    run(shop, "operate", "2026-08-01")
    for file in [*shop.kept.glob("facts/*/month=2026-07.parquet")]:
        file.unlink()
    (shop.kept / "verdicts" / "month=2026-07.json").unlink()
    assert run(shop, "monitor", "2026-08-31").code == 0
    assert shop.hashes(KINDS) == in_order


def test_purchases_after_the_label_window_change_no_figure(shop, run, in_order):
    """The label of the scores as of 1 May is known on 30 July: who buys on the last day of July
    says nothing about them."""
    shop.deliver(*MONTHS)
    somebody = "(SELECT min(customer_id) FROM {file})"
    after = f"CASE WHEN invoiced_at >= DATE '2026-07-31' THEN {somebody} ELSE customer_id END"
    shop.rewrite("2026-07", f"SELECT * REPLACE ({after} AS customer_id) FROM {{file}}")
    run(shop, "operate", "2026-08-01")
    assert shop.hashes(["scores"]).items() != in_order.items()
    for kind in ("performance", "pooled"):
        name = f"monitoring/log/facts/{kind}/month=2026-07.parquet"
        assert shop.hashes(KINDS)[name] == in_order[name]
