"""Where the service listens: on loopback unless there is a token, on a port that is free."""

from __future__ import annotations

import ipaddress
import socket

from common.errors import UserError


def check_address(host: str, port: int, with_token: bool = False) -> str:
    """The address to listen on, once it is free, and this machine's own loopback unless clients
    must send a token; raises UserError."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise UserError(
            f"the service listens at an address, and {host!r} is none",
            where="setting serving.host",
            next_step="leave it at 127.0.0.1, or give one of this machine, such as 0.0.0.0",
        ) from None
    if not address.is_loopback and not with_token:
        raise UserError(
            f"beyond this machine's loopback, at {host!r}, the service demands a token",
            where="setting serving.host",
            next_step="leave it at 127.0.0.1; or set SERVING_TOKEN (or --serving.token_file FILE)"
            " to what clients will send",
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just given up is free
        try:
            probe.bind((str(address), port))
        except OSError as error:
            other = port + 1 if port < 65535 else port - 1
            raise UserError(
                f"port {port} cannot be listened on: {(error.strerror or str(error)).lower()}",
                where=f"setting serving.port, at {address}",
                next_step=f"end what listens there, or take another: --serving.port {other}",
            ) from None
    return str(address)


def url_here(host: str, port: int) -> str:
    """Where this machine itself asks a service that listens at `host`."""
    return url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)


def url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
