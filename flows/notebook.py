"""Run `docs/explore.ipynb` again, so that the pictures in it are those of today's run.

    python -m flows.notebook --var var

What is written holds no path, no user, and no time of day: the same run gives the same file, unless
a library draws differently. Needs the extra `explore`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from configs.environment import QUIET

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[1] / "docs" / "explore.ipynb"
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Run docs/explore.ipynb again, in place.")
    parser.add_argument("--var", type=Path, default=Path("var"), help="folder of the runs to show")
    import nbformat

    nbformat.write(execute(parser.parse_args().var), NOTEBOOK)


if __name__ == "__main__":
    main()
