"""Every reader on files that are cut, changed or filled with something else: an answer or a `TapkitError`, no other.

TAPKIT_FUZZ=2000 python -m pytest tests/test_fuzz.py      # more changes of each file than the usual 12
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tapkit
from tapkit.datasets import open_dataset
from tapkit.datasets.base import Clip
from tapkit.datasets.frames import ArrayFrames
from tapkit.errors import TapkitError
from tapkit.export.library import formats
from tapkit.types import Queries, Tracks, VideoInfo

CHANGES = int(os.environ.get("TAPKIT_FUZZ", "12"))
NUMBERS = [b"-1", b"0", b"2000000000", b"99999999999999999999", b"1e308", b"nan", b"inf", b"", b"x", b"0.5", b"-0"]
VIDEO = VideoInfo(64, 48, frames=6)


def changed(data: bytes, dice: random.Random) -> bytes:
    """`data` with one to three kinds of damage."""
    for _ in range(dice.randint(1, 3)):
        at, length = dice.randrange(len(data) + 1), dice.randint(1, 40)
        kind = dice.randrange(9)
        if kind == 0:
            data = data[:at]
        elif kind == 1 and data:
            at = dice.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + dice.randbytes(length) + data[at + length :]
        elif kind == 3:
            data = data[:at] + data[at + length :]
        elif kind == 4:
            data = data[:at] + data[at : at + length] + data[at:]
        elif kind == 5:
            data = data[:at] + dice.choice([b"\0" * length, b"\xff" * length, b"\n", b'"', b"{", b"}"]) + data[at:]
        elif kind in (6, 7):  # a number becomes another one
            found = list(re.finditer(rb"-?\d[\d.e+]*", data))
            if found:
                number = dice.choice(found)
                data = data[: number.start()] + dice.choice(NUMBERS) + data[number.end() :]
        else:
            lines = data.split(b"\n")
            dice.shuffle(lines)
            data = b"\n".join(lines[: dice.randint(1, len(lines))])
    return data


def cut(data: bytes, dice: random.Random) -> bytes:
    """The first part of it, as after a copy that broke off."""
    return data[: dice.randrange(len(data))]


WHOLE = [
    b"",
    b"\0",
    b"[]",
    b"{}",
    b"null",
    b'"x"',
    b"1",
    b"\n\n\n",
    b"\xff\xfe\0",
    b"PK\x05\x06" + bytes(18),
    bytes(4096),
]


def attempt(read: Callable[[], Any]) -> None:
    """An answer or one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read()
        except TapkitError as error:
            text = str(error)
            assert text and len(text) < 1000 and "Traceback" not in text, text


def fuzz(path: Path, read: Callable[[], Any], seed: str, changes: int = CHANGES) -> None:
    """Read `path` (one of the files that `read` looks at) in many damaged forms; it is whole again afterwards."""
    original, dice = path.read_bytes(), random.Random(seed)
    read()
    # The HDF5 library itself crashes on some changed files: there only cut ones can be tried.
    damage = cut if path.suffix in (".h5", ".slp") else changed
    for number in range(changes + len(WHOLE)):
        path.write_bytes(WHOLE[number] if number < len(WHOLE) else damage(original, dice))
        attempt(read)
    path.write_bytes(original)


def example() -> Tracks:
    xy = np.linspace(2, 40, 3 * 6 * 2).reshape(3, 6, 2)
    every = np.full((3, 6), 0.75)
    return Tracks(xy, every, every, every > 0, Queries.at(0, xy[:, 0], ["a", "b", "c"]), VIDEO)


def made_clip() -> Clip:
    video = np.random.default_rng(0).integers(0, 255, (4, 24, 32, 3), dtype=np.uint8)
    xy = np.full((2, 4, 2), 7.5, np.float32)
    return Clip("walk", xy, np.ones((2, 4), bool), (24, 32), lambda: ArrayFrames(video, VideoInfo(32, 24, frames=4)))


# -- tracks and points --------------------------------------------------------------------------------

