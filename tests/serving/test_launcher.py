"""`python -m serving` and `python -m serving.predict`: what a person at the command line sees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from made_graphs import bundle_of, endless
from real_service import ROOT, SERVE, Running, end, free_port, make_bundle

from common.errors import UserError
from configs.command import run_command
from features.catalogue import CATALOGUE
from serving.__main__ import _welcome
from serving.launcher import check_address, wait_until_ready

pytestmark = pytest.mark.slow


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", *map(str, words)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("GOLDEN_PATH_")}
    return subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def refused(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    """One message on stderr, without a traceback, with these texts and the next step."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr
    for text in (*texts, "next:"):
        assert text in done.stderr


# --- python -m serving -------------------------------------------------------------------------


def test_a_port_in_use_is_named_with_the_way_out(running: Running) -> None:
    done = command("serving", "--serving.port", str(running.port))
    refused(done, f"port {running.port}", "already in use", f"--serving.port {running.port + 1}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_a_host_beyond_loopback_is_refused(host: str) -> None:
    """Without a token; names and nothing are no addresses to listen at."""
    with pytest.raises(UserError) as caught:
        check_address(host, 3000)
    assert repr(host) in caught.value.what and "127.0.0.1" in caught.value.next_step


def test_no_champion_says_what_to_do(tmp_path: Path) -> None:
    done = command("serving", "--var", tmp_path / "var", "--serving.port", str(free_port()))
    refused(done, "there is no champion yet", "make train")


@pytest.mark.parametrize("given", ["on the line", "in a preset"])
def test_the_port_is_said_once_in_the_next_command(tmp_path: Path, capsys, given: str) -> None:
    preset = tmp_path / "shop.yaml"
    preset.write_text("serving: {port: 3456}\n" if given == "in a preset" else "{}\n")
    line = [] if given == "in a preset" else ["--serving.port", "3456"]
    code = run_command(
        "serving",
        "",
        lambda settings: print(_welcome(settings, "shop version 1", "http://127.0.0.1:3456")),
        ["--config", str(preset), "--var", str(tmp_path / "var"), *line],
    )
    said = capsys.readouterr().out
    assert code == 0 and said.count("--serving.port 3456") == 1, said


def test_a_log_of_requests_that_cannot_be_kept_is_said_before_the_start(
    running: Running, tmp_path: Path
) -> None:
    (tmp_path / "serving").write_text("a file where a folder is to be")
    given = [running.bundle.folder, running.bundle.sha256, "--var", tmp_path]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, *map(str, given), "--serving.log_requests", "true"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    refused(done, "the log of requests cannot be kept", "--serving.log_requests false")


DYING = """
import subprocess, sys
while True:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.2)"])
"""


def test_workers_that_die_again_and_again_are_not_waited_for() -> None:
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


def test_what_another_service_answers_is_no_answer() -> None:
    server = HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = "import time; time.sleep(0.6); raise SystemExit(7)"
    try:
        process = subprocess.Popen([sys.executable, "-c", code])
        with pytest.raises(UserError, match="ended with exit code 7 before it was ready"):
            wait_until_ready(process, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_an_unknown_setting_is_refused() -> None:
    refused(command("serving", "--serving.prot", "3001"), "serving.prot", "serving.port")


def altered(folder: Path) -> str:
    sha256 = make_bundle(folder)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    return sha256


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (altered, "the model bundle is refused: model.onnx"),
        (partial(bundle_of, probability=0.5, graph=endless()), "takes more than 1 seconds"),
    ],
    ids=["altered", "endless"],
)
def test_a_champion_that_cannot_be_opened_is_not_served(
    tmp_path: Path, make: Callable[[Path], str], why: str
) -> None:
    sha256 = make(tmp_path / "bundle")
    words = (tmp_path / "bundle", sha256, "--serving.port", free_port(), "--var", tmp_path / "var")
    done = subprocess.run(
        [sys.executable, "-c", SERVE, *map(str, words), "--serving.opening_seconds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (said,) = [one for one in done.stderr.splitlines() if one.startswith("Error")]
    assert said.startswith("Error: version 3 cannot be served: ") and why in said
    assert "Traceback" not in done.stderr


def test_ending_the_launcher_ends_a_trial_under_way(tmp_path: Path) -> None:
    sha256 = bundle_of(tmp_path / "bundle", 0.5, graph=endless())
    words = (tmp_path / "bundle", sha256, "--serving.port", free_port(), "--var", tmp_path / "var")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, *map(str, words), "--serving.opening_seconds", "600"],
        cwd=ROOT,
    )
    launcher = psutil.Process(process.pid)
    while not any("serving.trial" in child.cmdline() for child in launcher.children()):
        assert process.poll() is None
        time.sleep(0.05)
    assert end(process, signal.SIGINT) == []
    assert process.returncode == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_ending_the_launcher_ends_the_whole_service(tmp_path: Path, how: signal.Signals) -> None:
    sha256 = make_bundle(tmp_path / "a bundle")
    port = free_port()
    arguments = [tmp_path / "a bundle", sha256, "--serving.port", port, "--var", tmp_path / "var"]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert (
        f"Serving golden-path-default version 3 (bundle {sha256[:12]}) at http://127.0.0.1:{port}"
        in first
    )
    assert psutil.Process(process.pid).children(recursive=True)
    assert end(process, how) == []
    assert process.returncode == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_what_the_service_writes_stays_in_var(running: Running) -> None:
    for process in running.launcher.children(recursive=True):
        env = process.environ()
        assert Path(env["BENTOML_HOME"]).is_relative_to(running.var)
        assert Path(env["TMPDIR"]).is_relative_to(running.var)
        written = [Path(file.path) for file in process.open_files() if file.mode != "r"]
        assert [file for file in written if not file.is_relative_to(running.var.parent)] == []


