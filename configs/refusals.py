"""A setting that is refused: its name, its place, and what would be accepted."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import ValidationError

from configs.describe import accepted, options
from configs.errors import UserError

# A mapping that is itself a value: a layer replaces the one below it as a whole.
COLUMNS = "source.columns"


def refuse_unknown(path: str, place: str) -> None:
    known = dict(options())
    # A section given one value, or a value given a section, is known: the model names the fault.
    if (
        path in known
        or path.startswith(f"{COLUMNS}.")
        or any(k.startswith(f"{path}.") for k in known)
    ):
        return
    near = get_close_matches(path, known, n=1, cutoff=0.5)
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
    place = places.get(item) or places.get(path, "defaults")
    more = f" (and {len(others)} more)" if others else ""
    wanted = (
        f"accepted: {accepted(known[path])}"
        if path in known
        else "a section of settings: write `key: value` lines below it"
    )
    return UserError(
        f"setting {path!r} is {first['input']!r}: {first['msg']}{more}",
        where=place,
        next_step=wanted,
    )
