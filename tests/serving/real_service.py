"""A tiny bundle, the real service on it, and what tests ask of a running one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from made_graphs import FEATURES, SECTION, graph_of

from features.catalogue import CATALOGUE, NAMES
from registry.bundle import Bundle, load_bundle, write_bundle
from tests.commands import free_port

ROOT = Path(__file__).resolve().parents[2]
MAX_ROWS = 50
AS_OF = date(2025, 6, 24)
ROW = {feature.name: max(feature.low or 0, 1.0) for feature in CATALOGUE}

# The launcher as it is, with a champion that no registry had to be filled for.
SERVE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when tests run in the background
import msgspec
from common.errors import UserError
from configs.load import load
from serving.__main__ import serve, served_of
from serving.served import Fixed
folder, sha256, *overrides = sys.argv[1:]
settings = load("smoke", overrides)
try:
    served = msgspec.structs.replace(
        served_of(settings, "golden-path-default"),
        tracking_uri=None,
        fixed=Fixed(folder, 3, sha256),
    )
    serve(settings, served, f"version 3 (bundle {sha256[:12]})")
except UserError as error:
    sys.exit(str(error))
"""


def wait_for(what: Callable[[], Any], seconds: float = 60, log: Path | None = None) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, log and log.read_text()
        time.sleep(0.05)


@dataclass(frozen=True)
class Running:
    """A running service."""

    url: str
    launcher: psutil.Process
    var: Path
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @cached_property
    def bundle(self) -> Bundle:
        """The one that `started` has made for it."""
        return load_bundle(self.var.parent / "bundle")

    @property
    def arbiter(self) -> psutil.Process:
        """BentoML's process, which looks after the workers."""
        return self.launcher.children()[0]

    @property
    def workers(self) -> list[psutil.Process]:
        return self.arbiter.children()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """On a connection of its own."""
        with self.client() as client:
            return client.request(method, path, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=json, **options)

    @contextmanager
    def connected(self, sent: bytes = b"") -> Iterator[socket.socket]:
        """A connection on which these bytes were sent, for what no client library sends."""
        with closing(socket.create_connection(("127.0.0.1", self.port), 60)) as connection:
            connection.sendall(sent)
            yield connection

    def count(self, *labels: str) -> float:
        """The sum of the metrics whose line has all of these texts."""
        lines = self.get("/metrics").raise_for_status().text.splitlines()
        counted = [x for x in lines if x[:1] != "#" and all(label in x for label in labels)]
        return sum(float(x.split()[-1]) for x in counted)

    def wait_for(self, what: Callable[[], Any], seconds: float = 60) -> None:
        wait_for(what, seconds, self.log)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    with connection.makefile("rb", buffering=0) as answer:
        status = int(answer.readline().split()[1])
        lines = iter(answer.readline, b"\r\n")
        headers = dict(one.decode("latin-1").rstrip().split(": ", 1) for one in lines)
        body, length = b"", int(headers["content-length"])
        while len(body) < length and (more := answer.read(length - len(body))):
            body += more
        return status, headers, body


def line(
    invoice: str, days: int, quantity: Any = 2, price: float | None = 1.5, **changes: Any
) -> dict[str, Any]:
    """An invoice line, `days` before AS_OF."""
    return {
        "invoice_id": invoice,
        "product_id": "22423",
        "description": "cake stand",
        "quantity": quantity,
        "unit_price": price,
        "invoiced_at": f"{AS_OF - timedelta(days=days)}T10:00:00",
        "country": "United Kingdom",
    } | changes


def bought(*customers: Any, as_of: str = str(AS_OF)) -> dict[str, Any]:
    """A request about invoice lines."""
    return {"as_of": as_of, "customers": list(customers)}


def customers(*rows: Any) -> dict[str, Any]:
    """A request about feature values."""
    return {"customers": list(rows)}


