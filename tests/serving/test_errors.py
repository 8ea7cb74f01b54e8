"""The shape of every refusal, pinned: clients rely on each key, each code and each status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_service import ROW, bought, customers, line, make_bundle

from registry.bundle import DESCRIPTION, MODEL, write_bundle
from serving.access import LOOPBACK, Access
from serving.app import Application
from serving.errors import LONGEST_VALUE, MANY, SHOWN, STATUS, Problem, Refused, shown
from serving.limits import Work
from serving.served import Fixed, Served
from serving.swap import Champions

GOOD = json.dumps(customers(ROW)).encode()
STATUSES = {
    "invalid": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,
    "refused_champion": 409,
    "no_transactions": 409,
    "no_reference": 409,
    "too_large": 413,
    "content_type": 415,
    "no_answer": 422,
    "busy": 429,
    "failed": 500,
    "ending": 503,
    "not_ready": 503,
    "timeout": 503,
    "unknown_champion": 503,
}
AGAIN = {"busy": "1", "ending": "1", "not_ready": "2", "timeout": "2", "unknown_champion": "2"}
PROBLEM = {
    "what": str,
    "where": str,
    "reason": str,
    "row": int | None,
    "line": int | None,
    "field": str | None,
    "value": str | None,
    "expected": str | None,
}
REASONS = {
    *("unknown_field", "required", "wrong_type", "out_of_range", "not_finite", "blank"),
    *("too_long", "repeated", "in_future", "no_answer", "not_active", "refused", "invalid"),
}
Answered = tuple[int, dict[str, str], bytes]  # status, headers, body


class Service:
    """The service's application as a worker has it, without a network in between."""

    def __init__(self, served: Served, token: str | None = None, look: bool = True) -> None:
        self.champions = Champions(served)
        if look:
            assert self.champions.look()[0] == "swapped"
        access = Access(token, LOOPBACK, restricted=True)
        work = Work(served.max_concurrency, served.max_seconds)
        self.app = Application(None, self.champions, access, work)

    async def answer(
        self, path: str, body: bytes = GOOD, method: str = "POST", ends: bool = True, **headers: str
    ) -> Answered:
        sent = {"host": "localhost", "content-length": str(len(body)), **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in sent.items()],
            "server": ("127.0.0.1", 1),
        }
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not ends:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        start, end = messages
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], headers, end["body"]

    def ask(self, *words: Any, **options: Any) -> Answered:
        return asyncio.run(self.answer(*words, **options))

    def json(self, *words: Any, **options: Any) -> Any:
        return json.loads(self.ask(*words, **options)[2])


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    fixed = Fixed(str(folder), 3, make_bundle(folder))
    return Served(name="m", fixed=fixed, max_rows=50, max_seconds=0.3, max_concurrency=1)


@pytest.fixture(scope="module")
def usual(served):
    return Service(served)


# --- a way to each refusal -----------------------------------------------------------------------


def service(served: Served, **changes: Any) -> Service:
    return Service(msgspec.structs.replace(served, **changes))


def table(served: Served, folder: Path) -> Service:
    """A model of a labelled table, whose bundle keeps nobody to explain against."""
    assert served.fixed is not None
    source = Path(served.fixed.folder)
    description = json.loads((source / DESCRIPTION).read_text()) | {"transactions": None}
    sha256 = write_bundle(folder / "table", (source / MODEL).read_bytes(), description)
    return service(served, fixed=Fixed(str(folder / "table"), 3, sha256))


def reload(served: Served, **changes: Any) -> Answered:
    """Once another one is to be served."""
    service = Service(served)
    service.champions.served = msgspec.structs.replace(served, **changes)
    return service.ask("/reload")


