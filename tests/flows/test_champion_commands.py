"""`make models`, `make promote` and `make rollback` as a person types them, on made bundles."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from common.errors import UserError
from configs.load import load
from features.catalogue import CATALOGUE
from flows.commands import models, promote, rollback
from registry import runs
from registry.bundle import write_bundle
from registry.champion import champion_now, find_version, register
from registry.decisions import conclude
from registry.gate import Decision
from registry.ledger import history, record_file
from registry.tracking import open_store
from serving import predict

pytestmark = pytest.mark.slow

TEST = {"roc_auc": 0.75, "roc_auc_low": 0.7, "roc_auc_high": 0.8}


def graph() -> bytes:
    from onnx import TensorProto, helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("features", ["batch", 1]), ("probability", ["batch"]))
    ]
    nodes = [
        helper.make_node("Sigmoid", ["features"], ["column"]),
        helper.make_node("ReduceMax", ["column"], ["probability"], axes=[1], keepdims=0),
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "tiny", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    return made.SerializeToString()


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Versions 1 and 2 were promoted in turn, 3 was rejected."""
    var = tmp_path_factory.mktemp("store")
    settings = load("smoke", ["--var", str(var)], env={})
    client = open_store(settings)
    for number, action in enumerate(("promote", "promote", "reject"), 1):
        said = {"family": "xgboost", "trained_at": f"2026-01-0{number}T10:00:00", "test": TEST}
        said |= {"features": [asdict(CATALOGUE[0])], "threshold": 0.5}
        sha = write_bundle(var / "bundle", graph(), {**said, "run_id": f"run-{number}"})
        run = runs.open_run(client, "run")
        made = register(
            client, settings, run_id=run, bundle=var / "bundle", bundle_sha256=sha, tags={}
        )
        now = champion_now(settings)
        conclude(
            client,
            settings,
            version=made,
            decision=Decision(action, ("held: one", "held: two")),
            expected_champion=now.version if now else None,
            figures=TEST,
            data_sha256="",
            code_revision="",
            run_id=f"run-{number}",
        )
    return settings


