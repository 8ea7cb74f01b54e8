"""What holds of the figures of every month, in whatever order months come."""

from __future__ import annotations

import pytest
from shop import FIRST, Shop, refill

from monitoring.facts import end_of
from monitoring.state import read_judged

pytestmark = pytest.mark.slow

MONTHS = ("2026-04", "2026-05", "2026-06", "2026-07")
KINDS = ("scores", "facts", "verdicts", "baseline")


@pytest.fixture(scope="module")
def in_order(opened, tmp_path_factory) -> dict[str, str]:
    """The hashes of four months, each worked off when it was over."""
    from flows import operate

    shop, known = opened
    refill(known, shop.var)
    shop.open()
    shop.deliver(before=FIRST)
    for month in MONTHS:
        shop.deliver(month)
        operate.operate(shop.settings(str(end_of(month))), lambda _: None)
    return shop.hashes(KINDS)


def judged(shop: Shop) -> list[str]:
    return [one.verdict.month for one in read_judged(shop.kept)[0]]


def test_several_due_months_at_once_are_one_after_the_other(shop, run, in_order):
    shop.deliver(*MONTHS, "2026-08")  # the log goes on after them, too
    done = run(shop, "operate", "2026-08-20")
    assert done.code == 0, done.err
    assert judged(shop) == list(MONTHS)
    assert shop.hashes(KINDS) == in_order


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


def test_judging_again_changes_no_byte_and_neither_do_later_months(shop, run, in_order):
    shop.deliver(*MONTHS, "2026-08", "2026-09")
    run(shop, "operate", "2026-08-01")
    files = {file: file.stat().st_mtime_ns for file in shop.kept.glob("facts/*/*.parquet")}
    for day in ("2026-08-01", "2026-08-31"):  # the second sees most of August
        assert run(shop, "monitor", day).code == 0
        assert shop.hashes(KINDS) == in_order
    assert {file: file.stat().st_mtime_ns for file in files} == files, "they were not even written"
    run(shop, "operate", "2026-10-01")
    assert in_order.items() <= shop.hashes(KINDS).items()


def test_facts_that_are_made_again_with_later_rows_in_the_log_are_the_same(shop, run, in_order):
    shop.deliver(*MONTHS)
    run(shop, "operate", "2026-08-01")
    for file in [*shop.kept.glob("facts/*/month=2026-07.parquet")]:
        file.unlink()
    (shop.kept / "verdicts" / "month=2026-07.json").unlink()
    assert run(shop, "monitor", "2026-08-31").code == 0
    assert shop.hashes(KINDS) == in_order


def test_purchases_after_the_label_window_change_no_figure(shop, run, in_order):
    """The scores as of 1 May have a label that is known on 30 July: what happens on the last day of
    July, and later, says nothing about them."""
    shop.deliver(*MONTHS)
    shop.rewrite("2026-07", "SELECT * FROM {file} WHERE invoiced_at < DATE '2026-07-31'")
    run(shop, "operate", "2026-08-01")
    for kind in ("performance", "pooled", "estimates"):
        name = f"monitoring/log/facts/{kind}/month=2026-07.parquet"
        if kind != "estimates":
            assert shop.hashes(KINDS)[name] == in_order[name]
