"""What goes wrong says so in one sentence, and leaves nothing behind."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import numpy as np
import pytest
import typer
from example_clip import three_tracks
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tapkit.cli.export import export
from tapkit.cli.import_ import import_tracks
from tapkit.errors import StorageError, TapkitError, UsageError
from tapkit.export import ExportWarning
from tapkit.export.library import formats
from tapkit.export.text import NameRule
from tapkit.types import Queries, Tracks, VideoInfo

pytestmark = pytest.mark.filterwarnings("ignore::tapkit.export.ExportWarning")


def one_sentence(error: pytest.ExceptionInfo[TapkitError]) -> str:
    text = str(error.value)
    assert text and "\n" not in text and len(text) < 300
    return text


@pytest.mark.parametrize(
    ("format", "options", "says"),
    [
        ("nuk", {}, "did you mean nuke"),
        ("nuke", {"when": "sometimes"}, "when must be one of"),
        ("nuke", {"gaps": "zeros"}, "gaps must be one of drop, hold, interpolate"),
        ("nuke", {"threshold": 9}, "threshold must be a probability"),
        ("nuke", {"threshold": 1.0}, "no point is ever visible"),
        ("nuke", {"colour": 3}, "nuke has no option 'colour'"),
        ("nuke-cornerpin", {}, "needs four points"),
        ("nuke-cornerpin", {"corners": "a,b,c,d"}, "no point to be written is called 'a'"),
        ("ae", {"block": "layer"}, "block must be"),
        ("ae", {"block": "position"}, "one layer takes one position, not 3"),
        ("dlc", {"frames": "some"}, "frames must be labelled, all"),
        ("dlc", {}, "do not know their video"),
        ("tapvid", {}, "do not know their video"),
        ("stmap", {}, "each crossing of a grid"),
        ("colmap", {"poses": np.eye(3)}, "poses must be"),
        ("csv", {"largest": 100}, "would take about"),
        ("coco", {"image": "{x}"}, "image must be"),
        ("coco", {"image": "{0.real:06d}"}, "image must be"),
        ("coco", {"image": "{:06d}_{:06d}"}, "image must be"),
        ("coco", {"image": "{:9999d}"}, "image must be"),
        ("colmap", {"image": "{"}, "image must be"),
        ("colmap", {"image": "{:06q}"}, "image must be"),
        ("colmap-database", {"image": "same.png", "version": "3"}, "image must be"),
        ("colmap", {"focal": float("nan")}, "focal must be"),
        ("colmap", {"focal": float("inf")}, "focal must be"),
        ("colmap-database", {"focal": -800.0, "version": "3"}, "focal must be"),
        ("colmap-database", {"span": 0, "version": "3"}, "span must be"),
        ("cvat", {"tolerance": float("nan")}, "tolerance must be"),
        ("cvat", {"tolerance": -0.5}, "tolerance must be"),
        ("dlc", {"frames": "9" * 30}, "do not know their video"),
    ],
)
def test_bad_arguments_of_export(format: str, options: dict, says: str, tracks: Tracks, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        tracks.write(tmp_path / "out", format, **options)
    assert says in one_sentence(error)
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_file_is_refused_before_it_is_written(tmp_path: Path) -> None:
    xy = np.zeros((4, 5000, 2)) + 5
    every = np.ones((4, 5000))
    tracks = Tracks(xy, every, every, every > 0, Queries.at(0, xy[:, 0]), VideoInfo(3840, 2160, path="missing.mp4"))
    with pytest.raises(UsageError, match=r"tapvid would take about 124\.\d GB"):
        tracks.to_tapvid(tmp_path / "a.pkl")
    pytest.importorskip("sleap_io")
    ids = Queries.at(0, np.ones((2000, 2)))
    few = np.ones((2000, 2))
    crowd = Tracks(np.ones((2000, 2, 2)), few, few, few > 0, ids, VideoInfo(64, 64))
    with pytest.raises(UsageError, match="SLEAP files hold the names of about 1363 points, not of 2000"):
        crowd.to_sleap(tmp_path / "a.slp")
    with pytest.raises(UsageError, match="by the ending"):
        tracks.write(tmp_path / "a.what")
    with pytest.raises(UsageError, match="name the format"):
        tracks.write(tmp_path / "a.txt")
    with pytest.raises(AttributeError):
        tracks.to_something("x")


DAMAGED = {
    "nuke": "Root { }", "nuke-script": "Tracker4 {\n tracks { { 1 31 1 } { {", "ae": "Frame 1 2",
    "3de": "2\np\n0\n5\n1 2 3\n",
    "3de3": "// 3DE nothing", "syntheyes": "a 1 x 3 7", "pftrack": "hello", "boujou": "a b", "shake": "TrackName",
    "cvat": "<annotations>", "coco": "{}", "csv": "a,b\n1,2\n", "csv-wide": "frame,p_x,p_y\n1,2\n",
    "dltdv": "x,y\n1,2\n",
    "blender": "{}", "tapvid": "no pickle", "dlc": "x,y\n1,2", "parquet": "PAR", "sleap": "nothing", "mocha": "",
    "dlc-predictions": "scorer", "sleap-analysis": "nothing", "fusion": "{ Tools = {", "fusion-comp": "Composition { }",
}  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in formats().values() if entry.reader])  # type: ignore[attr-defined]
def test_damaged_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text(DAMAGED[name])
    with pytest.raises((StorageError, UsageError)) as error:
        Tracks.read(path, name, video=VideoInfo(320, 180))
    assert "file.txt" in one_sentence(error)
    with pytest.raises(StorageError, match="does not exist"):
        Tracks.read(tmp_path / "missing", name)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (print, ("boo",))

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(StorageError, match=r"builtins\.print"):
        Tracks.read(path, "tapvid")


def test_imports_that_do_not_fit(tracks: Tracks, tmp_path: Path) -> None:
    path = tracks.to_3de(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="does not say how large the picture is"):
        Tracks.read(path, "3de")
    with pytest.raises(UsageError, match="has frame 12, but the clip has frames 1 to 11"):
        Tracks.read(path, "3de", video=VideoInfo(320, 180, frames=11))
    with pytest.raises(UsageError, match="for writing only"):
        Tracks.read(path, "nuke-cornerpin")
    with pytest.raises(UsageError, match="which is which cannot be told"):
        Tracks.read(tracks.to_ae(tmp_path / "ae.txt"), "ae", original=tracks[[0, 1]])
    with pytest.raises(UsageError, match="does not mark"):
        Tracks.read(path, "3de", original=tracks, human="marks")
    path.write_text(path.read_text().replace("1 20.250000000000000", "1 nan"))
    with pytest.raises(StorageError, match="position of 'gap' on frame 1 is not a number"):
        Tracks.read(path, "3de", video=tracks.video)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_what_was_there(
    failure: BaseException, tracks: Tracks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tapkit.export import matchmove

    path = tmp_path / "a.txt"
    path.write_text("what was there")

    def half(target: Path, parts: object, newline: str = "\n") -> None:
        target.write_text("half")
        raise failure

    monkeypatch.setattr(matchmove, "write_text", half)
    with pytest.raises((StorageError, KeyboardInterrupt)) as error:
        tracks.to_3de(path)
    if isinstance(failure, OSError):
        assert "No space left on device" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "what was there"


def test_names_that_a_program_forbids_are_changed_and_stay_apart(tracks: Tracks, tmp_path: Path) -> None:
    odd = tracks.with_(queries=tracks.queries.with_ids(['a"b', "a{b", "é" * 150]))
    text = odd.to_nuke(tmp_path / "a.nk").read_text()
    assert '"a_b"' in text and '"a_b_2"' in text
    back = Tracks.read(tmp_path / "a.nk", "nuke", original=odd)
    assert back.ids.tolist() == odd.ids.tolist()
    numbers = tracks.with_(queries=tracks.queries.with_ids([0, 1, 2]))
    pytest.importorskip("tables")
    folder = numbers.to_dlc(tmp_path / "vid", frames="all", images=False)
    assert (folder / "CollectedData_tapkit.csv").read_text().split("\n")[
        1
    ] == "bodyparts,,,point0,point0,point1,point1,point2,point2"
    hidden = tracks.with_(visible=tracks.visible * np.array([[0], [1], [1]]))
    with pytest.warns(ExportWarning, match="1 of 3 points are never visible"):
        hidden.to_3de(tmp_path / "a.txt")


@given(st.lists(st.text(max_size=8), max_size=20), st.booleans())
def test_names_are_always_unique_allowed_and_short(ids: list[str], letter: bool) -> None:
    names = NameRule(r"[^\w]", 12, letter).apply(ids)
    assert len(set(names)) == len(ids) == len(names)
    assert all(0 < len(name.encode()) <= 12 for name in names)


def test_the_command_line_exports_imports_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracks = three_tracks()
    tracks.save(tmp_path / "clip.tracks.npz")

    app = typer.Typer()
    app.command("export")(export)
    app.command("import")(import_tracks)

    def tapkit(*arguments: str) -> tuple[str, str]:
        """What it printed as result, and what it said to the person or failed with."""
        done = CliRunner().invoke(app, [*arguments])
        return done.stdout.strip(), done.stderr + str(done.exception or "")

    assert "nuke" in tapkit("export", "--list")[0]
    assert tapkit("export", "clip.tracks.npz", "--to", "cvat", "--set", "label=ant")[0] == "clip.xml"
    assert 'label="ant"' in (tmp_path / "clip.xml").read_text()
    assert (
        "tolerance must be a float"
        in tapkit("export", "clip.tracks.npz", "--to", "cvat", "--set", "tolerance=x", "--force")[1]
    )
    said = tapkit("export", "clip.tracks.npz", "pasted.txt", "--to", "ae", "--points", "gap")[1]
    assert "moves straight through gaps" in said
    text = (tmp_path / "clip.xml").read_text().replace("20.2500,150.0000", "22.2500,150.0000")
    (tmp_path / "clip.xml").write_text(text)
    done = tapkit("import", "clip.xml", "back.npz", "--from", "cvat", "--original", "clip.tracks.npz")
    assert done[0] == "back.npz", done
    assert Tracks.load(tmp_path / "back.npz").xy[0, 0].tolist() == [22.25, 150]
    assert "--size takes WIDTHxHEIGHT" in tapkit("import", "clip.xml", "--from", "cvat", "--size", "big")[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_hdf5s_paragraphs_become_one_line() -> None:
    from tapkit.storage import reason

    h5py = pytest.importorskip("h5py")
    with pytest.raises(OSError) as error, h5py.File("/dev/full", "w") as file:
        file["x"] = np.zeros(100_000)
    assert "\n" not in reason(error.value)
