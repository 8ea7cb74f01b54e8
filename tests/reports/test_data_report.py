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
from read_page import SCRIPT, Page, check_alone

from common.statistics import wilson
from configs.settings import Compute
from reports.data import write_data_report
from reports.labelled import histogram
from reports.table_figures import roc_auc
from tests.features.made_logs import TYPES as CANONICAL

pytestmark = pytest.mark.slow

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
SALES = [sale(day) for day in range(0, 350, 3)]  # 117 of them, 2.50 each
ASKED = [
    asked(split, day, int(customer % 3 == 0), customer)
    for split, day in DATES.items()
    for customer in range(30)
]
EVERY_KIND = [
    *SALES,
    sale(1, quantity=-4, unit_price=2.5),
    sale(2, description=None),
    refused("zero_price", "duplicate", day=3),
    refused("zero_price", day=4),
    refused("zero_price", day=4),
    refused("duplicate", day=5),
    refused("missing_time", invoiced_at=None, unreadable=["invoiced_at=31st of May"]),
    refused("no_time", invoiced_at=None),
    refused("future_time", invoiced_at=datetime(2924, 1, 1)),
]


def report(
    folder: Path,
    rows: list[dict[str, Any]] = SALES,
    table: list[dict[str, Any]] = ASKED,
    *,
    title: str = "Data report",
    compute: Compute | None = None,
    contract: str = '{"findings": [{"code": "zero_price", "why": "gifts are not sales"}]}',
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


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(tmp_path_factory.mktemp("data"), EVERY_KIND)


def test_rows_add_up_and_revenue_is_less_cancellations(page):
    text = Page(page).text
    assert "126 rows in = 119 valid + 7 in quarantine" in text
    assert "revenue, less cancellations 285" in text  # 118 x 2.50 - 10
    assert "2024-01-01 to 2024-12-14" in text


@pytest.mark.parametrize(
    ("name", "cells", "last"),
    [  # of a reason: rows, share, rows without another reason; the most in a week, or why not
        ("zero_price", ["zero_price gifts are not sales", "3", "2.4 %", "2"], ["", "3"]),
        ("duplicate", ["duplicate", "2", "1.6 %", "1"], ["", "2"]),
        ("no_time", ["no_time", "1", "0.8 %", "1"], ["no time", ""]),
        ("future_time", ["future_time", "1", "0.8 %", "1"], ["outside the charts", ""]),
        # of a column: missing, share, unreadable; the highest share of a week, or why not
        ("description", ["description", "1", "0.8 %", "0"], ["", "11.1 %"]),
        ("invoiced_at", ["invoiced_at", "2", "1.6 %", "1"], ["no time", ""]),
        ("country", ["country", "0", "–", "0"], ["", ""]),
    ],
)
def test_reasons_and_missing_values_are_counted_with_their_share(page, name, cells, last):
    row = table_row(page, name)
    assert (row[:4], row[-2:]) == (cells, last)


def test_quarantined_rows_without_a_place_in_time_are_named(page):
    text = Page(page).text
    assert "3 quarantined rows lie outside the charts, or have no time" in text
    assert "2924-01-01" in text and "invoiced_at=31st of May" in text  # among the examples


def test_the_target_rate_has_its_interval(page):
    low, high = wilson(10 / 30, 30)
    interval = f"{100 * low:.1f} to {100 * high:.1f} %"
    assert table_row(page, "2024-03-01") == ["2024-03-01", "train", "30", "10", "33.3 %", interval]


def test_a_nearly_empty_week_does_not_set_the_highest_share(tmp_path):
    busy = [sale(day) for day in range(70) for _ in range(5) if not 28 <= day < 35]
    gaps = [sale(day, customer_id=None) for day in range(0, 70, 7)]  # a row a week
    page = report(tmp_path, [*busy, *gaps])
    assert table_row(page, "customer_id")[1:3] == ["10", "3.1 %"]
    assert table_row(page, "customer_id")[-1] == "2.8 %"  # one of 36; in the fifth week one of one


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=30))
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(rows):
    pairs = [
        1.0 if buyer > other else 0.5 if buyer == other else 0.0
        for bought, buyer in rows
        for also, other in rows
        if bought and not also
    ]
    label, values = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found = roc_auc(label, values)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_a_feature_is_ranked_on_each_training_date_by_itself_and_on_no_other_split(tmp_path):
    """`season` tells the dates apart and no customer; `skill` ranks every date the same; `told`
    says everything in validation and test, and nothing in training."""
    dates = {date(2024, 2, 1): ("train", 0.9), date(2024, 3, 1): ("train", 0.1)}
    dates |= {DATES["valid"]: ("valid", 0.5), DATES["test"]: ("test", 0.5)}
    table = []
    for day, (split, share) in dates.items():
        for place in range(20):
            label = int(place < share * 20)
            told = 1.0 if split == "train" else float(label)
            values = {"season": share, "skill": -float(place), "told": told, "empty": None}
            table.append(asked(split, day, label, place, **values))
    page = report(tmp_path, table=table)
    ranked = {name: table_row(page, name)[-1] for name in ("season", "skill", "told")}
    assert ranked == {"season": "0.500", "skill": "1.000", "told": "0.500"}
    assert table_row(page, "empty") == ["empty", "100.0 %", "100.0 %", "100.0 %"]
    text = Page(page).text
    assert "No information on the training split, because they have one value or none: told" in text


