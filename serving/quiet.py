"""The variables that a service is started with: no telemetry, little memory kept."""

from __future__ import annotations

from configs.environment import QUIET

# No usage data to BentoML or Microsoft, no tracing, waiting threads that sleep.
NAMES = (
    *("BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "OTEL_SDK_DISABLED", "ORT_DISABLE_TELEMETRY"),
    "OMP_WAIT_POLICY",
)
# Memory goes back to the system when a large request is done, not with the thread that asked for it
# (glibc's mallopt; others ignore it).
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
VARIABLES = {name: QUIET[name] for name in NAMES} | MALLOC
