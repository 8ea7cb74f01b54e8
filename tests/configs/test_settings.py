"""Settings: four layers in order, and every refusal names the setting, its place and the range."""

from __future__ import annotations

import math
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from pydantic import ValidationError

from common.errors import UserError
from configs import load as loading
from configs.command import run_command
from configs.describe import accepted, options
from configs.load import dump, load, presets
from configs.make_command import make
from configs.yaml_text import Reader

FIELDS = dict(options())
NUMERIC = sorted(name for name, field in FIELDS.items() if field.annotation in (int, float))


def at(settings: object, name: str) -> object:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def refused(config: str = "default", arguments: tuple = (), env: dict | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        load(config, arguments, env or {})
    assert caught.value.what and caught.value.where and caught.value.next_step
    return caught.value


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of presets of our own, with an empty default."""
    monkeypatch.setattr(loading, "FOLDER", tmp_path)
    (tmp_path / "default.yaml").write_text("")
    return tmp_path


# --- the layers -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_and_is_called_by_its_file(name):
    assert load(name, env={}).name == name


def test_each_layer_covers_the_one_below(folder):
    (folder / "default.yaml").write_text("seed: 2")  # of another preset: not a layer of this one
    (folder / "mine.yaml").write_text("tuning: {trials: 3, seconds: 3, workers: 3}")
    env = {"GOLDEN_PATH_TUNING__TRIALS": "4", "GOLDEN_PATH_TUNING__SECONDS": "4"}
    settings = load("mine", ["--tuning.trials", "5"], env)
    assert settings.tuning.trials == 5  # command line
    assert settings.tuning.seconds == 4  # environment
    assert settings.tuning.workers == 3  # the preset
    assert settings.seed == FIELDS["seed"].default
    assert settings.training.bootstrap == FIELDS["training.bootstrap"].default  # the model


def test_a_section_keeps_what_lower_layers_say_about_the_rest_and_a_mapping_of_columns_does_not(
    folder,
):
    env = {"GOLDEN_PATH_TUNING__TRIALS": "4", "GOLDEN_PATH_SOURCE__COLUMNS": "{invoice_id: C}"}
    (folder / "mine.yaml").write_text("source: {columns: {invoice_id: A, quantity: B}}")
    settings = load("mine", ["--tuning", "{seconds: 9}"], env)
    assert settings.tuning.trials == 4 and settings.source.columns == {"invoice_id": "C"}
    env = {"GOLDEN_PATH_SOURCE__COLUMNS__INVOICE_ID": "123"}  # one of them
    columns = load("default", ["--source.columns.quantity=Qty"], env).source.columns
    assert columns == {"quantity": "Qty", "invoice_id": "123"}


def test_the_process_environment_counts_when_none_is_handed_over(monkeypatch):
    monkeypatch.setenv("GOLDEN_PATH_SEED", "12")
    assert load().seed == 12


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--seed", "11"), "seed", 11),
        (("--seed=11",), "seed", 11),
        (("--seed", "3", "--seed=11"), "seed", 11),
        (("--gate.min-gain", "-0.5"), "gate.min_gain", -0.5),
        (("--gate.max_export_difference=1e-7",), "gate.max_export_difference", 1e-7),
        (("--source.time_format=null",), "source.time_format", None),
        *(
            ((f"--features.home_country={text}",), "features.home_country", text)
            for text in ("NO", "null", "2024", "a: b", "1e-5", "", "#1", "[x", " x ")
        ),
    ],
)
def test_a_flag_gives_a_value_of_the_settings_type_and_text_as_it_stands(words, name, value):
    env = {"GOLDEN_PATH_SOURCE__TIME_FORMAT": "%Y"}
    assert at(load("default", words, env), name) == value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b", ("a", "b")),
        ("[a, b]", ("a", "b")),
        ('day, "sum, net"', ("day", "sum, net")),
        ("no", ("no",)),
        ("", ()),
    ],
)
def test_a_list_of_names_may_be_written_as_text(folder, text, names):
    option = "source.text.names"
    assert load("default", [f"--{option}", text], {}).source.text.names == names
    variable = {"GOLDEN_PATH_SOURCE__TEXT__NAMES": text}
    assert load("default", env=variable).source.text.names == names
    if not text.startswith("["):  # in a file, brackets are YAML's
        (folder / "mine.yaml").write_text(f"source: {{text: {{names: {text!r}}}}}")
        assert load("mine", env={}).source.text.names == names


def test_a_preset_may_have_short_scientific_numbers_and_empty_sections(folder):
    (folder / "mine.yaml").write_text("gate: {max_export_difference: 1e-6}\ntuning: {}")
    settings = load("mine", ["--var", "a[1]*b"], {})
    assert settings.gate.max_export_difference == 1e-6 and str(settings.var) == "a[1]*b"
    assert settings.tuning == load("default", env={}).tuning


# --- frozen, strict, written and read again ---------------------------------------------------


def test_nothing_changes_after_start():
    settings = load(env={})
    with pytest.raises(ValidationError):
        settings.seed = 1
    with pytest.raises(ValidationError):
        settings.tuning.trials = 1


@pytest.mark.parametrize("name", presets())
def test_what_dump_writes_load_reads_back(name, folder, monkeypatch):
    monkeypatch.undo()
    arguments = [
        "--source.columns={invoice_id: '1e-5', quantity: 'on'}",
        "--features.last_as_of=2011-09-09",
        "--features.home_country=1e-5",
        "--source.path=null",
    ]
    settings = load(name, arguments if name == "default" else (), {})
    monkeypatch.setattr(loading, "FOLDER", folder)
    (folder / f"{name}.yaml").write_text(dump(settings), encoding="utf-8")
    assert load(name, env={}) == settings


@pytest.mark.parametrize(
    ("name", "text", "range_"),
    [
        ("tuning.trials", "'10'", "whole number from 1 to 10000"),
        ("tuning.trials", "10.0", "whole number from 1 to 10000"),
        ("tuning.trials", "true", "whole number from 1 to 10000"),
        ("tuning.trials", "0", "whole number from 1 to 10000"),
        ("tuning.seconds", "true", "number above 0"),
        ("tuning.seconds", "'60'", "number above 0"),
        ("training.bootstrap", "49", "whole number from 50 to 100000"),
        ("contract.audit_rows", "0", "whole number, at least 1"),
        ("training.families", "[]", "list of names, at least 1"),
        ("training.families", "[1]", "list of names, at least 1"),
        ("training.families", "5", "list of names, at least 1"),
        ("source.kind", "kafka", "simulated or files or database or table"),
        ("source.columns", "{quantity: 5}", "mapping of names to names"),
        ("features.home_country", "5", "text"),
        ("features.last_as_of", "soon", "date (YYYY-MM-DD) or null"),
        ("features.last_as_of", "2011-09-09 10:00:00", "date (YYYY-MM-DD) or null"),
        ("source.path", "5", "list of names"),
        ("source.simulation.start", "'2024-01-01'", "date (YYYY-MM-DD)"),
    ],
)
def test_a_bad_value_in_a_file_is_refused_with_name_place_and_range(folder, name, text, range_):
    section, _, key = name.rpartition(".")
    tree = f"{key}: {text}"
    for part in reversed(section.split(".")):
        tree = f"{part}: {{{tree}}}"
    (folder / "mine.yaml").write_text(tree)
    error = refused("mine")
    assert f"setting {name!r} is " in error.what
    assert error.where == "configs/mine.yaml"
    assert error.next_step == f"accepted: {range_}"


REFUSED = {  # what is wrong -> the preset, the arguments, the environment; what is said where
    "a flag": ("", "--tuning.trials many", {}, "setting 'tuning.trials' is 'many'",
               "--tuning.trials"),
    "a variable": ("", "", {"GOLDEN_PATH_TUNING__TRIALS": "many"},
                   "setting 'tuning.trials' is 'many'", "GOLDEN_PATH_TUNING__TRIALS"),
    "a flag above a variable": ("", "--tuning.trials many", {"GOLDEN_PATH_TUNING__TRIALS": "5"},
                                "setting 'tuning.trials' is 'many'", "--tuning.trials"),
    "a value within a section": ("", "--tuning {trials:\u00a0many}", {},
                                 "setting 'tuning.trials' is 'many'", "--tuning.trials"),
    "several values": ("", "--seed=-1 --tuning.trials=0", {}, "(and 1 more)", "--"),
    **{
        f"a value for the section {name}": (
            "", f"--{name} 5", {}, f"setting {name!r} is 5", f"--{name}"
        )
        for name in ("tuning", "source.simulation", "source")
    },
    "a date that does not exist": ("", "--features.last_as_of 2011-13-45", {},
                                   "2011-13-45", "--features.last_as_of"),
    "such a date in a preset": ("features: {last_as_of: 2011-02-30}", "", {}, "", "mine.yaml"),
    "a name": ("", "--name x", {}, "the name 'x' cannot be set", "--name"),
    "a name by a variable": ("", "", {"GOLDEN_PATH_NAME": "x"}, "the name 'x' cannot be set",
                             "GOLDEN_PATH_NAME"),
    "a word": ("", "seed 1", {}, "'seed' is not an option", "command line"),
    "a flag without a value": ("", "--seed", {}, "--seed has no value", "command line"),
    "a flag before another": ("", "--seed --tuning.trials 1", {}, "--seed has no value",
                              "command line"),
    "two dashes": ("", "--", {}, "'--' is not an option", "command line"),
    **{
        f"a preset that is not a mapping: {text!r}": (text, "", {}, "", "mine.yaml")
        for text in ("a: [1", "a: b: c", "\tx: 1", "- 1\n- 2", "just text", "!!int x", "\udcff")
    },
    "a setting twice": ("seed: 1\ntuning: {trials: 3}\nseed: 2", "", {}, "line 3,", "mine.yaml"),
    "a column twice": ("source: {table: {columns: {a: 1, a: 2}}}", "", {},
                       "is given twice", "mine.yaml"),
    "an unknown empty section": ("tunning: {}", "", {}, "unknown setting", "mine.yaml"),
    "an unknown section of a section": ("source: {table: {colums: {}}}", "", {},
                                        "unknown setting", "mine.yaml"),
    "a zero byte in a column": ('source: {table: {columns: {"a\\0b": {type: number}}}}', "", {},
                                "zero byte", "mine.yaml"),
    "a zero byte in a path": ("", "--var a\0b", {}, "zero byte", ""),
    "a path with a question mark": ("", "--var a?b", {}, "'a?b'", ""),
    "an empty path": ("", "--var=", {}, "''", ""),
    "a rule of a wrong severity": ("contract: {rules: {zero_price: {severity: stop}}}", "", {},
                                   "contract.rules.zero_price", "mine.yaml"),
    "an unknown rule": ("contract: {rules: {zero_prize: {low: 1}}}", "", {}, "", "mine.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_where_it_was_written(folder, case):
    preset, arguments, env, what, where = REFUSED[case]
    (folder / "mine.yaml").write_bytes(preset.encode(errors="surrogateescape"))
    words = [word.replace("\u00a0", " ") for word in arguments.split(" ") if word]
    error = refused("mine" if preset else "default", tuple(words), env)
    assert what in error.what and where in error.where


# --- unknown settings -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("sead", "did you mean seed?"),
        ("tuning.trails", "did you mean tuning.trials?"),
        ("tuning.trials.more", "did you mean tuning.trials?"),
        ("source.simulation.custmers", "did you mean source.simulation.customers?"),
        ("qqqqqqqqq", "`--print-config` shows every setting"),
        ("_env_file", "did you mean serving.token_file?"),
    ],
)
def test_an_unknown_setting_is_refused_in_every_layer(folder, key, hint):
    *parents, leaf = key.split(".")
    tree = f"{leaf}: 1"
    for part in reversed(parents):
        tree = f"{part}: {{{tree}}}"
    (folder / "mine.yaml").write_text(tree)
    variable = "GOLDEN_PATH_" + key.upper().replace(".", "__")
    for error, place in [
        (refused("mine"), "configs/mine.yaml"),
        (refused(env={variable: "1"}), variable),
        (refused(arguments=(f"--{key}", "1")), f"--{key}"),
    ]:
        assert error.what == f"unknown setting {key!r}"
        assert (error.where, error.next_step) == (place, hint)


def test_a_variable_without_our_prefix_is_none_of_our_business():
    assert load(env={"GOLDEN_PATHS": "1", "TUNING__TRIALS": "0"}) == load(env={})


@pytest.mark.parametrize("name", ["nowhere", "../configs/default", "default.yaml", ""])
def test_a_preset_is_a_name_of_those_there_are(name, tmp_path):
    error = refused(name)
    assert "no preset is called" in error.what and repr(name) in error.what
    assert error.where == "--config" and all(each in error.next_step for each in presets())
    (long := tmp_path / f"{'n' * 101}.yaml").write_text("")
    assert "at most 100" in refused(str(long)).next_step


def test_a_number_that_stands_for_a_text_is_kept_as_it_was_written(folder):
    """To YAML 1.50 is 1.5."""
    column = "{type: category, values: [1.50, 1e3, 12]}"
    (folder / "mine.yaml").write_text(
        f"source: {{table: {{positive: 1.0, columns: {{zone: {column}}}}}}}\n"
        "tuning: {seconds: 12.0}"
    )
    found = load("mine", (), {})
    assert found.source.table.columns["zone"].values == ("1.50", "1e3", "12")
    assert found.source.table.positive == "1.0"
    (folder / "again.yaml").write_text(dump(found))
    assert load("again", (), {}).source.table == found.source.table
    assert type(found.tuning.seconds) is float, "a number is a plain one"


BOMB = "a: &a [x,x]\n" + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in pairwise("abcdefgh"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "aliases (*name) are not allowed: write the value out (line 2, column 8)"),
        ("a: &a {k: 1}\nb: {<<: *a}", "aliases"),
        ("seed: " + "[" * 100_000, "nested more than 30 levels deep"),
        ("seed: " + "{a: " * 100_000, "nested more than 30 levels deep"),
        ("- " * 100_000, "nested more than 30 levels deep"),
        ("seed: " + "1:" * 50_000 + "1", "a whole number of 100,001 characters"),
        ("seed: 0x" + "f" * 50_000, "a whole number of 50,002 characters"),
        ("# long\n" * 100_000, "more than 500,000 bytes"),
        ("a: [1\nurl: db://me?token=s3cret", "(line 2, column 4)"),
    ],
    ids=range(9),
)
def test_a_text_that_would_grow_without_bounds_is_refused(folder, text, said):
    (folder / "mine.yaml").write_text(text)
    error = refused("mine")
    assert "is not valid YAML" in error.what and said in error.what
    assert len(str(error)) < 500 and "s3cret" not in str(error)
    for given_as in [((f"--seed={text}",), {}), ((), {"GOLDEN_PATH_SEED": text})]:
        assert len(str(refused("default", *given_as))) < 3000


@pytest.mark.parametrize(("text", "number"), [("010", 8), ("007", 7), ("12:30", 750), ("0x1F", 31)])
def test_a_text_that_yaml_takes_for_another_number_is_refused(folder, text, number):
    """Codes and times of day among the values of a category would be other values, unsaid."""
    values = f"source: {{table: {{columns: {{a: {{type: category, values: [{text}]}}}}}}}}"
    (folder / "mine.yaml").write_text(values)
    assert f"YAML reads {text!r} as {number}: write that, or the text in quotes" in (
        refused("mine").what
    )
    assert load("default", [f"--source.table.group={text}"], {}).source.table.group == text


# --- for every setting ------------------------------------------------------------------------


def test_every_setting_says_in_words_what_it_is_and_what_it_accepts():
    for name, field in FIELDS.items():
        words = accepted(field)
        assert words and not any(c in words for c in ("<", "typing", "Optional", "[", "|")), name
        assert field.description or name == "source.kind"


numbers = st.one_of(
    st.integers(-(10**12), 10**12),
    st.integers(-3, 3),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-2, 2),
)


@pytest.mark.slow
@bounded(max_examples=40)
@given(st.sampled_from(NUMERIC), numbers, st.booleans())
def test_a_numeric_override_is_shown_by_dump_or_refused_by_name(name, number, as_variable):
    text = yaml.safe_dump(number).split("\n")[0]
    variable = "GOLDEN_PATH_" + name.upper().replace(".", "__")
    given_as = ((), {variable: text}) if as_variable else ((f"--{name}={text}",), {})
    try:
        settings = load("default", *given_as)
    except UserError as error:
        assert f"setting {name!r} is " in error.what
        assert error.where == (variable if as_variable else f"--{name}")
        assert error.next_step == f"accepted: {accepted(FIELDS[name])}"
    else:
        shown = yaml.safe_load(dump(settings))
        for part in name.split("."):
            shown = shown[part]
        assert shown == number and not math.isnan(number)


@pytest.mark.slow
@bounded(max_examples=40)
@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=12))
def test_no_text_makes_an_override_fail_in_any_other_way(name, text):
    try:
        settings = load("default", (f"--{name}={text}",), {})
    except UserError as error:
        assert name.split(".")[0] in str(error)
    else:
        value = at(settings, name)
        assert value is not None or "null" in accepted(FIELDS[name])


@pytest.mark.slow
@bounded(max_examples=15)  # an example is a dump and a reading of it: 50 ms
@given(st.dates(), st.text(max_size=8), st.text(max_size=8))
def test_dates_and_texts_survive_dump(day, text, column):
    settings = load(
        "default",
        (f"--features.last_as_of={day.isoformat()}", f"--features.home_country={text}"),
        {"GOLDEN_PATH_SOURCE__COLUMNS__QUANTITY": column},
    )
    read = yaml.load(dump(settings), Reader)
    assert read["features"]["last_as_of"] == day == settings.features.last_as_of
    assert read["features"]["home_country"] == text
    assert read["source"]["columns"] == {"quantity": column}
    assert isinstance(read["features"]["last_as_of"], date)


def test_a_preset_may_be_a_file_anywhere_but_not_take_a_presets_name(tmp_path):
    (tmp_path / "shop.yaml").write_text("seed: 5")
    settings = load(str(tmp_path / "shop.yaml"), env={})
    assert (settings.name, settings.seed, settings.file) == ("shop", 5, tmp_path / "shop.yaml")
    for name in ("smoke.yaml", "my.shop.yaml", "a shop.yaml"):
        (tmp_path / name).write_text("seed: 5")
        with pytest.raises(UserError, match="a preset cannot be called"):
            load(str(tmp_path / name), env={})
    with pytest.raises(UserError, match="no preset is called"):
        load(str(tmp_path / "absent.yaml"), env={})


def test_the_next_command_repeats_what_this_one_was_given(tmp_path):
    lines = []
    words = ["--seed", "5", "--contract.rules.impossible_price.high=6", "--var", str(tmp_path)]
    assert run_command("m", "", lambda s: lines.append(make("train", s)), words) == 0
    assert lines == [
        f'make train ARGS="--seed 5 --contract.rules.impossible_price.high=6 --var {tmp_path}"'
    ]
    assert make("serve", load("default", env={})) == "make serve"
    assert make("serve", load("smoke", env={})) == "make serve CONFIG=smoke"


@pytest.mark.parametrize("name", ["source.database.url", "tuning.storage", "prefect.api_url"])
def test_a_url_has_only_parts_that_hold_no_password(name):
    for url, said in {
        "postgresql://me@db/x?motherduck_token=s3cret": "a parameter 'motherduck_token'",
        "postgresql://me@db/x?sslmode=require&opaque=s3cret": "a parameter 'opaque'",
        "postgresql://me@db/x?sslmode=require;x=s3cret": "a parameter 'x'",
        "postgresql://me@db/x?s3cret": "a parameter that is not named",
        "postgresql://me@db/x?s%33cret=1": "a parameter that is not named",
        "mssql+pyodbc://me@db/x?driver=y%3BPWD%3Ds3cret": "a semicolon",
        "postgresql://me@db/x?options=-c%20my.word%3Ds3cret": "the parameter 'options'",
        "postgresql://me@db/x?service=a%26password%3Ds3cret": "the parameter 'service'",
        "sqlite:///x?uri=me:s3cret@db": "the parameter 'uri'",
        "duckdb:///md:db;motherduck_token=s3cret": "the name of the database",
        "mssql+pyodbc://me@db/x;PWD=s3cret": "the name of the database",
        "postgresql://me%3As3cret@db/x": "the user in the URL",
        "postgresql+psycopg://me:s3cret@db/x": "holds a password",
        "postgresql://db:s3cret/x": "not a URL",
        "s3cret": "not a URL",
    }.items():
        error = refused(arguments=(f"--{name}", url))
        assert error.where == name and said in error.what and "s3cret" not in str(error), url


@pytest.mark.parametrize(
    "arguments",
    [
        ("--source.database", "{}"),
        ("--source.database", "{{url: [{}]}}"),
        ("--source", "{}"),
        ("--tuning", "{}"),
        ("--tuning.trials", "{}"),
        ("{}",),
    ],
)
def test_a_url_in_the_wrong_place_is_shown_without_its_parameters(arguments):
    url = "postgresql://me@db/x?motherduck_token=s3cret"
    error = refused(arguments=[word.format(url) for word in arguments])
    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me%40corp@db.example.com:5432/shop?sslmode=verify-full",
        "postgresql:///shop?host=/var/run/postgresql&options=-csearch_path%3Dsales",
        "postgresql://me@localhost:5432/shop?sslmode=require&passfile=/home/me/.pgpass",
        "postgresql://me@[::1]:5432/shop",
        "sqlite:////tmp/100% mine/a=b;c@d.db",
        "sqlite:///C:/me@home/shop.db",
        "oracle+oracledb://me@db:1521?service_name=x",
        "mssql+pyodbc://@db/shop?driver=ODBC+Driver+18+for+SQL+Server&Trusted_Connection=yes",
    ],
)
def test_a_url_without_a_password_is_kept_as_it_is(url):
    assert load("default", ["--tuning.storage", url], {}).tuning.storage == url


def test_costs_are_those_of_the_retail_presets_and_nobody_elses(tmp_path):
    for preset in ("default", "smoke", "online_retail"):
        assert load(preset, [], {}).training.threshold == pytest.approx(2 / 5)
    costly = ["--training.contact_cost", "9", "--training.sale_value", "5"]
    assert load("default", costly, {}).training.threshold == 1.0, "which never pays"
    own = tmp_path / "own.yaml"
    for kind in ("table", "files", "database"):
        own.write_text(f"source: {{kind: {kind}}}\n")
        assert load(str(own), [], {}).training.threshold is None
    with pytest.raises(UserError, match="contact_cost and sale_value go together"):
        load(str(own), ["--training.sale_value", "9"], {})
    both = ["--training.contact_cost", "3", "--training.sale_value", "9"]
    assert load(str(own), both, {}).training.threshold == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("default", ("files", "database", "table", "simulated")),
        ("smoke", ("files", "simulated")),
        ("online_retail", ("table", "files")),
    ],
)
def test_another_source_does_not_carry_the_limits_and_costs_of_the_presets_shop(
    name, kinds, tmp_path, capsys
):
    (tmp_path / "plain.yaml").write_text("{}")
    plain = load(str(tmp_path / "plain.yaml"), [], {}).contract.rules
    for kind in kinds:
        found = load(name, ["--source.kind", kind], {})
        own = load(name, [], {}).source.kind == kind
        assert own == (found.training.threshold is not None) == (found.contract.rules != plain)
        words = ["--config", name, "--source.kind", kind, "--var", str(tmp_path / "var")]
        assert run_command("a.module", "", lambda settings: None, words) == 0
        said = capsys.readouterr().out
        for setting in ("training.contact_cost", "contract.rules.impossible_price,"):
            assert (setting in said) == (not own)


def test_limits_and_costs_given_together_with_another_source_hold():
    words = ("--training.contact_cost", "3", "--training.sale_value", "9")
    rule = ("--contract.rules.impossible_price.severity", "quarantine")
    found = load("default", [*words, *rule], {"GOLDEN_PATH_SOURCE__KIND": "database"})
    assert found.training.threshold == pytest.approx(1 / 3)
    assert found.contract.rules["impossible_price"].severity == "quarantine"
    assert found.contract.rules["no_product_code"].severity == "ignore"
