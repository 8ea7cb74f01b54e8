"""A bundle is used only if it is what was written."""

from __future__ import annotations

import json
import pickle

import numpy as np
import onnx
import pytest
from made_registry import graph
from onnx import TensorProto, helper

from common.files import sha256_of
from registry import bundle as bundles
from registry.bundle import BundleRefused, load_bundle, verify_bundle, write_bundle

DESCRIPTION = {"features": [{"name": "a"}, {"name": "b"}], "threshold": 0.5}
EXAMPLES = {
    "reference": [[1.0, None], [2.5, 84.3]],
    "samples": [{"name": "sample 1", "values": {"a": 1.0, "b": None}}],
}


@pytest.fixture(scope="module")
def model() -> bytes:
    """Probability = sigmoid of the first feature."""
    made: onnx.ModelProto = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gather", ["features", "first"], ["column"], axis=1),
                helper.make_node("Sigmoid", ["column"], ["probability"]),
            ],
            "tiny",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 2])],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])],
            [helper.make_tensor("first", TensorProto.INT64, [], [0])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    return made.SerializeToString()


@pytest.fixture
def bundle(tmp_path, model):
    folder = tmp_path / "bundle"
    return folder, write_bundle(folder, model, DESCRIPTION)


@pytest.fixture
def with_examples(tmp_path, model):
    folder = tmp_path / "bundle"
    return folder, write_bundle(folder, model, DESCRIPTION, EXAMPLES)


def list_all(folder):
    """A manifest that is true to whatever lies in the folder."""
    names = sorted({path.name for path in folder.iterdir()} - {"manifest.json"})
    manifest = {name: sha256_of(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def is_refused(folder, reason: str, **arguments) -> None:
    for use in (verify_bundle, load_bundle):
        with pytest.raises(BundleRefused, match=reason):
            use(folder, **arguments)


def test_a_bundle_predicts_the_probability_of_its_graph(bundle):
    folder, sha256 = bundle
    opened = load_bundle(folder, expected_sha256=sha256)
    x = np.array([[0.0, 9.0], [2.0, 9.0]], dtype=np.float32)
    np.testing.assert_allclose(opened.predict(x), 1 / (1 + np.exp([-0.0, -2.0])), atol=1e-7)
    assert opened.threshold == 0.5 and opened.examples == {}
    assert [feature["name"] for feature in opened.features] == ["a", "b"]


def test_the_hash_of_a_bundle_covers_its_examples(with_examples, tmp_path, model):
    folder, sha256 = with_examples
    assert load_bundle(folder, expected_sha256=sha256).examples == EXAMPLES
    assert sha256 == write_bundle(tmp_path / "again", model, DESCRIPTION, EXAMPLES)
    assert sha256 != write_bundle(tmp_path / "without", model, DESCRIPTION)
    assert sha256 != write_bundle(tmp_path / "other", model, {**DESCRIPTION, "a": 1}, EXAMPLES)


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


def test_a_write_leaves_only_the_bundle_or_nothing(bundle, model, monkeypatch):
    folder, _ = bundle
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest) == ["MLmodel", "bundle.json", "model.onnx"]
    new = folder.with_name("new")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_bundle(new, model, DESCRIPTION, {"reference": [[float("nan"), 1.0]]})
    monkeypatch.setitem(bundles.LARGEST, "model.onnx", len(model) - 1)
    with pytest.raises(BundleRefused, match=f"model.onnx has {len(model):,} bytes"):
        write_bundle(new, model, DESCRIPTION)  # it would be refused when it is read
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


# --- files that are missing, altered or too many ------------------------------------------------


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "manifest.json", "examples.json"])
def test_a_missing_altered_linked_or_huge_file_is_refused(
    with_examples, tmp_path, monkeypatch, name
):
    folder, sha256 = with_examples
    file = folder / name
    whole = file.read_bytes()
    file.unlink()
    is_refused(folder, f"the bundle has no {name}")

    (tmp_path / "elsewhere").write_bytes(whole)
    file.symlink_to(tmp_path / "elsewhere")
    is_refused(folder, f"{name} is a link")
    file.unlink()

    file.write_bytes(whole)
    with monkeypatch.context() as patch:
        patch.setitem(bundles.LARGEST, name, len(whole))
        load_bundle(folder, expected_sha256=sha256)
        patch.setitem(bundles.LARGEST, name, len(whole) - 1)
        is_refused(folder, f"{name} has {len(whole):,} bytes, at most {len(whole) - 1:,} are")
    with file.open("ab") as opened:
        opened.truncate(10**10)  # gigabytes that take no space on the disk
    is_refused(folder, f"{name} has 10,000,000,000 bytes")

    altered = bytearray(whole)
    altered[len(altered) // 2] ^= 1
    file.write_bytes(bytes(altered))
    is_refused(folder, name if name != "manifest.json" else "the model bundle is refused")


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    is_refused(tmp_path / "nothing", "next:  train again")


def test_a_bundle_rewritten_with_its_manifest_is_refused_by_its_registered_hash(bundle, model):
    folder, sha256 = bundle
    write_bundle(folder, model, {"threshold": 0.01})
    verify_bundle(folder)  # in itself it is whole
    is_refused(folder, "registered was", expected_sha256=sha256)


def test_a_file_that_the_manifest_does_not_list_or_a_bundle_does_not_have_is_refused(bundle):
    folder, _ = bundle
    (folder / "examples.json").write_text(json.dumps(EXAMPLES))
    is_refused(folder, r"holds examples\.json, which its manifest does not")
    list_all(folder)
    load_bundle(folder)
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n")
    is_refused(folder, r"holds model\.pkl")
    list_all(folder)
    is_refused(folder, r"lists model\.pkl")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "its manifest does not list"),
        ("{", "not a list of hashes"),
        ("5", "not a list of hashes"),
        ('{"../secret": "0"}', r"lists \.\./secret"),
    ],
)
def test_a_manifest_that_is_something_else_is_refused(bundle, text, reason):
    folder, _ = bundle
    (folder / "manifest.json").write_text(text)
    is_refused(folder, reason)


