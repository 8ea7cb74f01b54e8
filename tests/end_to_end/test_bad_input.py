"""Bad input through the real command: one clear message, an exit code, and nothing half-written."""

from __future__ import annotations

import gzip
import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from configs.source import Simulation

pytestmark = pytest.mark.slow

LOG = Simulation(customers=300, lines_per_invoice=2.0, products=100)
SMALL = ("--source.simulation.customers", "500", "--source.simulation.lines_per_invoice", "2")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A small log that is in order, as Parquet."""
    from simulator.simulator import simulate

    return simulate(LOG, 3, tmp_path_factory.mktemp("log")).raw


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> Path:
    """One folder for all: who is refused leaves nothing that the next would meet."""
    return tmp_path_factory.mktemp("refused") / "var"


@pytest.fixture
def refuse(quick_walk, refused) -> Callable[..., str]:
    """Run training with these arguments, see it refused properly, and return what it said."""

    def run(*arguments: str, config: str = "smoke", var: Path = refused) -> str:
        done = quick_walk(var, "--config", config, *arguments)
        assert done.code == 1, done.out + done.err
        said = done.err
        assert said.startswith("Error: ") and "\n  next:  " in said, said
        assert "Traceback" not in done.out + said and len(said.splitlines()) <= 4, said
        assert not (var / "runs" / "latest").exists()
        assert not (var / "mlflow" / "artifacts").exists(), "a refused run registers nothing"
        assert [path for path in var.rglob("*") if path.name.startswith(".")] == []
        for file in (var / "prefect" / "storage").glob("*"):
            json.loads(file.read_text())  # what Prefect keeps of an error is text, no pickle
        return said

    return run


def write(query: str, source: Path, target: Path, options: str = "FORMAT parquet") -> Path:
    rows = query.format(source=f"'{source}'")
    duckdb.execute(f"COPY ({rows}) TO '{target}' ({options})")
    return target


def files(path: Path) -> tuple[str, ...]:
    return "--source.kind", "files", "--source.path", str(path)


def test_a_missing_file(refuse, tmp_path):
    said = refuse(*files(tmp_path / "nowhere.parquet"))
    assert "does not exist" in said and "nowhere.parquet" in said


def test_an_empty_file(refuse, tmp_path):
    (tmp_path / "empty.csv").touch()
    assert "empty" in refuse(*files(tmp_path / "empty.csv"))


def test_a_file_that_is_no_parquet(refuse, tmp_path):
    (tmp_path / "words.parquet").write_text("these are only words\n" * 100)
    assert "cannot be read as parquet" in refuse(*files(tmp_path / "words.parquet"))


def test_a_misnamed_column(refuse, tmp_path, good):
    path = write("SELECT * RENAME (quantity AS qty) FROM {source}", good, tmp_path / "log.parquet")
    said = refuse(*files(path))
    assert "no column 'quantity'" in said and "qty" in said


def test_a_column_of_the_wrong_type(refuse, tmp_path, good):
    path = write(
        "SELECT * REPLACE ('a dozen' AS quantity) FROM {source}", good, tmp_path / "log.parquet"
    )
    said = refuse(*files(path))
    assert "type_of_quantity is 1" in said and "at most 0.01" in said and "contract.html" in said


def test_a_truncated_gzip(refuse, tmp_path, good):
    whole = write("FROM {source}", good, tmp_path / "log.csv", "FORMAT csv, HEADER").read_bytes()
    packed = gzip.compress(whole)
    (tmp_path / "log.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert "log.csv.gz" in refuse(*files(tmp_path / "log.csv.gz"))


def test_all_rows_anonymous(refuse, tmp_path, good):
    path = write(
        "SELECT * REPLACE (NULL::VARCHAR AS customer_id) FROM {source}",
        good,
        tmp_path / "log.parquet",
    )
    said = refuse(*files(path))
    assert "anonymous_share is 1" in said and "at most 0.5" in said


def test_too_short_a_history(refuse, tmp_path, good):
    path = write(
        "FROM {source} WHERE invoiced_at < TIMESTAMP '2024-12-01'", good, tmp_path / "log.parquet"
    )
    said = refuse(*files(path), "--features.min_history_days", "300")
    assert "the log is too short" in said and "days" in said


def test_one_class_only_in_a_split(refuse, tmp_path, good):
    # Everyone buys every day: nobody is left who does not buy again.
    daily = """
        SELECT 'i' || c || '-' || d AS invoice_id, '10001' AS product_id, 'x' AS description,
               1 AS quantity, 1.0 AS unit_price,
               DATE '2024-01-01' + d::INTEGER + INTERVAL 9 HOUR AS invoiced_at,
               c::VARCHAR AS customer_id, 'United Kingdom' AS country
        FROM range(20) customers(c), range(700) days(d)
    """
    path = write(daily, good, tmp_path / "log.parquet")
    # In a folder of its own: its rows pass, and are unlike those that passed in another test.
    said = refuse(*files(path), var=tmp_path / "var")
    assert "both_classes" in said and "train" in said


def test_an_unknown_preset(refuse):
    said = refuse(config="nothing_like_it")
    assert "nothing_like_it" in said and "online_retail" in said


def test_a_setting_out_of_range(refuse):
    said = refuse("--tuning.trials", "0")
    assert "tuning.trials" in said and "from 1 to 10000" in said


def test_a_path_that_nobody_would_read(refuse, good):
    said = refuse("--source.path", str(good))
    assert "source.kind is simulated" in said and "--source.kind files" in said


def test_an_unknown_family(refuse):
    said = refuse("--training.families", "[logistic, prophet]")
    assert "'prophet' is not a family" in said and "xgboost" in said


def test_a_run_that_dies_after_its_model_is_made_promotes_nothing(quick_walk, tmp_path):
    var = tmp_path / "var"
    quick = ("--training.families", "[logistic]", "--tuning.trials", "1", *SMALL)
    # Registered next, decided, drawn, and then moved
    made = lambda *_: bool(list(var.glob("runs/*/bundle")))  # noqa: E731
    done = quick_walk(var, "--config", "smoke", *quick, end_at=made)
    assert done.code == -signal.SIGKILL, done.err
    assert not (var / "runs" / "latest").exists()
    with sqlite3.connect(var / "mlflow" / "mlflow.db") as database:
        aliases = dict(database.execute("SELECT alias, version FROM registered_model_aliases"))
    assert "champion" not in aliases


def test_a_feature_that_is_too_good_by_itself(refuse):
    said = refuse("--features.max_feature_roc_auc", "0.6", *SMALL)
    assert "a feature is suspiciously good by itself" in said or "features are suspicious" in said
    assert "buy_probability (ROC AUC 0." in said
    assert "--features.max_feature_roc_auc" in said


def test_a_table_whose_target_has_one_class_only(refuse, tmp_path):
    rows = "".join(f"{number},Yes\n" for number in range(60))
    (tmp_path / "table.csv").write_text("age,left\n" + rows)
    preset = tmp_path / "members.yaml"
    table = {"target": "left", "positive": "Yes", "columns": {"age": {"type": "number"}}}
    source = {"kind": "table", "path": str(tmp_path / "table.csv"), "table": table}
    preset.write_text(json.dumps({"source": source}))  # JSON is YAML
    # Nothing of DuckDB's, which complains at exit of what an error has kept alive.
    said = refuse(config=str(preset))
    assert "one class only" in said and len(said.splitlines()) == 3
