"""TAPTRv3: memory, patches, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from taptr_tools import SIZE, frames, queries, small, streamed, weights

from tapkit.errors import QueryError, WeightsError
from tapkit.models.taptr.decoder3 import LongAttention, Past, neighbours, rotated
from tapkit.models.taptr.tracker3 import Taptr3Options, build
from tapkit.models.taptr.window import Window


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def test_codes_turn_pairs_by_how_long_ago_it_was() -> None:
    """As complex numbers: pair k times exp(i p 10000^(-2k/C))."""
    x = torch.randn(2, 3, 8)
    ours = rotated(x, torch.tensor([2, 1, 0]))
    for m, back in enumerate((2, 1, 0)):
        for k in range(4):
            turn = complex(math.cos(angle := back * 10000 ** (-2 * k / 8)), math.sin(angle))
            z = complex(*x[1, m, 2 * k : 2 * k + 2].tolist()) * turn
            assert abs(z - complex(*ours[1, m, 2 * k : 2 * k + 2].tolist())) < 1e-5
    torch.testing.assert_close(ours[:, 2], x[:, 2])


def test_attention_to_the_past_is_the_formula() -> None:
    """Head by head in loops: softmax, then visibility, then 1 again; frames without the point do not count."""
    torch.manual_seed(0)
    module = LongAttention().eval()
    x, content = torch.randn(2, 256), torch.randn(2, 4, 256)
    weight = torch.tensor([[0.0, 0.0, 1.0, 0.001], [1.0, 0.3, 0.9, 0.001]])
    past = Past(content, weight)
    ours = module(x, past, past.turned())
    w, b = module.query_key.weight, module.query_key.bias
    turned = rotated(content, torch.tensor([3, 2, 1, 0]))
    for n in range(2):
        heads = []
        for h in range(8):
            rows = slice(32 * h, 32 * h + 32)
            q = w[:256][rows] @ x[n] + b[:256][rows]
            entries = [m for m in range(4) if weight[n, m] > 0]
            scores = torch.stack([q @ (w[256:][rows] @ turned[n, m] + b[256:][rows]) for m in entries]) / 32**0.5
            share = scores.softmax(0) * weight[n, entries]
            share = share / (share.sum() + 1e-7)
            values = [module.value.weight[rows] @ content[n, m] + module.value.bias[rows] for m in entries]
            heads.append(sum(s * v for s, v in zip(share, values, strict=True)))
        torch.testing.assert_close(ours[n], module.out_proj(torch.cat(heads)), atol=1e-5, rtol=1e-4)


def test_x_is_the_slow_index_of_a_patch() -> None:
    assert neighbours(torch.zeros(1)).tolist()[:4] == [[-1, -1], [-1, 0], [-1, 1], [0, -1]]


@pytest.mark.parametrize("many", [False, True], ids=["few points", "many points"])
def test_what_is_fast_is_the_formula(many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against `grid_sample`, whole projected frames and a past projected anew; points that join on the way."""
    from calls._taptr_plain import plainly

    monkeypatch.setattr(Window, "many", lambda self, rows: many)
    tracker, clip, asked = small("taptrv3"), frames(5), queries(0, 0, 2, 3)
    _, ours = streamed(tracker, clip, asked)
    plainly(tracker.network)
    _, theirs = streamed(tracker, clip, asked)
    assert (ours[4][0] - ours[0][0]).abs().max() > 0.1, "no point moved, so this shows nothing"
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


def test_a_point_remembers_as_many_frames_as_it_is_told() -> None:
    """The state grows up to that, and not beyond; as long as it is enough nothing changes."""
    clip, asked = frames(6), queries(0, 1)
    all_of_it, whole = streamed(small("taptrv3", memory=None), clip, asked)
    enough, same = streamed(small("taptrv3", memory=6), clip, asked)
    short, other = streamed(small("taptrv3", memory=2), clip, asked)
    last, _ = streamed(small("taptrv3", memory=1), clip, asked)
    assert [state.content.shape[1] for state in (all_of_it, enough, short, last)] == [6, 6, 2, 1]
    torch.testing.assert_close(torch.stack(whole[1:]), torch.stack(same[1:]))
    torch.testing.assert_close(other[2], whole[2], atol=1e-4, rtol=0)
    assert not torch.allclose(other[5], whole[5], atol=1e-4)
    assert Taptr3Options().memory == 512


def test_frames_before_a_point_do_not_matter_to_it() -> None:
    """A point alone on frames 2.. is tracked as if the clip began there."""
    tracker, clip = small("taptrv3"), frames(6)
    asked = queries(2)
    _, late = streamed(tracker, clip, asked)
    _, cut = streamed(tracker, clip[2:], asked - torch.tensor([2.0, 0, 0]))
    torch.testing.assert_close(torch.stack(late[2:]), torch.stack(cut), atol=1e-4, rtol=0)


def test_frames_without_points_are_not_looked_at() -> None:
    tracker = small("taptrv3")
    tracker.network.encode = None
    state, prediction = tracker.step(tracker.start(SIZE), frames(1)[0], torch.zeros(0, 2))
    assert int(state.now) == 1 and prediction.xy.shape == (0, 2)


def test_support_points_join_on_their_frames() -> None:
    tracker = small("taptrv3", support="local:2+grid:3")
    state, found = streamed(tracker, frames(3), queries(0, 1))
    assert [len(xy) for xy in found] == [1, 2, 2]
    assert len(state.t) == 2 * 4 + 9 and int(state.shared) == 9
    assert torch.equal(state.begun, state.t <= 2)
    assert not state.weight[~state.begun].any()


def test_the_backbone_is_read_off_the_weights() -> None:
    tracker = build(weights("taptrv3"))
    assert tracker.network.depth == 18 and tracker.card.input_size == (384, 512)
    assert build(None, backbone="resnet50").card.input_size == (512, 512)
    freqs = {"transformer.decoder.layers.0.ltemp_self_attn.lta_temporal_embedding.freqs": torch.zeros(128)}
    assert build({**weights("taptrv3"), **freqs}).network.depth == 18
    with pytest.raises(WeightsError, match="for resnet18, not resnet50"):
        build(weights("taptrv3"), backbone="resnet50")


def test_bad_input_is_refused_in_a_sentence() -> None:
    tracker = small("taptrv3")
    with pytest.raises(QueryError, match="finite"):
        tracker.step(tracker.start(SIZE), frames(1)[0], torch.tensor([[float("nan"), 3.0]]))


def test_half_precision_changes_little() -> None:
    clip, asked = frames(4), queries(0, 1)
    full, half = (streamed(small("taptrv3", precision=kind), clip, asked)[1][-1] for kind in ("float32", "bfloat16"))
    assert full.dtype == half.dtype == torch.float32
    assert 0 < float((full - half).abs().max()) < 1.0
