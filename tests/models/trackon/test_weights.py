"""Track-On2's checkpoint and the DINOv3 file that it goes with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_track_on import CONFIG, POINTS, SIZE, WEIGHTS, made
from torch import Tensor

import tapkit
from tapkit import weights
from tapkit.cli.main import main
from tapkit.errors import WeightsError
from tapkit.models.trackon.card import DINOV3, TRACK_ON2
from tapkit.models.trackon.tracker import build_track_on2

PREFIX = DINOV3.prefix


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are looked for."""
    monkeypatch.setenv("TAPKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def published() -> dict[str, Tensor]:
    """As the authors' file has them: without the backbone."""
    return {name: value for name, value in WEIGHTS.items() if not name.startswith(PREFIX)}


def backbone() -> dict[str, Tensor]:
    """As Meta's file has them."""
    return {name.removeprefix(PREFIX): value for name, value in WEIGHTS.items() if name.startswith(PREFIX)}


def test_names_are_those_of_both_files() -> None:
    names = published().keys()
    for name in (
        "t_embedding",
        "backbone.pos_embedding",
        "backbone.projections.3.0.weight",
        "backbone.vit_encoder.spm.stem.7.num_batches_tracked",
        "backbone.vit_encoder.interactions.1.extra_extractors.1.attn.sampling_offsets.bias",
        "fpn.lateral16.1.weight",
        "fpn.output.3.bias",
        "memory_attention.1.mha.in_proj_weight",
        "reranking_head.score_layer.bias",
        "prediction_head.offset_layer.0.weight",
        "ms_corr_proj.weight",
    ):
        assert name in names
    assert {"embeddings.mask_token", "layer.3.mlp.gate_proj.weight", "norm.bias"} <= backbone().keys()


def test_the_files_are_put_together(folder: Path, tmp_path: Path) -> None:
    torch.save({"model": {f"module.{name}": value for name, value in published().items()}}, tmp_path / "some.pt")
    save_file(backbone(), folder / DINOV3.file)
    state, path = weights.given_or_official(TRACK_ON2, tmp_path / "some.pt")
    assert state is not None and path is None
    ours = build_track_on2(state, config=CONFIG, resolution=SIZE, support=0, memory_frames=3)
    theirs = made()
    frame = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    for one, other in zip(*(m.step(m.start(SIZE), frame, POINTS)[1] for m in (ours, theirs)), strict=True):
        assert torch.equal(one, other)


def test_a_complete_state_dict_needs_no_file() -> None:
    state, path = weights.given_or_official(TRACK_ON2, WEIGHTS)
    assert path is None and state is not None and state.keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    "call",
    [
        lambda state: tapkit.load("track-on2", weights=state),
        lambda state: build_track_on2(state, config=CONFIG),
    ],
    ids=["load", "build"],
)
def test_without_the_backbone_one_sentence_says_which_file_whose_and_where(
    call: Callable[[dict[str, Tensor]], object], folder: Path
) -> None:
    with pytest.raises(WeightsError) as told:
        call(published())
    sentence = str(told.value)
    for part in ("facebook/dinov3-vits16plus-pretrain-lvd1689m", "Meta", "DINOv3 License", DINOV3.file, str(folder)):
        assert part in sentence
    assert "\n" not in sentence


def test_other_files_are_refused_for_what_they_are(folder: Path) -> None:
    lacking = published()
    del lacking["t_embedding"]
    with pytest.raises(WeightsError, match="not weights of track-on2: it lacks t_embedding"):
        build_track_on2(lacking, config=CONFIG)
    save_file({"cls_token": torch.zeros(1)}, folder / DINOV3.file)
    with pytest.raises(WeightsError, match=r"it lacks backbone\.vit_encoder\.dinov3\.embeddings\.cls_token"):
        build_track_on2(weights.with_backbone(TRACK_ON2, published()), config=CONFIG)
    with pytest.raises(WeightsError, match="has besides"):
        build_track_on2({**WEIGHTS, "extra": torch.zeros(1)}, config=CONFIG)


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Exit code of a command and all that it said."""
    monkeypatch.setattr(sys, "argv", ["tapkit", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    told = capsys.readouterr()
    return int(left.value.code or 0), told.out + told.err


def test_the_command_line_says_whether_both_files_are_here(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TRACK_ON2.weights_file is not None

    def listed() -> str:
        rows = json.loads(command(capsys, monkeypatch, "models", "--json")[1])
        return str(next(row["weights_present"] for row in rows if row["id"] == "track-on2"))

    torch.save(published(), folder / TRACK_ON2.weights_file)
    assert listed() == "False"
    code, said = command(capsys, monkeypatch, "weights", "fetch", "track-on2")
    assert code == WeightsError.exit_code and DINOV3.file in said.replace("\n", "")
    save_file(backbone(), folder / DINOV3.file)
    assert listed() == "True"
    code, said = command(capsys, monkeypatch, "weights", "fetch", "track-on2")
    assert code == 0 and said.split() == [str(folder / TRACK_ON2.weights_file), str(folder / DINOV3.file)]