EXTRAS = {"sleap": "sleap_io", "dlc": "tables", "dlc-predictions": "tables", "parquet": "pyarrow"}
READ = [name for name, entry in formats().items() if entry.reader and name not in ("tapvid", "blender")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READ)
def test_files_of_other_programs(name: str, tmp_path: Path) -> None:
    pytest.importorskip(EXTRAS.get(name, "numpy"))
    form = formats()[name]
    options: dict[str, Any] = {"images": False, "frames": "all"} if name == "dlc" else {}
    path = form.write(example(), tmp_path / ("out" + form.suffix.strip("/")), **options)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        target = path if path.is_dir() and file.suffix == ".h5" else file
        fuzz(file, lambda target=target: Tracks.read(target, name, video=VIDEO), f"{name} {file.suffix}")
    fuzz(path if path.is_file() else next(path.glob("*.h5")), lambda: Tracks.read(path, name, original=example()), name)


def test_what_blender_saves(tmp_path: Path) -> None:
    track = {"name": "a", "frames": [0, 1], "positions": [[0.5, 0.5], [0.6, 0.5]], "keyed": [True, False]}
    document = {
        "format": "tapkit-blender", "width": 64, "height": 48, "fps": [25, 1], "frames": 6, "pixel_aspect": [1, 1],
        "tracks": [{**track, "muted": [False, False]}],
    }  # fmt: skip
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    fuzz(path, lambda: Tracks.read(path, "blender"), "blender")


