"""`make docs`: the pages that are made from the code, so that they cannot differ from it.

The README's figures come from `docs/figures.json`, which holds what `make bench` last measured. A
test (`tests/flows/test_docs.py`) fails when a page on disk is not what this would write.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from configs.describe import accepted, default_of, options
from configs.load import presets
from features.catalogue import CATALOGUE
from flows import docs_year
from flows.docs_contest import contest_page
from flows.docs_contract import MADE, contract_page
from flows.docs_monitoring import fill
from flows.docs_quality import quality_page
from flows.docs_scoring import scoring_section
from flows.docs_serving import serving_section

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MEASURED = ROOT / "var" / "bench"  # summaries of the runs that `make bench` made
FIGURES = DOCS / "figures.json"
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"

ADD_A_FEATURE = """\
## Add a feature

1. Write it into the SELECT of its group, `features/sql/<group>.sql`: one row per `row_id`, from
   `past_orders`, `past_products` or `past_cancellations`, which end at the as-of date. A new group
   is a new file.
2. Describe it in `features/catalogue.py`, in the order of the SELECT: name, unit, meaning, range,
   when it is missing. If it needs a column that not every log has, add it to `NEEDS` there.
3. `make docs`, then `make check`. The next `make train` builds the table and the models again.
   A champion with other features is replaced only with `--gate.change_features true`.

Every feature is checked for its range, for leaks, and to be the same in the service. A second
implementation in pandas (`tests/features/reference.py`) and values worked out by hand
(`tests/features/test_features_by_hand.py`) check the features that they name: add yours there.

## The features
"""


def pages() -> dict[Path, str]:
    """Path -> content of every generated page."""
    quality = json.loads(FIGURES.read_text(encoding="utf-8")).get("quality")
    return {
        **({DOCS / "quality.md": quality_page(quality)} if quality else {}),
        DOCS / "features.md": _features(),
        DOCS / "settings.md": _settings(),
        DOCS / "contract.md": contract_page(),
        DOCS / "speed.md": _speed(),
        DOCS / "monitoring.md": _monitoring(),
        DOCS / "operations.md": _operations(),
        DOCS / "contest.md": contest_page(json.loads(FIGURES.read_text(encoding="utf-8"))),
        ROOT / "README.md": _readme(),
    }


def _features() -> str:
    lines = [
        f"{MADE}# Features\n",
        f"{len(CATALOGUE)} features per customer and as-of date, in the model's order.",
        "Each sees only rows before the as-of date. The definitions are the SQL files of",
        "`features/sql/`, the descriptions `features/catalogue.py`. A log whose source does not",
        "declare the columns that a feature needs (`source.columns`) has no such feature.\n",
        ADD_A_FEATURE,
        "| feature | unit | meaning | range | missing when | needs |",
        "|---|---|---|---|---|---|",
    ]
    for f in CATALOGUE:
        high = "" if f.high is None else f" to {f.high:g}"
        span = f"{f.low:g}{high}" if high else f"from {f.low:g}"
        needs = ", ".join(f"`{name}`" for name in sorted(f.needs)) or "–"
        cells = (f"`{f.name}`", f.unit, f.meaning, span, f.missing or "never", needs)
        lines.append("| " + " | ".join(cells) + " |")
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
    for name, field in list(options())[2:]:  # the first two are the preset, which --config sets
        shown = f"`{value}`" if (value := default_of(field)) else "none"
        cells = (f"`{name}`", accepted(field), shown, field.description or "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _speed() -> str:
    lines = [
        f"{MADE}# Speed and memory\n",
        "What the last `make bench` measured on two cores. The peers are the same work in pandas",
        "and in Polars in the same run; their rows and features agree with ours, or the run stops.",
        "They check no contract, draw no page and keep to no limit of memory. For features, pandas",
        "is the reference that the tests hold the SQL against. On the real file the best of three",
        "with the libraries loaded is counted, on large logs one try.\n",
        "| figure | measured | limit | pandas | Polars |",
        "|---|---:|---:|---:|---:|",
    ]
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    for item in figures.get("bench", []):
        if "ROC AUC" in item["name"]:  # those stand in the README
            continue
        sign = "at most" if item["better"] == "lower" else "at least"
        limit = "" if item["limit"] is None else f"{sign} {item['limit']:,g}"
        peers = [_plain(item["peers"].get(name, "")) for name in ("pandas", "polars")]
        cells = [item["name"], f"{_plain(item['value'])} {item['unit']}", limit, *peers]
        lines.append(f"| {' | '.join(cells)} |")
    if "scoring" in figures:
        lines += scoring_section(figures["scoring"])
    if "serving" in figures:
        lines += serving_section(figures["serving"])
    return "\n".join(lines) + "\n"


def _monitoring() -> str:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    text = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    return fill(text, figures.get("monitoring"), figures.get("monitoring_labels"))


def _operations() -> str:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    return docs_year.fill(text, figures.get("year"), figures.get("drill"))


def _plain(figure: float | str) -> str:
    return (
        figure if isinstance(figure, str) else f"{figure:,.0f}" if figure > 99 else f"{figure:.3g}"
    )


def _readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return (
        before
        + BEGIN
        + _figures(json.loads(FIGURES.read_text(encoding="utf-8")))
        + END
        + rest.split(END)[1]
    )


def _figures(runs: dict[str, dict[str, Any]]) -> str:
    """One column per measured run."""
    columns = [runs[name] for name in ("default", "online_retail")]
    rows = {
        "": ["simulated (default)", "Online Retail II"],
        "rows in = valid + quarantined": [
            f"{run['rows']['raw']:,} = {run['rows']['valid']:,} + {run['rows']['quarantined']:,}"
            for run in columns
        ],
        "test customers, of whom buy again": [
            f"{run['table']['rows']['test']:,}, {run['table']['positive_rate']['test']:.1%}"
            for run in columns
        ],
        f"{_alone(columns)}, ROC AUC": [f"{run['baseline']['roc_auc']:.3f}" for run in columns],
    }
    for family in columns[0]["families"]:
        rows[f"`{family}`, ROC AUC"] = [_score(run, family) for run in columns]
    rows["oracle, ROC AUC"] = [
        f"{run['oracle']['roc_auc']:.3f}" if run["oracle"] else "unknown" for run in columns
    ]
    rows["seconds on 2 cores"] = [f"{run['seconds']['total']:.0f}" for run in columns]
    head, *body = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    note = "\nFigures of the last `make bench`; 95 % intervals; bold: chosen on validation.\n"
    for name, run in zip(rows[""], columns, strict=True):
        for question in run.get("questions", ()):
            said = f"What the run itself points out, {name}: {question['text']}."
            note += textwrap.fill(said, 100) + "\n"
    return "\n".join([head, "|---|---|---|", *body]) + "\n" + note


def _alone(runs: list[dict[str, Any]]) -> str:
    """The baseline's feature, where it is one and the same in all of them."""
    names = {run["baseline"]["feature"] for run in runs}
    return f"`{names.pop()}` alone" if len(names) == 1 else "best feature alone"


