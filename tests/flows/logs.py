"""Small logs as CSV files, for tests of the stages on data."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import yaml

HEADER = "invoice_id,product_id,description,quantity,unit_price,invoiced_at,customer_id,country"


def write_log(
    file: Path,
    first: date = date(2024, 1, 1),
    days: int = 240,
    per_day: int = 12,
    price: float = 2.0,
    anonymous: float = 0.1,
    customers: int = 60,
    seed: int = 1,
) -> list[str]:
    """Clean sales, `per_day` lines on each day; returns the lines written (without the header)."""
    draw = random.Random(f"{seed} {first}")
    lines = []
    for day in range(days):
        when = first + timedelta(days=day)
        for n in range(per_day):
            who = "" if draw.random() < anonymous else f"c{draw.randrange(customers)}"
            paid = round(price * draw.choice([0.5, 1, 2]), 2)
            number = f"{when:%y%m%d}{n:02}"
            lines.append(
                f"{number},{10000 + draw.randrange(300)},MUG {n},{draw.randrange(1, 9)},"
                f"{paid},{when} 10:{n:02}:00,{who},UK"
            )
    save(file, lines)
    return lines


def save(file: Path, lines: list[str]) -> None:
    file.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")


def write_preset(file: Path, log: str, **sections) -> Path:
    """A preset for such a log, whose contract and splits fit a short one."""
    tree = {
        "source": {"kind": "files", "path": log},
        "contract": {
            "rules": {
                "days": {"low": 100},
                "impossible_price": {"severity": "quarantine"},
                "no_product_code": {"severity": "quarantine"},
            }
        },
        "features": {"horizon_days": 20, "min_history_days": 40, "train_dates": 3},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return file
