"""Add what monitoring wrote (`golden_path.prom`) to the service's own `/metrics`.

The file is read at each scrape, by whichever worker answers it: so several workers do not multiply
it. It is checked before it is passed on: bounded in size, sealed, parsed, only gauges of ours that
the service does not have itself. A file that is not like that is left out, and the scrape goes on.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common.files import RecordAltered, read_sealed

log = logging.getLogger("golden_path.serving")
PREFIX = "golden_path_"
MOST_BYTES, MOST_SAMPLES, MOST_LABELS, MOST_TEXT = 500_000, 5_000, 5, 200
STATE = "golden_path_monitoring_file"
STATES = ("passed on", "missing", "refused")


def with_monitoring(own: str, file: Path) -> str:
    """own: the service's metrics in the text format.  Returns them with those of the file, and with
    a gauge that says what became of it."""
    try:
        more = _checked(read_sealed(file, MOST_BYTES), own)
        state = "passed on"
    except FileNotFoundError:
        more, state = "", "missing"
    except Exception as error:  # whatever it holds: the service's own metrics are answered
        ours = isinstance(error, RecordAltered | OSError)
        _warn(f"{file} is not passed on: {error if ours else type(error).__name__}")
        more, state = "", "refused"
    said = [f"# HELP {STATE} 1 for what became of the file of monitoring's metrics"]
    said += [f"# TYPE {STATE} gauge"]
    said += [f'{STATE}{{state="{one}"}} {float(one == state)}' for one in STATES]
    return f"{own.rstrip()}\n{more}" + "\n".join(said) + "\n"


@lru_cache(maxsize=100)
def _warn(text: str) -> None:
    """Once, not at every scrape."""
    log.warning(text)


def _checked(text: str, own: str) -> str:
    """The metrics of the file, written anew from what was read in them. Raises RecordAltered, or
    whatever the parser raises."""
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    ours = set(re.findall(r"^(?:# TYPE )?(\w+)", own, re.MULTILINE)) | {STATE}
    families = list(text_string_to_metric_families(text))
    seen: set[Any] = set()
    for family in families:
        if family.type != "gauge" or not family.name.startswith(PREFIX):
            raise RecordAltered("it holds something else than gauges of this project")
        if family.name in ours:
            raise RecordAltered("it holds a metric of the service's own")
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            long = any(len(part) > MOST_TEXT for pair in labels for part in pair)
            if sample.name != family.name or sample.timestamp is not None or long:
                raise RecordAltered("a sample is not as monitoring writes it")
            if len(labels) > MOST_LABELS or (sample.name, labels) in seen:
                raise RecordAltered("a sample is there twice, or has too many labels")
            seen.add((sample.name, labels))
    if len(seen) > MOST_SAMPLES:
        raise RecordAltered(f"it holds more than {MOST_SAMPLES:,} samples")
    registry: Any = SimpleNamespace(collect=lambda: families)  # all that is asked of one
    return generate_latest(registry).decode()


async def answer(
    behind: Callable[..., Awaitable[None]],
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
    file: Path,
) -> None:
    """Let `behind`, an ASGI application, answer a scrape, and add the file to its answer."""
    start: dict[str, Any] = {}
    body = bytearray()

    async def kept(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body", False):
            return
        told = bytes(body)
        if start["status"] == 200 and told:
            told = (await asyncio.to_thread(with_monitoring, told.decode(), file)).encode()
        headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        headers.append((b"content-length", str(len(told)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": told})

    await behind(scope, receive, kept)
