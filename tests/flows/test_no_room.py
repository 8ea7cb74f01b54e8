"""A disk that fills up, and two runs on one folder: a clear error, and nothing half-written."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
from full_disk import files_of_at_most
from logs import write_log, write_preset
from optuna.trial import create_trial

from common.duck import connect
from common.errors import UserError
from common.full_disk import full_disk
from configs.command import run_command
from configs.load import load
from configs.settings import Compute
from flows import data_stages
from flows.run import start_run
from ingestion.outcome import TRANSACTIONS
from registry.tracking import open_store
from training.studies import Place, explained, open_study


def left(var: Path) -> list[str]:
    return sorted(path.name for path in (var / "stages").iterdir())


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_no_part_of_a_stage(tmp_path):
    write_log(tmp_path / "a.csv", days=160)
    preset = write_preset(tmp_path / "shop.yaml", str(tmp_path / "a.csv"))
    settings = load(str(preset), ["--var", str(tmp_path / "var")], {})
    for size in (0, 20_000):  # at the first byte, and on the way
        with files_of_at_most(size), pytest.raises((OSError, UserError), match="too large"):
            data_stages.ingest(settings)
        assert left(settings.var) == []
    parts = data_stages.ingest(settings)
    with files_of_at_most(20_000), pytest.raises((OSError, UserError), match="too large"):
        data_stages.validate(settings, parts, tmp_path / "page.html")
    assert [name.split("-")[0] for name in left(settings.var)] == ["ingest"]
    assert data_stages.validate(settings, parts, tmp_path / "page.html").path(TRANSACTIONS).exists()


def mlflow(var: Path) -> None:
    open_store(load("smoke", ["--var", str(var)], {}))


def optuna(var: Path) -> None:
    place = Place(f"sqlite:///{var / 'studies.db'}", "search")
    with explained(place):
        study = open_study(place)
        for _ in range(40):
            study.add_trial(create_trial(value=0.5, user_attrs={"result": "x" * 2000}))


@pytest.mark.slow
@pytest.mark.parametrize(("use", "size"), [(mlflow, 0), (mlflow, 150_000), (optuna, 30_000)])
def test_a_database_that_cannot_grow_is_not_called_broken(tmp_path, use, size):
    """At its first byte, while it is made, and later."""
    with files_of_at_most(size), pytest.raises(UserError, match="the disk is full") as caught:
        use(tmp_path)
    assert str(tmp_path) in caught.value.where and "make room" in caught.value.next_step
    if (use, size) == (mlflow, 150_000):
        mlflow(tmp_path)  # nothing half-made stayed behind


WORDS = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
    RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    RuntimeError('IO Error: Could not write file "x": {"errno":"28"}'),
]


@pytest.mark.parametrize("error", WORDS, ids=str)
@pytest.mark.parametrize("wrapped", [False, True])
def test_each_library_s_words_for_a_full_disk_are_one_plain_error(tmp_path, error, wrapped, capsys):
    def body(settings):
        try:
            raise error
        except Exception as cause:
            raise (RuntimeError("the stage failed") if wrapped else cause) from None

    assert run_command("test", "", body, ["--var", str(tmp_path / "var")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: the disk is full") and " MB are free" in said
    assert str(tmp_path / "var") in said and "next:  make room" in said and "Traceback" not in said


def test_another_error_is_not_taken_for_a_full_disk(tmp_path):
    for error in (OSError(errno.EACCES, "no"), RuntimeError("disk I/O error"), ValueError("28")):
        assert full_disk(error, tmp_path) is None


def test_a_log_that_cannot_be_written_ends_nothing_and_shows_no_traceback(tmp_path, capfd):
    handlers, level = logging.root.handlers, logging.root.level
    try:
        start_run(tmp_path)
        with files_of_at_most(1_000):
            for _ in range(100):
                logging.getLogger("golden_path").info("a line of the log, %s", "x" * 100)
    finally:
        logging.root.handlers, logging.root.level = handlers, level
        logging.captureWarnings(False)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_query_that_can_neither_hold_nor_spill_its_rows_says_what_to_set(tmp_path):
    with (
        pytest.raises(UserError, match="needs more than 256 MB") as caught,
        connect(compute=Compute(memory_mb=256)) as connection,
    ):
        connection.execute("CREATE TEMP TABLE t AS SELECT hash(range) FROM range(100_000_000)")
    assert "compute.memory_mb" in caught.value.where


@pytest.mark.slow
def test_what_does_not_fit_in_memory_spills_beside_the_output_and_is_gone_after(tmp_path):
    with connect(tmp_path, Compute(memory_mb=256)) as connection:
        connection.execute("CREATE TEMP TABLE t AS SELECT hash(range) h FROM range(50_000_000)")
        assert list((tmp_path / ".spill").iterdir())
    assert list(tmp_path.iterdir()) == []
