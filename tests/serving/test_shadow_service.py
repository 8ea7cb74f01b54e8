"""The challenger in shadow: it scores what the champion has answered, and no client notices.

The real registry, the real service, real processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import pyarrow.dataset as ds
import pytest
from made_graphs import bundle_of, endless, of_feature, slow
from real_registry import LINES, QUICK, Registry, Service, serving, under_load
from real_service import ROW, bought, customers

from common.customer_hash import hashed, read_key
from features.catalogue import CATALOGUE, NAMES
from monitoring.shadow import compare_shadow
from registry.bundle import load_bundle
from registry.champion import CHALLENGER, ModelVersion
from serving import shadow as challenger
from serving.champion import Champion, Scored
from serving.responses import Model
from serving.served import Served
from serving.shadow import Shadow
from serving.shadow_process import (
    HEAD,
    Batch,
    Order,
    Process,
    ScoredRequest,
)
from serving.shadow_scorer import Scorer
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


def test_a_row_that_the_challenger_computes_for_ever_ends_and_the_next_is_scored(
    registry, first, service
):
    registry.promote(first)
    caught = registry.add(0.2, graph=endless(beyond=1e6))
    service.wait_for(partial(in_shadow, service, caught))
    service.post("/predict", some(1, revenue_total=2e6)).raise_for_status()
    service.wait_for(lambda: service.count("shadow_errors", 'reason="failed"') == 1)
    before = scored(service, caught)
    service.post("/predict", some(2)).raise_for_status()
    service.wait_for(lambda: scored(service, caught) == before + 2)
    assert service.count("shadow_errors", 'reason="failed"') == 1


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
        with under_load(service):
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


# --- in the worker -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "bundle"
    bundle_of(folder, 0.25)
    bundle = load_bundle(folder)
    model = Model("m", 1, bundle.sha256, 0.5)
    return Champion(model, bundle, None, None, np.empty(0), [])


def answered(champion: Champion, rows: int) -> Scored:
    x = np.ones((rows, len(NAMES)), np.float32)
    return Scored(champion, ["1"] * rows, x, np.full(rows, 0.3), date(2026, 1, 2), 0.001, rows)


@pytest.fixture
def idle(tmp_path):
    """One that takes rows in, and has nobody yet who scores them."""
    served = Served(name="m", log_folder=str(tmp_path / "log"), shadow_folder=str(tmp_path / "s"))
    shadow = Shadow(served, Trials(served), lambda: False)
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    child.wait()
    model = ModelVersion("m", 2, tmp_path, "a" * 64, "")
    shadow._process = Process(model, child, features=[])
    return shadow


def taken(shadow: Shadow, limit: int) -> Batch:
    """The next batch, as the process reads it."""
    frame, rows = shadow._take(limit)
    batch = msgspec.msgpack.decode(frame[HEAD:], type=Batch)
    assert sum(len(one.ids) for one in batch.requests) == rows
    return batch


def test_the_newest_rows_are_dropped_when_the_queue_is_full_and_when_much_is_answered(
    idle, champion, monkeypatch
):
    monkeypatch.setattr(challenger, "MOST_ROWS", 10)
    sent = [answered(champion, rows) for rows in (4, 4, 4, 2)]
    for one in sent:
        idle.offer(one)
    assert idle._dropped == {"full": 4}
    idle._crowded = lambda: True
    idle.offer(answered(champion, 3))
    assert idle._dropped == {"full": 4, "busy": 3}
    idle._crowded = lambda: False
    other = replace(champion, model=Model("m", 5, champion.model.bundle_sha256, 0.5))
    batches = [taken(idle, 8)]
    idle.offer(answered(other, 1))
    batches += [taken(idle, 1000), taken(idle, 1000)]
    assert [[one.request for one in batch.requests] for batch in batches[:2]] == [
        [sent[0].request, sent[1].request],
        [sent[3].request],
    ]
    versions = [batch.champion.version for batch in batches]
    assert versions == [1, 1, 5], "no batch holds answers of two champions"
    assert idle._take(1000) == (b"", 0) and idle._rows == idle._bytes == 0
    idle.offer(answered(champion, 9))
    assert len(taken(idle, 1).requests) == 1, "one larger than the limit is not left for ever"


def test_a_fault_of_the_hand_over_reaches_no_client(idle, champion, caplog):
    idle._crowded = lambda: bool(1 / 0)
    for _ in range(3):
        idle.offer(answered(champion, 1))
    assert caplog.text.count("nothing can be handed over") == 1


# --- in its process ----------------------------------------------------------------------------


def handed_over(requests: list[int]) -> Batch:
    x = np.ones((sum(requests), len(NAMES)), np.float32)
    x[:, RECENCY] = np.arange(len(x))
    handed, at = [], 0
    for number, rows in enumerate(requests):
        ids = [str(row) for row in range(at, at + rows)]
        values, said = x[at : at + rows].tobytes(), np.full(rows, 0.3).tobytes()
        one = ScoredRequest(number, 1_700_000_000 * 10**9, None, rows, 0.1, ids, values, said)
        handed.append(one)
        at += rows
    return Batch(Model("m", 1, "b" * 64, 0.5), list(NAMES), handed)


@pytest.fixture
def order(tmp_path):
    sha256 = bundle_of(tmp_path / "bundle", 0.25, graph=of_feature(RECENCY, 0.0001))
    return Order(
        name="m",
        version=2,
        folder=str(tmp_path / "bundle"),
        bundle_sha256=sha256,
        shadow_folder=str(tmp_path / "shadow"),
        key_file=str(tmp_path / "log.key"),
        share=1.0,
        max_seconds=5.0,
        opening_megabytes=1000,
    )


@pytest.fixture
def worker():
    """What a process reads of its worker, which says nothing, and the worker's end of it."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        yield pipe, writing
    with suppress(OSError):
        os.close(writing)


