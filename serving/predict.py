"""Ask the running service, and print its answer as a table.

    python -m serving.predict [--config NAME] [--serving.port N] [FILE.json]      (make predict)

Without a file: the example that the last training run left, var/runs/latest/example.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from configs.errors import UserError
from configs.load import load
from configs.settings import Settings
from serving.address import url

EXAMPLE = Path("runs/latest/example.json")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m serving.predict", description=__doc__, allow_abbrev=False
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", default="default", help="preset: configs/NAME.yaml")
    known, words = parser.parse_known_args(arguments)
    # Not an argument of the parser: that would take the 3001 of `--serving.port 3001` for the file.
    file = Path(words.pop()) if words and words[-1].endswith(".json") else None
    try:
        settings = load(known.config, words)
        print(table(ask(settings, read(file or settings.var / EXAMPLE, given=file is not None))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def read(file: Path, *, given: bool) -> bytes:
    """The request as it stands in the file: judging it is the service's part."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"the file cannot be read: {error.strerror}"
            if given
            else "there is no run to take an example from",
            where=str(file),
            next_step='write {"customers": [...]} to it' if given else "train first: make train",
        ) from None


def ask(settings: Settings, body: bytes) -> dict[str, Any]:
    """The service's answer; raises UserError when none listens, or with the reason it refused."""
    address = url(settings.serving.host, settings.serving.port)
    try:
        # A proxy set on this machine is not asked for the way to this machine.
        with httpx.Client(trust_env=False, timeout=30) as client:
            response = client.post(
                f"{address}/predict", content=body, headers={"content-type": "application/json"}
            )
    except httpx.HTTPError as error:
        raise UserError(
            f"no service answers: {error}",
            where=address,
            next_step="start it in another terminal: make serve",
        ) from None
    try:
        answer = response.json()
        if response.status_code == 200:
            return {"model": answer["model"], "predictions": answer["predictions"]}
        problems = [
            f"{problem['where']}: {problem['what']}"
            + (f", got {problem['value']}" if problem["value"] else "")
            for problem in answer["detail"]
        ] or [answer["error"]]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"what listens there is not this service: it answered {response.status_code}",
            where=address,
            next_step="make serve on another port, and name it: --serving.port N",
        ) from None
    raise UserError(
        f"the service refused the request ({response.status_code}): "
        + "\n         ".join(problems),
        where=f"{address}/predict",
        next_step=f"mend the request; {address}/ says what it takes",
    )


def table(answer: dict[str, Any]) -> str:
    """The answer, aligned, with who gave it above."""
    model = answer["model"]
    rows = [("customer", "probability", "decision")]
    for number, prediction in enumerate(answer["predictions"], 1):
        name = prediction["customer_id"]
        rows.append(
            (
                f"row {number}" if name is None else str(name),
                f"{prediction['probability']:.3f}",
                "contact" if prediction["decision"] else "leave",
            )
        )
    width = max(len(row[0]) for row in rows)
    who = f"{model['name']} version {model['version']}"
    head = f"{who}: contact from a probability of {model['threshold']:g} on"
    return "\n".join(
        [head, "", *(f"{name:<{width}}  {p:>11}  {decision}" for name, p, decision in rows)]
    )


if __name__ == "__main__":
    sys.exit(main())
