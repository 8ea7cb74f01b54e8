"""The features that are scored: those of the training table, without labels, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made_logs import shop_log, write

from configs.settings import Compute, Features
from features import score_rows
from features.build import build_table
from features.catalogue import ALL, NAMES
from features.score_rows import digest_of_rows, rows_of_log

ROOT = Path(__file__).parents[2]
QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return write(shop_log(60, 260), tmp_path_factory.mktemp("the shop's log") / "log.parquet")


def made(log: Path, day: date, folder: Path, **more) -> pa.Table:
    rows = rows_of_log(log, folder / "rows.parquet", day, QUESTION, **more)
    table = pq.read_table(folder / "rows.parquet")
    assert rows == len(table)
    return table


def test_they_are_those_of_the_training_table_at_each_of_its_dates(log, tmp_path):
    facts = build_table(log, tmp_path / "table.parquet", QUESTION)
    table = pq.read_table(tmp_path / "table.parquet")
    start = date.fromisoformat(facts.log_start)
    for day in (day for days in facts.as_of.values() for day in map(date.fromisoformat, days)):
        expected = table.filter(pc.equal(table["as_of"], day))
        found = made(log, day, tmp_path, log_start=start)
        assert found.column_names == ["customer_id", "as_of", *NAMES]
        assert found.equals(expected.select(found.column_names).cast(found.schema))
        assert len(found) > 10


def test_in_how_many_parts_the_log_is_worked_off_changes_nothing(log, tmp_path, monkeypatch):
    day = date(2024, 9, 1)
    whole = made(log, day, tmp_path)
    monkeypatch.setattr(score_rows, "LINES_PER_PART", 100)
    assert made(log, day, tmp_path, compute=Compute(threads=1)).equals(whole)


def test_where_nobody_bought_there_is_no_row_and_without_a_column_no_feature_of_it(log, tmp_path):
    for day in (date(2023, 1, 1), date(2030, 1, 1)):
        assert len(made(log, day, tmp_path)) == 0
    table = made(log, date(2024, 9, 1), tmp_path, declared=ALL - {"country", "product_id"})
    assert len(table) and not {"is_home", "products_total"} & set(table.column_names)


def test_the_digest_of_rows_is_that_of_their_content_in_any_order(tmp_path):
    file = tmp_path / "rows.parquet"

    def digest(*rows: tuple[str, float | None], names: tuple[str, str] = ("id", "x")) -> str:
        columns = [pa.array([row[0] for row in rows]), pa.array([row[1] for row in rows], "double")]
        pq.write_table(pa.table(columns, names=list(names)), file)
        return digest_of_rows(file)

    one, two = ("a", 0.5), ("b", None)
    first = digest(one, two)
    assert first == digest(two, one)
    others = [
        *(digest(one), digest(one, two, two), digest(("a", None), ("b", 0.5))),
        *(digest(one, ("b", 0.0)), digest(one, two, names=("id", "y"))),
    ]
    assert len({first, *others}) == 6


MEASURED = """
import sys
from datetime import date
from pathlib import Path
from configs.settings import Compute, Features
from features.score_rows import rows_of_log
from registry.bundle import load_bundle
from serving.batch import score
from tests.bench.scoring_log import AS_OF, write_log
from tests.serving.made_linear import write_linear_bundle

folder, customers = Path(sys.argv[1]), int(sys.argv[2])
write_log(folder / "log.parquet", customers)
compute = Compute(memory_mb=256, threads=2)
write_linear_bundle(folder / "bundle")
rows = rows_of_log(
    folder / "log.parquet", folder / "rows.parquet", AS_OF, Features(), compute=compute,
    log_start=date(2015, 1, 1),
)
score(
    load_bundle(folder / "bundle"), folder / "rows.parquet", folder, version=1, explained=1000,
    compute=compute,
)
# Not getrusage: a process begins with the largest size of the one that started it.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(rows, int(peak) / 1024)
"""


@pytest.mark.slow
def test_memory_is_that_of_the_queries_and_a_constant_whatever_the_customers(tmp_path):
    """At once, 300,000 customers of ten lines would take more than 256 MB that cannot spill."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path), "300000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows, peak = done.stdout.split()
    assert int(rows) > 299_000
    assert float(peak) < 256 + 350
