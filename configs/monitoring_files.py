"""Names of the files of monitoring that others read: the page for people, and the metrics that the
service adds to its own. Both lie in var/monitoring/<data set>/."""

from __future__ import annotations

PAGE, METRICS = "page.html", "golden_path.prom"