SAMPLES = [
    {
        "name": "sample 1",
        "as_of": str(AS_OF),
        "lines": [line("1", 80), line("C2", 60, -1), line("3", 20, 3), line("4", 9, 5, 0.0)],
    },
    {"name": "sample 2", "as_of": str(AS_OF), "lines": [line("5", 5, 4, 1.0)]},
]
BUYER = {"customer_id": "1", "lines": SAMPLES[0]["lines"]}


def reference(n: int = 8) -> list[list[float | None]]:
    """Customers to explain against, (n, features): values within range, now and then none."""
    spread = np.random.default_rng(7)
    rows = []
    for _ in range(n):
        values = [spread.uniform(f.low or 0, 9 if f.high is None else f.high) for f in CATALOGUE]
        gone = [f.missing and spread.random() < 0.2 for f in CATALOGUE]
        rows.append([None if lost else round(v, 3) for lost, v in zip(gone, values)])
    return rows


def make_bundle(
    folder: Path, samples: Sequence[dict[str, Any]] = tuple(SAMPLES), **described: Any
) -> str:
    """probability = sigmoid(Σ wᵢ·xᵢ), a missing value counting as one, of a transaction log.

    NaN beyond 1e30 recency days, to see what becomes of values without an answer.
    """
    graph = graph_of(
        len(NAMES),
        """missing = IsNaN(features)
        filled = Where(missing, one, features)
        score = MatMul(filled, weights)
        column = Sigmoid(score)
        recency = Gather<axis = 1>(filled, recency_days)
        left = Sub(limit, recency)
        real = Sqrt(left)
        nothing = Mul(real, zero)
        sum = Add(column, nothing)
        probability = Reshape(sum, flat)""",
        one=np.float32([1]),
        zero=np.float32([0]),
        limit=np.float32([1e30]),
        weights=np.linspace(-0.02, 0.03, len(NAMES), dtype=np.float32).reshape(-1, 1),
        recency_days=np.array([NAMES.index("recency_days")]),
    )
    description = {
        "family": "tiny",
        "threshold": 0.5,
        "features": [asdict(feature) for feature in CATALOGUE],
        "question": FEATURES,
        "transactions": SECTION,
    }
    examples = {"reference": reference(), "samples": list(samples)}
    return write_bundle(folder, graph, description | described, examples)


def command(folder: Path, sha256: str, *overrides: object) -> list[str]:
    """Of the launcher on a bundle."""
    return [sys.executable, "-c", SERVE, str(folder), sha256, *map(str, overrides)]


@contextmanager
def launched(words: Sequence[str], folder: Path, **environment: str) -> Iterator[Running]:
    """The launcher, ready to serve, with its state and its log in the folder; none of its processes
    may be left at the end."""
    port, var, log = free_port(), folder / "var", folder / f"log{time.monotonic_ns()}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*words, "--serving.port", str(port), "--var", str(var)],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    left: list[psutil.Process] = []
    try:
        url = f"http://127.0.0.1:{port}"
        running = Running(url, psutil.Process(process.pid), var, log)
        wait_for(lambda: process.poll() is not None or "Ctrl-C" in log.read_text(), 120, log)
        assert process.poll() is None, log.read_text()
        yield running
    finally:
        left = end(process)
    assert left == []


@contextmanager
def started(
    folder: Path,
    *overrides: str,
    make: Callable[[Path], str] = make_bundle,
    **environment: str,
) -> Iterator[Running]:
    """A service of its own on the tiny bundle, or on what `make` makes, with these settings."""
    words = command(folder / "bundle", make(folder / "bundle"))
    words += ["--serving.max_rows", str(MAX_ROWS), *overrides]
    with launched(words, folder, **environment) as running:
        yield running


def end(
    process: subprocess.Popen[Any], how: signal.Signals = signal.SIGTERM
) -> list[psutil.Process]:
    """The signal to the launcher alone; returns what of its family is still there, and kills it."""
    if process.poll() is not None:
        return []
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    process.wait(60)
    _, left = psutil.wait_procs(family, timeout=10)
    for one in left:
        one.kill()
    return left


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    with started(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="session")
def client(running):
    with running.client() as client:
        yield client
