"""Detectors in ONNX files: each layout is made here by a network that really looks for a red square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapkit.apps.objects import OnnxDetector, track_objects
from tapkit.errors import UsageError, WeightsError

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
SIDE = 96


class Graph:
    """Nodes of an ONNX graph, written down one after the other; each method returns the name of a value."""

    def __init__(self) -> None:
        self.nodes: list[object] = []
        self.constants: list[object] = []

    def constant(self, values: object, kind: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.array(values, kind), name))
        return name

    def __call__(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def called(self, value: str, name: str) -> None:
        self.nodes.append(onnx.helper.make_node("Identity", [value], [name]))


def red_square(g: Graph) -> str:
    """Corners [1,4] of what is red in "images" [1,3,h,w]."""
    red, green = (g("Gather", "images", g.constant(c, np.int64), axis=1) for c in (0, 1))
    both = g("And", g("Greater", red, g.constant(0.7)), g("Less", green, g.constant(0.4)))
    mask = g("Cast", both, to=1)
    parts = []
    for axis in (1, 2):  # columns, rows: [1,96]
        line = g("ReduceMax", mask, axes=[axis], keepdims=0)
        upwards = np.arange(1.0, SIDE + 1)
        last = g("ReduceMax", g("Mul", line, g.constant(upwards)), axes=[1], keepdims=1)
        first = g("ReduceMax", g("Mul", line, g.constant(upwards[::-1].copy())), axes=[1], keepdims=1)
        parts.append((g("Sub", g.constant(SIDE), first), last))
    return g("Concat", parts[0][0], parts[1][0], parts[0][1], parts[1][1], axis=1)


def detector(layout: str) -> object:
    """A network that answers in that layout: one red square of class 1 of 3."""
    g = Graph()
    corners = red_square(g)
    inputs = [onnx.helper.make_tensor_value_info("images", 1, [1, 3, SIDE, SIDE])]
    to_middle = [[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]]
    names = ["output0"]
    if layout == "detr":
        inputs.append(onnx.helper.make_tensor_value_info("orig_target_sizes", 7, [1, 2]))
        size = g("Cast", "orig_target_sizes", to=1)
        scaled = g("Mul", g("Div", corners, g.constant(SIDE)), g("Concat", size, size, axis=1))
        g.called(g.constant([[1]], np.int64), "labels")
        g.called(g("Unsqueeze", scaled, g.constant([0], np.int64)), "boxes")
        g.called(g.constant([[0.9]]), "scores")
        names = ["labels", "boxes", "scores"]
    else:
        box = corners if layout == "end-to-end" else g("MatMul", corners, g.constant(to_middle))
        scores = {"end-to-end": [0.9, 1], "yolov8": [0.1, 0.9, 0], "yolov5": [0.9, 0.1, 1, 0]}[layout]
        row = g("Concat", box, g.constant([scores]), axis=1)
        rows = g("Concat", row, row, g.constant(np.zeros((11, 4 + len(scores)))), axis=0)
        rows = g("Unsqueeze", rows, g.constant([0], np.int64))
        g.called(g("Transpose", rows, perm=[0, 2, 1]) if layout == "yolov8" else rows, "output0")
    kinds = [7 if name == "labels" else 1 for name in names]
    outputs = [onnx.helper.make_tensor_value_info(n, k, None) for n, k in zip(names, kinds, strict=True)]
    graph = onnx.helper.make_graph(g.nodes, "red", inputs, outputs, g.constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="names", value=str({0: "cat", 1: "red <b>square</b>", 2: "dog"}))
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("detectors")
    made = {layout: folder / f"{layout}.onnx" for layout in ("yolov8", "yolov5", "end-to-end", "detr")}
    for layout, path in made.items():
        onnx.save(detector(layout), path)
    return made


def picture(left: int, top: int, size: tuple[int, int] = (120, 200)) -> np.ndarray:
    image = np.full((*size, 3), 90, np.uint8)
    image[top : top + 40, left : left + 40] = (230, 20, 20)
    return image


@pytest.mark.parametrize("layout", ["yolov8", "yolov5", "end-to-end", "detr"])
def test_boxes_come_back_in_pixels_of_the_picture(files: dict[str, Path], layout: str) -> None:
    found = OnnxDetector(files[layout])(picture(70, 30))
    assert found.xyxy == pytest.approx(np.array([[70, 30, 110, 70]]), abs=2.5)  # a pixel of the input is 2.1 here
    assert found.score == pytest.approx(0.9) and found.label.tolist() == ["red <b>square</b>"]


def test_a_video_is_followed_with_it(files: dict[str, Path]) -> None:
    images = np.stack([picture(20 + 6 * t, 30) for t in range(8)])
    found = track_objects(images, OnnxDetector(files["yolov8"]), tracker="lucas-kanade")
    assert set(found.ids) == {1} and found.at(7).xyxy[0, 0] == pytest.approx(62, abs=3)


def test_classes_can_be_chosen(files: dict[str, Path]) -> None:
    assert len(OnnxDetector(files["yolov5"], only=["cat"])(picture(70, 30))) == 0
    assert len(OnnxDetector(files["yolov5"], names=["a", "b", "c"], only=["b"])(picture(70, 30))) == 1
    with pytest.raises(UsageError, match="knows no class 'horse'"):
        OnnxDetector(files["yolov5"], only=["horse"])


def test_nothing_in_the_picture_is_no_detection(files: dict[str, Path]) -> None:
    assert len(OnnxDetector(files["end-to-end"], score=0.5)(np.zeros((50, 60, 3), np.uint8))) == 0


def test_what_is_no_detector_is_one_sentence(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no detector"):
        OnnxDetector(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(WeightsError, match="is no ONNX file that onnxruntime can run"):
        OnnxDetector(tmp_path / "text.onnx")
    with pytest.raises(WeightsError, match="is not known here: output0 with shapes"):
        OnnxDetector(files["yolov8"], layout="detr")(picture(70, 30))
    with pytest.raises(UsageError, match="the layout must be one of"):
        OnnxDetector(files["yolov8"], layout="yolo9000")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"score must lie in 0\.\.1"):
        OnnxDetector(files["yolov8"], score=2)
