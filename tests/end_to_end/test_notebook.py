"""`docs/explore.ipynb`: what a new hire opens first runs on any run; it is committed executed."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra `explore`")
pytest.importorskip("nbclient", reason="needs the extra `explore`")

from nbclient.exceptions import CellExecutionError  # noqa: E402

from flows.commands.notebook import NOTEBOOK, execute, run  # noqa: E402

pytestmark = pytest.mark.slow

LARGEST = 700_000  # bytes
FIGURES = 8


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book):
    return [output for cell in code_cells(book) for output in cell.outputs]


def figures(book):
    return [output for output in outputs(book) if "image/png" in output.get("data", {})]


@pytest.fixture(scope="module")
def executed(smoke, environment):
    """The notebook on the files of a real run, in a kernel that may not leave the machine."""
    return execute(smoke.var, env=environment)


def test_it_runs_on_what_a_run_leaves(executed, smoke):
    assert [cell.execution_count for cell in code_cells(executed)] == list(
        range(1, len(code_cells(executed)) + 1)
    )
    assert not [
        o for o in outputs(executed) if o.output_type == "error" or o.get("name") == "stderr"
    ]
    assert len(figures(executed)) == FIGURES
    first = outputs(executed)[0].text
    assert smoke.summary["run_id"] in first and f"{smoke.summary['rows']['raw']:,} rows" in first


def test_the_command_writes_under_var_and_leaves_the_committed_one(
    executed, monkeypatch, tmp_path, capsys
):
    committed = NOTEBOOK.read_bytes()
    monkeypatch.setattr("flows.commands.notebook.execute", lambda var: executed)
    assert run(["--var", str(tmp_path)]) == 1
    assert "make train" in capsys.readouterr().err
    (tmp_path / "runs" / "latest").mkdir(parents=True)
    assert run(["--var", str(tmp_path)]) == 0
    assert figures(nbformat.read(tmp_path / "notebook" / "explore.ipynb", as_version=4))
    assert NOTEBOOK.read_bytes() == committed


def test_it_stays_on_the_machine(executed, offline_log):
    assert executed is not None
    assert not offline_log.exists() or "ipykernel" not in offline_log.read_text()


def test_it_leaves_nothing_in_the_home_folder(executed, home):
    assert executed is not None
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_without_a_run_it_says_what_to_type(tmp_path, environment):
    with pytest.raises(CellExecutionError, match="Type `make train`"):
        execute(tmp_path, env=environment)


def test_the_committed_one_was_executed_in_order_without_an_error():
    book = nbformat.read(NOTEBOOK, as_version=4)
    cells = code_cells(book)
    assert 8 <= len(cells) <= 14
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for o in outputs(book) if o.output_type == "error" or o.get("name") == "stderr"]
    assert len(figures(book)) == FIGURES
    assert NOTEBOOK.stat().st_size <= LARGEST


def test_the_committed_one_names_no_machine_and_no_moment():
    text = NOTEBOOK.read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    words = re.sub(r'"image/png": "[^"]*"', "", text)
    for place in (
        "/home/",
        "/root",
        "/tmp",
        "/Users/",
        str(Path.home()),
        str(NOTEBOOK.parents[1]),
    ):
        assert place not in words, place
    user = getpass.getuser()
    assert user == "root" or user not in words
    assert not any("execution" in cell.metadata for cell in book.cells)
    assert book.metadata["language_info"] == {"name": "python"}


def prose():
    book = nbformat.read(NOTEBOOK, as_version=4)
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose()) if "://" not in link]
    assert links and all((NOTEBOOK.parent / link).is_file() for link in links)
    named = re.findall(r"`((?:configs|ingestion|features|training|docs|flows)/[^`]*)`", prose())
    assert named and all((NOTEBOOK.parents[1] / path).exists() for path in named)


def test_every_make_target_it_names_exists():
    makefile = (NOTEBOOK.parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", prose(), re.MULTILINE))
    assert {"train", "notebook"} <= {a or b for a, b in named} <= targets
