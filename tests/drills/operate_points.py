"""Where `make operate` is killed: after each stage, before and after each rename, between what is
written down and what follows from it, and at random moments."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

# Two scenarios, of two due months each: without a training, and with one in the first month, which
# ends with a promotion. In each an alert begins in the first month and is over in the second.
MONTHS, TRAINING = "months", "training"


@dataclass(frozen=True)
class Case:
    """point: see `killed_at.py`; empty: after `share` of the time that the command takes.  tree:
    its children are killed with it; otherwise they have to notice.  again: the receiver may be told
    an alert a second time, under the same id."""

    name: str
    scenario: str
    point: dict[str, Any] = field(default_factory=dict)
    share: float = 0.0
    tree: bool = False
    again: bool = False


def _after(call: str, nth: int = 1) -> dict[str, Any]:
    return {"call": call, "when": "after", "nth": nth}


def _before(call: str, nth: int = 1) -> dict[str, Any]:
    return {"call": call, "when": "before", "nth": nth}


STAGES = {  # of a month
    "settled": _after("flows.operate:reconcile_registry"),
    "ingested": _after("flows.data_stages:ingest"),
    "validated": _after("flows.data_stages:validate"),
    "log read": _after("flows.operate:watch_month"),
    "scored": _after("flows.operate:score_log"),
    "baseline frozen": _after("flows.judge:baseline_of"),
    "champion measured": _after("flows.judge:measure_champion"),
    "facts written": _after("flows.judge:_write_facts"),
    "verdict written": _after("monitoring.state:write_judged"),
    "between verdict and alert": _before("flows.judge:_take_into_alerts"),
    "between month and alert's event": _before("monitoring.alerts:append"),
    "alert's event written": _after("monitoring.alerts:append"),
    "judged": _after("flows.operate:judge"),
    "between judged and operated": _before("flows.operate:write_record"),
    "operated": _after("flows.operate:write_record"),
    "second month: log read": _after("flows.operate:watch_month", 2),
    "second month: scored": _after("flows.operate:score_log", 2),
    "second month: facts written": _after("flows.judge:_write_facts", 2),
    "second month: end of the alert": _before("monitoring.alerts:append", 2),
    "second month: judged": _after("flows.operate:judge", 2),
    "all months done": _after("flows.operate:operate"),
    "before delivery": _before("flows.finish:deliver"),
    "between alert and its receipt": _before("monitoring.delivery:_note"),
    "first receipt written": _after("monitoring.delivery:_note"),
    "delivered": _after("flows.finish:deliver"),
    "metrics written": _after("flows.finish:write_metrics"),
    "page written": _after("flows.monitoring_page:write_monitoring_page"),
}
RENAMES = (  # of a month, as `killed_at.py` lists them
    *("stages/ingest-*", "stages/validate-*", "batches/log/*.json", "validated/log.json"),
    *("contract.html", "scores/log/as_of=*", "baseline/v1.json", "year_before/*/as_of=*"),
    *("facts/readings/*", "facts/performance/*", "facts/pooled/*", "facts/estimates/*"),
    *("facts/drift/*", "facts/quality/*", "verdicts/month=*.json", "judged.json"),
    *("operated/month=*.json", "succeeded/operate.json", "golden_path.prom", "page.html"),
)
TRAINED = {  # of a month with a training
    "between reason and trigger": _before("flows.operate:write_trigger_once"),
    "trigger written": _after("flows.operate:write_trigger_once"),
    "trigger's record open": _after("registry.ledger:write"),
    "Prefect ready": _after("flows.start:wait_until_ready"),
    "registered": _after("registry.champion:register"),
    "between decision and ledger": _before("registry.decisions:conclude"),
    "between ledger and alias": _before("registry.carry_out:promote"),
    "between alias and ledger's end": _after("registry.carry_out:promote"),
    "decided": _after("registry.decisions:conclude"),
    "between decision and summary": _before("flows.run:finish"),
    "summary written": _after("flows.run:finish"),
    "trained": _after("flows.operate:run_retraining"),
    "second month: scored by the new champion": _after("flows.operate:score_log", 2),
    "second month: judged": _after("flows.operate:judge", 2),
}
OF_TRAINING = ("stages/features-*", "stages/logistic-*", "bundle", "summary.json", "runs/latest")
RANDOM = {MONTHS: 20, TRAINING: 20}


def cases(seed: int) -> list[Case]:
    """All of them, those without a training first."""
    found = []
    for name, point in STAGES.items():
        found.append(Case(name, MONTHS, point, again=name == "between alert and its receipt"))
    for pattern in RENAMES:
        for when in ("before", "after"):
            point = {"rename": pattern, "when": when}
            found.append(Case(f"{when} rename of {pattern}", MONTHS, point))
    for name, point in TRAINED.items():
        found.append(Case(name, TRAINING, point))
    for pattern in OF_TRAINING:
        for when in ("before", "after"):
            point = {"rename": pattern, "when": when}
            found.append(Case(f"{when} rename of {pattern}", TRAINING, point))
    draw = random.Random(seed)
    for scenario, count in RANDOM.items():
        for number in range(count):
            share = draw.random()
            name = f"after {share:.0%}"
            tree = number % 2 == 0
            found.append(Case(name, scenario, share=share, tree=tree, again=True))
    return found
