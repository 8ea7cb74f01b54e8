"""`make drill-kill`: does a run that was killed at any moment cost nothing but time?

    python -m tests.drills.kill [--seed N] [--only NUMBER ...]

80 times a training run is killed with SIGKILL, half of them at chosen moments, among which is the
first creation of every store, and half by chance (`moments.py`). Then the same command runs to its
end, and what it leaves is compared with a run that nobody disturbed. 12 more runs are interrupted
as by Ctrl-C and have to end within 5 seconds. Prints a line for each, writes var/bench/drill.json,
and ends with exit code 1 unless all survived. Two are tried side by side: about 25 minutes on two
cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from common.interrupt import CODE
from tests.drills import processes
from tests.drills.aftermath import figures_of, problems_in
from tests.drills.moments import KNOWN, NOTHING, Case, cases
from tests.drills.processes import LIMIT, ROOT, side_by_side, started, still_there

PRESET = Path(__file__).with_name("small.yaml")
OUT = ROOT / "var" / "bench" / "drill.json"
TRIES = 3  # runs, until a moment that is over in milliseconds is seen
ENDED = 5.0  # seconds from Ctrl-C to the end


@dataclass
class Result:
    number: int
    name: str
    start: str
    killed: str  # what, and after how many seconds
    problems: list[str] = field(default_factory=list)
    ctrl_c: bool = False


@dataclass(frozen=True)
class Place:
    """MLflow keeps absolute paths, so every case runs in the same folder, filled anew."""

    var: Path
    known: Path  # a copy of what a run left there, without its stages
    figures: dict[str, Any]  # of a run that nobody disturbed
    seconds: dict[str, float]  # which it took, by what it found


def prepare(folder: Path) -> Place:
    """Two runs that nobody disturbs: from nothing, and on what the first has left."""
    var, known, seconds = folder / "var", folder / "known", dict[str, float]()
    for start in (NOTHING, KNOWN):
        begun = time.monotonic()
        code, said = run(var)
        seconds[start] = time.monotonic() - begun
        assert code == 0, said
        found = problems_in(var, PRESET)
        assert not found, found
        if start == NOTHING:
            figures = figures_of(var)
            for name in ("stages", "optuna", "runs"):
                shutil.rmtree(var / name)
            shutil.copytree(var, known)
    assert figures_of(var) == figures, "undisturbed runs differ"
    return Place(var, known, figures, seconds)


def try_case(number: int, case: Case, place: Place) -> Result:
    for _ in range(TRIES):
        shutil.rmtree(place.var, ignore_errors=True)
        if case.start == KNOWN:
            shutil.copytree(place.known, place.var)
        killed, problems = kill(case, place)
        if killed:
            break
    result = Result(number, case.name, case.start, killed, problems, case.ctrl_c)
    if not killed:
        result.problems.append(f"in {TRIES} runs the moment was not seen")
    if case.ctrl_c or not killed:
        return result
    code, said = run(place.var)
    if code or "Traceback" in said or "Error" in said:
        result.problems.append(f"the next run ends with {code}: {said[-600:]}")
        return result
    if figures_of(place.var) != place.figures:
        result.problems.append("its figures are others")
    result.problems += problems_in(place.var, PRESET)
    return result


def kill(case: Case, place: Place) -> tuple[str, list[str]]:
    """What was killed, "" when the run had ended before, and what went wrong with that."""
    begun = time.monotonic()
    after = case.share * place.seconds[case.start]
    with started(command(place.var), place.var.parent / "said") as process:
        while process.poll() is None and time.monotonic() - begun < LIMIT:
            if case.seen(place.var) if case.seen else time.monotonic() - begun > after:
                break
            time.sleep(0.001)
        seconds = time.monotonic() - begun
        if process.poll() is not None:
            return "", []
        main = psutil.Process(process.pid)
        others = main.children(recursive=True)
        for one in [main, *(others if case.tree else [])]:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGINT if case.ctrl_c else signal.SIGKILL)
        told, code = time.monotonic(), process.wait(LIMIT)
        took = time.monotonic() - told
    problems = [f"went on without the run: {word}" for word in still_there(others)]
    if case.ctrl_c:
        if code != CODE or took > ENDED:
            problems.append(f"Ctrl-C: exit code {code} after {took:.1f} s")
        return f"Ctrl-C at {seconds:.1f} s: {took:.2f} s", problems
    what = "all" if case.tree else "first"
    return f"{what} of {len(others) + 1} processes, {seconds:.1f} s", problems


def run(var: Path) -> tuple[int, str]:
    """The command to its end: its exit code, and what it said."""
    return processes.run(command(var), var.parent / "said")


def command(var: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "flows.commands.train",
        "--config",
        str(PRESET),
        "--var",
        str(var),
    ]


def work(todo: list[tuple[int, Case]], results: Any) -> None:
    """All of these cases, one after the other, in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True) as folder:
        try:
            place = prepare(Path(folder))
        except Exception as error:
            results.put(error)
            raise
        for number, case in todo:
            try:
                result = try_case(number, case, place)
            except Exception as error:
                result = Result(number, case.name, case.start, "", [f"the drill failed: {error!r}"])
            results.put(result)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Kill training runs; see whether they survive.")
    parser.add_argument("--seed", type=int, default=1, help="of the moments by chance")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the cases to try")
    options = parser.parse_args(arguments)
    chosen = [
        (number, case)
        for number, case in enumerate(cases(options.seed), 1)
        if not options.only or number in options.only
    ]
    # In the background of a script Ctrl-C is ignored, also by what is started there.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    begun, found = time.monotonic(), list[Result]()
    print(f"{'':>3}  {'killed at':32} {'from':8} {'what, when':34} after it")
    for result in side_by_side(work, chosen):
        found.append(result)
        told = "; ".join(result.problems) or "as if nothing had happened"
        line = f"{result.number:>3}  {result.name:32} {result.start:8} {result.killed:34} {told}"
        print(line, flush=True)
    killed = [result for result in found if not result.ctrl_c]
    survived = sum(not result.problems for result in killed)
    ended = sum(not result.problems for result in found if result.ctrl_c)
    content = {
        "seed": options.seed,
        "tried": len(killed),
        "survived": survived,
        "interrupted": len(found) - len(killed),
        f"ended within {ENDED:.0f} s": ended,
        "seconds": round(time.monotonic() - begun, 1),
        "cases": [vars(result) for result in sorted(found, key=lambda result: result.number)],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(content, indent=2), encoding="utf-8")
    print(f"ended by Ctrl-C within {ENDED:.0f} s: {ended} / {len(found) - len(killed)}")
    print(f"survived / tried = {survived} / {len(killed)}")
    print(f"{content['seconds']:,.0f} s, seed {options.seed}, written to {OUT.relative_to(ROOT)}")
    return 0 if survived + ended == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
