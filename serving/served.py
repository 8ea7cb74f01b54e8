"""What the service's processes are started with: environment variables, and one JSON file that
says whom to serve, and within which limits.

The launcher writes it and names it in SERVED_FILE; a Bento carries one at its root, `served.json`.
Either a registry to watch (`tracking_uri`, where the champion of `name` is looked up), or one fixed
bundle, as in a Bento.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from common.errors import UserError
from common.files import write_bytes
from configs.environment import QUIET
from registry.champion import CHALLENGER, CHAMPION, ModelVersion, read_alias

if TYPE_CHECKING:
    from configs.settings import Settings

VARIABLE, FILE = "SERVED_FILE", "served.json"
METRICS = (
    "golden_path.prom"  # in the folder of monitoring: metrics that the service adds to its own
)
# No usage data to BentoML or Microsoft, no tracing, waiting threads that sleep.
VARIABLES = {
    name: QUIET[name]
    for name in (
        *("BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "OTEL_SDK_DISABLED", "ORT_DISABLE_TELEMETRY"),
        "OMP_WAIT_POLICY",
    )
}  # Called the same in the settings.
LIMITS = (
    *("max_rows", "max_lines", "max_explained", "max_concurrency", "max_seconds", "workers"),
    *("opening_seconds", "opening_megabytes"),
)


class Fixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bundle, whatever a registry says. folder: absolute, or relative to the file."""

    folder: str
    version: int
    bundle_sha256: str


class Served(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    tracking_uri: str | None = None  # MLflow's database or server
    bundles: str = ""  # where bundles of a server are kept
    fixed: Fixed | None = None
    max_rows: int = 1000
    max_lines: int = 20_000
    max_explained: int = 20
    max_concurrency: int = 64
    max_seconds: float = 10.0
    opening_seconds: float = 10.0
    opening_megabytes: int = 1000
    watch_seconds: float = 2.0
    workers: int = 1
    token_variable: str = "SERVING_TOKEN"
    token_file: str | None = None
    allowed_hosts: list[str] = []
    log_folder: str | None = None  # where requests are logged; none: they are not
    metrics_file: str | None = None  # what monitoring wrote, for /metrics; none: nothing is added
    shadow_folder: str | None = None  # where the challenger's answers go; none: it does not score
    shadow_share: float = 0.25
    signal_file: str | None = None  # touched by /reload, so that the other workers look at once
    trials_folder: str | None = None  # where it is kept which bundles have passed a trial
    launcher: int | None = None  # process id: the service ends when it is gone

    @staticmethod
    def of(settings: Settings, name: str, **others: Any) -> Served:
        """From the settings. others: whom to serve, and what else the settings do not have."""
        serving = settings.serving
        limits = {limit: getattr(serving, limit) for limit in (*LIMITS, "token_variable")}
        return Served(name=name, **limits, **others)

    def find(self) -> ModelVersion | None:
        """Who is to be served now; None when there is no champion. Raises UserError."""
        if self.fixed is not None:
            fixed = self.fixed
            return ModelVersion(
                self.name, fixed.version, Path(fixed.folder), fixed.bundle_sha256, run_id=""
            )
        return self._alias(CHAMPION)

    def find_challenger(self) -> ModelVersion | None:
        """Who is challenger now; None when nobody is, and where one bundle is served for good.
        Raises UserError."""
        return self._alias(CHALLENGER)

    def _alias(self, alias: str) -> ModelVersion | None:
        if self.tracking_uri is None:
            return None
        return read_alias(self.tracking_uri, Path(self.bundles), self.name, alias)


def read_served(env: Mapping[str, str] = os.environ) -> Served:
    """Raises UserError when there is no such file, or it is not what it should be."""
    named = env.get(VARIABLE)
    # A Bento unpacks what it holds beside the code.
    file = Path(named) if named else Path(__file__).resolve().parents[1] / FILE
    try:
        served = msgspec.json.decode(file.read_bytes(), type=Served)
    except OSError:
        raise UserError(
            "the file that says what to serve is missing",
            where=f"{VARIABLE} ({named})" if named else f"{file} ({VARIABLE} is not set)",
            next_step="start it with `make serve` (python -m serving), which writes it",
        ) from None
    except msgspec.DecodeError as error:
        raise UserError(
            f"the file that says what to serve cannot be read: {error}",
            where=str(file),
            next_step="start it with `make serve`, or build the Bento again (make bento)",
        ) from None
    if served.fixed is not None:
        folder = str(file.resolve().parent / served.fixed.folder)  # absolute ones stay
        served = msgspec.structs.replace(
            served, fixed=msgspec.structs.replace(served.fixed, folder=folder)
        )
    return served


def write_served(served: Served, file: Path) -> None:
    """The file is whole or absent, whenever this process ends."""
    write_bytes(file, msgspec.json.format(msgspec.json.encode(served)))
