"""The one error that users see: what failed, where, what to do next."""

from __future__ import annotations

import errno
import re

from common.terminal import bounded

# What the system says when a disk, a quota or the allowed size of a file is used up.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """A failure that a user can correct. Printed as one message, without a traceback.

    what: what failed, with the offending value.  where: file, row, column or setting.
    next_step: the next thing to do or type.
    """

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        what, where, next_step = (_masked(part) for part in (what, where, next_step))
        super().__init__(what)
        self.what, self.where, self.next_step = what, where, next_step

    def __str__(self) -> str:
        """For the terminal: safe to print and of bounded length. The parts stay as they are."""
        parts = {"Error: ": self.what, "  where: ": self.where, "  next:  ": self.next_step}
        return "\n".join(
            head + bounded(text, indent=" " * len("  where: "))
            for head, text in parts.items()
            if text or head == "Error: "
        )

    def __reduce__(self) -> tuple:  # keeps its parts when it crosses a process
        return (_rebuild, (type(self), self.what, self.where, self.next_step))


def _masked(text: str) -> str:
    """Without the password and the parameters of any URL in it: whatever is quoted may have been
    typed in the wrong place."""
    text = re.sub(r"(://[^:/@\s]*):[^@\s]+@", r"\1:***@", text)
    return re.sub(r"(://[^?;\s]*[?;])[^\s'\"]+", r"\1***", text)


def _rebuild(kind: type[UserError], what: str, where: str, next_step: str) -> UserError:
    return kind(what, where=where, next_step=next_step)
