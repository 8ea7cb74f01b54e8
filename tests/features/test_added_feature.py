"""A feature is added as docs/features.md says: no test that counts or lists is in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CODE = [file.parent.name for file in ROOT.glob("*/__init__.py")]
TESTS = [
    f"tests/features/test_{name}.py" for name in ("feature_files", "features_by_hand", "ablation")
]


def test_a_feature_and_a_group_are_added_by_sql_and_catalogue_and_make_docs(tmp_path):
    for name in (*CODE, "docs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    sql = tmp_path / "features" / "sql"
    select = (sql / "baskets.sql").read_text(encoding="utf-8")
    more = select.replace(" AS unit_price_mean", " AS unit_price_mean,\n max(lines) AS lines_most")
    (sql / "baskets.sql").write_text(more, encoding="utf-8")
    (sql / "size.sql").write_text(
        "SELECT row_id, max(units) AS units_most FROM past_orders GROUP BY row_id"
    )
    catalogue = tmp_path / "features" / "catalogue.py"
    listed = catalogue.read_text(encoding="utf-8")
    last = '_money("unit_price_mean", "mean price paid per unit"),\n    ),\n'
    added = (
        'Feature("lines_most", "lines", "most sales lines at once", low=1),\n    ),\n'
        '    "size": (Feature("units_most", "units", "most units at once", low=1),),\n'
    )
    assert more != select and last in listed
    catalogue.write_text(listed.replace(last, last.removesuffix("    ),\n") + added), "utf-8")

    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    run["env"] = os.environ | {"PYTHONPATH": str(tmp_path)}
    made = subprocess.run([sys.executable, "-m", "flows.docs"], **run)
    assert made.returncode == 0, made.stderr
    assert "`units_most`" in (tmp_path / "docs" / "features.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-k", "not candidate and not gain", *TESTS], **run
    )
    assert done.returncode == 0, done.stdout[-4000:]
