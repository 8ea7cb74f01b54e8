"""A new champion under load: no request is lost, and no answer is a mixture of two versions.

The real registry, the real service, two clients that never stop asking.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from made_graphs import Graph, bundle_of, endless, growing
from real_service import AS_OF, ROOT, end, free_port, line

from configs.load import load
from configs.settings import Settings
from features.catalogue import CATALOGUE, Feature
from registry.alias import champion_now
from registry.models import ModelVersion, champion, promote, register
from registry.store import open_store
from registry.tracking import open_run

pytestmark = pytest.mark.slow

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


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("swapped")
    settings = load("smoke", ["--var", str(folder / "var")], env={})
    return Registry(settings, open_store(settings), folder / "bundles")


@pytest.fixture(scope="module")
def first(registry: Registry) -> ModelVersion:
    version = registry.add(0.1)
    registry.promote(version)
    return version


@dataclass
class Service:
    url: str
    log: Path
    workers: list[psutil.Process]

    def model(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/model", trust_env=False, timeout=60).json()

    def count(self, *labels: str) -> float:
        lines = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=60).text.splitlines()
        return sum(float(x.split()[-1]) for x in lines if all(label in x for label in labels))

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


@pytest.fixture(scope="module")
def service(registry: Registry, first: ModelVersion) -> Iterator[Service]:
    bounds = ("--serving.opening_seconds", "2", "--serving.opening_megabytes", "500")
    with serving(registry, "--serving.watch_seconds", str(WATCH), *bounds) as found:
        yield found


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


def test_promotions_rollbacks_and_broken_bundles_under_load_lose_nothing(
    registry: Registry, first: ModelVersion, service: Service
) -> None:
    second = registry.add(0.2)
    altered, no_answer = registry.add(0.3), registry.add(float("nan"))
    with (altered.bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    others = registry.add(0.5, CATALOGUE[:-1])
    said = {first.version: {0.1}, second.version: {0.2}}
    with under_load(service.url) as loads:
        for version in (second, first, second, altered, no_answer, others, first):
            asked = [len(load.answers) for load in loads]
            refused = service.count("champion_changes", 'outcome="refused"')
            registry.promote(version)
            if version.version in said:
                service.wait_for(partial(service.serves, version))
            else:
                service.wait_for(partial(service.has_refused, refused))
                assert service.serves(second)
            service.wait_for(partial(has_gone_on, loads, asked))
    for seen in loads:
        assert seen.failures == []
        assert seen.versions == [1, 2, 1, 2, 1]
        assert all(probabilities == said[version] for version, probabilities in seen.answers)
    log = service.log.read_text()
    assert f"version {altered.version} refused, version {second.version} goes on serving" in log
    assert "its SHA-256 differs" in log
    assert "no probability for a customer of its own examples" in log
    assert f"asks for other features than the one that serves: {CATALOGUE[-1].name}" in log
    assert log.count(" refused, ") == 3, "a refused one is tried once"
    assert service.count("model_info", 'version="1"') == 1
    assert service.count("model_info", 'version="2"') == 0


def test_bundles_that_would_take_all_time_or_memory_are_refused_and_the_next_one_serves(
    registry: Registry, first: ModelVersion, service: Service
) -> None:
    registry.promote(first)
    service.wait_for(partial(service.serves, first))
    huge = {name: registry.add(0.3) for name in ("manifest.json", "model.onnx")}
    for name, version in huge.items():
        with (version.bundle / name).open("ab") as file:
            file.truncate(10**10)  # which takes nothing of the disk
    bad = [
        (registry.add(0.3, graph=endless()), "time", "takes more than 2 seconds"),
        *(
            (registry.add(0.3, graph=growing(kind)), "memory", "takes more than 500 MB of memory")
            for kind in ("ConstantOfShape", "Expand", "Tile")
        ),
        *(
            (version, "bundle", f"{name} has 10,000,000,000 bytes")
            for name, version in huge.items()
        ),
    ]
    size = service.workers[0].memory_info().rss
    with under_load(service.url) as loads:
        for version, reason, why in bad:
            asked = [len(load.answers) for load in loads]
            registry.promote(version)
            if reason == "time":  # an operator is answered, and the clients of the old one are
                answer = httpx.post(f"{service.url}/reload", trust_env=False, timeout=60)
                assert answer.status_code == 409 and why in answer.json()["error"]
                service.wait_for(partial(has_gone_on, loads, asked))
            service.wait_for(lambda v=version: service.refused() == v.version)  # type: ignore[misc]
            model = service.model()
            assert model["version"] == first.version
            assert model["refused"]["reason"] == reason and why in model["refused"]["why"]
            labels = (f'version="{version.version}"', f'reason="{reason}"')
            assert service.count("refused_model_info{", *labels) == 1
        sound = registry.add(0.4)
        registry.promote(sound)
        service.wait_for(partial(service.serves, sound))
        assert service.refused() is None and service.count("refused_model_info{") == 0
    for name, version in huge.items():
        (version.bundle / name).unlink()
    for seen in loads:
        assert seen.failures == []
    log = service.log.read_text()
    for version, _, why in bad:
        refused = f"version {version.version} refused, version {first.version} goes on serving"
        assert any(refused in said and why in said for said in log.splitlines())
    assert service.workers[0].is_running()
    assert service.workers[0].memory_info().rss < size + 200 * 2**20


def test_an_operator_need_not_wait_for_the_next_look(
    registry: Registry, first: ModelVersion
) -> None:
    second, broken = registry.add(0.6), registry.add(0.7)
    kept = (broken.bundle / "bundle.json").rename(broken.bundle.with_suffix(".kept"))
    registry.promote(first)
    workers = ("--serving.workers", "2", "--serving.watch_seconds", "3600")
    with (
        serving(registry, *workers) as service,
        httpx.Client(trust_env=False, timeout=60) as client,
    ):
        assert len(service.workers) == 2

        def reload() -> httpx.Response:
            return client.post(f"{service.url}/reload")

        assert reload().json() == {"outcome": "unchanged", "model": model_of(first, 0.5)}
        registry.promote(second)
        assert reload().json()["model"]["version"] == second.version
        service.wait_for(lambda: service.count("model_info", f'version="{second.version}"') == 2)
        registry.promote(broken)
        answer = reload()
        # Tried once in each of the two workers.
        service.wait_for(lambda: service.count("champion_changes", 'outcome="refused"') == 2)
        assert answer.status_code == 409 and answer.json()["code"] == "refused_champion"
        assert "bundle.json" in answer.json()["error"]
        assert f"version {second.version} goes on serving" in answer.json()["error"]
        assert service.model()["version"] == second.version
        kept.rename(broken.bundle / "bundle.json")
        assert reload().json()["outcome"] == "swapped"
        # The other worker has refused it as well, and tries again at once.
        service.wait_for(lambda: service.count("model_info", f'version="{broken.version}"') == 2)
    registry.promote(first)


def model_of(version: ModelVersion, threshold: float) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "bundle_sha256": version.bundle_sha256,
        "threshold": threshold,
    }


def test_the_quick_look_says_what_mlflow_says(registry: Registry, first: ModelVersion) -> None:
    for version in (registry.add(0.8), first):
        registry.promote(version)
        assert champion_now(registry.settings) == champion(registry.settings) == version
    other = load("online_retail", ["--var", str(registry.settings.var)], env={})
    assert champion_now(other) is None
