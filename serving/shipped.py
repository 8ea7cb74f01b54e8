"""What a Bento starts: the service, with the variables that the launcher would have set.

BentoML puts a Bento's variables into a container image, but not into `bentoml serve` of a folder:
the workers inherit them from here. A variable that is set already wins.
"""

from __future__ import annotations

import os

from bentoml._internal.utils.analytics import usage_stats

from serving.served import VARIABLES

for name, value in VARIABLES.items():
    os.environ.setdefault(name, value)
# BentoML's command line has looked whether it may send usage data before it loads the Bento, and
# keeps the answer. A Bento has no public way to change it: what BentoML documents, `--do-not-track`
# and the variable, is for the user to give.
usage_stats.do_not_track.cache_clear()

from serving.service import service  # noqa: E402

__all__ = ["service"]
