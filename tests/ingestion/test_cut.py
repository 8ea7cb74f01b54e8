"""Parts as they stood on a day."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.settings import Compute
from ingestion.cut import cut_part, goes_on, spans

TIMES = [datetime(2024, 5, 1), None, datetime(2024, 4, 30, 23, 59, 59, 999_999), None]


def write(path: Path, times: list[datetime | None]) -> Path:
    table = {
        "source_row": pa.array(range(len(times))),
        "invoiced_at": pa.array(times, pa.timestamp("us")),
    }
    pq.write_table(pa.table(table), path)
    return path


def cut(folder: Path, times: list[datetime | None], until: date) -> list[int]:
    cut_part(write(folder / "part.parquet", times), folder / "cut.parquet", until, Compute())
    return pq.read_table(folder / "cut.parquet")["source_row"].to_pylist()


def test_a_row_of_the_day_itself_is_not_there_and_one_without_a_time_is(tmp_path):
    assert cut(tmp_path, TIMES, date(2024, 5, 1)) == [1, 2, 3]
    assert cut(tmp_path, TIMES, date(2024, 4, 30)) == [1, 3]
    assert cut(tmp_path, TIMES, date(2024, 5, 2)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (TIMES, (date(2024, 4, 30), date(2024, 5, 1))),
        (TIMES[:1], (date(2024, 5, 1), date(2024, 5, 1))),
        ([None], (None, None)),
        ([], (None, None)),
    ],
)
def test_the_days_of_a_part_are_those_of_its_first_and_last_row(tmp_path, times, expected):
    assert spans(write(tmp_path / "part.parquet", times)) == expected


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([], False),
        ([datetime(2024, 5, 1)], False),  # a wrong date among a hundred rows a day
        ([datetime(2024, 5, 1, 9)] * 50, True),
        ([datetime(2099, 5, 1, 9)] * 50, False),
    ],
)
def test_a_source_goes_on_when_a_day_of_rows_has_come_and_not_for_a_wrong_date(
    tmp_path, later, expected
):
    april = [datetime(2024, 4, day) for day in range(1, 31) for _ in range(100)]
    parts = [write(tmp_path / "april", april), write(tmp_path / "later", later)]
    assert goes_on(parts, date(2024, 5, 1), Compute()) is expected


moments = st.lists(st.none() | st.datetimes(datetime(2024, 1, 1), datetime(2024, 1, 9)))


@pytest.mark.slow
@given(times=moments, day=st.dates(date(2023, 12, 31), date(2024, 1, 10)))
@settings(max_examples=30)
def test_the_rows_that_are_left_keep_their_order(tmp_path_factory, times, day):
    kept = [at for at, time in enumerate(times) if time is None or time.date() < day]
    assert cut(tmp_path_factory.mktemp("cut"), times, day) == kept
