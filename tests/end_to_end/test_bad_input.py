"""Bad input through the real command: one clear message, an exit code, and nothing half-written."""

from __future__ import annotations

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
    """One folder for all: a refused command leaves nothing that the next one would meet."""
    return tmp_path_factory.mktemp("refused") / "var"


@pytest.fixture
def refuse(forked_cli, refused) -> Callable[..., str]:
    """Run training with these arguments, see it refused properly, and return its message."""

    def run(*arguments: str, config: str = "smoke", var: Path = refused) -> str:
        done = forked_cli(var, "--config", config, *arguments)
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


# Everyone buys every day: nobody is left who does not buy again.
DAILY = """
    SELECT 'i' || c || '-' || d AS invoice_id, '10001' AS product_id, 'x' AS description,
           1 AS quantity, 1.0 AS unit_price,
           DATE '2024-01-01' + d::INTEGER + INTERVAL 9 HOUR AS invoiced_at,
           c::VARCHAR AS customer_id, 'United Kingdom' AS country
    FROM range(20) customers(c), range(700) days(d)
"""


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param(
            "SELECT * REPLACE ('a dozen' AS quantity) FROM {source}",
            ("type_of_quantity is 1", "at most 0.01", "contract.html"),
            id="a column of the wrong type breaks a rule about the batch",
        ),
        pytest.param(
            DAILY,
            ("the training table breaks its contract", "both_classes", "train"),
            id="one class only in a split breaks a rule about the table",
        ),
    ],
)
def test_a_log_that_cannot_be_learnt_from(refuse, tmp_path, good, query, words):
    rows, path = query.format(source=f"'{good}'"), tmp_path / "log.parquet"
    duckdb.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")
    # In a folder of its own: rows that passed in one case would be compared with those of another.
    said = refuse("--source.kind", "files", "--source.path", str(path), var=tmp_path / "var")
    assert all(word in said for word in words), said


def test_a_file_that_is_not_parquet(refuse, tmp_path):
    (path := tmp_path / "words.parquet").write_text("these are only words\n" * 100)
    said = refuse("--source.kind", "files", "--source.path", str(path))
    assert "cannot be read as parquet" in said


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        ("nothing_like_it", (), ("nothing_like_it", "online_retail")),
        (
            "smoke",
            ("--source.path", "x.parquet"),
            ("source.kind is simulated", "--source.kind files"),
        ),
        (
            "smoke",
            ("--training.families", "[logistic, prophet]"),
            ("'prophet' is not a family", "xgboost"),
        ),
    ],
)
def test_a_setting_that_cannot_be_meant(refuse, config, arguments, words):
    said = refuse(*arguments, config=config)
    assert all(word in said for word in words), said


def test_a_feature_that_is_too_good_by_itself(refuse):
    said = refuse("--features.max_feature_roc_auc", "0.6", *SMALL)
    assert "a feature is suspiciously good by itself" in said or "features are suspicious" in said
    assert "buy_probability (ROC AUC 0." in said
    assert "--features.max_feature_roc_auc" in said


def test_a_run_that_dies_after_its_model_is_made_promotes_nothing(forked_cli, tmp_path):
    var = tmp_path / "var"
    quick = ("--training.families", "[logistic]", "--tuning.trials", "1", *SMALL)
    # Registered next, decided, drawn, and then moved
    made = lambda *_: bool(list(var.glob("runs/*/bundle")))  # noqa: E731
    done = forked_cli(var, "--config", "smoke", *quick, end_at=made)
    assert done.code == -signal.SIGKILL, done.err
    assert not (var / "runs" / "latest").exists()
    with sqlite3.connect(var / "mlflow" / "mlflow.db") as database:
        aliases = dict(database.execute("SELECT alias, version FROM registered_model_aliases"))
    assert "champion" not in aliases
