"""`make drill`: does `make operate` that was killed at any moment cost nothing but time?

    python -m tests.drills.operate [--seed N] [--only NUMBER ...] [--list]

`make operate` processes two due months of a small shop, with and without a training, and is killed
with SIGKILL (`operate_points.py` says where). Then the same command runs to its end, and what it
leaves is compared with a run that nobody disturbed: scores, facts, verdicts, baseline, ledger,
champion and alerts. No lock may be held, no process be left, no half-written file be trusted, and a
webhook that runs here may be told no alert twice: where the command was killed between the
receiver's answer and its own note of it, the alert comes again under the same id, which receivers
know it by. Prints a line for each, writes var/bench/drill_operate.json, and ends with exit code 1
unless all survived. Two are tried side by side: about 30 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.drills.aftermath import problems_in
from tests.drills.operate_points import MONTHS, TRAINING, Case, cases
from tests.drills.operated import differences, held_locks, left_by
from tests.drills.processes import LIMIT, ROOT, run, side_by_side, started, still_there
from tests.monitoring.receive import Received, http_server
from tests.operating.shop import Shop, simulate_months

OUT = ROOT / "var" / "bench" / "drill_operate.json"
CLOCKS = {MONTHS: "2026-06-01", TRAINING: "2026-08-01"}
RETRAIN = {MONTHS: 0, TRAINING: 3}  # by calendar after so many months
FEWER = "SELECT * FROM {file} WHERE ascii(right(invoice_id, 1)) % 2 = 0"  # half the invoices


@dataclass
class Result:
    number: int
    name: str
    scenario: str
    killed: str  # after how many seconds
    problems: list[str] = field(default_factory=list)


@dataclass
class Known:
    """What a scenario begins with, and what it ends with when nobody disturbs it. ids: of the
    alerts that the receiver is told."""

    state: Path
    incoming: Path
    seconds: float = 0.0
    left: dict[str, Any] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Place:
    """MLflow keeps absolute paths, so every case runs in the same folder, filled anew."""

    shop: Shop
    known: dict[str, Known]
    received: Received

    @property
    def said(self) -> Path:
        return self.shop.home / "said"

    def words(self, scenario: str) -> list[str]:
        clock = ["--operations.today", CLOCKS[scenario]]
        return [*self.shop.words, *clock, "--alerts.webhook", "json"]

    @property
    def environment(self) -> dict[str, str]:
        return {"ALERTS_WEBHOOK_URL": self.received.url}

    def begin(self, scenario: str) -> None:
        """Put everything back to where the scenario begins."""
        known = self.known[scenario]
        for target, source in ((self.shop.var, known.state), (self.shop.incoming, known.incoming)):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        # The calendar would wait for the labels of April's change with the usual cooldown.
        self.shop.open(retrain_months=RETRAIN[scenario], cooldown_days=60)
        self.received.posts.clear()


def prepare(home: Path, received: Received, scenarios: set[str]) -> Place:
    """A shop with a champion, and each scenario once without a kill."""
    months = _elsewhere(simulate_months, home)
    shop = Shop(home / "shop", months)
    shop.home.mkdir()
    shop.open()
    shop.deliver(before="2026-04")
    _elsewhere(_champion, shop)
    shop.deliver("2026-04", "2026-05")
    shop.rewrite("2026-04", FEWER)
    place = Place(shop, {}, received)
    for scenario in (MONTHS, TRAINING):
        if scenario == TRAINING:
            shop.deliver("2026-06", "2026-07")
            shop.rewrite("2026-06", FEWER)
        known = Known(home / f"{scenario}-var", home / f"{scenario}-incoming")
        place.known[scenario] = known
        shutil.copytree(shop.var, known.state)
        shutil.copytree(shop.incoming, known.incoming)
        if scenario == TRAINING and scenario not in scenarios:
            break
        place.begin(scenario)
        begun = time.monotonic()
        code, said = run(operate(place, scenario), place.said, **place.environment)
        known.seconds = time.monotonic() - begun
        assert code == 0, said
        assert problems(place) == [], problems(place)
        known.left = _elsewhere(left_by, shop.var, shop.preset, trained=scenario == TRAINING)
        known.ids = {*received.ids}
        assert len(received.ids) == len(known.ids) == 2, "an alert begins, and is over"
        if scenario == TRAINING:
            assert known.left["ledger"][-1] == {"champion": "trained"}, known.left["ledger"]
    return place


def operate(place: Place, scenario: str, point: dict[str, Any] | None = None) -> list[str]:
    module = ["flows.operate"]
    if point is not None:
        module = ["tests.drills.killed_at", json.dumps(point)]
    return [sys.executable, "-m", *module, *place.words(scenario)]


def try_case(number: int, case: Case, place: Place) -> Result:
    place.begin(case.scenario)
    killed, found = kill(case, place)
    result = Result(number, case.name, case.scenario, killed, found)
    if not killed:
        result.problems.append("the point was not seen")
        return result
    known = place.known[case.scenario]
    code, said = run(operate(place, case.scenario), place.said, **place.environment)
    if code or "Traceback" in said or "Error" in said:
        result.problems.append(f"the next run ends with {code}: {said[-600:]}")
        return result
    trained = case.scenario == TRAINING
    left = _elsewhere(left_by, place.shop.var, place.shop.preset, trained=trained)
    result.problems += differences(left, known.left) + problems(place)
    told = Counter(place.received.ids)
    if {*told} != known.ids:
        result.problems.append(f"the receiver knows {len(told)} alerts, not {len(known.ids)}")
    if twice := [one for one, count in told.items() if count > 1 and not case.again]:
        result.problems.append(f"{len(twice)} alerts were sent twice")
    return result


def problems(place: Place) -> list[str]:
    databases = ("mlflow/mlflow.db",)  # Prefect's is seen to by the next training, or the janitor
    return problems_in(place.shop.var, place.shop.preset, databases) + held_locks(place.shop.var)


def kill(case: Case, place: Place) -> tuple[str, list[str]]:
    """What was killed and when, "" when the command had ended before, and what went on without."""
    begun, others = time.monotonic(), dict[int, psutil.Process]()
    after = case.share * place.known[case.scenario].seconds
    command = operate(place, case.scenario, case.point or None)
    with started(command, place.said, **place.environment) as process:
        main = psutil.Process(process.pid)
        while process.poll() is None and time.monotonic() - begun < LIMIT:
            with suppress(psutil.Error):
                others |= {one.pid: one for one in main.children(recursive=True)}
            if not case.point and time.monotonic() - begun > after:
                for one in [main, *(others.values() if case.tree else [])]:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
                break
            time.sleep(0.01)
        code = process.wait(LIMIT)
    seconds = time.monotonic() - begun
    if code != -signal.SIGKILL:
        return "", [f"it ended with {code}: {place.said.read_text()[-300:]}"]
    found = [f"went on without it: {words}" for words in still_there([*others.values()])]
    return f"{'all' if case.tree else 'first'} of {len(others) + 1}, {seconds:.1f} s", found


def _champion(shop: Shop) -> None:
    """And what every run before would have left: the rows that are known are read."""
    from flows.watch import watch

    shop.champion()
    watch(shop.settings("2026-04-01"))


def _elsewhere(act: Callable[..., Any], *args: Any, **others: Any) -> Any:
    """What `act` returns, from a process of its own: MLflow keeps connections to a database, which
    is another one in the next case."""
    ours, theirs = multiprocessing.Pipe()

    def work() -> None:
        theirs.send(act(*args, **others))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()


def work(todo: list[tuple[int, Case]], results: Any) -> None:
    """All of these cases, one after the other, in a folder of their own."""
    with (
        tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True) as folder,
        http_server() as received,
    ):
        try:
            place = prepare(Path(folder), received, {case.scenario for _, case in todo})
        except Exception as error:
            results.put(error)
            raise
        for number, case in todo:
            try:
                result = try_case(number, case, place)
            except Exception as error:
                words = [f"the drill failed: {error!r}"]
                result = Result(number, case.name, case.scenario, "", words)
            results.put(result)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Kill make operate; see whether it survives.")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the cases to try")
    parser.add_argument("--list", action="store_true", help="print the cases, and stop")
    options = parser.parse_args(arguments)
    chosen = [
        (number, case)
        for number, case in enumerate(cases(options.seed), 1)
        if not options.only or number in options.only
    ]
    if options.list:
        for number, case in chosen:
            print(f"{number:>3}  {case.scenario:9} {case.name}")
        return 0
    begun, found = time.monotonic(), list[Result]()
    print(f"{'':>3}  {'operating':9} {'killed':42} {'what, when':18} after it")
    for result in side_by_side(work, chosen):
        found.append(result)
        told = "; ".join(result.problems) or "as if nothing had happened"
        line = f"{result.number:>3}  {result.scenario:9} {result.name:42} {result.killed:18} {told}"
        print(line, flush=True)
    survived = sum(not result.problems for result in found)
    content = {
        "seed": options.seed,
        "whole": not options.only,
        "tried": len(found),
        "survived": survived,
        "seconds": round(time.monotonic() - begun, 1),
        "cases": [vars(result) for result in sorted(found, key=lambda result: result.number)],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(content, indent=2), encoding="utf-8")
    print(f"survived / tried = {survived} / {len(found)}")
    print(f"{content['seconds']:,.0f} s, seed {options.seed}, written to {OUT.relative_to(ROOT)}")
    return 0 if survived == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
