"""What the repository says of itself and pins: the lock files, the CI actions, the files around."""

from __future__ import annotations

import re
import subprocess
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest
import yaml

from flows.commands.requirements import one_torch

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-cuda.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_a_hash_and_no_source(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert packages
    for line in packages:
        assert re.match(r"[\w.-]+==[\w.!]+( ;|  ?--hash)", line), line[:80]
        assert " --hash=sha256:" in line and "://" not in line, line[:80]


def test_all_builds_of_torch_are_one_line():
    lines = [
        "a==1 --hash=sha256:0",
        "torch==2.13.0 ; sys_platform == 'linux' --hash=sha256:1 --hash=sha256:2",
        "torch==2.13.0+cpu ; sys_platform != 'linux' --hash=sha256:3",
        "torch==2.13.0 --hash=sha256:4",
        "torch==2.12.0 --hash=sha256:5",
    ]
    assert one_torch(lines) == [
        "a==1 --hash=sha256:0",
        "torch==2.13.0 --hash=sha256:1 --hash=sha256:2 --hash=sha256:3 --hash=sha256:4",
    ]


def test_the_actions_of_ci_are_pinned_by_commit():
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: *(\S+)", file.read_text(encoding="utf-8")):
            assert re.search(r"@[0-9a-f]{40}$", action), f"{file.name}: {action}"


def test_the_forms_and_hooks_can_be_read_and_call_targets_that_exist():
    for file in (ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8")), file
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for hook in hooks["repos"][0]["hooks"]:
        assert re.search(rf"^{hook['entry'].removeprefix('make ')}:", makefile, re.MULTILINE)


def test_help_names_every_target_and_fits_a_terminal():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) < 80
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", makefile, re.MULTILINE)
    assert {line.split()[1] for line in lines if line.startswith("  make ")} == set(phony.split())


def test_every_file_that_a_page_a_docstring_or_a_comment_names_exists():
    folders = "common|simulator|ingestion|features|training|reports|registry|serving|monitoring"
    folders += "|flows|tests|docs|deploy"
    names = re.compile(
        rf"(?<![\w./-])((?:{folders})/[\w./-]*\.(?:py|md|sql|jinja|ipynb|svg|png))\b"
    )
    places = [folder for name in folders.split("|") for folder in (ROOT / name).rglob("*")]
    gone = {
        f"{file.relative_to(ROOT)}: {named}"
        for file in [*places, *ROOT.glob("*.md"), *(ROOT / "configs").glob("*.py")]
        if file.suffix in {".py", ".md", ".jinja", ".js", ".sql"} and file.name != "CHANGELOG.md"
        for named in names.findall(file.read_text(encoding="utf-8"))
        if not (ROOT / named).exists()
    }
    assert not gone


def test_every_function_at_which_a_drill_kills_exists():
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "tests" / "drills").glob("*.py")]
    points = set(re.findall(r'"([a-z_.]+):([A-Za-z_.]+)"', "".join(texts)))
    assert points
    for module, function in points:
        attrgetter(function)(import_module(module))
