"""TFRecords and MOVi without TensorFlow: framing, messages, and tracks of a scene whose geometry is known."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tapkit.datasets.movi import Movi, MoviScene, _in_frame, read_scene, sample_tracks, shares, smooth
from tapkit.datasets.tfrecord import (
    crc32c,
    encode_example,
    parse_example,
    parse_sequence_example,
    read_record,
    record_places,
    write_records,
)
from tapkit.errors import StorageError

SIZE, FRAMES = 32, 6


def crc_by_bit(data):
    """CRC-32C as its polynomial says, bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize("length", [0, 1, 9, 4095, 32767, 32768, 40_001])
def test_the_checksum_is_crc32c(length):
    data = np.random.default_rng(length).bytes(length)
    assert crc32c(data) == crc_by_bit(data)


def test_an_example_survives_its_encoding():
    example = {"b": [b"", b"abc" * 100], "f": np.array([1.5, -2.0], np.float32), "i": np.array([-1, 0, 2**40])}
    parsed = parse_example(encode_example(example))
    assert parsed["b"] == example["b"]
    np.testing.assert_array_equal(parsed["f"], example["f"])
    np.testing.assert_array_equal(parsed["i"], example["i"])


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def test_numbers_may_be_stored_one_by_one_instead_of_packed():
    floats = field(2, b"\x0d" + struct.pack("<f", 1.5) + b"\x0d" + struct.pack("<f", 2.5))
    integers = field(3, b"\x08\x07\x08\x09")
    entries = field(1, field(1, b"f") + field(2, floats)) + field(1, field(1, b"i") + field(2, integers))
    parsed = parse_example(field(1, entries))
    assert (parsed["f"].tolist(), parsed["i"].tolist()) == ([1.5, 2.5], [7, 9])


def test_a_sequence_example_has_a_context_and_lists():
    context = encode_example({"name": [b"clip"]})
    frames = field(1, field(1, field(1, b"a"))) + field(1, field(1, field(1, b"b")))
    data = context + field(2, field(1, field(1, b"frames") + field(2, frames)))
    parsed, lists = parse_sequence_example(data)
    assert parsed["name"] == [b"clip"]
    assert lists["frames"] == [[b"a"], [b"b"]]


def test_a_message_that_is_something_else_is_refused():
    for data in (b"\x0a\xff\xff\xff\xff\x0f", b"\x0f", b"\x0a\x05abc", b"\x08\x80"):
        with pytest.raises(StorageError, match=r"tf\.train\.Example"):
            parse_example(data)


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, iter([b"first", b"second" * 9000]))
    return path


def test_records_are_found_without_reading_them_and_checked_on_demand(records):
    places = record_places(records)
    assert [place.length for place in places] == [5, 54000]
    assert read_record(records, places[1], verify=True) == b"second" * 9000


def test_a_flipped_bit_is_found(records):
    data = bytearray(records.read_bytes())
    data[-100] ^= 1
    records.write_bytes(data)
    with pytest.raises(StorageError, match="checksum"):
        read_record(records, record_places(records)[1], verify=True)


@pytest.mark.parametrize("cut", [3, 20, 1000])
def test_a_truncated_file_says_so(records, cut):
    records.write_bytes(records.read_bytes()[:-cut] if cut > 3 else records.read_bytes()[:cut])
    with pytest.raises(StorageError, match="truncated"):
        record_places(records)


def test_a_file_of_something_else_is_no_tfrecord(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"hello, this is text and no record at all")
    with pytest.raises(StorageError, match="no TFRecord"):
        record_places(tmp_path / "a.tfrecord")


# -- a scene --------------------------------------------------------------------------------------
# The camera stands at z = 5 and looks along -z at a wall in z = 0. In front of it a cube of side 1, its face at
# z = 1.5, moves right by 0.2 a frame. Focal length and sensor width are equal: u = 0.5 + X / distance.

CAMERA, FACE = 5.0, 1.5


def cube_x(frame):
    return -0.5 + 0.2 * frame


def rays():
    x, y = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE - 0.5, 0.5 - (np.arange(SIZE) + 0.5) / SIZE)
    return x, y


