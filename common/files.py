"""Write files that later commands rely on: whole or absent, whatever ends the process.

A file, or a folder, is written under a temporary name beside its place and then renamed. A *record*
is a JSON object that also carries the SHA-256 of its content, so that an altered one is noticed. A
*sealed text* is the same for a format of another program, in which a line that begins with # is a
comment.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SEAL = "sealed"  # the field of a record with the hash of all the others
LAST_LINE = "# SHA-256 of the lines above: "  # of a sealed text, followed by the hash
# What SQLite keeps beside a database. A journal that a killed process left belongs to its database
# alone: SQLite would write its pages into another one of the same name.
JOURNALS = ("-journal", "-wal", "-shm")


class RecordAltered(ValueError):
    """The content of a file does not have the hash that it carries."""


def write_file(path: Path, text: str) -> None:
    """Write a text as UTF-8, or leave what stood there before."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write the file, or leave what stood there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, for a library or a query that writes the file itself.

    When the block ends, the file takes the place of `target`; when it fails, the file is removed.

    To write several files that are only of use together, enter one context for each and write all
    of them inside.
    """
    temporary = _temporary(target)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `target`. When the block ends, it takes the place of
    `target` and of all that was in it; when it fails, it is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(target: Path) -> Path:
    """A name of this thread's own beside `target`; those of processes that were killed go."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.[0-9]*.[0-9]*"):
        process = left.name.split(".")[-2]
        if process.isdecimal() and not is_running(int(process)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
    return target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")


def is_running(process: int) -> bool:
    """Whether a process of this number is there, whoever owns it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write JSON values as a record."""
    content = json.loads(json.dumps(content))  # tuples become lists: what is read back is sealed
    write_file(path, json.dumps({**content, SEAL: _hash(content)}, indent=2))


def read_record(path: Path) -> dict[str, Any]:
    """The content of a record. Raises OSError when there is none, RecordAltered for any other file
    than one of `write_record`."""
    try:
        content = json.loads(path.read_bytes())
        seal = content.pop(SEAL)
    except (ValueError, RecursionError):
        raise RecordAltered("it is not valid JSON") from None
    except (LookupError, TypeError, AttributeError):
        raise RecordAltered("it carries no hash of its content") from None
    if seal != _hash(content):
        raise RecordAltered("its content does not have the hash that it carries")
    return content


def write_sealed(path: Path, text: str) -> None:
    """Write the text and its seal. text: lines, the last one with its line end."""
    write_file(path, f"{text}{LAST_LINE}{_sha256(text.encode())}\n")


def read_sealed(path: Path, most_bytes: int) -> str:
    """The text without its seal. Raises OSError when there is no file, RecordAltered for one that
    is larger than `most_bytes`, or not as `write_sealed` wrote it."""
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise RecordAltered(f"it is larger than {most_bytes:,} bytes")
    text, seal, digest = content.rpartition(LAST_LINE.encode())
    if not seal or digest.decode("ascii", "replace") != f"{_sha256(text)}\n":
        raise RecordAltered("it was altered or is half-written")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise RecordAltered("it is not text") from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits. Raises OSError when there is none."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_once(
    path: Path, build: Callable[[Path], None], is_whole: Callable[[Path], bool] = Path.exists
) -> None:
    """Make an SQLite file that several processes may want at the same time, unless it is there.

    build: writes it at the temporary path that it is given, and closes it. A process that is
    killed meanwhile leaves nothing at `path`, and the next one starts anew.
    is_whole: whether the file that is there may stay; another one is kept as `.unusable`, as it may
    be somebody's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # released by the system when the process ends
        if path.exists() and is_whole(path):
            return
        prefix = f".{path.name}.new-"
        for left in path.parent.glob(f"{prefix}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        # A folder, as SQLite keeps its journals beside the file.
        with TemporaryDirectory(prefix=prefix, dir=path.parent, ignore_cleanup_errors=True) as new:
            build(Path(new) / path.name)
            for suffix in ("", *JOURNALS):
                with suppress(FileNotFoundError):
                    left = path.with_name(path.name + suffix)
                    left.replace(path.with_name(f"{path.name}.unusable{suffix}"))
            (Path(new) / path.name).rename(path)
    finally:
        os.close(folder)


def _hash(content: dict[str, Any]) -> str:
    return _sha256(json.dumps(content, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
