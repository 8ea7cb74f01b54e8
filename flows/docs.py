"""`make docs`: the pages that are made from the code, so that they cannot differ from it.

A test (`tests/flows/test_docs.py`) fails when a page on disk is not what this would write.
"""

from __future__ import annotations

import sys
from pathlib import Path

from configs.load import accepted, options, presets
from features.catalogue import CATALOGUE

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- Written by `make docs`. Do not edit. -->\n"


def pages() -> dict[Path, str]:
    """Path -> content of every generated page."""
    return {DOCS / "features.md": _features(), DOCS / "settings.md": _settings()}


def _features() -> str:
    lines = [
        f"{MADE}# Features\n",
        f"{len(CATALOGUE)} features per customer and as-of date, in the model's order.",
        "Each sees only rows before the as-of date. The definitions are the SQL files of",
        "`features/sql/`, the descriptions `features/catalogue.py`.\n",
        "| feature | unit | meaning | range | missing when |",
        "|---|---|---|---|---|",
    ]
    for f in CATALOGUE:
        high = "" if f.high is None else f" to {f.high:g}"
        span = f"{f.low:g}{high}" if high else f"from {f.low:g}"
        lines.append(f"| `{f.name}` | {f.unit} | {f.meaning} | {span} | {f.missing or 'never'} |")
    return "\n".join(lines) + "\n"


def _settings() -> str:
    lines = [
        f"{MADE}# Settings\n",
        "Every setting, what it accepts and its default. Set one in `configs/<name>.yaml`, in the",
        "environment (`GOLDEN_PATH_TUNING__TRIALS=10`) or on the command line",
        "(`--tuning.trials 10`); the later wins. `--print-config` shows the result. Presets:",
        ", ".join(f"`{name}`" for name in presets()) + ".\n",
        "| setting | accepts | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in options():
        default = field.get_default(call_default_factory=True)
        shown = (
            "none"
            if default is None
            else f"`{', '.join(default) if isinstance(default, tuple) else default}`"
        )
        cells = (f"`{name}`", accepted(field), shown, field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