# What it does not say


def test_outcomes_of_the_test_split_do_not_reach_the_page(page, tmp_path):
    def flipped(split: str) -> list[dict[str, Any]]:
        return [
            row | {"label": 1 - row["label"]} if row["split"] == split else row for row in ASKED
        ]

    assert report(tmp_path, EVERY_KIND, flipped("test")) == page
    assert report(tmp_path, EVERY_KIND, flipped("valid")) != page
    assert table_row(page, "2024-09-01") == ["2024-09-01", "test", "30", "", "not opened here"]
    assert "The test split is opened once per run" in Page(page).text


# How it is made


def test_the_page_needs_nothing_else(page):
    read = check_alone(page)
    assert not re.search(r"/tmp|pytest", page)
    assert len(read.having("chart")) == 3 + 2 + 1  # the target for phones too; a feature
    assert page.count("<figure>") == page.count("<figcaption>") == 5  # not the target


@pytest.mark.parametrize("contract", ["", "[]", '{"findings": [{}]}'])
def test_a_contract_of_another_form_costs_only_the_explanations(tmp_path, page, contract):
    plain = report(tmp_path, EVERY_KIND, contract=contract)
    why = "gifts are not sales"
    assert why in page and why not in plain
    whole, short = (table_row(one, "zero_price") for one in (page, plain))
    assert [cell.replace(why, "").strip() for cell in whole] == [cell.strip() for cell in short]


# Odd logs


def test_markup_in_the_data_is_text(tmp_path):
    evil = f'">{SCRIPT}<img src=x onerror=alert(1)>'
    rows = [*SALES, refused("bad", evil, customer_id=evil, description=evil, source=evil)]
    table = [
        row | {evil: row["orders_total"], "label": row.pop("label")} for row in map(dict, ASKED)
    ]
    assert check_alone(report(tmp_path, rows, table, title=evil)).text.count(SCRIPT) >= 5


def test_a_log_without_quarantine_product_country_and_hours_is_shown_whole(tmp_path):
    missing = {"product_id": None, "country": None, "description": None}
    midnight = datetime(2024, 1, 1)
    rows = [sale(d, invoiced_at=midnight + timedelta(days=d), **missing) for d in range(364)]
    page = report(tmp_path, rows)
    text = Page(page).text
    assert "No row was quarantined" in text and "+ 0 in quarantine" in text
    for name in missing:
        assert table_row(page, name)[-2].startswith("the source has no such column")
    assert "The log's times have no hour" in page and text.count("14.3 %") >= 7
    assert "outside the charts" not in text and "Cut at the end" not in text


def test_one_month_one_as_of_date_and_one_class(tmp_path, page):
    def season(text: str) -> str:
        return text[text.index('<section id="season"') : text.index('<section id="target"')]

    table = [asked("train", DATES["train"], 1, place) for place in range(5)]
    single = report(tmp_path, SALES[:9], table)
    assert "No feature can be ranked" in single
    assert 'id="distributions"' not in single and "#distributions" not in single
    assert "<use" in season(single) and "<use" not in season(page)  # a dot: a month makes no line


def test_ten_years_are_drawn_by_month(tmp_path):
    rows = [sale(day) for day in range(3650)]
    page = report(tmp_path, rows)
    assert "By month." in Page(page).text
    assert "2024 to 2031 2032 2033" in Page(page).text  # ten lines, three keys
    assert page.count('class="hint"') == 2 * 120
    assert len(page) < 300_000


def test_a_stray_row_does_not_flatten_the_pictures(tmp_path):
    """Of 1900, and a sale of minus 250 million: both are said in words, neither sets an axis."""
    rows = [sale(day, quantity=2 + day % 5) for day in range(0, 700, 2)]
    wild = [
        sale(0, invoiced_at=datetime(1900, 1, 1)),
        sale(300, quantity=-1, unit_price=250e6),
    ]
    page = report(tmp_path, [*rows, *wild])
    text = Page(page).text
    assert "1 valid row lies outside the charts" in text
    assert "they show 2024-01-01 to 2025-11-29, the log runs from 1900-01-01 to 2025-11-29" in text
    assert "By week." in text
    assert re.search(
        r"Cut at the end of the axis: -\d{3},\d{3},\d{3} in the week of 2024-10-21", text
    )
    assert re.search(r"Cut at the end of the axis: -[\d,]+ in Oct 2024", text)
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    assert labels and not any(label[-1:] in "MG" for label in labels)  # no axis in millions
    assert "1900" not in labels


@settings(max_examples=50)
@given(
    start=st.floats(allow_nan=False, allow_infinity=False, width=32),
    steps=st.lists(st.integers(0, 3), min_size=1, max_size=9),
)
@example(start=4_006_381_082_624_000.0, steps=[0, 0])
def test_any_numbers_have_a_histogram(start, steps):
    """Neighbours in float32 too: bars between them would have no width."""
    values = start + np.cumsum(steps) * float(np.spacing(np.float32(start)))
    _, words = histogram(np.sort(values[np.isfinite(values)].astype(np.float64)))
    assert words == "no value" or "median" in words


def test_the_rails_of_roc_auc_have_ends_that_do_not_follow_the_strongest(tmp_path):
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
