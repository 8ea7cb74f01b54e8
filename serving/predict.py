"""Send a request to the running service, and print its answer as a table.

    python -m serving.predict [--config NAME] [--serving.port N] [FILE.json]      (make predict)

Without a file: the example that this preset's last training run left, example.json. A file of
invoice lines, {"as_of": ..., "customers": [{"lines": [...]}]}, goes to /predict_transactions, any
other to /predict. The token is sent that the service would demand with the same settings.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from rich.cells import cell_len

from common.errors import UserError
from common.terminal import short, visible
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from registry.champion import champion_now, model_name
from serving.access import read_token
from serving.client import Client, NotTheService, ServiceRefused, ServiceUnreachable
from serving.launcher import url
from serving.responses import Model, PredictResponse, TransactionsResponse

EXAMPLE = "example.json"
RETRIES = 2  # somebody waits at the terminal


def main(settings: Settings, file: str | None = None) -> None:
    print(table(ask(settings, read(Path(file)) if file else example(settings))))


def read(file: Path) -> bytes:
    """The request as it stands in the file; the service validates it."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"the file cannot be read: {error.strerror}",
            where=str(file),
            next_step='write {"customers": [...]} to it',
        ) from None


def example(settings: Settings) -> bytes:
    """The example that the last run of this preset left. Raises UserError without one."""
    runs = settings.var / "runs"
    # A run is called by its time. What cannot be read is not one of this preset's.
    for summary in sorted(runs.glob("*/summary.json"), reverse=True):
        try:
            config = json.loads(summary.read_bytes())["config"]
            if config == settings.name and summary.parent.name != "latest":
                return summary.with_name(EXAMPLE).read_bytes()
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
    raise UserError(
        f"there is no run of preset {settings.name} to take an example from",
        where=str(runs),
        next_step=f"train first: {make('train', settings)}",
    )


def ask(settings: Settings, body: bytes) -> PredictResponse | TransactionsResponse:
    """The service's answer. Raises UserError when there is no service, or when it refuses."""
    serving = settings.serving
    address = url(serving.host, serving.port)
    token = read_token(serving.token_variable, serving.token_file, os.environ)
    lines = has_lines(body)
    path = "/predict_transactions" if lines else "/predict"
    try:
        with Client(address, token, retries=RETRIES) as client:
            answer: PredictResponse | TransactionsResponse = (
                client.post(path, body, TransactionsResponse)
                if lines
                else client.post(path, body, PredictResponse)
            )
    except ServiceUnreachable as error:
        raise UserError(
            f"no service answers: {error}",
            where=address,
            next_step=f"start it in another terminal: {make('serve', settings)}",
        ) from None
    except NotTheService as error:
        raise UserError(
            f"what listens there is not this service: {error}",
            where=address,
            next_step="start the service on another port, and name it: --serving.port N",
        ) from None
    except ServiceRefused as error:
        problems = [
            f"{problem.where}: {problem.what}" + (f", got {problem.value}" if problem.value else "")
            for problem in error.detail
        ] or [error.error]
        raise UserError(
            f"the service refused the request ({error.status}): " + "\n         ".join(problems),
            where=address + path,
            next_step=_next(error, address, serving.token_variable),
        ) from None

    _refuse_another(answer.model, settings, address)
    return answer


def _refuse_another(model: Model, settings: Settings, address: str) -> None:
    """Raises UserError for an answer of another model than the champion of these settings."""
    champion, name = champion_now(settings), model_name(settings)
    if model.name != name:
        what = f"the service there serves {visible(model.name)}, not {name}"
        other = settings.serving.port + 1
        serve = make("serve", settings, "--serving.port", str(other))
        raise UserError(
            what,
            where=address,
            next_step=f"end it and start {make('serve', settings)}; or beside it: {serve}",
        )
    if champion is not None and champion.bundle_sha256 != model.bundle_sha256:
        raise UserError(
            f"version {model.version} answers, and version {champion.version} is champion of {name}"
            f" (bundle {model.bundle_sha256[:12]} and {champion.bundle_sha256[:12]})",
            where=address,
            next_step=f"wait {settings.serving.watch_seconds:g} s: the service then serves it or"
            f" refuses it ({address}/model says which); end a service of another folder first",
        )


def has_lines(body: bytes) -> bool:
    """Whether a request is about invoice lines, not feature values."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return False
    customers = request.get("customers") if isinstance(request, dict) else None
    return isinstance(customers, list) and (
        "as_of" in request or any(isinstance(one, dict) and "lines" in one for one in customers)
    )


def table(answer: PredictResponse | TransactionsResponse) -> str:
    """The answer, aligned, with who gave it above, and what was left out of it below."""
    model = answer.model
    decides = model.threshold is not None
    rows = [("customer", "probability", "decision" if decides else "")]
    for one in answer.predictions:
        name = f"row {one.row + 1}" if one.customer_id is None else short(one.customer_id, 40)
        decision = "contact" if one.decision else "leave"
        rows.append((name, f"{one.probability:.3f}", decision if decides else ""))
    width = max(cell_len(row[0]) for row in rows)
    head = f"{visible(model.name)} version {model.version}: " + (
        "probabilities only, it was trained without costs to decide by"
        if model.threshold is None
        else f"contact from a probability of {model.threshold:g} on"
    )
    lines = [
        f"{name}{' ' * (width - cell_len(name))}  {p:>11}  {decision}".rstrip()
        for name, p, decision in rows
    ]
    return "\n".join([head, "", *lines, *_left_out(answer)])


def _left_out(answer: PredictResponse | TransactionsResponse) -> list[str]:
    if not isinstance(answer, TransactionsResponse) or not answer.left_out:
        return []
    reasons = Counter(
        f"{reason}: {why}"
        for line in answer.left_out
        for reason, why in zip(line.reasons, line.why, strict=True)
    )
    head = f"{len(answer.left_out)} invoice line(s) were left out:"
    return ["", head, *(f"  {count} {visible(reason)}" for reason, count in reasons.most_common())]


def _next(error: ServiceRefused, address: str, token_variable: str) -> str:
    """What a person can do about a refusal."""
    match error.code:
        case "unauthorized":
            return f"set {token_variable} to the token that the service was started with"
        case "forbidden":
            return "use a name that the service knows (setting serving.allowed_hosts there)"
        case "timeout":
            return "send fewer customers at once"
        case "busy" | "not_ready" | "ending" | "unknown_champion" | "too_slow":
            return (
                f"run the same command again in a while; {address}/readyz says whether it is ready"
            )
        case "failed":
            return "read what the service printed: this is an internal error"
    return f"correct the request; see {address}/docs"


if __name__ == "__main__":
    about = "Send FILE.json, or the example of the last run, to the running service."
    sys.exit(run_command("serving.predict", about, main, arguments=("file",)))
