"""The variables that a service is started with."""

from __future__ import annotations

from configs.environment import QUIET

# No usage data to BentoML or Microsoft, no tracing, waiting threads that sleep.
NAMES = (
    *("BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "OTEL_SDK_DISABLED", "ORT_DISABLE_TELEMETRY"),
    "OMP_WAIT_POLICY",
)
VARIABLES = {name: QUIET[name] for name in NAMES}
