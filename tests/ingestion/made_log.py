"""Small purchase logs for tests: files of every format, and parts in canonical columns."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.duck import parquet
from common.errors import UserError
from configs.load import load
from configs.rules import Contract
from configs.settings import Compute
from configs.source import Source
from ingestion.canonical import COLUMNS
from ingestion.files import read_file

HEADER = list(COLUMNS)
TIME = datetime(2010, 12, 1, 8, 26)

# A file with names of its own for the four columns that a source must have.
COLUMNS_OF_FOUR = {
    "customer_id": "who",
    "invoiced_at": "at",
    "quantity": "n",
    "unit_price": "price",
}
FOUR = [*COLUMNS_OF_FOUR.values()]
LINE = ["17850", "2010-12-01 08:26", "6", "2.55"]
ROW = ("17850", TIME, 6, 2.55, [])  # as `read_four` returns it


def text(*lines: list, header: list[str] | None = FOUR, **dialect: Any) -> str:
    """The lines as the text of a CSV file."""
    file = io.StringIO()
    rows = [*([header] if header else []), *lines]
    csv.writer(file, **{"lineterminator": "\n", **dialect}).writerows(rows)
    return file.getvalue()


def save(path: Path, content: bytes | str) -> Path:
    """Write the content, compressed when the file's name ends in .gz."""
    content = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.name.lower().endswith(".gz") else content)
    return path


def workbook(path: Path, *sheets: list[list]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for lines in sheets:
        sheet = book.create_sheet()
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


def write(path: Path, lines: list[list], header: list[str] = HEADER) -> Path:
    """A table in the format of the file's suffix."""
    if path.suffix == ".xlsx":
        return workbook(path, [header, *lines])
    if path.suffix == ".parquet":
        columns = list(zip(*lines)) or [[]] * len(header)
        pq.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], names=header), path)
        return path
    return save(path, text(*lines, header=header))


def copy_parquet(path: Path, query: str) -> Path:
    """The result of a DuckDB query as a Parquet file."""
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def query(path: Path, columns: str = "*", order: str = "ALL") -> list[tuple]:
    """Rows of a Parquet file; an empty order leaves them as they stand."""
    sql = f"SELECT {columns} FROM {parquet(path)}" + (f" ORDER BY {order}" if order else "")
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def files(*paths: Path | str, **source: Any) -> Source:
    return Source(kind="files", path=[str(path) for path in paths], **source)


def read(path: Path, shown: str = "* EXCLUDE (source)", **source: Any) -> list[tuple]:
    """The canonical rows of a file, in order; no temporary file is left beside them."""
    target = path.parent / "part.out"
    read_file(files(path, **source), path, target, Compute())
    assert not [file for file in path.parent.iterdir() if file.name.startswith(".")]
    return query(target, shown, "source_row")


def read_four(path: Path, **source: Any) -> list[tuple]:
    """(customer, time, quantity, price, unreadable) of each row of a file with those columns."""
    source.setdefault("columns", COLUMNS_OF_FOUR)
    return read(path, "customer_id, invoiced_at, quantity, unit_price, unreadable", **source)


def refused(path: Path, **source: Any) -> UserError:
    """The one message about a file, which shows no SQL; the folder stays as it was."""
    before = set(path.parent.iterdir())
    with pytest.raises(UserError) as caught:
        read_file(files(path, **source), path, path.parent / "part.out", Compute())
    assert set(path.parent.iterdir()) == before
    error = caught.value
    assert error.what and error.where and error.next_step
    assert not any(word in str(error) for word in ("LINE 1", "SELECT", "read_csv", "Traceback"))
    return error


def refused_four(path: Path, **source: Any) -> UserError:
    return refused(path, **{"columns": COLUMNS_OF_FOUR, **source})


# --- parts, as validation gets them -----------------------------------------------------------

_KINDS = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "TIMESTAMP": pa.timestamp("us")}
TYPES = {name: _KINDS.get(kind, pa.string()) for name, kind in COLUMNS.items()}
PART = pa.schema(
    {
        **{"source": pa.string(), "source_row": pa.int64()},
        **TYPES,
        **{"unreadable": pa.list_(pa.string())},
    }
)
CLEAN = {
    "invoice_id": "500000",
    "product_id": "85123A",
    "description": "MUG",
    "quantity": 1,
    "unit_price": 2.5,
    "invoiced_at": datetime(2024, 1, 1),
    "customer_id": "17850",
    "country": "United Kingdom",
    "unreadable": [],
}


def write_part(folder: Path, lines: list[dict]) -> Path:
    """A part whose rows are numbered from 1, and come from the source `log`."""
    folder.mkdir(exist_ok=True)
    numbered = [{"source": "log", "source_row": n, **line} for n, line in enumerate(lines, start=1)]
    pq.write_table(pa.Table.from_pylist(numbered, schema=PART), folder / "rows.parquet")
    return folder / "rows.parquet"


def retail_contract(**changes: dict) -> Contract:
    """The contract of the retail presets with some fields of some rules changed."""
    rules = load("default", [], {}).contract.rules
    tree = {name: rule.model_dump() for name, rule in rules.items()}
    return Contract(
        rules=tree | {n: {**tree.get(n, {}), **change} for n, change in changes.items()}
    )
