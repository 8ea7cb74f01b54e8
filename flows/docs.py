"""`make docs`: write the pages that are made from the code, so that they cannot differ from it.

Measured figures come from `docs/figures.json`, which holds what the benches last measured. A test
(`tests/flows/test_docs.py`) fails when a page on disk is not what this would write.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from reports import docs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MEASURED = ROOT / "var" / "bench"  # what the benches wrote
FIGURES = DOCS / "figures.json"
PICTURES = "year-*.png"  # of the year's page, beside its figures
KEPT = (  # of the summary of a measured run
    *("rows", "table", "baseline", "oracle", "winner", "seconds", "peak_memory_mb", "families"),
    *("differences", "slices", "decision", "questions"),
)
BENCHES = {  # name in docs/figures.json -> the file that the bench writes
    "bench": "pipeline",
    "quality": "quality",
    "serving": "serving",
    "monitoring": "monitoring",
    "monitoring_labels": "monitoring_labels",
    "scoring": "scoring",
    "year": "year",
}


def pages() -> dict[Path, str]:
    """Return path -> content of every generated page."""
    return docs.pages(ROOT, _read(FIGURES))


def main() -> int:
    _take_measured()
    for picture in sorted(MEASURED.glob(PICTURES)):
        shutil.copyfile(picture, DOCS / picture.name)
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def _take_measured() -> None:
    """Update `docs/figures.json` from what the benches measured, if they have."""
    figures = _read(FIGURES)
    for path in MEASURED.glob("summaries/*.json"):
        run = _read(path)
        figures[path.stem] = {key: run[key] for key in KEPT}
    for name, file in BENCHES.items():
        if (MEASURED / f"{file}.json").exists():
            figures[name] = _read(MEASURED / f"{file}.json")
    if (MEASURED / "drill_operate.json").exists():
        drill = _read(MEASURED / "drill_operate.json")
        if drill.get("whole"):  # not a few of its cases
            figures["drill"] = {name: drill[name] for name in ("survived", "tried", "seconds")}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
