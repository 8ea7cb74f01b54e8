"""A text file whose last line is a comment with the SHA-256 of the lines before it.

For files in other programs' formats, in which a line that begins with # is a comment: they read it
as ever, and a reader of ours notices when it was altered or is half-written.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from configs.records import RecordAltered, write_file

SEAL = "# SHA-256 of the lines above: "


def write_sealed(path: Path, text: str) -> None:
    """Write the lines and their seal: aside, then renamed. text: ends with a line end."""
    write_file(path, f"{text}{SEAL}{_hash(text.encode())}\n")


def read_sealed(path: Path, most_bytes: int) -> str:
    """The lines, without the seal. Raises OSError when there is no file, RecordAltered for one that
    is larger than `most_bytes`, or not as `write_sealed` wrote it."""
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise RecordAltered(f"it is larger than {most_bytes:,} bytes")
    text, seal, digest = content.rpartition(SEAL.encode())
    if not seal or digest.decode("ascii", "replace") != f"{_hash(text)}\n":
        raise RecordAltered("it was altered or is half-written")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise RecordAltered("it is not text") from None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
