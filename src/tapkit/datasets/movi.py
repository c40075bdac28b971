"""TAP-Vid-Kubric: point tracks from the MOVi-E / MOVi-F TFRecords (specs/tapvid_benchmark.md section 7).

    movi_e-train.tfrecord-00000-of-01024, ...   (TFDS `movi_e/256x256`, `movi_f/512x512`; no TensorFlow needed)

A record holds the frames, depth, segment ids, object coordinates and normals as PNGs, and camera and boxes as
numbers. Points are sampled on visible surfaces, carried by their object's box (or the static background) through
the clip, projected, and tested for occlusion against depth and segment ids, and points of objects against the normal
of their surface. The rules are the official ones, whole frames without a crop
(google-research/kubric, challenges/point_tracking: shares, what counts as rough, what is hidden, order, padding),
with a random stream of its own, fixed by clip name and `seed`: the official one draws anew on every read.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tapkit.datasets.base import Clip, Dataset, Finding
from tapkit.datasets.frames import EncodedFrames, image_size
from tapkit.datasets.tfrecord import Feature, RecordPlace, parse_example, read_record, record_places
from tapkit.errors import StorageError
from tapkit.types import VideoInfo

TRACKS = 256
STRIDE = 4
MOST_OF_OBJECT = 0.1
"""An object gives at most this share of its candidate pixels."""
DEPTH_SLACK = 0.99
FLAT = 0.05
"""A neighbour whose normal differs by more than this (Euclidean) makes a surface rough."""
ROUGH = 2
"""More rough neighbours than this, of the four diagonal ones: the normal comes from a texture and is not trusted."""
FPS = 12


class Movi(Dataset):
    """Clips of MOVi record files; a clip is called FILE-NUMBER/RECORD."""

    name = "TAP-Vid Kubric (MOVi)"
    citation = "Greff et al., Kubric, CVPR 2022; Doersch et al., TAP-Vid, NeurIPS 2022"

    def __init__(self, root: str | Path, tracks: int = TRACKS, seed: int = 0) -> None:
        root = Path(root)
        self.files = [root] if root.is_file() else sorted(root.rglob("*.tfrecord*"))
        if not self.files:
            raise StorageError(f"{root} has no .tfrecord files")
        self.tracks, self.seed = tracks, seed
        self._places: dict[str, tuple[Path, RecordPlace]] | None = None
        self._damaged: dict[str, str] = {}

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return list(self._index())

    def missing(self) -> Mapping[str, str]:
        """See `Dataset.missing`: files that cannot be read."""
        self._index()
        return dict(self._damaged)

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        place = self._index().get(name)
        if place is None:
            raise self.unknown(name)
        try:
            example = parse_example(read_record(*place))
            scene = read_scene(example)
        except StorageError as error:
            raise StorageError(f"{place[0]}, clip {name}: {error}") from error
        images = _images(example, "video")
        points = sample_tracks(scene, self.tracks, np.random.RandomState(zlib.crc32(f"{name}/{self.seed}".encode())))
        height, width = scene.depth.shape[1:]
        info = VideoInfo(width, height, Fraction(FPS), len(images))
        return Clip(
            name,
            points.xy,
            points.visible,
            (height, width),
            lambda: EncodedFrames(images, info),
            valid=points.known,
            queries=(np.arange(len(points.xy)), points.frame),
            stamp=f"record of {place[1].length} bytes",
        )

    def check(self) -> Iterator[Finding]:
        """See `Dataset.check`; checksums are verified before anything is decoded."""
        for name, (path, place) in self._index().items():
            try:
                read_record(path, place, verify=True)
            except StorageError as error:
                yield Finding("damaged", name, str(error))
        yield from super().check()

    def _index(self) -> dict[str, tuple[Path, RecordPlace]]:
        if self._places is None:
            self._places = {}
            for path in self.files:
                try:
                    for number, place in enumerate(record_places(path)):
                        self._places[f"{path.name.replace('.tfrecord', '')}/{number}"] = path, place
                except StorageError as error:
                    self._damaged[path.name] = str(error)
        return self._places


class MoviScene(NamedTuple):
    """What a record says about the scene besides its colours. T frames, K objects."""

    depth: np.ndarray
    """[T,H,W] float32, distance from the camera's centre."""
    segments: np.ndarray
    """[T,H,W] int64, 0 = background, k = object k-1."""
    coordinates: np.ndarray
    """[T,H,W,3] uint16 position within the object's box."""
    normals: np.ndarray
    """[T,H,W,3] uint16, world axes."""
    focal: float
    """Focal length / sensor width."""
    position: np.ndarray
    """[T,3] of the camera, world."""
    rotation: np.ndarray
    """[T,3,3] camera to world; the camera looks along -z, y up."""
    boxes: np.ndarray
    """[K,T,8,3] corners in the world, x slowest."""


