"""docs/adopt-your-data.md does what it says: its YAML, and nothing else, reads a log of another
shape into canonical rows."""

from __future__ import annotations

import csv
import gzip
import re
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from cdnow import write_log
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from configs.load import load
from configs.settings import Compute, Settings
from configs.source import Source
from ingestion.database import check_database
from ingestion.files import read_file
from ingestion.mapping import check_mapping
from ingestion.sources import expand

pytestmark = pytest.mark.slow

GUIDE = (Path(__file__).parents[2] / "docs" / "adopt-your-data.md").read_text(encoding="utf-8")
PRESETS = dict(re.findall(r"```yaml\n# [^\n]*?: (?:configs/)?(\w+\.yaml)\n(.*?)```", GUIDE, re.S))


def preset(folder: Path, name: str, *options: str) -> Settings:
    file = folder / name
    file.write_text(PRESETS[name], encoding="utf-8")
    return load(str(file), options, env={})


def rows(source: Source, folder: Path) -> list[dict]:
    """Every row of every file, by name."""
    found = []
    for number, path in enumerate(expand(source)):
        target = folder / f"{number}.parquet"
        read_file(source, path, target, Compute())
        with duckdb.connect() as connection:
            part = connection.read_parquet(str(target)).order("source_row")
            found += [dict(zip(part.columns, row)) for row in part.fetchall()]
    return found


def test_the_yaml_of_the_page_reads_a_log_without_header_products_and_invoices(tmp_path):
    count = write_log(tmp_path / "purchases.txt", customers=300)
    path = str(tmp_path / "purchases.txt")
    source = preset(tmp_path, "purchases.yaml", "--source.path", path).source
    read = rows(source, tmp_path)
    lines = Path(path).read_text().splitlines()
    assert len(read) == len(lines) == count > 1_000
    for number, (line, row) in enumerate(zip(lines, read), start=1):
        customer, day, pieces, dollars = line.split()
        when = datetime.strptime(day, "%Y%m%d")
        assert row == {
            "source": "purchases.txt",
            "source_row": number,
            "invoice_id": f"{when:%Y-%m-%d} {customer}",
            "product_id": None,
            "description": None,
            "quantity": int(pieces),
            "unit_price": pytest.approx(float(dollars) / int(pieces), abs=1e-12),
            "invoiced_at": when,
            "customer_id": customer,
            "country": None,
            "unreadable": [],
        }


def test_the_three_lines_that_the_page_shows(tmp_path):
    (shown,) = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "purchases.txt").write_text(shown)
    path = str(tmp_path / "purchases.txt")
    read = rows(preset(tmp_path, "purchases.yaml", "--source.path", path).source, tmp_path)
    assert [(row["customer_id"], row["quantity"], row["invoice_id"]) for row in read] == [
        ("00001", 1, "1997-01-01 00001"),
        ("00002", 1, "1997-01-12 00002"),
        ("00002", 5, "1997-01-12 00002"),
    ]


def test_the_german_spreadsheet_of_the_page(tmp_path):
    header = ["Beleg", "Artikel", "Menge", "Preis", "Datum", "Kunde"]
    line = ["1001", "Stühle-é", "1.200", "1.234,50", "31.12.2023", "Müller"]
    folders = [tmp_path / "data" / year for year in ("2023", "2024")]
    for folder, opened in zip(folders, (open, gzip.open)):
        folder.mkdir(parents=True)
        name = "a.csv" if opened is open else "b.csv.gz"
        with opened(folder / name, "wt", encoding="windows-1252", newline="") as file:
            csv.writer(file, delimiter=";").writerows([header, line])
    globs = [f"{folder}/*{suffix}" for folder, suffix in zip(folders, (".csv", ".csv.gz"))]
    settings = preset(tmp_path, "bestellungen.yaml", "--source.path", f"[{', '.join(globs)}]")
    first, second = rows(settings.source, tmp_path)
    assert (first["source"], second["source"]) == ("a.csv", "b.csv.gz")
    assert (first["quantity"], first["unit_price"]) == (1200, 1234.5)
    assert (first["product_id"], first["customer_id"]) == ("STÜHLE-É", "Müller")
    assert first["invoiced_at"] == datetime(2023, 12, 31) and first["unreadable"] == []
    assert settings.contract.rules["no_product_code"].severity == "ignore"


