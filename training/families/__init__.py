"""Model families: what each must offer, and how one is found.

A family is one module of this folder. To add one, put a file here with the five names of `Family`,
and name it in the preset's `training.families`: then it is compared with the others. Nothing else
lists the families; `tests/training/test_families.py` finds it and runs `family_cases.py` on it, and
`tests/training/test_added_family.py` adds one.
What reaches it is numbers: categories are columns by then (`training/export.py`).

Import a family only in a process of its own (`training/fit.py`): XGBoost and PyTorch bring two
OpenMP runtimes, and crash or collapse when one process loads both.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from common.errors import UserError

if TYPE_CHECKING:
    import onnx
    import optuna

    from features.table import Rows

Params = dict[str, Any]
Report = Callable[[int, float], None]


class Model(Protocol):
    """What a fit returns. Only its family looks inside."""

    @property
    def params(self) -> Params:
        """The parameters of the fit, with the number of rounds or epochs that early stopping
        found: given back to `fit` without validation rows, they make the same model again."""


class Family(Protocol):
    """What a family module offers."""

    BASELINE: Params
    """The literature's default, scaled to a laptop: always the first trial."""

    def suggest(self, trial: optuna.Trial) -> Params:
        """Parameters of one trial, drawn from the search space."""

    def fit(
        self,
        params: Params,
        train: Rows,
        valid: Rows | None,
        *,
        seed: int,
        threads: int,
        report: Report | None = None,
    ) -> Model:
        """Fit on `train`, the same model for the same arguments.

        With `valid`, stop early on its recalibrated log loss, and `report(step, loss)` on the way:
        it may raise `optuna.TrialPruned`, which passes through. Without, run exactly the rounds or
        epochs that `params` records. Raises ValueError when they record none.
        """

    def predict(self, model: Model, x: np.ndarray) -> np.ndarray:
        """Probabilities float64 (n,) of features float32 (n, f), NaN where missing."""

    def to_onnx(self, model: Model, n_features: int) -> onnx.ModelProto:
        """The same as a graph: see `training/export.py` for the contract."""


class Explains(Protocol):
    """What a family may offer besides."""

    PACKAGES: tuple[str, ...]
    """Packages whose versions decide its figures, besides NumPy and scikit-learn: result.json
    records them."""

    def contributions(self, model: Model, x: np.ndarray) -> np.ndarray:
        """What each feature adds to the log-odds, and last the bias: float32 (n, f + 1), whose
        rows sum to the log-odds of `predict`."""


def family_names() -> list[str]:
    """Names of the families in this folder, sorted."""
    files = [file for folder in __path__ for file in Path(folder).glob("*.py")]
    return sorted(file.stem for file in files if not file.stem.startswith("_"))


def check_families(names: tuple[str, ...]) -> None:
    """Raises UserError for a family that is not there or is named twice."""
    for position, name in enumerate(names):
        if name not in family_names() or name in names[:position]:
            twice = name in names[:position]
            file = f", or add the file training/families/{name}.py"
            raise UserError(
                f"{name!r} is {'named twice' if twice else 'not a family'}",
                where=f"training.families = {list(names)}",
                next_step=f"choose from {', '.join(family_names())}, each once"
                f"{'' if twice else file}",
            )


def load_family(name: str) -> Family:
    """Import the family of this name. Raises ValueError when there is no such file, or when a
    name of the protocol is missing from it."""
    if name not in family_names():
        raise ValueError(
            f"training.families: unknown family {name!r}; found: {', '.join(family_names())}. "
            f"Choose one of these, or add {Path(__file__).parent / (name + '.py')}"
        )
    module = importlib.import_module(f"training.families.{name}")
    required = ("BASELINE", "suggest", "fit", "predict", "to_onnx")
    missing = [item for item in required if not hasattr(module, item)]
    if missing:
        raise ValueError(f"training/families/{name}.py lacks {', '.join(missing)}")
    return cast(Family, module)