@pytest.fixture
def type_(settings, monkeypatch, capsys):
    """Type a command with these words; returns its exit code and what it said."""

    def run(about, *words: str) -> tuple[int, str]:
        options = ["--config", "smoke", "--var", str(settings.var)]
        code = about.run([*words, *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_version_is_released_by_hand_and_taken_back(settings, type_, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    code, said = type_(promote, "3", "--reason", "a good month")
    assert code == 0, said
    assert "Version 3 of golden-path-smoke is champion, in place of version 2" in said
    assert "release by ada" in said
    assert champion_now(settings).version == 3
    code, said = type_(rollback)
    assert code == 0 and "Version 2" in said and "rollback by ada" in said
    code, said = type_(rollback, "1")
    assert code == 0 and champion_now(settings).version == 1
    code, said = type_(promote, "v2", "--reason=back again")
    assert code == 0 and champion_now(settings).version == 2


def test_what_cannot_be_done_is_refused_and_the_champion_stays(settings, type_):
    before = champion_now(settings)
    for words, said in (
        ((), "no version is named"),
        (("9",), "has no version 9"),
        (("two",), "'two' is not a version"),
        ((str(before.version),), "champion already"),
    ):
        code, told = type_(promote, *words)
        assert code == 1 and said in told and "next:" in told and "Traceback" not in told
    code, told = type_(rollback, "9")
    assert code == 1 and "has no version 9" in told
    assert champion_now(settings) == before


def test_the_versions_and_the_ledger_are_shown(settings, capsys):
    client = open_store(settings)
    (find_version(client, settings, 3).bundle / "bundle.json").write_text("{}")
    client.set_registered_model_alias("golden-path-smoke", "shadow", "1")
    models.main(settings)
    out = capsys.readouterr().out
    versions, past = out.split("Ledger, newest first")
    lines = versions.splitlines()
    first = {line.split()[0]: at for at, line in enumerate(lines) if re.match(r" +\d ", line)}
    aliases = {number: lines[place + 1].split()[0] for number, place in first.items()}
    assert aliases == {"1": "shadow", "2": "champion", "3": "challenger"}, "MLflow's own"
    assert "altered" in lines[first["3"]]
    assert "version 3: the model bundle is refused: bundle.json is not the file" in past
    assert "0.7500" in versions and "0.700 – 0.800" in versions and "run-1" in versions
    assert versions.count("intact") == 2
    assert "reject 3" in past and "2 stays" in past and "– → 1" in past
    assert "held: one (and 1 more)" in past
    assert out.count("Warning") == 1
    first = [line.split()[0] for line in past.splitlines() if line.strip()[:1].isdigit()]
    assert first == sorted(first, key=int, reverse=True)


def _folder_is_gone(bundle):
    bundle.rename(bundle.with_name("away"))


ALTERED = {
    "not JSON": lambda file: file.write_text("{,"),
    "not UTF-8": lambda file: file.write_bytes(b'{"family": "\xff"}'),
    "another type": lambda file: file.write_text('["xgboost"]'),
    "keys are missing": lambda file: file.write_text("{}"),
    "values of other types": lambda file: file.write_text(
        '{"family": ["x"], "trained_at": 3, "test": [1], "run_id": {}}'
    ),
    "figures of other types": lambda file: file.write_text(
        '{"test": {"roc_auc": "high", "roc_auc_low": null, "roc_auc_high": true}}'
    ),
    "no numbers": lambda file: file.write_text(
        '{"test": {"roc_auc": NaN, "roc_auc_low": -Infinity, "roc_auc_high": %s}}' % (10**400)
    ),
    "markup": lambda file: file.write_text(
        json.dumps({"family": "[/red]\x1b[2J", "trained_at": "[/]\n", "run_id": "<b>\u202e" * 99})
    ),
    "deep": lambda file: file.write_text("[" * 200_000),
    "huge": lambda file: file.write_text('{"family": "' + "x" * 20_000_000 + '"}'),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "gone": lambda file: file.unlink(),
    "the folder is gone": lambda file: _folder_is_gone(file.parent),
}


@pytest.mark.parametrize("how", ALTERED)
def test_a_bundle_that_was_altered_is_shown_beside_the_others(
    settings, capsys, monkeypatch, tmp_path, how
):
    monkeypatch.setenv("COLUMNS", "80")
    bundle = find_version(open_store(settings), settings, 3).bundle
    shutil.copytree(bundle, tmp_path / "kept")
    try:
        ALTERED[how](bundle / "bundle.json")
        models.main(settings)
    finally:
        for folder in (bundle, bundle.with_name("away")):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", bundle)
    out = capsys.readouterr().out
    assert out.count("intact") == 2 and "xgboost" in out
    assert re.search(r"^      3 .* (altered|missing)\s*$", out, re.MULTILINE)
    assert "Warning: version 3: the model bundle is refused" in out
    assert "\x1b" not in out and "\u202e" not in out
    tables = out[: out.index("Warning")]
    assert max(map(len, tables.splitlines())) <= 80


@contextmanager
def answering(answer):
    """A service that gives this answer to everything; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_make_predict_shows_the_answers_of_the_champion_alone(settings, version):
    found = find_version(open_store(settings), settings, version)
    said = {"name": found.name, "version": version, "bundle_sha256": found.bundle_sha256}
    one = {"row": 0, "customer_id": "1", "probability": 0.7, "decision": True}
    answer = {"model": said | {"threshold": 0.5}, "predictions": [one]}
    with answering(answer) as port:
        serving = settings.serving.model_copy(update={"port": port})
        there = settings.model_copy(update={"serving": serving})
        if version == champion_now(settings).version:
            assert "0.700" in predict.table(predict.ask(there, b"{}"))
        else:
            with pytest.raises(UserError, match=f"version {version} answers, and version 2 is"):
                predict.ask(there, b"{}")


def test_make_predict_takes_the_example_of_its_own_preset(settings):
    runs = settings.var / "runs"
    for name, content in (
        ("20260101-a", {"config": "smoke"}),
        ("20260102-b", {"config": "smoke"}),
        ("20260103-c", {"config": "another"}),
        ("20260104-d", ["smoke"]),
        ("20260105-e", None),
    ):
        (runs / name).mkdir(parents=True)
        (runs / name / "summary.json").write_text("{" if content is None else json.dumps(content))
        (runs / name / "example.json").write_text(name)
    (runs / "latest").symlink_to("20260103-c")
    assert predict.example(settings) == b"20260102-b"
    with pytest.raises(UserError, match="there is no run of preset online_retail"):
        predict.example(load("online_retail", ["--var", str(settings.var)], env={}))


def test_a_refused_version_mends_nothing_and_a_broken_ledger_is_no_dead_end(
    settings, type_, capsys
):
    client, before = open_store(settings), champion_now(settings)
    entry = history(client, settings)[-1]
    client.set_registered_model_alias("golden-path-smoke", "champion", "1")
    for about in (promote, rollback):
        code, told = type_(about, "9")
        assert code == 1 and "has no version 9" in told
    assert history(client, settings)[-1] == entry, "nothing is written down yet"

    file = record_file(client.get_run(entry.mlflow_run_id))
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"reason": "', '"reason": "nicer '))
    for about, words in ((promote, ["3"]), (rollback, [])):
        code, told = type_(about, *words)
        assert code == 1 and f"record {entry.sequence} was altered" in told
        assert 'make promote CONFIG=smoke VERSION=N ARGS="' in told and "--despite-ledger" in told
    assert champion_now(settings).version == 1
    models.main(settings)
    out = capsys.readouterr().out
    assert f"Warning: record {entry.sequence} was altered" in out
    assert "no command moves the champion" in out

    words = [str(before.version), "--config", "smoke", "--var", str(settings.var)]
    assert promote.run([*words, "--despite-ledger"]) == 0
    assert "restart by" in capsys.readouterr().out
    assert champion_now(settings) == before
    models.main(settings)
    assert "no command moves" not in capsys.readouterr().out


def test_a_corrupted_store_is_one_clear_error(settings, type_, tmp_path, monkeypatch, capsys):
    store = tmp_path / "var" / "mlflow"
    store.mkdir(parents=True)
    (store / "mlflow.db").write_bytes(b"no database" * 1000)
    for about in (promote, rollback):
        assert about.run(["1", "--config", "smoke", "--var", str(tmp_path / "var")]) == 1
        said = capsys.readouterr().err
        assert "MLflow's database cannot be read" in said and "Traceback" not in said


def test_a_version_that_cannot_be_served_is_not_promoted(settings, type_, tmp_path):
    """Found in a process of its own, with bounds: it may loop for ever (`serving/trial.py`)."""
    client, before = open_store(settings), champion_now(settings)
    said = {"features": [asdict(CATALOGUE[0])] * 2, "threshold": 0.5}
    sha = write_bundle(tmp_path / "bundle", graph(), said)
    run = runs.open_run(client, "run")
    made = register(
        client, settings, run_id=run, bundle=tmp_path / "bundle", bundle_sha256=sha, tags={}
    )
    code, told = type_(promote, str(made.version))
    assert code == 1 and f"version {made.version} cannot be served: its graph takes 1" in told
    assert champion_now(settings) == before
