"""A new champion under load: no request is lost, and no answer is a mixture of two versions.

The real registry, the real service, two clients that never stop asking.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from made_graphs import endless, growing
from real_registry import (
    WATCH,
    Registry,
    Service,
    has_gone_on,
    open_registry,
    serving,
    under_load,
)

from configs.load import load
from features.catalogue import CATALOGUE
from registry.champion import ModelVersion, champion_now, find_champion

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return open_registry(tmp_path_factory.mktemp("swapped"))


@pytest.fixture(scope="module")
def first(registry: Registry) -> ModelVersion:
    version = registry.add(0.1)
    registry.promote(version)
    return version


@pytest.fixture(scope="module")
def service(registry: Registry, first: ModelVersion) -> Iterator[Service]:
    bounds = ("--serving.opening_seconds", "2", "--serving.opening_megabytes", "500")
    with serving(registry, "--serving.watch_seconds", str(WATCH), *bounds) as found:
        yield found


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
            refused = service.count("champion_changes", 'outcome="refused"')
            registry.promote(version)
            if version.version in said:
                service.wait_for(partial(service.serves, version))
            else:
                service.wait_for(partial(service.has_refused, refused))
                assert service.serves(second)
            asked = [len(load.answers) for load in loads]
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
        assert (
            champion_now(registry.settings)
            == find_champion(registry.client, registry.settings)
            == version
        )
    other = load("online_retail", ["--var", str(registry.settings.var)], env={})
    assert champion_now(other) is None
