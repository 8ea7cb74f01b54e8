"""Which paths there are, and who answers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from serving.asked import Asked
from serving.champions import Champions, reload
from serving.lines import transactions
from serving.messages import Reloaded, Samples
from serving.values import explain, scoring

Given = tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...]]  # content type, body, headers
JSON, HTML, TEXT = b"application/json", b"text/html; charset=utf-8", b"text/plain"
PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": HTML,
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets styles inline.
LOOSER = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


@dataclass(frozen=True)
class Route:
    """answer, give, operator: who answers, one of the three; behind: BentoML does.

    answer: from a request, in the event loop where it is `inline` and small, else in a thread.
    give: what is there already.  operator: what changes the service.
    size: what bounds the body, rows or lines.  query: the parameters that it knows.
    """

    name: str
    methods: tuple[str, ...] = ("GET", "HEAD")
    answer: Callable[[Asked], bytes] | None = None
    give: Callable[[Champions], Given] | None = None
    operator: Callable[[Champions], bytes] | None = None
    behind: bool = False
    open_to_all: bool = False
    inline: bool = False
    size: str = "rows"
    query: tuple[str, ...] = ()


def _model(champions: Champions) -> Given:
    return JSON, champions.about(), ()


def _samples(champions: Champions) -> Given:
    return JSON, msgspec.json.encode(Samples(champions.ready().samples)), ()


def _ready(champions: Champions) -> Given:
    model = champions.ready().model
    return JSON, msgspec.json.encode({"ready": True, "version": model.version}), ()


def _alive(_: Champions) -> Given:
    return TEXT, b"alive\n", ()


def _described(champions: Champions) -> Given:
    return JSON, champions.ready().described, ()


def _reload(champions: Champions) -> bytes:
    outcome, champion = reload(champions)
    return msgspec.json.encode(Reloaded(outcome, champion.model))


def _file(path: Path, policy: str = POLICY) -> Callable[[Champions], Given]:
    """A file of the page, read once: it does not change while the service runs."""
    given = (
        KINDS[path.suffix],
        path.read_bytes(),
        (
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
        ),
    )
    return lambda _: given


POST = ("POST",)
SWAGGER = ("swagger-ui.css", "swagger-ui-bundle.js")
ROUTES: dict[str, Route] = {
    "/predict": Route("predict", POST, answer=scoring.answer, inline=True, query=("on_error",)),
    "/predict_transactions": Route(
        "predict_transactions",
        POST,
        answer=transactions.answer,
        size="lines",
        query=("on_error", "features"),
    ),
    "/explain": Route("explain", POST, answer=explain.answer, query=("top", "on_error")),
    "/reload": Route("reload", POST, operator=_reload),
    "/model": Route("model", give=_model),
    "/samples": Route("samples", give=_samples),
    "/docs.json": Route("docs", give=_described),
    "/livez": Route("health", give=_alive, open_to_all=True),
    "/healthz": Route("health", give=_alive, open_to_all=True),
    "/readyz": Route("health", give=_ready, open_to_all=True),
    "/metrics": Route("metrics", behind=True),
    "/": Route("page", give=_file(PAGE / "index.html"), open_to_all=True),
    "/docs": Route("page", give=_file(PAGE / "docs.html", LOOSER), open_to_all=True),
    **{
        f"/page/{path.name}": Route("page", give=_file(path), open_to_all=True)
        for path in sorted(PAGE.iterdir())
        if path.suffix in KINDS and path.suffix != ".html"
    },
    **{f"/static_content/{name}": Route("page", behind=True, open_to_all=True) for name in SWAGGER},
}
