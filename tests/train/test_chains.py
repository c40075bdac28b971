"""Chains of flow: tracks follow the truth, end where flow disagrees or objects end, and are found by training."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from PIL import Image

from tapkit.errors import StorageError
from tapkit.export.flow_files import write_flo, write_kitti
from tapkit.train.chains import FewTracks, FlowChains, chain, read_flow, read_objects, read_pfm
from tapkit.train.config import Stage
from tapkit.train.sources import FolderSource

SIZE = (96, 128)
SPEED = (3.0, -1.0)
"""Pixels a frame of the square; the background stands still."""


def square(t: int) -> np.ndarray:
    """Where the square is on frame t [H,W] bool."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    left, top = 30 + SPEED[0] * t, 40 + SPEED[1] * t
    return (x >= left) & (x < left + 30) & (y >= top) & (y < top + 30)


def fields(frames: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    speed = np.array(SPEED, np.float32)
    forward = [square(t)[..., None] * speed for t in range(frames - 1)]
    backward = [square(t + 1)[..., None] * -speed for t in range(frames - 1)]
    return forward, backward, [square(t).astype(np.int64) for t in range(frames)]


def write_pfm(path, values: np.ndarray) -> None:
    """A map [H,W,3] or [H,W], little-endian."""
    head = f"{'PF' if values.ndim == 3 else 'Pf'}\n{values.shape[1]} {values.shape[0]}\n-1.0\n"
    path.write_bytes(head.encode() + values[::-1].astype("<f4").tobytes())


def sequence(root, frames: int, write=write_flo, suffix: str = ".flo") -> None:
    for part in ("frames", "forward", "backward", "objects"):
        (root / part).mkdir(parents=True)
    forward, backward, objects = fields(frames)
    random = np.random.default_rng(0)
    ground, body = random.integers(0, 120, (*SIZE, 3)), random.integers(130, 255, (30, 30, 3))
    for t in range(frames):
        picture = ground.copy()
        picture[square(t)] = body.reshape(-1, 3)
        Image.fromarray(picture.astype(np.uint8)).save(root / "frames" / f"{t:04d}.png")
        Image.fromarray(objects[t].astype(np.uint8)).save(root / "objects" / f"{t:04d}.png")
        if t < frames - 1:
            write(root / "forward" / f"{t:04d}{suffix}", forward[t])
            write(root / "backward" / f"{t + 1:04d}{suffix}", backward[t])


def test_tracks_follow_the_flow_and_end_where_it_disagrees():
    forward, backward, _ = fields(8)
    xy = chain(forward, backward)
    moves = np.abs(xy[:, -1] - xy[:, 0]).sum(1) > 1
    np.testing.assert_allclose(xy[moves], xy[moves, :1] + np.arange(8)[:, None] * np.array(SPEED), atol=1e-5)
    np.testing.assert_allclose(xy[~moves], xy[~moves, :1].repeat(8, 1))
    assert moves.sum() == 900, "all of the square"
    start = np.zeros(SIZE, bool)
    covered = np.logical_or.reduce([square(t) for t in range(8)])
    x, y = (xy[~moves, 0] - 0.5).astype(int).T
    start[y, x] = True
    assert np.array_equal(start, ~covered), "the background that the square never covers"


def test_tracks_near_the_border_of_an_object_are_left_out():
    forward, backward, objects = fields(8)
    xy = chain(forward, backward, objects)
    assert ((xy[:, -1] - xy[:, 0])[:, 0] > 1).sum() == 28 * 28
    assert len(chain(forward, backward)) > len(xy) > 256


def test_unknown_flow_ends_tracks():
    forward, backward, _ = fields(3)
    forward[1][:50] = np.nan
    xy = chain(forward, backward)
    assert xy[:, 1, 1].min() > 50 and np.isfinite(xy).all()


@pytest.mark.parametrize("kind", ["flo", "kitti", "pfm"])
def test_folders_of_flow_are_training_data(tmp_path, kind):
    if kind == "pfm":

        def write(path, values):
            write_pfm(path, np.concatenate([values, np.zeros((*SIZE, 1))], -1))
    else:
        write = write_flo if kind == "flo" else write_kitti
    sequence(tmp_path / "one", 10, write, {"flo": ".flo", "kitti": ".png", "pfm": ".pfm"}[kind])
    source = FolderSource(tmp_path, torch.device("cpu"))
    assert source.names == ["one@0", "one@1", "one@2"] and "chains of flow" in source.description
    stage = Stage(1, 96, 8, 2, 64, height=64, native=True)
    batch = source.batch(stage, 3)
    assert batch.video.shape == (2, 8, 3, 64, 96) and batch.visible.any()
    grey = batch.video.float().mean(2)
    first = batch.visible[..., 0] & batch.visible[..., -1]
    for b, n in first.nonzero().tolist():
        places = [(batch.xy[b, n, t] - 0.5).round().int().tolist() for t in (0, 7)]
        values = [grey[b, t, y, x] for t, (x, y) in zip((0, 7), places, strict=True)]
        assert values[0] == values[1], "the same pixel of the same body"
    assert first.sum() > 40


def test_the_layout_of_flyingthings3d_is_read(tmp_path):
    sequence(tmp_path / "made", 10)
    made, place = tmp_path / "made", "TRAIN/A/0003"
    for part, target in (
        ("frames", f"frames_cleanpass_webp/{place}/left"),
        ("forward", f"optical_flow/{place}/into_future/left"),
        ("backward", f"optical_flow/{place}/into_past/left"),
        ("objects", f"object_index/{place}/left"),
    ):
        (tmp_path / "ft3d" / target).parent.mkdir(parents=True, exist_ok=True)
        (made / part).rename(tmp_path / "ft3d" / target)
    dataset = FlowChains(tmp_path / "ft3d")
    assert dataset.names() == [f"TRAIN-A-0003-left@{first}" for first in range(3)]
    clip = dataset.clip("TRAIN-A-0003-left@1")
    assert clip.frames == 8 and 256 < len(clip) <= 4096 and clip.visible.all()


def test_what_cannot_be_used_is_said_in_one_sentence(tmp_path):
    sequence(tmp_path / "one", 9)
    (tmp_path / "one" / "forward" / "0003.flo").unlink()
    with pytest.raises(StorageError, match="9 frames, but 7 fields"):
        FlowChains(tmp_path)
    other = tmp_path / "other"
    sequence(other / "short", 5)
    with pytest.raises(StorageError, match="no sequence of 8 frames"):
        FlowChains(other)
    wild = tmp_path / "wild"
    sequence(wild / "one", 8)
    for file in (wild / "one" / "backward").iterdir():
        write_flo(file, np.full((*SIZE, 2), 5.0))
    with pytest.raises(FewTracks, match="only 0 tracks"):
        FolderSource(wild, torch.device("cpu")).batch(Stage(1, 64, 8, 1, 4), 0)
    (tmp_path / "bad.pfm").write_bytes(b"PF\n4 4\n-1.0\n" + struct.pack("<f", 0.0))
    with pytest.raises(StorageError, match="damaged"):
        read_pfm(tmp_path / "bad.pfm")
    with pytest.raises(StorageError, match=r"\.pfm"):
        read_flow(tmp_path / "nothing.pfm")


def test_objects_are_told_apart_by_colour_or_number(tmp_path):
    numbers = np.array([[0, 7], [300, 7]])
    write_pfm(tmp_path / "o.pfm", numbers.astype(np.float32))
    assert np.array_equal(read_objects(tmp_path / "o.pfm"), numbers)
    Image.fromarray(np.array([[[1, 0, 0], [0, 1, 0]]], np.uint8)).save(tmp_path / "o.png")
    assert len(set(read_objects(tmp_path / "o.png").ravel().tolist())) == 2