def test_every_yaml_of_the_page_is_accepted(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 6
    for number, block in enumerate(blocks):
        (tmp_path / f"block_{number}.yaml").write_text(block)
        source = load(str(tmp_path / f"block_{number}.yaml"), env={}).source
        assert source.kind in ("simulated", "table") or check_mapping(source) is None
    assert check_database(preset(tmp_path, "shop_database.yaml").source).host == "db.example.com"


# --- the value of a line ----------------------------------------------------------------------

NEEDED = {"customer_id": "who", "invoiced_at": "at"}


def valued(folder: Path, header: str, *lines: str, **columns: str) -> list[tuple]:
    """(quantity, unit_price, unreadable) of lines that begin with a customer and a time."""
    body = "".join(f"c,2011-01-01,{line}\n" for line in lines)
    (folder / "log.csv").write_text(f"who,at,{header}\n{body}")
    made = Source(kind="files", path=str(folder / "log.csv"), columns=NEEDED | columns)
    return [(row["quantity"], row["unit_price"], row["unreadable"]) for row in rows(made, folder)]


def test_an_amount_without_quantity_is_one_piece_with_the_sign_of_the_amount(tmp_path):
    lines = ("12.5", "-3", "0", "-0.0", "", "much")
    assert valued(tmp_path, "x", *lines, amount="x") == [
        (1, 12.5, []), (-1, 3.0, []), (1, 0.0, []), (1, 0.0, []),
        (None, None, []), (None, None, ["amount=much"]),
    ]  # fmt: skip


def test_an_amount_with_a_quantity_gives_the_price(tmp_path):
    lines = ("10,4", "-10,-4", "-10,4", "0,-4", "10,0", "10,", ",4", "much,few")
    assert valued(tmp_path, "x,n", *lines, amount="x", quantity="n") == [
        (4, 2.5, []), (-4, 2.5, []), (4, -2.5, []), (-4, 0.0, []), (0, None, []),
        (None, None, []), (4, None, []), (None, None, ["quantity=few", "amount=much"]),
    ]  # fmt: skip


@settings(max_examples=8)
@given(
    amount=st.floats(-1e9, 1e9, allow_subnormal=False),
    quantity=st.integers(-1000, 1000).filter(bool),
)
def test_quantity_times_price_is_the_amount(tmp_path_factory, amount, quantity):
    folder = tmp_path_factory.mktemp("amount")
    alone = valued(folder, "x", f"{amount!r}", amount="x")
    both = valued(folder, "x,n", f"{amount!r},{quantity}", amount="x", quantity="n")
    for pieces, price, _ in alone + both:
        assert pieces * price == pytest.approx(amount, rel=1e-12)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"customer_id": "a", "amount": "b"}, "which column is invoiced_at"),
        ({"invoiced_at": "a", "amount": "b"}, "which column is customer_id"),
        (NEEDED, "which column is amount, or quantity and unit_price"),
        (NEEDED | {"quantity": "n"}, "which column is amount, or quantity and unit_price"),
        (NEEDED | {"amount": "x", "unit_price": "p"}, "both amount and unit_price"),
        (NEEDED | {"amount": "x", "unit_price": "p", "quantity": "n"}, "both amount and"),
        (NEEDED | {"amount": "x", "total": "t"}, "'total'"),
    ],
)
def test_a_mapping_that_gives_no_value_or_two(tmp_path, columns, what):
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    made = Source(kind="files", path=str(tmp_path / "log.csv"), columns=columns)
    with pytest.raises(UserError) as caught:
        expand(made)
    assert what in caught.value.what and "source.columns" in caught.value.where


def test_a_row_without_a_customer_or_a_time_has_no_invoice(tmp_path):
    (tmp_path / "log.csv").write_text("who,at,x\n,2011-01-01,1\nc,soon,1\n")
    path = str(tmp_path / "log.csv")
    made = Source(kind="files", path=path, columns=NEEDED | {"amount": "x"})
    assert [row["invoice_id"] for row in rows(made, tmp_path)] == [None, None]