class SampledTracks(NamedTuple):
    """N tracks of a clip."""

    xy: np.ndarray
    """[N,T,2] float32 pixels, corner origin."""
    visible: np.ndarray
    """[N,T] bool."""
    known: np.ndarray
    """[N,T] bool: in front of the camera, so that there is a position."""
    frame: np.ndarray
    """[N] int64 frame on which the point was sampled."""


def read_scene(example: Mapping[str, Feature]) -> MoviScene:
    """The scene of a parsed record."""
    low, high = _floats(example, "metadata/depth_range")[:2]
    segments = np.stack([_png8(image) for image in _images(example, "segmentations")])
    frames = len(segments)
    depth = np.stack([_png16(image, 1) for image in _images(example, "depth")])[..., 0]
    if depth.shape != segments.shape:
        raise StorageError(f"depth {list(depth.shape)} and segments {list(segments.shape)} do not agree")
    return MoviScene(
        depth=(low + depth.astype(np.float32) / 65535 * (high - low)).astype(np.float32),
        segments=segments.astype(np.int64),
        coordinates=np.stack([_png16(image, 3) for image in _images(example, "object_coordinates")]),
        normals=np.stack([_png16(image, 3) for image in _images(example, "normal")]),
        focal=float(_floats(example, "camera/focal_length")[0] / _floats(example, "camera/sensor_width")[0]),
        position=_floats(example, "camera/positions").reshape(frames, 3),
        rotation=_rotations(_floats(example, "camera/quaternions").reshape(frames, 4)),
        boxes=_floats(example, "instances/bboxes_3d").reshape(-1, frames, 8, 3),
    )


def sample_tracks(scene: MoviScene, count: int, random: np.random.RandomState) -> SampledTracks:
    """`count` points on visible surfaces, shared between the objects, followed through the clip.

    Where the objects have not enough candidates, the second-to-last point is repeated until there are `count`. The
    position on a point's own frame is the centre of the pixel it was sampled at.
    """
    if min(scene.segments.shape) < STRIDE:
        raise StorageError(f"points are sampled every {STRIDE} frames and pixels; it is {list(scene.segments.shape)}")
    t, y, x = _choose(scene.segments, count, random)
    segment = scene.segments[t, y, x]
    world = _world(scene, t, y, x, segment)
    xy, distance, front = _project(scene, world)
    hidden = ~front | ~_in_frame(xy, scene) | _hidden(scene, xy, distance, segment)
    visible = ~hidden & ~_turned(scene, world, t, y, x, segment)
    xy[np.arange(len(t)), t] = np.stack([x, y], 1) + 0.5
    rows = np.arange(len(t))
    if 1 < len(rows) < count:
        rows = np.concatenate([rows, np.full(count - len(rows), len(rows) - 2)])
    return SampledTracks(xy[rows].astype(np.float32), visible[rows], front[rows], t[rows])


def shares(available: np.ndarray, count: int) -> np.ndarray:
    """How many of `count` points each object gives, [K] from its candidates [K].

    Objects with fewer candidates first, each gives an equal share of what is left, but no more than a tenth of its
    candidates; both rounded half to even, in float32.

    >>> shares(np.array([1000, 35, 5]), 256).tolist()
    [100, 4, 0]
    """
    out = np.zeros(len(available), np.int64)
    left = count
    for rank, index in enumerate(np.argsort(available, kind="stable")):
        wanted = np.round(np.float32(left) * np.float32(1 / (len(available) - rank)))
        most = np.round(np.float32(available[index]) * np.float32(MOST_OF_OBJECT))
        out[index] = int(min(wanted, most))
        left -= int(out[index])
    return out


