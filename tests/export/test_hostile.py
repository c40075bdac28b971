"""Data never becomes code: hostile names and paths through every writer, read by the program that would run them.

python -m pytest -s tests/export/test_hostile.py -k counted      # prints names x writers x readers
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest
from oracles import AFTER_EFFECTS, BLENDER
from PIL import Image

from tapkit.errors import QueryError, UsageError
from tapkit.export import ExportWarning
from tapkit.export.library import formats
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.types.table import FORMULA, meant

_SPEC = importlib.util.spec_from_file_location("hostile", Path(__file__).parents[1] / "hostile.py")
assert _SPEC is not None and _SPEC.loader is not None
hostile = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hostile)

pytestmark = pytest.mark.filterwarnings("ignore::tapkit.export.ExportWarning", "ignore::UserWarning")
OPTIONS: dict[str, dict[str, Any]] = {
    "dlc": {"images": False, "frames": "all"}, "nuke-cornerpin": {"corners": "a,b,c,d"},
}  # fmt: skip
WITHOUT_NAMES = {"ae", "mocha", "dltdv", "colmap", "colmap-database", "tapvid", "stmap", "motion", "nuke-cornerpin"}
"""Formats in which no name of a point stands."""


def clip(names: list[str], path: str | None = None) -> Tracks:
    """Points with these names on three frames, seen on all."""
    count = len(names)
    xy = (
        np.stack([np.linspace(5, 90, count), np.linspace(60, 5, count)], -1)[:, None].repeat(3, 1)
        + np.arange(3)[:, None]
    )
    every = np.ones((count, 3))
    return Tracks(xy, every, every, every > 0, Queries.at(0, xy[:, 0], names), VideoInfo(100, 70, frames=3, path=path))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in; afterwards nothing that ran as code may have left its mark in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not list(tmp_path.rglob(hostile.MARK)) and not (tmp_path.parent / hostile.MARK).exists()


# -- readers: each returns the names that it finds ----------------------------------------------------


def ours(path: Path, tracks: Tracks, name: str) -> list[str]:
    """Tapkit's own reader."""
    back = Tracks.read(path, name, video=tracks.video)
    np.testing.assert_allclose(back.xy, tracks.xy, atol=1e-2)
    return back.ids.tolist()


