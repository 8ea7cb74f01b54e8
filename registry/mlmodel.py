"""A bundle as a model of MLflow's: `MLmodel` and `input_example.json`, so that
`mlflow.pyfunc.load_model("models:/NAME@champion")` and `mlflow models serve` take it.

Written in MLflow's documented form, without MLflow: importing it takes seconds. The service reads
neither file. A bundle of numbers alone is opened by MLflow's own ONNX flavour, wherever there is an
MLflow; one with categories, which arrive as text, by `serving/pyfunc.py`, and so where this project
can be imported. Nothing is unpickled either way.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

MLMODEL, INPUT_EXAMPLE = "MLmodel", "input_example.json"
EXAMPLE_ROWS = 5


def columns(features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """MLflow's column schema of features (dicts of `Bundle.features`), in order."""
    return [
        {
            "type": "string" if feature.get("categories") else "double",
            "name": str(feature["name"]),
            "required": not feature.get("missing"),
        }
        for feature in features
    ]


def mlflow_files(description: Mapping[str, Any], examples: Mapping[str, Any]) -> dict[str, bytes]:
    """The files for a bundle with this description and these examples, by name."""
    features = description.get("features") or ()
    outputs = [{"type": "double", "name": "probability", "required": True}]
    content: dict[str, Any] = {
        "flavors": _flavours(features, description.get("versions") or {}),
        "run_id": description.get("mlflow_run_id"),
        "signature": {
            "inputs": json.dumps(columns(features)),
            "outputs": json.dumps(outputs),
            "params": None,
        },
        "utc_time_created": description.get("trained_at"),
    }
    files = {}
    example = _example(features, examples)
    if example is not None:
        content["saved_input_example_info"] = {
            "artifact_path": INPUT_EXAMPLE,
            "pandas_orient": "split",
            "type": "dataframe",
        }
        text = json.dumps(example, ensure_ascii=False, allow_nan=False)
        files[INPUT_EXAMPLE] = text.encode()
    return {MLMODEL: yaml.safe_dump(content, sort_keys=True).encode(), **files}


def _flavours(features: Sequence[Mapping[str, Any]], versions: Mapping[str, Any]) -> dict[str, Any]:
    onnx = {"data": "model.onnx", "providers": ["CPUExecutionProvider"]}
    python = {"loader_module": "mlflow.onnx", "data": "model.onnx"}
    if any(feature.get("categories") for feature in features):
        python = {"loader_module": "serving.pyfunc"}
    return {
        "onnx": onnx | {"onnx_version": str(versions.get("onnx", ""))},
        "python_function": python | {"python_version": platform.python_version()},
    }


def _example(
    features: Sequence[Mapping[str, Any]], examples: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A few rows as the signature has them: samples with values, else reference rows, which hold
    categories as codes; None where there are neither."""
    names = [str(feature["name"]) for feature in features]
    samples = [one["values"] for one in examples.get("samples") or () if one.get("values")]
    rows = [[values.get(name) for name in names] for values in samples]
    if not rows and not any(feature.get("categories") for feature in features):
        rows = examples.get("reference") or []
    return {"columns": names, "data": rows[:EXAMPLE_ROWS]} if rows else None
