"""Gather everything that the report and the model card of a run are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.settings import Settings
from features.table import Rows, read_rows
from training.importance import exported, permutation_importance

if TYPE_CHECKING:
    from training.evaluate import Evaluation


@dataclass(frozen=True)
class ReportContext:
    """One run.

    summary: what becomes summary.json.  results: candidate -> its result.json.
    schema: the features in column order, as dicts.  The rest may be missing, and is then left out:
    valid: the rows of the validation split, which valid_native and valid_raw are predictions of,
    per candidate, after and before calibration; test_raw: before calibration, of the test split.
    contributions: float32 (m, f + 1) of the winner, for m test rows evenly spaced.
    importance: of the winner, from `permutation_importance`.
    """

    summary: dict[str, Any]
    settings: Settings
    evaluation: Evaluation
    results: dict[str, dict[str, Any]]
    schema: tuple[dict[str, Any], ...]
    valid: Rows | None = None
    valid_native: dict[str, np.ndarray] = field(default_factory=dict)
    valid_raw: dict[str, np.ndarray] = field(default_factory=dict)
    test_raw: dict[str, np.ndarray] = field(default_factory=dict)
    contributions: np.ndarray | None = None
    contributions_of: str = ""  # the candidate they explain: the winner, or the one that has them
    importance: dict[str, Any] | None = None

    @property
    def y(self) -> np.ndarray:
        assert self.evaluation.test.y is not None
        return self.evaluation.test.y

    @property
    def candidates(self) -> list[str]:
        """The winner, then the others by their validation figure."""
        others = [name for name in self.results if name != self.evaluation.winner]
        others.sort(key=lambda name: self.results[name]["valid_metrics"]["recalibrated_log_loss"])
        return [self.evaluation.winner, *others]


def read_context(
    summary: dict[str, Any],
    settings: Settings,
    evaluation: Evaluation,
    folders: dict[str, Path],
    schema: list[dict[str, Any]],
    table: Path,
) -> ReportContext:
    """Read a run's results; the importance of the winner is computed here.

    folders: candidate -> the folder that it left.  table: the training table (Parquet).
    """
    names = tuple(str(feature["name"]) for feature in schema)
    winner = evaluation.winner
    predict, most_rows = exported(folders[winner] / "model.onnx")
    explained = next(
        (name for name in (winner, *folders) if (folders[name] / "contributions.npy").exists()), ""
    )
    return ReportContext(
        summary=summary,
        settings=settings,
        evaluation=evaluation,
        results={
            name: json.loads((folder / "result.json").read_text(encoding="utf-8"))
            for name, folder in folders.items()
        },
        schema=tuple(schema),
        valid=read_rows(table, ("valid",), names),
        valid_native=_arrays(folders, "valid_native.npy"),
        valid_raw=_arrays(folders, "valid_raw.npy"),
        test_raw=_arrays(folders, "test_raw.npy"),
        contributions=(
            np.load(folders[explained] / "contributions.npy", allow_pickle=False)
            if explained
            else None
        ),
        contributions_of=explained,
        importance=permutation_importance(
            predict, evaluation.test, names, seed=settings.seed, most_rows=most_rows
        ),
    )


def _arrays(folders: dict[str, Path], name: str) -> dict[str, np.ndarray]:
    return {
        candidate: np.load(folder / name, allow_pickle=False)
        for candidate, folder in folders.items()
        if (folder / name).exists()
    }
