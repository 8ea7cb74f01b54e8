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
    """To be called in that process, before BentoML makes its arbiter."""
    from bentoml._internal.utils import circus

    class Arbiter(circus.Arbiter):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            within = {"endpoint": "inproc://commands", "pubsub_endpoint": "inproc://events"}
            super().__init__(*args, **(kwargs | within | {"check_delay": LOOK_SECONDS}))

        def stop(self) -> Any:
            self.sockets.close_all()  # the workers have their own, and close them too
            return super().stop()

    circus.Arbiter = Arbiter
