"""Append-only files of JSON lines, each sealed with the SHA-256 of its content.

A line that was altered, or that a killed process left half-written, is named in the log, moved to
`<name>.damaged` and never used. A line is on the disk when `append` returns.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from common.files import SEAL, write_file

log = logging.getLogger("golden_path")


def append(path: Path, content: dict[str, Any]) -> None:
    """Add a line. Raises OSError when it cannot be written; the file is then as it was before."""
    content = json.loads(json.dumps(content))  # as it is read back: tuples become lists
    line = json.dumps({**content, SEAL: _hash(content)}, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(file).st_size
        try:
            waiting = line.encode()
            while waiting:  # a write may be cut short, by a full disk for instance
                waiting = waiting[os.write(file, waiting) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def read(path: Path) -> list[dict[str, Any]]:
    """The sound lines of the file, in order; [] when there is none. Changes nothing."""
    return [content for content, _ in _parsed(path) if content is not None]


def read_repaired(path: Path) -> list[dict[str, Any]]:
    """The same; damaged lines are named in the log and moved to `<name>.damaged`. The caller holds
    the lock of the file."""
    parsed = _parsed(path)
    damaged = [
        (number, raw) for number, (content, raw) in enumerate(parsed, start=1) if content is None
    ]
    whole = not parsed or path.read_bytes().endswith(b"\n")
    if damaged:
        kept = path.with_name(path.name + ".damaged")
        with kept.open("ab") as file:
            file.writelines(raw + b"\n" for _, raw in damaged)
            file.flush()
            os.fsync(file.fileno())
        for number, _ in damaged:
            log.warning(
                "%s, line %d was altered or is half-written: it is not used, and kept in %s",
                *(path, number, kept.name),
            )
    if damaged or not whole:
        sound = [raw.decode() + "\n" for content, raw in parsed if content is not None]
        write_file(path, "".join(sound))
    return [content for content, _ in parsed if content is not None]


def _parsed(path: Path) -> list[tuple[dict[str, Any] | None, bytes]]:
    """Each line's content, None where it is damaged, and its bytes."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [(_content(raw), raw) for raw in lines if raw]


def _content(raw: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(raw)
        seal = content.pop(SEAL)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return content if seal == _hash(content) else None


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