@pytest.mark.parametrize("ending", [".npz", ".csv", ".parquet", ".zarr"])
def test_tracks(ending: str, tmp_path: Path) -> None:
    pytest.importorskip({".zarr": "zarr", ".parquet": "pyarrow"}.get(ending, "numpy"))
    path = example().save(tmp_path / f"a{ending}")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    slow = ending == ".zarr"
    for file in files[:: max(len(files) // 4, 1)]:
        fuzz(file, lambda: Tracks.load(path), f"{ending} {file.name}", CHANGES // 6 if slow else CHANGES)


def test_points(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("# points\nid,t,x,y\na,0,3.5,4\nb,2,5,6\n")
    fuzz(path, lambda: Queries.read_csv(path).check((48, 64), 6), "points")


# -- videos -------------------------------------------------------------------------------------------


def played(path: Path) -> None:
    with tapkit.open_video(str(path)) as source:
        for frame in source.frames():
            assert frame.image.shape == (*source.info.size, 3)
        if source.info.frames:
            source.read(source.info.frames - 1)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".gif", ".avi"])
def test_video_files(ending: str, tmp_path: Path) -> None:
    from tapkit.video.writer import VideoWriter

    path = tmp_path / f"a{ending}"
    pictures = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
    if ending == ".avi":
        import av

        with av.open(str(path), "w") as out:
            stream = out.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            for picture in pictures:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode(None))
    else:
        with VideoWriter(path, VIDEO) as writer:
            for picture in pictures:
                writer.write(picture)
    fuzz(path, lambda: played(path), ending)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp", ".bmp", ".dpx", ".exr", ".dcm"])
def test_pictures(ending: str, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a{ending}"
    if ending == ".exr":
        openexr = pytest.importorskip("OpenEXR")
        kind = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
        openexr.File(kind, {"RGB": (picture / 255).astype(np.float32)}).write(str(path))
    elif ending == ".dpx":
        import av

        with av.open(str(path), "w", format="image2") as out:
            stream = out.add_stream("dpx", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    elif ending == ".dcm":
        pydicom = pytest.importorskip("pydicom")
        data = pydicom.Dataset()
        data.update({"Rows": 48, "Columns": 64, "SamplesPerPixel": 1, "BitsAllocated": 16, "BitsStored": 12})
        data.update({"HighBit": 11, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"})
        data.NumberOfFrames, data.PixelData = 2, picture[..., 0].astype("<u2").tobytes() * 2
        data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.3", "1.2.3"
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.save_as(path, enforce_file_format=True)
    elif ending in (".tif", ".webp"):
        several = [Image.fromarray(np.roll(picture, n, 0)) for n in range(3)]
        several[0].save(path, save_all=True, append_images=several[1:])
    else:
        Image.fromarray(picture).save(path)
    fuzz(path, lambda: played(path), ending)


def test_a_sequence_with_a_damaged_picture_and_a_damaged_mask(tmp_path: Path) -> None:
    from tapkit.cli.options import read_mask

    for t in range(3):
        Image.fromarray(np.full((48, 64, 3), 40 * t, np.uint8)).save(tmp_path / f"{t:03d}.png")
    fuzz(tmp_path / "001.png", lambda: played(tmp_path), "sequence")
    fuzz(tmp_path / "000.png", lambda: read_mask(tmp_path / "000.png"), "mask")


# -- weights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".npy", ".npz"])
def test_weights(ending: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from tapkit import weights

    path = tmp_path / f"w{ending}"
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(4)}
    if ending == ".pth":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif ending == ".safetensors":
        save_file(state, path)
    elif ending == ".npy":
        np.save(path, np.array({"params": {"a": {"w": np.ones((2, 3))}}}, dtype=object), allow_pickle=True)
    else:
        np.savez(path, **{"a/w": np.ones((2, 3), np.float32)})
    fuzz(path, lambda: weights.read(path), ending)


# -- benchmarks, results, flow ------------------------------------------------------------------------


def benchmark(path: Path) -> None:
    """Everything that is in it."""
    dataset = open_dataset(path)
    dataset.missing()
    for name in dataset.names():
        attempt(lambda name=name: _clip(dataset, name))


def _clip(dataset: Any, name: str) -> None:
    clip = dataset.clip(name)
    clip.fingerprint()
    with clip.open() as source:
        for _ in source.frames():
            pass


def own_folder(root: Path) -> list[Path]:
    from tapkit.datasets.folder import write_clip

    write_clip(root / "walk", made_clip())
    return [root / "walk/tracks.npz", root / "walk/frames/00001.png"]


def tapvid(root: Path) -> list[Path]:
    from tapkit.datasets.tapvid import write_tapvid

    write_tapvid(root / "tapvid_davis.pkl", [made_clip()])
    return [root / "tapvid_davis.pkl"]


def labels(root: Path) -> list[Path]:
    from tapkit.video.writer import VideoWriter

    with VideoWriter(root / "v_000000_000001.mp4", VIDEO) as writer:
        for _ in range(6):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    (root / "kinetics.csv").write_text("v,0,1," + ",".join(["0.5,0.25,0"] * 6) + "\n")
    return [root / "kinetics.csv", root / "v_000000_000001.mp4"]


def movi(root: Path) -> list[Path]:
    from tapkit.datasets.tfrecord import encode_example, write_records

    facts = {"metadata/num_frames": np.array([4]), "video": [b"abc"], "camera/focal_length": np.array([35.0])}
    write_records(root / "movi_e.tfrecord-00000-of-00001", iter([encode_example(facts)]))
    return [root / "movi_e.tfrecord-00000-of-00001"]


def pictures(folder: Path, count: int = 4) -> None:
    folder.mkdir(parents=True)
    for t in range(count):
        Image.fromarray(np.full((24, 32, 3), 10 * t, np.uint8)).save(folder / f"{t:05d}.png")


def odyssey(root: Path) -> list[Path]:
    pictures(root / "seq" / "rgbs")
    xy = np.full((4, 5, 2), 7.5, np.float32)
    np.savez_compressed(root / "seq/anno.npz", trajs_2d=xy, visibs=np.ones((4, 5), bool), valids=np.ones((4, 5), bool))
    return [root / "seq/anno.npz"]


def kubric(root: Path) -> list[Path]:
    pictures(root / "seq" / "frames")
    content = {"coords": np.full((5, 4, 2), 7.5, np.float32), "visibility": np.zeros((5, 4), bool)}
    np.save(root / "seq/seq.npy", np.array(content, dtype=object), allow_pickle=True)
    return [root / "seq/seq.npy"]


def replica(root: Path) -> list[Path]:
    import torch

    pictures(root / "images")
    entries = []
    for t in range(4):
        torch.save({"traj_2d": torch.ones(3, 3) * 7, "verts_inds_vis": torch.ones(3).bool()}, root / f"{t}.pth")
        entries.append({
            "sequence_name": "s", "frame_number": t, "camera_name": "left",
            "image": {"path": f"images/{t:05d}.png", "size": [24, 32]}, "trajectories": {"path": f"{t}.pth"},
        })  # fmt: skip
    with gzip.open(root / "frame_annotations_valid.jgz", "wt") as file:
        json.dump(entries, file)
    return [root / "frame_annotations_valid.jgz", root / "0.pth"]


def badja(root: Path) -> list[Path]:
    pictures(root / "images")
    entries = [
        {
            "image_path": f"images/{t:05d}.png", "segmentation_path": f"images/{t:05d}.png",
            "joints": [[3, 4], [5, 6]], "visibility": [1, 0],
        }
        for t in (0, 2)
    ]  # fmt: skip
    (root / "joint_annotations").mkdir()
    (root / "joint_annotations/bear.json").write_text(json.dumps(entries))
    return [root / "joint_annotations/bear.json", root / "images/00000.png"]


@pytest.mark.parametrize("make", [own_folder, tapvid, labels, movi, odyssey, kubric, replica, badja])
def test_benchmarks(make: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    for file in make(tmp_path):
        fuzz(file, lambda: benchmark(tmp_path), f"{make.__name__} {file.name}")
        fuzz(file, partial(attempt, partial(benchmark, file)), f"alone {make.__name__} {file.name}")


def test_a_gzipped_index_is_fuzzed_inside(tmp_path: Path) -> None:
    index = replica(tmp_path)[0]
    plain, dice = gzip.decompress(index.read_bytes()), random.Random("inside")
    for _ in range(CHANGES):
        index.write_bytes(gzip.compress(changed(plain, dice)))
        attempt(lambda: benchmark(tmp_path))


def test_results(tmp_path: Path) -> None:
    from tapkit.evaluation.result import Result

    path = Result("d", "c", "first", 0, {}, {}, ()).save(tmp_path / "result.json")
    fuzz(path, lambda: Result.load(path).to_dict(), "result")


@pytest.mark.parametrize("kind", ["flo", "kitti"])
def test_flow_files(kind: str, tmp_path: Path) -> None:
    from tapkit.export import flow_files

    path = tmp_path / "a.bin"
    getattr(flow_files, f"write_{kind}")(path, np.ones((6, 8, 2), np.float32))
    fuzz(path, lambda: getattr(flow_files, f"read_{kind}")(path), kind)


def test_the_state_of_an_interrupted_run(tmp_path: Path) -> None:
    """Damage costs the run its progress, or is said; it never ends in another answer."""
    from tapkit import Control

    target, clip = tmp_path / "a.npz", np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), dtype=np.uint8)
    tracker, asked = tapkit.load("lucas-kanade"), [(0, 20.5, 20.5), (3, 40.5, 20.5)]
    whole = tracker.track(clip, asked).xy
    control = Control(lambda now: control.cancel() if now.done > 9 else None)
    with pytest.raises(TapkitError):
        tracker.track_to(target, clip, asked, control=control)
    left = target.with_name("a.npz.partial")
    kept = shutil.copytree(left, tmp_path / "kept")
    dice = random.Random("partial")
    for name in sorted(p.name for p in kept.iterdir() if p.name != "frames.bin"):
        for _ in range(max(CHANGES // 4, 2)):
            shutil.rmtree(left, ignore_errors=True)
            shutil.copytree(kept, left)
            (left / name).write_bytes(changed((kept / name).read_bytes(), dice))
            try:
                np.testing.assert_allclose(Tracks.load(tracker.track_to(target, clip, asked)).xy, whole, atol=1e-3)
            except TapkitError as error:
                assert "\n" not in str(error)  # noqa: PT017
