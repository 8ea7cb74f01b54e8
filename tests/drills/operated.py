"""What `make operate` has left, in a form in which an interrupted run and one that nobody disturbed
are the same: hashes where nothing was trained, and contents without the numbers that a run draws
where something was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from pathlib import Path
from typing import Any

LOCKS = ("lock", "mlflow/champion.lock", "monitoring/log/.alerts.lock")
LOCKS += ("monitoring/log/.delivery.lock",)
DRAWN = ("latency", "p99_ms")  # measured on the clock
FIRST = 1  # the version of the champion that was there at first


def left_by(var: Path, preset: Path, *, trained: bool) -> dict[str, Any]:
    """Everything that must come out the same. trained: whether versions may have other numbers."""
    kept, scores = var / "monitoring" / "log", var / "scores" / "log"
    found: dict[str, Any] = {
        "baseline": _hashes(kept / "baseline", "*.json"),
        "alerts": [
            {
                name: value
                for name, value in json.loads(line).items()
                if name not in ("time", "sealed")
            }
            for line in (kept / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
        ],
        "ledger": _ledger(var, preset),
    }
    if not trained:
        names = ("facts", "verdicts", "operated", "year_before")
        found |= {name: _hashes(kept / name, "*") for name in names}
        return found | {
            "judged.json": _hashes(kept, "judged.json"),
            "scores": _hashes(scores, "*"),
        }
    found["scores"] = {
        str(file.relative_to(scores)): _rows(file) for file in scores.rglob("part.parquet")
    }
    found["facts"] = {
        str(file.relative_to(kept)): _rows(file) for file in kept.glob("facts/*/*.parquet")
    }
    for kind in ("verdicts", "operated"):
        found[kind] = {file.name: _content(file) for file in (kept / kind).glob("month=*.json")}
    return found


def held_locks(var: Path) -> list[str]:
    """Locks that some process still holds, in words."""
    found = []
    for name in LOCKS:
        if (var / name).exists():
            with (var / name).open("r+") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(f"{name} is held")
    return found


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Which parts are not the same, in words."""
    found = []
    for name in theirs:
        if ours.get(name) == theirs[name]:
            continue
        where = ""
        if isinstance(theirs[name], dict):
            keys = {*theirs[name], *ours[name]}
            where = ", ".join(sorted(k for k in keys if ours[name].get(k) != theirs[name].get(k)))
        elif isinstance(theirs[name], list):
            pairs = [(a, b) for a, b in zip(ours[name], theirs[name]) if a != b]
            where = f"{len(ours[name])} of {len(theirs[name])}; {str(pairs[:1])[:300]}"
        found.append(f"{name} differ: {where}")
    return found


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob(pattern))
        if file.is_file() and not any(part.startswith(".") for part in file.parts)
    }


def _ledger(var: Path, preset: Path) -> list[dict[str, Any]]:
    """The decisions in order, without what a run draws, and who is champion. What a killed training
    registered is rejected afterwards: that is left out."""
    from configs.load import load
    from registry import ledger
    from registry.champion import champion_now
    from registry.tracking import open_store

    settings = load(str(preset), ["--var", str(var)], {})
    past = ledger.history(open_store(settings), settings)
    found = []
    for entry in past:
        if entry.action == "reject" and not entry.figures:
            continue
        found.append(
            {
                "action": entry.action,
                "from": _role(entry.from_version),
                "to": _role(entry.to_version),
                "by": entry.by,
                "open": entry.open,
                "data": entry.data_sha256,
                "figures": _plain(entry.figures),
                "rules": [(rule["rule"], rule["held"]) for rule in entry.rules],
            }
        )
    now = champion_now(settings)
    return [*found, {"champion": _role(now.version if now else None)}]


def _role(version: int | None) -> str:
    return "none" if version is None else "first" if version == FIRST else "trained"


def _rows(file: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(file, partitioning=None).to_pylist()
    return [{name: _plain(value, name) for name, value in row.items()} for row in rows]


def _content(file: Path) -> Any:
    """A record without its seal, and without the hashes of what it was made from."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for name in ("sealed", "facts", "run_id"):
        content.pop(name, None)
    content.get("inputs", {}).pop("scores", None)
    return _plain(content)


def _plain(value: Any, name: str = "") -> Any:
    """The same without versions, hashes of bundles and measured times."""
    if isinstance(value, dict):
        return {k: _plain(v, k) for k, v in value.items() if not any(d in k for d in DRAWN)}
    if isinstance(value, list | tuple):
        return [_plain(one, name) for one in value]
    if name in ("version", "champion") and isinstance(value, int):
        return _role(value)
    if name == "bundle_sha256":
        return ""
    if isinstance(value, str):
        return re.sub(r"ersion (\d+)", lambda m: f"ersion {_role(int(m[1]))}", value)
    return value
