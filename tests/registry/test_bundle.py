"""A bundle answers only if it is what was written."""

from __future__ import annotations

import gzip
import json
import pickle
import zlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from registry import bundle as room
from registry.bundle import BundleRefused, load_bundle, sha256, verify_bundle, write_bundle

DESCRIPTION = {"features": [{"name": "a"}, {"name": "b"}], "threshold": 0.5}
EXAMPLES = {
    "reference": [[1.0, None], [2.5, 84.3]],
    "samples": [{"name": "sample 1", "values": {"a": 1.0, "b": None}}],
}


NOT_JSON = r"examples\.json is not a JSON object"


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
    return folder, write_bundle(folder, model, DESCRIPTION)


@pytest.fixture
def with_examples(tmp_path, model):
    folder = tmp_path / "bundle"
    return folder, write_bundle(folder, model, DESCRIPTION, EXAMPLES)


def test_mlflow_reads_the_signature_of_a_bundle(tmp_path):
    from mlflow.models import Model

    features = [
        {"name": "charge (EUR) [/red] \x1b", "missing": "", "categories": []},
        {"name": "clinic\n", "missing": "not asked", "categories": ["[/]", "b"]},
    ]
    write_bundle(tmp_path / "bundle", b"graph", {"features": features})
    signature = Model.load(str(tmp_path / "bundle")).signature
    assert [(c.name, c.type.name, c.required) for c in signature.inputs.inputs] == [
        ("charge (EUR) [/red] \x1b", "double", True),
        ("clinic\n", "string", False),
    ]
    assert signature.outputs.input_names() == ["probability"]


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
    assert sorted(manifest) == ["MLmodel", "bundle.json", "model.onnx"]


def test_examples_come_with_it_and_are_part_of_its_name(with_examples, tmp_path, model):
    folder, sha = with_examples
    assert load_bundle(folder, expected_sha256=sha).examples == EXAMPLES
    assert sha == write_bundle(tmp_path / "again", model, DESCRIPTION, EXAMPLES)
    assert sha != write_bundle(tmp_path / "without", model, DESCRIPTION)
    assert load_bundle(tmp_path / "without").examples == {}


def test_examples_that_are_listed_and_not_there_or_there_and_not_listed_are_refused(bundle):
    folder, _ = bundle
    (folder / "examples.json").write_text(json.dumps(EXAMPLES))
    with pytest.raises(BundleRefused, match=r"holds examples\.json, which its manifest does not"):
        load_bundle(folder)
    list_all(folder)
    load_bundle(folder)
    (folder / "examples.json").unlink()
    with pytest.raises(BundleRefused, match=r"the bundle has no examples\.json"):
        load_bundle(folder)


def test_altered_examples_are_refused(with_examples):
    folder, _ = with_examples
    text = (folder / "examples.json").read_text()
    (folder / "examples.json").write_text(text.replace("84.3", "84.4"))
    with pytest.raises(BundleRefused, match=r"examples\.json is not the file that was written"):
        load_bundle(folder)


def test_a_link_in_the_place_of_the_examples_is_refused(with_examples, tmp_path):
    folder, _ = with_examples
    (folder / "examples.json").rename(tmp_path / "elsewhere.json")
    (folder / "examples.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleRefused, match=r"examples\.json is a link"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *((pickle.dumps(EXAMPLES, protocol), NOT_JSON) for protocol in (0, 5)),
        (gzip.compress(b"{}", mtime=0), NOT_JSON),
        (b"[]", NOT_JSON),
        (b"{", NOT_JSON),
        (b"\xff{}", NOT_JSON),
        (b'{"a":' + b"[" * 200_000, NOT_JSON),
        (b'{"reference": [[1, 2, 3]]}', "not rows of its features"),
        (b'{"reference": [[1, 2], [1]]}', "not rows of its features"),
        (b'{"reference": [["a", "b"]]}', "not rows of its features"),
        (b'{"reference": "all"}', "not rows of its features"),
        (b'{"reference": {"a": 1}}', "not rows of its features"),
    ],
)
def test_examples_that_are_something_else_are_refused_though_they_are_listed(
    with_examples, content, said
):
    folder, _ = with_examples
    (folder / "examples.json").write_bytes(content)
    list_all(folder)
    with pytest.raises(BundleRefused, match=said):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.json", "bundle.json", "model.onnx", "examples.json"])
def test_a_file_that_would_fill_the_memory_is_not_read(with_examples, monkeypatch, name):
    folder, sha = with_examples
    size = (folder / name).stat().st_size
    monkeypatch.setitem(room.LARGEST, name, size)
    load_bundle(folder, expected_sha256=sha)
    monkeypatch.setitem(room.LARGEST, name, size - 1)
    with pytest.raises(BundleRefused, match=f"{name} has {size:,} bytes, at most {size - 1:,} are"):
        load_bundle(folder, expected_sha256=sha)


@pytest.mark.parametrize("name", ["manifest.json", "bundle.json", "model.onnx", "examples.json"])
def test_a_file_of_gigabytes_that_take_no_space_on_the_disk_is_not_read(with_examples, name):
    folder, _ = with_examples
    with (folder / name).open("ab") as file:
        file.truncate(10**10)
    with pytest.raises(BundleRefused, match=f"{name} has 10,000,000,000 bytes"):
        load_bundle(folder)
    (folder / name).unlink()


def test_what_would_be_refused_is_not_written(tmp_path, model, monkeypatch):
    monkeypatch.setitem(room.LARGEST, "model.onnx", len(model) - 1)
    with pytest.raises(BundleRefused, match=f"model.onnx has {len(model):,} bytes"):
        write_bundle(tmp_path / "bundle", model, DESCRIPTION)
    assert list(tmp_path.iterdir()) == []


def test_examples_that_are_no_json_are_not_written(tmp_path, model):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_bundle(tmp_path / "bundle", model, DESCRIPTION, {"reference": [[float("nan"), 1.0]]})
    assert list(tmp_path.iterdir()) == []


def list_all(folder):
    """A manifest that is true to whatever lies in the folder."""
    names = sorted({path.name for path in folder.iterdir()} - {"manifest.json"})
    manifest = {name: sha256(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest))


# --- what could do more than compute -------------------------------------------------------------

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
    refused(tmp_path, pickle.dumps(PICKLED, protocol), "cannot be opened")


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda b: b"PK\x03\x04" + b])
def test_a_packed_one_is_refused(tmp_path, pack):
    refused(tmp_path, pack(pickle.dumps(PICKLED)), "cannot be opened")


def test_a_pickle_in_the_place_of_the_description_is_refused(tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(folder, graph().SerializeToString(), {})
    for content, said in (
        (pickle.dumps(PICKLED), "bundle.json is not a JSON object"),
        (b"[]", "bundle.json is not a JSON object"),
        (b"{", "bundle.json is not a JSON object"),
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
