"""Facts of a training table that is made and checked, which one stage hands to the next, and those
that its Parquet file carries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from common.duck import literal
from features.catalogue import Feature
from features.leak_report import LeakReport


@dataclass(frozen=True)
class TableFacts:
    """Facts of a training table; those about splits are by the name of the split.

    names: of the features, in the order of the columns.  schema: the features.  rows: how many.
    positive_rate: the share of label 1.  as_of: dates (ISO); none in a labelled table.
    log_start: the day of a log's first sale.  leak_check: None until it was done.

    Of a labelled table.  useless: feature -> why the training split does not learn from it. Such a
    column is kept: the model and the service keep the contract of the settings, and a later file
    may fill it.  groups: how many groups a split has rows of; {} where the settings name no group.
    groups_torn: those with rows in several splits, which only a column that says the split can do.
    test_rows_torn: the test rows of these.
    """

    features: int
    names: tuple[str, ...]
    schema: tuple[Feature, ...]
    rows: dict[str, int]
    positive_rate: dict[str, float]
    as_of: dict[str, list[str]]
    log_start: str = ""
    useless: dict[str, str] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    groups_torn: int = 0
    test_rows_torn: int = 0
    leak_check: LeakReport | None = None

    @property
    def described(self) -> list[dict[str, Any]]:
        """The schema as JSON values, for files that describe the features."""
        return self.to_json()["schema"]

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return json.loads(json.dumps(asdict(self)))


def metadata_option(features: Sequence[Feature], source_sha256: str) -> str:
    """The metadata of a training table, as an option of DuckDB's `COPY … (FORMAT parquet, …)`.

    Keys: `features` (JSON: name -> meaning and unit) and `source_sha256`; `PANDAS_ATTRS` has both
    once more, where `pandas.read_parquet(…).attrs` shows them.
    """
    meanings = {one.name: {"meaning": one.meaning, "unit": one.unit} for one in features}
    attributes = {"source_sha256": source_sha256, "features": meanings}
    values = {
        "source_sha256": source_sha256,
        "features": json.dumps(meanings),
        "PANDAS_ATTRS": json.dumps(attributes),
    }
    pairs = ", ".join(f"{name}: {literal(value)}" for name, value in values.items())
    return f"KV_METADATA {{{pairs}}}"


def read_facts(content: Mapping[str, Any]) -> TableFacts:
    """The facts of which `to_json` made the content."""
    values = dict(content)
    checked = values["leak_check"]
    if checked is not None:
        strongest = checked["strongest"] and tuple(checked["strongest"])
        strong = tuple((name, score) for name, score in checked["strong"])
        kept = {"leaks": (), "dates": tuple(checked["dates"])}  # a leak has stopped the run
        checked = LeakReport(**{**checked, **kept, "strongest": strongest, "strong": strong})
    schema = tuple(
        Feature(**{**one, "categories": tuple(one["categories"])}) for one in values["schema"]
    )
    names = tuple(values["names"])
    return TableFacts(**{**values, "names": names, "schema": schema, "leak_check": checked})
