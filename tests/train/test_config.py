"""Configurations: plain values and back, also by the names that older versions gave them; refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tapkit.errors import StorageError, UsageError
from tapkit.train.config import ClipCache, Stage, TrainConfig
from tapkit.train.recipe import RECIPES, recipe
from tapkit.train.strand.settings import LossWeights, StrandSettings

OLD = {
    "stages": [
        {"steps": 5, "size": 64, "frames": 4, "batch": 2, "points": 8, "speed": 3.0, "solids": 0.5, "truncate": 0,
         "task": "pairs", "encoder": True, "rate": 1e-3},
        {"steps": 7, "size": 96, "frames": 12, "batch": 1, "points": 9, "speed": 1.0, "solids": 0.25, "truncate": 6,
         "task": "clips", "encoder": False, "rate": None},
    ],
    "rate": 5e-4, "last_rate": 0.1, "warmup": 3, "decay": 2e-4, "clip": 0.5, "ema": 0.99, "radius": 6.0, "fade": 0.9,
    "haze": 0.1, "stray": 0.3, "mislead": 0.2, "seed": 4,
    "pool": {"clips": 12, "size": 128, "frames": 10, "points": 20, "speeds": [0.5, 1.0], "solids": 0.1},
    "weights": {"position": 1.1, "refined": 0.6, "hidden": 0.2, "matching": 0.7, "around": 0.4, "score": 0.35,
                "visible": 0.55, "confidence": 0.31},
}  # fmt: skip
NEW = TrainConfig(
    stages=(
        Stage(5, 64, 4, 2, 8, speed=3.0, solids=0.5, task="matching", learning_rate=1e-3),
        Stage(7, 96, 12, 1, 9, truncate=6, train_encoder=False),
    ),
    learning_rate=5e-4,
    final_rate=0.1,
    warmup=3,
    weight_decay=2e-4,
    clip_norm=0.5,
    ema_decay=0.99,
    seed=4,
    cache=ClipCache(12, 128, 10, 20, (0.5, 1.0), 0.1),
    settings=StrandSettings(
        confidence_radius=6.0,
        template_decay=0.9,
        feature_noise=0.1,
        drift_noise=0.3,
        hard_negatives=0.2,
        loss_weights=LossWeights(1.1, 0.6, 0.2, 0.7, 0.4, 0.35, 0.55, 0.31),
    ),
)


@pytest.mark.parametrize("model", list(RECIPES))
def test_presets_survive_json(model):
    for config in recipe(model).presets.values():
        assert config.model == model
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_configuration_without_settings_survives_json():
    config = TrainConfig((Stage(1, 64, 4, 1, 1),))
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_names_of_older_versions_are_read():
    assert TrainConfig.from_dict(OLD) == NEW
    # What they did not have yet keeps its default.
    first = {name: value for name, value in OLD.items() if name not in ("haze", "stray", "mislead", "pool")}
    read = TrainConfig.from_dict(first)
    assert read.cache is None and read.settings.feature_noise == StrandSettings().feature_noise


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(StorageError, match="colour"):
        TrainConfig.from_dict({**OLD, "colour": 1})
    with pytest.raises(StorageError, match="width"):
        TrainConfig.from_dict({**OLD, "stages": [{**OLD["stages"][0], "width": 1}]})
    with pytest.raises(StorageError, match="frames"):
        TrainConfig.from_dict({**OLD, "stages": [{"steps": 1, "size": 64}]})


def test_the_card_of_the_packages_weights_can_be_read_as_configurations():
    import tapkit.models

    (path,) = Path(tapkit.models.__file__).parent.rglob("strand.json")
    card = json.loads(path.read_text())
    for part in card["config"].values():
        stages = [Stage(**stage) for stage in part.pop("stages", [])] or [Stage(1, 64, 4, 1, 1)]
        config = TrainConfig.from_dict({**part, "stages": [vars(stage) for stage in stages]})
        assert config.cache is not None and 0.9 <= config.settings.template_decay <= 0.93


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="multiple of 16"):
        Stage(1, 100, 4, 1, 1)
    with pytest.raises(UsageError, match="tracking or matching"):
        Stage(1, 64, 4, 1, 1, task="pairs")  # type: ignore[arg-type]
    for share in (-0.1, 1.1):
        with pytest.raises(UsageError, match="crowded"):
            Stage(1, 64, 4, 1, 1, crowded=share)
    with pytest.raises(UsageError, match="hard_negatives"):
        StrandSettings(hard_negatives=1.5)
    with pytest.raises(UsageError, match="cannot be trained"):
        recipe("lucas-kanade")


@pytest.mark.parametrize("model", list(RECIPES))
def test_every_recipe_has_presets_that_build(model):
    import torch

    found = recipe(model)
    assert found.model == model and found.presets
    for config in found.presets.values():
        # Without memory where that can be: most of the published networks are large.
        device = "cpu" if model in ("strand", "gmrw") else "meta"
        trainable = found.build(config, torch.device(device))
        assert all(value.is_floating_point() for value in trainable.network.state_dict().values())
        assert set(trainable.shown(config.stages[0])) <= set(trainable.reported)
