"""POST an event to a webhook as JSON, or to Alertmanager's API."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from common.errors import UserError
from configs.settings import Alerts
from monitoring.events import Event
from monitoring.receivers import (
    Failure,
    Receiver,
    certificates,
    is_loopback,
    late,
    reason_of,
    title_of,
    variable,
)

WEBHOOK = "webhook"
ALERTS_PATH = "/api/v2/alerts"
# Alertmanager ends an alert that is not sent again, unless its end is given.
OPEN_FOR = timedelta(days=3650)


def webhook(alerts: Alerts, environ: Mapping[str, str], dataset: str) -> list[Receiver]:
    """Make the receiver that `alerts.webhook` names. Raises UserError where the environment lacks
    what it needs, or a token would travel unencrypted."""
    named, kind = alerts.webhook_variable, alerts.webhook
    url = variable(environ, named, f"alerts.webhook {kind}")
    host = _host(url, named)
    token = environ.get(alerts.webhook_token_variable, "").strip()
    if token and not (token.isascii() and token.isprintable()):
        raise UserError(
            f"{alerts.webhook_token_variable} holds characters that a token cannot have",
            where="alerts.webhook_token_variable",
            next_step="set it to the token alone, on one line",
        )
    if token and urlsplit(url).scheme == "http" and not is_loopback(host):
        raise UserError(
            f"the token of {alerts.webhook_token_variable} would go to {host} unencrypted",
            where=f"alerts.webhook_variable ({named})",
            next_step="use an https:// URL, or unset the token",
        )
    if kind == "alertmanager" and not urlsplit(url).path.endswith(ALERTS_PATH):
        url = url.rstrip("/") + ALERTS_PATH
    content = _for_alertmanager if kind == "alertmanager" else _as_json
    headers = {"Content-Type": "application/json", "User-Agent": "golden-path"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    context = certificates(environ)

    def send(event: Event, before: Sequence[Event]) -> Failure | None:
        body = json.dumps(content(event, before, dataset), ensure_ascii=False).encode()
        request = headers | {"Idempotency-Key": event.id}
        proxy = not is_loopback(host)
        return _post(url, request, body, context, alerts.seconds, proxy=proxy)

    return [Receiver(WEBHOOK, host, send)]


def _post(
    url: str,
    headers: dict[str, str],
    body: bytes,
    context: ssl.SSLContext,
    seconds: float,
    *,
    proxy: bool,
) -> Failure | None:
    """POST the body; the body of the response is not read. seconds: for everything together."""
    import httpx

    for name in ("httpx", "httpcore"):  # they would write the URL into the log of the run
        logging.getLogger(name).setLevel(logging.WARNING)

    async def status_code() -> int:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(
                verify=context, trust_env=proxy, timeout=seconds, follow_redirects=False
            ) as client,
            client.stream("POST", url, headers=headers, content=body) as response,
        ):
            return response.status_code

    try:
        with ThreadPoolExecutor(1) as pool:  # the caller's thread may have an event loop
            status = pool.submit(asyncio.run, status_code()).result()
    except (TimeoutError, httpx.TimeoutException):
        return late(seconds)
    except httpx.RemoteProtocolError:
        return Failure("its answer is not HTTP, or it closed the connection without one", down=True)
    except Exception as error:  # whatever it is, the other receivers get the event
        return Failure(reason_of(error), down=True)
    if 200 <= status < 300:
        return None
    phrase = next((f" {one.phrase}" for one in HTTPStatus if one == status), "")
    note = ", and redirects are not followed" if 300 <= status < 400 else ""
    return Failure(f"it answered {status}{phrase}{note}", down=False)


def _as_json(event: Event, before: Sequence[Event], dataset: str) -> dict[str, Any]:
    title = title_of(event, dataset)
    return {"source": "golden-path", "dataset": dataset, "title": title, **asdict(event)}


def _for_alertmanager(event: Event, before: Sequence[Event], dataset: str) -> list[dict[str, Any]]:
    """Write the alerts of Alertmanager. Labels identify an alert, so its end has those of its
    beginning. Without an end, Alertmanager would end it after its resolve_timeout."""

    def alert(began: Event, ends: datetime) -> dict[str, Any]:
        return {
            "labels": {
                "alertname": "GoldenPath",
                "dataset": dataset,
                "sensor": event.sensor,
                "first_month": event.first_month,
                "severity": began.severity,
            },
            "annotations": {
                "summary": title_of(event, dataset),
                "description": event.text,
                "action": event.action,
                "verdict": event.verdict,
                "event": event.id,
            },
            "startsAt": began.time,
            "endsAt": ends.isoformat(),
        }

    firing = [one for one in (*before, event) if one.state == "firing"]
    began = firing[-1] if firing else event
    start, now = datetime.fromisoformat(began.time), datetime.fromisoformat(event.time)
    ends = start + OPEN_FOR if event.state == "firing" else max(start, now)
    # One that was a ticket and is a page has other labels: the ticket is over.
    others = {one.severity: one for one in firing if one.severity != began.severity}
    over = [alert(one, max(now, datetime.fromisoformat(one.time))) for one in others.values()]
    return [*over, alert(began, ends)]


def _host(url: str, named: str) -> str:
    """Read the host of the URL. Raises UserError, whose text does not contain the URL."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UserError(
            f"{named} does not hold the URL of a webhook (it is not shown: it may be a secret)",
            where="alerts.webhook_variable",
            next_step="set it to a whole URL that begins with https:// or http://",
        )
    return host
