"""`make reproduce`: the same figures come out again, or it is said why they cannot."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from common.errors import UserError
from configs.load import dump, load
from flows.commands.reproduce import (
    check_code,
    cores_to_use,
    find_original,
    why_not_repeatable,
)
from flows.stage import ROOT, code_sha256

pytestmark = pytest.mark.slow


def test_a_run_is_repeated_with_the_same_figures_and_nothing_else_is_touched(
    again, forked_cli, tmp_path
):
    """A run whose settings are not those of its preset: what was recorded is what is repeated."""
    runs = again.var / "runs"
    name = again.summary["run_id"]
    var = tmp_path / "var"  # the run alone, so that nothing of its var/ can be reused
    shutil.copytree(runs / name, var / "runs" / name)
    (var / "runs" / "latest").symlink_to(name)
    done = forked_cli(var, "latest", module="flows.commands.reproduce")
    assert done.code == 0, done.out + done.err
    assert "are the same" in done.out and "different" not in done.out
    for word in ("data_sha256", "table_sha256", "winner", "model.onnx", "xgboost test roc_auc"):
        assert word in done.out
    assert sorted(path.name for path in var.iterdir()) == ["reproduce", "runs"]

    # The same again with another figure in its summary: that one is named. No run is needed.
    from flows.commands.reproduce import compare

    repeated = var / "reproduce" / name / "var" / "runs" / "latest"
    original = find_original(load("smoke", ["--var", str(var)], env={}), name)
    summary = json.loads((repeated / "summary.json").read_text())
    for key in ("differences", "slices", "against", "baseline", "oracle", "unseen"):
        assert summary[key] == original.summary[key], key
    assert figures_of_rules(summary) == figures_of_rules(original.summary)
    original.summary["families"]["xgboost"]["test"]["roc_auc"] += 1e-12
    different = [what for what, then, now in compare(original, repeated) if then != now]
    assert different == ["xgboost test roc_auc"]


def figures_of_rules(summary):
    """What each rule of the gate found, but for the latency, which is a clock."""
    rules = summary["decision"]["rules"]
    return [(r["rule"], r["held"], r["figure"]) for r in rules if r["rule"] != "latency"]


# --- why it cannot: on a folder that looks like a run, at no cost ----------------------------


@pytest.fixture
def make_run(tmp_path):
    """A run that has ended, with these settings and changes of its summary."""

    def make(*arguments: str, **changes):
        folder = tmp_path / "var" / "runs" / "20260101-000000-abcd"
        folder.mkdir(parents=True, exist_ok=True)
        settings = load("smoke", [*arguments, "--var", str(tmp_path / "var")], env={})
        (folder / "settings.yaml").write_text(dump(settings))
        summary = {
            "data_sha256": "d",
            "table_sha256": "t",
            "code_sha256": code_sha256(),
            "code_revision": "unknown",
            "families": {"xgboost": {"ended_by": "trials"}},
        } | changes
        (folder / "summary.json").write_text(json.dumps(summary))
        return find_original(settings, folder.name)

    return make


def test_a_run_that_is_not_there_or_has_not_ended_is_named(make_run, tmp_path):
    settings = load("smoke", ["--var", str(tmp_path / "var")], env={})
    for asked, said in ((None, "no run is named"), ("nothing", "no run 'nothing'")):
        with pytest.raises(UserError, match=said):
            find_original(settings, asked)
    folder = make_run().folder
    with pytest.raises(UserError, match=r"no run '\.\./\.\./etc'") as refused:
        find_original(settings, "../../etc")
    assert folder.name in refused.value.next_step
    (folder / "summary.json").unlink()
    with pytest.raises(UserError, match="has not ended"):
        find_original(settings, folder.name)


def test_a_run_of_before_its_hashes_were_recorded_is_refused(make_run):
    folder = make_run().folder
    summary = json.loads((folder / "summary.json").read_text())
    del summary["code_sha256"]
    (folder / "summary.json").write_text(json.dumps(summary))
    settings = load("smoke", ["--var", str(folder.parents[1])], env={})
    with pytest.raises(UserError, match="has not recorded its code_sha256"):
        find_original(settings, folder.name)


def test_its_settings_come_back_as_they_were(make_run):
    original = make_run(
        *("--gate.max_export_difference", "1e-6"),
        *("--source.kind", "files", "--source.path", "data/x.csv"),
    )
    assert original.settings.gate.max_export_difference == 1e-6
    assert original.settings.source.path == (str(ROOT / "data/x.csv"),)


def test_a_run_that_was_ended_by_the_clock_is_not_repeatable(make_run):
    assert why_not_repeatable(make_run()) == ""
    timed = make_run(families={"tabm": {"ended_by": "seconds"}})
    assert "the search of tabm was ended by the clock" in why_not_repeatable(timed)
    assert "tuning.workers" in why_not_repeatable(make_run("--tuning.workers", "2"))


def test_a_source_that_is_gone_is_named(make_run, tmp_path):
    gone = make_run("--source.kind", "files", "--source.path", str(tmp_path / "gone.csv"))
    with pytest.raises(UserError, match="its source is not what it was") as refused:
        why_not_repeatable(gone)
    assert "gone.csv" in str(refused.value)


def test_a_database_cannot_be_read_again_as_it_was(make_run):
    database = ("--source.kind", "database", "--source.database.url", "sqlite:///shop.db")
    with pytest.raises(UserError, match="cannot be read again as it was"):
        why_not_repeatable(make_run(*database, "--source.database.table", "lines"))


def test_other_code_is_refused_with_how_to_get_it(make_run, capsys):
    check_code(make_run(), anyway=False)
    commit = "0123456789abcdef" * 2 + "01234567"
    for revision, said, how in (
        (
            commit,
            "the code differs from that of revision 0123456789ab",
            "git worktree add ../0123456789ab",
        ),
        (f"{commit}+changes", "changes on top of 0123456789ab that were not committed", "restore"),
        ("unknown", "recorded no git revision", "check out"),
    ):
        other = make_run(code_sha256="other", code_revision=revision)
        with pytest.raises(UserError, match=said) as refused:
            check_code(other, anyway=False)
        assert how in refused.value.next_step and "--anyway" in refused.value.next_step
        check_code(other, anyway=True)
        assert said in capsys.readouterr().out


def test_the_words_that_check_out_its_revision_can_be_pasted(make_run, tmp_path):
    """In a clone of this repository, with a commit after the one that the run had."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    clone = tmp_path / "clone"
    clone.mkdir()
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "then"]):
        subprocess.run([*git, *words], cwd=clone, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True)
    with pytest.raises(UserError) as refused:
        check_code(make_run(code_sha256="other", code_revision=head.stdout.strip()), anyway=False)
    words, _, last = refused.value.next_step.partition(" && make reproduce ")
    subprocess.run(f"{words} && git log -1", shell=True, cwd=clone, check=True)
    assert f"--var {tmp_path / 'var'}" in last


def test_the_cores_it_had_are_the_cores_it_gets(make_run, monkeypatch):
    original = make_run()
    assert cores_to_use(original) is None, "nothing says how many"
    (original.folder / "job-xgboost.json").write_text('{"threads": 1}')
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert cores_to_use(original) == {0, 1}, "two families side by side, one thread each"
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert cores_to_use(original) is None
    (original.folder / "job-tabm.json").write_text('{"threads": 8}')
    assert cores_to_use(original) is None, "there are not as many here"