def layers(frame):
    """Depth along the ray, segment, object coordinates, of one frame."""
    x, y = rays()
    length = np.sqrt(x**2 + y**2 + 1)
    hit_x, hit_y = x * (CAMERA - FACE), y * (CAMERA - FACE)
    cube = (np.abs(hit_x - cube_x(frame)) < 0.5) & (np.abs(hit_y) < 0.5)
    depth = np.where(cube, CAMERA - FACE, CAMERA) * length
    inside = np.stack([hit_x - cube_x(frame) + 0.5, hit_y + 0.5, np.ones_like(hit_x)], -1)
    return depth, cube, np.where(cube[..., None], inside, 0.0)


def png8(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def boxes():
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return np.stack([corners + [cube_x(t), 0.0, 1.0] for t in range(FRAMES)])[None]


@pytest.fixture
def example(made):
    low, high = 2.0, 8.0
    parts = [layers(t) for t in range(FRAMES)]
    to16 = lambda a: np.round(a * 65535).astype(np.uint16)  # noqa: E731
    up = np.broadcast_to(to16(np.array([0.5, 0.5, 1.0])), (SIZE, SIZE, 3))
    return {
        "video": [png8(np.full((SIZE, SIZE, 3), 10 * t, np.uint8)) for t in range(FRAMES)],
        "segmentations": [png8(cube.astype(np.uint8)) for _, cube, _ in parts],
        "depth": [made.png16(to16((depth - low) / (high - low))[..., None]) for depth, _, _ in parts],
        "object_coordinates": [made.png16(to16(inside)) for _, _, inside in parts],
        "normal": [made.png16(up) for _ in parts],
        "metadata/depth_range": np.array([low, high], np.float32),
        "camera/focal_length": np.array([32.0], np.float32),
        "camera/sensor_width": np.array([32.0], np.float32),
        "camera/positions": np.tile(np.array([0, 0, CAMERA], np.float32), FRAMES),
        "camera/quaternions": np.tile(np.array([1, 0, 0, 0], np.float32), FRAMES),
        "instances/bboxes_3d": boxes().astype(np.float32).ravel(),
    }


def test_tracks_follow_the_geometry_of_the_scene(example):
    scene = read_scene(example)
    tracks = sample_tracks(scene, 64, np.random.RandomState(0))
    rows = np.arange(len(tracks.xy))
    at = tracks.xy[rows, tracks.frame]
    np.testing.assert_allclose(at % 1, 0.5, atol=2e-2)  # sampled at pixel centres
    x, y = np.floor(at).astype(int).T
    on_cube = scene.segments[tracks.frame, y, x] == 1
    assert 0 < on_cube.sum() < len(rows)
    frames = np.arange(FRAMES)
    moved = 0.2 / (CAMERA - FACE) * SIZE * (frames - tracks.frame[:, None])
    expected = at[:, None] + np.stack([moved * on_cube[:, None], np.zeros_like(moved)], -1)
    np.testing.assert_allclose(tracks.xy, expected, atol=2e-2)


def test_the_wall_is_hidden_behind_the_cube_and_the_cube_never(example):
    scene = read_scene(example)
    middle = np.array([cube_x(t) for t in range(FRAMES)]) / (CAMERA - FACE)
    half, pixel = 0.5 / (CAMERA - FACE), 1.5 / SIZE
    hidden_by_cube = 0
    for seed in range(20):
        tracks = sample_tracks(scene, 64, np.random.RandomState(seed))
        x, y = np.floor(tracks.xy[np.arange(len(tracks.xy)), tracks.frame]).astype(int).T
        on_cube = scene.segments[tracks.frame, y, x] == 1
        assert tracks.visible[on_cube].all()
        u, v = np.moveaxis(tracks.xy[~on_cube] / SIZE - 0.5, -1, 0)
        visible = tracks.visible[~on_cube]
        deep = (np.abs(u - middle) < half - pixel) & (np.abs(v) < half - pixel)
        free = (np.abs(u - middle) > half + pixel) | (np.abs(v) > half + pixel)
        assert not visible[deep].any()
        assert visible[free].all()
        hidden_by_cube += int(deep.sum())
    assert hidden_by_cube > 10


# A square turns its back: for two frames its front is seen, then, turned by half a turn about its own axis, the
# other side. Depth never hides anything (the map says 100) and every pixel is of it, so that normals alone decide.


def turning(segment=1, normal=(0.0, 0.0, 1.0), rough=False):
    size, frames = 24, 4
    cube = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    packed = np.round((np.array(normal) + 1) / 2 * 65535).astype(np.uint16)
    normals = np.broadcast_to(packed, (frames, size, size, 3)).copy()
    if rough:
        normals[:, ::2, ::2, 0] += 3000
        normals[:, 1::2, 1::2, 0] -= 3000
        normals[:, ::2, 1::2, 0] += 3000
        normals[:, 1::2, ::2, 0] -= 3000
    return MoviScene(
        depth=np.full((frames, size, size), 100.0, np.float32),
        segments=np.full((frames, size, size), segment),
        coordinates=np.broadcast_to(np.array([32768, 32768, 65535], np.uint16), (frames, size, size, 3)),
        normals=normals,
        focal=1.0,
        position=np.tile([0.0, 0.0, 5.0], (frames, 1)),
        rotation=np.tile(np.eye(3), (frames, 1, 1)),
        boxes=np.stack([cube, cube, cube * [-1, 1, -1], cube * [-1, 1, -1]])[None],
    )


def all_points(scene):
    """Points of every phase of the grid."""
    return [sample_tracks(scene, 30, np.random.RandomState(seed)) for seed in range(20)]


def test_a_surface_is_hidden_while_it_faces_away():
    for tracks in all_points(turning()):
        inner = np.abs(tracks.xy[np.arange(30), tracks.frame] - 12).min(1) < 11  # in no corner: those are not trusted
        side = np.arange(4) // 2
        assert (tracks.visible == (side == side[tracks.frame][:, None]))[inner].all()
    assert inner.any()


@pytest.mark.parametrize(
    "scene",
    [turning(normal=(0, 0, -1)), turning(rough=True), turning(segment=0)],
    ids=["faces away on its own frame: the mesh is wrong", "rough: not trusted", "the background is never asked"],
)
def test_normals_are_not_asked_where_they_cannot_be_right(scene):
    for tracks in all_points(scene):
        assert tracks.visible.all()


def test_a_scene_too_small_for_the_grid_is_told_so():
    scene = turning()
    with pytest.raises(StorageError, match=r"every 4 frames and pixels; it is \[3, 24, 24\]"):
        sample_tracks(scene._replace(segments=scene.segments[:3]), 8, np.random.RandomState(0))


def test_a_normal_is_trusted_where_at_most_two_diagonal_neighbours_differ_by_the_euclidean_norm():
    normals = np.broadcast_to(np.array([32768, 32768, 65535], np.uint16), (1, 3, 3, 3)).copy()
    assert smooth(normals)[0].tolist() == [
        [False, True, False],
        [True, True, True],
        [False, True, False],
    ]  # zero outside
    step = round(0.04 / 2 * 65535)  # in two components: 0.0566 of length, above 0.05; each alone is below
    one, two = normals.copy(), normals.copy()
    one[0, 1, 1, 0] += step
    two[0, 1, 1, :2] += step
    assert smooth(one)[0, 1, 1] and not smooth(two)[0, 1, 1]


def test_shares_are_rounded_half_to_even():
    # By hand: the tenth of 5, 15, 25, 35 and 45 is 0.5, 1.5, 2.5, 3.5, 4.5, rounded to 0, 2, 2, 4, 4; of 1000, 100.
    assert shares(np.array([1000, 5, 15, 25, 35, 45]), 256).tolist() == [100, 0, 2, 2, 4, 4]
    # Nothing limits: 10 for four are 2.5 -> 2, the other 8 for three 2.67 -> 3, 5 for two 2.5 -> 2, the last gets 3.
    assert shares(np.array([500, 501, 502, 503]), 10).tolist() == [2, 3, 2, 3]


def test_points_come_by_object_those_of_the_background_by_frame_and_are_filled_up(example):
    scene = read_scene(example)
    tracks = sample_tracks(scene, 64, np.random.RandomState(3))
    assert len(tracks.xy) == 64
    x, y = np.floor(tracks.xy[np.arange(64), tracks.frame]).astype(int).T
    segment = scene.segments[tracks.frame, y, x]
    grid = scene.segments.reshape(FRAMES, -1)
    assert grid.shape[1] == SIZE * SIZE
    repeats = next(n for n in range(64, 1, -1) if (tracks.xy[n - 1] != tracks.xy[-1]).any())
    own = repeats  # what is behind is the second-to-last of what was sampled
    np.testing.assert_array_equal(tracks.xy[own:], np.repeat(tracks.xy[own - 2 : own - 1], 64 - own, 0))
    assert (tracks.frame[own:] == tracks.frame[own - 2]).all() and 2 < own < 64
    assert (np.diff(segment[:own]) >= 0).all()
    assert (np.diff(tracks.frame[:own][segment[:own] == 0]) >= 0).all()


def test_a_point_is_asked_at_the_centre_of_its_pixel_and_the_far_border_is_inside(example):
    tracks = sample_tracks(read_scene(example), 64, np.random.RandomState(0))
    assert (tracks.xy[np.arange(64), tracks.frame] % 1 == 0.5).all()
    scene = turning()
    assert _in_frame(np.array([[24.0, 0.0], [24.01, 1.0], [1.0, -0.01], [0.0, 24.0]]), scene).tolist() == [1, 0, 0, 1]


def test_objects_get_equal_shares_of_at_most_a_tenth_of_their_pixels(example):
    scene = read_scene(example)
    tracks = sample_tracks(scene, 24, np.random.RandomState(0))
    x, y = np.floor(tracks.xy[np.arange(len(tracks.xy)), tracks.frame]).astype(int).T
    on_cube = int((scene.segments[tracks.frame, y, x] == 1).sum())
    assert on_cube <= 12
    assert len(tracks.xy) <= 24


def test_a_record_file_is_a_dataset_and_the_same_clip_every_time(example, tmp_path):
    path = tmp_path / "movi_e-train.tfrecord-00000-of-00001"
    write_records(path, iter([encode_example(example)] * 2))
    dataset = Movi(tmp_path)
    assert dataset.names() == ["movi_e-train-00000-of-00001/0", "movi_e-train-00000-of-00001/1"]
    clip, again = dataset.clip(dataset.names()[0]), Movi(tmp_path).clip(dataset.names()[0])
    assert clip.fingerprint() == again.fingerprint()
    assert clip.fingerprint() != dataset.clip(dataset.names()[1]).fingerprint()
    assert clip.queries is not None
    with clip.open() as source:
        assert [int(f.image[0, 0, 0]) for f in source.frames()] == [10 * t for t in range(FRAMES)]


def test_a_record_without_a_layer_names_it(example):
    del example["depth"]
    with pytest.raises(StorageError, match="'depth'"):
        read_scene(example)


def test_damaged_files_are_listed_as_missing_and_damaged_records_found_by_check(example, tmp_path):
    good = tmp_path / "a.tfrecord-0"
    write_records(good, iter([encode_example(example)]))
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    good.write_bytes(data)
    (tmp_path / "b.tfrecord-1").write_bytes(data[:50])
    levels = {(f.level, f.where) for f in Movi(tmp_path).check()}
    assert ("missing", "b.tfrecord-1") in levels
    assert ("damaged", "a-0/0") in levels


def test_a_record_file_is_training_data(example, tmp_path):
    torch = pytest.importorskip("torch")
    from tapkit.train.config import Stage
    from tapkit.train.sources import FolderSource

    write_records(tmp_path / "movi_e-train.tfrecord-00000-of-00001", iter([encode_example(example)]))
    source = FolderSource(tmp_path, torch.device("cpu"))
    batch = source.batch(Stage(1, 64, 4, 2, 16, native=True), 0)  # frames of 32 pixels are enlarged
    assert batch.video.shape == (2, 4, 3, 64, 64) and batch.visible.any() and torch.isfinite(batch.xy).all()
    assert len(source.names) == 1 and "TAP-Vid" in source.description
