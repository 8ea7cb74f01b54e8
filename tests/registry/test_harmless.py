"""What could do more than compute is refused, whatever its manifest says."""

from __future__ import annotations

import gzip
import json
import pickle
import zlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from registry.bundle import BundleRefused, load_bundle, sha256, verify_bundle, write_bundle
from registry.harmless import is_pickle

PICKLED = {"weights": [1.0, 2.0]}


def graph(*nodes, initializers=(), domain: str = "") -> onnx.ModelProto:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"])
        for name in ("features", "probability")
    ]
    last = helper.make_node("Sigmoid", ["features"], ["probability"], domain=domain)
    made = helper.make_graph([*nodes, last], "tiny", ends[:1], ends[1:], list(initializers))
    opsets = [helper.make_opsetid(name, 18) for name in dict.fromkeys(["", domain])]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def refused(tmp_path, model: bytes, match: str) -> None:
    write_bundle(tmp_path / "bundle", model, {"threshold": 0.5})
    for opened in (verify_bundle, load_bundle):
        with pytest.raises(BundleRefused, match=match):
            opened(tmp_path / "bundle")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_in_the_place_of_the_graph_is_refused(tmp_path, protocol):
    refused(tmp_path, pickle.dumps(PICKLED, protocol), "is a pickle")


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda b: b"PK\x03\x04" + b])
def test_a_packed_one_is_refused(tmp_path, pack):
    refused(tmp_path, pack(pickle.dumps(PICKLED)), "may hold a pickle")


def test_a_pickle_in_the_place_of_the_description_is_refused(tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(folder, graph().SerializeToString(), {})
    for content, said in (
        (pickle.dumps(PICKLED), "bundle.json is a pickle"),
        (b"[]", "no description"),
        (b"{", "no JSON"),
    ):
        (folder / "bundle.json").write_bytes(content)
        listed = json.loads((folder / "manifest.json").read_text())
        manifest = {name: sha256(folder / name) for name in listed}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(BundleRefused, match=said):
            verify_bundle(folder)


def test_a_pickle_that_the_manifest_lists_is_refused(tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(folder, graph().SerializeToString(), {})
    (folder / "model.pkl").write_bytes(pickle.dumps(PICKLED))
    names = ("bundle.json", "model.onnx", "model.pkl")
    (folder / "manifest.json").write_text(json.dumps({n: sha256(folder / n) for n in names}))
    with pytest.raises(BundleRefused, match=r"lists model\.pkl"):
        load_bundle(folder)


def test_a_manifest_does_not_lead_out_of_the_folder(tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(folder, graph().SerializeToString(), {})
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "../secret": "0"}))
    with pytest.raises(BundleRefused, match=r"lists \.\./secret"):
        load_bundle(folder)


def test_a_link_to_a_graph_elsewhere_is_refused(tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(folder, graph().SerializeToString(), {})
    (folder / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(BundleRefused, match=r"model\.onnx is a link"):
        load_bundle(folder)


def test_numbers_outside_the_bundle_are_refused(tmp_path):
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    model = graph(initializers=[weights])
    refused(tmp_path, model.SerializeToString(), "numbers in a file outside")
    constant = helper.make_node("Constant", [], ["c"], value=weights)
    refused(tmp_path, graph(constant).SerializeToString(), "numbers in a file outside")


def test_operators_of_a_library_are_refused(tmp_path):
    refused(
        tmp_path, graph(domain="com.evil").SerializeToString(), "Sigmoid of a library, com.evil"
    )


def test_they_are_found_in_the_branches_of_a_graph_too(tmp_path):
    bad = helper.make_node("Anything", [], ["b"], domain="com.evil")
    branch = helper.make_graph([bad], "branch", [], [])
    node = helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch)
    refused(tmp_path, graph(node).SerializeToString(), "Anything of a library")


def test_functions_that_the_graph_brings_along_are_its_own(tmp_path):
    inner = helper.make_node("Sigmoid", ["x"], ["y"])
    model = graph(domain="own")
    model.functions.append(
        helper.make_function("own", "Sigmoid", ["x"], ["y"], [inner], [helper.make_opsetid("", 18)])
    )
    write_bundle(tmp_path / "bundle", model.SerializeToString(), {})
    opened = load_bundle(tmp_path / "bundle")
    assert opened.predict(np.zeros(2)).tolist() == [0.5, 0.5]


@given(st.recursive(st.none() | st.floats() | st.text(), st.lists, max_leaves=4), st.integers(0, 5))
def test_whatever_python_pickles_is_seen_to_be_a_pickle(value, protocol):
    assert is_pickle(pickle.dumps(value, protocol))


@given(st.dictionaries(st.text(), st.text() | st.integers()))
def test_json_and_graphs_are_none(description):
    assert not is_pickle(json.dumps(description).encode())
    assert not is_pickle(graph().SerializeToString())
