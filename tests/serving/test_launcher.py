"""`python -m serving` and `python -m serving.predict`: what a person at the command line sees."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from made_graphs import bundle_of, endless
from real_service import ROOT, ROW, command, customers, end, make_bundle

from common.errors import UserError
from configs.command import run_command
from configs.load import load
from serving.__main__ import served_of
from serving.launcher import wait_until_ready
from serving.predict import main
from tests.commands import free_port

pytestmark = pytest.mark.slow


def run(*words: object) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("GOLDEN_PATH_")}
    command = [*map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


# --- python -m serving -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "what", "next_step"),
    [
        ("serving.log_requests=true", "log of requests", "--serving.log_requests false"),
        (
            "serving.shadow=challenger",
            "needs serving.log",
            "--serving.log_requests true",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_the_start(tmp_path, setting, what, next_step):
    (tmp_path / "serving").write_text("a file where a folder is to be")
    settings = load("smoke", ["--var", str(tmp_path), f"--{setting}"])
    with pytest.raises(UserError, match=what) as caught:
        served_of(settings, "m")
    assert next_step in caught.value.next_step


DYING = """
import subprocess, sys
while True:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.2)"])
"""


def test_the_launcher_gives_up_on_workers_that_keep_dying():
    with subprocess.Popen([sys.executable, "-c", DYING]) as process:
        try:
            with pytest.raises(UserError, match="cannot start: its workers die"):
                wait_until_ready(process, f"http://127.0.0.1:{free_port()}")
        finally:
            end(process)


class Other(BaseHTTPRequestHandler):
    """Some other service, which has no idea what is asked for."""

    def do_GET(self) -> None:
        body = b'{"detail": "Not Found"}'
        self.send_response(404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def other_service() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_another_service_on_the_port_is_not_taken_for_ours():
    code = "import time; time.sleep(0.6); raise SystemExit(7)"
    with (
        other_service() as port,
        subprocess.Popen([sys.executable, "-c", code]) as process,
        pytest.raises(UserError, match="ended with exit code 7 before it was ready"),
    ):
        wait_until_ready(process, f"http://127.0.0.1:{port}")


def altered(folder: Path) -> str:
    sha256 = make_bundle(folder)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    return sha256


never = partial(bundle_of, probability=0.5, graph=endless())


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (altered, "the model bundle is refused: model.onnx"),
        (never, "takes more than 1 seconds"),
    ],
    ids=["altered", "endless"],
)
def test_a_champion_that_cannot_be_opened_is_not_served(tmp_path, make, why):
    words = ["--serving.port", free_port(), "--var", tmp_path / "var"]
    words += ["--serving.opening_seconds", "1"]
    done = run(*command(tmp_path / "bundle", make(tmp_path / "bundle"), *words))
    assert done.returncode == 1
    (message,) = [one for one in done.stderr.splitlines() if one.startswith("Error")]
    assert message.startswith("Error: version 3 cannot be served: ") and why in message
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("when", ["while it serves", "while it tries the champion"])
def test_ctrl_c_ends_the_launcher_and_all_that_it_started(tmp_path, when):
    """SIGTERM does the same: `test_graceful_end.py`."""
    folder, port = tmp_path / "a bundle", free_port()
    sha256 = make_bundle(folder) if when == "while it serves" else never(folder)
    words = ["--serving.port", port, "--var", tmp_path / "var", "--serving.opening_seconds", "600"]
    process = subprocess.Popen(
        command(folder, sha256, *words), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    launcher = psutil.Process(process.pid)
    assert process.stdout is not None
    if when == "while it serves":
        what = f"golden-path-default version 3 (bundle {sha256[:12]}) at http://127.0.0.1:{port}"
        assert f"Serving {what}" in process.stdout.readline()
        assert launcher.children(recursive=True)
    else:
        while not any("serving.trial" in child.cmdline() for child in launcher.children()):
            assert process.poll() is None
            time.sleep(0.05)
    assert end(process, signal.SIGINT) == []
    process.stdout.close()
    assert process.returncode == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


# --- python -m serving.predict -----------------------------------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example that a run leaves, seen through `latest`."""
    var = tmp_path_factory.mktemp("var")
    folder = var / "runs" / "1"
    folder.mkdir(parents=True)
    rows = customers(ROW | {"customer_id": "12346"}, ROW | {"recency_days": 365.0})
    (folder / "example.json").write_text(json.dumps(rows))
    (folder / "summary.json").write_text(json.dumps({"config": "default"}))
    (var / "runs" / "latest").symlink_to("1")
    return folder / "example.json"


def predict(port: int, var: Path, *words: object) -> int:
    """The command, in this process; returns its exit code."""
    line = ["--serving.port", port, "--var", var, *words]
    return run_command("serving.predict", "", main, [*map(str, line)], arguments=("file",))


def test_the_example_of_the_last_run_is_answered_as_a_table(running, example):
    words = ("-m", "serving.predict", "--serving.port", running.port, "--var", example.parents[2])
    done = run(sys.executable, *words)
    head, empty, title, *rows = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == "" and empty == ""
    assert head == "golden-path-default version 3: contact from a probability of 0.5 on"
    assert title.split() == ["customer", "probability", "decision"]
    assert [row.split()[0] for row in rows] == ["12346", "row"]
    assert {row.split()[-1] for row in rows} == {"contact", "leave"}
    assert len({row.index(".") for row in rows}) == 1


def test_each_failure_of_make_predict_is_one_message_with_a_next_step(
    running, example, tmp_path, capsys
):
    wrong, ours = tmp_path / "wrong.json", running.port
    wrong.write_text(json.dumps(customers(ROW | {"is_home": 7})))
    with other_service() as other:
        for port, words, texts in (
            (1, [], ["no run of preset default", "make train"]),
            (1, ["none.json"], ["No such file", "none.json"]),
            (1, [example], ["no service answers", "make serve"]),
            (other, [example], ["what listens there is not this service", "501"]),
            (ours, ["--config=smoke", example], ["golden-path-default, not golden-path-smoke"]),
            (ours, [wrong], ["(400)", "customers[0].is_home: must be a number from 0 to 1"]),
        ):
            code = predict(port, tmp_path / "var", *words)
            out, err = capsys.readouterr()
            assert (code, out) == (1, "")
            assert err.startswith("Error: ") and "Traceback" not in err
            assert not [text for text in (*texts, "next:") if text not in err], err
