"""What a validation found, as plain values: they travel between stages and are written as JSON.

Nothing here imports DuckDB: Prefect keeps what a task returns until the process ends, and a value
that leads to one of DuckDB's modules makes it complain at exit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """The result of one check. `found` is the observed figure, or the number of rows that fail.

    severity: `critical` or `warning`, or the severity of the contract's rule that is checked.
    """

    code: str
    check: str
    severity: str
    success: bool
    found: Any
    low: Any
    high: Any
    why: str
    column: str = ""
    rule: str = ""  # in words

    @property
    def limit(self) -> str:
        if self.low is None and self.high is None:
            return ""
        low, high = _plain(self.low), _plain(self.high)
        if self.high is None:
            return f"at least {low}"
        return f"at most {high}" if self.low is None else f"{low} to {high}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "limit": self.limit}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Finding:
        """Read what `to_dict` returned."""
        return cls(**{name: value for name, value in content.items() if name != "limit"})


@dataclass(frozen=True)
class RowCounts:
    raw: int
    valid: int
    quarantined: int
    reasons: dict[str, int]  # rows per reason; a row may have several
    warned: dict[str, int]  # rows per rule of severity warn


@dataclass(frozen=True)
class Heavy:
    """A row rule that keeps out more of the rows than `warn_share` allows. text: the rule, the
    share and the values found, for people; setting: where it is set; hold: above `hold_share` too.
    """

    code: str
    rows: int
    text: str
    setting: str
    hold: bool


@dataclass(frozen=True)
class ValidationResult:
    """rows and findings of the contract, how many rows were audited, what the batch measures
    (`ingestion/judge.py`), and the rules that keep out a large share, the largest first."""

    rows: RowCounts
    findings: list[Finding]
    audited: int
    measures: dict[str, float | None]
    level: dict[str, Any]
    heavy: list[Heavy] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "findings": [finding.to_dict() for finding in self.findings]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ValidationResult:
        """Read what `to_dict` returned; further keys are left out."""
        return cls(
            rows=RowCounts(**content["rows"]),
            findings=[Finding.from_dict(finding) for finding in content["findings"]],
            audited=content["audited"],
            measures=content["measures"],
            level=content["level"],
            heavy=[Heavy(**heavy) for heavy in content["heavy"]],
        )

    @property
    def unseen(self) -> dict[str, dict[str, Any]]:
        """The values of a labelled table that are not among its categories, by column."""
        return self.level.get("unseen", {})


def _plain(limit: Any) -> str:
    """A limit as it was written: 5000, not 5000.0."""
    whole = isinstance(limit, float) and limit.is_integer() and abs(limit) < 1e15
    return str(int(limit) if whole else limit)
