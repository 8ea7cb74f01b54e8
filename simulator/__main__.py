"""Writes a simulated log of any size: ``python -m simulator FOLDER [NAME=VALUE …]``.

For measurements and for looking around; the pipeline itself reads `source.simulation`. Names are
those of `configs.settings.Simulation`, and ``seed``. 315,000 customers make 30 million lines.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from time import perf_counter

from pydantic import ValidationError

from common.errors import UserError
from configs.source import Simulation


def main(arguments: list[str]) -> int:
    from simulator.simulator import simulate

    if not arguments or any("=" not in argument for argument in arguments[1:]):
        print(__doc__)
        return 2
    options = dict(argument.split("=", 1) for argument in arguments[1:])
    seed = int(options.pop("seed", 7))
    # What does not parse as a number, such as a date, stays text.
    values = {name: _number(text) for name, text in options.items()}
    try:
        simulation = Simulation.model_validate_json(json.dumps(values))
        began = perf_counter()
        log = simulate(simulation, seed, Path(arguments[0]))
    except (UserError, ValidationError) as error:
        print(error, file=sys.stderr)
        return 1
    seconds = perf_counter() - began

    import pyarrow.parquet as pq

    lines = pq.read_metadata(log.raw).num_rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{log.raw}: {lines:,} lines, {seconds:.1f} s, at most {peak:.0f} MiB of memory")
    return 0


def _number(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
