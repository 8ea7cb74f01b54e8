"""The figures of docs/monitoring.md: the sensors as they are set, and what `make bench-monitoring`
and its labels measured."""

from __future__ import annotations

from typing import Any

from monitoring.sensors import SENSORS

RULES = {
    "psi": "PSI of any feature above .2",
    "ks": "Kolmogorov-Smirnov of any feature, Bonferroni",
    "evidently": "Evidently's default: half of the columns",
    "classifier": "domain classifier, ROC AUC above .6",
    "sensors": "**the sensors**",
}
DRIFTS = {
    "price": "prices + 10 %",
    "unit": "5 % of the lines in another unit",
    "missing": "20 % of the repeat invoices without their customer",
    "mix": "half of the new customers from abroad",
    "slower": "rate of buying × .8",
    "faster": "rate of buying × 1.25",
}


def fill(text: str, figures: dict[str, Any] | None) -> str:
    """The page with its generated parts; those that were not measured yet are left as they are."""
    found = {"sensors": _sensors()}
    if figures:
        found |= {
            "rules": _rules(figures["rules"]),
            "power": _power(figures),
            "real": _real(figures.get("real")),
        }
    for name, lines in found.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}" + "\n".join(lines) + f"\n{end}" + rest.split(end)[1]
    return text


def _sensors() -> list[str]:
    lines = [
        "| sensor | measures | an alarm stands for | limit | judges from |",
        "|---|---|---|---:|---|",
    ]
    for name, one in SENSORS.items():
        lines.append(
            f"| `{name}` | {one.meaning} | {one.verdict} | {one.c:g} | {one.least} {one.of} |"
        )
    return lines


def _rules(found: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| rule | compared with | months that alarm | years with an alarm |",
        "|---|---|---:|---:|",
    ]
    for one in found:
        if one["months"]["of"]:
            cells = (RULES[one["rule"]], one["reference"], _of(one["months"]), _of(one["years"]))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _power(figures: dict[str, Any]) -> list[str]:
    undrifted = figures["undrifted"]
    lines = [
        f"Without drift: any alarm in {_of(undrifted['any'])} years (95 % interval"
        f" {_interval(undrifted['any'])}; aim: at most {undrifted['limit']:.0%}). By sensor: "
        + ", ".join(f"{name} {_of(one)}" for name, one in undrifted["sensors"].items())
        + ".",
        "",
        "| drift from one month on | sensor | found in month 1 | by month 2 | by month 3 | aim |",
        "|---|---|---:|---:|---:|---|",
    ]
    for one in figures["power"]:
        within = [
            f"{one['within'][n]['share']:.2f} {_interval(one['within'][n])}"
            for n in ("1", "2", "3")
        ]
        months = one["target_months"]
        aim = f"{one['target']:.1f} by month {months}"
        cells = (DRIFTS[one["drift"]], f"`{one['sensor']}`", *within, aim)
        lines.append(f"| {' | '.join(cells)} |")
    shops = {one["shops"] for one in figures["power"]}
    lines += ["", f"{' or '.join(map(str, sorted(shops)))} shops for each drift; exact intervals."]
    return lines


def _real(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return ["Online Retail II was not there when this was measured."]
    months = found["months"]
    lines = [
        f"Online Retail II, {months[0]} to {months[-1]}, against its first year. Alarms: "
        + (f"{len(found['alarms'])}." if found["alarms"] else "none.")
    ]
    lines += [f"- {one['month']}, `{one['sensor']}`: {one['text']}" for one in found["alarms"]]
    if found["pending"]:
        lines.append("\nPending (beyond three quarters of the limit, and not the month after):\n")
        lines += [f"- {one['month']}, `{one['sensor']}`: {one['text']}" for one in found["pending"]]
    learning = {one["sensor"]: one for one in found["learning"]}
    lines += [
        f"\n`{name}` is learning all the time: {one['text']}" for name, one in learning.items()
    ]
    lines.append("\nWith drift planted in the same rows:\n")
    lines += [
        f"- {DRIFTS[one['drift']]}: "
        + (f"month {one['month']}. {one['text']}" if one["month"] else "not found")
        for one in found["planted"]
    ]
    return lines


def _of(one: dict[str, Any]) -> str:
    return f"{one['hits']} of {one['of']}"


def _interval(one: dict[str, Any]) -> str:
    return (
        f"[{one['low']:.2f}, {one['high']:.2f}]"
        if one["of"] < 150
        else (f"[{one['low']:.1%}, {one['high']:.1%}]")
    )
