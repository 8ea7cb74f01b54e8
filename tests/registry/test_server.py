"""Versions, decisions and the champion on an MLflow server, as on the embedded SQLite."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from configs.load import load
from registry import champion as by_alias
from registry import tracking
from registry.bundle import BundleRefused, load_bundle, write_bundle
from registry.champion import champion_now, fetch, find_champion, find_version, register, versions
from registry.decisions import conclude, pending, reconcile, release, roll_back
from registry.gate import Decision
from registry.ledger import LedgerBroken, history, read
from registry.tracking import open_store
from tests.mlflow_server import mlflow_server
from tests.registry.test_decisions import graph

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Folder and address."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder) as url:
        yield folder, url


@pytest.fixture(scope="module")
def settings(server, tmp_path_factory):
    var = tmp_path_factory.mktemp("here") / "var"
    return load("smoke", ["--var", str(var), "--tracking.uri", server[1]], env={})


@pytest.fixture(scope="module")
def client(settings, tmp_path_factory):
    """Three versions; 1 and 2 were promoted in turn, 3 was rejected."""
    client = open_store(settings)
    for number, action in enumerate(("promote", "promote", "reject"), 1):
        folder = tmp_path_factory.mktemp("made") / "bundle"
        sha256 = write_bundle(folder, graph(), {"features": [], "threshold": number / 10})
        run = tracking.open_run(client, f"run {number}")
        made = register(client, settings, run_id=run, bundle=folder, bundle_sha256=sha256, tags={})
        shutil.rmtree(folder)  # the server alone has it now
        now = find_champion(client, settings)
        conclude(
            client,
            settings,
            version=made,
            decision=Decision(action, ("held: one",)),
            expected_champion=now.version if now else None,
            figures={"roc_auc": 0.7},
            data_sha256="",
            code_revision="",
            run_id=f"run {number}",
        )
        tracking.close_run(client, run)
    return client


def test_the_champion_is_downloaded_verified_and_kept_under_its_hash(client, settings, monkeypatch):
    version = find_champion(client, settings)
    assert version.version == 2 and version.source.startswith("mlflow-artifacts:")
    shutil.rmtree(by_alias.bundle_cache(settings), ignore_errors=True)
    assert champion_now(settings) == version, "both ways say the same"
    assert version.bundle == settings.var.absolute() / "mlflow" / "bundles" / version.bundle_sha256
    opened = load_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    assert opened.threshold == 0.2
    monkeypatch.setattr(by_alias, "_download", None)
    assert champion_now(settings) == version, "it is not downloaded again"


def test_one_altered_on_this_machine_is_downloaded_again(client, settings, monkeypatch):
    version = champion_now(settings)
    (version.bundle / "bundle.json").write_text("{}")
    monkeypatch.setattr(by_alias, "_verified", set())  # as in another process
    fetch(version)
    assert load_bundle(version.bundle, expected_sha256=version.bundle_sha256).threshold == 0.2


def test_a_process_without_mlflow_downloads_it_in_another_one(client, settings, monkeypatch):
    version = find_version(client, settings, 1)
    monkeypatch.delitem(by_alias.sys.modules, "mlflow")
    shutil.rmtree(version.bundle, ignore_errors=True)
    fetch(version)
    assert load_bundle(version.bundle, expected_sha256=version.bundle_sha256).threshold == 0.1


def test_decisions_are_records_of_the_server_and_move_the_champion(client, settings):
    assert read(client)[1] == [] == pending(client, settings)
    release(client, settings, 3, reason="by hand")
    assert champion_now(settings).version == 3
    assert roll_back(client, settings).to_version == 2
    assert champion_now(settings).version == 2
    told = [(e.action, e.from_version, e.to_version) for e in history(client, settings)]
    assert told == [
        *(("promote", None, 1), ("promote", 1, 2), ("reject", 2, 3)),
        *(("release", 2, 3), ("rollback", 3, 2)),
    ]
    other = load("online_retail", ["--var", str(settings.var)], env={})
    other = other.model_copy(update={"tracking": settings.tracking})
    assert champion_now(other) is None and versions(client, other) == []


def test_a_run_of_another_machine_is_taken_at_its_word(client):
    run = tracking.open_run(client, "theirs", tags={tracking.HOST: "x", tracking.PROCESS: "1"})
    tracking.close_dead_runs(client)
    assert tracking.under_way(client, run)
    tracking.close_run(client, run)


def test_trials_are_logged_as_on_sqlite(client):
    family = tracking.open_run(client, "xgboost", parent=tracking.open_run(client, "run"))
    trial = {"number": 3, "params": {"rounds": 120}, "metrics": {"roc_auc": 0.75}, "seconds": 1.5}
    tracking.log_trial(client, family, {**trial, "state": "complete"})
    (found,) = tracking.children(client, family).values()
    run = client.get_run(found)
    assert (run.info.run_name, run.info.status) == ("trial 3", "FINISHED")
    assert run.data.metrics == {"valid_roc_auc": 0.75, "seconds": 1.5}
    assert run.data.params == {"rounds": "120"}
    assert run.info.end_time - run.info.start_time == 1500


def test_what_is_altered_on_the_server_is_named_and_refused(server, client, settings):
    """The last test of the file: it breaks what the others use."""
    files = server[0] / "files"
    version = find_version(client, settings, 1)
    path = version.source.removeprefix("mlflow-artifacts:/")
    (files / path / "bundle.json").write_text("{}")
    shutil.rmtree(version.bundle, ignore_errors=True)
    with pytest.raises(BundleRefused, match="not the file that was written"):
        release(client, settings, 1)
    shutil.rmtree(files / path)
    with pytest.raises(BundleRefused, match="cannot be downloaded"):
        release(client, settings, 1)

    second = history(client, settings)[1]
    uri = client.get_run(second.mlflow_run_id).info.artifact_uri
    record = files / uri.removeprefix("mlflow-artifacts:/") / "decision.json"
    record.chmod(0o644)
    record.write_text(record.read_text().replace('"gate"', '"nobody"'))
    assert read(client)[1] == [f"record 2 was altered: {uri}/decision.json"]
    for refused in (lambda: reconcile(client, settings), lambda: roll_back(client, settings)):
        with pytest.raises(LedgerBroken, match="record 2 was altered"):
            refused()
    assert champion_now(settings).version == 2


# --- servers that do not answer -----------------------------------------------------------------


@pytest.mark.parametrize("ask", [open_store, champion_now])
def test_a_server_that_does_not_answer_is_one_clear_error(tmp_path, ask):
    uri = "http://127.0.0.1:9"
    settings = load("smoke", ["--var", str(tmp_path), "--tracking.uri", uri], env={})
    with pytest.raises(UserError) as error:
        ask(settings)
    assert uri in error.value.where and "start it" in error.value.next_step
    assert "refused" in error.value.what


def test_a_login_comes_from_mlflows_variables_and_is_never_repeated(tmp_path, monkeypatch):
    for address in ("http://me:secret@127.0.0.1:9", "postgresql://127.0.0.1/x"):
        with pytest.raises(UserError) as error:
            load("smoke", ["--var", str(tmp_path), "--tracking.uri", address], env={})
        assert "tracking" in str(error.value) and "secret" not in str(error.value)
    by_alias._connection.cache_clear()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    try:
        request = by_alias._connection().build_request("GET", "http://127.0.0.1:9/")
        sent = next(by_alias._connection().auth.auth_flow(request))
        assert sent.headers["Authorization"].startswith("Basic ")
        settings = load("smoke", ["--tracking.uri", "http://127.0.0.1:9"], env={})
        with pytest.raises(UserError) as error:
            champion_now(settings)
        assert "secret" not in str(error.value)
    finally:
        by_alias._connection.cache_clear()


def test_the_cache_is_never_left_by_a_name_that_the_server_gives():
    found = by_alias._version("m", 1, "mlflow-artifacts:/1", "", "../../x", "http://s", Path("c"))
    assert found.bundle == Path("c/unknown")
