"""Pictures put into videos: exactness, depth, sound and time, what stands in front, and with and without OpenCV."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planes import QUAD, SIZE, clip, matrices, move, plane_tracks, render, texture, tracks_of

import tapkit
from tapkit.apps.edit import EditWarning, Look, attach_sticker, insert_video, propagate_edit, sampling
from tapkit.apps.edit.footage import DeepSequence
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.types import Tracks, VideoInfo
from tapkit.video.writer import VideoWriter

TRUTH = matrices(10)
PAINT = np.zeros((40, 60, 4), np.uint8)
PAINT[..., 3] = 255
PAINT[:, :30, 0] = PAINT[:20, :, 1] = 220


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    return clip(TRUTH)


@pytest.fixture(scope="module")
def exact() -> Tracks:
    return plane_tracks(TRUTH, 150)


@pytest.fixture(params=["OpenCV", "PyTorch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Acceptance (h): all of it with OpenCV, and without."""
    if request.param == "PyTorch":
        monkeypatch.setattr(sampling, "opencv", lambda: None)
    else:
        pytest.importorskip("cv2")
    return request.param


def written(folder: Path, count: int) -> np.ndarray:
    return np.stack([np.asarray(Image.open(folder / f"{t:03d}.png")) for t in range(count)])


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((one.astype(float) - two) ** 2), 1e-9)))


def test_without_motion_nothing_else_changes(tmp_path: Path, library: str) -> None:
    """Acceptance (e): bit-equal outside, PSNR above 45 dB inside the edit."""
    still = np.repeat(clip(TRUTH[:1]), 4, 0)
    tracks = plane_tracks(np.repeat(np.eye(3)[None], 4, 0), 80)
    painted = still[0].copy()
    painted[50:70, 70:110] = np.random.default_rng(0).integers(0, 255, (20, 40, 3))
    propagate_edit(still, painted, tmp_path / "o" / "%03d.png", tracks=tracks)
    found = written(tmp_path / "o", 4)
    edit = np.zeros(SIZE, bool)
    edit[48:72, 68:112] = True  # with the two pixels around it
    for t in range(4):
        assert (found[t][~edit] == still[t][~edit]).all()
        assert psnr(found[t][50:70, 70:110], painted[50:70, 70:110]) > 45