# --- python -m serving.predict -----------------------------------------------------------------


@pytest.fixture
def example(running: Running) -> Iterator[Path]:
    """The example that a run leaves, seen through `latest`."""
    folder = running.var / "runs" / "1"
    folder.mkdir(parents=True)
    row = {feature.name: max(feature.low, 1.0) for feature in CATALOGUE}
    rows = [row | {"customer_id": "12346"}, row | {"recency_days": 365.0}]
    (folder / "example.json").write_text(json.dumps({"customers": rows}))
    (folder / "summary.json").write_text(json.dumps({"config": "default"}))
    (running.var / "runs" / "latest").symlink_to("1")
    yield folder / "example.json"
    shutil.rmtree(running.var / "runs")


def test_the_last_runs_example_is_answered_as_a_table(running: Running, example: Path) -> None:
    done = command("serving.predict", "--serving.port", str(running.port), "--var", running.var)
    head, empty, title, *rows = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == "" and empty == ""
    assert head == "golden-path-default version 3: contact from a probability of 0.5 on"
    assert title.split() == ["customer", "probability", "decision"]
    assert [row.split()[0] for row in rows] == ["12346", "row"]
    assert {row.split()[-1] for row in rows} == {"contact", "leave"}
    assert len({row.index(".") for row in rows}) == 1


def test_another_file_may_be_named(running: Running, example: Path, tmp_path: Path) -> None:
    file = shutil.copy(example, tmp_path / "mine.json")
    where = ("--serving.port", str(running.port), "--var", running.var, file)
    assert command("serving.predict", *where).returncode == 0
    another = command("serving.predict", "--config=smoke", *where)
    refused(another, "what answers there is golden-path-default, not golden-path-smoke")


def test_no_run_yet(tmp_path: Path) -> None:
    refused(command("serving.predict", "--var", tmp_path), "no run of preset default", "make train")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(command("serving.predict", tmp_path / "none.json"), "No such file", "none.json")


def test_no_service_listens(example: Path) -> None:
    port = free_port()
    done = command("serving.predict", "--serving.port", str(port), example)
    refused(done, "no service answers", str(port), "make serve")


def test_the_reason_of_a_refusal_is_printed(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    row = {feature.name: max(feature.low, 1.0) for feature in CATALOGUE}
    file.write_text(json.dumps({"customers": [row | {"is_home": 7}]}))
    done = command("serving.predict", "--serving.port", str(running.port), file)
    refused(done, "(400)", "customers[0].is_home: must be a number from 0 to 1")


def test_something_else_listens_there(example: Path) -> None:
    with other_service() as port:
        refused(
            command("serving.predict", "--serving.port", str(port), example),
            "not this service",
            "501",
        )


@contextmanager
def other_service() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
