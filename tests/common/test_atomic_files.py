"""Files that are whole or absent, and records that show when they were altered."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.files import (
    SEAL,
    RecordAltered,
    atomic_folder,
    atomic_path,
    make_once,
    read_record,
    write_file,
    write_record,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=5)
CONTENT = st.dictionaries(st.text().filter(lambda name: name != SEAL), VALUES, max_size=4)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("records") / "folder" / "record.json"


@pytest.mark.slow
@given(CONTENT)
def test_what_was_written_comes_back(file, content):
    write_record(file, content)
    assert read_record(file) == content
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.slow
@given(CONTENT, CONTENT)
def test_another_content_under_the_same_hash_is_refused(file, content, other):
    write_record(file, content)
    seal = json.loads(file.read_text())[SEAL]
    file.write_text(json.dumps({**other, SEAL: seal}))
    if json.dumps(other, sort_keys=True) != json.dumps(content, sort_keys=True):
        with pytest.raises(RecordAltered, match="hash"):
            read_record(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"a": 1}', "[" * 100_000, "\udcff"])
def test_what_is_no_record_is_refused(file, text):
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecordAltered):
        read_record(file)


def table_in(path, name: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {name} (x)")
        connection.commit()


def tables_of(path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]


def test_what_a_killed_process_left_goes_with_the_next_writing(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file = tmp_path / "a [x].json"
    kept = [f".a [x].json.{os.getpid()}.7", ".a [x].json.aside", ".a [x].json.old.7", ".b.json.1.7"]
    for name in (*kept, f".a [x].json.{ended.pid}.140"):
        (tmp_path / name).touch()
    (tmp_path / f".a [x].json.{ended.pid}.2").mkdir()
    write_file(file, "new")
    assert {path.name for path in tmp_path.iterdir()} == {file.name, *kept}


def test_a_file_is_made_once_by_those_who_want_it_together(tmp_path):
    made = []

    def build(path):
        made.append(path)
        table_in(path, "whole")

    threads = [threading.Thread(target=make_once, args=[tmp_path / "x.db", build]) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and tables_of(tmp_path / "x.db") == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_a_file_that_could_not_be_made_is_not_there_and_is_made_the_next_time(tmp_path):
    def fail(path):
        table_in(path, "half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        make_once(tmp_path / "x.db", fail)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".x.db.new-killed").mkdir()
    table_in(tmp_path / ".x.db.new-killed" / "x.db", "half")
    make_once(tmp_path / "x.db", lambda path: table_in(path, "whole"))
    assert tables_of(tmp_path / "x.db") == ["whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_a_half_made_file_is_replaced_and_its_journal_is_not_played_into_the_new_one(tmp_path):
    path = tmp_path / "x.db"
    table_in(path, "half")
    # A transaction that was killed: its journal would undo the pages of whatever stands here.
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE other (x)")
        for number in range(2000):
            connection.execute("INSERT INTO other VALUES (?)", ["x" * 500 + str(number)])
        journal = (tmp_path / "x.db-journal").read_bytes()
    (tmp_path / "x.db-journal").write_bytes(journal)

    def whole(path):
        return "whole" in tables_of(path)

    make_once(path, lambda new: table_in(new, "whole"), lambda path: False)
    assert whole(path) and not (tmp_path / "x.db-journal").exists()
    make_once(path, lambda new: pytest.fail("made again"), whole)


def test_a_file_takes_its_place_when_the_block_ends_and_several_only_together(tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("before")
    with pytest.raises(ValueError, match="half-way"), atomic_path(one) as a, atomic_path(two) as b:
        a.write_text("after")
        b.write_text("after")
        assert one.read_text() == "before" and not two.exists()
        raise ValueError("half-way")
    assert [path.name for path in tmp_path.iterdir()] == ["one.csv"]
    assert one.read_text() == "before"
    with atomic_path(one) as a:
        a.write_text("after")
    assert one.read_text() == "after"


def test_a_folder_takes_the_place_of_all_that_was_in_it(tmp_path):
    target = tmp_path / "parts" / "folder"
    for content in ("one", "two"):
        with atomic_folder(target) as folder:
            (folder / f"{content}.txt").write_text(content)
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    with pytest.raises(ValueError), atomic_folder(target) as folder:
        (folder / "three.txt").touch()
        raise ValueError
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]