def _score(run: dict[str, Any], family: str) -> str:
    test = run["families"][family]["test"]
    text = f"{test['roc_auc']:.3f} [{test['roc_auc_low']:.3f}, {test['roc_auc_high']:.3f}]"
    return f"**{text}**" if family == run["winner"] else text


def _take_measured() -> None:
    """Bring `docs/figures.json` up to date with what `make bench` measured, if it has."""
    kept = (
        "rows",
        "table",
        "baseline",
        "oracle",
        "winner",
        "seconds",
        "peak_memory_mb",
        "families",
        "differences",
        "slices",
        "decision",
        "questions",
    )
    found = {path.stem: json.loads(path.read_text()) for path in MEASURED.glob("summaries/*.json")}
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    figures |= {name: {key: run[key] for key in kept} for name, run in found.items()}
    if (MEASURED / "road.json").exists():
        figures["bench"] = json.loads((MEASURED / "road.json").read_text(encoding="utf-8"))
    for name in ("quality", "serving", "monitoring", "monitoring_labels", "scoring", "year"):
        if (MEASURED / f"{name}.json").exists():
            figures[name] = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    if (MEASURED / "drill_operate.json").exists():
        drill = json.loads((MEASURED / "drill_operate.json").read_text(encoding="utf-8"))
        if drill.get("whole"):  # not a few of its cases
            figures["drill"] = {name: drill[name] for name in ("survived", "tried", "seconds")}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    _take_measured()
    for picture in sorted(MEASURED.glob(docs_year.PICTURES)):
        shutil.copyfile(picture, DOCS / picture.name)
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
