"""`tapkit synth` and writing synthetic clips."""

import numpy as np
import pytest

from tapkit.cli import main as command
from tapkit.datasets.folder import FolderDataset
from tapkit.errors import StorageError, UsageError
from tapkit.synth.batch import ClipMaker
from tapkit.synth.config import SynthConfig
from tapkit.synth.photos import PhotoBank
from tapkit.synth.write import write_clips


@pytest.fixture(scope="module")
def maker():
    config = SynthConfig(frames=4, size=(32, 48), points=10, layers=(1, 2), shapes=8)
    return ClipMaker(config, PhotoBank.procedural(3, size=(32, 48)))


@pytest.mark.parametrize("kind", ["jpg", "png", "mp4"])
def test_clips_come_back_from_disk_as_they_were(maker, tmp_path, kind):
    write_clips(maker, tmp_path, 2, seed=5, kind=kind)
    dataset = FolderDataset(tmp_path)
    assert list(dataset.names()) == ["000005", "000006"]
    batch, clip = maker.batch(1, 6), dataset.clip("000006")
    np.testing.assert_array_equal(clip.xy, batch.xy[0].numpy())
    np.testing.assert_array_equal(clip.visible, batch.visible[0].numpy())
    with clip.open() as source:
        read = np.stack([frame.image for frame in source.frames(0, 4)])
    error = np.abs(read.astype(int) - batch.video[0].permute(0, 2, 3, 1).numpy()).mean()
    assert error == 0 if kind == "png" else error < 12


def test_a_run_that_broke_off_goes_on_where_it_stopped(maker, tmp_path):
    write_clips(maker, tmp_path, 1, seed=0)
    before = (tmp_path / "000000" / "tracks.npz").stat().st_mtime_ns
    assert [folder.name for folder in write_clips(maker, tmp_path, 3, seed=0)] == ["000001", "000002"]
    assert (tmp_path / "000000" / "tracks.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(("kind", "name"), [("jpg", "frames/take.txt"), ("mp4", "video.mp4"), ("png", "notes.txt")])
def test_a_folder_of_other_things_is_never_written_to(maker, tmp_path, kind, name):
    file = tmp_path / "000001" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(UsageError, match=r"000001 .*no finished clip"):
        write_clips(maker, tmp_path, 3, kind=kind)
    assert file.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["000001"], "nothing is made before it is known where it may go"


def test_a_clip_is_there_as_a_whole_or_not_at_all(maker, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    (tmp_path / "000001").mkdir()  # an empty folder is in nobody's way
    with monkeypatch.context() as patched:
        patched.setattr("tapkit.synth.write.write_arrays", full)
        with pytest.raises(StorageError, match="full"):
            write_clips(maker, tmp_path, 1, seed=1)
    assert not any((tmp_path / "000001").iterdir())
    assert [folder.name for folder in write_clips(maker, tmp_path, 1, seed=1)] == ["000001"]
    assert [p.name for p in tmp_path.iterdir()] == ["000001"]


@pytest.mark.parametrize("wrong", [{"kind": "gif"}, {"clips": 0}, {"seed": -1}])
def test_wrong_arguments_are_refused(maker, tmp_path, wrong):
    with pytest.raises(UsageError):
        write_clips(maker, tmp_path, **{"clips": 1, **wrong})


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["tapkit", *arguments])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    return int(stopped.value.code or 0)


def test_the_command_writes_clips_and_says_how_fast(tmp_path, monkeypatch, capsys):
    out, sheet = tmp_path / "made", tmp_path / "sheet.png"
    options = ["--frames", "3", "--size", "48x32", "--points", "8", "--device", "cpu"]
    assert run(monkeypatch, "synth", str(out), "-n", "1", *options, "--sheet", str(sheet)) == 0
    said = capsys.readouterr().err
    assert "wrote 1 clips of 3 frames, 48x32" in said and "clips/s" in said
    assert sheet.is_file()
    with np.load(out / "000000" / "tracks.npz") as arrays:
        assert arrays["xy"].shape == (8, 3, 2) and arrays["size"].tolist() == [32, 48]


def test_the_command_refuses_a_size_that_is_none(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "synth", str(tmp_path / "made"), "--size", "256") == 2
    assert "WIDTHxHEIGHT" in capsys.readouterr().err
