"""Where the service listens: this machine only, on a port that is free."""

from __future__ import annotations

import ipaddress
import socket

from configs.errors import UserError


def check_address(host: str, port: int) -> str:
    """The address to listen on, once it is this machine's own and free; raises UserError."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise UserError(
            f"the service listens on this machine only, and {host!r} is not its loopback address",
            where="setting serving.host",
            next_step="leave it at 127.0.0.1: who reaches the port may ask, there is no token yet",
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


def url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
