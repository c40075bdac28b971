"""Regions, corner pins, masks, removals, trails and refinement on planes that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planes import QUAD, SIZE, clip, matrices, move, plane_tracks, points, render, texture, tracks_of

import tapkit
from tapkit.apps.edit import (
    Pin,
    Region,
    Settings,
    TrailStyle,
    corner_pin,
    follow_region,
    points_for,
    propagate_mask,
    read_pins,
    refine_tracks,
    remove_object,
    track_region,
    trails,
    write_stmaps,
)
from tapkit.apps.edit.refine import RefineOptions
from tapkit.apps.edit.region import grown, signed_distance
from tapkit.apps.edit.segment import medoids
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.types import Tracks

TRUTH = matrices(12)
PENTAGON = np.array([(50, 40), (110, 36), (125, 70), (90, 88), (52, 80)], float)


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    return clip(TRUTH)


@pytest.fixture(scope="module")
def exact() -> Tracks:
    return plane_tracks(TRUTH, 150)


def test_a_polygon_follows_and_is_written(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    found = track_region(film, PENTAGON, tracks=exact, follow="perspective")
    for t in range(12):
        assert np.abs(found.polygons[t] - move(TRUTH[t], PENTAGON)).max() < 0.4
    content = json.loads(found.write(tmp_path / "r.json").read_text())
    assert len(content["frames"]) == 12 and content["origin"] == "corner"
    last = content["frames"][11]
    np.testing.assert_allclose(
        last["box_unclipped"], [*found.polygons[11].min(0), *found.polygons[11].max(0)], atol=1e-3
    )
    assert last["confidence"] > 0.9 and last["state"] == "fitted" and len(last["transform"]) == 3


def test_a_box_that_leaves_is_clipped_and_known_all_the_same(film: np.ndarray, exact: Tracks) -> None:
    found = track_region(film, box=(-30, 40, 60, 90), tracks=exact)
    assert found.boxes[0, 0] == -30 and found.boxes_in_frame[0].tolist() == [0, 40, 60, 90]


def test_vertices_set_by_hand_are_kept_in_the_reference_frame(film: np.ndarray, exact: Tracks) -> None:
    """A correction of (4, 2) pixels of the reference frame, set on frame 8, is half of that on frame 4."""
    wanted = move(TRUTH[8], PENTAGON[1:2] + (4, 2))[0]
    found = track_region(film, PENTAGON, vertices=[Pin(8, 1, tuple(wanted))], tracks=exact, follow="perspective")
    np.testing.assert_allclose(found.polygons[8, 1], wanted, atol=0.01)
    for t, share in ((0, 0.0), (4, 0.5), (11, 1.0)):
        there = move(TRUTH[t], PENTAGON[1:2] + share * np.array([4, 2]))[0]
        np.testing.assert_allclose(found.polygons[t, 1], there, atol=0.4)
    assert found.corrected.sum() == 1 and found.tracks().keyframe[1, 8]  # type: ignore[index]
    with pytest.raises(QueryError, match="no vertex 9"):
        track_region(film, PENTAGON, vertices=[Pin(8, 9, (1, 1))], tracks=exact)


def test_corner_pins_are_tracks_of_four_points(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    pin = corner_pin(film, QUAD, tracks=exact, pins=[Pin(6, 2, tuple(move(TRUTH[6], QUAD)[2] + (2, 2)))])
    assert pin.ids.tolist() == ["ul", "ur", "lr", "ll"] and pin.frames == 12
    np.testing.assert_allclose(pin.xy[2, 6], move(TRUTH[6], QUAD)[2] + (2, 2), atol=1e-3)
    assert np.abs(pin.xy[:2].transpose(1, 0, 2) - [move(m, QUAD)[:2] for m in TRUTH]).max() < 0.4
    assert np.argwhere(pin.keyframe).tolist() == [[0, 0], [1, 0], [2, 0], [2, 6], [3, 0]]
    pin.write(tmp_path / "pin.nk", "nuke-cornerpin", corners="ul,ur,lr,ll")
    pin.write(tmp_path / "pin.txt", "ae", block="corner-pin", corners="ul,ur,lr,ll")
    assert "CornerPin2D" in (tmp_path / "pin.nk").read_text() and "Corner Pin" in (tmp_path / "pin.txt").read_text()
    with pytest.raises(UsageError, match="a corner pin is a plane"):
        corner_pin(film, QUAD, tracks=exact, follow="mesh")


def test_corners_beyond_the_frame(film: np.ndarray, exact: Tracks) -> None:
    far = np.array([(-60, -50), (240, -40), (230, 170), (-50, 160)], float)
    pin = corner_pin(film, far, tracks=exact)
    assert np.abs(pin.xy.transpose(1, 0, 2) - [move(m, far) for m in TRUTH]).max() < 1.5


def test_pins_are_read_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "pins.csv").write_text("t,x,y,id\n6,10.5,20,2\n8,1,2,nose\n")
    assert read_pins(str(tmp_path / "pins.csv")) == [Pin(6, "2", (10.5, 20)), Pin(8, "nose", (1, 2))]
    (tmp_path / "none.csv").write_text("t,x,y\n6,10.5,20\n")
    with pytest.raises(QueryError, match="needs a column id"):
        read_pins(str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, UsageError, "a polygon, a box or a mask"),
        ({"box": (5, 5, 1, 9)}, UsageError, "left < right"),
        ({"box": (5, 5, 9)}, UsageError, "a box is"),
        ({"polygon": [(1, 1), (2, 2)]}, ShapeError, "three vertices at least"),
        ({"polygon": [(1, 1), (20, 20), (50, 50)]}, UsageError, "encloses no area"),
        ({"polygon": [(1, 1), (20, 2), (5, np.inf)]}, QueryError, "finite"),
        ({"mask": np.zeros(SIZE)}, UsageError, "the mask is empty"),
        ({"mask": np.ones((2, 2, 2))}, ShapeError, r"a mask must be \[H,W\]"),
    ],
)
def test_bad_regions_are_sentences(
    film: np.ndarray, exact: Tracks, options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        track_region(film, tracks=exact, **options)  # type: ignore[arg-type]


def test_points_are_chosen_in_and_around_a_region(film: np.ndarray) -> None:
    region = Region.of(QUAD)
    xy = points_for(region, SIZE, 3, image=film[0]).xy
    inside = region.contains(xy)
    assert 200 <= len(xy) <= 700 and 0.4 < inside.mean() < 0.95 and (xy >= 0).all() and (xy <= (SIZE[1], SIZE[0])).all()
    ring = grown(region.raster(SIZE), 20)[np.floor(xy[:, 1]).astype(int), np.floor(xy[:, 0]).astype(int)]
    assert (ring & ~inside).sum() >= 40
    assert (points_for(region, SIZE, 3, image=film[0]).xy == xy).all()  # the same each time
    assert len(points_for(Region.of(box=(80, 50, 83, 52)), SIZE, 0)) > 1
    with pytest.raises(UsageError, match="outside the frame"):
        points_for(Region.of(QUAD + 900), SIZE, 0)


def test_distances_to_a_border_against_scipy() -> None:
    from scipy.ndimage import distance_transform_edt

    mask = render(texture(*SIZE, 3, 6.0), np.eye(3), SIZE)[..., 0] > 140
    wanted = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    np.testing.assert_allclose(signed_distance(mask, 40), np.clip(wanted, -40, 40), atol=1e-3)


# -- masks and removal -----------------------------------------------------------------------------


def disc(matrix: np.ndarray, radius: float = 26) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    back = move(np.linalg.inv(matrix), np.stack([x.ravel(), y.ravel()], 1))
    return (np.hypot(*(back - (85, 60)).T) < radius).reshape(SIZE)


def test_a_mask_is_carried_to_a_fraction_of_a_pixel(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    found: dict[int, np.ndarray] = {}
    sure = propagate_mask(
        film, disc(TRUTH[4]), tmp_path / "m" / "%03d.png", frame=4, each=lambda t, mask: found.update({t: mask}),
        tracks=plane_tracks(TRUTH, 150, frame=4),
    )  # fmt: skip
    assert sorted(found) == list(range(12)) and sure.min() > 0.9
    for t in range(12):
        wanted = disc(TRUTH[t])
        both, either = ((found[t] > 0.5) & wanted).sum(), ((found[t] > 0.5) | wanted).sum()
        assert both / either > 0.97
        assert (np.asarray(Image.open(tmp_path / "m" / f"{t:03d}.png"))[..., 0] == np.rint(255 * found[t])).all()
    with pytest.raises(UsageError, match="where the masks go"):
        propagate_mask(film, disc(TRUTH[0]), tracks=exact)


def test_a_segmenter_is_asked_and_checked(film: np.ndarray) -> None:
    """One that knows the answer is believed; one that is unsure, or loses the points, is not."""
    asked: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    mask = disc(TRUTH[0])

    def knows(image: np.ndarray, xy: np.ndarray, labels: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, float]:
        t = int(np.abs(film.astype(int) - image).reshape(12, -1).sum(1).argmin())
        asked.append((xy, labels, box))
        return disc(TRUTH[t], 24), 0.9

    found: dict[int, np.ndarray] = {}
    settings = Settings(tracks=plane_tracks(TRUTH, 150), follow="mesh", tracker="lucas-kanade", device="cpu")
    propagate_mask(film, mask, each=lambda t, m: found.update({t: m}), settings=settings, segmenter=knows)
    assert all((found[t] == disc(TRUTH[t], 24)).all() for t in range(1, 12)) and len(asked) == 11
    for xy, labels, box in asked:
        assert 1 <= labels.sum() <= 8 and (labels == 0).sum() <= 4 and len(xy) == len(labels)
        assert (xy[labels == 1] > box[:2]).all() and (xy[labels == 1] < box[2:]).all()
    for answer in ((np.zeros(SIZE), 0.9), (np.ones(SIZE), 0.5)):
        propagate_mask(
            film[:3],
            mask,
            each=lambda t, m: found.update({t: m}),
            settings=_short(settings),
            segmenter=lambda *_, a=answer: a,
        )  # type: ignore[misc]
        assert abs(found[2].sum() - disc(TRUTH[2]).sum()) < 60
    with pytest.raises(UsageError, match="a segmenter returns"):
        propagate_mask(film[:3], mask, each=lambda t, m: None, settings=_short(settings), segmenter=lambda *_: 5)  # type: ignore[arg-type, return-value]


def _short(settings: Settings) -> Settings:
    assert settings.tracks is not None
    return Settings(tracks=settings.tracks.time(0, 3), follow="mesh", tracker="lucas-kanade", device="cpu")


def test_medoids_are_points_apart() -> None:
    xy = np.concatenate([points(20) * 0.05 + centre for centre in ((0, 0), (90, 0), (0, 90))])
    rows = medoids(xy, 3)
    assert sorted(rows // 20) == [0, 1, 2] and len(medoids(xy[:2], 8)) == 2


def test_what_is_behind_is_shown_where_any_frame_shows_it(tmp_path: Path) -> None:
    """A disc that crosses a still scene is taken out: the scene is there again."""
    scene = render(texture(*SIZE, 2), np.eye(3))
    film, masks = np.repeat(scene[None], 12, 0), []
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    for t in range(12):
        masks.append(np.hypot(x - (30 + 10 * t), y - 60) < 12)
        film[t][masks[t]] = (250, 30, 30)
    start = np.random.default_rng(0).uniform((22, 52), (38, 68), (40, 2))
    start = start[np.hypot(*(start - (30, 60)).T) < 11]
    xy = np.stack([start + (10 * t, 0) for t in range(12)], 1)
    settings = Settings(tracks=tracks_of(xy), follow="position", tracker="lucas-kanade", device="cpu")
    plate = remove_object(film, masks[0], tmp_path / "out", output=tmp_path / "fill" / "%03d.png", settings=settings)
    filled = np.stack([np.asarray(Image.open(tmp_path / "fill" / f"{t:03d}.png")) for t in range(12)])
    assert plate.known.mean() > 0.99
    assert (
        np.abs(filled.astype(int) - scene).mean() < 1.5
        and np.abs(filled[3][masks[3]].astype(int) - scene[masks[3]]).mean() < 8
    )
    assert (filled[3][y[:, 0] < 40] == scene[y[:, 0] < 40]).all()
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png"))
    assert (len(names) == 25 and names[-1] == "plate.png") or "plate.png" in names
    assert np.asarray(Image.open(tmp_path / "out" / "mask" / "000005.png"))[60, 80] == 255
    with pytest.raises(UsageError, match="say what is to be written"):
        remove_object(film, masks[0], settings=settings)


def test_an_inpainting_model_gets_frame_mask_and_plate(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    seen: list[tuple[int, ...]] = []

    def paint(image: np.ndarray, mask: np.ndarray, plate: np.ndarray) -> np.ndarray:
        seen.append((*image.shape, *mask.shape, *plate.shape))
        return np.full_like(image, 77)

    settings = Settings(tracks=exact.time(0, 3), tracker="lucas-kanade", device="cpu")
    remove_object(film[:3], disc(TRUTH[0], 15), output=tmp_path / "%03d.png", inpaint=paint, settings=settings)
    assert seen == [(*SIZE, 3, *SIZE, *SIZE, 3)] * 3
    assert tuple(np.asarray(Image.open(tmp_path / "000.png"))[60, 85]) == (77, 77, 77)
    with pytest.raises(ShapeError, match="inpaint returns a picture"):
        remove_object(film[:3], disc(TRUTH[0], 15), output=tmp_path / "o.mp4", inpaint=lambda *_: 1, settings=settings)


# -- trails ----------------------------------------------------------------------------------------


def test_trails_are_where_points_have_been(tmp_path: Path) -> None:
    black = np.zeros((10, 60, 100, 3), np.uint8)
    xy = np.stack([np.column_stack([10.0 + 8 * np.arange(10), np.full(10, 30.0)])])
    seen = np.ones((1, 10))
    seen[0, 4] = 0
    tracks = tracks_of(xy, seen, (60, 100))
    trails(black, tracks, tmp_path / "%03d.png", TrailStyle(length=5, dots=False, width=2.0))
    last = np.asarray(Image.open(tmp_path / "009.png")).max(-1)
    assert last[30, 75:80].min() > 120 and last[30, 52:56].max() < last[30, 70]  # it fades
    assert last[:24].max() == 0 and last[30, :38].max() == 0  # and is five frames long
    middle = np.asarray(Image.open(tmp_path / "005.png")).max(-1)
    assert middle[30, 36:48].max() == 0  # no line through the frame on which it was hidden
    dashed = tmp_path / "dash"
    trails(black, tracks, dashed / "%03d.png", TrailStyle(length=5, dots=False, width=2.0, occluded="dash"))
    assert np.asarray(Image.open(dashed / "005.png")).max(-1)[30, 36:50].max() > 40


@pytest.mark.parametrize("color", ["start-y", "id", "time", "speed", "flow"])
def test_every_colour_draws_something(tmp_path: Path, film: np.ndarray, exact: Tracks, color: str) -> None:
    style = TrailStyle(color=color, fade="linear", dim=1.0)  # type: ignore[arg-type]
    trails(film[:4], exact.time(0, 4), tmp_path / "%03d.png", style)
    last = np.asarray(Image.open(tmp_path / "003.png")).astype(int)
    assert 0.02 < (np.ptp(last, axis=-1) > 40).mean() < 0.9


def test_the_cameras_motion_is_taken_out(tmp_path: Path) -> None:
    """All points follow the camera: against the scene they have not moved, and there is no trail."""
    black, length = np.zeros((12, *SIZE, 3), np.uint8), {}
    for name, compensate in (("no", None), ("background", "background"), ("mask", np.zeros(SIZE))):
        trails(
            black, plane_tracks(TRUTH, 60), tmp_path / name / "%03d.png", TrailStyle(dots=False), compensate=compensate
        )
        length[name] = (np.asarray(Image.open(tmp_path / name / "011.png")).max(-1) > 30).sum()
    assert length["background"] < 0.5 * length["no"] and length["mask"] < 0.5 * length["no"]
    with pytest.raises(UsageError, match="compensate is"):
        trails(black, plane_tracks(TRUTH, 9), tmp_path / "o.mp4", compensate="camera")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fade": "fast"}, "fade is one of"),
        ({"length": 0}, "one frame long"),
        ({"width": 0}, "width"),
        ({"dim": 2}, "dim"),
    ],
)
def test_bad_styles_are_sentences(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TrailStyle(**options)  # type: ignore[arg-type]


# -- refinement and STMaps -------------------------------------------------------------------------


def test_refinement_brings_noisy_positions_back(film: np.ndarray) -> None:
    """1.2 px of noise become less than 0.15 px, by patches that turn and stretch as their surroundings do."""
    clean = plane_tracks(TRUTH, 80)
    noisy = np.array(clean.xy)
    noisy[:, 1:] += np.random.default_rng(1).normal(0, 1.2, noisy[:, 1:].shape)
    human = np.zeros((80, 12), bool)
    human[0, 5] = True
    tracks = clean.with_(xy=noisy, keyframe=human)
    found = refine_tracks(tracks, film, RefineOptions(radius=7))
    gap = np.hypot(*np.moveaxis(found.xy - clean.xy, -1, 0))[:, 1:]
    before = np.hypot(*np.moveaxis(noisy - clean.xy, -1, 0))[:, 1:]
    assert np.median(gap) < 0.15 and np.median(before) > 1 and (gap < 0.3).mean() > 0.85
    assert (found.xy[0, 5] == noisy[0, 5]).all() and (found.xy[:, 0] == clean.xy[:, 0]).all()
    assert found.source.options["edits"][-1]["refine"] == 7


def test_refinement_leaves_what_is_not_alike(film: np.ndarray, exact: Tracks) -> None:
    other = film.copy()
    other[3] = np.random.default_rng(0).integers(0, 255, film[3].shape)
    other[4] = 90
    found = refine_tracks(exact, other)
    assert (found.xy[:, 3:5] == exact.xy[:, 3:5]).all()
    flat = refine_tracks(exact, np.full_like(film, 128))
    assert (flat.xy == exact.xy).all()
    with pytest.raises(ShapeError, match="the video has"):
        refine_tracks(exact, film[:5])
    with pytest.raises(UsageError, match="radius of 2 to 60"):
        RefineOptions(radius=0)


def test_stmaps_lead_there_and_back(tmp_path: Path, film: np.ndarray, exact: Tracks) -> None:
    with tapkit.open_video(film) as source:
        found = follow_region(source, Region.of(QUAD), 0, Settings(tracks=exact, follow="mesh"))
        for name, inverse in (("in", True), ("out", False)):
            write_stmaps(found, tmp_path / name / "%04d.exr", source.info, inverse=inverse)
    spots = points(30, np.array([(60.0, 45), (110, 45), (110, 75), (60, 75)]))
    from tapkit.video.deep import read_picture

    for name, matrix in (("in", np.linalg.inv(TRUTH[9])), ("out", TRUTH[9])):
        values, _ = read_picture(tmp_path / name / "0009.exr")
        places = np.floor(spots).astype(int)
        there = values[places[:, 1], places[:, 0]]
        xy = np.column_stack([there[:, 0] * SIZE[1], (1 - there[:, 1]) * SIZE[0]])
        assert np.abs(xy - move(matrix, places + 0.5)).max() < 0.3
