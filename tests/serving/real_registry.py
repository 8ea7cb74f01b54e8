"""A real registry, the real service on it, and clients that never stop asking."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import psutil
from made_graphs import Graph, bundle_of
from real_service import AS_OF, ROOT, end, free_port, line

from configs.load import load
from configs.settings import Settings
from features.catalogue import CATALOGUE, Feature
from registry.champion import ModelVersion, promote, register
from registry.runs import open_run
from registry.tracking import open_store

LINES = {"lines": [line("1", 30), line("2", 9)]}
CUSTOMER = {feature.name: max(feature.low or 0, 1.0) for feature in CATALOGUE}
WATCH = 0.2  # seconds


@dataclass
class Registry:
    """A real one. A version says a tenth of its number, unless it is told otherwise."""

    settings: Settings
    client: Any
    folder: Path

    def add(
        self,
        probability: float,
        features: tuple[Feature, ...] = CATALOGUE,
        graph: Graph | None = None,
    ) -> ModelVersion:
        run = open_run(self.client, "run")
        made = self.folder / run
        sha = bundle_of(made, probability, features, graph)
        return register(
            self.client, self.settings, run_id=run, bundle=made, bundle_sha256=sha, tags={}
        )

    def promote(self, version: ModelVersion) -> None:
        promote(self.client, version)


def open_registry(folder: Path) -> Registry:
    """An empty one, of preset smoke."""
    settings = load("smoke", ["--var", str(folder / "var")], env={})
    return Registry(settings, open_store(settings), folder / "bundles")


@dataclass
class Service:
    url: str
    log: Path
    workers: list[psutil.Process]

    def model(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/model", trust_env=False, timeout=60).json()

    def count(self, *labels: str) -> float:
        lines = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=60).text.splitlines()
        found = [x for x in lines if x[:1] != "#" and all(label in x for label in labels)]
        return sum(float(x.split()[-1]) for x in found)

    def serves(self, version: ModelVersion) -> bool:
        return self.model()["version"] == version.version

    def refused(self) -> int | None:
        refused = self.model()["refused"]
        return refused and refused["version"]

    def has_refused(self, before: float) -> bool:
        return self.count("champion_changes", 'outcome="refused"') > before

    def wait_for(self, what: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)


@contextmanager
def serving(registry: Registry, *overrides: str) -> Iterator[Service]:
    port, log = free_port(), registry.folder.parent / f"log{time.monotonic_ns()}"
    command = ["-m", "serving", "--config", "smoke", "--var", str(registry.settings.var)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, "--serving.port", str(port), *overrides],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        service = Service(f"http://127.0.0.1:{port}", log, [])
        service.wait_for(lambda: "Ctrl-C" in log.read_text(), 60)
        family = psutil.Process(process.pid).children(recursive=True)
        service.workers = [one for one in family if "_bentoml_impl" in " ".join(one.cmdline())]
        yield service
    finally:
        assert end(process) == []


@dataclass
class Load:
    """What one client saw: (version, its probabilities) of each answer, and what was no answer."""

    answers: list[tuple[int, set[float]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def versions(self) -> list[int]:
        """In order, without repeats."""
        seen = [version for version, _ in self.answers]
        return [now for before, now in zip([None, *seen], seen) if now != before]


@contextmanager
def under_load(url: str, clients: int = 2) -> Iterator[list[Load]]:
    """Every other client asks about invoice lines."""
    rows = {"customers": [CUSTOMER] * 20}
    buyers = [LINES | {"customer_id": f"c{number}"} for number in range(5)]
    lines = {"as_of": str(AS_OF), "customers": buyers}
    asked = [("predict", rows), ("predict_transactions", lines)]
    loads, stop = [Load() for _ in range(clients)], threading.Event()

    def ask(load: Load, path: str, body: str) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not stop.is_set():
                try:
                    answer = client.post(f"{url}/{path}", content=body)
                except httpx.HTTPError as error:
                    load.failures.append(repr(error))
                    continue
                if answer.status_code != 200:
                    load.failures.append(answer.text)
                    continue
                said = answer.json()
                probabilities = {round(one["probability"], 4) for one in said["predictions"]}
                load.answers.append((said["model"]["version"], probabilities))

    threads = [
        threading.Thread(target=ask, args=[load, path, json.dumps(body)])
        for load, (path, body) in zip(loads, cycle(asked))
    ]
    for thread in threads:
        thread.start()
    try:
        yield loads
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def has_gone_on(loads: list[Load], before: list[int]) -> bool:
    return all(len(load.answers) > n + 10 for load, n in zip(loads, before))
