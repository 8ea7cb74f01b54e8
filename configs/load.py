"""Fill the settings: contract.yaml, the preset, the environment, the command line.

    GOLDEN_PATH_TUNING__TRIALS=10 python -m flows.commands.train --config online_retail --seed 11

A preset is the name of a file in configs/, or the path of one elsewhere (`my/shop.yaml`).

Every value remembers its place, so that a refused one is named with where it was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, get_origin

import yaml
from pydantic import ValidationError

from common.errors import UserError
from configs.describe import members, options
from configs.refusals import COLUMNS, RULES, TABLE_COLUMNS, refusal, refuse_unknown, rule_field
from configs.rules import CONTRACT
from configs.settings import Settings
from configs.yaml_text import MOST_BYTES, Writer, explained, read_yaml

FOLDER = Path(__file__).parent
PREFIX = "GOLDEN_PATH_"
NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")  # MLflow takes 256 characters, with what we add
KIND = "source.kind"
COSTS = ("training.contact_cost", "training.sale_value")


def presets() -> list[str]:
    """Names of the presets. A name also names a model in the registry, so it is a plain word."""
    files = sorted(FOLDER.glob("*.yaml"))
    return [file.stem for file in files if file != CONTRACT and NAME.fullmatch(file.stem)]


def load(
    config: str = "default", arguments: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Settings:
    """The settings of preset `config` (a name in configs/, or the path of a YAML file) with
    overrides; raises UserError for anything refused.

    arguments: `--tuning.trials 10` or `--tuning.trials=10`, as they stand on the command line.
    """
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    contract, preset, *overrides = _layers(config, arguments, os.environ if env is None else env)
    foreign = _of_another_source(preset, overrides)
    own = {path: value for path, value in preset[1].items() if path not in foreign}
    for place, values in (contract, (preset[0], own), *overrides):
        for path, value in values.items():
            refuse_unknown(path, place(path))
            if value == {} and path not in (COLUMNS, TABLE_COLUMNS):
                continue  # a section with nothing in it
            _put(merged, path, value)
            places.pop(path, None)  # so that the latest layer stands last
            places[path] = place(path)
    merged["name"] = Path(config).stem
    merged["file"] = None if config in presets() else config
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise refusal(error, places) from None
    if settings.source.kind not in ("files", "table") and settings.source.path:
        raise UserError(
            f"source.path is {', '.join(settings.source.path)!r},"
            f" but source.kind is {settings.source.kind}",
            where=places.get("source.path", "defaults"),
            next_step="write a preset of your own that reads it (docs/adopt-your-data.md; for a row"
            " per example: make adopt), or add --source.kind files",
        )
    return settings


def not_used(config: str, arguments: Sequence[str] = ()) -> list[str]:
    """The limits and costs of the preset that `load` leaves out: they are those of its own shop,
    and the command line or the environment says another kind of source."""
    _, preset, *overrides = _layers(config, arguments, os.environ)
    foreign = _of_another_source(preset, overrides)
    return list(dict.fromkeys(".".join(path.split(".")[:3]) for path in foreign))


def dump(settings: Settings) -> str:
    """The settings as YAML that `load` would read back."""
    return yaml.dump(_plain(settings.model_dump()), Dumper=Writer, sort_keys=False)


# --- the layers -------------------------------------------------------------------------------

Layer = tuple[Callable[[str], str], dict[str, Any]]


def _layers(config: str, arguments: Sequence[str], env: Mapping[str, str]) -> Iterator[Layer]:
    """Each layer as (place of a setting, values by dotted name), the weakest first."""
    for file in (CONTRACT, _preset(config)):
        place = f"configs/{file.name}" if file.parent == FOLDER else str(file)
        yield partial(_same, place), _flatten(_read(file))
    yield (lambda path: PREFIX + path.upper().replace(".", "__")), _from_environment(env)
    yield (lambda path: f"--{path}"), _from_arguments(arguments)


def _of_another_source(preset: Layer, overrides: Sequence[Layer]) -> list[str]:
    values = preset[1]
    own = values.get(KIND, Settings().source.kind)
    if own == next((layer[KIND] for _, layer in reversed(overrides) if KIND in layer), own):
        return []
    return [path for path in values if path in COSTS or path.startswith(f"{RULES}.")]


def _same(place: str, _: str) -> str:
    return place


def _preset(config: str) -> Path:
    if config in presets():
        return FOLDER / f"{config}.yaml"
    file = Path(config).expanduser()
    if file.suffix in (".yaml", ".yml") and file.is_file():
        if NAME.fullmatch(file.stem) and file.stem not in presets():
            return file
        raise UserError(
            f"a preset cannot be called {file.stem!r}: its name also names a model and a data set",
            where=f"--config {config}",
            next_step="give the file a name of letters, digits, - and _ (at most 100) that no other"
            " preset has",
        )
    raise UserError(
        f"no preset is called {config!r}",
        where="--config",
        next_step=f"choose one of {', '.join(presets())}, or write configs/my_preset.yaml",
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            content = read_yaml(opened.read(MOST_BYTES + 1)) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(
            f"this preset is not valid YAML for settings: {explained(error)}",
            where=str(file),
            next_step="correct that line",
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            "a preset is a mapping of settings",
            where=str(file),
            next_step="write `key: value` lines",
        )
    return content


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, text in env.items():
        if key.startswith(PREFIX):
            path = key[len(PREFIX) :].lower().replace("__", ".")
            values |= _override(path, text, place=key)
    return values


def _from_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise UserError(
                f"{word!r} is not an option",
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
        values |= _override(name.replace("-", "_"), text, place=f"--{name}")
    return values


def _override(path: str, text: str, *, place: str) -> dict[str, Any]:
    """What one variable or flag sets. `10` is a number by the rules of YAML, as in a file; but a
    setting that holds text takes the text as it stands: the country NO is not `false`."""
    if path in ("name", "file"):
        raise UserError(
            f"the {path} {text!r} cannot be set: it is the {path} of the preset",
            where=place,
            next_step=f"choose a preset with --config: {', '.join(presets())}",
        )
    try:
        value = read_yaml(text)
    except (yaml.YAMLError, ValueError):
        value = text
    field = dict(options()).get(path) or rule_field(path)
    kinds = members(field.annotation) if field else (str,) * path.startswith(f"{COLUMNS}.")
    if {str, Path} & set(kinds) and not (value is None and text and NoneType in kinds):
        value = text
    if (
        any(get_origin(kind) is tuple for kind in kinds)
        and path != "source.path"
        and text[:1] != "["
    ):
        value = text  # `a,b`, or one name: the country NO again
    if path == "source.path" and not isinstance(value, list | NoneType):
        value = text  # one path, as it stands
    return _flatten({path: value})


# --- nested and dotted ------------------------------------------------------------------------


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value and path not in (COLUMNS, TABLE_COLUMNS):
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


def _plain(value: Any) -> Any:
    """Only what YAML has a form for; a date stays a date, because text is refused for one."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
