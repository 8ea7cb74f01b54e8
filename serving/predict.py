"""Ask the running service, and print its answer as a table.

    python -m serving.predict [--config NAME] [--serving.port N] [FILE.json]      (make predict)

Without a file: the example that the last training run left, var/runs/latest/example.json.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx

from configs.command import make, run_command
from configs.errors import UserError
from configs.settings import Settings
from serving.address import url

EXAMPLE = Path("runs/latest/example.json")


def main(settings: Settings, file: Path | None) -> None:
    print(
        table(ask(settings, read(file or settings.var / EXAMPLE, settings, given=file is not None)))
    )


def read(file: Path, settings: Settings, *, given: bool) -> bytes:
    """The request as it stands in the file: judging it is the service's part."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"the file cannot be read: {error.strerror}"
            if given
            else "there is no run to take an example from",
            where=str(file),
            next_step='write {"customers": [...]} to it'
            if given
            else f"train first: {make('train', settings)}",
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
            next_step=f"start it in another terminal: {make('serve', settings)}",
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
    words = sys.argv[1:]
    request = Path(words.pop()) if words and words[-1].endswith(".json") else None
    about = "Ask the running service about FILE.json, or about the example of the last run."
    sys.exit(run_command("serving.predict", about, lambda found: main(found, request), words))