def test_rows_are_merged_but_for_the_last_request_and_keep_their_order(order, worker, tmp_path):
    scorer = Scorer(order)
    for requests in ([3], [1, 1, 1, 5], [2, 1], [1] * 1500):
        done = scorer._score(handed_over(requests), worker[0])
        assert (done.rows, done.no_answer, done.failed) == (sum(requests), 0, 0)
        held = scorer._held[-1]
        assert held.probability == pytest.approx(0.25 + 0.0001 * np.arange(done.rows))
        assert (held.call_rows[-requests[-1] :] == requests[-1]).all()
        assert (held.call_rows > 0).all() and (held.seconds > 0).all()
    assert scorer._held[-1].call_rows.max() > 100, "of many single ones few calls are made"
    scorer.write()
    assert ds.dataset(tmp_path / "shadow").to_table().num_rows == 3 + 8 + 3 + 1500


def test_a_worker_that_has_ended_is_not_scored_for(order, worker, tmp_path):
    scorer = Scorer(order)
    os.close(worker[1])
    done = scorer._score(handed_over([1] * 1500), worker[0])
    assert 0 < done.rows < 1500
    scorer.write()
    assert ds.dataset(tmp_path / "shadow").to_table().num_rows == done.rows


def test_what_cannot_be_written_is_counted_and_the_next_is_written(order, worker, tmp_path):
    scorer = Scorer(order)
    scorer._score(handed_over([2, 2]), worker[0])
    (tmp_path / "shadow").write_text("a file where a folder is to be")
    scorer.write()
    done = scorer._score(handed_over([3]), worker[0])
    assert done.lost == 4 and "cannot be written" in done.why
    (tmp_path / "shadow").unlink()
    scorer.write()
    assert scorer._score(handed_over([1]), worker[0]).lost == 0
    assert ds.dataset(tmp_path / "shadow").to_table().num_rows == 3
