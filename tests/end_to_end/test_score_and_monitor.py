"""What a new user types after `make train`: score, monitor, operate."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.slow


def words_of(said: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for line in said.splitlines() if (words := line.split())}


def test_after_a_first_training_monitor_judges_and_says_what_is_learning(smoke, forked_cli):
    shutil.rmtree(smoke.var / "scores", ignore_errors=True)  # of other tests: of earlier days
    done = forked_cli(smoke.var, "--config", "smoke", module="flows.score")
    assert done.code == 0, done.err
    done = forked_cli(smoke.var, "--config", "smoke", module="flows.monitor")
    assert done.code == 0, done.err
    assert "2025-11: calendar" in done.out  # of a log that ends on 30 December
    assert "no scores as of 2025-12-01 or before" in done.out  # they are as of 31 December
    assert words_of(done.out)["price"][0] == "ok"

    done = forked_cli(smoke.var, "--config", "smoke", module="flows.operate")
    assert done.code == 0, done.err
    assert "2025-11: calendar" in done.out and "retraining" not in done.out
    done = forked_cli(smoke.var, "--config", "smoke", module="flows.operate")
    assert "No month is due: 2025-11 was the last, and today is 2025-12-31" in done.out
    done = forked_cli(smoke.var, "--config", "smoke", module="flows.monitor")
    table = words_of(done.out)
    assert table["Champion"][:2] == ["version", "1"]
    assert table["champion_gain"][0] == "learning" and table["champion_gain"][-1] == "2026-03"
