"""The contract of all trackers: what a model promises to the engine, and a session to its user, as checks.

Every check takes a `Subject` (a model and a short clip) and raises `AssertionError` where the promise is broken, or
`NotApplicable` with the reason where it says nothing about this kind of model. Only the registry and the engine are
used, so trackers of other packages are checked by the same functions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from tapkit import registry
from tapkit.engine.session import Session
from tapkit.engine.state import flatten, unflatten
from tapkit.engine.tracker import Tracker
from tapkit.errors import ShapeError
from tapkit.types import FrameResult, ModelCard, Queries, Tracks, VideoInfo

HEIGHT, WIDTH = 64, 96
NEAR = 5e-3
"""Pixels and probabilities that two computations of the same thing may differ by (other sums, other order)."""
JOINTLY_NEAR = 0.05
"""The same where all points are summed over in another order, window after window."""

SMALL: dict[str, dict[str, Any]] = {
    "alltracker": (alltracker := {"input_size": (64, 96), "iterations": 1, "window": 4}),
    "alltracker-tiny": alltracker,
    "tapir": (tapir := {"resolution": (32, 48), "initial_resolution": (32, 48)}),
    "bootstapir": tapir,
    "tapir-causal": tapir,
    "bootstapir-causal": tapir,
    "cotracker2": (cotracker := {"input_size": (32, 48), "iterations": 1, "support": "global:2"}),
    "cotracker3-offline": cotracker,
    "cotracker3-online": cotracker,
    "dot": {"tracker": "lucas-kanade", "flow": "dis", "tracks": 8, "resolution": (64, 64), "iterations": 1},
    "gmrw": {"resolution": (32, 48), "upsample": 1},
    "locotrack-small": {"resolution": (64, 64)},
    "locotrack-base": {"resolution": (64, 64)},
    "mft": {"resolution": (48, 72), "iterations": 1, "deltas": (1, 2)},
    "pips": {"input_size": (64, 96), "iterations": 2},
    "pips2": {"input_size": (128, 128), "iterations": 1},
    "strand": {"precision": "float32", "enlarge": 1},
    "tapnet": {"resolution": (64, 96)},
    "tapnext": {"resolution": (64, 64)},
    "tapnext-pp": {"resolution": (64, 64)},
    "track-on2": {"resolution": (64, 96), "support": 2, "memory_frames": 3},
    "taptr": {"input_size": (64, 96), "support": "none"},
    "taptrv2": {"input_size": (64, 96), "support": "grid:2"},
    "taptrv3": {"backbone": "resnet18", "input_size": (64, 96), "support": "local:2+grid:2"},
}
"""Options that make the published sizes cheap; a tracker that is not here is taken as its card has it."""
TINY = dict.fromkeys(("tapnext", "tapnext-pp"), "tapnext_tiny")
"""Networks that have no small options, but a small size: manifests of the parity set, filled with seeded numbers."""
PARITY_SET = Path(__file__).parents[1] / "parity_set"


class NotApplicable(Exception):
    """The promise says nothing about this kind of model; the message is the reason."""


@dataclass(frozen=True)
class Subject:
    """A tracker with random weights, and a clip that it can be asked about."""

    card: ModelCard
    tracker: Tracker
    frames: np.ndarray
    """[T,64,96,3] uint8."""

    @property
    def model(self) -> Any:
        """The model alone."""
        return self.tracker.model

    @property
    def info(self) -> VideoInfo:
        """Of the clip."""
        return VideoInfo(WIDTH, HEIGHT, frames=len(self.frames))

    @property
    def cut(self) -> int:
        """A frame in the middle: after the first window has been answered, before the next is full."""
        return self.model.window + 1 if self.card.streaming == "window" else 2

    @property
    def independent(self) -> bool:
        """Whether points know nothing of one another."""
        return not self.card.joint

    @cached_property
    def tracks(self) -> Tracks:
        """`POINTS` through the whole clip, both directions."""
        return self.tracker.track(self.frames, POINTS)

    @cached_property
    def forward(self) -> Tracks:
        """The same, from each query on only."""
        return self.tracker.track(self.frames, POINTS, direction="forward")

    @cached_property
    def undisturbed(self) -> Answers:
        """What a session says of `POINTS` that nothing happens to."""
        return answers(drive(self.start(Queries.of(POINTS)), self.frames))

    def start(self, queries: Any = ()) -> Session:
        """A new session over the clip."""
        return self.tracker.start(self.info, queries)

    def images(self, first: int, stop: int) -> Tensor:
        """Frames as a model is handed them, uint8 [B,3,h,w]; after the last comes the first again."""
        chosen = self.frames[np.arange(first, stop) % len(self.frames)]
        frames = torch.from_numpy(chosen).permute(0, 3, 1, 2).contiguous()
        size = self.size
        if size == (HEIGHT, WIDTH):
            return frames
        resized = torch.nn.functional.interpolate(frames.float(), size, mode="bilinear", antialias=True)
        return resized.round().clamp(0, 255).to(torch.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames that the model is handed."""
        return self.model.frame_size((HEIGHT, WIDTH)) or (HEIGHT, WIDTH)


