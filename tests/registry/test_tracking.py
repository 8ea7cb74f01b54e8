"""Trials are written past MLflow's client, for speed; it reads what it would have written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.load import load
from registry import tracking
from registry.tracking import experiment_id, open_store

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
def client(tmp_path_factory):
    var = tmp_path_factory.mktemp("store")
    return open_store(load("smoke", ["--var", str(var)], env={}))


@pytest.fixture(scope="module")
def family_run(client):
    return tracking.open_run(client, "xgboost", parent=tracking.open_run(client, "run"))


@pytest.fixture(scope="module")
def runs(client, family_run):
    """The trials, as the page asks for them: by their parent."""
    tracking.log_trials(client, family_run, [COMPLETE, FAILED])
    wanted = f"tags.`{tracking.PARENT}` = '{family_run}'"
    found = client.search_runs([experiment_id(client)], wanted)
    return {run.info.run_name: run for run in found}


def test_a_trial_is_a_closed_run_under_its_family(runs, family_run):
    assert set(runs) == {"trial 3", "trial 4"}
    run = runs["trial 3"]
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "complete")
    assert run.info.end_time - run.info.start_time == 1500
    assert runs["trial 4"].info.status == "FAILED"


def test_its_figures_are_there_and_what_is_no_number_is_left_out(runs, client):
    run = runs["trial 3"]
    assert run.data.metrics == {"valid_roc_auc": 0.75, "seconds": 1.5}
    assert run.data.params["rounds"] == "120"
    assert len(run.data.params["note"]) == 6000
    (point,) = client.get_metric_history(run.info.run_id, "valid_roc_auc")
    assert (point.value, point.step) == (0.75, 0)


def test_it_looks_like_a_run_that_the_client_made(runs, client, family_run):
    """A release of MLflow that keeps more of a run would show here."""
    made = tracking.open_run(client, "trial 3", parent=family_run)
    tracking.log(client, made, params={"rounds": 120}, metrics={"valid_roc_auc": 0.75})
    tracking.close_run(client, made)
    ours, theirs = dict(runs["trial 3"].info), dict(client.get_run(made).info)
    assert ours.keys() == theirs.keys()
    place = ours.pop("artifact_uri"), theirs.pop("artifact_uri")
    assert place[0].replace(ours["run_id"], theirs["run_id"]) == place[1]
    its_own = ("run_id", "run_uuid", "start_time", "end_time")
    for key in ours.keys() - set(its_own):
        assert ours[key] == theirs[key], key


NAMES = ["charge (EUR)", "Share in %", "a/../b", "..", "/x", ".", "", "x" * 251, "[/red]\x1b", "😀"]


@given(st.lists(st.text(max_size=300), max_size=8, unique=True))
@settings(max_examples=50)
def test_any_name_has_one_that_mlflow_takes(names):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    keys = [tracking.key(name) for name in (*NAMES, *names)]
    for one in keys:
        _validate_param_name(one)
        _validate_metric_name(one)
        assert len(one) <= 250
    assert len(set(keys)) == len({*NAMES, *names}), "two names stay two"
    assert tracking.key("xgboost/test_roc_auc") == "xgboost/test_roc_auc"


def test_parameters_and_metrics_may_be_called_anything(client):
    run = tracking.open_run(client, "odd")
    tracking.log(client, run, params=dict.fromkeys(NAMES, 1), metrics=dict.fromkeys(NAMES, 0.5))
    found = client.get_run(run).data
    assert len(found.params) == len(found.metrics) == len(NAMES)


def test_a_trial_of_a_family_run_that_is_unknown_is_refused(client):
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="not found"):
        tracking.log_trial(client, "0" * 32, COMPLETE)
