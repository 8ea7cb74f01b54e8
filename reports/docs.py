"""Render the docs that `make docs` writes: of the code here, of what the benches measured in
`measured.py`. Texts stand in `templates/docs/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.describe import accepted, default_of, options
from configs.load import load, presets
from configs.rules import Contract, Rule
from features.catalogue import CATALOGUE
from ingestion.contract import CHANGES, DERIVED, MEASURES, in_words
from reports import measured
from reports.markdown import Cells, bars_escaped, render


def pages(root: Path, figures: dict[str, Any]) -> dict[Path, str]:
    """Return path -> content of every generated page.

    root: the project's folder.  figures: the content of docs/figures.json.
    """
    docs = root / "docs"
    written = {
        docs / "features.md": features_page(),
        docs / "settings.md": settings_page(),
        docs / "contract.md": contract_page(),
        docs / "speed.md": measured.speed_page(figures),
        docs / "model-comparison.md": measured.comparison_page(figures),
    }
    if figures.get("quality"):
        written[docs / "quality.md"] = measured.quality_page(figures["quality"])
    for path, fill in (
        (docs / "monitoring.md", measured.fill_monitoring),
        (docs / "operations.md", measured.fill_operations),
        (root / "README.md", measured.fill_readme),
    ):
        written[path] = fill(path.read_text(encoding="utf-8"), figures)
    return written


def features_page() -> str:
    """Render docs/features.md from the catalogue."""
    rows = []
    for f in CATALOGUE:
        span = f"from {f.low:g}" if f.high is None else f"{f.low:g} to {f.high:g}"
        needs = ", ".join(f"`{name}`" for name in sorted(f.needs)) or "–"
        rows.append([f"`{f.name}`", f.unit, f.meaning, span, f.missing or "never", needs])
    return render("features", features=rows)


def settings_page() -> str:
    """Render docs/settings.md from the settings model."""
    rows = []
    for name, field in list(options())[2:]:  # the first two are the preset, which --config sets
        default = f"`{value}`" if (value := default_of(field)) else "none"
        cells = (f"`{name}`", accepted(field), default, field.description or "")
        rows.append(bars_escaped(cells))
    return render("settings", presets=presets(), settings=rows)


def contract_page() -> str:
    """Render docs/contract.md from the contract and what presets change."""
    rules = Contract().rules
    sections = {
        "Each row": {n: rule for n, rule in rules.items() if rule.column},
        "The batch": {n: rule for n, rule in rules.items() if rule.measure in MEASURES},
        "The batch beside the last accepted one": {
            n: rule for n, rule in rules.items() if rule.measure in CHANGES
        },
    }
    changed = {
        preset: {
            name: rule
            for name, rule in load(preset, env={}).contract.rules.items()
            if rules.get(name) != rule
        }
        for preset in presets()
    }
    return render(
        "contract",
        sections={title: _rules(group) for title, group in sections.items()},
        terms={name: meaning for name, (meaning, _) in DERIVED.items()} | MEASURES | CHANGES,
        changed={preset: _rules(group) for preset, group in changed.items()},
    )


def _rules(rules: dict[str, Rule]) -> Cells:
    return [
        bars_escaped((f"`{name}`", rule.severity, f"`{in_words(rule)}`", rule.why))
        for name, rule in rules.items()
    ]
