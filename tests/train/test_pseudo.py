"""Pseudo-labels: what moves as known is labelled as it moved; what does not come back is not counted."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tapkit
from tapkit.datasets.folder import FolderDataset
from tapkit.errors import StorageError, UsageError
from tapkit.train.pseudo import PseudoLabelSettings, forward_backward, label_videos, textured_points
from tapkit.types import VideoInfo
from tapkit.video.writer import VideoWriter

SETTINGS = PseudoLabelSettings(frames=6, points=60, paces=(2,), side=96, least=8)
SPEED = np.array([2.0, 1.0], np.float32)
HEIGHT, WIDTH = 120, 160


def panned(frames: int = 12) -> np.ndarray:
    """Texture that moves by SPEED a frame, without a change."""
    random = torch.Generator().manual_seed(0)
    fine, coarse = (torch.rand(1, 3, n, n, generator=random) for n in (60, 15))
    texture = sum(F.interpolate(x, size=(240, 240), mode="bicubic", align_corners=False) for x in (fine, coarse))
    picture = (127 * texture[0].permute(1, 2, 0)).clamp(0, 255).byte().numpy()
    cuts = [(60 - int(SPEED[0] * t), 60 - int(SPEED[1] * t)) for t in range(frames)]
    return np.stack([picture[y : y + HEIGHT, x : x + WIDTH] for x, y in cuts])


@pytest.fixture(scope="module")
def teacher():
    return tapkit.load("strand", device="cpu")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "notes.txt").write_text("not a video")
    info = VideoInfo(width=WIDTH, height=HEIGHT, fps=Fraction(24), frames=12)
    with VideoWriter(folder / "pan.mp4", info, quality="high") as writer:
        for frame in panned():
            writer.write(frame)
    return folder


def test_pieces_of_a_video_become_clips_whose_tracks_go_as_the_picture_went(video, teacher, tmp_path):
    lines: list[str] = []
    written = label_videos(video, tmp_path, teacher, 2, seed=4, settings=SETTINGS, report=lines.append)
    assert [folder.name for folder in written] == ["000004", "000005"] and len(lines) == 2
    for folder in written:
        clip = FolderDataset(tmp_path).clip(folder.name)
        assert clip.frames == 6 and clip.size[0] == clip.size[1] <= 96 and len(clip) >= 8
        side = float(np.load(folder / "tracks.npz")["side"])
        step = 2 * SPEED * clip.size[0] / side
        moved = clip.xy - clip.xy[:, :1]
        expected = step * np.arange(6)[:, None]
        error = np.linalg.norm(moved - expected, axis=-1)[clip.visible]
        assert np.median(error) < 0.3 and error.max() < 2
        assert not np.isfinite(clip.xy[~clip.counted]).any(), "what does not count has no position"
    stamp = (written[0] / "tracks.npz").stat().st_mtime_ns
    assert label_videos(video, tmp_path, teacher, 2, seed=4, settings=SETTINGS) == written
    assert (written[0] / "tracks.npz").stat().st_mtime_ns == stamp, "kept"


def test_where_the_directions_disagree_nothing_counts(teacher):
    frames = panned(6)
    frames[3:] = np.random.default_rng(0).integers(0, 255, frames[3:].shape)  # a cut, then noise
    start = textured_points(frames[0], SETTINGS, np.random.default_rng(1))
    _, agreed = forward_backward(frames, start, teacher, 1.5)
    assert agreed[:, 3:].mean() < 0.1
    _, agreed = forward_backward(panned(6), start, teacher, 1.5)
    assert agreed.mean() > 0.5


def test_a_cut_gives_no_clip_and_says_so(video, teacher, tmp_path):
    lines: list[str] = []
    strict = PseudoLabelSettings(frames=6, points=60, paces=(2,), side=96, least=1000)
    assert label_videos(video, tmp_path, teacher, 1, settings=strict, report=lines.append) == []
    assert "too few" in lines[0]


def test_points_are_queried_where_there_is_texture():
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, 40:] = np.random.default_rng(0).integers(0, 255, (60, 40, 3))
    points = textured_points(image, SETTINGS, np.random.default_rng(0))
    assert len(points) > 20 and points[:, 0].min() > 34


def test_nothing_to_read_and_nonsense_are_said(teacher, tmp_path):
    with pytest.raises(StorageError, match="no readable video of 6 frames"):
        label_videos(tmp_path, tmp_path / "out", teacher, 1, settings=SETTINGS)
    with pytest.raises(UsageError, match="one piece"):
        label_videos(tmp_path, tmp_path / "out", teacher, 0)
    with pytest.raises(UsageError, match="side of 64"):
        PseudoLabelSettings(side=10)
