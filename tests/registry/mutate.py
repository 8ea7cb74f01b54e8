"""Would the tests of the gate notice if the gate were wrong? `make mutate`.

mutmut changes `registry/gate.py` in every small way it knows, one at a time, and runs
`tests/registry/test_gate.py` on each: a change that no test notices is printed, and it ends
with 1 when there are others than those named below. mutmut has an environment of its own under
var/mutate/: its packages are none of the project. The first time it needs a package index.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
MUTMUT = "mutmut==3.8.1"
FOLDER = ROOT / "var" / "mutate"
ENVIRONMENT = FOLDER / "venv"
CONFIG = """[mutmut]
source_paths=registry/gate.py
also_copy=
    configs
    registry
pytest_add_cli_args_test_selection=tests
"""
# A mutant that is no other program: why nothing can notice it.
EQUIVALENT: dict[str, str] = {}


def main() -> int:
    mutmut = _environment()
    work = FOLDER / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "tests").mkdir(parents=True)
    (work / "registry").mkdir()
    for package in ("common", "configs"):
        shutil.copytree(ROOT / package, work / package)
    for name in ("__init__", "gate", "evidence"):
        shutil.copy(ROOT / "registry" / f"{name}.py", work / "registry")
    shutil.copy(ROOT / "tests" / "registry" / "test_gate.py", work / "tests")
    (work / "setup.cfg").write_text(CONFIG, encoding="utf-8")
    print("Changing registry/gate.py, one place at a time: about five minutes", flush=True)
    with (FOLDER / "mutmut.log").open("wb") as log:
        done = subprocess.run([mutmut, "run"], cwd=work, stdout=log, stderr=subprocess.STDOUT)
    lines = _said(mutmut, work, "results", "--all", "true").splitlines()
    found = dict(line.strip().split(": ") for line in lines if ": " in line)
    if done.returncode or not found:
        print(f"mutmut did not run: see {FOLDER / 'mutmut.log'}", file=sys.stderr)
        return 2
    alive = [name for name, state in found.items() if state != "killed"]
    for name in alive:
        print(f"\n{found[name]}: {name}  {EQUIVALENT.get(name, '')}")
        print(_said(mutmut, work, "show", name))
    known = [name for name in alive if name in EQUIVALENT]
    print(
        f"{len(found)} changes, {len(found) - len(alive)} noticed, {len(alive)} not,"
        f" of which {len(known)} are no change of what it does"
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


def _said(mutmut: Path, work: Path, *words: str) -> str:
    done = subprocess.run(
        [mutmut, *words], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
