"""A shop that is operated: nothing of it is made up but its customers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from shop import FIRST, Shop, copy_state, refill, simulate_months

from common.errors import UserError
from configs.command import run_command
from flows import data_stages, monitor, operate
from flows.commands import backfill, rebaseline
from flows.finish import finished


@pytest.fixture(scope="session")
def months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_months(tmp_path_factory.mktemp("shop"))


def open_shop(home: Path, months: Path) -> Shop:
    shop = Shop(home, months)
    shop.open()
    shop.deliver(before=FIRST)
    shop.champion()
    return shop


@pytest.fixture(scope="session")
def opened(months: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Path]:
    """A shop with a champion, whose log ends before the first month to operate and was read, and
    its state."""
    shop = open_shop(tmp_path_factory.mktemp("operated"), months)
    data_stages.ingest(shop.settings(f"{FIRST}-01"))
    known = shop.home / "known"
    copy_state(shop.var, known)
    return shop, known


@pytest.fixture
def own_shop(months: Path, tmp_path: Path) -> Shop:
    """A shop of its own, for a test that adds to the registry."""
    return open_shop(tmp_path, months)


@pytest.fixture
def shop(opened: tuple[Shop, Path]) -> Shop:
    """The same, as it was at first; the registry is shared, and stays as it is."""
    shop, known = opened
    refill(known, shop.var)
    shutil.rmtree(shop.incoming)
    shop.open()
    shop.deliver(before=FIRST)
    return shop


@pytest.fixture(scope="session")
def worked_off(opened: tuple[Shop, Path]) -> Path:
    """The state after its first two months were processed."""
    shop, known = opened
    refill(known, shop.var)
    shop.open()
    shop.deliver("2026-04", "2026-05", before=FIRST)
    with finished(shop.settings("2026-06-01")):
        operate.operate(shop.settings("2026-06-01"), lambda _: None)
    found = shop.home / "worked-off"
    copy_state(shop.var, found)
    return found


@pytest.fixture
def operated(shop: Shop, worked_off: Path) -> Shop:
    """The shop whose first two months, April and May, were processed."""
    refill(worked_off, shop.var)
    shop.deliver("2026-04", "2026-05")
    return shop


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


MODULES = {"operate": operate, "monitor": monitor, "backfill": backfill, "rebaseline": rebaseline}


@pytest.fixture
def run(capsys, monkeypatch) -> Callable[..., Ended]:
    """`run(shop, "operate", "2026-07-02", restate="2026-04")` is the command on that day, within
    this process: its exit code and what it said."""
    monkeypatch.setattr(operate, "end_on_signals", lambda: None)  # it would end the tests

    def run(shop: Shop, command: str, today: str, *arguments: str, **options: str) -> Ended:
        module: Any = MODULES[command]
        words = [*shop.words, "--operations.today", today, *arguments]
        for name, value in options.items():
            words += [f"--{name.rstrip('_')}", value]
        capsys.readouterr()
        code = run_command(f"flows.{command}", "", module.main, words, options=module.OPTIONS)
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def refused(run) -> Callable[..., UserError]:
    """The same for a command that is refused: what, where and the next step."""

    def refused(*arguments: Any, **options: Any) -> UserError:
        done = run(*arguments, **options)
        assert done.code == 1, done.out + done.err
        heads = {"Error: ": "what", "  where: ": "where", "  next:  ": "next_step"}
        last = done.err[done.err.rindex("Error: ") :]
        parts = {
            heads[head]: line.removeprefix(head)
            for line in last.splitlines()
            for head in heads
            if line.startswith(head)
        }
        assert set(parts) == set(heads.values()), done.err
        return UserError(**parts)

    return refused
