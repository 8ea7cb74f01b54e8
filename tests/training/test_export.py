from __future__ import annotations

import numpy as np
import onnx
import pytest

from training.export import max_difference, run_onnx, seal


def made_graph(output: str = "probability") -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 18, "ai.onnx.ml": 3]>
        made (float[n, 2] features) => (float[n] {output}) {{
            two = Constant<value_ints = [1]>()
            total = ReduceSum<keepdims = 0>(features, two)
            {output} = Sigmoid(total)
        }}""")


def test_a_sealed_graph_runs_from_bytes_and_from_a_file(tmp_path):
    graph = seal(made_graph(), 2)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    x = np.array([[0, 0], [1, -1], [np.nan, 1]], dtype=np.float32)
    for source in (graph.SerializeToString(), tmp_path / "model.onnx"):
        p = run_onnx(source, x)
        assert p.dtype == np.float64 and p.shape == (3,)
        assert p[0] == p[1] == 0.5 and np.isnan(p[2])


def test_sealing_leaves_out_what_changes_from_run_to_run():
    graph = made_graph()
    graph.graph.name = "3f2a"
    graph.graph.node[0].doc_string = "/home/somebody/model.py"
    graph.graph.node[1].metadata_props.add(key="stack", value="/home/somebody/model.py")
    assert seal(graph, 2).SerializeToString() == seal(made_graph(), 2).SerializeToString()
    assert [item.domain for item in seal(graph, 2).opset_import] == [""]


def test_another_face_is_refused():
    with pytest.raises(ValueError, match=r"outputs \['label'\]; the contract is"):
        seal(made_graph("label"), 2)


def test_the_difference_is_the_largest_and_a_missing_answer_is_infinitely_wrong():
    a = np.array([0.1, 0.5])
    assert max_difference(a, a) == 0
    assert max_difference(a, a + np.array([0, 0.25])) == 0.25
    assert max_difference(a, np.array([0.1, np.nan])) == np.inf
    with pytest.raises(ValueError, match="differ in shape"):
        max_difference(a, a[:, None])
