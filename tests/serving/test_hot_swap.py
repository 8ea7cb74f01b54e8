"""A new champion under load: no request is lost, and no answer is a mixture of two versions.

The real registry, the real service, two clients that never stop asking.
"""

from __future__ import annotations

from functools import partial

import pytest
from made_graphs import endless, growing
from real_registry import QUICK, Registry, serving, under_load

from configs.load import load
from features.catalogue import CATALOGUE
from registry.champion import champion_now, find_champion

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return Registry.open(tmp_path_factory.mktemp("swapped"))


@pytest.fixture(scope="module")
def first(registry):
    version = registry.add(0.1)
    registry.promote(version)
    return version


@pytest.fixture(scope="module")
def service(registry, first):
    bounds = ("--serving.opening_seconds", "2", "--serving.opening_megabytes", "500")
    with serving(registry, *QUICK, *bounds) as service:
        yield service


def test_promotions_rollbacks_and_broken_bundles_under_load_lose_nothing(registry, first, service):
    second = registry.add(0.2)
    huge = registry.add(0.3)
    with (huge.bundle / "model.onnx").open("ab") as file:
        file.truncate(10**10)  # which takes nothing of the disk
    bad = [
        (registry.add_altered(0.3), "bundle", "its SHA-256 differs"),
        (registry.add(float("nan")), "failed", "no probability for a customer of its own examples"),
        (
            registry.add(0.5, features=CATALOGUE[:-1]),
            "contract",
            f"takes other features than the champion that serves: {CATALOGUE[-1].name}",
        ),
        (registry.add(0.3, graph=endless()), "time", "takes more than 2 seconds"),
        *(
            (registry.add(0.3, graph=growing(kind)), "memory", "takes more than 500 MB of memory")
            for kind in ("ConstantOfShape", "Tile")
        ),
        (huge, "bundle", "model.onnx has 10,000,000,000 bytes"),
    ]
    size = service.workers[0].memory_info().rss
    with under_load(service) as loads:
        for version in (second, first, second):
            registry.promote(version)
            service.wait_for(partial(service.serves, version))
            loads.go_on(service)
        for version, reason, why in bad:
            registry.promote(version)
            if reason == "time":  # an operator is answered, and the clients of the old one are
                answer = service.post("/reload")
                assert answer.status_code == 409 and why in answer.json()["error"]
            service.wait_for(lambda v=version: service.refused() == v.version)
            model = service.model()
            assert model["version"] == second.version
            assert model["refused"]["reason"] == reason and why in model["refused"]["why"]
            labels = (f'version="{version.version}"', f'reason="{reason}"')
            assert service.count("refused_model_info{", *labels) == 1
            loads.go_on(service)
        registry.promote(first)
        service.wait_for(partial(service.serves, first))
        loads.go_on(service)
    (huge.bundle / "model.onnx").unlink()
    said = {first.version: {0.1}, second.version: {0.2}}
    for seen in loads:
        assert seen.versions == [1, 2, 1, 2, 1]
        assert all(probabilities == said[version] for version, probabilities in seen.answers)
    log = service.log.read_text().splitlines()
    for version, reason, why in bad:
        refused = f"version {version.version} refused, version {second.version} goes on serving"
        tries = sum(refused in line and why in line for line in log)
        assert tries == 1 or (reason == "time" and tries == 2), "once, and when an operator asks"
    assert service.refused() is None and service.count("refused_model_info{") == 0
    assert [service.count("model_info{", f'version="{n}"') for n in (1, 2)] == [1, 0]
    assert service.workers[0].memory_info().rss < size + 200 * 2**20


def test_reload_swaps_every_worker_at_once(registry, first):
    second, broken = registry.add(0.6), registry.add(0.7)
    kept = (broken.bundle / "bundle.json").rename(broken.bundle.with_suffix(".kept"))
    registry.promote(first)
    workers = ("--serving.workers", "2", "--serving.watch_seconds", "3600")
    with serving(registry, *workers) as service, service.client() as client:
        assert len(service.workers) == 2
        model = {
            "name": first.name,
            "version": first.version,
            "bundle_sha256": first.bundle_sha256,
            "threshold": 0.5,
        }
        assert client.post("/reload").json() == {"outcome": "unchanged", "model": model}
        registry.promote(second)
        assert client.post("/reload").json()["model"]["version"] == second.version
        service.wait_for(lambda: service.count("model_info", f'version="{second.version}"') == 2)
        registry.promote(broken)
        answer = client.post("/reload")
        # Tried once in each of the two workers.
        service.wait_for(lambda: service.count("champion_changes", 'outcome="refused"') == 2)
        assert answer.status_code == 409 and answer.json()["code"] == "refused_champion"
        assert "bundle.json" in answer.json()["error"]
        assert f"version {second.version} goes on serving" in answer.json()["error"]
        assert service.model()["version"] == second.version
        kept.rename(broken.bundle / "bundle.json")
        assert client.post("/reload").json()["outcome"] == "swapped"
        # The other worker has refused it as well, and tries again at once.
        service.wait_for(lambda: service.count("model_info", f'version="{broken.version}"') == 2)
    registry.promote(first)


def test_the_lookup_by_sql_agrees_with_mlflows_client(registry, first):
    for version in (registry.add(0.8), first):
        registry.promote(version)
        quick = champion_now(registry.settings)
        assert quick == find_champion(registry.client, registry.settings) == version
    other = load("online_retail", ["--var", str(registry.settings.var)], env={})
    assert champion_now(other) is None
