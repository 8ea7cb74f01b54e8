"""A setting that is refused: its name, its place, and what would be accepted."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import NoneType

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from common.errors import UserError
from configs.describe import accepted, options
from configs.rules import Rule
from configs.table import Column
from configs.url import may_hold_password

# A mapping that is itself a value: a layer replaces the one below it as a whole.
COLUMNS = "source.columns"
TABLE_COLUMNS = "source.table.columns"  # its keys may hold dots
URLS = ("source.database.url", "tuning.storage", "prefect.api_url")
# A mapping of sections: a layer changes the fields it names.
RULES = "contract.rules"


def rule_field(path: str) -> FieldInfo | None:
    """The field of a rule: of `contract.rules.impossible_price.high`, the one of `high`."""
    parent, _, name = path.rpartition(".")
    if parent.rpartition(".")[0] != RULES:
        return None
    return Rule.model_fields.get(name)


def refuse_unknown(path: str, place: str) -> None:
    known = dict(options())
    # A section given one value, or a value given a section, is known: the model names the fault.
    if (
        path in known
        or path.startswith(f"{COLUMNS}.")
        or rule_field(path) is not None
        or any(k.startswith(f"{path}.") for k in known)
    ):
        return
    if path.startswith(f"{RULES}."):
        raise UserError(
            f"unknown setting {path!r}",
            where=place,
            next_step=f"a rule is set as {RULES}.NAME.FIELD; its fields are"
            f" {', '.join(Rule.model_fields)}",
        )
    if path.startswith(f"{TABLE_COLUMNS}."):
        raise UserError(
            f"{path!r} cannot be set by itself",
            where=place,
            next_step=f"change the column in the preset, below {TABLE_COLUMNS}",
        )
    near = get_close_matches(path, set(known) - {"name", "file"}, n=1, cutoff=0.5)
    raise UserError(
        f"unknown setting {path!r}",
        where=place,
        next_step=f"did you mean {near[0]}?" if near else "`--print-config` shows every setting",
    )


def refusal(error: ValidationError, places: Mapping[str, str]) -> UserError:
    known = dict(options())
    first, *others = error.errors()
    item = path = ".".join(str(part) for part in first["loc"])
    while path not in known and path.rpartition(".")[0] in known:
        path = path.rpartition(".")[0]  # an item of a list or mapping: name the setting
    within = [at for name, at in places.items() if name.startswith(f"{path}.")]  # of a section
    place = places.get(item) or places.get(path) or (within[-1] if within else "defaults")
    more = f" (and {len(others)} more)" if others else ""
    if item.startswith(f"{RULES}."):
        path = item
        rule = ".".join(item.split(".")[:3])  # set in one layer, broken in another: the last one
        placed = [at for name, at in places.items() if name.startswith(f"{rule}.")]
        place = places.get(item) or (placed[-1] if placed else place)
    field = known.get(path) or rule_field(path)
    if item.startswith(f"{TABLE_COLUMNS}."):
        path, field, place = item, None, places.get(TABLE_COLUMNS, "defaults")
        step = f"a column of the table has {', '.join(Column.model_fields)}; see make adopt"
    elif path.startswith(RULES) and rule_field(path) is None:  # a rule as a whole
        path = item
        step = "correct the rule; docs/contract.md shows every rule"
        place = next(
            (at for name, at in reversed(list(places.items())) if name.startswith(item)), place
        )
    elif field is not None:
        step = f"accepted: {accepted(field)}"
    else:
        step = "a section of settings: write `key: value` lines below it"
    return UserError(
        f"setting {path!r} is {_shown(path, first['input'])}: {first['msg']}{more}",
        where=place,
        next_step=step,
    )


def _shown(path: str, value: object) -> str:
    text = repr(value)
    of_url = any(f"{name}.".startswith(f"{path}.") for name in URLS)
    if may_hold_password(text) or (of_url and not isinstance(value, int | float | NoneType)):
        return "a value that is not shown, because it may hold a password"
    return text if len(text) <= 200 else f"{text[:200]}…"