def test_a_picture_lies_where_its_corners_go(tmp_path: Path, film: np.ndarray, exact: Tracks, library: str) -> None:
    quad = np.array([(60, 45), (110, 45), (110, 80), (60, 80)], float)
    attach_sticker(film, PAINT, tmp_path / "o" / "%03d.png", quad=quad, tracks=exact, occlusion="none")
    found = written(tmp_path / "o", 10)
    art = np.full((*SIZE, 3), 0.0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    u, v = (x - 60) / 50 * 60, (y - 45) / 35 * 40
    art[..., 0], art[..., 1] = 220 * (u < 30), 220 * (v < 20)
    for t in (0, 4, 9):
        wanted = render(art, TRUTH[t], order=1)
        inner = move(TRUTH[t], np.array([(64.0, 48), (82, 48), (82, 60), (64, 60)]))
        low, high = np.ceil(inner.min(0)).astype(int) + 2, np.floor(inner.max(0)).astype(int) - 2
        part = (slice(low[1], high[1]), slice(low[0], high[0]))
        assert psnr(found[t][part], wanted[part]) > 40
        far = render(
            np.repeat(255.0 * ((np.abs(x - 85) < 28) & (np.abs(y - 62.5) < 20))[..., None], 3, 2), TRUTH[t], order=1
        )
        assert (found[t][far[..., 0] == 0] == film[t][far[..., 0] == 0]).all()


def test_what_sweeps_across_is_in_front(tmp_path: Path, exact: Tracks, film: np.ndarray) -> None:
    """Acceptance (c): artwork over occluder pixels below 0.15 on average, over visible ones above 0.9."""
    film, quad = film.copy(), np.array([(48, 36), (122, 36), (122, 84), (48, 84)], float)
    bar = texture(*SIZE, 5)[..., :1] * 0.25 + (150, 90, 60)
    hidden = np.zeros((10, *SIZE), bool)
    for t in range(10):
        left = 10 + 12 * t
        hidden[t, :, left : left + 30] = t > 0
        film[t][hidden[t]] = np.clip(bar, 0, 255).astype(np.uint8)[hidden[t]]
    spots = np.floor(np.clip(exact.xy, 0, (SIZE[1] - 1, SIZE[0] - 1))).astype(int)
    seen = ~np.stack([hidden[t][spots[:, t, 1], spots[:, t, 0]] for t in range(10)], 1)
    tracks = exact.with_(visible=seen.astype(float))
    green = np.zeros((48, 74, 3), np.uint8)
    green[..., 1] = 255
    for occlusion in ("sharp", "soft"):
        folder = tmp_path / occlusion
        attach_sticker(
            film, green, folder / "%03d.png", quad=quad, tracks=tracks, occlusion=occlusion,  # type: ignore[arg-type]
            look=Look(linear_light=False),
        )  # fmt: skip
        over, free = [], []
        for t, found in enumerate(written(folder, 10)):
            inside = render(np.repeat(255.0 * _box(quad)[..., None], 3, 2), TRUTH[t], order=1)[..., 0] > 250
            alpha = 1 - (found[..., 0] + 1.0) / (film[t][..., 0] + 1.0)  # green has no red
            over.append(alpha[inside & hidden[t]])
            free.append(alpha[inside & ~hidden[t]])
        covered, seen_through = np.concatenate(over).mean(), np.concatenate(free).mean()
        if occlusion == "sharp":
            assert covered < 0.15 and seen_through > 0.9
        else:
            assert covered < 0.6 and seen_through > 0.9


def _box(quad: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    low, high = quad.min(0), quad.max(0)
    return ((x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])).astype(float)


def test_a_mask_of_what_is_in_front_is_taken_as_it_is(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    front = np.zeros(SIZE, bool)
    front[:, :90] = True
    attach_sticker(
        film, PAINT, tmp_path / "o" / "%03d.png", quad=QUAD, tracks=exact, occluder=lambda number, image: front
    )
    found = written(tmp_path / "o", 10)
    assert (found[:, :, :90] == film[:, :, :90]).all() and (found[0, 40:80, 92:120] != film[0, 40:80, 92:120]).any()
    with pytest.raises(ShapeError, match="occluder returns a mask"):
        attach_sticker(film, PAINT, tmp_path / "p.mp4", quad=QUAD, tracks=exact, occluder=lambda n, i: front[:5])


# -- depth, time, sound ----------------------------------------------------------------------------


def test_sixteen_bits_and_floats_are_kept(tmp_path: Path, exact: Tracks) -> None:
    dice = np.random.default_rng(0)
    deep = dice.integers(0, 65535, (10, *SIZE, 3)).astype(np.uint16)
    light = dice.uniform(0, 4, (10, *SIZE, 3)).astype(np.float32)
    light[..., 0] *= 0.1  # mostly not brighter than white
    for ending, values in ((".png", deep), (".tif", deep), (".exr", light)):
        with DeepSequence(tmp_path / ending[1:] / f"%04d{ending}", VideoInfo(SIZE[1], SIZE[0])) as files:
            for each in values:
                files.write(each)
        target = tmp_path / f"o{ending[1:]}" / f"%04d{ending}"
        art = np.full((20, 20, 3), 65535, np.uint16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = tapkit.open_video(tmp_path / ending[1:])
            attach_sticker(source, art, target, point=(85, 60), tracks=exact, occlusion="none")
            found = tapkit.open_video(target.parent)
        assert found.depth is not None and found.depth.dtype == values.dtype
        for frame in found.deep_frames():
            away = np.ones(SIZE, bool)
            x, y = move(TRUTH[frame.index], np.array([(85.0, 60)]))[0]
            away[int(y) - 16 : int(y) + 17, int(x) - 16 : int(x) + 17] = False
            assert (frame.values[away] == values[frame.index][away]).all()
            middle = frame.values[int(y), int(x)]
            white = source.depth.white if ending == ".exr" else 65535  # type: ignore[union-attr]
            np.testing.assert_allclose(middle, white, rtol=1e-3)
    assert light.max() > 3.9  # what is brighter than white was among it


def test_prores_of_sixteen_bits(tmp_path: Path, exact: Tracks) -> None:
    """Footage of 16 bits goes into the 10 of ProRes, footage of 8 bits too; they differ by the rounding to 8 bits."""
    ramp = np.linspace(20000, 26000, SIZE[1])[None, None, :, None] + np.zeros((exact.frames, *SIZE, 3))
    written = []
    for name, film in (("deep", ramp.astype(np.uint16)), ("plain", np.rint(ramp / 257).astype(np.uint8))):
        film_source = tapkit.open_video(film)
        attach_sticker(film_source, PAINT, tmp_path / f"{name}.prores.mov", quad=QUAD, tracks=exact)
        with tapkit.open_video(tmp_path / f"{name}.prores.mov") as found:
            assert found.info.frames == exact.frames and found.depth is not None and found.depth.white == 1023
            written.append(next(iter(found.deep_frames())).values[2, :, 1])  # above the quad
    deep, plain = (len(np.unique(row)) for row in written)
    assert deep > 60 and deep > 2 * plain
    assert np.abs(written[0].astype(int) - ramp[0, 0, :, 0] / 65535 * 1023)[2:-2].max() < 3


def test_eight_bits_become_light_in_exr(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    attach_sticker(film, PAINT, tmp_path / "o" / "%04d.exr", quad=QUAD, tracks=exact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = next(iter(tapkit.open_video(tmp_path / "o").deep_frames()))
    grey = film[0, 5, 5] / 255
    np.testing.assert_allclose(frame.values[5, 5], ((grey + 0.055) / 1.055) ** 2.4, atol=1e-4)


def test_times_and_sound_are_kept(tmp_path: Path, exact: Tracks, film: np.ndarray) -> None:
    import av

    times = np.array([0, 0.04, 0.1, 0.14, 0.2, 0.26, 0.3, 0.36, 0.4, 0.5])
    info = VideoInfo(SIZE[1], SIZE[0], fps=Fraction(25), frames=10, times=times)
    with VideoWriter(tmp_path / "silent.mp4", info) as writer:
        for image, time in zip(film, times, strict=True):
            writer.write(image, float(time))
    with av.open(str(tmp_path / "loud.mp4"), "w") as out, av.open(str(tmp_path / "silent.mp4")) as silent:
        video = out.add_stream_from_template(silent.streams.video[0])
        sound = out.add_stream("aac", rate=48000)
        tone = (3000 * np.sin(np.arange(24000) / 20)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.rate = 48000
        for packet in silent.demux(silent.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            out.mux(packet)
    with tapkit.open_video(tmp_path / "loud.mp4") as source:
        tracks = exact.with_(video=source.info)
        attach_sticker(source, PAINT, tmp_path / "out.mp4", quad=QUAD, tracks=tracks)
    with tapkit.open_video(tmp_path / "out.mp4") as found, av.open(str(tmp_path / "out.mp4")) as container:
        assert found.info.times is not None
        np.testing.assert_allclose(found.info.times, times, atol=1e-3)
        assert len(container.streams.audio) == 1
        assert sum(frame.samples for frame in container.decode(audio=0)) > 20000


# -- what may be put in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "art",
    [
        np.full((400, 600), 200, np.uint8),  # grey, larger than the frame
        np.full((9, 13, 4), 0.5),  # float with alpha, odd
        np.full((30, 40, 3), 40000, np.uint16),
        np.dstack([np.zeros((30, 40, 3), np.uint8), np.full((30, 40), 128, np.uint8)]),  # nothing but alpha
    ],
)
def test_pictures_of_any_kind(tmp_path: Path, film: np.ndarray, exact: Tracks, art: np.ndarray) -> None:
    attach_sticker(film, art, tmp_path / "o" / "%03d.png", quad=QUAD, tracks=exact, occlusion="none")
    found = written(tmp_path / "o", 10)
    assert (found[3, 50:70, 80:100] != film[3, 50:70, 80:100]).mean() > 0.8
    if art.shape[-1] == 4:  # half of the footage is still seen, in linear light
        assert np.corrcoef(found[3, 50:70, 80:100].ravel(), film[3, 50:70, 80:100].ravel())[0, 1] > 0.95


def test_a_part_of_it_may_lie_outside_the_frame(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    quad = [(-40, -30), (120, -30), (120, 70), (-40, 70)]
    attach_sticker(film, PAINT, tmp_path / "o.mp4", quad=quad, tracks=exact, occlusion="none")
    assert tapkit.open_video(tmp_path / "o.mp4").info.frames == 10


@pytest.mark.parametrize(
    ("anchor", "middle"),
    [({"point": (85, 60), "width": 30}, (85, 60)), ({"line": [(70, 60), (100, 64)]}, (85, 62))],
)
def test_points_and_lines(
    tmp_path: Path, film: np.ndarray, exact: Tracks, anchor: dict[str, object], middle: tuple[int, int]
) -> None:
    blue = np.zeros((20, 30, 3), np.uint8)
    blue[..., 2] = 255
    found = attach_sticker(film, blue, tmp_path / "o" / "%03d.png", tracks=exact, **anchor)  # type: ignore[arg-type]
    for t in (0, 9):
        x, y = np.floor(move(TRUTH[t], np.array([middle], float))[0]).astype(int)
        assert tuple(written(tmp_path / "o", 10)[t, y, x]) == (0, 0, 255)
    assert found.motion.reference == 0


def test_only_the_mask_shows_it(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = np.hypot(x - 85, y - 60) < 22
    white = np.full((30, 30, 3), 255, np.uint8)
    attach_sticker(film, white, tmp_path / "o" / "%03d.png", mask=disc, tracks=exact, occlusion="none")
    first = written(tmp_path / "o", 10)[0]
    assert (first[np.hypot(x - 85, y - 60) < 20] == 255).all()
    assert (first[np.hypot(x - 85, y - 60) > 25] == film[0][np.hypot(x - 85, y - 60) > 25]).all()


def test_a_clip_plays_and_its_last_frame_stays(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    shades = np.repeat(np.arange(10, 250, 40, dtype=np.uint8)[:, None, None, None], 3, 3) * np.ones(
        (1, 24, 32, 1), np.uint8
    )
    insert_video(
        film,
        tapkit.open_video(shades, fps=25),
        tmp_path / "o" / "%03d.png",
        QUAD,
        tracks=exact,
        shutter=0.0,
        occlusion="none",
    )
    found = written(tmp_path / "o", 10)
    levels = [
        int(found[t][tuple(np.floor(move(TRUTH[t], np.array([(85.0, 60)]))[0]).astype(int)[::-1])][0])
        for t in range(10)
    ]
    assert levels == [10, 50, 90, 130, 170, 210, 210, 210, 210, 210]


def test_motion_blur_is_along_the_motion(tmp_path: Path) -> None:
    """A white square that moves 8 px a frame: with a shutter of 180 degrees its edge is 4 px wide."""
    truth = np.array([[[1, 0, 8.0 * t], [0, 1, 0], [0, 0, 1]] for t in range(5)])
    black = np.zeros((5, *SIZE, 3), np.uint8)
    white = np.full((24, 24, 3), 255, np.uint8)
    tracks = plane_tracks(truth, 60)
    edges = {}
    for angle in (0.0, 180.0):
        folder = tmp_path / str(angle)
        attach_sticker(
            black, white, folder / "%03d.png", quad=[(50, 50), (74, 50), (74, 74), (50, 74)], tracks=tracks,
            occlusion="none", look=Look(linear_light=False, shutter=angle),
        )  # fmt: skip
        row = written(folder, 5)[2][62, 55:80, 0].astype(float)
        edges[angle] = (row > 12).argmax(), (row > 242).argmax()
    assert edges[0.0][1] - edges[0.0][0] <= 1
    assert 3 <= edges[180.0][1] - edges[180.0][0] <= 5


def test_shrunk_pictures_do_not_flicker(library: str) -> None:
    """A chequered picture shrunk to a tenth is grey, however it lies on the pixels."""
    board = np.indices((400, 400)).sum(0) % 2 * 1.0
    pyramid = sampling.Pyramid(board[..., None])
    for shift in (0.3, 0.7, 0.0):
        places = np.stack(np.meshgrid(np.arange(50.5, 350, 11) + shift, np.arange(50.5, 350, 11)), -1)
        assert np.abs(pyramid.read(places, 10.0) - 0.5).max() < 0.02
    assert np.ptp(pyramid.read(places, 1.0)) > 0.4


def test_light_is_adapted(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    dimmed = (film * np.linspace(1, 0.6, 10)[:, None, None, None]).astype(np.uint8)
    grey = np.full((30, 40, 3), 200, np.uint8)
    attach_sticker(
        dimmed, grey, tmp_path / "o" / "%03d.png", quad=QUAD, tracks=exact, occlusion="none",
        look=Look(linear_light=False, adapt=True),
    )  # fmt: skip
    found = written(tmp_path / "o", 10)
    x, y = np.floor(move(TRUTH[9], np.array([(85.0, 60)]))[0]).astype(int)
    assert abs(int(found[0, 60, 85, 0]) - 200) <= 2 and 110 < found[9, y, x, 0] < 150


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, UsageError, "say where the picture goes"),
        ({"point": (1, 2), "quad": QUAD}, UsageError, "say where the picture goes"),
        ({"quad": [(0, 0), (10, 10), (20, 20), (5, 40)]}, UsageError, "the four corners"),
        ({"quad": [(0, 0), (50, 50), (50, 0), (0, 50)]}, UsageError, "one after the other"),
        ({"quad": [(0, 0), (50, 0), (50, np.nan), (0, 50)]}, UsageError, "four corners x, y"),
        ({"point": (1, 2, 3)}, UsageError, "a point is x, y"),
        ({"line": [(5, 5), (5, 5)]}, UsageError, "a pixel apart"),
        ({"quad": QUAD + 1000}, UsageError, "no tracked point is visible in the region"),
        ({"quad": QUAD, "frame": 10}, UsageError, "there is no frame 10"),
        ({"quad": QUAD, "follow": "round"}, UsageError, "follow is one of"),
        ({"quad": QUAD, "occlusion": "maybe"}, UsageError, "occlusion is one of"),
        ({"quad": QUAD, "colour": 1}, UsageError, "no option 'colour'"),
        ({"quad": QUAD, "width": 5}, UsageError, "width is that of a picture at a point"),
        ({"mask": np.zeros(SIZE)}, UsageError, "the mask is empty"),
        ({"mask": np.ones((5, 5))}, ShapeError, "the mask is 5x5, the video 176x120"),
        ({"quad": QUAD, "pins": ["x"]}, UsageError, "pins are a list"),
        ({"quad": QUAD, "smooth": -1}, UsageError, "smooth is a number"),
    ],
)  # fmt: skip
def test_bad_usage_is_a_sentence(
    tmp_path: Path, film: np.ndarray, exact: Tracks, options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        attach_sticker(film, PAINT, tmp_path / "o.mp4", **{"tracks": exact, **options})  # type: ignore[arg-type]
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    ("art", "error", "said"),
    [
        (np.zeros((3, 4, 7)), ShapeError, "a picture is"),
        (np.full((9, 9, 3), np.nan), UsageError, "not numbers"),
        (np.zeros((9, 9, 3), int), UsageError, "uint8, uint16 or float"),
        ("none.png", UsageError, "cannot be read as an image"),
        (Path("none.mp4"), tapkit.errors.VideoError, "there is no file"),
    ],
)
def test_bad_pictures_are_sentences(
    tmp_path: Path, film: np.ndarray, exact: Tracks, art: object, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        attach_sticker(film, art, tmp_path / "o.mp4", quad=QUAD, tracks=exact)


def test_bad_videos_tracks_and_looks_are_sentences(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    with pytest.raises(UsageError, match="cannot be read twice"):
        attach_sticker(iter(film), PAINT, tmp_path / "o.mp4", quad=QUAD, tracks=exact)
    with pytest.raises(UsageError, match="have 10 frames, the video 5"):
        attach_sticker(film[:5], PAINT, tmp_path / "o.mp4", quad=QUAD, tracks=exact)
    with pytest.raises(ShapeError, match="176x120, this one is 88x60"):
        attach_sticker(film[:, ::2, ::2], PAINT, tmp_path / "o.mp4", quad=QUAD / 2, tracks=exact)
    with pytest.raises(UsageError, match="0 to 360"):
        Look(shutter=400)
    with pytest.raises(UsageError, match="one place for the frame number"):
        attach_sticker(film, PAINT, tmp_path / "o.exr", quad=QUAD, tracks=exact)
    assert QueryError is not UsageError


def test_no_visible_points_are_said_and_fade(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    seen = np.array(exact.visible)
    seen[:, 3:] = 0
    blue = np.zeros((30, 40, 3), np.uint8)
    with pytest.warns(EditWarning, match="no point was visible"):
        attach_sticker(
            film, blue, tmp_path / "o" / "%03d.png", quad=QUAD, tracks=exact.with_(visible=seen), occlusion="none"
        )
    found = written(tmp_path / "o", 10)
    assert (found[7:] == film[7:]).all() and (found[2, 50:60, 80:90] != film[2, 50:60, 80:90]).all()


def test_an_edit_of_nothing_or_of_another_size(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    with pytest.raises(UsageError, match="nothing was changed"):
        propagate_edit(film, film[0], tmp_path / "o.mp4", tracks=exact)
    with pytest.raises(ShapeError, match="88x60, the video 176x120"):
        propagate_edit(film, film[0][::2, ::2], tmp_path / "o.mp4", tracks=exact)


def test_a_painted_layer_moves_and_bends_with_the_points(tmp_path: Path) -> None:
    """A texture that is bent more and more: the painted square is bent as it is (mesh), to 0.7 px."""
    from scipy.ndimage import map_coordinates

    picture = texture(*SIZE, 1)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5

    def back(t: int, px: np.ndarray, py: np.ndarray) -> np.ndarray:
        return px + t * 0.8 * np.sin(py / 14)

    bent = np.stack(
        [
            np.stack(
                [
                    map_coordinates(picture[..., c], [y - 0.5, back(t, x, y) - 0.5], order=3, mode="reflect")
                    for c in range(3)
                ],
                -1,
            )
            for t in range(6)
        ]
    )
    start = np.random.default_rng(0).uniform((30, 25), (140, 95), (260, 2))
    xy = np.stack(
        [np.column_stack([start[:, 0] - t * 0.8 * np.sin(start[:, 1] / 14), start[:, 1]]) for t in range(6)], 1
    )
    layer = np.zeros((*SIZE, 4), np.uint8)
    layer[40:80, 60:110] = (255, 255, 255, 255)
    propagate_edit(
        np.zeros((6, *SIZE, 3), np.uint8) + bent.clip(0, 200).astype(np.uint8),
        layer,
        tmp_path / "o" / "%03d.png",
        tracks=tracks_of(xy),
        occlusion="none",
    )
    last = written(tmp_path / "o", 6)[5].min(-1) > 230
    for row in range(44, 76):
        edge = np.flatnonzero(last[row])[[0, -1]] + (0, 1)
        assert np.abs(edge - (np.array([60, 110]) - 5 * 0.8 * np.sin((row + 0.5) / 14))).max() < 1.2
