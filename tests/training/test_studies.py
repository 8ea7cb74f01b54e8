"""What survives `kill -9`, damage, and several processes; on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import optuna
import postgres
import psutil
import pytest
from made_rows import write_table
from test_fit import FILES, ROOT, SIZES, job_of

from common.errors import UserError
from training.studies import Place, open_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "table.parquet", SIZES)


def start(folder: Path, **changes) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps(job_of(folder, **changes)))
    return subprocess.Popen(
        [sys.executable, "-m", "training.fit", str(folder / "job.json")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def next_trial(process: subprocess.Popen) -> int:
    while (event := json.loads(process.stdout.readline()))["event"] != "trial":
        pass
    return event["number"]


def finish(process: subprocess.Popen) -> list[dict]:
    output, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    events = [json.loads(line) for line in output.splitlines()]
    return [event for event in events if event["event"] == "trial"]


def result_of(folder: Path) -> dict:
    result = json.loads((folder / "out" / "result.json").read_text())
    for part in (result, *result["trials"]):
        del part["seconds"]
    return result


def test_after_kill_9_the_same_command_gives_the_result_of_a_run_without_it(table, tmp_path):
    """Killed in the middle of a trial; the trees are refitted to the last bit."""
    job = {"family": "xgboost", "table": str(table), "trials": 4}
    finish(start(tmp_path / "whole", **job))
    process = start(tmp_path / "killed", **job)
    seen = [next_trial(process) for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    trials = finish(start(tmp_path / "killed", **job))
    assert [trial["number"] for trial in trials] == list(range(4))
    recalled = [trial["number"] for trial in trials if trial.get("recalled")]
    assert recalled == list(range(len(recalled))) and set(seen) <= set(recalled)
    assert result_of(tmp_path / "killed") == result_of(tmp_path / "whole")
    for name in {*FILES, "contributions.npy"} - {"result.json"}:
        killed, whole = (tmp_path / folder / "out" / name for folder in ("killed", "whole"))
        assert killed.read_bytes() == whole.read_bytes(), name


def test_a_search_outlives_a_helper_and_its_helpers_end_with_it(table, tmp_path):
    process = start(tmp_path / "run", table=str(table), trials=10_000, workers=3)
    numbers = [next_trial(process) for _ in range(4)]
    helpers = [
        child
        for child in psutil.Process(process.pid).children()
        if any("spawn_main" in word for word in child.cmdline())
    ]
    assert len(helpers) == 2
    helpers.pop().kill()
    numbers += [next_trial(process) for _ in range(8)]
    assert numbers == list(range(12))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, left = psutil.wait_procs(helpers, timeout=10)
    assert all(one.status() == psutil.STATUS_ZOMBIE for one in left), "it works on for nobody"


def place_of(file: Path) -> Place:
    return Place(f"sqlite:///{file}", "search")


def a_study(file: Path) -> Place:
    study = open_study(place_of(file))
    for number in range(12):
        study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"number": number}))
    return place_of(file)


def test_what_is_kept_comes_back_in_order_and_two_studies_share_a_file(tmp_path):
    place = a_study(tmp_path / "new" / "studies.db")
    assert open_study(Place(place.url, "other")).trials == []
    numbers = [trial.user_attrs["number"] for trial in open_study(place).trials]
    assert numbers == list(range(12))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["studies.db"]


def test_optuna_itself_reads_the_study(tmp_path):
    """`optuna.load_study` on the storage's address: trials, parameters, learning curves."""
    from test_tuning import made_family, search

    def fit(params, train, valid, *, report, **_):
        for step in range(1, 6):
            report(step, 1 - params["skill"])
        return SimpleNamespace(params=params)

    place = place_of(tmp_path / "studies.db")
    tuned, _ = search(made_family(fit), trials=12, place=place)
    study = optuna.load_study(study_name=place.name, storage=place.url)
    states = [trial.state.name.lower().replace("fail", "failed") for trial in study.trials]
    assert states == [result.state for result in tuned.trials] and "pruned" in states
    assert study.best_trial.number == tuned.best_trial
    assert study.best_params == {"skill": tuned.params["skill"]}
    assert study.best_value == tuned.metrics["recalibrated_log_loss"]
    assert study.best_trial.user_attrs["metrics"] == tuned.metrics
    assert {1, 2, 3} <= set(study.best_trial.intermediate_values)
    assert len(study.trials_dataframe()) == 12


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    file = tmp_path / "studies.db"
    place = a_study(file)
    whole = file.read_bytes()
    half = len(whole) // 2
    for damaged in (
        b"no database at all" * 1000,
        whole[:half],
        whole[:8192] + b"\xff" * half + whole[8192 + half :],
    ):
        file.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            _ = open_study(place).trials
        assert "damaged" in caught.value.what and caught.value.where == str(file)
        assert "delete it" in caught.value.next_step
    file.unlink()
    assert open_study(place).trials == []


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("not a url", "not a SQLAlchemy URL"),
        ("oracle+oracledb://me@localhost/x", "driver"),
        ("postgresql://me@127.0.0.1:1/x", "tuning storage does not work"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_an_error_with_what_to_do(url, what):
    with pytest.raises(UserError, match=what) as caught:
        open_study(Place(url, "search"))
    assert "tuning.storage" in caught.value.where and caught.value.next_step


def test_two_workers_tune_on_postgresql_and_go_on_there(table, tmp_path, monkeypatch):
    with postgres.server() as server:
        job = {"table": str(table), "storage": server.url, "workers": 2}
        monkeypatch.setenv("OPTUNA_PASSWORD", "wrong")
        with pytest.raises(UserError, match="tuning storage does not work") as caught:
            open_study(Place(server.url, "search"))
        assert "wrong" not in str(caught.value) and "OPTUNA_PASSWORD" in caught.value.next_step
        monkeypatch.setenv("OPTUNA_PASSWORD", postgres.PASSWORD)
        first = finish(start(tmp_path / "first", trials=4, **job))
        assert [trial["number"] for trial in first] == list(range(4))
        more = finish(start(tmp_path / "first", trials=6, **job))
        assert [bool(trial.get("recalled")) for trial in more] == [True] * 4 + [False] * 2
        result = result_of(tmp_path / "first")
        assert result["workers"] == 2 and len(result["trials"]) == 6
        assert postgres.PASSWORD not in (tmp_path / "first" / "job.json").read_text()