def unknown_champion(served: Served, folder: Path) -> Answered:
    (folder / "mlflow.db").write_text("not a database")
    return reload(served, fixed=None, tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def ending(served: Served) -> Answered:
    """What uvicorn does to a request that is not done when it has to be."""

    async def cancelled() -> Answered:
        asked = asyncio.create_task(Service(served).answer("/predict", ends=False))
        await asyncio.sleep(0.01)
        asked.cancel()
        return await asked

    return asyncio.run(cancelled())


def busy(served: Served) -> Answered:
    service = Service(served)

    async def two() -> Answered:
        first = asyncio.create_task(service.answer("/predict", ends=False))
        await asyncio.sleep(0)
        second = await service.answer("/predict")
        assert (await first)[0] == 408
        return second

    return asyncio.run(two())


def failed(served: Served) -> Answered:
    service = Service(served)
    assert service.champions.current is not None
    # As good a fault as any.
    service.champions.current = replace(service.champions.current, bundle=None)
    return service.ask("/predict")


LATE = json.dumps(bought({"customer_id": "1", "lines": [line("1", 900)]})).encode()
FULL = json.dumps(customers(*[ROW] * 1000)).encode()
SLOW = {"max_explained": 1000, "max_rows": 1000, "max_seconds": 0.05}
REACHED: dict[str, Callable[[Served, Service, Path], Answered]] = {
    "invalid": lambda _, usual, __: usual.ask("/predict", b'{"customers": [{}, 5]}'),
    "unauthorized": lambda served, *_: Service(served, token="x" * 20).ask("/predict"),
    "forbidden": lambda _, usual, __: usual.ask("/predict", host="evil.example"),
    "not_found": lambda _, usual, __: usual.ask("/nothing"),
    "method_not_allowed": lambda _, usual, __: usual.ask("/predict", method="GET"),
    "too_slow": lambda _, usual, __: usual.ask("/predict", ends=False),
    "refused_champion": lambda served, _, folder: reload(served, fixed=Fixed(str(folder), 4, "0")),
    "no_transactions": lambda served, _, folder: table(served, folder).ask("/predict_transactions"),
    "no_reference": lambda served, _, folder: table(served, folder).ask("/explain"),
    "too_large": lambda _, usual, __: usual.ask("/predict", b" " * 500_000),
    "content_type": lambda _, usual, __: usual.ask("/predict", content_type="text/plain"),
    "no_answer": lambda _, usual, __: usual.ask("/predict_transactions", LATE),
    "busy": lambda served, *_: busy(served),
    "failed": lambda served, *_: failed(served),
    "ending": lambda served, *_: ending(served),
    "not_ready": lambda served, *_: Service(served, look=False).ask("/predict"),
    "timeout": lambda served, *_: service(served, **SLOW).ask("/explain", FULL),
    "unknown_champion": lambda served, _, folder: unknown_champion(served, folder),
}


def test_each_code_has_its_status_and_can_be_reached():
    assert STATUS == STATUSES
    assert list(REACHED) == list(STATUSES)


@pytest.mark.slow
@pytest.mark.parametrize("code", STATUSES)
def test_every_refusal_has_the_same_shape(served, usual, tmp_path, code):
    status, headers, body = REACHED[code](served, usual, tmp_path)
    refusal = json.loads(body)
    assert list(refusal) == ["error", "code", "detail"]
    assert (refusal["code"], status) == (code, STATUSES[code])
    assert isinstance(refusal["error"], str) and refusal["error"] and "\n" not in refusal["error"]
    for problem in refusal["detail"]:
        assert list(problem) == list(PROBLEM)
        for key, kind in PROBLEM.items():
            assert isinstance(problem[key], kind), (key, problem)
        assert problem["reason"] in REASONS
        assert problem["what"] and problem["where"]
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))
    assert headers.get("retry-after") == AGAIN.get(code)
    assert ("allow" in headers) == (code == "method_not_allowed")
    assert ("www-authenticate" in headers) == (code == "unauthorized")
    assert (headers.get("connection") == "close") == (code in ("too_slow", "too_large", "ending"))
    for inside in ("Traceback", ".py", "NoneType", "object at 0x"):
        assert inside not in body.decode()


# --- what it says --------------------------------------------------------------------------------


def test_a_problem_names_the_place_the_value_and_what_was_expected(usual):
    body = json.dumps(customers(ROW, ROW | {"recency_days": -3})).encode()
    refusal = usual.json("/predict", body)
    (problem,) = refusal["detail"]
    assert (problem["where"], problem["value"]) == ("customers[1].recency_days", "-3")
    assert problem["expected"] == "a number from 1 (days)"
    for part in ("where", "what", "value"):
        assert problem[part] in refusal["error"]


def test_of_many_problems_the_first_are_named_and_all_are_counted(usual):
    refusal = usual.json("/predict", json.dumps(customers(*[ROW | {"is_home": 7}] * 50)).encode())
    assert len(refusal["detail"]) == SHOWN
    assert refusal["error"].endswith("(and 49 more)")


def test_a_small_request_does_not_cause_a_large_answer(usual):
    body = json.dumps({"customers": [{}] * 49 + [ROW]}).encode()
    skipped = usual.json("/predict?on_error=skip", body)["skipped"]
    assert [one["row"] for one in skipped] == list(range(49))
    assert all(one["detail"] for one in skipped)
    assert sum(len(one["detail"]) for one in skipped) <= MANY + 49
    assert "(and many more)" in usual.json("/predict", body)["error"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_a_quoted_value_is_short_text(value):
    quoted = shown(value)
    assert len(quoted) <= LONGEST_VALUE
    try:
        body = Refused("invalid", "", Problem(what="is wrong", value=quoted)).body()
    except UnicodeEncodeError:  # half a surrogate pair, which no reader lets through
        assert any("\ud800" <= character <= "\udfff" for character in quoted)
    else:
        assert json.loads(body)["detail"][0]["value"] == quoted