@lru_cache(maxsize=1)
def subject(model: str) -> Subject:
    """The tracker of that id with random weights, always the same ones, and its clip."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = registry.build(model, seeded(TINY[model]) if model in TINY else None, **SMALL.get(model, {}))
    card = built.card
    # One whole window, and part of the next; never fewer frames than the points need.
    frames = max(built.window + built.stride // 2 + 1, 5) if card.streaming == "window" else 4
    return Subject(card, Tracker(built), moving_clip(frames))


def seeded(manifest: str) -> dict[str, Tensor]:
    """Weights of a manifest of the parity set."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from parity import Parity

    return Parity(PARITY_SET).weights(manifest)


def moving_clip(frames: int) -> np.ndarray:
    """A textured picture that moves over the frame, with a bar that does not; [T,64,96,3] uint8."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: HEIGHT + 40, : WIDTH + 60].astype(np.float64)
    picture = np.zeros((*y.shape, 3))
    for _ in range(30):
        angle, frequency, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.9), rng.uniform(0, 2 * np.pi)
        picture += np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)[..., None] * rng.uniform(0, 1, 3)
    picture = (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.uint8)
    shift = np.stack([2 * np.arange(frames) % 50, np.arange(frames) % 30], 1)
    clip = np.stack([picture[b : b + HEIGHT, a : a + WIDTH] for a, b in shift])
    clip[:, 20:28, 60:90] = (200, 40, 90)
    return clip


POINTS = ((0, 20.25, 30.5), (0, 70.5, 44.0), (2, 40.0, 12.75), (1, 88.5, 55.5))
"""Queries (t, x, y) that most checks ask for."""

# -- what is compared -----------------------------------------------------------------------------------

Answers = dict[tuple[int, str], np.ndarray]
"""Final results by (frame, id): (x, y, visible, confidence) float32."""


def answers(results: Iterable[FrameResult]) -> Answers:
    """Final results by frame and point. A frame is answered for good once for each point."""
    found: Answers = {}
    for result in results:
        if not result.final:
            continue
        for row, name in enumerate(result.ids.tolist()):
            key = (int(result.frame), str(name))
            assert key not in found, f"frame {key[0]} was answered twice for point {key[1]}"
            found[key] = np.array([*result.xy[row], result.visible[row], result.confidence[row]], np.float32)
    return found


def drive(session: Session, frames: Iterable[np.ndarray], finish: bool = True) -> list[FrameResult]:
    """Step over the frames."""
    results = [result for frame in frames for result in session.step(frame)]
    return results + (session.finish() if finish else [])


def same(ours: Answers, theirs: Answers, tolerance: float = 0.0) -> None:
    """Both answer for the same points on the same frames, with the same figures."""
    missing, extra = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
    assert not missing, f"no answer for (frame, point) {missing[:4]}, {len(missing)} in all"
    assert not extra, f"answers nobody asked for: (frame, point) {extra[:4]}, {len(extra)} in all"
    worst = max((float(np.abs(ours[key] - theirs[key]).max()), key) for key in theirs) if theirs else (0.0, None)
    assert worst[0] <= tolerance, f"(frame, point) {worst[1]} differs by {worst[0]:.3g}, allowed {tolerance:g}"


def equal(ours: Any, theirs: Any, what: str, tolerance: float = 0.0) -> None:
    """States, features or predictions are the same, part by part."""
    ours, theirs = flatten(ours), flatten(theirs)
    assert ours.keys() == theirs.keys(), f"{what}: other parts"
    for name, part in theirs.items():
        assert ours[name].shape == part.shape, f"{what}, {name}: {list(ours[name].shape)} and {list(part.shape)}"
        if part.numel():
            difference = float((ours[name].double() - part.double()).abs().max())
            assert difference <= tolerance, f"{what}, {name} differs by {difference:.3g}, allowed {tolerance:g}"


def copied(value: Any) -> Any:
    """A state with storage of its own."""
    return unflatten(value, {name: part.clone() for name, part in flatten(value).items()})


def saved(session: Session) -> dict[str, Tensor]:
    """The session's state through the bytes of a safetensors file.

    Copied, so that what `a_state_fits_into_safetensors` shows is not shown by every other check too.
    """
    state = {name: part.clone(memory_format=torch.contiguous_format) for name, part in session.state_dict().items()}
    return safetensors.torch.load(safetensors.torch.save(state))


def array(points: Iterable[tuple[float, ...]]) -> Tensor:
    """Queries [N,3] as models take them."""
    return torch.tensor(list(points), dtype=torch.float32).reshape(-1, 3)


def kind(subject: Subject, *kinds: str) -> None:
    """Only for models of these kinds."""
    if subject.card.streaming not in kinds:
        raise NotApplicable(f"a model of kind {subject.card.streaming} has no such call")


# -- models ---------------------------------------------------------------------------------------------


@torch.inference_mode()
def step_is_pure(subject: Subject) -> None:
    """`step`, called twice with the same arguments, says the same, and changes none of them."""
    kind(subject, "causal", "window")
    state, call = _after_some(subject)
    before = copied(state)
    first, said = call(state)
    equal(state, before, "the state handed to step")
    kept, kept_said = copied(first), copied(said)
    second, again = call(state)
    equal(second, kept, "the state from the same call")
    equal(again, kept_said, "the prediction of the same call")
    call(second)
    equal(second, kept, "a state that another step began from")
    equal(again, kept_said, "the prediction of the call before")


def _after_some(subject: Subject) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
    """A state that holds points, and the next step from it, whose arguments must stay as they are."""
    model, scale = subject.model, torch.tensor([subject.size[1] / WIDTH, subject.size[0] / HEIGHT])
    if subject.card.streaming == "causal":
        images = subject.images(0, 4)
        state = model.start(subject.size)
        for index in range(3):
            new = array(p for p in POINTS if p[0] == index)[:, 1:] * scale
            state, _ = model.step(state, images[index], new)
        arguments = (images[3], torch.tensor([[30.0, 20.0]]))

        def step(state: Any) -> tuple[Any, Any]:
            kept = [argument.clone() for argument in arguments]
            result = model.step(state, *arguments)
            assert all(map(torch.equal, arguments, kept)), "step changed the frame or the new points"
            return result

        return state, step
    queries = array(POINTS)
    queries[:, 1:] *= scale
    state, _ = model.step(model.start(subject.size), model.encode(subject.images(0, model.window)), 0, queries)
    features = model.encode(subject.images(model.stride, model.stride + model.window))

    def step_window(state: Any) -> tuple[Any, Any]:
        kept, asked = copied(features), queries.clone()
        result = model.step(state, features, model.stride, queries)
        equal(features, kept, "the features handed to step")
        assert torch.equal(queries, asked), "step changed the queries"
        return result

    return state, step_window


@torch.inference_mode()
def encode_is_pure(subject: Subject) -> None:
    """`encode` says the same twice, leaves the frames alone, and treats each frame on its own."""
    kind(subject, "window", "offline")
    images = subject.images(0, 4)
    kept = images.clone()
    first = copied(subject.model.encode(images))
    assert torch.equal(images, kept), "encode changed the frames"
    equal(subject.model.encode(images), first, "features of the same frames")
    one = subject.model.encode(images[2:3])
    equal(one, unflatten(first, {k: v[2:3] for k, v in flatten(first).items()}), "features of one frame alone", NEAR)


@torch.inference_mode()
def track_is_pure(subject: Subject) -> None:
    """`track` says the same twice and changes neither features nor queries."""
    kind(subject, "offline")
    features, queries = subject.model.encode(subject.images(0, len(subject.frames))), array(POINTS)
    queries[:, 1:] *= torch.tensor([subject.size[1] / WIDTH, subject.size[0] / HEIGHT])
    kept, asked = copied(features), queries.clone()
    first = copied(subject.model.track(features, subject.size, queries))
    equal(features, kept, "the features handed to track")
    assert torch.equal(queries, asked), "track changed the queries"
    equal(subject.model.track(features, subject.size, queries), first, "the prediction of the same call")


@torch.inference_mode()
def select_keeps_the_chosen(subject: Subject) -> None:
    """`select` keeps these points in this order, and the state it was given; what is left is tracked as before."""
    kind(subject, "causal", "window")
    state, _ = _after_some(subject)
    kept = copied(state)
    count = len(POINTS)
    _, whole = _next(subject, state, list(range(count)))
    order = [3, 1, 0, 2] if subject.card.joint else [3, 1]  # joint points must all be there to be tracked the same
    chosen = subject.model.select(state, torch.tensor(order))
    equal(state, kept, "the state handed to select")
    _, part = _next(subject, chosen, order)
    equal(part, type(whole)(*(field[order] for field in whole)), "the prediction of the chosen points", NEAR)
    few = subject.model.select(state, torch.tensor([2, 0]))
    _, part = _next(subject, few, [2, 0])
    assert len(part.xy) == 2, f"2 points were chosen, {len(part.xy)} are answered"
    none = subject.model.select(state, torch.zeros(0, dtype=torch.long))
    _, nothing = _next(subject, none, [])
    assert len(nothing.xy) == 0, f"no point was chosen, {len(nothing.xy)} are answered"


def _next(subject: Subject, state: Any, rows: list[int]) -> tuple[Any, Any]:
    """The step after `_after_some` for the points `rows`, without new ones."""
    model = subject.model
    if subject.card.streaming == "causal":
        return model.step(state, subject.images(3, 4)[0], torch.zeros(0, 2))
    queries = array(POINTS[row] for row in rows)
    queries[:, 1:] *= torch.tensor([subject.size[1] / WIDTH, subject.size[0] / HEIGHT])
    features = model.encode(subject.images(model.stride, model.stride + model.window))
    return model.step(state, features, model.stride, queries)


def memory_is_estimated(subject: Subject) -> None:
    """What a budget is kept by: positive numbers of bytes, more for larger frames or longer clips."""
    model, small, large = subject.model, (64, 96), (480, 640)
    if subject.card.streaming == "offline":
        assert 0 < model.point_bytes(8, small) <= model.point_bytes(80, small)
    else:
        assert 0 < model.point_bytes(small) <= model.point_bytes(large)
    if subject.card.streaming != "causal":
        assert 0 < model.frame_bytes(small) <= model.frame_bytes(large)


# -- sessions -------------------------------------------------------------------------------------------


def no_points_at_all(subject: Subject) -> None:
    """A session without points runs and says nothing; points added to it later are tracked."""
    session = subject.start()
    assert drive(session, subject.frames[:3], finish=False) == []
    start = session.earliest
    names = session.add([(start, 30.5, 20.25), (start, 60.0, 40.0)]).tolist()
    found = answers(drive(session, subject.frames[3:]))
    first = 0 if subject.card.bidirectional else start
    assert found.keys() == {(t, name) for t in range(first, len(subject.frames)) for name in names}
    assert all(np.isfinite(value).all() for value in found.values())
    empty = subject.tracker.track(subject.frames[:2], [])
    assert (len(empty.queries), empty.xy.shape) == (0, (0, 2, 2))


def session_equals_offline(subject: Subject) -> None:
    """A session stepped by hand over full-size frames gives what `Tracker.track` gives for the file."""
    offline = subject.tracks if subject.card.bidirectional else subject.forward
    same(subject.undisturbed, of_tracks(offline), 1e-5)


def of_tracks(tracks: Tracks) -> Answers:
    """Answers of a table, ids as the session counts them."""
    names = tracks.queries.ids.tolist()
    return {
        (t, names[n]): np.array([*tracks.xy[n, t], tracks.visible[n, t], tracks.confidence[n, t]], np.float32)
        for n, t in np.argwhere(tracks.valid).tolist()
    }


def a_state_fits_into_safetensors(subject: Subject) -> None:
    """`state_dict` gives what safetensors takes as it is: contiguous tensors, none of which are parts of another."""
    session = subject.start(Queries.of(POINTS))
    drive(session, subject.frames[: subject.cut], finish=False)
    state = session.state_dict()
    scattered = [name for name, part in state.items() if not part.is_contiguous()]
    assert not scattered, f"{len(scattered)} tensors are not contiguous, for instance {scattered[0]}"
    safetensors.torch.save(state)


def a_state_stays_as_it_was(subject: Subject) -> None:
    """A saved state does not change when the session continues, nor when another session began from it."""
    cut = subject.cut - 2 if subject.card.streaming == "window" else subject.cut  # the next steps fill a window
    session, other = subject.start(Queries.of(POINTS)), subject.start()
    drive(session, subject.frames[:cut], finish=False)
    state = session.state_dict()
    other.load_state_dict({name: part.clone() for name, part in state.items()})
    for running, held in ((session, state), (other, other.state_dict())):
        kept = {name: part.clone() for name, part in held.items()}
        drive(running, subject.frames[cut : cut + 2], finish=False)
        changed = [name for name, part in held.items() if not torch.equal(part, kept[name])]
        assert not changed, f"{len(changed)} saved tensors changed, for instance {changed[0]}"


ROUNDING = {"mft": 1e-6}
"""A restored state lies elsewhere in memory, and kernels that go by alignment then round differently: by one unit in
the last place of a probability, on AMD processors."""


def restored_in_the_middle(subject: Subject) -> None:
    """Saved between two frames and restored: the rest is what it is without."""
    session = subject.start(Queries.of(POINTS))
    early = answers(drive(session, subject.frames[: subject.cut], finish=False))
    same(early | _rest(subject, _restored(subject, session)), subject.undisturbed, ROUNDING.get(subject.card.id, 0.0))


def restored_with_points_waiting_and_removed(subject: Subject) -> None:
    """As above, with points that begin later, and others that were removed, one of them before it began."""
    last = len(subject.frames) - 1
    session = subject.start(Queries.of([*POINTS, (last, 33.0, 21.0), (subject.cut, 50.0, 50.0), (last, 9.0, 9.0)]))
    drive(session, subject.frames[: subject.cut], finish=False)
    session.remove(["1", "4"])
    restored = _restored(subject, session)
    same(_rest(subject, restored), _rest(subject, session), ROUNDING.get(subject.card.id, 0.0))


def restored_with_points_just_added(subject: Subject) -> None:
    """As above, with points added after the last step, on the first frame that is still held and on the next."""
    session = subject.start(Queries.of(POINTS))
    drive(session, subject.frames[: subject.cut], finish=False)
    session.add([(session.earliest, 25.0, 40.0), (session.frame, 52.0, 33.0)])
    restored = _restored(subject, session)
    same(_rest(subject, restored), _rest(subject, session), ROUNDING.get(subject.card.id, 0.0))


def restored_without_points(subject: Subject) -> None:
    """A session that has no points yet can be saved too, and points can be added afterwards."""
    session = subject.start()
    drive(session, subject.frames[: subject.cut], finish=False)
    restored = _restored(subject, session)
    for one in (session, restored):
        one.add([(subject.cut, 52.0, 33.0)])
    same(_rest(subject, restored), _rest(subject, session), ROUNDING.get(subject.card.id, 0.0))


def _restored(subject: Subject, session: Session) -> Session:
    """Another session that was given the saved state; it says the same of itself."""
    restored = subject.start()
    restored.load_state_dict(saved(session))
    assert (restored.frame, restored.ids) == (session.frame, session.ids)
    np.testing.assert_array_equal(restored.queries.array(), session.queries.array())
    return restored


def _rest(subject: Subject, session: Session) -> Answers:
    """What a session says from the cut on."""
    found = answers(drive(session, subject.frames[subject.cut :]))
    assert found, "nothing was left to answer, so nothing was shown"
    return found


def points_added_while_running(subject: Subject) -> None:
    """A point added later is answered from its query on, as if it had been announced at the start."""
    running, announced = subject.start(Queries.of(POINTS)), None
    early = drive(running, subject.frames[: subject.cut], finish=False)
    point = (running.earliest, 41.0, 27.5)
    name = str(running.add([point])[0])
    found = answers(early + drive(running, subject.frames[subject.cut :]))
    first = 0 if subject.card.bidirectional else point[0]
    frames = {frame for frame, who in found if who == name}
    assert frames == set(range(first, len(subject.frames))), f"answered on frames {sorted(frames)}"
    np.testing.assert_array_equal(found[point[0], name][:2], np.float32(point[1:]))
    if not subject.independent:
        return
    announced = subject.start(Queries.of([*POINTS, point]))
    same(found, answers(drive(announced, subject.frames)), NEAR)


def points_removed_while_running(subject: Subject) -> None:
    """A removed point is not answered any more, the others go on; independent ones notice nothing."""
    running = subject.start(Queries.of(POINTS))
    early = answers(drive(running, subject.frames[: subject.cut], finish=False))
    running.remove(["1", "3"])
    late = answers(drive(running, subject.frames[subject.cut :]))
    assert not [key for key in late if key[1] in ("1", "3")], "a removed point was answered"
    if not subject.independent:
        kept = {who for _, who in late}
        assert kept == {"0", "2"}
        return
    whole = subject.undisturbed
    same(early | late, {key: value for key, value in whole.items() if key in early or key[1] in ("0", "2")}, NEAR)


def other_points_do_not_matter(subject: Subject) -> None:
    """An independent point is tracked the same alone, with others, and in another order; a joint one in any order."""
    order = [2, 0, 3, 1]
    turned = Queries.of([POINTS[row] for row in order]).with_ids([str(row) for row in order])
    found = answers(drive(subject.start(turned), subject.frames))
    same(found, subject.undisturbed, NEAR if subject.independent else JOINTLY_NEAR)
    if subject.independent:
        alone = subject.start(Queries.of([POINTS[2]]).with_ids(["2"]))
        expected = {key: value for key, value in subject.undisturbed.items() if key[1] == "2"}
        same(answers(drive(alone, subject.frames)), expected, NEAR)


def frames_of_another_size_are_refused(subject: Subject) -> None:
    """A frame of another size is a `ShapeError`; the session is as it was and continues."""
    session = subject.start(Queries.of(POINTS))
    results = drive(session, subject.frames[:2], finish=False)
    for wrong in (subject.frames[2][:-8], subject.frames[2][:, :-8], np.zeros((128, 192, 3), np.uint8)):
        try:
            session.step(wrong)
        except ShapeError:
            continue
        raise AssertionError(f"a frame of {wrong.shape[1]}x{wrong.shape[0]} was taken")
    assert session.frame == 2
    results += drive(session, subject.frames[2:])
    same(answers(results), subject.undisturbed)


# -- results --------------------------------------------------------------------------------------------


def the_query_is_answered_by_itself(subject: Subject) -> None:
    """On its own frame a point is where it was asked for, visible for certain."""
    tracks = subject.tracks
    t, rows = tracks.queries.t, np.arange(len(POINTS))
    np.testing.assert_array_equal(tracks.xy[rows, t], tracks.queries.xy)
    assert (tracks.visible[rows, t] == 1).all() and (tracks.confidence[rows, t] == 1).all()
    found = subject.undisturbed
    for row, (frame, x, y) in enumerate(POINTS):
        np.testing.assert_array_equal(found[frame, str(row)], np.float32([x, y, 1, 1]))


def results_are_probabilities(subject: Subject) -> None:
    """float32; positions finite; visible and confidence within 0..1; and points do not simply stay."""
    tracks = subject.tracks
    assert tracks.valid.all(), "direction both answers for every frame"
    for name in ("xy", "visible", "confidence"):
        values = getattr(tracks, name)
        assert values.dtype == np.float32, f"{name} is {values.dtype}"
        assert np.isfinite(values).all(), f"{name} is not finite"
    for values in (tracks.visible, tracks.confidence):
        assert values.min() >= 0 and values.max() <= 1, f"{values.min()}..{values.max()} is no probability"
    for result in drive(subject.start(Queries.of(POINTS)), subject.frames):
        assert {part.dtype for part in (result.xy, result.visible, result.confidence)} == {np.dtype(np.float32)}
    assert np.ptp(tracks.xy, axis=1).max() > 0.1, "no point moved at all, so these checks show nothing"


def directions_answer_their_frames(subject: Subject) -> None:
    """ "forward" answers from the query on, "backward" up to it, and "both" is the two together."""
    both, forward = subject.tracks, subject.forward
    backward = subject.tracker.track(subject.frames, POINTS, direction="backward")
    assert backward.frames == len(subject.frames), f"backward has {backward.frames} of {len(subject.frames)} frames"
    frame, t = np.arange(len(subject.frames)), np.array([point[0] for point in POINTS])[:, None]
    np.testing.assert_array_equal(forward.valid, frame >= t)
    np.testing.assert_array_equal(backward.valid, frame <= t)
    for part in (forward, backward):
        np.testing.assert_allclose(part.xy[part.valid], both.xy[part.valid], atol=NEAR)


def provenance_is_json(subject: Subject) -> None:
    """What was run survives JSON as it is: options are plain values (lists, not tuples)."""
    source = subject.tracks.source
    values = source.to_dict()
    assert json.loads(json.dumps(values)) == values, f"options that JSON changes: {_changed(source.options)}"
    assert source.model == subject.card.id


def _changed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if json.loads(json.dumps(value)) != value}


class Property(NamedTuple):
    """One promise."""

    name: str
    check: Callable[[Subject], None]


PROPERTIES: tuple[Property, ...] = tuple(
    Property(check.__name__.replace("_", " "), check)
    for check in (
        step_is_pure,
        encode_is_pure,
        track_is_pure,
        select_keeps_the_chosen,
        memory_is_estimated,
        no_points_at_all,
        session_equals_offline,
        a_state_fits_into_safetensors,
        a_state_stays_as_it_was,
        restored_in_the_middle,
        restored_with_points_waiting_and_removed,
        restored_with_points_just_added,
        restored_without_points,
        points_added_while_running,
        points_removed_while_running,
        other_points_do_not_matter,
        frames_of_another_size_are_refused,
        the_query_is_answered_by_itself,
        results_are_probabilities,
        directions_answer_their_frames,
        provenance_is_json,
    )
)


class Fault(NamedTuple):
    """A promise that is known not to be kept."""

    promise: str
    models: frozenset[str]
    what: str


KNOWN_FAULTS: tuple[Fault, ...] = ()
"""Each is a strict expected failure: who repairs it removes it here."""


def known_fault(model: str, promise: str) -> str:
    """What is known to be wrong; "" if nothing is."""
    return next((fault.what for fault in KNOWN_FAULTS if promise == fault.promise and model in fault.models), "")
