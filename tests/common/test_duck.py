"""Files that DuckDB reads: whatever a path is called, that file and no other."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.duck import as_pattern, parquet
from common.errors import UserError

NAME = st.text("a1\\[]{}()'\"*?!^~$-, é", min_size=1, max_size=8)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(name=NAME, folder=NAME)
@example(name="a\\[1]", folder="a")
@example(name="a[1]", folder="b\\")
@example(name="a\\1{2,3}", folder="~")
def test_a_path_is_that_file_and_no_other(tmp_path_factory, name, folder):
    place = tmp_path_factory.mktemp("files") / folder
    place.mkdir()
    path = place / f"{name}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS n) TO '{place.parent / 'one'}' (FORMAT parquet)")
        connection.execute(f"COPY (SELECT 2 AS n) TO '{place.parent / 'two'}' (FORMAT parquet)")
        for decoy in ("a", "1", "a1", "[", "]", "-"):
            other = place / f"{decoy}.parquet"
            other.write_bytes((place.parent / "two").read_bytes())
        path.write_bytes((place.parent / "one").read_bytes())
        if "\\" in folder + name and set("*?[") & set(folder + name):
            with pytest.raises(UserError, match="backslash") as caught:
                as_pattern(path)
            assert caught.value.where == str(path) and caught.value.next_step
        else:
            assert connection.execute(f"FROM {parquet(path)}").fetchall() == [(1,)]


def test_a_path_of_a_user_is_no_folder_of_theirs():
    assert as_pattern(Path("~/x")) == f"{Path.cwd()}/~/x"
