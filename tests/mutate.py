"""Would the tests notice if a module that decides were wrong? `make mutate`.

mutmut changes each module of MODULES in every small way it knows, one at a time, and runs that
module's tests on each: a change that no test notices is printed, and it ends with 1 when there are
others than those named in EQUIVALENT. `make mutate ARGS=features/splits.py` does one module alone.
mutmut has an environment of its own under var/mutate/, apart from the packages of the project; the
first time it needs a package index.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
MUTMUT = "mutmut==3.8.1"
FOLDER = ROOT / "var" / "mutate"
ENVIRONMENT = FOLDER / "venv"
MODULES = {  # module -> its tests
    "registry/gate.py": ("tests/registry/test_gate.py",),
    "features/splits.py": ("tests/features/test_splits.py",),
    "training/folds.py": ("tests/training/test_folds.py",),
    "ingestion/judge.py": ("tests/ingestion/test_judged_rows.py",),
}
COPIED = (
    "common",
    "configs",
    "features",
    "ingestion",
    "registry",
    "simulator",
    "training",
    "tests",
)
CONFIG = """[mutmut]
source_paths={module}
also_copy=
    {copied}
pytest_add_cli_args_test_selection=
    {tests}
"""
NOTICED = ("killed", "timeout")  # a change that never ends is noticed, too
# The changed line of mutants that do the same as the original: why no test can notice them.
EQUIVALENT = {
    "train: list[date] = None": "no train date is falsy either way",
    "train = None": "the same",
    "last_valid = _before(min(test), horizon, last, 2)[0]": "only the first is used",
    "nearest = _before(last_valid, horizon, last, 2)[0]": "only the first is used",
    "months = 1": "a horizon has a day at least, so no date is at month 0",
    "both, horizon, folds = join(train, valid), np.timedelta64(horizon_days, ), []": (
        "a number without a unit that is taken from a date counts days"
    ),
    'best = float("INF")': "the same number",
    "one_run = len(places) > 1 and places[-1] - places[0] + 1 == len(places)": (
        "one row is the same row, copied or not"
    ),
    **dict.fromkeys(
        (
            'price = "case when unit_price > 0 then cast(ln(unit_price) * 1e6 as bigint) end"',
            'price = "CASE WHEN UNIT_PRICE > 0 THEN CAST(LN(UNIT_PRICE) * 1E6 AS BIGINT) END"',
            'total = "select coalesce(sum(rows), 0)::bigint from profile"',
            'total = "SELECT COALESCE(SUM(ROWS), 0)::BIGINT FROM PROFILE"',
            *(
                f'f"sum({{name}})" for name in ({columns}, *unreadable_columns())'
                for columns in (
                    '"ANONYMOUS", "cancelled", "duplicates"',
                    '"anonymous", "CANCELLED", "duplicates"',
                    '"anonymous", "cancelled", "DUPLICATES"',
                )
            ),
        ),
        "SQL reads upper and lower case alike",
    ),
    **dict.fromkeys(
        (
            "**dict(zip(names, shares, strict=False)),",
            "**dict(zip(names, shares, strict=None)),",
            "**dict(zip(names, shares, )),",
        ),
        "there are as many shares as names",
    ),
}


def main(*modules: str) -> int:
    """Mutate these modules, or all of them; 1 where a change was not noticed, 2 where it failed."""
    mutmut = _environment()
    return max([_mutate(mutmut, module) for module in modules or MODULES])


def _mutate(mutmut: Path, module: str) -> int:
    work = FOLDER / "work"
    shutil.rmtree(work, ignore_errors=True)
    for package in COPIED:
        shutil.copytree(ROOT / package, work / package)
    copied, tests = "\n    ".join(COPIED), "\n    ".join(MODULES[module])
    config = CONFIG.format(module=module, copied=copied, tests=tests)
    (work / "setup.cfg").write_text(config, encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", work)
    print(f"Changing {module}, one place at a time", flush=True)
    with (FOLDER / "mutmut.log").open("wb") as log:
        done = subprocess.run([mutmut, "run"], cwd=work, stdout=log, stderr=subprocess.STDOUT)
    lines = _output(mutmut, work, "results", "--all", "true").splitlines()
    states = dict(line.strip().split(": ") for line in lines if ": " in line)
    if done.returncode or not states:
        print(f"mutmut did not run: see {FOLDER / 'mutmut.log'}", file=sys.stderr)
        return 2
    alive = {
        name: _output(mutmut, work, "show", name)
        for name, state in states.items()
        if state not in NOTICED
    }
    known = []
    for name, change in alive.items():
        added = [line[1:].strip() for line in change.splitlines() if line.startswith("+ ")]
        known += [why for line, why in EQUIVALENT.items() if added == [line]]
        print(
            f"\n{states[name]}: {name}  {EQUIVALENT.get(added[0] if added else '', '')}\n{change}"
        )
    print(
        f"{module}: {len(states)} changes, {len(states) - len(alive)} noticed, {len(alive)} not,"
        f" of which {len(known)} change nothing that it does"
    )
    return int(len(alive) > len(known))


def _environment() -> Path:
    """The command mutmut, beside the project's own packages."""
    mutmut = ENVIRONMENT / "bin" / "mutmut"
    if not mutmut.exists():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "-qq"]
        subprocess.run([*pip, "--disable-pip-version-check", MUTMUT], check=True)
        below = sysconfig.get_path("purelib").removeprefix(sys.prefix).lstrip("/")
        (ENVIRONMENT / below / "project.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return mutmut


def _output(mutmut: Path, work: Path, *words: str) -> str:
    done = subprocess.run(
        [mutmut, *words], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
