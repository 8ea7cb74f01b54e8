"""What every section of the settings is, and the kinds of value that they share."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


def _plain_path(value: object) -> object:
    if isinstance(value, str | Path) and str(value).strip() == "":
        raise ValueError("a path must not be empty")
    if "\0" in str(value):
        raise ValueError("a path cannot hold a zero byte")
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111


def _no_query(value: object) -> object:
    if "?" in str(value):
        raise ValueError("the path of this folder must not hold a ?: it is part of database URLs")
    return value


def _several(value: object) -> object:
    """One path or a list of them; text may be a pattern."""
    if value is None:
        return ()
    values = [str(value)] if isinstance(value, str | Path) else value
    if isinstance(values, list | tuple) and any(str(part).strip() == "" for part in values):
        raise ValueError("a path must not be empty")
    if isinstance(values, list | tuple):
        return [os.path.expanduser(v) if isinstance(v, str) else v for v in values]  # noqa: PTH111
    return values


def _listed(value: object) -> object:
    """`a,b` is the list [a, b]; a name with a comma in it stands in quotes, as in a CSV file."""
    if not isinstance(value, str):
        return value
    try:
        return next(csv.reader([value], skipinitialspace=True), [])
    except csv.Error as error:
        raise ValueError(f"not a list of names, as in a,b: {error}") from None


FilePath = Annotated[Path, Field(strict=False), BeforeValidator(_plain_path)]
VarFolder = Annotated[FilePath, BeforeValidator(_no_query)]
FilePaths = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_several)]
Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1), BeforeValidator(_listed)]
Words = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_listed)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
