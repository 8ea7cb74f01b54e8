"""The figures of docs/monitoring.md: the sensors as they are set, and what `make bench-monitoring`
measured."""

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


def fill(text: str, figures: dict[str, Any] | None, labels: dict[str, Any] | None) -> str:
    """The page with its generated parts; those that were not measured yet are left as they are.

    figures: of the sensors; labels: of champions whose labels are known.
    """
    found = {"sensors": _sensors()}
    if figures:
        found |= {
            "rules": _rules(figures["rules"]),
            "power": _power(figures),
            "real": _real(figures.get("real")),
        }
    if labels:
        found["champion"] = _champion(labels)
    return put_sections(text, found)


def put_sections(text: str, found: dict[str, list[str]]) -> str:
    """The page with these lines between the markers of each section, `<!-- name -->`."""
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


def _champion(figures: dict[str, Any]) -> list[str]:
    sound = figures["undrifted"]["worse"]
    lines = [
        f"Simulated years without drift in which a sound champion is called *worse*: {_of(sound)}"
        f" (95 % interval {_interval(sound)}; aim: at most 1 %). How soon one is that was broken on"
        " purpose, counted from the first month that labels can judge:",
        "",
        "| what was broken | costs of ROC AUC | *worse* in month 1 | by month 2 | by month 3 |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in figures["broken"]:
        what = f"a {one['name'].removesuffix(' mixed up')} of its scores mixed up"
        lines.append(f"| {what} | {one['costs']:.3f} | {_shares(one['within'])} |")
    for one in figures["stuck"]:
        low, high = one["costs"]
        if one["ever"]["of"]:
            what = "a feature stuck at zero"
            lines.append(f"| {what} | {low:g} to {high:g} | {_shares(one['within'])} |")
    lines += [
        "",
        f"The early label alarmed in {_of(figures['undrifted']['early'])} years without drift."
        " With drift:",
        "",
        "| drift | early label in month 1 | by month 2 | by month 3 | called *worse* for it |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in figures["early"]:
        cells = (DRIFTS[one["drift"]], _shares(one["within"]), _of(one["worse"]))
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    estimate = figures["estimate"]["undrifted"]
    lines.append(
        f"The 95 % interval of the estimate without labels held the truth at"
        f" {estimate['inside']['share']:.0%} of {estimate['inside']['of']:,} dates without drift:"
        " it is too narrow. The estimate was"
        f" {estimate['error']:.3f} of ROC AUC beside the truth on average."
    )
    if figures["real"]:
        judged = [one for one in figures["real"] if one["z"] is not None]
        alarms = [one for one in judged if one["state"] == "alarm"]
        families = " and ".join(dict.fromkeys(one["family"] for one in judged))
        lines.append(
            f"\nOnline Retail II, champions of {families}, {judged[0]['month']} to"
            f" {judged[-1]['month']}: {len(alarms) or 'no'} alarms in {len(judged)} readings."
        )
        lines += [f"- {one['month']}, {one['family']}: {one['text']}" for one in alarms]
    return lines


def _shares(found: list[dict[str, Any]]) -> str:
    return " | ".join(f"{one['share']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in found)


def _of(one: dict[str, Any]) -> str:
    return f"{one['hits']} of {one['of']}"


def _interval(one: dict[str, Any]) -> str:
    return (
        f"[{one['low']:.2f}, {one['high']:.2f}]"
        if one["of"] < 150
        else (f"[{one['low']:.1%}, {one['high']:.1%}]")
    )
