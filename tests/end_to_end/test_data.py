"""What a person does about data: look into quarantine, mend a rule, bring a log of one's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_quarantine_is_shown_by_reason_with_examples(forked_cli, smoke):
    shown = forked_cli(smoke.var, "--config", "smoke", module="flows.commands.quarantine")
    assert shown.code == 0, shown.err
    rows = smoke.summary["rows"]
    for reason, count in rows["reasons"].items():
        assert re.search(rf"^{reason} +{count:,} ", shown.out, re.MULTILINE), reason
        assert re.search(rf"^{reason} *\nsource ", shown.out, re.MULTILINE), "examples"
    assert f"{rows['quarantined']:,} in quarantine" in shown.out


def test_a_mended_rule_is_replayed_and_the_next_run_goes_on_from_there(forked_cli, smoke):
    mended = ("--contract.rules.no_product_code.severity", "ignore")
    done = forked_cli(smoke.var, "--config", "smoke", *mended, module="flows.commands.replay")
    assert done.code == 0, done.err
    moved = int(
        re.search(r"([\d,]+) rows of the quarantine pass now", done.out)[1].replace(",", "")
    )
    assert 0 < moved <= smoke.summary["rows"]["reasons"]["no_product_code"]
    (record,) = (smoke.var / "replays").glob("*/replay.json")
    content = json.loads(record.read_text())
    assert content["before"] == smoke.summary["rows"]
    assert content["after"]["valid"] == content["before"]["valid"] + moved
    assert content["after"]["raw"] == content["before"]["raw"]
    # As it was, for the tests that follow.
    back = forked_cli(smoke.var, "--config", "smoke", module="flows.commands.replay")
    assert back.code == 0 and f"{moved:,} rows that were valid" in back.out


def test_a_log_of_another_shape_is_adopted_by_a_yaml_file_alone(adopted):
    summary = adopted.summary
    assert summary["config"] == "purchases"
    assert summary["rows"]["valid"] > 0.9 * summary["rows"]["raw"]
    assert summary["families"]["logistic"]["test"]["roc_auc"] > 0.6
    job = json.loads((adopted.var / "runs" / "latest" / "job-logistic.json").read_text())
    dropped = {"products_365d", "products_total", "is_home"}
    assert "recency_days" in job["features"] and not dropped & set(job["features"])


def test_a_model_of_such_a_log_is_served(adopted, service):
    import httpx

    example = json.loads((adopted.var / "runs" / "latest" / "example.json").read_text())
    preset = adopted.var.parent / "purchases.yaml"
    with service(adopted.var, config=str(preset)) as url:
        answer = httpx.post(f"{url}/predict", json=example, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == len(example["customers"])


def test_a_run_beside_another_on_the_same_folder_is_refused(environment, smoke):
    hold = "import sys; from pathlib import Path; from common.locks import folder_lock\n"
    hold += (
        "with folder_lock(Path(sys.argv[1]), 'train'): print('holds', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(smoke.var)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "holds\n"
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "flows.commands.train",
                "--config",
                "smoke",
                "--var",
                str(smoke.var),
            ],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        first.kill()
    assert done.returncode == 1 and "another command works in this folder" in done.stderr
    assert f"process {first.pid}" in done.stderr
