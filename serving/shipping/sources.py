"""The part of this repository that a running service needs: found by following its imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "serving.shipping.shipped"
# What the modules read beside themselves: files, or folders with all that is in them.
DATA = ("configs/contract.yaml", "features/sql", "serving/web/page")


def files(root: Path = ROOT) -> list[Path]:
    """Paths relative to the repository, sorted: the modules, their packages, and the data."""
    found = {path for path, _ in modules(root).values()}
    for data in DATA:
        inside = (root / data).rglob("*") if (root / data).is_dir() else [root / data]
        found |= {path.relative_to(root) for path in inside if path.is_file()}
    return sorted(found)


def modules(root: Path = ROOT) -> dict[str, tuple[Path, ast.Module]]:
    """Module -> file relative to the repository, and its syntax: all that `ENTRY` may import,
    whether at once or later, in a function."""
    found: dict[str, tuple[Path, ast.Module]] = {}
    todo = [ENTRY]
    while todo:
        name = todo.pop()
        path = _file(name, root) if name else None
        if path is None or name in found:
            continue
        tree = ast.parse((root / path).read_text(encoding="utf-8"))
        found[name] = (path, tree)
        todo += [*imported(tree), name.rpartition(".")[0]]  # its package is imported before it
    return found


def imported(tree: ast.AST, *, later: bool = True) -> Iterator[str]:
    """Names that a module imports, but those for the type checker alone. `from a import b` may be
    the module a.b, so both are named. later: with what functions import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif later or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported(node, later=later)


def _file(module: str, root: Path) -> Path | None:
    """None for a module of another's, or a name that is no module."""
    path = Path(*module.split("."))
    for one in (path.with_suffix(".py"), path / "__init__.py"):
        if (root / one).is_file():
            return one
    return None
