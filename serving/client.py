"""A client of the service in Python: typed answers, and patience with a service that is busy.

    with Client("http://127.0.0.1:3000") as client:
        answer = client.predict([{"customer_id": "17850", "recency_days": 3, ...}])
        print(answer.model.version, answer.predictions[0].probability)

Imports nothing that a client of another service would not have: httpx and msgspec.

Every request may be repeated, because none changes what another is answered. So one that met a
broken connection, a busy service (429) or one that is not ready (503) is sent again, after
`Retry-After` or with exponential back-off (`wait_seconds`); any other refusal is final, one for a
request that takes too long among them.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec

from serving.errors import ErrorResponse, Problem
from serving.responses import (
    ExplainResponse,
    ModelResponse,
    PredictResponse,
    ReloadResponse,
    Sample,
    SamplesResponse,
    TransactionsResponse,
)

AGAIN = (429, 503)  # busy, not ready: the answers after which the same request may succeed
FINAL = "timeout"  # the 503 that says the same request would take too long again
FIRST, LONGEST = 0.1, 10.0  # seconds
CONNECT_SECONDS = 5.0  # a connection that takes longer is tried again
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
T = TypeVar("T")
Customers = Iterable[Mapping[str, Any]]


class ServiceError(Exception):
    """There is no usable answer. url: the address of the service."""

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message)
        self.url = url


class ServiceUnreachable(ServiceError):
    """The service does not answer, or not in time."""


class NotTheService(ServiceError):
    """Another program answers at this address."""

    def __init__(self, message: str, url: str, status: int) -> None:
        super().__init__(message, url)
        self.status = status


class ServiceRefused(ServiceError):
    """The service refused. status, code, error and detail: as in `serving/errors.py`."""

    def __init__(self, url: str, status: int, refusal: ErrorResponse) -> None:
        super().__init__(f"{refusal.error} ({status} {refusal.code})", url)
        self.status, self.code, self.error = status, refusal.code, refusal.error
        self.detail: list[Problem] = refusal.detail


class Client:
    """url: where the service is.  token: what it demands, if it does.  timeout: seconds for a call
    with all its repetitions; an answer that stalls midway may take as long again.  retries: how
    often one is repeated at most.

    May be shared by threads. Closed by `close`, or as a context manager.
    """

    def __init__(
        self, url: str, token: str | None = None, timeout: float = 30.0, retries: int = 4
    ) -> None:
        self.url, self.timeout, self.retries = url.rstrip("/"), timeout, retries
        if not _is_url(self.url):
            raise ValueError(f"url must be like http://127.0.0.1:3000, got {url!r}")
        headers = {"accept": "application/json", "user-agent": "golden-path-client"}
        if token is not None:
            if not token.strip() or not token.isascii() or not token.isprintable():
                raise ValueError("token must be visible ASCII characters")  # not quoted: a secret
            headers["authorization"] = f"Bearer {token.strip()}"
        # A proxy that is set on this machine is meant for the way out of it.
        self._http = httpx.Client(headers=headers, trust_env=False)

    def predict(self, customers: Customers, on_error: str = "refuse") -> PredictResponse:
        """Probabilities and decisions for customers' feature values: a dict each, by feature name,
        `customer_id` beside them. on_error: `skip` answers the others when some are wrong."""
        body = encode({"customers": list(customers)})
        return self.post("/predict", body, PredictResponse, on_error=on_error)

    def predict_transactions(
        self,
        as_of: date | str,
        customers: Customers,
        on_error: str = "refuse",
        features: bool = False,
    ) -> TransactionsResponse:
        """The same from invoice lines: customers are {"customer_id": ..., "lines": [{...}, ...]}.
        features: each prediction comes with the feature values worked out from the lines."""
        body = encode({"as_of": as_of, "customers": list(customers)})
        query = {"on_error": on_error} | ({"features": "true"} if features else {})
        return self.post("/predict_transactions", body, TransactionsResponse, **query)

    def explain(
        self, customers: Customers, top: int | None = None, on_error: str = "refuse"
    ) -> ExplainResponse:
        """What each value moves the probability by: the `top` largest contributions; none: as many
        as the service shows."""
        body = encode({"customers": list(customers)})
        query = {"on_error": on_error} | ({} if top is None else {"top": str(top)})
        return self.post("/explain", body, ExplainResponse, **query)

    def model(self) -> ModelResponse:
        """The model that answers, with its features and scores."""
        return self._call("GET", "/model", ModelResponse)

    def samples(self) -> list[Sample]:
        """Customers to try the service with."""
        return self._call("GET", "/samples", SamplesResponse).samples

    def reload(self) -> ReloadResponse:
        """Have the champion looked up now. A new one that is refused is a ServiceRefused (409)."""
        return self._call("POST", "/reload", ReloadResponse)

    def ready(self) -> bool:
        """Whether the service answers predictions now. Asked once, raises nothing."""
        try:
            return self._once("GET", "/readyz", None, {}, time.monotonic() + self.timeout)[0] == 200
        except httpx.HTTPError:
            return False

    def post(self, path: str, body: bytes, answer: type[T], **query: str) -> T:
        """Send JSON as it is, and read what comes back as `answer`."""
        return self._call("POST", path, answer, body, query)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def _call(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> T:
        deadline, attempt = time.monotonic() + self.timeout, 0
        while True:
            failure: ServiceError
            retry_after = None
            try:
                status, headers, content = self._once(method, path, body, query or {}, deadline)
            except httpx.TransportError as error:
                failure = ServiceUnreachable(str(error) or type(error).__name__, self.url)
                failure.__cause__ = error
            except httpx.HTTPError as error:  # what it says cannot be unpacked
                raise NotTheService(str(error), self.url, 200) from error
            else:
                if status == 200:
                    return self._read(content, answer)
                failure = self._refusal(status, content)
                final = isinstance(failure, ServiceRefused) and failure.code == FINAL
                if status not in AGAIN or final:
                    raise failure
                retry_after = headers.get("retry-after")
            wait = wait_seconds(attempt, retry_after)
            if attempt >= self.retries or time.monotonic() + wait >= deadline:
                raise failure
            time.sleep(wait)
            attempt += 1

    def _once(
        self, method: str, path: str, body: bytes | None, query: Mapping[str, str], deadline: float
    ) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body. Raises httpx.HTTPError."""
        left = max(deadline - time.monotonic(), 0.001)
        timeout = httpx.Timeout(left, connect=min(left, CONNECT_SECONDS))
        headers = {} if body is None else {"content-type": "application/json"}
        # httpx limits the wait for each piece, not for the whole: that is counted here.
        with self._http.stream(
            method, self.url + path, content=body, params=query, headers=headers, timeout=timeout
        ) as response:
            pieces = []
            for piece in response.iter_bytes():
                pieces.append(piece)
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"the answer took longer than {self.timeout:g} s")
        return response.status_code, response.headers, b"".join(pieces)

    def _read(self, content: bytes, answer: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=answer)
        except UNREADABLE as error:
            what = f"it answered 200 with {_beginning(content)} ({error})"
            raise NotTheService(what, self.url, 200) from None

    def _refusal(self, status: int, content: bytes) -> ServiceError:
        try:
            return ServiceRefused(
                self.url, status, msgspec.json.decode(content, type=ErrorResponse)
            )
        except UNREADABLE:
            what = f"it answered {status} with {_beginning(content)}"
            return NotTheService(what, self.url, status)


def encode(body: Any) -> bytes:
    """As JSON. NaN goes out as it is, so that the service can say where it stands."""
    return json.dumps(body, default=_plain).encode()


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):  # a number of NumPy
        return value.item()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be sent: {value!r}")


def _is_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def _beginning(content: bytes) -> str:
    text = content[:200].decode("utf-8", "replace")
    return repr(text[:60]) + ("…" if len(text) > 60 else "") if text else "nothing"


def wait_seconds(attempt: int, retry_after: str | None = None) -> float:
    """Compute the seconds to wait after this attempt, the first being 0.

    Exponential back-off with jitter over its upper half: clients refused together do not retry
    together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    retry_after: the header, seconds or a date; so long is waited, up to LONGEST, plus jitter.
    """
    backoff = min(LONGEST, FIRST * 2.0 ** min(attempt, 30))
    requested = _seconds(retry_after)
    if requested is None:
        return random.uniform(backoff / 2, backoff)
    return min(requested, LONGEST) + random.uniform(0, backoff)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds from now on; None for a header that is missing or cannot be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        # -0000 says that the zone is not known.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
