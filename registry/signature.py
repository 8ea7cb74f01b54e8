"""`MLmodel`: what MLflow's page shows of a bundle, its inputs and outputs. Nothing here reads it.

It has no flavor: MLflow cannot load a bundle, and need not. Written by hand, in MLflow's documented
form: importing its models takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml


def columns(features: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """MLflow's column schema of features (dicts of `Bundle.features`), in order."""
    return [
        {
            "type": "string" if feature.get("categories") else "double",
            "name": str(feature["name"]),
            "required": not feature.get("missing"),
        }
        for feature in features
    ]


def mlmodel(description: dict[str, Any]) -> bytes:
    """The file for a bundle with this description."""
    outputs = [{"type": "double", "name": "probability", "required": True}]
    signature = {
        "inputs": json.dumps(columns(description.get("features") or ())),
        "outputs": json.dumps(outputs),
        "params": None,
    }
    content = {"flavors": {}, "run_id": description.get("mlflow_run_id"), "signature": signature}
    return yaml.safe_dump(content, sort_keys=True).encode()
