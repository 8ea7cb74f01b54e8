"""The challenger in shadow: it scores what the champion has answered, and no client notices.

The real registry, the real service, real processes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow.dataset as ds
import pytest
from made_graphs import endless, of_feature, slow
from real_registry import LINES, QUICK, Registry, Service, serving, under_load
from real_service import ROW, bought, customers

from common.customer_hash import hashed, read_key
from configs.load import load
from features.catalogue import CATALOGUE, NAMES
from monitoring.shadow import compare_shadow
from registry.bundle import load_bundle
from registry.champion import CHALLENGER, ModelVersion
from serving.__main__ import served_of
from serving.champion import Champion, Scored
from serving.metrics import SHADOW_DROPPED
from serving.responses import Model
from serving.shadow import MOST_ROWS, Shadow
from serving.trial import Trials

pytestmark = pytest.mark.slow

SHADOWED = ("--serving.log_requests", "true", "--serving.shadow", "challenger")
RECENCY = NAMES.index("recency_days")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return Registry.open(tmp_path_factory.mktemp("shadowed"))


@pytest.fixture(scope="module")
def first(registry):
    version = registry.add(0.1, graph=of_feature(RECENCY, 0.01))
    registry.promote(version)
    return version


@pytest.fixture(scope="module")
def service(registry, first):
    bounds = ("--serving.opening_seconds", "2", "--serving.max_seconds", "2")
    with serving(registry, *QUICK, *SHADOWED, *bounds) as service:
        yield service


def in_shadow(service: Service, version: ModelVersion, state: str = "scoring") -> bool:
    shadow = service.model()["shadow"]
    return shadow is not None and (shadow["version"], shadow["state"]) == (version.version, state)


def nobody_in_shadow(service: Service) -> bool:
    return service.model()["shadow"] is None


def scored(service: Service, version: ModelVersion) -> float:
    return service.count("golden_path_shadow_rows_total", f'version="{version.version}"')


def scores_more(service: Service, version: ModelVersion) -> None:
    before = scored(service, version)
    service.wait_for(lambda: scored(service, version) > before)


def table(registry: Registry, folder: str) -> dict[tuple[int, int], dict[str, Any]]:
    """What was written, by request and row; nothing twice."""
    logged = registry.settings.var / "serving" / folder
    rows = ds.dataset(logged, partitioning="hive").to_table().to_pylist()
    by_place = {(row["request"], row["row"]): row for row in rows}
    assert len(by_place) == len(rows)
    return by_place


def processes(service: Service) -> list[psutil.Process]:
    running = []
    for worker in service.workers:
        with suppress(psutil.Error):  # one that has just ended
            for one in worker.children():
                if "serving.shadow_scorer" in one.cmdline():
                    running.append(one)
    return running


def some(count: int, **changes: Any) -> dict[str, Any]:
    """Feature values of so many customers."""
    names = [f"c{number}" for number in range(count)]
    return customers(
        *(
            ROW | {"customer_id": name, "recency_days": float(number + 1)} | changes
            for number, name in enumerate(names)
        )
    )


def test_both_answers_of_a_row_can_be_paired_and_the_answers_are_those_without_a_shadow(tmp_path):
    registry = Registry.open(tmp_path)
    first = registry.add(0.1, graph=of_feature(RECENCY, 0.01))
    registry.promote(first)
    # The same features in another order, which the gate may let pass: the values must follow.
    turned = CATALOGUE[::-1]
    graph = of_feature(turned.index(CATALOGUE[RECENCY]), 0.005)
    second = registry.add(0.2, features=turned, graph=graph)
    buyers = [LINES | {"customer_id": name} for name in (" 17850 ", "17851")]
    sent = [
        ("/predict", some(7)),
        ("/predict", some(1)),
        ("/predict", some(3, gap_days_mean=None, customer_id=None)),
        ("/predict_transactions", bought(*buyers)),
    ]
    with serving(registry) as service:
        plain = [service.post(*one).raise_for_status().content for one in sent]
        assert nobody_in_shadow(service)
    with serving(registry, *QUICK, *SHADOWED) as service:
        service.wait_for(partial(in_shadow, service, second))
        assert [service.post(*one).content for one in sent] == plain
        service.wait_for(lambda: scored(service, second) == 13)
        assert service.count("golden_path_shadow_seconds_total") > 0
        labels = (f'version="{second.version}"', f'bundle="{second.bundle_sha256[:12]}"')
        assert service.count("golden_path_shadow_model_info{", *labels) == 1
    # Ended: both logs are written.
    ours, theirs = table(registry, "log"), table(registry, "shadow")
    assert len(ours) == 13 and ours.keys() == theirs.keys()
    model, key = load_bundle(second.bundle), read_key(registry.settings.var / "serving/log.key")
    for place, row in theirs.items():
        champion = ours[place]
        x = np.float32([[champion["features"][feature.name] for feature in turned]])
        assert row["probability"] == model.predict(x)[0]
        assert row["decision"] is (row["probability"] >= 0.5)
        for name in ("customer", "as_of", "model", "date"):
            assert row[name] == champion[name]
        for name in ("version", "bundle_sha256", "probability", "decision", "seconds", "call_rows"):
            assert row[f"champion_{name}"] == champion[name], name
        assert (row["version"], champion["version"]) == (second.version, first.version)
        assert row["bundle_sha256"] == second.bundle_sha256
        assert row["seconds"] > 0 and row["champion_seconds"] > 0
    names = [*(f"c{n}" for n in range(7)), "17850", "17851"]
    assert {row["customer"] for row in theirs.values()} == {None, *(hashed(key, n) for n in names)}
    # The last request of a batch is scored as it was: its seconds can be compared.
    assert any(row["call_rows"] == row["champion_call_rows"] for row in theirs.values())
    compared = compare_shadow(
        registry.settings.var / "serving" / "shadow", second.name, first.version, second.version
    )
    assert (compared.state, compared.rows, compared.days) == ("too_few", 13, 1)
    assert compared.left_out == ()


def test_challengers_and_champions_change_under_load_and_nothing_is_lost(registry, first, service):
    second, third = registry.add(0.2), registry.add(0.3)
    bad = {
        "bundle": registry.add_altered(0.4),
        "contract": registry.add(0.5, features=CATALOGUE[:-1]),
        "time": registry.add(0.6, graph=endless()),
    }
    with under_load(service) as loads:
        for version in (second, third):
            registry.challenge(version)
            service.wait_for(partial(in_shadow, service, version))
            scores_more(service, version)
            loads.go_on(service)
        for reason, version in bad.items():
            registry.challenge(version)
            service.wait_for(partial(in_shadow, service, version, "refused"))
            assert service.model()["shadow"]["reason"] == reason
            labels = (f'version="{version.version}"', f'reason="{reason}"')
            assert service.count("golden_path_shadow_refused_model_info{", *labels) == 1
            assert service.count("golden_path_shadow_model_info{") == 0
            loads.go_on(service)
        registry.challenge(second)
        service.wait_for(partial(in_shadow, service, second))
        assert service.count("golden_path_shadow_refused_model_info{") == 0
        registry.promote(second)  # it is champion now, and no longer in shadow
        service.wait_for(partial(service.serves, second))
        service.wait_for(partial(nobody_in_shadow, service))
        registry.challenge(third)
        service.wait_for(partial(in_shadow, service, third))
        scores_more(service, third)
        registry.promote(first)  # of another champion it is still in shadow
        service.wait_for(partial(service.serves, first))
        loads.go_on(service)
        assert in_shadow(service, third)
        registry.client.delete_registered_model_alias(third.name, CHALLENGER)
        service.wait_for(partial(nobody_in_shadow, service))
        loads.go_on(service)
    assert all(load.versions == [first.version, second.version, first.version] for load in loads)
    log = service.log.read_text()
    for version in bad.values():
        # Once each time that it is challenger, not at every look. It was so for a moment before,
        # when it was registered.
        assert log.count(f"version {version.version} is not put in shadow") in (1, 2)
    assert f"takes other features than the champion that serves: {CATALOGUE[-1].name}" in log
    service.wait_for(lambda: processes(service) == [])  # it writes what it holds first
    shadowed = table(registry, "shadow")
    pairs = {(row["champion_version"], row["version"]) for row in shadowed.values()}
    one, two, three = (version.version for version in (first, second, third))
    assert pairs == {(one, two), (one, three), (two, three)}
    # The worker writes what was answered every few seconds.
    service.wait_for(lambda: shadowed.keys() <= table(registry, "log").keys())
    log = table(registry, "log")
    for place, row in shadowed.items():
        assert row["champion_version"] == log[place]["version"], "no batch mixes two champions"


def test_a_row_that_the_challenger_computes_for_ever_ends_and_a_full_disk_is_named(
    registry, first, service
):
    folder = registry.settings.var / "serving" / "shadow"
    with suppress(FileNotFoundError):
        folder.rename(folder.with_name("before"))
    folder.write_text("a file where a folder is to be: nothing can be written")
    registry.promote(first)
    caught = registry.add(0.2, graph=endless(beyond=1e6))
    service.wait_for(partial(in_shadow, service, caught))
    service.post("/predict", some(1, revenue_total=2e6)).raise_for_status()
    service.wait_for(lambda: service.count("shadow_errors", 'reason="failed"') == 1)
    before = scored(service, caught)
    service.post("/predict", some(2)).raise_for_status()
    service.wait_for(lambda: scored(service, caught) == before + 2)
    assert service.count("shadow_errors", 'reason="failed"') == 1
    registry.client.delete_registered_model_alias(caught.name, CHALLENGER)  # it writes at its end
    service.wait_for(lambda: "in shadow cannot be written" in service.log.read_text())
    folder.unlink()


def test_a_slow_challenger_drops_what_it_has_no_time_for_and_one_that_is_killed_is_started_again(
    registry, first
):
    registry.promote(first)
    tired = registry.add(0.2, graph=slow())
    with serving(registry, *QUICK, *SHADOWED) as service:
        service.wait_for(partial(in_shadow, service, tired))
        service.wait_for(lambda: len(processes(service)) == 1)
        (process,) = processes(service)
        assert process.nice() == 19
        # One session: Linux (autogroup) lets it give way to what is in its own alone.
        assert os.getsid(process.pid) == os.getsid(process.ppid())
        assert os.getpgid(process.pid) == process.pid
        with under_load(service, pause=0):
            service.wait_for(lambda: service.count("shadow_dropped_rows", 'reason="full"') > 0)
            before, began = sum(process.cpu_times()[:2]), datetime.now(UTC)
            service.wait_for(lambda: (datetime.now(UTC) - began).total_seconds() > 4)
            used, took = sum(process.cpu_times()[:2]) - before, datetime.now(UTC) - began
            assert used <= 0.35 * took.total_seconds(), "a quarter of a core, and the last call"
            assert service.workers[0].memory_info().rss < 600 * 2**20
            process.kill()
            service.wait_for(lambda: [x.pid for x in processes(service)] not in ([], [process.pid]))
            service.wait_for(partial(in_shadow, service, tired))
            scores_more(service, tired)
        assert service.log.read_text().count("in shadow has ended") == 1
        (orphan,) = processes(service)
        service.workers[0].kill()
        service.wait_for(lambda: not orphan.is_running() or orphan.status() == "zombie")
        with suppress(httpx.HTTPError):
            service.wait_for(lambda: in_shadow(service, tired))  # of the worker that came after
    rows = [row for row in table(registry, "shadow").values() if row["version"] == tired.version]
    assert rows and all(row["probability"] == pytest.approx(0.2) for row in rows)


def test_rows_that_cannot_be_handed_over_are_dropped_and_counted_and_no_answer_fails(
    tmp_path, caplog
):
    registry = Registry.open(tmp_path)
    first = registry.add(0.1)
    registry.promote(first)
    registry.add(0.2)
    served = served_of(load("smoke", ["--var", str(tmp_path / "var"), *SHADOWED]), first.name)
    model = Model(first.name, first.version, first.bundle_sha256, 0.5)
    champion = Champion(model, load_bundle(first.bundle), None, None, np.empty(0), [])
    busy: list[bool] = []
    shadow = Shadow(served, Trials(served), lambda: busy[0])

    def offer(rows: int) -> None:
        x = np.ones((rows, len(NAMES)), np.float32)
        shadow.offer(Scored(champion, ["1"] * rows, x, np.full(rows, 0.3), None, 0.001, rows))

    shadow.look(champion)
    for _ in range(2):  # whether the worker is busy cannot be told: a fault of the hand-over
        offer(1)
    assert caplog.text.count("nothing can be handed over") == 1
    busy.append(True)
    offer(3)
    busy[0] = False
    for rows in (MOST_ROWS - 1, 4, 1):  # nothing takes them out: the newest do not fit
        offer(rows)
    shadow.close()
    counts = {
        sample.labels["reason"]: sample.value
        for metric in SHADOW_DROPPED.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counts == {"busy": 3, "full": 4, "ended": MOST_ROWS}
