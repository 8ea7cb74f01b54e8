"""A bundle with categories as MLflow opens it: what `loader_module` in its `MLmodel` names.

`mlflow.pyfunc.load_model` then takes a frame with text in those columns, as the service takes text,
and gives the same probabilities (`registry/mlmodel.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.categories import encoder
from registry.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    import pandas as pd


class Model:
    """MLflow's interface: a frame of feature values in, probabilities out."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        form = bundle.description.get("source_form") or {}
        self._encoders = {
            feature["name"]: encoder(feature, form.get("missing_values") or ())
            for feature in bundle.features
        }

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """frame: a column per feature, as the signature has them. Returns the column probability.
        params: of MLflow; there are none."""
        import pandas as pd

        values = frame.astype(object).where(frame.notna(), None)
        x = np.array(
            [[encode(value) for value in values[name]] for name, encode in self._encoders.items()],
            dtype=np.float32,
        ).T
        return pd.DataFrame({"probability": self.bundle.predict(x)}, index=frame.index)


def _load_pyfunc(folder: str) -> Model:
    """Verify and open the bundle in this folder; raises BundleRefused. MLflow calls it by name."""
    return Model(load_bundle(Path(folder)))
