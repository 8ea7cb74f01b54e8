"""docs/contract.md: the data contract in words, made from its document."""

from __future__ import annotations

from configs.load import load, presets
from configs.rules import Contract, Rule
from ingestion.contract import CHANGES, DERIVED, MEASURES, in_words

MADE = "<!-- Written by `make docs`. Do not edit. -->\n"
ABOUT = """# Data contract

What each row and each batch of transactions must be, and why. The document is
`configs/contract.yaml`; a preset changes the rules that differ for its data set and may add its
own. From it come the quarantine (DuckDB judges every row), the Great Expectations suite (it judges
the measures of the batch and audits the row rules on a sample: the two must count the same), the
page of each run (`var/runs/latest/contract.html`) and this one.

- `quarantine`: the row is kept out, with the name of the rule as its reason. `make quarantine`
  shows what is there, `make replay` judges it again after a rule or the source was mended.
- `stop`: the batch is refused; beside the last accepted one, it is held until a person releases it
  (`make accept-batch BATCH=...`).
- `warn`: it is said and counted. `ignore`: the rule is off.

A rule about a column that the source does not have (`source.columns`) is off by itself. A missing
value breaks no rule but those that say "is there".
"""


def contract_page() -> str:
    rules = Contract().rules
    parts = [MADE + ABOUT]
    sections = {
        "Each row": [name for name, rule in rules.items() if rule.column],
        "The batch": [name for name, rule in rules.items() if rule.measure in MEASURES],
        "The batch beside the last accepted one": [
            name for name, rule in rules.items() if rule.measure in CHANGES
        ],
    }
    for title, names in sections.items():
        parts.append(f"## {title}\n\n{_table({name: rules[name] for name in names})}\n")
    parts.append(f"## What the rules speak of\n\n{_terms()}\n")
    parts.append(f"## Where presets differ\n\n{_differences()}")
    return "\n".join(parts)


def _table(rules: dict[str, Rule]) -> str:
    lines = ["| rule | severity | says | why |", "|---|---|---|---|"]
    for name, rule in rules.items():
        cells = (f"`{name}`", rule.severity, f"`{in_words(rule)}`", rule.why)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _terms() -> str:
    derived = {name: meaning for name, (meaning, _) in DERIVED.items()}
    terms = derived | MEASURES | CHANGES
    return "\n".join(f"- `{name}`: {meaning}" for name, meaning in terms.items())


def _differences() -> str:
    base, parts = Contract().rules, []
    for name in presets():
        rules = load(name, env={}).contract.rules
        changed = {code: rule for code, rule in rules.items() if base.get(code) != rule}
        parts.append(
            f"**{name}**:\n\n{_table(changed)}\n" if changed else f"**{name}**: the rules above.\n"
        )
    return "\n".join(parts)
