"""The model that is served: trained once by the pipeline itself, into a var/ of its own, and
registered twice, so that there is something to swap."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from configs.load import load
from configs.settings import Settings
from registry.champion import ModelVersion, champion_now, find_version, promote, register
from registry.runs import open_run
from registry.tracking import open_store
from tests.bench.serving_processes import ROOT, Server

PRESET = "default"


class Registry:
    """Of the benchmark alone. versions: two of the same bundle; the first is champion."""

    def __init__(self, folder: Path, families: list[str], trials: int) -> None:
        self.settings: Settings = load(PRESET, ["--var", str(folder)], {})
        if champion_now(self.settings) is None:
            _train(folder, families, trials)
        self.client: Any = open_store(self.settings)
        first = find_version(self.client, self.settings, 1)
        assert first is not None
        self.versions = [first, self._second(first)]
        self.promote(first)

    def _second(self, first: ModelVersion) -> ModelVersion:
        return find_version(self.client, self.settings, 2) or register(
            self.client,
            self.settings,
            run_id=open_run(self.client, "run"),
            bundle=first.bundle,
            bundle_sha256=first.bundle_sha256,
            tags={},
        )

    def promote(self, version: ModelVersion) -> None:
        promote(self.client, version)

    def swap(self, server: Server) -> float:
        """Make the other one champion, and return how long the service took to swap it in."""
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            now = client.get("/model").json()["version"]
            (other,) = (one for one in self.versions if one.version != now)
            self.promote(other)
            answer = client.post("/reload")
            # The watch may have been faster.
            assert answer.json()["model"]["version"] == other.version, answer.text
            return answer.elapsed.total_seconds()


def _train(folder: Path, families: list[str], trials: int) -> None:
    command = [
        sys.executable,
        "-m",
        "flows.commands.train",
        "--config",
        PRESET,
        "--var",
        str(folder),
    ]
    command += ["--training.families", json.dumps(families), "--tuning.trials", str(trials)]
    print("once, the model:", " ".join(command[1:]), flush=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def save_for_mlflow(first: ModelVersion, names: list[str], folder: Path) -> Path:
    """The same graph as MLflow's own model, whose columns are numbers that may be missing."""
    import mlflow
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    schema = Schema([ColSpec("double", name, required=False) for name in names])
    mlflow.onnx.save_model(
        onnx.load(first.bundle / "model.onnx"),
        folder,
        signature=ModelSignature(inputs=schema),
        pip_requirements=["onnxruntime"],  # else it looks for them, for seconds
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
    )
    return folder
