"""Backbones and the tables of their tokens."""

from __future__ import annotations

import urllib.error
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from tapkit.errors import UsageError, WeightsError
from tapkit.nn.dinov2 import DinoV2, DinoV2Config
from tapkit.per_video.prepare import tokens
from tapkit.per_video.prepare.store import Prepared
from tapkit.per_video.prepare.tokens import BACKBONES, Reading, blurred, load, token_tables, unit_tokens

TINY = DinoV2Config(24, 3, 2)
CPU = torch.device("cpu")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A published backbone of small size, and its file under the published name."""
    torch.manual_seed(0)
    file = tmp_path / "weights" / "dinov2_vits14_pretrain.pth"
    file.parent.mkdir()
    torch.save(DinoV2(TINY).state_dict(), file)
    small = replace(BACKBONES["dinov2-vits14"], config=TINY, track_block=1)
    monkeypatch.setattr(tokens, "BACKBONES", MappingProxyType({**BACKBONES, "dinov2-vits14": small}))
    return file


def test_blocks_are_as_far_in_as_the_published_one() -> None:
    blocks = {id: backbone.track_block for id, backbone in BACKBONES.items()}
    assert blocks["dinov2-vitl14"] == 15
    assert [blocks[f"dinov2-vit{letter}14"] for letter in "sbg"] == [7, 7, 25]


def test_the_published_file_is_found_and_must_fit(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tiny.parent))
    network = load("dinov2-vits14")
    state = torch.load(tiny, weights_only=True)
    assert torch.equal(network.blocks[2].mlp.fc2.weight, state["blocks.2.mlp.fc2.weight"])
    assert not any(parameter.requires_grad for parameter in network.parameters())
    del state["blocks.1.ls2.gamma"]
    torch.save({**state, "register_tokens": torch.zeros(1, 4, 24)}, tiny)
    with pytest.raises(WeightsError, match=r"lacks blocks\.1\.ls2\.gamma; it has besides register_tokens"):
        load("dinov2-vits14", str(tiny))


def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("tapkit.weights.download.fetch", no_network)
    with pytest.raises(WeightsError) as error:
        load("dinov2-vitl14")
    text = str(error.value)
    assert "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth" in text
    assert str(tmp_path) in text and "\n" not in text
    with pytest.raises(UsageError, match=r"no backbone 'dinov2-vitl'; did you mean 'dinov2-vitl14'\?"):
        load("dinov2-vitl")
    with pytest.raises(WeightsError, match="there is no weights file"):
        Reading("dinov2-vits14", (56, 56), 7, str(tmp_path / "none.pth")).facts(0)


def test_untrained_is_the_same_everywhere_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    first = load("untrained").blocks[1].attn.qkv.weight
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(load("untrained").blocks[1].attn.qkv.weight, first)


def test_tables_are_filled_once_and_only_where_something_is_missing(tiny: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 60, 75, 3)).astype(np.uint8)
    clip = Prepared(tmp_path / "prepared", frames)
    reading = Reading("dinov2-vits14", (56, 70), 7, str(tiny))
    said: list[tuple[int, int]] = []

    def report(what: str, done: int, total: int) -> None:
        said.append((done, total))

    middle, last = token_tables(clip, reading, (1, None), CPU, report)
    assert middle[0].shape == last[0].shape == (24, 7, 9) and middle[0].dtype == np.float16
    assert middle.folder != last.folder and said == [(0, 3), (1, 3), (2, 3), (3, 3)]
    network = load("dinov2-vits14", str(tiny))
    images = tokens.normalised(reading.resized(tokens.frames_of(clip, [2])))
    assert np.abs(middle[2] - network(images, 7, 1)[0].numpy()).max() < 2e-3
    assert unit_tokens(last, 1).norm(dim=1).numpy() == pytest.approx(1.0, abs=1e-5)
    before = middle.path(1).stat().st_mtime_ns, middle.path(0).read_bytes()
    middle.path(0).unlink()
    said.clear()
    token_tables(clip, reading, (1, None), CPU, report)
    assert said == [(2, 3), (3, 3)]
    assert before == (middle.path(1).stat().st_mtime_ns, middle.path(0).read_bytes())
    said.clear()
    token_tables(clip, reading, (1, None), CPU, report)
    assert not said


def test_the_blur_is_opencvs() -> None:
    cv = pytest.importorskip("cv2")
    frames = np.random.default_rng(0).integers(0, 255, (2, 20, 31, 3)).astype(np.uint8)
    ours = blurred(torch.from_numpy(frames).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    theirs = np.stack([cv.GaussianBlur(frame, (9, 9), 0) for frame in frames])
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
