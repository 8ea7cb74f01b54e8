"""The data report: its figures are right, it gives away no outcome, and it survives odd logs."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from read_page import NO_BROWSER, Page, check_alone, check_fits

from common.statistics import wilson
from configs.settings import Compute
from reports.data import write_data_report
from reports.labelled import histogram
from reports.table_figures import roc_auc
from tests.serving.browser import open_browser

pytestmark = pytest.mark.slow

CANONICAL = {
    "invoice_id": pa.string(),
    "product_id": pa.string(),
    "description": pa.string(),
    "quantity": pa.int64(),
    "unit_price": pa.float64(),
    "invoiced_at": pa.timestamp("us"),
    "customer_id": pa.string(),
    "country": pa.string(),
}
TEXTS = pa.list_(pa.string())
PART = pa.schema(
    {"source": pa.string(), "source_row": pa.int64(), **CANONICAL, "unreadable": TEXTS}
)
QUARANTINE = pa.schema(
    {
        "source": pa.string(),
        "source_row": pa.int64(),
        "reasons": TEXTS,
        **CANONICAL,
        "unreadable": TEXTS,
    }
)
START = datetime(2024, 1, 1, 9, 30)


def sale(day: int = 0, **changes: Any) -> dict[str, Any]:
    """One valid raw row, so many days after START."""
    return {
        "source": "log.csv",
        "source_row": day + 1,
        "invoice_id": str(day),
        "product_id": "10001",
        "description": "MUG",
        "quantity": 2,
        "unit_price": 1.25,
        "invoiced_at": START + timedelta(days=day),
        "customer_id": f"c{day % 7}",
        "country": "France",
        "unreadable": [],
        "reasons": [],
    } | changes


def refused(*reasons: str, day: int = 0, **changes: Any) -> dict[str, Any]:
    return sale(day, reasons=list(reasons), **changes)


def asked(
    split: str, as_of: date, label: int, customer: int = 0, **features: float | None
) -> dict[str, Any]:
    return {
        "customer_id": f"c{customer}",
        "as_of": as_of,
        "split": split,
        **(features or {"orders_total": float(customer)}),
        "label": label,
    }


DATES = {"train": date(2024, 3, 1), "valid": date(2024, 6, 1), "test": date(2024, 9, 1)}
SALES = [sale(day) for day in range(0, 350, 3)]
ASKED = [
    asked(split, day, int(customer % 3 == 0), customer)
    for split, day in DATES.items()
    for customer in range(30)
]


def report(
    folder: Path,
    rows: list[dict[str, Any]] = SALES,
    table: list[dict[str, Any]] = ASKED,
    *,
    title: str = "Data report",
    compute: Compute | None = None,
    contract: str = '{"findings": [{"code": "zero_price", "why": "gifts are no sales"}]}',
) -> str:
    """The page of a run over these raw rows; those with reasons are in quarantine."""
    folder.mkdir(exist_ok=True)
    half = len(rows) // 2
    for name, part in (("a", rows[:half]), ("b", rows[half:])):
        pq.write_table(pa.Table.from_pylist(part, schema=PART), folder / f"{name}.parquet")
    valid = [row for row in rows if not row["reasons"]]
    out = [row for row in rows if row["reasons"]]
    pq.write_table(
        pa.Table.from_pylist(valid, schema=pa.schema(CANONICAL)), folder / "transactions.parquet"
    )
    pq.write_table(pa.Table.from_pylist(out, schema=QUARANTINE), folder / "quarantine.parquet")
    (folder / "contract.json").write_text(contract)
    features = [n for n in table[0] if n not in ("customer_id", "as_of", "split", "label")]
    schema = pa.schema(
        {
            "customer_id": pa.string(),
            "as_of": pa.date32(),
            "split": pa.string(),
            **{name: pa.float64() for name in features},
            "label": pa.int8(),
        }
    )
    pq.write_table(pa.Table.from_pylist(table, schema=schema), folder / "table.parquet")
    write_data_report(
        [folder / "a.parquet", folder / "b.parquet"],
        folder,
        folder / "table.parquet",
        folder / "data_report.html",
        title=title,
        compute=compute or Compute(),
    )
    left = {file.name for file in folder.iterdir()}
    assert not any("spill" in name or "unfinished" in name for name in left)
    return (folder / "data_report.html").read_text(encoding="utf-8")


def table_row(page: str, first: str) -> list[str]:
    """The cells of the first row whose first cell begins with this text."""
    for row in re.findall(r"<tr.*?</tr>", page, re.S):
        cells = [Page(cell).text for cell in re.findall(r"<td.*?</td>", row, re.S)]
        if cells and cells[0].startswith(first):
            return cells
    raise AssertionError(f"no row {first!r}")


# What it says


def test_rows_add_up_and_revenue_is_less_cancellations(tmp_path: Path) -> None:
    rows = [sale(0), sale(1, quantity=-1, unit_price=0.1), refused("zero_price", day=2)]
    text = Page(report(tmp_path, rows * 1000)).text
    assert "3,000 rows in = 2,000 valid + 1,000 in quarantine" in text
    assert "revenue, less cancellations 2,400" in text  # 1000 x (2.50 - .10)
    assert "2024-01-01 to 2024-01-02" in text


def test_every_reason_is_counted_with_its_share_and_alone(tmp_path: Path) -> None:
    rows = [
        *SALES[:6],
        refused("zero_price", "duplicate", day=3),
        refused("zero_price", day=4),
        refused("zero_price", day=4),
        refused("duplicate", day=5),
    ]
    page = report(tmp_path, rows)
    assert table_row(page, "zero_price") == [
        "zero_price gifts are no sales", "3", "30.0 %", "2", "", "3"
    ]  # fmt: skip
    assert table_row(page, "duplicate")[:4] == ["duplicate", "2", "20.0 %", "1"]


def test_missing_and_unreadable_values_are_counted_per_column(tmp_path: Path) -> None:
    rows = [
        *SALES[:7],
        sale(2, description=None),
        refused("missing_time", invoiced_at=None, unreadable=["invoiced_at=31st of May"]),
        refused("missing_time", invoiced_at=None),
    ]
    page = report(tmp_path, rows)
    assert table_row(page, "description")[:4] == ["description", "1", "10.0 %", "0"]
    assert table_row(page, "invoiced_at")[:4] == ["invoiced_at", "2", "20.0 %", "1"]
    assert table_row(page, "country")[:4] == ["country", "0", "–", "0"]
    assert "invoiced_at=31st of May" in page


def test_quarantined_rows_without_a_place_in_time_are_named(tmp_path: Path) -> None:
    far = datetime(2924, 1, 1)
    rows = [*SALES, refused("future_time", invoiced_at=far), refused("no_time", invoiced_at=None)]
    text = Page(report(tmp_path, rows)).text
    assert "2 quarantined rows lie outside the picture, or have no time" in text
    assert "2924-01-01" in text  # among the examples, not on the axis


def test_what_has_no_bar_says_why(tmp_path: Path) -> None:
    """`most a week 0` would be a lie about rows that are there, but have no place in time."""
    far = datetime(2924, 1, 1)
    rows = [*SALES, refused("future_time", invoiced_at=far), refused("no_time", invoiced_at=None)]
    page = report(tmp_path, rows)
    assert table_row(page, "no_time")[-2:] == ["no time", ""]
    assert table_row(page, "future_time")[-2:] == ["outside the picture", ""]
    assert table_row(page, "invoiced_at")[-2:] == ["no time", ""]
    assert table_row(page, "country")[-2:] == ["", ""]  # never missing


def test_a_nearly_empty_week_does_not_set_the_highest_share(tmp_path: Path) -> None:
    busy = [sale(day) for day in range(70) for _ in range(5) if not 28 <= day < 35]
    gaps = [sale(day, customer_id=None) for day in range(0, 70, 7)]  # a row a week
    page = report(tmp_path, [*busy, *gaps])
    assert table_row(page, "customer_id")[1:3] == ["10", "3.1 %"]
    assert table_row(page, "customer_id")[-1] == "2.8 %"  # one of 36; in the fifth week one of one


def test_the_target_rate_has_its_interval(tmp_path: Path) -> None:
    page = report(tmp_path)
    low, high = wilson(10 / 30, 30)
    interval = f"{100 * low:.1f} to {100 * high:.1f} %"
    assert table_row(page, "2024-03-01") == ["2024-03-01", "train", "30", "10", "33.3 %", interval]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=30))
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[bool, int]]) -> None:
    pairs = [
        1.0 if buyer > other else 0.5 if buyer == other else 0.0
        for bought, buyer in rows
        for also, other in rows
        if bought and not also
    ]
    label, values = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = roc_auc(label, values)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_a_feature_is_ranked_on_each_training_date_by_itself(tmp_path: Path) -> None:
    """`season` tells the dates apart and no customer; `skill` ranks every date the same."""
    dates = {date(2024, 2, 1): 0.9, date(2024, 3, 1): 0.1}
    table = [
        asked("train", day, int(place < share * 20), place, season=share, skill=-float(place))
        for day, share in dates.items()
        for place in range(20)
    ]
    page = report(tmp_path, table=[*table, asked("valid", DATES["valid"], 1, season=1, skill=1)])
    assert table_row(page, "season")[-1] == "0.500"
    assert table_row(page, "skill")[-1] == "1.000"


# What it does not say


def test_outcomes_of_the_test_split_do_not_reach_the_page(tmp_path: Path) -> None:
    def flipped(split: str) -> list[dict[str, Any]]:
        return [
            row | {"label": 1 - row["label"]} if row["split"] == split else row for row in ASKED
        ]

    page = report(tmp_path)
    assert report(tmp_path, table=flipped("test")) == page
    assert report(tmp_path, table=flipped("valid")) != page
    assert table_row(page, "2024-09-01") == ["2024-09-01", "test", "30", "", "not opened here"]
    assert "The test split is opened once per run" in Page(page).text


def test_the_label_is_ranked_on_the_training_split_only(tmp_path: Path) -> None:
    """In validation and test the feature tells everything, in training nothing."""
    table = [
        asked(
            split, day, customer % 2, customer, told=float(customer % 2 if split != "train" else 1)
        )
        for split, day in DATES.items()
        for customer in range(40)
    ]
    page = report(tmp_path, table=table)
    assert table_row(page, "told")[-1] == "0.500"
    assert "Without a use on the training split, because they have one value or none: told" in (
        Page(page).text
    )


# How it is made


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    source = report(tmp_path, [*SALES, refused("zero_price")])
    page = check_alone(source)
    assert len([tag for tag, _ in page.tags if tag == "a"]) == 8
    assert str(tmp_path) not in source
    assert len(page.having("chart")) == 3 + 2 + 1  # the target for phones too; a feature
    assert source.count("<figure>") == source.count("<figcaption>") == 5  # not the target


@NO_BROWSER
def test_the_page_fits_every_screen(tmp_path: Path) -> None:
    with open_browser() as browser:
        for days, rows in (("year", SALES), ("decade", [sale(day) for day in range(0, 3650, 9)])):
            report(tmp_path / days, [*rows, refused("zero_price")])
            check_fits(browser, tmp_path / days / "data_report.html")


def test_the_same_data_gives_the_same_page_whatever_the_machine(tmp_path: Path) -> None:
    rows = [*SALES, *(refused("zero_price", day=day, unit_price=0.0) for day in range(200))]
    one = report(tmp_path / "one", rows, compute=Compute(threads=1))
    assert report(tmp_path / "two", rows, compute=Compute(threads=2, memory_mb=256)) == one


@pytest.mark.parametrize("contract", ["", "[]", '{"findings": {"a": 1}}', '{"findings": [{}]}'])
def test_a_contract_of_another_form_costs_only_the_explanations(
    tmp_path: Path, contract: str
) -> None:
    page = report(tmp_path, [*SALES, refused("zero_price")], contract=contract)
    assert table_row(page, "zero_price")[0] == "zero_price"


# Odd logs


def test_markup_in_the_data_is_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    rows = [*SALES, refused("bad", evil, customer_id=evil, description=evil, source=evil)]
    table = [row | {evil: row["orders_total"], "label": row["label"]} for row in ASKED]
    table = [
        {**{k: v for k, v in row.items() if k != "label"}, "label": row["label"]} for row in table
    ]
    page = report(tmp_path, rows, table, title=evil)
    assert not {"script", "img"} & {tag for tag, _ in Page(page).tags}
    assert Page(page).text.count("<script>alert(1)</script>") >= 5
    assert not any(name.startswith("on") for _, held in Page(page).tags for name in held)


def test_a_log_without_quarantine(tmp_path: Path) -> None:
    text = Page(report(tmp_path)).text
    assert "No row was quarantined" in text and "+ 0 in quarantine" in text


def test_a_log_without_product_and_country(tmp_path: Path) -> None:
    rows = [sale(d, product_id=None, country=None, description=None) for d in range(30)]
    page = report(tmp_path, rows)
    for name in ("product_id", "country", "description"):
        assert table_row(page, name)[-2].startswith("the source has no such column")


def test_a_log_with_dates_without_hours(tmp_path: Path) -> None:
    rows = [sale(day, invoiced_at=datetime(2024, 1, 1) + timedelta(days=day)) for day in range(28)]
    page = report(tmp_path, rows)
    assert "The log's times have no hour" in page
    assert Page(page).text.count("14.3 %") >= 7


def test_one_as_of_date_and_one_class(tmp_path: Path) -> None:
    page = report(tmp_path, table=[asked("train", DATES["train"], 1, place) for place in range(5)])
    assert "No feature can be ranked" in page
    assert 'id="distributions"' not in page and "#distributions" not in page


def test_a_feature_that_is_always_missing(tmp_path: Path) -> None:
    table = [
        asked(row["split"], row["as_of"], row["label"], place, empty=None, some=float(place))
        for place, row in enumerate(ASKED)
    ]
    page = report(tmp_path, table=table)
    assert table_row(page, "empty") == ["empty", "100.0 %", "100.0 %", "100.0 %"]
    assert "one value or none: empty " in Page(page).text


def test_ten_years_are_drawn_by_month(tmp_path: Path) -> None:
    rows = [sale(day) for day in range(3650)]
    page = report(tmp_path, rows)
    assert "By month." in Page(page).text
    assert "2024 to 2031 2032 2033" in Page(page).text  # ten lines, three keys
    assert page.count('class="hint"') == 2 * 120
    assert len(page) < 300_000


def test_a_stray_row_does_not_flatten_the_pictures(tmp_path: Path) -> None:
    """Of 1900, and a sale of minus 250 million: both are said in words, neither sets an axis."""
    rows = [sale(day, quantity=2 + day % 5) for day in range(0, 700, 2)]
    wild = [
        sale(0, invoiced_at=datetime(1900, 1, 1)),
        sale(300, quantity=-1, unit_price=250e6),
    ]
    page = report(tmp_path, [*rows, *wild])
    text = Page(page).text
    assert "1 valid row lies outside the picture" in text
    assert "it shows 2024-01-01 to 2025-11-29, the log runs from 1900-01-01 to 2025-11-29" in text
    assert "By week." in text
    assert re.search(
        r"Cut at the end of the axis: -\d{3},\d{3},\d{3} in the week of 2024-10-21", text
    )
    assert re.search(r"Cut at the end of the axis: -[\d,]+ in Oct 2024", text)
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert labels and not any(label[-1:] in "MG" for label in labels)  # no axis in millions
    assert "1900" not in labels


def test_an_ordinary_log_is_shown_whole(tmp_path: Path) -> None:
    text = Page(report(tmp_path, [sale(day) for day in range(400)])).text
    assert "outside the picture" not in text and "Cut at the end" not in text


@settings(max_examples=50, deadline=None)
@given(
    start=st.floats(allow_nan=False, allow_infinity=False, width=32),
    steps=st.lists(st.integers(0, 3), min_size=1, max_size=9),
)
@example(start=4_006_381_082_624_000.0, steps=[0, 0])
def test_any_numbers_have_a_histogram(start: float, steps: list[int]) -> None:
    """Neighbours in float32 too: bars between them would have no width."""
    values = start + np.cumsum(steps) * float(np.spacing(np.float32(start)))
    _, words = histogram(np.sort(values[np.isfinite(values)].astype(np.float64)))
    assert words == "no value" or "median" in words


def test_the_rails_of_roc_auc_have_ends_that_do_not_follow_the_strongest(tmp_path: Path) -> None:
    """A set in which nothing tells much must not look like one in which something does."""
    weak = [
        asked("train", DATES["train"], place % 2, place, weak=float(place % 5))
        for place in range(99)
    ]
    page = report(tmp_path, table=weak)
    heads = re.findall(r"<th scope=.col.>(?:(?!</th>).)*class=\"ends\".*?</th>", page, re.S)
    assert [Page(head).text for head in heads] == [".2 .5 .8 ← smaller buyers’ values are larger →"]
    widths = re.findall(r'class="bar money" style="left: [\d.]+%; width: ([\d.]+)%"', page)
    assert widths and all(float(width) < 10 for width in widths)
    strong = [row | {"weak": row["label"] + 0.0} for row in weak]
    assert "<span>0</span><span>.5</span><span>1</span>" in report(tmp_path, table=strong)
