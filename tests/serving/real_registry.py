"""A real registry, the real service on it, and clients that never stop asking."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from made_graphs import bundle_of
from real_service import ROW, Running, bought, customers, launched, line

from configs.load import load
from configs.settings import Settings
from registry.champion import CHALLENGER, ModelVersion, promote, register
from registry.runs import open_run
from registry.tracking import open_store

LINES = {"lines": [line("1", 30), line("2", 9)]}
QUICK = ("--serving.watch_seconds", "0.2")


@dataclass
class Registry:
    """A real one. A version says a tenth of its number, unless it is told otherwise."""

    settings: Settings
    client: Any
    folder: Path

    @staticmethod
    def open(folder: Path) -> Registry:
        """An empty one, of preset smoke."""
        settings = load("smoke", ["--var", str(folder / "var")], env={})
        return Registry(settings, open_store(settings), folder)

    def add(self, probability: float, **more: Any) -> ModelVersion:
        """more: for `bundle_of`."""
        run = open_run(self.client, "run")
        made = self.folder / "bundles" / run
        sha = bundle_of(made, probability, **more)
        return register(
            self.client, self.settings, run_id=run, bundle=made, bundle_sha256=sha, tags={}
        )

    def add_altered(self, probability: float) -> ModelVersion:
        """Whose graph is not the one that was registered any more."""
        version = self.add(probability)
        with (version.bundle / "model.onnx").open("ab") as file:
            file.write(b"x")
        return version

    def promote(self, version: ModelVersion) -> None:
        promote(self.client, version)

    def challenge(self, version: ModelVersion) -> None:
        self.client.set_registered_model_alias(version.name, CHALLENGER, str(version.version))


class Service(Running):
    """The service that follows a registry."""

    def model(self) -> dict[str, Any]:
        return self.get("/model").json()

    def serves(self, version: ModelVersion) -> bool:
        return self.model()["version"] == version.version

    def refused(self) -> int | None:
        refused = self.model()["refused"]
        return refused and refused["version"]


@contextmanager
def serving(registry: Registry, *overrides: str) -> Iterator[Service]:
    words = [sys.executable, "-m", "serving", "--config", "smoke", *overrides]
    with launched(words, registry.folder) as running:
        yield Service(running.url, running.launcher, running.var, running.log)


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


class Loads(list[Load]):
    def go_on(self, service: Service) -> None:
        """Wait until each client has been answered ten times more."""
        before = [len(load.answers) for load in self]
        service.wait_for(lambda: all(len(x.answers) > n + 10 for x, n in zip(self, before)))


@contextmanager
def under_load(service: Service, pause: float = 0.002) -> Iterator[Loads]:
    """Two clients, of feature values and of invoice lines; none of their requests may fail.

    pause: seconds after each response. Without one, the clients take a core from what is tested."""
    buyers = [LINES | {"customer_id": f"c{number}"} for number in range(5)]
    bodies = [("predict", customers(*[ROW] * 20)), ("predict_transactions", bought(*buyers))]
    loads, stop = Loads(Load() for _ in bodies), threading.Event()

    def ask(load: Load, path: str, body: str) -> None:
        with service.client() as client:
            while not stop.is_set():
                try:
                    answer = client.post(path, content=body)
                except httpx.HTTPError as error:
                    load.failures.append(repr(error))
                    continue
                if answer.status_code != 200:
                    load.failures.append(answer.text)
                    continue
                content = answer.json()
                probabilities = {round(one["probability"], 4) for one in content["predictions"]}
                load.answers.append((content["model"]["version"], probabilities))
                stop.wait(pause)

    threads = [
        threading.Thread(target=ask, args=[load, path, json.dumps(body)])
        for load, (path, body) in zip(loads, bodies)
    ]
    for thread in threads:
        thread.start()
    try:
        yield loads
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert [load.failures for load in loads] == [[], []]
