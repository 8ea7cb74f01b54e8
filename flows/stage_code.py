"""The code of each stage: the modules that do its work, and the files that these lead to.

The files are found by reading imports (`common/import_closure.py`). What imports do not show stands
here: the module of a family, which is loaded by its name, and files that a module reads (`READS`).
A page about a stage is written beside it and is not its code. `tests/flows/test_stage_code.py` runs
every stage and compares the files that were used with those that are found here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.import_closure import ROOT, import_closure

READS = {"features.engine": "features/sql"}  # module -> the folder whose files it reads

SIMULATE = ("simulator.simulator",)
READ_FILE = ("ingestion.files",)
READ_TABLE_FILE = ("ingestion.labelled.read",)
CUT = ("ingestion.cut",)
VALIDATE = ("ingestion.validate",)
VALIDATE_TABLE = ("ingestion.labelled.validate",)
FEATURES = ("features.build", "features.leaks", "flows.table_check")
FEATURES_OF_TABLE = ("features.from_table", "features.table_leaks", "flows.table_check")
ENSEMBLE = ("training.ensemble",)
EVALUATE = ("training.evaluate",)  # not a stage: it is run each time
# The flows that hand the settings to the stages: these files, not what they import.
WIRING = ("train", "data_stages", "log_stages", "table_stages", "family", "compare")


def fit(family: str) -> tuple[str, ...]:
    """The modules that fit a family. The other families are not part of it."""
    return ("training.fit", f"training.families.{family}")


def figures(root: Path = ROOT) -> list[Path]:
    """All files that a run's figures come from, relative to `root`, sorted."""
    families = sorted(file.stem for file in (root / "training" / "families").glob("[!_]*.py"))
    modules = (
        *(*SIMULATE, *READ_FILE, *READ_TABLE_FILE, *CUT),
        *(*VALIDATE, *VALIDATE_TABLE, *FEATURES),
        *(*FEATURES_OF_TABLE, *ENSEMBLE, *EVALUATE),
        *(module for family in families for module in fit(family)),
    )
    wiring = {Path("flows", f"{name}.py") for name in WIRING}
    return sorted({*closure(modules, root), *wiring})


def closure(modules: Iterable[str], root: Path = ROOT) -> list[Path]:
    """The files of these modules and of all that they import, relative to `root`, sorted.

    Raises ValueError for a name that is not a module of the project, packages included.
    """
    files = set[Path]()
    for name, file in import_closure(modules, root).items():
        files.add(file)
        if name in READS:
            files.update(path for path in (root / READS[name]).rglob("*") if path.is_file())
    return sorted(file.relative_to(root) for file in files)
