"""How long a client waits before it asks again: as it was told to, else longer each time."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

AGAIN = (429, 503)  # busy, not ready: the answers after which the same request may succeed
FINAL = "timeout"  # the 503 that says the same request would take too long again
FIRST, LONGEST = 0.1, 10.0  # seconds


def wait_seconds(attempt: int, retry_after: str | None = None) -> float:
    """Seconds to wait after this attempt, the first being 0.

    Exponential back-off, of which the upper half is drawn: clients that were turned away together
    do not come back together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    retry_after: the header, seconds or a date; what it asks for is waited, up to LONGEST, and some.
    """
    backoff = min(LONGEST, FIRST * 2.0 ** min(attempt, 30))
    asked = _seconds(retry_after)
    if asked is None:
        return random.uniform(backoff / 2, backoff)
    return min(asked, LONGEST) + random.uniform(0, backoff)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds from now on; None for a header that is not there or says nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)  # -0000: nobody says which zone
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
