"""Videos in, clips out: the same for the same seed, continued where it stopped, and every refusal in one sentence."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest

from tapkit.datasets.folder import FolderDataset
from tapkit.errors import StorageError, UsageError, VideoError
from tapkit.train.pseudo.label import label_video, label_videos
from tapkit.train.pseudo.options import LabelOptions

pytest.importorskip("cv2")
SPEED = np.array([2.0, 1.0])
OPTIONS = LabelOptions(
    teachers=("strand", "tapir"), frames=(8, 8), size=(96, 128), points=96, points_per_frame=24, pieces=2, least=0.1
)


@pytest.fixture
def committee(teacher):
    """Both teachers, and who was asked."""

    class Two(dict):
        def __init__(self, **teachers):
            super().__init__(teachers)
            self.asked: list[str] = []

        def __getitem__(self, name):
            self.asked.append(name)
            return super().__getitem__(name)

    return Two(strand=teacher("strand"), tapir=teacher("tapir"))


def arrays(folder):
    with np.load(folder / "tracks.npz") as file:
        return {name: file[name] for name in file}


def test_a_video_becomes_clips_whose_tracks_go_as_the_picture_went(write, pan, committee, tmp_path):
    video = write(tmp_path / "pan.mp4", pan(30))
    report = label_video(video, tmp_path / "out", OPTIONS, committee)
    assert report.kept == 2 and not report.error
    dataset = FolderDataset(tmp_path / "out")
    assert list(dataset.names()) == ["pan.mp4-00", "pan.mp4-01"]
    for name, piece in zip(dataset.names(), report.pieces, strict=True):
        clip = dataset.clip(name)
        assert clip.size == (96, 128) and clip.frames == 8 and len(clip) == piece["tracks"]["kept"] >= 10
        step = np.diff(clip.xy, axis=1)
        both = clip.visible[:, 1:] & clip.visible[:, :-1]
        assert both.sum() > 40 and np.allclose(step[both], SPEED, atol=1e-3)
        assert not np.isfinite(clip.xy[~clip.counted]).any(), "what does not count has no position"
        with clip.open() as source:
            assert source.read(7).image.shape == (96, 128, 3)
        assert (tmp_path / "out" / "report" / f"{name}.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_labels_depend_on_the_video_and_the_seed_alone(write, pan, committee, tmp_path):
    one, two = (write(tmp_path / f"{name}.mp4", pan(30, seed)) for seed, name in enumerate("ab"))
    for order, videos in (("there", (one, two)), ("back", (two, one))):
        for video in videos:
            label_video(video, tmp_path / order, OPTIONS, committee)
    for name in ("a.mp4-00", "a.mp4-01", "b.mp4-00", "b.mp4-01"):
        there, back = (arrays(tmp_path / order / name) for order in ("there", "back"))
        assert all(np.array_equal(there[key], back[key], equal_nan=there[key].dtype.kind == "f") for key in there)
    label_video(one, tmp_path / "other", LabelOptions(**{**vars(OPTIONS), "seed": 1}), committee)
    first, other = (arrays(tmp_path / where / "a.mp4-00") for where in ("there", "other"))
    assert first["first"] != other["first"] or first["xy"].shape != other["xy"].shape


def test_every_teacher_gets_its_turn(write, pan, committee, tmp_path):
    video = write(tmp_path / "pan.mp4", pan(12))
    report = label_video(video, tmp_path / "out", LabelOptions(**{**vars(OPTIONS), "pieces": 8}), committee)
    drawn = [piece["teachers"][0] for piece in report.pieces]
    assert set(drawn) == {"strand", "tapir"} and drawn == committee.asked


def test_what_is_done_is_kept_and_what_is_not_is_made_again(write, pan, committee, tmp_path):
    video, out = write(tmp_path / "pan.mp4", pan(30)), tmp_path / "out"
    first = label_video(video, out, OPTIONS, committee)
    committee.asked.clear()
    assert label_video(video, out, OPTIONS, committee) == first and committee.asked == []
    stamp = (out / "pan.mp4-00" / "tracks.npz").stat().st_mtime_ns
    before = arrays(out / "pan.mp4-01")
    (out / "pan.mp4-01" / "tracks.npz").unlink()  # as if the run had been killed
    assert label_video(video, out, OPTIONS, committee) == first and len(committee.asked) == 1
    assert (out / "pan.mp4-00" / "tracks.npz").stat().st_mtime_ns == stamp
    assert np.array_equal(arrays(out / "pan.mp4-01")["xy"], before["xy"], equal_nan=True)
    more = LabelOptions(**{**vars(OPTIONS), "pieces": 3})
    assert len(label_video(video, out, more, committee).pieces) == 3, "more pieces of the same labels"


def test_a_folder_of_other_labels_or_other_things_is_left_alone(write, pan, committee, tmp_path):
    video = write(tmp_path / "pan.mp4", pan(12))
    label_video(video, tmp_path / "out", OPTIONS, committee)
    other = LabelOptions(**{**vars(OPTIONS), "points": 100})
    with pytest.raises(UsageError, match=r"other options \(points: 96, now 100\)"):
        label_video(video, tmp_path / "out", other, committee)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no pseudo-labels"):
        label_video(video, tmp_path / "mine", OPTIONS, committee)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_without_texture_or_agreement_a_piece_is_thrown_away_and_the_report_says_why(
    write, pan, teacher, tmp_path, monkeypatch
):
    from tapkit.train.pseudo import label

    write(tmp_path / "blank.mp4", np.full((12, 96, 128, 3), 90, np.uint8))
    write(tmp_path / "pan <b>.mp4", pan(12))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    apart = lambda xy, visible, direction, rows: (xy + 9.0 * (np.arange(8) != rows[:, :1])[..., None], visible)  # noqa: E731

    class Apart(dict):
        def load(self):
            pass

    both = Apart(strand=teacher("strand"), tapir=teacher("tapir", apart))
    monkeypatch.setattr(label, "Committee", lambda options: both)
    options = LabelOptions(**{**vars(OPTIONS), "agree": 2, "pieces": 1, "round_trip": None})
    lines: list[str] = []
    videos = [tmp_path / name for name in ("blank.mp4", "broken.mp4", "pan <b>.mp4")]
    reports = label_videos(videos, tmp_path / "out", options, lines.append)
    assert [report.kept for report in reports] == [0, 0, 0] and list(FolderDataset(tmp_path / "out").names()) == []
    assert "0 corners with texture, of 10 at least" in lines[0] and "failed" in lines[1]
    assert "0 tracks hold up, of 10 at least" in lines[2]
    assert reports[2].pieces[0]["tracks"]["teachers disagree"] > 0.6 * reports[2].pieces[0]["asked"] > 10
    page = (tmp_path / "out" / "report.html").read_text()
    assert "broken.mp4" in page and "pan &lt;b&gt;.mp4" in page and "<b>" not in page and "<script" not in page
    assert "data:image/jpeg;base64" in page and "teachers disagree" in page
    summary = json.loads((tmp_path / "out" / "report.json").read_text())
    assert summary["thrown_away"] == 2 and summary["clips"] == 0 and list(summary["failed"]) == ["broken.mp4"]


def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(write, pan, committee, tmp_path, monkeypatch):
    from PIL import Image

    video, out = write(tmp_path / "pan.mp4", pan(30)), tmp_path / "out"
    save, written = Image.Image.save, []

    def full(self, target, *arguments, **more):
        written.append(target)
        if len(written) > 12:  # in the second clip
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, target, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(StorageError, match="No space left"):
            label_video(video, out, OPTIONS, committee)
    assert list(FolderDataset(out).names()) == ["pan.mp4-00"], "the first is whole, of the second there is nothing"
    report = label_video(video, out, OPTIONS, committee)
    assert report.kept == 2 and list(FolderDataset(out).names()) == ["pan.mp4-00", "pan.mp4-01"]


def test_ctrl_c_keeps_what_is_done_and_reports_it(write, pan, committee, tmp_path, monkeypatch):
    from tapkit.train.pseudo import label

    class Stopped:
        def load(self):
            pass

        def __getitem__(self, name):
            if len(committee.asked) == 2:  # the first video is done
                raise KeyboardInterrupt
            return committee[name]

    monkeypatch.setattr(label, "Committee", lambda options: Stopped())
    videos = [write(tmp_path / f"{name}.mp4", pan(20, seed)) for seed, name in enumerate("ab")]
    with pytest.raises(KeyboardInterrupt):
        label_videos(videos, tmp_path / "out", OPTIONS)
    assert list(FolderDataset(tmp_path / "out").names()) == ["a.mp4-00", "a.mp4-01"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["clips"] == 2


def test_nothing_to_label_and_names_that_collide_are_said(tmp_path, committee):
    with pytest.raises(StorageError, match="no video"):
        label_videos([], tmp_path / "out", OPTIONS)
    with pytest.raises(UsageError, match=r"two videos are called a\.mp4"):
        label_videos(["x/a.mp4", "y/a.mp4"], tmp_path / "out", OPTIONS)
    with pytest.raises(VideoError):
        label_video(tmp_path / "none.mp4", tmp_path / "none", OPTIONS, committee)
    with pytest.raises(VideoError):  # and no weights are looked for
        label_videos([tmp_path / "none.mp4", tmp_path / "nor.mp4"], tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()
