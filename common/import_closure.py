"""The modules that a module leads to, found by reading its imports and not by importing it.

That is the module, the packages it lies in, and all that these import, at the top or within a
function, as long as it belongs to the project. Imports for types alone (`if TYPE_CHECKING:`) do not
count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).resolve().parents[1]
# Python 3.11 counts the depth of a tree for all threads in one place: two that parse at once end in
# a SystemError.
_parsing = Lock()


def import_closure(modules: Iterable[str], root: Path = ROOT) -> dict[str, Path]:
    """Dotted name -> file below `root`, of these modules and of all that they lead to.

    Raises ValueError for a name that is not a module of the project. That includes a package: its
    name does not say which of its modules run.
    """
    waiting, files = list(modules), dict[str, Path]()
    for name in waiting:
        file = _file_of(name, root)
        if file is None or file.name == "__init__.py":
            raise ValueError(f"{name!r} is not a module of the project")
    while waiting:
        name = waiting.pop()
        file = _file_of(name, root)
        if name in files or file is None:
            continue
        files[name] = file
        waiting += imports(name, file)
    return files


def imports(name: str, file: Path, *, later: bool = True) -> frozenset[str]:
    """The names that a module imports, with the packages that it and each of them lie in. `from a
    import b` may be the module a.b, so both are named. later: with what functions import."""
    return _imports(name, file.name == "__init__.py", file.read_bytes(), later)


@cache
def _imports(name: str, is_package: bool, source: bytes, later: bool) -> frozenset[str]:
    package = name if is_package else name.rpartition(".")[0]
    names = {package}
    with _parsing:
        tree = ast.parse(source)
    for node in _nodes(tree, later):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    parts = [item.split(".") for item in names if item]
    return frozenset(".".join(part[:end]) for part in parts for end in range(1, len(part) + 1))


def _nodes(tree: ast.AST, later: bool) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads, and those of functions unless `later`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield other
                yield from _nodes(other, later)
        elif later or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _nodes(node, later)


@cache
def _file_of(name: str, root: Path) -> Path | None:
    """The file of a module or of a package; None for what is not the project's."""
    path = root.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)
