"""The service's own ASGI application: it stands before BentoML's, and answers all routes itself.

BentoML starts the workers, configures, packs and measures them; but its middleware for tracing,
access logs, timeouts and metrics, and its typing of requests, cost six times what the model does
(docs/speed.md has the figures). So a request is read here: bytes in, bytes out, one pass. What is
left for BentoML's application are `/metrics` and the files of its Swagger UI.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import parse_qsl

from serving import metrics, monitored
from serving.asked import Asked, Scored
from serving.champions import Champions
from serving.refusal import Problem, Refused, invalid, parameter, shown
from serving.stop import Stop
from serving.web.access import Access
from serving.web.body import CLOSE, Receive, largest, read_body
from serving.web.routes import ROUTES, Route
from serving.web.work import Work

log = logging.getLogger("golden_path.serving")
Scope = Mapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
INLINE_BYTES = 150_000  # a larger request is read and answered off the event loop
JSON = b"application/json"
DECIDE = (
    *(b"host", b"origin", b"authorization"),
    *(b"content-type", b"content-encoding", b"content-length"),
)


class Front:
    """behind: BentoML's application.  metrics_file: what monitoring wrote, added to its metrics."""

    def __init__(
        self,
        behind: Any,
        champions: Champions,
        access: Access,
        work: Work,
        metrics_file: Path | None = None,
    ) -> None:
        self.behind, self.champions, self.access, self.work = behind, champions, access, work
        self.metrics_file = metrics_file
        self.scores = metrics.Scores()
        self.answered = {route.name: metrics.Answered(route.name) for route in ROUTES.values()}
        self.answered["other"] = metrics.Answered("other")
        self.on_scored: list[Callable[[Scored], None]] = [self.scores.count]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.behind(scope, receive, send)
            return
        began = perf_counter()
        route = ROUTES.get(scope["path"])
        status, kind = 200, JSON
        extra: tuple[tuple[bytes, bytes], ...] = ()
        try:
            if route is None:
                what, path = "there is no such path; / says what there is", shown(scope["path"])
                raise Refused("not_found", "", Problem(what=what, where="path", value=path))
            headers = dict(scope["headers"])
            if len(headers) < len(scope["headers"]):
                _once(scope["headers"])
            self.access.check(scope, headers, open_to_all=route.open_to_all)
            if scope["method"] not in route.methods:
                allowed, method = ", ".join(route.methods), shown(scope["method"])
                problem = Problem(
                    what=f"only {allowed} here", where="method", value=method, expected=allowed
                )
                raise Refused("method_not_allowed", "", problem, headers={"allow": allowed})
            if route.behind:
                if route.name == "metrics" and self.metrics_file is not None:
                    await monitored.answer(self.behind, scope, receive, send, self.metrics_file)
                else:
                    await self.behind(scope, receive, send)
                self.answered[route.name].count(200, perf_counter() - began)
                return
            if route.give is not None:
                kind, body, extra = route.give(self.champions)
            elif route.operator is not None:
                # Their request has no body, and does not stand behind those of others.
                body = await asyncio.to_thread(route.operator, self.champions)
            else:
                body = await self._answer(route, scope, headers, receive)
        except Refused as refused:
            # Frames hold the body, and are in a ring with the future of a thread: left to the
            # collector, a hundred refusals of large bodies are kept until it comes by.
            refused.__traceback__ = refused.__context__ = None
            status, body = refused.status, refused.body()
            extra = _encoded(refused.headers)
            if refused.problems:
                first = {one.row: one.reason for one in reversed(refused.problems)}
                first.pop(None, None)  # what concerns the whole request
                metrics.rows_left_out(Counter(first.values()))
        except asyncio.CancelledError:  # uvicorn ends what is not done in time
            ending = Refused("ending", "the service is ending; ask again", headers=CLOSE)
            status, body, extra = ending.status, ending.body(), _encoded(ending.headers)
        except Exception:
            log.exception("%s failed", scope["path"])
            failed = Refused("failed", "a fault of the service: its log has the traceback")
            status, body = failed.status, failed.body()
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", kind),
                    (b"content-length", str(len(body)).encode()),
                    *extra,
                ],
            }
        )
        # Counted first: who has the answer may look at the metrics, or kill this worker, at once.
        self.answered[route.name if route else "other"].count(status, perf_counter() - began)
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, route: Route, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> bytes:
        with self.work.slot() as slot:
            if not route.inline:
                slot.may_run()
            most = largest(route.size, self.champions)
            body = await read_body(headers, receive, slot, most)
            query = _query(scope["query_string"], route) if scope["query_string"] else {}
            stop = Stop()
            champion = self.champions.ready()  # one for the whole request
            asked = Asked(
                body,
                query,
                champion,
                self.champions.limits,
                self._scored,
                metrics.rows_left_out,
                metrics.lines_left_out,
                stop,
            )
            assert route.answer is not None
            if route.inline and len(body) <= INLINE_BYTES:
                return self.work.inline(route.answer, asked, stop)
            return await slot.run(route.answer, asked, stop)

    def _scored(self, scored: Scored) -> None:
        for seen in self.on_scored:
            seen(scored)


def _once(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Refused when a header that decides is there twice: which of them would count?"""
    for name, count in Counter(name for name, _ in headers).items():
        if count > 1 and name in DECIDE:
            where = f"headers.{name.decode('latin-1')}"
            raise invalid(Problem(what="is there twice", where=where))


def _encoded(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


def _query(text: bytes, route: Route) -> dict[str, str]:
    """The parameters of the query. Raises Refused for one that there is not, or is there twice."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
        known = ", ".join(route.query)
        if name not in route.query or name in found:
            twice = name in found
            what = "is there twice" if twice else "unknown parameter"
            reason = "repeated" if twice else "unknown_field"
            raise invalid(parameter(name[:80], what, value, known or "no parameter", reason))
        found[name] = value
    return found
