"""Who may ask: the name and the page a request comes by, and the token.

Without a token the service answers on loopback alone, and only under names of this machine: a page
of some other site, open in a browser here, may otherwise reach it (DNS rebinding). With a token,
everything but the health checks and the page's own files wants `Authorization: Bearer TOKEN`.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.errors import UserError
from serving.errors import Problem, Refused, shown

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SHORTEST = 16  # characters of a token
KNOWN = 1000  # names that are remembered


def read_token(variable: str, file: str | Path | None, env: Mapping[str, str]) -> str | None:
    """The token, from the environment or the file; None when there is none. Raises UserError."""
    token, where = (env.get(variable) or "").strip(), variable
    if file is not None:
        where = str(file)
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"the file of the token cannot be read: {error}",
                where=f"serving.token_file = {file}",
                next_step="write the token into it, and nothing else",
            ) from None
    elif not token:
        return None
    if not token or len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise UserError(
            f"the token must have at least {SHORTEST} characters, letters and digits",
            where=where,
            next_step="make one: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token


@dataclass
class Access:
    """token: what clients must send, if any.  names: hosts that they may ask for."""

    token: str | None
    names: frozenset[str]
    restricted: bool  # with a token any name will do, unless some are set
    _seen: set[bytes] = field(default_factory=set)  # Host headers that are fine

    @staticmethod
    def of(variable: str, file: str | None, allowed_hosts: Iterable[str]) -> Access:
        token = read_token(variable, file, os.environ)
        allowed = frozenset(host.lower() for host in allowed_hosts)
        return Access(token, LOOPBACK | allowed, restricted=token is None or bool(allowed))

    def check(
        self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], *, open_to_all: bool
    ) -> None:
        """Raises Refused. open_to_all: health checks and files of the page, which hold nothing."""
        server = scope.get("server")
        if self.token is None and server is not None and not is_loopback(server[0]):
            raise Refused(
                "forbidden",
                "beyond loopback this service requires a token: start it with SERVING_TOKEN set",
            )
        host, origin = headers.get(b"host"), headers.get(b"origin")
        if self.restricted and host not in self._seen and not open_to_all:
            self._check_host(host)
        if origin is not None and origin.partition(b"://")[2] != host:
            what, value = (
                "requests from pages of other sites are refused",
                shown(origin.decode("latin-1")),
            )
            raise Refused("forbidden", "", Problem(what=what, where="headers.origin", value=value))
        if self.token is not None and not open_to_all:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(
                token.strip(), self.token.encode()
            ):
                raise Refused(
                    "unauthorized",
                    "send the service's token: Authorization: Bearer TOKEN",
                    headers={"www-authenticate": "Bearer"},
                )

    def _check_host(self, host: bytes | None) -> None:
        name = (host or b"").decode("latin-1")
        name = name.rpartition(":")[0] if not name.endswith("]") and ":" in name else name
        if name.strip("[]").lower() not in self.names:
            raise Refused(
                "forbidden",
                "the Host header is not a name of this service",
                Problem(
                    what="is not a name of this service",
                    where="headers.host",
                    field="host",
                    value=name[:80],
                    expected="a name of loopback, or one of serving.allowed_hosts",
                ),
            )
        if len(self._seen) < KNOWN:
            self._seen.add(host or b"")


@lru_cache(maxsize=1000)
def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own; a socket file is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address in ("", *LOOPBACK) or address.startswith("/")
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
