"""The README's first change, done to a copy: no test that counts or lists is in the way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COPIED = [file.parent.name for file in ROOT.glob("*/__init__.py")]
COPIED += ["docs", "tests/features", "README.md", "pyproject.toml"]
# `make docs`, then the fast checks of the features, in one process: the libraries load once.
CHECKS = """
import sys
import flows.docs, pytest
sys.argv[1:] = []
flows.docs.main()
NAMES = ("feature_files", "features_by_hand", "feature_ranges", "online")
files = [f"tests/features/test_{name}.py" for name in NAMES]
sys.exit(pytest.main(["-m", "not slow", *files]))
"""


def insert(file: Path, *, below: str, text: str) -> None:
    before = file.read_text(encoding="utf-8")
    assert before.count(below) == 1
    file.write_text(before.replace(below, below + text), encoding="utf-8")


def test_a_feature_and_a_group_are_added_by_sql_and_catalogue_and_make_docs(tmp_path):
    for name in COPIED:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tmp_path)
            continue
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## Your first change") : readme.index("## Where to go next")]
    (column,) = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    (feature,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    insert(tmp_path / "features" / "sql" / "baskets.sql", below="SELECT row_id,\n", text=column)
    catalogue = tmp_path / "features" / "catalogue.py"
    insert(catalogue, below='"baskets": (\n', text=feature)
    # and a group of its own
    (tmp_path / "features" / "sql" / "size.sql").write_text(
        "SELECT row_id, max(units) AS units_most FROM past_orders GROUP BY row_id"
    )
    group = '    "size": (Feature("units_most", "units", "most units at once", low=1),),\n'
    insert(catalogue, below="GROUPS: dict[str, tuple[Feature, ...]] = {\n", text=group)

    done = subprocess.run(
        [sys.executable, "-c", CHECKS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "`units_most`" in (tmp_path / "docs" / "features.md").read_text(encoding="utf-8")
