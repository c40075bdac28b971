"""`tapkit pseudo-label`, and what `tapkit train` makes of its folder."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace

import pytest
import torch

from tapkit.cli.main import main
from tapkit.cli.pseudo_label import pseudo_label
from tapkit.datasets.folder import FolderDataset
from tapkit.train.config import Stage
from tapkit.train.launch import Data, default_preset, make_source
from tapkit.train.pseudo.options import LabelOptions
from tapkit.train.recipe import recipe
from tapkit.train.schedule import preset
from tapkit.train.strand.presets import PRESETS
from tapkit.train.strand.recipe import VISIBILITY
from tapkit.train.trainer import Trainer

pytest.importorskip("cv2")
SMALL = ["--frames", "8", "--points", "96", "--size", "128x96", "--device", "cpu"]


def tapkit(monkeypatch, *arguments) -> int:
    """The exit code of `tapkit ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["tapkit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_commands_defaults_are_those_of_the_library():
    said = {name: each.default for name, each in inspect.signature(pseudo_label).parameters.items()}
    own = LabelOptions()
    for option, field in (
        ("agree", "agree"), ("within", "agree_within"), ("clips", "pieces"), ("step", "largest_step"),
        ("points", "points"), ("detector", "detector"), ("contrast", "contrast"), ("round_trip", "round_trip"),
        ("least", "least"), ("cuts", "cuts"), ("seed", "seed"), ("device", "device"),
    ):  # fmt: skip
        assert said[option] == getattr(own, field), option
    assert said["teachers"] == ",".join(own.teachers)
    assert said["frames"] == str(own.frames[0]) and said["size"] == f"{own.size[1]}x{own.size[0]}"


def test_a_folder_is_labelled_and_trained_on(write, pan, tmp_path, monkeypatch, capsys):
    videos, out = tmp_path / "videos", tmp_path / "labelled"
    videos.mkdir()
    write(videos / "pan.mp4", pan(20))
    (videos / "notes.txt").write_text("no video")
    (videos / "broken.mp4").write_bytes(b"no video either")
    teachers = ["--teachers", "lucas-kanade,flow-chain", "--agree", "2", "--set", "lucas-kanade:window=13"]
    assert tapkit(monkeypatch, "pseudo-label", videos, out, *teachers, *SMALL) == 1
    said = capsys.readouterr().err
    assert "broken.mp4: failed" in said and "hold up" in said and "notes" not in said
    assert "1 clips of 1 pieces, 1 of 2 videos failed" in said
    assert list(FolderDataset(out).names()) == ["pan.mp4-00"]
    assert (out / "report.html").is_file()

    lines: list[str] = []
    assert default_preset(PRESETS, Data(folder=out), lines.append) == "pseudo-labels" and "pseudo-labels" in lines[0]
    assert default_preset(PRESETS, Data(folder=videos), lines.append) == default_preset(PRESETS, Data(), lines.append)
    source = make_source(preset(PRESETS, "pseudo-labels", 1), tmp_path, torch.device("cpu"), Data(folder=out))
    assert "pseudo-labels of lucas-kanade, flow-chain (2 agreeing)" in source.description


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--teachers", "strnd"], "did you mean 'strand'"),
        (["--teachers", "strand,tapir", "--weights", "x.ckpt"], "--weights needs to say whose: strand=x.ckpt"),
        (["--agree", "2"], "of 1 teachers"),
        (["--frames", "many"], "--frames is a number"),
        (["--size", "96"], "--size"),
    ],
)
def test_nonsense_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, said):
    (tmp_path / "a.mp4").write_bytes(b"")
    assert tapkit(monkeypatch, "pseudo-label", tmp_path / "a.mp4", tmp_path / "out", *arguments) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_model_without_rules_for_students_is_said(tmp_path):
    from tapkit.train.pseudo.dataset import claim

    lines: list[str] = []
    claim(tmp_path / "out", LabelOptions())
    assert default_preset({"finetune": None}, Data(folder=tmp_path / "out"), lines.append) == "finetune"
    assert "visibility is learned from them too" in lines[0]


def test_cotracker3_learns_from_labels_as_its_paper_does(drift):
    settings = {}
    for model in ("cotracker3-online", "cotracker3-offline"):
        config = recipe(model).presets["pseudo-labels"]
        assert not config.settings.judge and config.settings.occluded and config.settings.gamma == 0.8
        assert (config.learning_rate, config.weight_decay, config.clip_norm, config.warmup) == (5e-5, 1e-5, 10.0, 0)
        settings[model] = config.stages[0]
    assert (settings["cotracker3-online"].frames, settings["cotracker3-online"].points) == (64, 384)
    assert (settings["cotracker3-offline"].least_frames, settings["cotracker3-offline"].frames) == (40, 79)
    tiny = recipe("cotracker3-online").presets["tiny-pseudo-labels"]
    config = replace(tiny, stages=(Stage(steps=1, size=64, frames=8, batch=1, points=8),))
    device = torch.device("cpu")

    class Unknown:
        """Half of the tracks are of a teacher that says nothing of hidden points."""

        description = ""

        def batch(self, stage, seed):
            batch = drift().batch(stage, seed)
            visible = batch.visible.clone()
            visible[..., 4:] = False
            known = visible.clone()
            known[:, :4] = True
            xy = torch.where(known[..., None], batch.xy, torch.nan)
            return batch._replace(xy=xy, visible=visible, known=known)

    trainer = Trainer(config, recipe(config.model).build(config, device), Unknown(), device, "float32")
    before = {name: value.clone() for name, value in trainer.tensors().items()}
    said = trainer.train_step()
    assert 0 < said["loss"] < float("inf") and said["occluded_position"] > 0
    changed = {name for name, value in trainer.network.named_parameters() if not torch.equal(value, before[name])}
    assert not any("vis_conf_head" in name for name in changed)
    assert any("flow_head" in name for name in changed) and any(name.startswith("fnet") for name in changed)


def test_visibility_and_confidence_stand_still_and_all_else_learns(drift):
    stage = Stage(steps=1, size=64, frames=3, batch=1, points=8)
    config = replace(preset(PRESETS, "pseudo-labels", 1), stages=(stage,))
    device = torch.device("cpu")
    trainer = Trainer(config, recipe("strand").build(config, device), drift(), device, "float32")
    before = {name: value.clone() for name, value in trainer.tensors().items()}
    trainer.train_step()
    changed = {name for name, value in trainer.network.named_parameters() if not torch.equal(value, before[name])}
    assert not any(name.startswith(VISIBILITY) for name in changed)
    assert {name.split(".")[0] for name in changed} >= {"encoder", "look", "score", "recurrent"}