NOT_JSON = "is not a JSON object"
NOT_ROWS = "not rows of its features"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps(EXAMPLES, 0), NOT_JSON),
        (pickle.dumps(EXAMPLES, 5), NOT_JSON),
        (b"[]", NOT_JSON),
        (b"{", NOT_JSON),
        (b"\xff{}", NOT_JSON),
        (b'{"a":' + b"[" * 200_000, NOT_JSON),
        (b'{"reference": [[1, 2, 3]]}', NOT_ROWS),
        (b'{"reference": [["a", "b"]]}', NOT_ROWS),
        (b'{"reference": "all"}', NOT_ROWS),
    ],
)
def test_a_listed_file_with_other_content_is_refused(with_examples, content, reason):
    folder, _ = with_examples
    (folder / "examples.json").write_bytes(content)
    list_all(folder)
    with pytest.raises(BundleRefused, match=reason):
        load_bundle(folder)
    if reason == NOT_JSON:
        (folder / "examples.json").unlink()
        (folder / "bundle.json").write_bytes(content)
        list_all(folder)
        is_refused(folder, r"bundle\.json is not a JSON object")


# --- graphs that could do more than compute -----------------------------------------------------


def outside() -> onnx.TensorProto:
    """Numbers in a file elsewhere."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    return weights


def in_a_branch() -> onnx.NodeProto:
    node = helper.make_node("Anything", [], ["b"], domain="com.evil")
    branch = helper.make_graph([node], "branch", [], [])
    return helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch)


def constant() -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=outside())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no graph", "cannot be opened"),
        *((pickle.dumps(EXAMPLES, protocol), "cannot be opened") for protocol in (0, 5)),
        (graph(initializers=[outside()]), "numbers in a file outside"),
        (graph(constant()), "numbers in a file outside"),
        (graph(domain="com.evil"), "Sigmoid of a library, com.evil"),
        (graph(in_a_branch()), "Anything of a library"),
    ],
)
def test_a_model_that_is_not_a_graph_or_refers_outside_is_refused(tmp_path, content, reason):
    model = content if isinstance(content, bytes) else content.SerializeToString()
    write_bundle(tmp_path / "bundle", model, {"threshold": 0.5})
    is_refused(tmp_path / "bundle", reason)


def test_functions_that_the_graph_defines_itself_are_allowed(tmp_path):
    inner = helper.make_node("Sigmoid", ["x"], ["y"])
    model = graph(domain="own")
    model.functions.append(
        helper.make_function("own", "Sigmoid", ["x"], ["y"], [inner], [helper.make_opsetid("", 18)])
    )
    write_bundle(tmp_path / "bundle", model.SerializeToString(), {})
    opened = load_bundle(tmp_path / "bundle")
    assert opened.predict(np.zeros(2)).tolist() == [0.5, 0.5]