def _choose(segments: np.ndarray, count: int, random: np.random.RandomState) -> tuple[np.ndarray, ...]:
    """Pixels (t, y, x) on a grid of random phase: by object, those of the background by frame."""
    phase = random.randint(0, STRIDE, 3)
    axes = [np.arange(p, n, STRIDE) for p, n in zip(phase, segments.shape, strict=True)]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], 1)
    ids = segments[tuple(grid.T)]
    objects, sizes = np.unique(ids, return_counts=True)
    chosen = []
    for index, share in enumerate(shares(sizes, count)):
        candidates = np.flatnonzero(ids == objects[index])
        drawn = candidates[random.randint(0, len(candidates), share)]
        if objects[index] == 0:
            drawn = drawn[np.argsort(grid[drawn, 0], kind="stable")]
        chosen.append(drawn)
    return tuple(grid[np.concatenate(chosen)].T)


def _world(scene: MoviScene, t: np.ndarray, y: np.ndarray, x: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """World position of each point on each frame, [N,T,3]."""
    frames = len(scene.depth)
    out = np.empty((len(t), frames, 3))
    still = segment == 0
    ray = _rays(scene, x + 0.5, y + 0.5)
    ray = np.einsum("nij,nj->ni", scene.rotation[t], ray)
    point = scene.position[t] + ray * scene.depth[t, y, x][:, None]
    out[still] = point[still][:, None]
    local = scene.coordinates[t, y, x] / 65535.0 - 0.5
    local = np.concatenate([local, np.ones((len(local), 1))], 1)
    maps = _box_maps(scene.boxes)
    moving = ~still
    if moving.any() and segment.max() > len(maps):
        raise StorageError(f"segment {segment.max()} has no box; the record has {len(maps)} objects")
    out[moving] = np.einsum("ntij,nj->nti", maps[segment[moving] - 1], local[moving])
    return out


def _box_maps(boxes: np.ndarray) -> np.ndarray:
    """Affine map [K,T,3,4] from the unit cube to each box, by least squares over its corners."""
    cube = np.array([[*corner, 1.0] for corner in product((-0.5, 0.5), repeat=3)])
    maps: np.ndarray = np.einsum("ij,ktjc->ktci", np.linalg.pinv(cube), boxes)
    return maps


def _rays(scene: MoviScene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Unit vectors through raster positions, in camera axes [N,3]."""
    height, width = scene.depth.shape[1:]
    across = (x / width - 0.5) / scene.focal
    up = -(y / height - 0.5) / (scene.focal * width / height)
    ray = np.stack([across, up, -np.ones_like(across)], -1)
    unit: np.ndarray = ray / np.linalg.norm(ray, axis=-1, keepdims=True)
    return unit


def _project(scene: MoviScene, world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels [N,T,2], distance from the camera [N,T], whether in front of it [N,T]."""
    height, width = scene.depth.shape[1:]
    offset = world - scene.position
    local = np.einsum("tji,ntj->nti", scene.rotation, offset)
    front = local[..., 2] < -1e-6
    z = np.where(front, -local[..., 2], 1.0)
    x = (0.5 + scene.focal * local[..., 0] / z) * width
    y = (0.5 - scene.focal * width / height * local[..., 1] / z) * height
    return np.stack([x, y], -1), np.linalg.norm(offset, axis=-1), front


def _in_frame(xy: np.ndarray, scene: MoviScene) -> np.ndarray:
    height, width = scene.depth.shape[1:]
    x, y = xy[..., 0], xy[..., 1]
    inside: np.ndarray = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)  # the far border counts
    return inside


def _hidden(scene: MoviScene, xy: np.ndarray, distance: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """By the four pixels around: all nearer than the point, or none of the point's object."""
    frames, height, width = scene.depth.shape
    time = np.arange(frames)[None]
    corner = np.floor(np.clip(np.nan_to_num(xy), -1e6, 1e6) - 0.5).astype(np.int64)
    deepest, same = np.full(distance.shape, -np.inf), np.zeros(distance.shape, bool)
    for dx, dy in product((0, 1), repeat=2):
        x, y = (corner[..., 0] + dx).clip(0, width - 1), (corner[..., 1] + dy).clip(0, height - 1)
        deepest = np.maximum(deepest, scene.depth[time, y, x])
        same |= scene.segments[time, y, x] == segment[:, None]
    return (deepest < DEPTH_SLACK * distance) | ~same


def _turned(
    scene: MoviScene, world: np.ndarray, t: np.ndarray, y: np.ndarray, x: np.ndarray, segment: np.ndarray
) -> np.ndarray:
    """Whether the surface at each point faces away from the camera, [N,T].

    Not asked of the background, which is convex, nor where the normal is not trusted, nor of a point whose surface
    faces away on the very frame it was sampled on: there the mesh is wrong.
    """
    asked = (segment > 0) & smooth(scene.normals)[t, y, x]
    out = np.zeros(world.shape[:2], bool)
    if not asked.any():
        return out
    linear = _box_maps(scene.boxes)[segment[asked] - 1, :, :, :3]
    rows = np.arange(int(asked.sum()))
    turn = np.einsum("ntij,njk->ntik", linear, np.linalg.pinv(linear[rows, t[asked]]))  # boxes move rigidly
    normal = np.einsum("ntij,nj->nti", turn, unpacked_normals(scene.normals[t, y, x])[asked])
    away = np.einsum("nti,nti->nt", normal, world[asked] - scene.position) > 0
    out[asked] = away & ~away[rows, t[asked]][:, None]
    return out


def smooth(normals: np.ndarray) -> np.ndarray:
    """Where normals uint16 [T,H,W,3] are to be trusted, [T,H,W]: beyond the border they are zero."""
    vectors = unpacked_normals(normals)
    height, width = normals.shape[1:3]
    padded = np.pad(vectors, [(0, 0), (1, 1), (1, 1), (0, 0)])
    rough = np.zeros(normals.shape[:3], np.int64)
    for dy, dx in product((0, 2), repeat=2):
        difference = padded[:, dy : dy + height, dx : dx + width] - vectors
        rough += (difference**2).sum(-1) > FLAT * FLAT
    trusted: np.ndarray = rough <= ROUGH
    return trusted


def unpacked_normals(pixels: np.ndarray) -> np.ndarray:
    """uint16 [...,3] as vectors."""
    return pixels.astype(np.float64) / 65535.0 * 2.0 - 1.0


def _rotations(quaternions: np.ndarray) -> np.ndarray:
    """(w, x, y, z) [T,4] -> matrices [T,3,3]."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return np.stack(rows, 1).reshape(-1, 3, 3)


# -- features -------------------------------------------------------------------------------------


def _images(example: Mapping[str, Feature], key: str) -> list[bytes]:
    value = example.get(key)
    if not isinstance(value, list) or not value:
        raise StorageError(f"the record has no images {key!r}; is it a MOVi record with all its layers?")
    return value


def _floats(example: Mapping[str, Feature], key: str) -> np.ndarray:
    value = example.get(key)
    if not isinstance(value, np.ndarray) or not len(value):
        raise StorageError(f"the record has no numbers {key!r}; is it a MOVi record with all its layers?")
    return value.astype(np.float64)


def _png8(data: bytes) -> np.ndarray:
    """A one-channel 8-bit PNG [H,W]."""
    image_size(data, "a segmentation")
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)[..., :1].reshape(image.height, image.width) if image.mode != "L" else np.array(image)


def _png16(data: bytes, channels: int) -> np.ndarray:
    """A 16-bit PNG [H,W,C] uint16; Pillow would cut colours to 8 bits, FFmpeg does not."""
    import av

    try:
        decoder = av.CodecContext.create("png", "r")
        frame = [*decoder.decode(av.Packet(data)), *decoder.decode(None)][0]
    except (av.FFmpegError, IndexError) as error:
        raise StorageError(f"a 16-bit PNG of the record cannot be decoded ({error})") from error
    array = frame.to_ndarray(format="gray16le" if channels == 1 else "rgb48le")
    return array.reshape(frame.height, frame.width, channels)
