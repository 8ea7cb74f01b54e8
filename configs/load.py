"""Fill the settings: default.yaml, then <name>.yaml, then the environment, then the command line.

    GOLDEN_PATH_TUNING__TRIALS=10 python -m flows.train --config online_retail --seed 11

Every value remembers its place, so that a refused one is named with where it was written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from configs.errors import UserError
from configs.settings import Settings

FOLDER = Path(__file__).parent
PREFIX = "GOLDEN_PATH_"


def presets() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(
    config: str = "default", arguments: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Settings:
    """The settings of preset `config` with overrides; raises UserError for anything refused.

    arguments: `--tuning.trials 10` or `--tuning.trials=10`, as they stand on the command line.
    """
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    for place, values in _layers(config, arguments, os.environ if env is None else env):
        for path, value in values.items():
            _put(merged, path, value)
            places[path] = place(path)
    merged["name"] = config
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise _refusal(error, places) from None


def options() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as (dotted name, field), in the order of the model."""
    yield from _walk(Settings, "")


def dump(settings: Settings) -> str:
    """The settings as YAML that `load` would read back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


# --- the layers -------------------------------------------------------------------------------


def _layers(
    config: str, arguments: Sequence[str], env: Mapping[str, str]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    for name in dict.fromkeys(["default", config]):
        file = FOLDER / f"{name}.yaml"
        if name not in presets():
            raise UserError(
                f"no preset is called {name!r}",
                where="--config",
                next_step=f"choose one of {', '.join(presets())}, or write configs/{name}.yaml",
            )
        yield (lambda _, file=file: f"configs/{file.name}"), _flatten(_read(file))
    yield (lambda path: PREFIX + path.upper().replace(".", "__")), _from_environment(env)
    yield (lambda path: f"--{path}"), _from_arguments(arguments)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"this preset is no valid YAML: {' '.join(str(error).split())}",
            where=str(file),
            next_step="mend the line named",
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            "a preset is a mapping of settings",
            where=str(file),
            next_step="write `key: value` lines",
        )
    return content


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    return {
        key[len(PREFIX) :].lower().replace("__", "."): _value(text)
        for key, text in env.items()
        if key.startswith(PREFIX)
    }


def _from_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise UserError(
                f"{word!r} is no option",
                where="command line",
                next_step="write overrides as --section.key value",
            )
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(
                    f"--{name} has no value",
                    where="command line",
                    next_step=f"write --{name} VALUE",
                )
            text = rest.pop(0)
        values[name.replace("-", "_")] = _value(text)
    return values


def _value(text: str) -> Any:
    """`10` is a number, `a, b` stays text: the rules of YAML, so that a file and a flag agree."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


# --- nested and dotted ------------------------------------------------------------------------


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        # A mapping that is itself a value (source.columns) replaces the one below it as a whole.
        if isinstance(value, dict) and path != "source.columns":
            flat |= _flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if not isinstance(below, dict):
            tree[parent] = below = {}
        tree = below
    tree[leaf] = value


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


# --- refusals ---------------------------------------------------------------------------------


def accepted(field: FieldInfo) -> str:
    """The accepted values of a setting, in words: `int, at least 1, at most 10000`."""
    kind = getattr(field.annotation, "__name__", None) or str(field.annotation).replace(
        "typing.", ""
    )
    kind = {"FilePath": "path", "Path": "path"}.get(
        kind, kind.replace("pathlib.", "").replace("datetime.", "")
    )
    if isinstance(field.annotation, type) and field.annotation is date:
        kind = "date (YYYY-MM-DD)"
    words = {
        "ge": "at least",
        "gt": "above",
        "le": "at most",
        "lt": "below",
        "min_length": "length at least",
    }
    limits = [
        f"{text} {getattr(limit, name)}"
        for limit in field.metadata
        for name, text in words.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([kind, *limits])


def _refusal(error: ValidationError, places: Mapping[str, str]) -> UserError:
    known = dict(options())
    first, *others = error.errors()
    path = ".".join(str(part) for part in first["loc"]) or "source.path"
    while path not in known and "." in path and path.rpartition(".")[0] in known:
        path = path.rpartition(".")[0]  # an item of a list: name the setting
    place = next((places[p] for p in places if p == path or p.startswith(path + ".")), "defaults")
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        near = get_close_matches(path, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "`--print-config` shows every setting"
        return UserError(f"unknown setting {path!r}{more}", where=place, next_step=hint)
    if first["type"] == "value_error":
        return UserError(
            str(first["ctx"]["error"]) + more, where=place, next_step="set --source.path FILE"
        )
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
