"""The code of each stage: the modules that do its work, and the files that these lead to.

The files are found by reading imports, not by importing: a module, the packages it lies in, and all
that these import, at the top or within a function, as long as it belongs to the project. Imports
for types alone (`if TYPE_CHECKING:`) do not count. What imports do not show stands here: the module
of a family, which is loaded by its name, and files that a module reads (`READS`). A page about a
stage is written beside it and is not its code. `tests/flows/test_stage_code.py` runs every stage
and compares the files that were used with those that are found here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).parents[1]
# Families are fitted by threads, and Python 3.11 counts the depth of a tree for all of them in one
# place: two that parse at once end in a SystemError.
_parsing = Lock()
READS = {"features.engine": "features/sql"}  # module -> the folder whose files it reads

SIMULATE = ("simulator.simulator",)
READ_FILE = ("ingestion.files",)
READ_TABLE_FILE = ("ingestion.labelled.read",)
CUT = ("ingestion.cut",)
VALIDATE = ("ingestion.validate",)
VALIDATE_TABLE = ("ingestion.labelled.validate",)
FEATURES = ("features.build", "features.leaks", "flows.table_check")
FEATURES_OF_TABLE = ("features.from_table", "features.table_leaks", "flows.table_check")
ENSEMBLE = ("training.ensemble",)
EVALUATE = ("training.evaluate",)  # not a stage: it is run each time
# The flows that hand the settings to the stages: these files, not what they import.
WIRING = ("train", "data_stages", "table_stages", "family", "compare")


def fit(family: str) -> tuple[str, ...]:
    """The modules that fit a family. The other families are not part of it."""
    return ("training.fit", f"training.families.{family}")


def figures(root: Path = ROOT) -> list[Path]:
    """All files that a run's figures come from, relative to `root`, sorted."""
    families = sorted(file.stem for file in (root / "training" / "families").glob("[!_]*.py"))
    modules = (
        *(*SIMULATE, *READ_FILE, *READ_TABLE_FILE, *CUT),
        *(*VALIDATE, *VALIDATE_TABLE, *FEATURES),
        *(*FEATURES_OF_TABLE, *ENSEMBLE, *EVALUATE),
        *(module for family in families for module in fit(family)),
    )
    wiring = {Path("flows", f"{name}.py") for name in WIRING}
    return sorted({*closure(modules, root), *wiring})


def closure(modules: Iterable[str], root: Path = ROOT) -> list[Path]:
    """The files of these modules and of all that they import, relative to `root`, sorted.

    modules: dotted names. Raises ValueError for a name that is not a module of the project. That
    includes a package: its name does not say which of its modules run.
    """
    waiting, known, files = list(modules), set[str](), set[Path]()
    for name in waiting:
        file = _file_of(name, root)
        if file is None or file.name == "__init__.py":
            raise ValueError(f"{name!r} is not a module of the project")
    while waiting:
        name = waiting.pop()
        file = _file_of(name, root)
        if name in known or file is None:
            continue
        known.add(name)
        files.add(file)
        if name in READS:
            files.update(path for path in (root / READS[name]).rglob("*") if path.is_file())
        waiting += _imports(name, file.name == "__init__.py", file.read_bytes())
    return sorted(file.relative_to(root) for file in files)


@cache
def _imports(name: str, is_package: bool, source: bytes) -> set[str]:
    """What the module imports, with the packages that each lies in; some are not modules."""
    package = name if is_package else name.rpartition(".")[0]
    found = {package}
    with _parsing:
        tree = ast.parse(source)
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
    parts = [item.split(".") for item in found]
    return {".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield other
                yield from _nodes(other)
        else:
            yield node
            yield from _nodes(node)


@cache
def _file_of(name: str, root: Path) -> Path | None:
    """The file of a module or of a package; None for what is not the project's."""
    path = root.joinpath(*name.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)