def blender(path: Path, tracks: Tracks, name: str) -> list[str]:
    """Blender runs the script, on a clip of the size that it asks for."""
    if not BLENDER.exists():
        pytest.skip("Blender is not there: python tools/blender_venv.py")
    for frame in range(1, 4):
        Image.new("RGB", (100, 70)).save(path.with_name(f"shot_{frame:04d}.png"))
    driver = path.with_name("driver.py")
    driver.write_text(
        "import json, os, runpy, sys, bpy\n"
        "bpy.data.movieclips.load(os.path.abspath('shot_0001.png'))\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
        "json.dump([t.name for t in bpy.data.movieclips[0].tracking.tracks], open('names.json', 'w'))\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([BLENDER, driver, path], capture_output=True, text=True, timeout=120, cwd=path.parent)
    assert done.returncode == 0, done.stderr[-500:]
    return json.loads(path.with_name("names.json").read_text())


def quickjs(path: Path, tracks: Tracks, name: str) -> list[str]:
    """QuickJS, with a stand-in for After Effects' objects."""
    context = pytest.importorskip("quickjs").Context()
    context.eval(AFTER_EFFECTS)
    context.eval(path.read_text())
    assert context.eval(f"typeof {hostile.MARK}") == "undefined"
    return [layer["name"] for layer in json.loads(context.eval("JSON.stringify(layers)"))]


def tcl(path: Path, tracks: Tracks, name: str) -> list[str]:
    """Tcl's own parser takes the script apart, with commands that would run code at hand."""
    _, nodes, trapped = nuke_nodes(path)
    assert trapped == []
    interpreter = pytest.importorskip("tkinter").Tcl()

    def split(text: str) -> tuple[str, ...]:
        return interpreter.splitlist(text)

    knobs = split(nodes["Tracker4"])
    table = split(knobs[knobs.index("tracks") + 1])
    return [split(row)[1] for row in split(table[2])]


def nuke_nodes(path: Path) -> tuple[Any, dict[str, str], list[str]]:
    """The interpreter, the bodies of the nodes, and what was called that runs code."""
    interpreter = pytest.importorskip("tkinter").Tcl()
    nodes: dict[str, str] = {}
    trapped: list[str] = []
    for command in ("python", "exec", "eval", "open", "source", "knob", "value", "expression"):
        interpreter.createcommand(command, lambda *words, command=command: trapped.append(command) or "")
    for node in ("Root", "Read", "Tracker4", "CornerPin2D"):
        interpreter.createcommand(node, lambda body, node=node: nodes.__setitem__(node, body) or "")
    for ignored in ("version", "push"):
        interpreter.createcommand(ignored, lambda *words: "")
    interpreter.eval("proc stack {n} {return 0}")
    interpreter.eval(path.read_text())
    assert interpreter.eval(f"info exists {hostile.MARK}") == "0"
    return interpreter, nodes, trapped


def spreadsheet(path: Path, tracks: Tracks, name: str) -> list[str]:
    """A CSV reader: whole rows, and no cell that a spreadsheet would compute."""
    text = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    cells = {cell for row in rows for cell in row}
    assert not [
        cell
        for cell in cells
        if cell.lstrip(" ")[:1] in tuple("=@\t\r＝") or (cell[:1] in "+-" and FORMULA.match(cell))
    ]
    if name == "csv-wide":
        return [meant(head)[:-2] for head in rows[0][2::3]]
    return [meant(name) for name in dict.fromkeys(row[0] for row in rows[1:])]


def pandas_csv(path: Path, tracks: Tracks, name: str) -> list[str]:
    """pandas."""
    frame = pytest.importorskip("pandas").read_csv(path, comment="#" if name == "csv" else None, dtype=str, skiprows=2,
                                                    keep_default_na=False)  # fmt: skip
    if name == "csv-wide":
        return [meant(head)[:-2] for head in frame.columns[2::3]]
    return [meant(name) for name in dict.fromkeys(frame["id"].tolist())]


def arrow(path: Path, tracks: Tracks, name: str) -> list[str]:
    """pyarrow."""
    return list(dict.fromkeys(pytest.importorskip("pyarrow.parquet").read_table(path).column("id").to_pylist()))


def coco(path: Path, tracks: Tracks, name: str) -> list[str]:
    """COCO's own API."""
    with redirect_stdout(io.StringIO()):
        return pytest.importorskip("pycocotools.coco").COCO(str(path)).loadCats([1])[0]["keypoints"]


def expat(path: Path, tracks: Tracks, name: str) -> list[str]:
    """An XML parser: one element for each of ours, no other."""
    root = ElementTree.parse(path).getroot()
    assert {e.tag for e in root.iter()} <= set(CVAT_TAGS)
    return [track.find("points/attribute[@name='id']").text or "" for track in root.iter("track")]


def dom(path: Path, tracks: Tracks, name: str) -> list[str]:
    """Another one."""
    document = minidom.parse(str(path))
    firsts = [track.getElementsByTagName("attribute")[0] for track in document.getElementsByTagName("track")]
    return ["".join(node.data for node in first.childNodes) for first in firsts]


CVAT_TAGS = [
    "annotations",
    "version",
    "meta",
    "task",
    "name",
    "size",
    "mode",
    "labels",
    "label",
    "type",
    "attributes",
    "attribute",
    "mutable",
    "input_type",
    "default_value",
    "values",
    "original_size",
    "width",
    "height",
    "track",
    "points",
]


def sleap(path: Path, tracks: Tracks, name: str) -> list[str]:
    """sleap-io."""
    return [n.name for n in pytest.importorskip("sleap_io").load_slp(str(path), open_videos=False).skeletons[0].nodes]


def hdf5(path: Path, tracks: Tracks, name: str) -> list[str]:
    """h5py."""
    with pytest.importorskip("h5py").File(path) as file:
        return [text.decode() for text in file["node_names"][:]]


def pandas_h5(path: Path, tracks: Tracks, name: str) -> list[str]:
    """pandas, as DeepLabCut."""
    path = next(path.glob("*.h5")) if path.is_dir() else path
    columns = pytest.importorskip("pandas").read_hdf(path).columns
    return list(dict.fromkeys(column[1] for column in columns))


def pandas_table(path: Path, tracks: Tracks, name: str) -> list[str]:
    """The CSV beside it."""
    path = next(path.glob("*.csv")) if path.is_dir() else path.with_suffix(".csv")
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=@+\t\r")]
    return list(dict.fromkeys(cell for cell in rows[1][1:] if cell))


def rrd(path: Path, tracks: Tracks, name: str) -> list[str]:
    """rerun's reader."""
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    batches = (chunk.to_record_batch() for chunk in RrdReader(str(path)).stream().to_chunks())
    context = next(b for b in batches if "AnnotationContext:context" in b.schema.names)
    (((classes,),),) = context.column("AnnotationContext:context").to_pylist()
    return [each["label"] for each in classes["class_description"]["keypoint_annotations"]]


def words(path: Path, tracks: Tracks, name: str) -> list[str]:
    """Programs that take one word a name: a line has as many words as the layout says."""
    lines = [line.split() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
    assert {len(line) for line in lines} == {5 if name == "syntheyes" else 4}
    return list(dict.fromkeys(line[0] for line in lines))


def lines_of(path: Path, tracks: Tracks, name: str) -> list[str]:
    """Programs that take a line a name: no line is of another kind than the layout says."""
    text = path.read_text().splitlines()
    if name == "3de":
        assert len(text) == 1 + 6 * len(tracks)
        return text[1::6]
    own = [line for line in text if line.strip() and line[0] not in "\t /" and line[:9] != '"Primary"']
    if name == "pftrack":
        return [line[1:-1] for line in own if line[0] == '"']
    return [line.removeprefix("TrackName ") for line in own]


def balanced(path: Path, tracks: Tracks, name: str) -> list[str]:
    """As Lua takes a table apart: strings first, then braces, which must close one another outside of them."""
    text = path.read_text()
    literals = re.findall(r'"(?:[^"\\\n]|\\.)*"', text)
    rest = re.sub(r'"(?:[^"\\\n]|\\.)*"', "", text)
    assert '"' not in rest and rest.count("{") == rest.count("}") and hostile.MARK not in rest
    own = re.findall(r'Name\d+ = Input { Value = ("(?:[^"\\]|\\.)*"),', text)
    assert set(own) <= set(literals)
    return [re.sub(r"\\(.)", r"\1", literal[1:-1]) for literal in own]


Reader = Callable[[Path, Tracks, str], list[str]]
READERS: dict[str, tuple[Reader, ...]] = {
    "nuke": (ours, tcl), "nuke-script": (ours, tcl), "ae-script": (quickjs,),
    "3de": (ours, lines_of), "3de3": (ours, lines_of), "syntheyes": (ours, words), "pftrack": (ours, lines_of),
    "boujou": (ours, words), "shake": (ours, lines_of), "blender": (blender,), "cvat": (ours, expat, dom),
    "coco": (ours, coco), "dlc": (ours, pandas_h5, pandas_table), "dlc-predictions": (ours, pandas_h5, pandas_table),
    "fusion": (ours, balanced), "fusion-comp": (ours, balanced),
    "sleap": (ours, sleap), "sleap-analysis": (ours, hdf5), "csv": (ours, spreadsheet, pandas_csv),
    "csv-wide": (ours, spreadsheet, pandas_csv), "parquet": (ours, arrow), "rerun": (rrd,),
}  # fmt: skip


@pytest.mark.parametrize(("name", "reader"), [(n, r) for n, readers in READERS.items() for r in readers])
def test_names_of_points_are_names_to_the_program_that_reads_them(name: str, reader: Reader, here: Path) -> None:
    if name == "sleap" or name == "sleap-analysis":
        pytest.importorskip("sleap_io")
    tracks = clip(hostile.NAMES)
    form = formats()[name]
    path = form.write(tracks, here / ("out" + form.suffix.strip("/")), largest=float("inf"), **OPTIONS.get(name, {}))
    expected = form.names.apply(hostile.NAMES)
    found = reader(path, tracks, name)
    assert found == expected
    if reader is ours:
        back = Tracks.read(path, name, original=tracks)
        assert back.ids.tolist() == hostile.NAMES and not back.keyframe.any()


def test_every_writer_has_a_reader_or_no_names() -> None:
    own = {n for n, entry in formats().items() if entry.writer.__module__.startswith("tapkit.")}
    assert own == set(READERS) | (WITHOUT_NAMES & own)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["nuke-script", "ae-script", "cvat", "sleap", "csv", "csv-wide", "parquet", "coco"])
def test_paths_of_videos_are_paths(name: str, here: Path) -> None:
    """Of every hostile name as the name of the footage, and what is then found in the file."""
    if name == "sleap":
        pytest.importorskip("sleap_io")
    form = formats()[name]
    for number, text in enumerate([*hostile.NAMES, "x\udcff"]):
        path = str(here / "shots" / text)
        out = form.write(clip(["a", "b"], path), here / f"{number}{form.suffix}")
        if name == "nuke-script":
            interpreter, nodes, trapped = nuke_nodes(out)
            knobs = interpreter.splitlist(nodes["Read"])
            file = dict(zip(knobs[::2], knobs[1::2], strict=True))["file"]
            assert interpreter.call("subst", file) == str(Path(path).resolve()).encode("utf-8", "replace").decode()
            assert trapped == []
        elif name == "ae-script":
            assert quickjs(out, clip(["a", "b"]), name) == ["a", "b"]
        elif name == "cvat":
            assert ElementTree.parse(out).getroot().find("meta/task/name").text.strip() != "" or not text.strip()
            assert expat(out, clip(["a"]), name) == ["a", "b"]
        else:
            assert Tracks.read(out, name, video=VideoInfo(100, 70, frames=3)).ids.tolist() == ["a", "b"]


def test_the_path_in_a_script_for_blender_is_data(here: Path) -> None:
    """The script is parsed, not run: what it would execute is a constant text."""
    import ast

    for text in [*hostile.NAMES, "x\udcff"]:
        script = clip(["a"], str(here / text)).to_blender(here / "s.py").read_text()
        tree = ast.parse(script)
        facts = next(n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "FACTS")
        (literal,) = facts.value.args
        assert isinstance(literal, ast.Constant)
        assert json.loads(literal.value)["path"] == str((here / text).resolve())
        assert sum(isinstance(n, ast.Call) and getattr(n.func, "id", "") == "open" for n in ast.walk(tree)) == 1


@pytest.mark.parametrize("text", hostile.NAMES)
def test_labels_and_other_options_are_text(text: str, here: Path) -> None:
    tracks = clip(["a", "b"])
    root = ElementTree.parse(tracks.to_cvat(here / "a.xml", label=text)).getroot()
    assert {e.tag for e in root.iter()} <= set(CVAT_TAGS) and len(list(root.iter("track"))) == 2
    assert json.loads(tracks.to_coco(here / "a.json", category=text).read_text())["categories"][0]["name"] == text
    pytest.importorskip("tables")
    if re.fullmatch(r"[^\W_][\w .-]{0,59}", text):
        folder = tracks.to_dlc(here / "labels", scorer=text, images=False, frames="all")
        assert all(p.parent == folder for p in folder.iterdir())
    else:
        with pytest.raises(UsageError, match="the scorer becomes a part of file names"):
            tracks.to_dlc(here / "labels", scorer=text, images=False, frames="all")
    assert {p.name for p in here.iterdir()} <= {"a.xml", "a.json", "labels"}


@pytest.mark.parametrize("text", hostile.NO_TEXT)
def test_what_is_no_text_is_no_name(text: str) -> None:
    with pytest.raises(QueryError, match="no text"):
        clip(["a", text])


@pytest.mark.parametrize("ending", [".npz", ".zarr", ".csv", ".parquet"])
def test_tracks_keep_every_name_and_path(ending: str, here: Path) -> None:
    pytest.importorskip({".zarr": "zarr", ".parquet": "pyarrow"}.get(ending, "numpy"))
    for text in hostile.NAMES:
        tracks = clip(["a", "b"], f"/shots/{text}")
        assert Tracks.load(tracks.save(here / f"a{ending}")).video.path == tracks.video.path
    tracks = clip(hostile.NAMES)
    assert Tracks.load(tracks.save(here / f"a{ending}")).ids.tolist() == hostile.NAMES


def test_names_are_drawn(here: Path) -> None:
    from tapkit.viz.labels import Labels

    image = np.zeros((70, 100, 3), np.uint8)
    labels = Labels(10.0)
    for text in [*hostile.NAMES, *hostile.NO_TEXT]:
        labels.draw(image, np.array([text], object), np.array([[50.0, 30.0]]), np.ones((1, 3)), 4.0)


def test_the_combinations_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    readers = sum(map(len, READERS.values()))
    with capsys.disabled():
        print(
            f"\n{len(hostile.NAMES)} names x {len(READERS)} writers x their readers ({readers} pairs): "
            f"{len(hostile.NAMES) * readers} names read; as paths x 9 writers: {9 * len(hostile.NAMES)}; "
            f"as labels and scorers x 3 writers: {3 * len(hostile.NAMES)}; stored and drawn: {9 * len(hostile.NAMES)}"
        )
    assert len(set(hostile.NAMES)) == len(hostile.NAMES) > 80
    assert issubclass(ExportWarning, UserWarning)
