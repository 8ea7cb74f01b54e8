"""Whether the process of a run still exists: it holds a lock on a file of its own while it does.

Process numbers are not enough: one is used again by another process, and means another process in
another container. The system releases a lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

_held: list[IO[str]] = []  # open until the process ends


def make_process_file(file: Path) -> None:
    """Write a file that names this host and process, and hold its lock until the process ends. The
    file stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Locked before it has its name: nobody sees it without its lock.
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    content = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    opened = temporary.open("w", encoding="utf-8")
    _held.append(opened)
    fcntl.flock(opened, fcntl.LOCK_EX)
    json.dump(content, opened)
    opened.flush()
    temporary.replace(file)


def is_gone(file: Path) -> bool:
    """Whether the process that made the file has ended. Raises OSError when there is no file."""
    with file.open(encoding="utf-8") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may look too
        except BlockingIOError:
            return False
        return True


def host_of(file: Path) -> str:
    """The host of the process that made the file; "" where the file does not say."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        return str(content["host"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
