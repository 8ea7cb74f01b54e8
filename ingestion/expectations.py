"""The one place that talks to Great Expectations: checks in, findings out.

A check is a dict with `type`, the arguments of that expectation, and `meta.code`; see
`ingestion/contract.py`. `validate` runs a suite of them on a batch in a context that is ephemeral:
nothing is written, nothing is sent. `write_project` keeps the same suites, each with its
checkpoint, as a project of the library's own kind:

    context = great_expectations.get_context(mode="file", project_root_dir=…)
    context.checkpoints.get("NAME-table").run(batch_parameters={"dataframe": frame})
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import RecordAltered, read_record, write_record
from ingestion.facts import Finding

if TYPE_CHECKING:
    import pandas as pd


Check = dict[str, Any]


def validate(frame: pd.DataFrame, checks: Sequence[Check]) -> list[Finding]:
    """Every check on the frame, in order. A check that cannot be computed counts as failed."""
    frames = _frames(_context(mode="ephemeral"), "contract")
    batch = frames.get_batch(batch_parameters={"dataframe": frame})
    with warnings.catch_warnings():  # pandas and NumPy deprecations inside the library
        warnings.simplefilter("ignore")
        outcome = batch.validate(_suite("contract", checks), result_format="BASIC")
    by_code = {result.expectation_config.meta["code"]: result for result in outcome.results}
    first = _first_codes(checks)
    return [_finding(check, by_code[first[_question(check)]]) for check in checks]


def write_project(folder: Path, name: str, suites: Mapping[str, Sequence[Check]]) -> None:
    """Keep the suites in the Great Expectations project in `folder`, each as `NAME-SUITE` with a
    validation definition and a checkpoint of that name. What else is in the project stays.

    Suites that are there as they are now are not written again.
    """
    note = folder / f"{name}.json"
    content = {"great_expectations": version("great_expectations"), "suites": dict(suites)}
    if _is_written(note, content):
        return
    import great_expectations as gx
    from great_expectations.exceptions import DataContextError

    folder.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    context = _context(mode="file", project_root_dir=folder)
    context.enable_analytics(False)  # nor for whoever opens it
    for suite_name, checks in suites.items():
        full = f"{name}-{suite_name}"
        # Deleted and added: an update compares each expectation with each other, several times.
        for kept in (context.checkpoints, context.validation_definitions, context.suites):
            with suppress(DataContextError):  # it is not there
                kept.delete(full)
        suite = context.suites.add(_suite(full, checks))
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=full, data=_frames(context, full), suite=suite)
        )
        context.checkpoints.add(gx.Checkpoint(name=full, validation_definitions=[definition]))
    write_record(note, content)


def _is_written(note: Path, content: dict[str, Any]) -> bool:
    try:
        return read_record(note) == json.loads(json.dumps(content, default=str))
    except (OSError, RecordAltered):
        return False


def _context(**where: Any) -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read while the library is imported
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(**where)
    context.variables.progress_bars = {"globally": False}
    return context


def _suite(name: str, checks: Sequence[Check]) -> Any:
    import great_expectations as gx
    from great_expectations import expectations

    first = _first_codes(checks)
    chosen = [
        getattr(expectations, check["type"])(**{k: v for k, v in check.items() if k != "type"})
        for check in checks
        if first[_question(check)] == check["meta"]["code"]
    ]
    return gx.ExpectationSuite(name=name, expectations=chosen)


def _frames(context: Any, name: str) -> Any:
    """The batch definition of any data frame, in a data source of that name."""
    frames = context.data_sources.add_or_update_pandas(name).add_dataframe_asset("frames")
    return frames.add_batch_definition_whole_dataframe("frame")


def _first_codes(checks: Sequence[Check]) -> dict[str, str]:
    """What is checked -> the first rule that checks it. Two rules may check the same, with other
    consequences: a suite would merge them."""
    first: dict[str, str] = {}
    for check in checks:
        first.setdefault(_question(check), check["meta"]["code"])
    return first


def _question(check: Check) -> str:
    """Return what a check tests, without its name and severity."""
    question = {key: value for key, value in check.items() if key not in ("meta", "severity")}
    return json.dumps(question, sort_keys=True, default=str)


def _finding(check: Check, result: Any) -> Finding:
    observed = result.result.get("unexpected_count", result.result.get("observed_value"))
    return Finding(
        code=check["meta"]["code"],
        check=check["type"],
        severity=check["severity"],
        success=bool(result.success),
        found=observed.item() if hasattr(observed, "item") else observed,
        low=check.get("min_value"),
        high=check.get("max_value"),
        why=check["meta"]["why"],
        column=check.get("column") or "",
    )
