"""Run `docs/explore.ipynb` on what the last run left: the result is `var/notebook/explore.ipynb`.

    python -m flows.commands.notebook [--var var] [--in-place]

`--in-place` writes the notebook under docs/ itself, as it is committed.

What is written holds no path, no user, and no time of day: the same run gives the same file, unless
a library draws differently. Needs the extra `explore`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from configs.environment import QUIET

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[2] / "docs" / "explore.ipynb"
SECONDS = 300  # the longest that a cell may take


def execute(
    var: Path, notebook: Path = NOTEBOOK, env: dict[str, str] | None = None
) -> NotebookNode:
    """The notebook with fresh outputs, on what the runs left in `var`.

    Raises nbclient.exceptions.CellExecutionError for a cell that fails. The kernel is reached
    through files that only this process knows of, and leaves nothing in the home folder.
    """
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    book = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        homes = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR")
        kernel = AsyncKernelManager(
            kernel_name="python3",
            connection_file=f"{folder}/kernel.json",
            transport="ipc",  # sockets in this folder: nothing listens on a network
            ip=f"{folder}/kernel",
        )
        client = NotebookClient(
            book,
            km=kernel,
            timeout=SECONDS,
            record_timing=False,
            resources={"metadata": {"path": str(notebook.parent)}},
        )
        client.execute(
            cleanup_kc=True,  # ends the kernel, also when a cell failed
            env=(dict(os.environ) if env is None else env)
            | QUIET
            | {"GOLDEN_PATH_VAR": str(var.resolve())}
            | {name: f"{folder}/{name.lower()}" for name in homes},
        )
    book.metadata["language_info"] = {"name": "python"}  # the rest names this machine's version
    return book


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="flows.commands.notebook", description="Run docs/explore.ipynb."
    )
    parser.add_argument("--var", type=Path, default=Path("var"), help="folder of the runs to show")
    parser.add_argument("--in-place", action="store_true", help="write docs/explore.ipynb itself")
    options = parser.parse_args(arguments)
    if not (options.var / "runs" / "latest").exists():
        missing = UserError(
            "no run has finished yet, so there is nothing to show",
            where=str(options.var / "runs"),
            next_step='make train, or name another folder: make notebook ARGS="--var FOLDER"',
        )
        print(missing, file=sys.stderr)
        return 1
    import nbformat

    target = NOTEBOOK if options.in_place else options.var / "notebook" / NOTEBOOK.name
    book = execute(options.var)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    nbformat.write(book, unfinished)
    unfinished.replace(target)
    print(f"written to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
