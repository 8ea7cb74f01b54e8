"""The service's ASGI application: it reads a request, has it answered, and sends the answer.

It stands before BentoML's application, which starts the workers, configures, packs and measures
them, and answers only `/metrics` and the files of its Swagger UI here: BentoML's middleware and its
typing of requests cost six times what the model does (docs/speed.md). Starlette's routing, request
and response would add 14 to 17 µs to the 170 that the service takes for a request, which is more
than its lead over FastAPI leaves (docs/decisions.md). So the way goes from bytes to bytes.
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

from serving import metrics
from serving.access import Access
from serving.champion import Request, Scored
from serving.endpoints import JSON, ROUTES, Route, encode
from serving.errors import Problem, Refused, invalid, parameter, shown
from serving.limits import Slot, Stop, Work
from serving.swap import Champions

log = logging.getLogger("golden_path.serving")
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
INLINE_BYTES = 150_000  # a larger request is read and answered off the event loop
BODY_BASE_BYTES, BYTES_PER_LINE = 10_000, 512  # of a body, and of an invoice line in it
CLOSE = {"connection": "close"}
UNREPEATABLE = (  # headers that a request may have only once
    *(b"host", b"origin", b"authorization"),
    *(b"content-type", b"content-encoding", b"content-length"),
)


class Application:
    """bentoml: its application.  metrics_file: what monitoring wrote, added to its metrics."""

    def __init__(
        self,
        bentoml: Any,
        champions: Champions,
        access: Access,
        work: Work,
        metrics_file: Path | None = None,
    ) -> None:
        self.bentoml, self.champions, self.access, self.work = bentoml, champions, access, work
        self.metrics_file = metrics_file
        self.scores = metrics.Scores()
        self.answered = {route.name: metrics.Answered(route.name) for route in ROUTES.values()}
        self.answered["other"] = metrics.Answered("other")
        self.on_scored: list[Callable[[Scored], None]] = [self.scores.count]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await self.bentoml(scope, receive, send)
            case "websocket":
                await send({"type": "websocket.close"})  # uvicorn answers 403
            case "http":
                await self._respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        route = ROUTES.get(scope["path"])
        status, kind = 200, JSON
        extra: tuple[tuple[bytes, bytes], ...] = ()
        try:
            if route is None:
                what, path = "unknown path; / lists the endpoints", shown(scope["path"])
                raise Refused("not_found", "", Problem(what=what, where="path", value=path))
            headers = self._check(route, scope)
            if route.by_bentoml:
                await self._pass_on(route, scope, receive, send)
                self.answered[route.name].count(200, perf_counter() - began)
                return
            if route.read is not None:
                kind, body, extra = route.read(self.champions)
            elif route.action is not None:
                # A request without a body needs no slot and waits for no other request.
                body = encode(await asyncio.to_thread(route.action, self.champions))
            else:
                body = await self._answer(route, scope, headers, receive)
        except Refused as refused:
            # The traceback refers to the body, in a cycle with the thread's future: without this,
            # large bodies stay in memory until the garbage collector runs.
            refused.__traceback__ = refused.__context__ = None
            status, body = refused.status, refused.body()
            extra = _encoded(refused.headers)
            if refused.problems:
                first = {one.row: one.reason for one in reversed(refused.problems)}
                first.pop(None, None)  # what concerns the whole request
                metrics.rows_left_out(Counter(first.values()))
        except asyncio.CancelledError:  # uvicorn ends what is not done in time
            ending = Refused("ending", "the service is shutting down; try again", headers=CLOSE)
            status, body, extra = ending.status, ending.body(), _encoded(ending.headers)
        except Exception:
            log.exception("%s failed", scope["path"])
            failed = Refused(
                "failed", "an internal error of the service; its log has the traceback"
            )
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
        # Counted first: a client that has the answer may look at the metrics, or kill this worker,
        # at once.
        self.answered[route.name if route else "other"].count(status, perf_counter() - began)
        await send({"type": "http.response.body", "body": body})

    def _check(self, route: Route, scope: Scope) -> Mapping[bytes, bytes]:
        """The headers of a request that may be answered here. Raises Refused."""
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):
            _refuse_repeated_headers(scope["headers"])
        self.access.check(scope, headers, open_to_all=route.open_to_all)
        if scope["method"] not in route.methods:
            allowed, method = ", ".join(route.methods), shown(scope["method"])
            problem = Problem(
                what=f"only {allowed} is allowed here",
                where="method",
                value=method,
                expected=allowed,
            )
            raise Refused("method_not_allowed", "", problem, headers={"allow": allowed})
        return headers

    async def _pass_on(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        if route.name == "metrics" and self.metrics_file is not None:
            await metrics.with_file(self.bentoml, scope, receive, send, self.metrics_file)
        else:
            await self.bentoml(scope, receive, send)

    async def _answer(
        self, route: Route, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> bytes:
        with self.work.slot() as slot:
            if not route.inline:
                slot.may_run()
            body = await read_body(headers, receive, slot, self._largest(route.size))
            query = _query(scope["query_string"], route) if scope["query_string"] else {}
            stop = Stop()
            request = Request(
                body,
                query,
                champion=self.champions.ready(),  # one for the whole request
                limits=self.champions.limits,
                scored=self._scored,
                rows_left_out=metrics.rows_left_out,
                lines_left_out=metrics.lines_left_out,
                stop=stop,
            )
            answer = route.answer
            assert answer is not None

            def answer_encoded() -> bytes:
                return encode(answer(request))

            if route.inline and len(body) <= INLINE_BYTES:
                return self.work.inline(answer_encoded, stop)
            return await slot.run(answer_encoded, stop)

    def _largest(self, size: str) -> int:
        """Bytes of a body: more than a full request written generously takes. A bound on memory,
        not on use. size: what bounds it, `rows` or `lines`."""
        limits, champion = self.champions.limits, self.champions.current
        if size == "lines":
            return BODY_BASE_BYTES + limits.max_lines * BYTES_PER_LINE
        return BODY_BASE_BYTES + limits.max_rows * (champion.reader.row_bytes if champion else 0)

    def _scored(self, scored: Scored) -> None:
        for call in self.on_scored:
            call(scored)


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, slot: Slot, most: int
) -> bytes:
    """The body once it is whole. Raises Refused when it is not JSON, or seen to be too large, or
    late."""
    kind = headers.get(b"content-type", JSON)
    if kind.partition(b";")[0].strip().lower() != JSON:
        raise _not_json("headers.content-type", kind, "application/json")
    packed = headers.get(b"content-encoding", b"identity")
    if packed.strip().lower() != b"identity":
        raise _not_json("headers.content-encoding", packed, "no encoding")
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most, int(declared))
    if b"upgrade" in headers:
        raise _upgrade(headers[b"upgrade"])
    try:
        async with asyncio.timeout(slot.max_seconds):
            chunks, size, more = [], 0, True
            while more and size <= most:
                message = await receive()
                if message["type"] == "http.disconnect":
                    # What came before may look whole, and is not.
                    raise Refused(
                        "too_slow", "the client disconnected before the whole body had arrived"
                    )
                chunk, more = message.get("body", b""), message.get("more_body", False)
                slot.hold(len(chunk))
                chunks.append(chunk)
                size += len(chunk)
    except TimeoutError:
        raise Refused(
            "too_slow",
            f"the body did not arrive within {slot.max_seconds:g} seconds",
            headers=CLOSE,
        ) from None
    if size > most:
        raise _too_large(most)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _not_json(where: str, header: bytes, expected: str) -> Refused:
    value = shown(header.decode("latin-1"))
    problem = Problem(what="must be plain JSON", where=where, value=value, expected=expected)
    return Refused("content_type", "", problem)


def _too_large(most: int, size: int | None = None) -> Refused:
    problem = Problem(
        what=f"is larger than {most:,} bytes; send fewer customers at once",
        reason="too_long",
        value=f"{size:,} bytes" if size else None,
        expected=f"at most {most:,} bytes",
    )
    return Refused("too_large", "", problem, headers=CLOSE)


def _upgrade(offer: bytes) -> Refused:
    """uvicorn does not read the body of a request that offers another protocol."""
    problem = Problem(
        what="this service speaks HTTP/1.1 only, and cannot read a body that is sent with the offer"
        " of another protocol",
        where="headers.upgrade",
        value=shown(offer.decode("latin-1")),
        expected="no such header: set the client to HTTP/1.1 (curl --http1.1)",
    )
    return Refused("invalid", "", problem, headers=CLOSE)


def _refuse_repeated_headers(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Refused when a header that decides is given twice: either could be meant."""
    for name, count in Counter(name for name, _ in headers).items():
        if count > 1 and name in UNREPEATABLE:
            where = f"headers.{name.decode('latin-1')}"
            raise invalid(Problem(what="is given twice", where=where))


def _encoded(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


def _query(text: bytes, route: Route) -> dict[str, str]:
    """The parameters of the query. Raises Refused for one that is unknown or given twice."""
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
        known = ", ".join(route.query)
        if name not in route.query or name in parameters:
            twice = name in parameters
            what = "is given twice" if twice else "unknown parameter"
            reason = "repeated" if twice else "unknown_field"
            raise invalid(parameter(name[:80], what, value, known or "no parameter", reason))
        parameters[name] = value
    return parameters
