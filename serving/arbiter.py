"""BentoML's process that looks after the workers (circus), without its two open doors.

It takes commands over ZeroMQ, to start any program among them, from whoever on this machine
connects to one of two ports, and asks for no password. Nothing here sends it any: so both ends
stay within the process. And it gives up the port first when it ends, so that who comes late is
refused at once, and does not wait in a queue that nobody reads.
"""

from __future__ import annotations

from typing import Any

LOOK_SECONDS = 1.0  # until a worker that died is seen, and another one started; BentoML's are 10


def close_doors() -> None:
    """To be called once in that process, before BentoML makes its arbiter, which is a subclass."""
    from circus.arbiter import Arbiter  # BentoML brings it: kantoku, a fork of circus

    begin, stop = Arbiter.__init__, Arbiter.stop

    def begin_within(self: Arbiter, *args: Any, **kwargs: Any) -> None:
        within = {"endpoint": "inproc://commands", "pubsub_endpoint": "inproc://events"}
        begin(self, *args, **(kwargs | within | {"check_delay": LOOK_SECONDS}))

    def stop_listening_first(self: Arbiter, *args: Any, **kwargs: Any) -> Any:
        self.sockets.close_all()  # the workers have their own, and close them too
        return stop(self, *args, **kwargs)

    Arbiter.__init__, Arbiter.stop = begin_within, stop_listening_first
