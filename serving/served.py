"""What the launcher hands over to the service: which bundle, under which name and version.

Environment variables, because BentoML starts its workers as processes of its own. Not of the prefix
GOLDEN_PATH_: that one is for settings, where an unknown name is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from registry.bundle import DESCRIPTION, verify_bundle

PREFIX = "SERVED_"


@dataclass(frozen=True)
class Served:
    name: str
    version: int
    bundle: Path
    bundle_sha256: str
    max_rows: int

    def environment(self) -> dict[str, str]:
        return {PREFIX + key.upper(): str(value) for key, value in vars(self).items()}

    def description(self) -> dict[str, Any]:
        """`bundle.json`, once the bundle has been verified; raises BundleRefused."""
        verify_bundle(self.bundle, expected_sha256=self.bundle_sha256)
        return json.loads((self.bundle / DESCRIPTION).read_text(encoding="utf-8"))


def from_environment(env: Mapping[str, str] = os.environ) -> Served:
    try:
        return Served(
            name=env[PREFIX + "NAME"],
            version=int(env[PREFIX + "VERSION"]),
            bundle=Path(env[PREFIX + "BUNDLE"]),
            bundle_sha256=env[PREFIX + "BUNDLE_SHA256"],
            max_rows=int(env[PREFIX + "MAX_ROWS"]),
        )
    except KeyError as missing:
        raise UserError(
            f"the service was not told what to serve: {missing.args[0]} is not set",
            where="environment",
            next_step="start it with `make serve` (python -m serving), which sets it",
        ) from None
