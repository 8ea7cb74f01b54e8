"""A rule is added in `configs/contract.yaml` and nowhere else: no test that counts or lists is in
the way, and rows that break it are in quarantine."""

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
    "tests/ingestion/test_contract.py",
    "tests/ingestion/test_validate.py",
    "tests/flows/test_docs.py",
]
RULE = """
    no_such_country:
      severity: quarantine
      column: country
      pattern: "^[A-Z]"
      why: a country begins with a capital letter

"""
JUDGE = """
import sys
from datetime import datetime
from pathlib import Path

import duckdb

from configs.load import load
from ingestion.validate import validate_batch

contract, folder = load("default", [], {}).contract, Path(sys.argv[1])
row = "'f' AS source, n AS source_row, 'i' || n AS invoice_id, '10001' AS product_id"
row += ", 'mug' AS description, 1 AS quantity, 2.5::DOUBLE AS unit_price"
row += ", TIMESTAMP '2024-01-01' + INTERVAL (3 * n) HOUR AS invoiced_at"
row += ", 'c' || n % 40 AS customer_id"
row += ", CASE WHEN n < 3 THEN 'nowhere' ELSE 'Spain' END AS country, []::VARCHAR[] AS unreadable"
duckdb.execute(f"COPY (SELECT {row} FROM range(3000) t(n)) TO '{folder}/part.parquet'")
found = validate_batch([folder / "part.parquet"], folder, contract, now=datetime(2026, 1, 1))
print(found.rows.reasons)
"""


def test_a_rule_is_added_by_the_contract_alone_and_make_docs(tmp_path):
    for name in (*CODE, "docs", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("README.md", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    contract = tmp_path / "configs" / "contract.yaml"
    before = contract.read_text(encoding="utf-8")
    first = "    missing_product:\n"
    assert before.count(first) == 1
    contract.write_text(before.replace(first, f"{RULE.strip(chr(10))}\n{first}"), encoding="utf-8")

    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    run["env"] = os.environ | {"PYTHONPATH": str(tmp_path)}
    made = subprocess.run([sys.executable, "-m", "flows.docs"], **run)
    assert made.returncode == 0, made.stderr
    assert "`no_such_country`" in (tmp_path / "docs" / "contract.md").read_text(encoding="utf-8")
    judged = subprocess.run([sys.executable, "-c", JUDGE, str(tmp_path)], **run)
    assert judged.stdout == "{'no_such_country': 3}\n", judged.stderr[-2000:]
    chosen = ["-m", "not slow", "-k", "not link"]  # links lead to files that are not copied
    done = subprocess.run([sys.executable, "-m", "pytest", *chosen, *TESTS], **run)
    assert done.returncode == 0, done.stdout[-4000:]
