"""Versions, decisions and the champion on an MLflow server, as on the embedded SQLite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from made_registry import PROMOTE, REJECT, decided, new_version

from common.errors import UserError
from configs.load import load
from registry import download, runs
from registry.bundle import BundleRefused, load_bundle
from registry.carry_out import pending, reconcile
from registry.champion import champion_now, fetch, find_champion, find_version, versions
from registry.decisions import promote_manually, roll_back
from registry.ledger import LedgerBroken, history, read
from registry.location import bundle_cache
from registry.tracking import open_store
from registry.trials import log_trial
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


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
def client(settings):
    """Three versions; 1 and 2 were promoted in turn, 3 was rejected."""
    client = open_store(settings)
    for number, (decision, expected) in enumerate(((PROMOTE, None), (PROMOTE, 1), (REJECT, 2)), 1):
        version = new_version(client, settings, features=[], threshold=number / 10)
        decided(client, settings, version, decision, expected)
        runs.close_run(client, version.run_id)
    for folder in settings.var.glob("bundle*"):
        shutil.rmtree(folder)  # the server alone has them now
    return client


def test_a_champion_is_downloaded_once_verified_and_kept_under_its_hash(
    client, settings, monkeypatch
):
    version = find_champion(client, settings)
    assert version.version == 2 and version.source.startswith("mlflow-artifacts:")
    shutil.rmtree(bundle_cache(settings), ignore_errors=True)
    assert champion_now(settings) == version, "both ways give the same"
    assert version.bundle == settings.var.absolute() / "mlflow" / "bundles" / version.bundle_sha256

    def threshold(of=version):
        return load_bundle(of.bundle, expected_sha256=of.bundle_sha256).threshold

    assert threshold() == 0.2
    with monkeypatch.context() as patch:
        patch.setattr(download, "_fetch", None)
        assert champion_now(settings) == version, "it is not downloaded again"

    (version.bundle / "bundle.json").write_text("{}")  # altered on this machine
    monkeypatch.setattr(download, "_verified", set())  # as in another process
    fetch(version)
    assert threshold() == 0.2

    first = find_version(client, settings, 1)
    monkeypatch.delitem(download.sys.modules, "mlflow")  # then another process downloads it
    shutil.rmtree(first.bundle, ignore_errors=True)
    fetch(first)
    assert threshold(first) == 0.1


def test_decisions_are_records_of_the_server_and_move_the_champion(client, settings):
    assert read(client)[1] == [] == pending(client, settings)
    promote_manually(client, settings, 3, reason="by hand")
    assert champion_now(settings).version == 3
    assert roll_back(client, settings).to_version == 2
    assert champion_now(settings).version == 2
    past = [(e.action, e.from_version, e.to_version) for e in history(client, settings)]
    assert past == [
        *(("promote", None, 1), ("promote", 1, 2), ("reject", 2, 3)),
        *(("release", 2, 3), ("rollback", 3, 2)),
    ]
    other = load("online_retail", ["--var", str(settings.var)], env={})
    other = other.model_copy(update={"tracking": settings.tracking})
    assert champion_now(other) is None and versions(client, other) == []


def test_trials_are_logged_as_on_sqlite(client):
    family = runs.open_run(client, "xgboost", parent=runs.open_run(client, "run"))
    trial = {"number": 3, "params": {"rounds": 120}, "metrics": {"roc_auc": 0.75}, "seconds": 1.5}
    log_trial(client, family, {**trial, "state": "complete"})
    (child,) = runs.children(client, family).values()
    run = client.get_run(child)
    assert (run.info.run_name, run.info.status) == ("trial 3", "FINISHED")
    assert run.data.metrics == {"valid_roc_auc": 0.75, "seconds": 1.5}
    assert run.data.params == {"rounds": "120"}
    assert run.info.end_time - run.info.start_time == 1500


def test_what_is_altered_on_the_server_is_named_and_refused(server, client, settings):
    """The last test that uses the server: it breaks what the others use."""
    files = server[0] / "files"
    version = find_version(client, settings, 1)
    path = version.source.removeprefix("mlflow-artifacts:/")
    (files / path / "bundle.json").write_text("{}")
    shutil.rmtree(version.bundle, ignore_errors=True)
    with pytest.raises(BundleRefused, match="not the file that was written"):
        promote_manually(client, settings, 1)
    shutil.rmtree(files / path)
    with pytest.raises(BundleRefused, match="cannot be downloaded"):
        promote_manually(client, settings, 1)

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
    # A hash that is a path does not lead out of the folder of downloads.
    client.set_model_version_tag(version.name, "1", "bundle_sha256", "../../x")
    assert find_version(client, settings, 1).bundle == bundle_cache(settings) / "unknown"


# --- servers that do not answer -----------------------------------------------------------------


@pytest.mark.parametrize("use", [open_store, champion_now])
def test_a_server_that_does_not_answer_is_one_clear_error(tmp_path, use):
    uri = "http://127.0.0.1:9"
    settings = load("smoke", ["--var", str(tmp_path), "--tracking.uri", uri], env={})
    with pytest.raises(UserError, match=r"cannot be used: .*refused") as error:
        use(settings)
    assert uri in error.value.where and "start it" in error.value.next_step


CHAMPION_NOW = """
import sys
from configs.load import load
from registry.champion import champion_now
champion_now(load("smoke", ["--tracking.uri", sys.argv[1]], env={}))
"""


def test_a_login_comes_from_mlflows_variables_and_is_never_shown(tmp_path):
    for address in ("http://me:secret@127.0.0.1:9", "postgresql://127.0.0.1/x"):
        with pytest.raises(UserError) as error:
            load("smoke", ["--var", str(tmp_path), "--tracking.uri", address], env={})
        assert "tracking" in str(error.value) and "secret" not in str(error.value)
    # The service reads the registry in a process of its own: its login is that of MLflow.
    received: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            received.append(self.headers["Authorization"])
            self.send_error(403)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        done = subprocess.run(
            [sys.executable, "-c", CHAMPION_NOW, uri],
            cwd=ROOT,
            env=os.environ
            | {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"},
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert received == [f"Basic {b64encode(b'me:secret').decode()}"]
    assert "UserError" in done.stderr and "secret" not in done.stderr
