"""TAPTR and TAPTRv2: windows and what they hand on, the formulas, checkpoints, support points, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from taptr_tools import SIZE, frames, queries, small, weights, windows

from tapkit import registry
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, UsageError, WeightsError
from tapkit.models.taptr.backbone import ResNet
from tapkit.models.taptr.encoder import sine_table
from tapkit.models.taptr.parts import inverse_sigmoid, sine, together
from tapkit.models.taptr.support import Support, random_points
from tapkit.models.taptr.tracker import build
from tapkit.models.taptr.weights import as_released, load_released, released_names
from tapkit.models.taptr.window import Window
from tapkit.nn.deformable_attention import Pyramid

BOTH = pytest.mark.parametrize("model", ["taptr", "taptrv2"])


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


# -- formulas -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("many", [False, True], ids=["few points", "many points"])
def test_what_is_fast_is_the_formula(model: str, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against `grid_sample`, whole projected frames and stock modules; points that begin on several frames."""
    from calls._taptr_plain import plainly

    monkeypatch.setattr(Window, "many", lambda self, rows: many)
    tracker, clip, asked = small(model), frames(12), queries(0, 2, 5, 9)
    ours = windows(tracker, clip, asked, 0, 4)
    plainly(tracker.network)
    theirs = windows(tracker, clip, asked, 0, 4)
    assert (ours[1] - ours[1][:, :1]).abs().max() > 0.1, "no point moved, so this shows nothing"
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_codes_are_those_of_the_formula() -> None:
    """Entry k: sine or cosine of 2 pi v / 10^(2 floor(k/2) / 128), in loops; the table of a level counts from one."""
    for v in (0.0, 0.3, 1.0):
        angle = [2 * np.pi * v / 10 ** (2 * (k // 2) / 128) for k in range(128)]
        expected = [np.cos(a) if k % 2 else np.sin(a) for k, a in enumerate(angle)]
        np.testing.assert_allclose(sine(torch.tensor([v])), expected, atol=1e-5)
    table = sine_table(Pyramid(((3, 5), (2, 2))))
    at = sine(torch.tensor([2 / (3 + 1e-6), 4 / (5 + 1e-6)]))
    torch.testing.assert_close(table[1 * 5 + 3], at, atol=1e-5, rtol=0)


def test_logits_stay_a_thousandth_from_the_border() -> None:
    ends = inverse_sigmoid(torch.tensor([-1.0, 0.0, 5e-4, 0.25, 1.0])).sigmoid()
    torch.testing.assert_close(ends, torch.tensor([0.001, 0.001, 0.001, 0.25, 0.999]), atol=2e-6, rtol=0)


def test_only_the_tracked_and_the_untracked_keep_apart() -> None:
    tracked = torch.tensor([[True, False, False], [True, True, True]])
    allowed = together(tracked)
    assert allowed is not None
    for row in range(2):
        for a in range(3):
            for b in range(3):
                assert bool(allowed[row, 0, a, b]) == (tracked[row, a] == tracked[row, b])
    assert together(tracked[1:]) is None


# -- windows --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("count", [5, 8, 10, 13])
def test_a_session_runs_the_windows_of_the_original(model: str, count: int) -> None:
    """Every four frames, the last moved back to end with the clip; shorter clips go on with their last frame."""
    tracker, clip, asked = small(model), frames(count), queries(0, 3)
    starts = [first for first in (0, 4, 8) if first + 8 <= count]
    starts += [count - 8] if starts and starts[-1] + 8 < count else []
    padded = torch.cat([clip, clip[-1:].expand(max(8 - count, 0), -1, -1, -1)])
    expected = torch.zeros(2, max(count, 8), 2)
    for first, xy in zip(starts or [0], windows(tracker, padded, asked, *(starts or [0])), strict=True):
        expected[:, first : first + 8] = xy
    tracks = Tracker(tracker).track(clip.permute(0, 2, 3, 1).numpy(), asked.numpy(), direction="forward")
    after = np.arange(count) > asked[:, :1].numpy()
    np.testing.assert_allclose(tracks.xy[after], expected[:, :count].numpy()[after], atol=2e-3)


def test_content_is_handed_on_as_often_as_the_length_of_the_clip_says() -> None:
    tracker = small("taptr")
    every = {count: int(tracker.expect_frames(tracker.start(SIZE), count).every) for count in (8, 24, 47, 48, 52, 100)}
    assert every == {8: 1, 24: 1, 47: 1, 48: 2, 52: 2, 100: 4}
    assert int(tracker.start(SIZE).every) == 1
    chosen = small("taptr", hand_on_every=3)
    assert int(chosen.expect_frames(chosen.start(SIZE), 52).every) == 3


@BOTH
def test_content_that_is_not_handed_on_is_what_it_was(model: str) -> None:
    """Window 1 of 2: the frames after it keep the content that window 0 gave them."""
    tracker, clip, asked = small(model), frames(12), queries(0)
    features = tracker.encode(clip)
    kind = type(features)
    state = tracker.expect_frames(tracker.start(SIZE), 52)
    state, _ = tracker.step(state, kind(features.tokens[:8]), 0, asked)
    given = state.later.clone()
    torch.testing.assert_close(given, state.content[:, -1])
    state, _ = tracker.step(state, kind(features.tokens[4:]), 4, asked)
    torch.testing.assert_close(state.later, given)
    assert not torch.allclose(state.content[:, -1], given)


@BOTH
def test_a_point_that_begins_after_a_window_has_no_part_in_it(model: str) -> None:
    tracker, clip = small(model), frames(12)
    alone = windows(tracker, clip, queries(0), 0)[0]
    both = windows(tracker, clip, queries(0, 10), 0)[0]
    torch.testing.assert_close(both[:1], alone, atol=1e-4, rtol=0)
    joined = windows(tracker, clip, queries(0, 3), 0)[0]
    assert not torch.allclose(joined[0, 5:], alone[0, 5:], atol=1e-3)


# -- checkpoints ----------------------------------------------------------------------------------


@BOTH
def test_a_training_checkpoint_loads_its_averaged_weights(model: str) -> None:
    """Names with "module.", the heads twice, batch norms as they are published."""
    released = weights(model)
    twice = {f"transformer.decoder.{n}": t for n, t in released.items() if n.startswith(("bbox_embed", "class_embed"))}
    average = {f"module.{name}": tensor for name, tensor in {**released, **twice}.items()}
    file = {"model": {name: tensor + 1 for name, tensor in released.items()}, "ema_model": average, "epoch": 3}
    network = registry.build(model, file).network
    ours = as_released(network)
    assert ours.keys() == released.keys() == released_names(network).keys()
    for name, tensor in released.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_checkpoint_is_taken_strictly() -> None:
    released = weights("taptr")
    lacking = {name: tensor for name, tensor in released.items() if name != "bbox_embed.2.layers.1.bias"}
    with pytest.raises(WeightsError, match=r"these are not weights of taptr: it lacks bbox_embed\.2"):
        build(lacking)
    with pytest.raises(WeightsError, match="has besides head"):
        build({**released, "head": torch.zeros(1)})
    with pytest.raises(WeightsError, match="these are not weights of taptrv2"):
        registry.build("taptrv2", released)


def test_batch_norms_are_folded_into_the_convolutions_before_them() -> None:
    """A ResNet-18 with random norms, against convolution and batch norm one after the other."""
    torch.manual_seed(2)
    network = torch.nn.Module()
    network.backbone = ResNet(18).eval()
    state = {name: torch.randn(shape) * 0.1 + (name.endswith("var")) for name, shape in released_names(network).items()}
    load_released(network, state, "taptrv3")

    def step(x: Any, conv: str, norm: str, stride: int = 1, padding: int = 1) -> Any:
        values = [state[f"backbone.0.body.{norm}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        y = F.conv2d(x, state[f"backbone.0.body.{conv}.weight"], stride=stride, padding=padding)
        return F.batch_norm(y, *values, eps=1e-5)

    x = frames(1).float() / 255
    y = F.max_pool2d(step(x, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for group in range(1, 5):
        for block in range(2):
            place, stride = f"layer{group}.{block}", 2 if group > 1 and block == 0 else 1
            z = step(y, f"{place}.conv1", f"{place}.bn1", stride).relu()
            z = step(z, f"{place}.conv2", f"{place}.bn2")
            y = (z + (step(y, f"{place}.downsample.0", f"{place}.downsample.1", stride, 0) if stride > 1 else y)).relu()
        found = network.backbone(x)[group - 1]
        torch.testing.assert_close(found, y, atol=1e-4 * float(y.abs().max()), rtol=0)


# -- support points -------------------------------------------------------------------------------


def test_support_points_are_tracked_along_and_left_out_of_the_answer() -> None:
    bare, helped = small("taptr"), small("taptr", support="random:9+grid:2+local:2")
    clip, asked = frames(8), queries(0, 2)
    state, prediction = helped.step(helped.start(SIZE), helped.encode(clip), 0, asked)
    assert prediction.xy.shape == (2, 8, 2)
    assert len(state.t) == 2 * 4 + 1 + 4 and int(state.shared) == 5
    without = bare.step(bare.start(SIZE), bare.encode(clip), 0, asked)[1]
    assert not torch.allclose(prediction.xy, without.xy, atol=1e-3)
    assert len(helped.select(state, torch.tensor([1])).t) == 4 + 5
    assert len(helped.select(state, torch.zeros(0, dtype=torch.long)).t) == 0


def test_random_support_repeats_the_points_and_goes_on_at_random() -> None:
    """The released quirk; all positions whole, at least a pixel apart, inside the margin; frames 0 to 11."""
    real = torch.tensor([[10.5, 20.25], [200.0, 100.0]])
    found = random_points(real, 30, np.random.RandomState(0))
    assert found.shape == (28, 3)
    torch.testing.assert_close(found[:2, 1:], real)
    rest = found[2:, 1:]
    assert (rest == rest.round()).all() and rest.min() >= 16 and rest.max() <= 239
    assert float(torch.cdist(found[:, 1:], found[:, 1:]).fill_diagonal_(9).min()) >= 1
    assert found[:, 0].min() >= 0 and found[:, 0].max() <= 11
    assert len(random_points(real, 2, np.random.RandomState(0))) == 0


def test_local_support_lies_around_its_query() -> None:
    offsets = Support.parse("local:8").around()
    assert offsets.shape == (64, 2) and not offsets[0].any()
    torch.testing.assert_close(offsets[1], torch.tensor([-24.0, -24.0]))
    torch.testing.assert_close(offsets[2], torch.tensor([-24.0 + 48 / 7, -24.0]))


# -- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("taptr", {"support": "some"}, "support is"),
        ("taptr", {"support": "grid:2+grid:3"}, "support is"),
        ("taptrv2", {"input_size": 32}, "input_size must be at least 64x64"),
        ("taptr", {"hand_on_every": 0}, "hand_on_every must be at least 1"),
        ("taptrv3", {"memory": 0}, "memory must be at least 1"),
        ("taptrv3", {"backbone": "resnet34"}, "backbone of taptrv3 must be"),
        ("taptrv3", {"input_size": "large"}, "input_size of taptrv3 must be"),
        ("taptrv2", {"precision": "half"}, "precision of taptrv2 must be"),
    ],
)
def test_options_that_cannot_be_are_refused(model: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        registry.build(model, None, **options)


def test_bad_input_is_refused_in_a_sentence() -> None:
    tracker = small("taptr")
    with pytest.raises(UsageError, match="taptr needs frames of at least 64x64 pixels, got 60x40"):
        tracker.start((40, 60))
    features = tracker.encode(frames(8))
    wrong = queries(0)
    wrong[0, 1] = float("nan")
    with pytest.raises(QueryError, match="finite"):
        tracker.step(tracker.start(SIZE), features, 0, wrong)
    with pytest.raises(QueryError, match="before its first window"):
        tracker.step(tracker.start(SIZE), features, 4, queries(1))


@BOTH
def test_half_precision_changes_little(model: str) -> None:
    clip, asked = frames(8), queries(0, 2)
    full, half = (windows(small(model, precision=kind), clip, asked, 0)[0] for kind in ("float32", "bfloat16"))
    assert full.dtype == half.dtype == torch.float32
    assert 0 < float((full - half).abs().max()) < 1.0
