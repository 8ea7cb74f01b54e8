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
from made_champion import conclude_as, register_bundle, small_version

from common.errors import UserError
from configs.load import load
from features.catalogue import CATALOGUE
from flows.commands import models, promote, rollback
from registry.bundle import write_bundle
from registry.champion import champion_now, find_version
from registry.gate import Decision
from registry.ledger import history, record_file
from registry.tracking import open_store
from serving import predict
from tests.serving.made_linear import linear_graph

pytestmark = pytest.mark.slow

TEST = {"roc_auc": 0.75, "roc_auc_low": 0.7, "roc_auc_high": 0.8}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Versions 1 and 2 were promoted in turn, 3 was rejected."""
    settings = load("smoke", ["--var", str(tmp_path_factory.mktemp("store"))], env={})
    for number, action in enumerate(("promote", "promote", "reject"), 1):
        day = f"2026-01-0{number}T10:00:00"
        about = {"family": "xgboost", "run_id": f"run-{number}", "trained_at": day, "test": TEST}
        decision = Decision(action, ("held: one", "held: two"))
        version = small_version(settings, **about)
        conclude_as(settings, version, decision, figures=TEST, run_id=f"run-{number}")
    return settings


@pytest.fixture
def type_(settings, capsys):
    """Type a command with these words; returns its exit code and what it said."""

    def run(about, *words: str) -> tuple[int, str]:
        code = about.run([*words, "--config", "smoke", "--var", str(settings.var)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def shown(settings, capsys) -> str:
    models.main(settings)
    return capsys.readouterr().out


def test_a_version_is_promoted_manually_and_taken_back(settings, type_, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    code, said = type_(promote, "3", "--reason", "a good month")
    assert code == 0, said
    assert "Version 3 of golden-path-smoke is champion, in place of version 2" in said
    assert "release by ada" in said and champion_now(settings).version == 3
    code, said = type_(rollback)
    assert code == 0 and "Version 2" in said and "rollback by ada" in said
    for command, words, version in (
        (rollback, ["1"], 1),
        (promote, ["v2", "--reason=back again"], 2),
    ):
        assert type_(command, *words)[0] == 0 and champion_now(settings).version == version


def test_what_cannot_be_done_is_refused_and_the_champion_stays(settings, type_):
    before = champion_now(settings)
    for command, words, said in (
        (promote, (), "no version is named"),
        (promote, ("9",), "has no version 9"),
        (promote, ("two",), "'two' is not a version"),
        (promote, (str(before.version),), "champion already"),
        (rollback, ("9",), "has no version 9"),
    ):
        code, message = type_(command, *words)
        assert code == 1 and said in message and "next:" in message and "Traceback" not in message
    assert champion_now(settings) == before


def test_the_versions_and_the_ledger_are_shown(settings, capsys):
    client = open_store(settings)
    (find_version(client, settings, 3).bundle / "bundle.json").write_text("{}")
    client.set_registered_model_alias("golden-path-smoke", "shadow", "1")
    out = shown(settings, capsys)
    versions, past = out.split("Ledger, newest first")
    lines = versions.splitlines()
    first = {line.split()[0]: at for at, line in enumerate(lines) if re.match(r" +\d ", line)}
    aliases = {number: lines[place + 1].split()[0] for number, place in first.items()}
    assert aliases == {"1": "shadow", "2": "champion", "3": "challenger"}, "MLflow's own"
    assert "altered" in lines[first["3"]] and versions.count("intact") == 2
    assert "version 3: the model bundle is refused: bundle.json is not the file" in past
    assert "0.7500" in versions and "0.700 – 0.800" in versions and "run-1" in versions
    assert "reject 3" in past and "2 stays" in past and "– → 1" in past
    assert "held: one (and 1 more)" in past and out.count("Warning") == 1
    numbers = [line.split()[0] for line in past.splitlines() if line.strip()[:1].isdigit()]
    assert numbers == sorted(numbers, key=int, reverse=True)


def writes(text: str):
    return lambda file: file.write_text(text)


ALTERED = {
    "not JSON": writes("{,"),
    "not UTF-8": lambda file: file.write_bytes(b'{"family": "\xff"}'),
    "another type": writes('["xgboost"]'),
    "values of other types": writes(
        '{"family": ["x"], "trained_at": 3, "test": [1], "run_id": {}}'
    ),
    "figures of other types": writes(
        '{"test": {"roc_auc": "high", "roc_auc_low": null, "roc_auc_high": true}}'
    ),
    "no numbers": writes(
        '{"test": {"roc_auc": NaN, "roc_auc_low": -Infinity, "roc_auc_high": %s}}' % (10**400)
    ),
    "markup": writes(
        json.dumps({"family": "[/red]\x1b[2J", "trained_at": "[/]\n", "run_id": "<b>\u202e" * 99})
    ),
    "deep": writes("[" * 200_000),
    "huge": writes('{"family": "' + "x" * 20_000_000 + '"}'),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "the folder is gone": lambda file: file.parent.rename(file.parent.with_name("away")),
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
        out = shown(settings, capsys)
    finally:
        for folder in (bundle, bundle.with_name("away")):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", bundle)
    assert out.count("intact") == 2 and "xgboost" in out
    assert re.search(r"^      3 .* (altered|missing)\s*$", out, re.MULTILINE)
    assert "Warning: version 3: the model bundle is refused" in out
    assert "\x1b" not in out and "\u202e" not in out
    assert max(map(len, out[: out.index("Warning")].splitlines())) <= 80


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


@pytest.mark.parametrize("version", [1, 2])
def test_make_predict_shows_the_answers_of_the_champion_alone(settings, version):
    model = find_version(open_store(settings), settings, version)
    said = {"name": model.name, "version": version, "bundle_sha256": model.bundle_sha256}
    one = {"row": 0, "customer_id": "1", "probability": 0.7, "decision": True}
    answer = {"model": said | {"threshold": 0.5}, "predictions": [one]}
    with answering(answer) as port:
        serving = settings.serving.model_copy(update={"port": port})
        there = settings.model_copy(update={"serving": serving})
        if version == champion_now(settings).version:
            assert "0.700" in predict.table(predict.ask(there, b"{}"))
        else:
            with pytest.raises(UserError, match="version 1 answers, and version 2 is"):
                predict.ask(there, b"{}")


def test_make_predict_takes_the_newest_example_of_its_own_preset(settings):
    runs = settings.var / "runs"
    for name, content in (
        ("20260101-a", '{"config": "smoke"}'),
        ("20260102-b", '{"config": "smoke"}'),
        ("20260103-c", '{"config": "another"}'),
        ("20260104-d", '["smoke"]'),
        ("20260105-e", "{"),
    ):
        (runs / name).mkdir(parents=True)
        (runs / name / "summary.json").write_text(content)
        (runs / name / "example.json").write_text(name)
    (runs / "latest").symlink_to("20260103-c")
    assert predict.example(settings) == b"20260102-b"
    with pytest.raises(UserError, match="there is no run of preset online_retail"):
        predict.example(load("online_retail", ["--var", str(settings.var)], env={}))


def test_a_refused_version_repairs_nothing_and_a_broken_ledger_has_a_way_out(
    settings, type_, capsys
):
    client, before = open_store(settings), champion_now(settings)
    entry = history(client, settings)[-1]
    client.set_registered_model_alias("golden-path-smoke", "champion", "1")
    for command in (promote, rollback):
        assert "has no version 9" in type_(command, "9")[1]
    assert history(client, settings)[-1] == entry, "nothing is written down yet"

    file = record_file(client.get_run(entry.mlflow_run_id))
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"reason": "', '"reason": "nicer '))
    for command, words in ((promote, ["3"]), (rollback, [])):
        code, message = type_(command, *words)
        assert code == 1 and f"record {entry.sequence} was altered" in message
        assert 'make promote CONFIG=smoke VERSION=N ARGS="' in message
        assert "--despite-ledger" in message
    assert champion_now(settings).version == 1
    out = shown(settings, capsys)
    assert f"Warning: record {entry.sequence} was altered" in out
    assert "no command moves the champion" in out

    code, message = type_(promote, str(before.version), "--despite-ledger")
    assert code == 0 and "restart by" in message and champion_now(settings) == before
    assert "no command moves" not in shown(settings, capsys)


def test_a_corrupted_store_is_one_clear_error(tmp_path, capsys):
    store = tmp_path / "var" / "mlflow"
    store.mkdir(parents=True)
    (store / "mlflow.db").write_bytes(b"no database" * 1000)
    assert promote.run(["1", "--config", "smoke", "--var", str(tmp_path / "var")]) == 1
    said = capsys.readouterr().err
    assert "MLflow's database cannot be read" in said and "Traceback" not in said


def test_a_version_that_cannot_be_served_is_not_promoted(settings, type_):
    """Seen in a process of its own, with bounds: it may loop for ever (`serving/trial.py`)."""
    before = champion_now(settings)
    described = {"features": [asdict(CATALOGUE[0])] * 2, "threshold": 0.5}
    bundle = settings.var / "made-bundle"
    made = register_bundle(settings, bundle, write_bundle(bundle, linear_graph(1), described))
    code, message = type_(promote, str(made.version))
    assert code == 1 and f"version {made.version} cannot be served: its graph takes 1" in message
    assert champion_now(settings) == before
