"""Run `docs/explore.ipynb` on what the last run left: the result is `var/notebook/explore.ipynb`.

What is written holds no path, no user, and no time of day: the same run gives the same file, unless
a library draws differently. Needs the extra `explore`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import write_file
from configs.command import run_command
from configs.environment import QUIET
from configs.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

ABOUT = "Run docs/explore.ipynb on what the last run left: var/notebook/explore.ipynb."
NOTEBOOK = Path(__file__).parents[2] / "docs" / "explore.ipynb"
SECONDS = 300  # the longest that a cell may take


def execute(
    var: Path, notebook: Path = NOTEBOOK, env: dict[str, str] | None = None
) -> NotebookNode:
    """Return the notebook with fresh outputs, on what the runs left in `var`.

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


def main(settings: Settings, in_place: bool = False) -> None:
    var = settings.var
    if not (var / "runs" / "latest").exists():
        raise UserError(
            "no run has finished yet, so there is nothing to show",
            where=str(var / "runs"),
            next_step='make train, or name another folder: make notebook ARGS="--var FOLDER"',
        )
    import nbformat

    target = NOTEBOOK if in_place else var / "notebook" / NOTEBOOK.name
    book = execute(var)
    write_file(target, nbformat.writes(book) + "\n")
    print(f"written to {target}")


def run(words: Sequence[str] | None = None) -> int:
    """`make notebook`, with these words after it."""
    flags = {"in-place": "write docs/explore.ipynb itself, as it is committed"}
    return run_command("flows.commands.notebook", ABOUT, main, words, flags=flags)


if __name__ == "__main__":
    sys.exit(run())
