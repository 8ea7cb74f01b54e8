"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from configs.environment import QUIET
from tests.commands import (  # noqa: F401  (fixtures)
    cli,
    environment,
    forked_cli,
    home,
    offline_log,
    service,
    shared_api,
)

os.environ.update(QUIET)  # libraries are as quiet as in a run; read while they are imported
# What `make test ARGS=…` was given is for the tests, not for the make that they start.
for _name in ("ARGS", "CONFIG", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"):
    os.environ.pop(_name, None)

# How long one example takes says something about the machine, nothing about the code.
settings.register_profile("golden-path", deadline=None)
settings.load_profile("golden-path")


@pytest.fixture(scope="session")
def real_log_rows(tmp_path_factory):
    """The rows of Online Retail II in canonical form, Parquet; skips where the log is not here."""
    from configs.load import load
    from ingestion.files import read_file
    from tests.places import real_log_or_skip

    log = real_log_or_skip()
    settings = load("online_retail", ["--source.path", str(log)], {})
    rows = tmp_path_factory.mktemp("real") / "rows.parquet"
    read_file(settings.source, log, rows, settings.compute)
    return rows


# On two workers: the files that share the run of the `smoke` fixture are one unit of work, and
# those that share the operated shop another, or each worker would make them for itself; and the
# longest begin first, so that both end together.
UNITS = {
    "smoke": tuple(
        f"tests/end_to_end/test_{name}.py"
        for name in (
            *("train", "kill", "data", "notebook", "reproduce", "serving", "serving_docs", "ui"),
            "score_and_monitor",
        )
    ),
    "operating": (
        *(
            f"tests/operating/test_{name}.py"
            for name in (
                "operating_bad_input",
                "operating",
                "held_and_ended_well",
                "properties",
                "year",
            )
        ),
        *(f"tests/end_to_end/test_{name}.py" for name in ("bad_input", "real_file", "adopt")),
    ),
}
LONGEST_FIRST = (
    *(file for unit in UNITS.values() for file in unit),
    "tests/ingestion/test_database.py",
    "tests/training/test_studies.py",
    "tests/training/test_fit.py",
    "tests/training/test_families.py",
    "tests/ingestion/test_contract.py",
    "tests/flows/test_data_stages.py",
    "tests/ingestion/test_files.py",
    "tests/serving/test_launcher.py",
    "tests/features/test_features_reference.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return next((name for name, files in UNITS.items() if file in files), file)

    config.option.loadscopereorder = False
    return Units(config, log)


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # on one worker alone, the fast ones come first
        place = {file: number for number, file in enumerate(LONGEST_FIRST)}

        def turn(item):
            file = item.nodeid.partition("::")[0]  # those that start processes before small ones
            return place.get(file, len(place) + (not file.startswith("tests/serving/")))

        items.sort(key=turn)


def pytest_ignore_collect(collection_path, config):
    """`make check` does not even import a file of which every test is slow: what such a file needs
    takes seconds of every worker."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    return True if "\npytestmark = pytest.mark.slow" in text else None
