"""The one place that talks to Great Expectations: checks in, findings out.

A check is a dict with `type`, the arguments of that expectation, and `meta.code`; see
`ingestion/contract.py`. The context is ephemeral: nothing is written, nothing is sent.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finding:
    """What one check found. `found` is the observed figure, or the number of rows that fail.

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


def validate(frame: pd.DataFrame, checks: list[dict[str, Any]]) -> list[Finding]:
    """Every check on the frame, in order. A check that cannot be computed counts as failed."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read while the library is imported
    import great_expectations as gx
    from great_expectations import expectations

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("batch")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="contract")
    # Two rules may check the same, with other consequences: the suite would merge them.
    first: dict[str, str] = {}
    for check in checks:
        code = first.setdefault(_question(check), check["meta"]["code"])
        if code == check["meta"]["code"]:
            arguments = {key: value for key, value in check.items() if key != "type"}
            suite.add_expectation(getattr(expectations, check["type"])(**arguments))
    with warnings.catch_warnings():  # pandas and NumPy deprecations inside the library
        warnings.simplefilter("ignore")
        outcome = batch.validate(suite, result_format="BASIC")
    results: list[Any] = outcome.results
    by_code = {result.expectation_config.meta["code"]: result for result in results}
    return [_finding(check, by_code[first[_question(check)]]) for check in checks]


def _question(check: dict[str, Any]) -> str:
    """What is checked, whoever asks."""
    asked = {key: value for key, value in check.items() if key not in ("meta", "severity")}
    return json.dumps(asked, sort_keys=True, default=str)


def _finding(check: dict[str, Any], result: Any) -> Finding:
    found = result.result.get("unexpected_count", result.result.get("observed_value"))
    return Finding(
        code=check["meta"]["code"],
        check=check["type"],
        severity=check["severity"],
        success=bool(result.success),
        found=found.item() if hasattr(found, "item") else found,
        low=check.get("min_value"),
        high=check.get("max_value"),
        why=check["meta"]["why"],
        column=check.get("column") or "",
    )


def _plain(limit: Any) -> str:
    """A limit as it was written: 5000, not 5000.0."""
    whole = isinstance(limit, float) and limit.is_integer() and abs(limit) < 1e15
    return str(int(limit) if whole else limit)
