"""A trainer: what a stage optimises, averages, gradients that are not finite; and any `Trainable` will do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tapkit.errors import UsageError
from tapkit.train.batch import Batch, Predictions, Queries
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.recipe import Loss
from tapkit.train.strand import recipe as strand
from tapkit.train.trainer import Diverged, Trainer
from tapkit.train.validate import on_batches

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    stages=(
        Stage(2, 64, 3, 2, 6, task="matching", learning_rate=1e-3),
        Stage(2, 64, 4, 1, 6, train_encoder=False),
        Stage(2, 64, 4, 1, 6, truncate=2, learning_rate=3e-4),
    ),
    warmup=2,
    ema_decay=0.9,
)


def trainer(source, config: TrainConfig = CONFIG) -> Trainer:
    return Trainer(config, strand.build(config, CPU), source, CPU, "float32")


def copied(of: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in of.tensors().items()}


def test_a_stage_changes_what_it_trains_and_nothing_else(drift):
    run = trainer(drift())
    changed = []
    for _ in range(3):
        before = copied(run)
        for _ in range(2):
            run.train_step()
        after = copied(run)
        changed.append({name for name, value in before.items() if not torch.equal(value, after[name])})
    features, tracking, all_ = changed
    assert {name.split(".")[0] for name in features} == {"encoder", "temperature", "look"}
    assert {name for name in features if name.startswith("look")} == {"look.sharpness"}
    assert any("running_mean" in name for name in features)
    assert not any(name.startswith("encoder") for name in tracking) and "recurrent.of_state.weight" in tracking
    assert any(name.startswith("encoder") for name in all_)
    assert not any("running" in name for name in all_), "statistics are gathered in matching alone"


def test_the_average_leaves_pretrained_weights_slowly_and_random_ones_quickly(drift):
    config = TrainConfig((Stage(3, 64, 3, 1, 6),), warmup=2, ema_decay=0.9)
    pretrained = trainer(drift(), config)
    pretrained.start_from(copied(pretrained), "strand.safetensors")
    for trained in (trainer(drift(), config), pretrained):
        before = trained.average["look.sharpness"].clone()
        trained.train_step()
        now = trained.network.look.sharpness.detach()
        share = (trained.average["look.sharpness"] - before) / (now - before)
        slow = 1 - config.ema_decay if trained is pretrained else 1 - 2 / 11
        torch.testing.assert_close(share, torch.full_like(share, slow), rtol=0.2, atol=1e-3)


def test_averaged_weights_are_in_the_network_inside_the_with_alone(drift):
    run = trainer(drift())
    run.train_step()
    own = copied(run)
    with run.averaged() as averaged:
        assert torch.equal(averaged.network.temperature, run.average["temperature"])
    assert all(torch.equal(value, own[name]) for name, value in run.tensors().items())
    assert not torch.equal(own["temperature"], run.average["temperature"])


def test_gradients_that_are_not_finite_are_skipped_but_not_for_ever(drift):
    run = trainer(drift())
    before = copied(run)
    for p in run.network.parameters():
        p.grad = torch.full_like(p, float("nan"))
    for _ in range(20):
        run._apply_gradients(run.stage)
    assert all(torch.equal(value, before[name]) for name, value in run.tensors().items())
    with pytest.raises(Diverged, match="20 steps"):
        run._apply_gradients(run.stage)


def test_settings_of_another_recipe_are_refused():
    with pytest.raises(UsageError, match="StrandSettings"):
        strand.build(TrainConfig(CONFIG.stages, settings="none"), CPU)


class Shift:
    """A network that says that every point moves by one learned vector a frame, as a `Trainable`."""

    reported = ("error",)

    def __init__(self) -> None:
        self.network = nn.ParameterDict({"speed": nn.Parameter(torch.zeros(2))})

    def shown(self, stage: Stage) -> tuple[str, ...]:
        return self.reported

    def prepare(self, stage: Stage) -> None:
        self.network.train()

    def statistics(self, stage: Stage) -> list[Tensor]:
        return []

    def losses(self, batch: Batch, stage: Stage, seed: int) -> Iterator[Loss]:
        for clip in range(len(batch.video)):
            error = (batch.xy[clip, :, 1:] - batch.xy[clip, :, :-1] - self.network["speed"]).square().mean()
            yield Loss(error / len(batch.video), {"error": error.detach() / len(batch.video)})

    @torch.no_grad()
    def predict(self, batch: Batch, queries: Queries) -> Predictions:
        frame = torch.arange(batch.video.shape[1])
        start = batch.xy.gather(2, queries.frame.clamp(max=len(frame) - 1)[..., None, None].expand(-1, -1, 1, 2))
        xy = start + (frame - queries.frame[..., None])[..., None] * self.network["speed"]
        return Predictions(xy, torch.ones_like(xy[..., 0]), torch.ones_like(xy[..., 0]))


def test_another_network_is_trained_by_the_same_trainer():
    class Moving:
        description = "points that move by (3, -2)"

        def batch(self, stage: Stage, seed: int) -> Batch:
            start = torch.rand(stage.batch, stage.points, 1, 2, generator=torch.Generator().manual_seed(seed)) * 20 + 22
            xy = start + torch.tensor([3.0, -2.0]) * torch.arange(stage.frames)[:, None]
            seen = torch.ones(xy.shape[:3], dtype=torch.bool)
            video = torch.zeros(stage.batch, stage.frames, 3, stage.size, stage.size, dtype=torch.uint8)
            return Batch(video, xy, seen, seen)

    config = TrainConfig((Stage(60, 64, 8, 2, 6),), learning_rate=0.2, warmup=5, ema_decay=0.5)
    run = Trainer(config, Shift(), Moving(), CPU, "float32")
    losses = [run.train_step() for _ in range(config.steps)]
    assert losses[-1]["error"] < 0.05 * losses[0]["error"] and set(losses[0]) == {"error", "loss"}
    with run.averaged() as averaged:
        assert on_batches(averaged, Moving(), config.stages[0], 2).delta_avg > 80


class Steady:
    """Batches whose points move by as many pixels as their seed says."""

    description = "points that move steadily"

    def batch(self, stage: Stage, seed: int) -> Batch:
        xy = torch.arange(stage.frames).float()[:, None] * torch.tensor([1.0, 0.0]) * (1 + seed % 4)
        seen = torch.ones(stage.batch, 1, stage.frames, dtype=torch.bool)
        video = torch.zeros(stage.batch, stage.frames, 3, 64, 64, dtype=torch.uint8)
        return Batch(video, xy.expand(stage.batch, 1, -1, -1), seen, seen)


def test_gradients_of_accumulated_batches_are_those_of_one_step_over_all():
    stage = Stage(4, 64, 5, 1, 1)
    run = Trainer(TrainConfig((stage,), accumulate=4, warmup=0, clip_norm=None), Shift(), Steady(), CPU, "float32")
    reported = run.train_step()
    # The mean over the four batches' gradients, and of their losses.
    expected = [torch.tensor([-2 * (1.0 + seed), 0.0]) / 2 for seed in range(4)]
    torch.testing.assert_close(run.network["speed"].grad, torch.stack(expected).mean(0))
    assert reported["loss"] == pytest.approx(sum((1 + seed) ** 2 / 2 for seed in range(4)) / 4)
    assert run.clips == 4 and run.step == 1


def test_weight_decay_spares_what_the_configuration_names():
    network = nn.Linear(2, 2)
    names = {id(p): name for name, p in network.named_parameters()}
    for undecayed, expected in ((None, {"weight"}), ((), {"weight", "bias"}), (("*weight*",), {"bias"})):
        shift = Shift()
        shift.network = network  # type: ignore[assignment]
        run = Trainer(TrainConfig((Stage(1, 64, 5, 1, 1),), undecayed=undecayed), shift, Steady(), CPU, "float32")
        decayed = run.optimizer.param_groups[0]
        assert {names[id(p)] for p in decayed["params"]} == expected and decayed["weight_decay"] > 0
