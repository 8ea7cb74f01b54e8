"""The settings in words: what there is to set, and what each accepts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from configs.settings import Settings


def options() -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as (dotted name, field), in the order of the model."""
    yield from _leaf_fields(Settings, "")


def default_of(field: FieldInfo) -> str:
    """The default of a setting as it would be written; empty for none."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, dict):
        return "configs/contract.yaml" if value else ""
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else str(value)


def accepted(field: FieldInfo) -> str:
    """The accepted values of a setting, in words: `whole number from 1 to 10000`."""
    names = ("ge", "gt", "le", "min_length")
    limits = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in names
        if getattr(limit, name, None) is not None
    }
    kinds = " or ".join(_in_words(kind) for kind in members(field.annotation))
    low, high = limits.get("ge"), limits.get("le")
    if low is not None and high is not None:
        return f"{kinds} from {low} to {high}"
    words = {"ge": ", at least", "gt": " above", "le": ", at most", "min_length": ", at least"}
    return kinds + "".join(f"{words[name]} {limit}" for name, limit in limits.items())


def members(annotation: Any) -> tuple[Any, ...]:
    """The types that a setting may have: `date | None` has two."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(kind for part in get_args(annotation) for kind in members(part))
    return (annotation,)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    plain = get_origin(kind) or kind
    if plain is dict and get_args(kind)[1] is not str:
        return "rules by name" if get_args(kind)[1].__name__ == "Rule" else "columns by name"
    return {
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        Path: "path",
        date: "date (YYYY-MM-DD)",
        tuple: "list of names",
        dict: "mapping of names to names",
        NoneType: "null",
    }.get(plain, getattr(plain, "__name__", str(plain)))


def _leaf_fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaf_fields(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field
