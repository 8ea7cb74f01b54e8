"""Versions, aliases and the runs of a training in a real MLflow store."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from made_registry import new_version

from configs.load import load
from registry import runs
from registry.champion import champion_now, find_champion, promote
from registry.tracking import experiment_id, open_store
from registry.trials import log_trial

pytestmark = pytest.mark.slow

COMPLETE = {
    "number": 3,
    "state": "complete",
    "params": {"rounds": 120, "learning_rate": 0.1, "note": "x" * 7000},
    "metrics": {"roc_auc": 0.75, "log_loss": float("nan")},
    "seconds": 1.5,
}
FAILED = {"number": 4, "state": "failed", "params": {}, "metrics": {}, "seconds": 0.1}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return load("smoke", ["--var", str(tmp_path_factory.mktemp("store") / "with a space")], env={})


@pytest.fixture(scope="module")
def client(settings):
    return open_store(settings)


def test_promotion_moves_the_alias_and_registration_does_not(client, settings):
    assert champion_now(settings) is find_champion(client, settings) is None
    one = new_version(client, settings)
    assert champion_now(settings) is None, "a challenger is not champion"
    promote(client, one)
    assert champion_now(settings) == find_champion(client, settings) == one
    two = new_version(client, settings)
    assert two.version == one.version + 1 and champion_now(settings) == one
    promote(client, two)
    assert champion_now(settings) == find_champion(client, settings) == two
    other = load("online_retail", ["--var", str(settings.var)], env={})
    assert champion_now(other) is find_champion(client, other) is None


def test_a_run_whose_process_is_gone_is_marked_as_killed(client):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    dead = runs.open_run(client, "dead", tags={runs.PROCESS: gone.stdout.strip()})
    alive = runs.open_run(client, "alive")
    theirs = runs.open_run(client, "theirs", tags={runs.HOST: "x", runs.PROCESS: "1"})
    runs.close_dead_runs(client)
    states = [client.get_run(run).info.status for run in (dead, alive, theirs)]
    assert states == ["KILLED", "RUNNING", "RUNNING"], "one of another machine may go on"
    runs.close_own_runs(client)
    assert not runs.under_way(client, alive) and runs.under_way(client, theirs)
    client.delete_run(theirs)
    assert not runs.under_way(client, "0" * 32) and runs.name_of(client, "0" * 32) == ""


# --- trials, which are written past MLflow's client ---------------------------------------------


@pytest.fixture(scope="module")
def family_run(client):
    return runs.open_run(client, "xgboost", parent=runs.open_run(client, "run"))


@pytest.fixture(scope="module")
def trials(client, family_run):
    """The trials, as MLflow's page queries them: by their parent."""
    for trial in (COMPLETE, FAILED):
        log_trial(client, family_run, trial)
    children = f"tags.`{runs.PARENT}` = '{family_run}'"
    found = client.search_runs([experiment_id(client)], children)
    return {run.info.run_name: run for run in found}


def test_a_trial_is_a_closed_run_under_its_family_with_its_figures(trials, client):
    assert set(trials) == {"trial 3", "trial 4"}
    run = trials["trial 3"]
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "complete")
    assert run.info.end_time - run.info.start_time == 1500
    assert trials["trial 4"].info.status == "FAILED"
    assert run.data.metrics == {"valid_roc_auc": 0.75, "seconds": 1.5}, "a NaN is left out"
    assert run.data.params["rounds"] == "120" and len(run.data.params["note"]) == 6000
    (point,) = client.get_metric_history(run.info.run_id, "valid_roc_auc")
    assert (point.value, point.step) == (0.75, 0)


def test_it_has_all_that_a_run_made_by_the_client_has(trials, client, family_run):
    """A release of MLflow that keeps more of a run would show here."""
    made = runs.open_run(client, "trial 3", parent=family_run)
    runs.log(client, made, params={"rounds": 120}, metrics={"valid_roc_auc": 0.75})
    runs.close_run(client, made)
    ours, theirs = dict(trials["trial 3"].info), dict(client.get_run(made).info)
    assert ours.keys() == theirs.keys()
    place = ours.pop("artifact_uri"), theirs.pop("artifact_uri")
    assert place[0].replace(ours["run_id"], theirs["run_id"]) == place[1]
    own = ("run_id", "run_uuid", "start_time", "end_time")
    assert {key: ours[key] for key in ours if key not in own} == {
        key: theirs[key] for key in theirs if key not in own
    }


def test_a_trial_of_an_unknown_family_run_is_refused(client):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="not found"):
        log_trial(client, "0" * 32, COMPLETE)


# --- names --------------------------------------------------------------------------------------

NAMES = ["charge (EUR)", "Share in %", "a/../b", "..", "/x", ".", "", "x" * 251, "[/red]\x1b", "😀"]


@given(st.lists(st.text(max_size=300), max_size=8, unique=True))
@hypothesis(max_examples=20, deadline=None)
def test_any_name_has_one_that_mlflow_accepts(names):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    keys = [runs.key(name) for name in (*NAMES, *names)]
    for one in keys:
        _validate_param_name(one)
        _validate_metric_name(one)
        assert len(one) <= 250
    assert len(set(keys)) == len({*NAMES, *names}), "two names stay two"
    assert runs.key("xgboost/test_roc_auc") == "xgboost/test_roc_auc"


def test_parameters_and_metrics_may_have_any_name(client):
    run = runs.open_run(client, "odd")
    runs.log(client, run, params=dict.fromkeys(NAMES, 1), metrics=dict.fromkeys(NAMES, 0.5))
    logged = client.get_run(run).data
    assert len(logged.params) == len(logged.metrics) == len(NAMES)
