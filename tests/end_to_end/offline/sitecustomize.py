"""Put on PYTHONPATH, this forbids every Python process of a run to leave the machine.

Python loads it at start, before anything of the project. An attempt is written to the file named
by OFFLINE_LOG, so that one that a library swallows is seen as well, and raises.
"""

import ipaddress
import os
import pathlib
import socket
import sys

OWN_NAMES = {"", "localhost", socket.gethostname()}


def _is_here(host):
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in OWN_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _forbid(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if not isinstance(address, tuple):
            return  # a Unix socket
        host = address[0]
    else:
        return
    if not _is_here(host):
        with pathlib.Path(os.environ["OFFLINE_LOG"]).open("a") as log:
            log.write(f"{event} {host} by {' '.join(sys.argv[:3])}\n")
        raise ConnectionRefusedError(f"offline: {event} to {host}")


sys.addaudithook(_forbid)
