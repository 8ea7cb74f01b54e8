"""Which edited file makes which stage again, and how imports are followed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import stage, stage_code
from flows.stage_code import ROOT, closure

STAGES = {
    "simulate": stage_code.SIMULATE,
    "read file": stage_code.READ_FILE,
    "read table file": stage_code.READ_TABLE_FILE,
    "cut": stage_code.CUT,
    "validate": stage_code.VALIDATE,
    "validate table": stage_code.VALIDATE_TABLE,
    "features": stage_code.FEATURES,
    "features of table": stage_code.FEATURES_OF_TABLE,
    **{name: stage_code.fit(name) for name in ("logistic", "xgboost", "tabm")},
    "ensemble": stage_code.ENSEMBLE,
}
READING = {"simulate", "read file", "read table file"}
VALIDATING = {"validate", "validate table"}
FEATURES = {"features", "features of table"}
FAMILIES = {"logistic", "xgboost", "tabm"}
# Pages, settings that are values, what comes after the figures.
NO_CODE_OF_A_STAGE = (
    *("reports/templates/model.html.jinja", "reports/data.py", "reports/contract.py"),
    *("ingestion/batches.py", "ingestion/months.py", "features/score_rows.py"),
    *("configs/default.yaml", "configs/contract.yaml", "configs/command.py"),
    *("registry/gate.py", "flows/report.py", "flows/clock.py", "serving/service.py"),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project's code in a folder of its own."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__")
    for package in (file.parent for file in ROOT.glob("*/__init__.py")):
        shutil.copytree(package, folder / package.name, ignore=ignored)
    shutil.copy(ROOT / stage.LOCK, folder)
    return folder


@pytest.fixture(scope="module")
def before(copy):
    return keys(copy)


def keys(root: Path) -> dict[str, str]:
    stage.code_hash.cache_clear()
    found = {name: stage.code_hash(modules, root) for name, modules in STAGES.items()}
    return {**found, "reproduce": stage._hash_files(stage_code.figures(root), root)}


@pytest.mark.parametrize(
    ("edited", "again"),
    [
        # settings and tools that several stages use
        ("configs/settings.py", READING | {"cut"} | VALIDATING | FEATURES),
        ("common/duck.py", READING | {"cut"} | VALIDATING | FEATURES),
        # of one stage, or of those that share it
        ("simulator/dirt.py", {"simulate"}),
        ("ingestion/text.py", READING),
        ("ingestion/labelled/read.py", {"read table file"}),
        ("ingestion/cut.py", {"cut"}),
        ("ingestion/judge.py", {"validate"}),
        ("ingestion/facts.py", VALIDATING | FEATURES),
        ("ingestion/labelled/rules.py", {"validate table"}),
        ("features/engine.py", {"features"}),
        ("features/sql/base/moments.sql", {"features"}),
        ("features/from_table.py", {"features of table"}),
        ("features/table.py", FEATURES | FAMILIES | {"ensemble"}),
        ("flows/table_check.py", FEATURES),
        ("training/families/__init__.py", FAMILIES),
        ("training/families/tabm.py", {"tabm"}),
        ("training/tuning.py", FAMILIES),
        ("common/statistics.py", FEATURES | FAMILIES | {"ensemble"}),
        ("training/metrics.py", FAMILIES | {"ensemble"}),
        ("training/ensemble.py", {"ensemble"}),
        ("requirements.lock", set(STAGES)),
        # not a stage's, but of a run's figures
        ("training/evaluate.py", {"reproduce"}),
        ("flows/train.py", {"reproduce"}),
        *((file, set()) for file in NO_CODE_OF_A_STAGE),
    ],
)
def test_an_edited_file_makes_again_what_it_is_the_code_of(copy, before, edited, again):
    file = copy / edited
    content = file.read_bytes()
    file.write_bytes(content + b"\n")
    after = keys(copy)
    file.write_bytes(content)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == (again | {"reproduce"} if again else set())


def test_a_family_that_is_dropped_in_makes_nothing_else_again(copy, before):
    file = copy / "training" / "families" / "constant.py"
    file.write_text("BASELINE = {}\n")
    after = keys(copy)
    assert closure(stage_code.fit("constant"), copy)
    file.unlink()
    assert {name for name in before if before[name] != after[name]} == {"reproduce"}


# --- how imports are followed ---------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    """`project(name=source, …)` writes modules; `__` in a name is a dot."""

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            file = tmp_path.joinpath(*name.split("__")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            for folder in file.relative_to(tmp_path).parents[:-1]:
                (tmp_path / folder / "__init__.py").touch()
            file.write_text(source)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import p.b", {"p/b.py"}),
        ("import p.b as other, os", {"p/b.py"}),
        ("from p import b", {"p/b.py"}),
        ("from p.b import thing", {"p/b.py"}),
        ("from . import b", {"p/b.py"}),
        ("from .b import thing", {"p/b.py"}),
        ("from .q.c import thing", {"p/q/__init__.py", "p/q/c.py"}),
        ("from p import q", {"p/q/__init__.py"}),
        ("import p.q.c", {"p/q/__init__.py", "p/q/c.py"}),
        ("def f():\n    from p.b import thing", {"p/b.py"}),
        ("class A:\n    def f(self):\n        if 1:\n            import p.b", {"p/b.py"}),
        ("try:\n    import p.b\nexcept ImportError:\n    import p.q.c", {"p/b.py", "p/q/c.py"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.b", set()),
        ("import typing\nif typing.TYPE_CHECKING:\n    import p.b", set()),
        ("if TYPE_CHECKING:\n    import p.b\nelse:\n    import p.q.c", {"p/q/c.py"}),
        ("import numpy, json.decoder", set()),
        ("'import p.b'  # import p.b", set()),
    ],
)
def test_an_import_is_followed_wherever_it_stands(project, source, found):
    root = project(p__a=source, p__b="", p__q__c="")
    wanted = {"p/__init__.py", "p/a.py", *found}
    if "p/q/c.py" in found:
        wanted.add("p/q/__init__.py")
    assert set(map(str, closure(["p.a"], root))) == wanted


def test_imports_lead_on_and_may_go_round(project):
    root = project(p__a="import p.b", p__b="import p.c", p__c="import p.a", p__d="")
    (root / "p" / "__init__.py").write_text("from p import d")
    files = ["p/__init__.py", "p/a.py", "p/b.py", "p/c.py", "p/d.py"]
    assert list(map(str, closure(["p.a"], root))) == files


@pytest.mark.parametrize("name", ["p", "p.gone", "ingestion", "p/a.py", "json", ""])
def test_what_is_not_a_module_of_the_project_is_an_error(project, name):
    with pytest.raises(ValueError, match="is not a module of the project"):
        closure([name], project(p__a=""))
