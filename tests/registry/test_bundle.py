"""A bundle answers only if it is what was written."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from registry.bundle import BundleRefused, load_bundle, verify_bundle, write_bundle


@pytest.fixture(scope="module")
def model() -> bytes:
    """Probability = sigmoid of the first feature."""
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["features", "first"], ["column"], axis=1),
            helper.make_node("Sigmoid", ["column"], ["probability"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("first", TensorProto.INT64, [], [0])],
    )
    opset = [helper.make_opsetid("", 18)]
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return made.SerializeToString()


@pytest.fixture
def bundle(tmp_path, model):
    folder = tmp_path / "bundle"
    sha = write_bundle(
        folder, model, {"features": [{"name": "a"}, {"name": "b"}], "threshold": 0.5}
    )
    return folder, sha


def test_it_answers_with_the_probability_of_its_graph(bundle):
    folder, sha = bundle
    opened = load_bundle(folder, expected_sha256=sha)
    x = np.array([[0.0, 9.0], [2.0, 9.0]], dtype=np.float32)
    np.testing.assert_allclose(opened.predict(x), 1 / (1 + np.exp([-0.0, -2.0])), atol=1e-7)
    assert opened.threshold == 0.5
    assert [feature["name"] for feature in opened.features] == ["a", "b"]


def test_the_same_content_has_the_same_name(tmp_path, model):
    a = write_bundle(tmp_path / "a", model, {"threshold": 0.5})
    assert a == write_bundle(tmp_path / "b", model, {"threshold": 0.5})
    assert a != write_bundle(tmp_path / "c", model, {"threshold": 0.6})


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "manifest.json"])
def test_a_missing_file_is_refused(bundle, name):
    folder, _ = bundle
    (folder / name).unlink()
    with pytest.raises(BundleRefused, match=name):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json"])
def test_an_altered_file_is_refused(bundle, name):
    folder, _ = bundle
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(BundleRefused, match=name):
        load_bundle(folder)


def test_a_bundle_rewritten_with_its_manifest_is_refused_by_its_registered_hash(bundle, model):
    folder, sha = bundle
    write_bundle(folder, model, {"threshold": 0.01})
    verify_bundle(folder)  # in itself it is whole
    with pytest.raises(BundleRefused, match="registered was"):
        verify_bundle(folder, expected_sha256=sha)


def test_a_stranger_in_the_folder_is_refused(bundle):
    folder, _ = bundle
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n")
    with pytest.raises(BundleRefused, match=r"model\.pkl"):
        load_bundle(folder)


def test_a_manifest_that_is_no_list_of_hashes_is_refused(bundle):
    folder, _ = bundle
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(BundleRefused):
        load_bundle(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BundleRefused):
        load_bundle(folder)


def test_a_graph_that_cannot_be_opened_is_refused(tmp_path):
    write_bundle(tmp_path / "bundle", b"no graph", {"threshold": 0.5})
    with pytest.raises(BundleRefused, match="cannot be opened"):
        load_bundle(tmp_path / "bundle")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BundleRefused, match="next:  train again"):
        load_bundle(tmp_path / "nothing")


def test_a_write_leaves_nothing_but_the_bundle(bundle):
    folder, _ = bundle
    assert sorted(path.name for path in folder.parent.iterdir()) == ["bundle"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest) == ["bundle.json", "model.onnx"]
