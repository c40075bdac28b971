"""The fit: a step's losses, going on from a checkpoint, and the method from a clip to answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tapkit.coords import resize
from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError, WeightsError
from tapkit.per_video.dino_tracker import losses
from tapkit.per_video.dino_tracker.fit import DinoTrackerFit
from tapkit.per_video.dino_tracker.method import METHOD
from tapkit.per_video.dino_tracker.model import visible
from tapkit.per_video.dino_tracker.options import PRESETS, DinoTrackerOptions
from tapkit.per_video.dino_tracker.tracking import Found
from tapkit.per_video.method import Place
from tapkit.per_video.prepare.store import Prepared

sys.path.insert(0, str(Path(__file__).parent))
from made_clip import GRID, SIZE, material

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "steps": 8, "max_side": None, "flow": "dis", "backbone": "untrained", "frames": 2, "pairs": 48, "reach": 2,
}  # fmt: skip


class Tokens:
    """Frozen features of eight channels."""

    def __getitem__(self, frame: int) -> np.ndarray:
        return np.random.default_rng(frame).normal(size=(8, *GRID.shape)).astype(np.float16)


def small_fit(tmp_path: Path, seed: int = 0) -> DinoTrackerFit:
    frames = np.random.default_rng(0).integers(0, 255, (6, *SIZE, 3)).astype(np.uint8)
    options = DinoTrackerOptions.of("dino-tracker", SMALL)
    return DinoTrackerFit(Prepared(tmp_path, frames), Tokens(), material(), options, seed, CPU)  # type: ignore[arg-type]


def test_a_fit_goes_on_from_its_state_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, curve = small_fit(tmp_path), []
    for index in range(4, 7):
        curve.append(whole.step(index, 8))
        if index == 4:
            state = whole.state()
            kept = state._replace(
                model={name: tensor.clone() for name, tensor in state.model.items()},
                training={name: tensor.clone() for name, tensor in state.training.items()},
            )
    resumed = small_fit(tmp_path, seed=0)
    resumed.load_state(kept)
    assert [resumed.step(index, 8) for index in (5, 6)] == curve[1:]
    assert small_fit(tmp_path).step(4, 8) == curve[0]
    assert small_fit(tmp_path, seed=1).step(4, 8) != curve[0]
    with pytest.raises(WeightsError, match="not weights of dino-tracker"):
        resumed.load_state(kept._replace(model={}))


def test_losses_join_in_halfway_and_the_rate_falls(tmp_path: Path) -> None:
    fit = small_fit(tmp_path)
    early, late = fit.step(3, 8), fit.step(4, 8)
    assert set(early) == {"total", *losses.WEIGHTS} == set(late)
    assert early["cycle"] == early["refined_buddies"] == 0
    assert late["refined_buddies"] > 0 and early["raw_buddies"] > 0 and early["flow"] > 0
    for found in (early, late):
        weighted = sum(losses.WEIGHTS[name] * found[name] for name in losses.WEIGHTS)
        assert found["total"] == pytest.approx(weighted, rel=1e-5)
    rates = [group["lr"] for group in fit.optimizer.param_groups]
    assert rates == pytest.approx([0.01 * 0.999 ** (5000 // 40), 0.01])


def test_p_visible_keeps_the_authors_answer() -> None:
    generator = torch.Generator().manual_seed(0)
    cosine = torch.rand(40, 7, generator=generator) * 0.6 + 0.4
    anchors = cosine > 0.7
    anchors[:, 0] = True
    found = Found(torch.zeros(40, 7, 2), cosine, anchors, torch.rand(40, 7, generator=generator) * 5)
    probability, hidden = visible(found), found.hidden()
    assert 0.2 < hidden.float().mean() < 0.9
    assert torch.equal(probability > 0.5, ~hidden)
    assert float(probability.min()) >= 0 and float(probability.max()) <= 1
    nothing = Found(torch.zeros(1, 1, 2), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1))
    assert float(visible(nothing)) > 0.8  # a clip in which nothing moves: the limit is 0, and is not exceeded


@pytest.fixture
def prepared(tmp_path: Path, moving_clip: tuple[np.ndarray, np.ndarray]) -> Prepared:
    return Prepared(tmp_path, moving_clip[0][:5])


def test_from_a_clip_to_answers(prepared: Prepared) -> None:
    options = DinoTrackerOptions.of("dino-tracker", SMALL)
    said: list[str] = []
    METHOD.prepare(prepared, options, CPU, lambda what, done, total: said.append(what))
    assert list(dict.fromkeys(said)) == ["tokens", "flow", "mask", "trajectories", "foreground", "buddies"]
    said.clear()
    METHOD.prepare(prepared, options, CPU, lambda what, done, total: said.append(what))
    assert not said, "all is there already"
    fit = METHOD.build(prepared, options, 0, CPU)
    assert fit.step(0, 8)["total"] > 0 and fit.step(7, 8)["total"] > 0
    model = METHOD.answer(fit.state().model, Place(5, prepared.size), options.to_json())
    frames = torch.from_numpy(np.array(prepared.frames)).permute(0, 3, 1, 2)
    features = model.encode(frames)
    kept = fit.encoded()  # from the tokens that were prepared, in half precision
    assert torch.equal(kept.pictures, features.pictures)
    assert torch.allclose(kept.maps, features.maps, atol=0.01 * float(features.maps.abs().max()))
    x, y = np.meshgrid(np.arange(25.0, 75, 12), np.arange(20.0, 50, 12))
    queries = torch.from_numpy(np.stack([np.full(x.size, 2), x.ravel(), y.ravel()], 1).astype(np.float32))
    found = model.track(features, prepared.size, queries)
    assert found.xy.shape == (len(queries), 5, 2) and found.visible.shape == (len(queries), 5)
    assert torch.isfinite(found.xy).all() and ((found.visible > 0) & (found.visible < 1)).all()
    assert found.confidence[:, 2].numpy() == pytest.approx(1.0, abs=1e-5)  # how alike it looks to its query's frame
    doubled = model.track(features, tuple(2 * side for side in prepared.size), queries * torch.tensor([1, 2, 2]))
    assert torch.allclose(doubled.xy, 2 * found.xy, atol=0.05)
    tracks = Tracker(model, "").track(np.array(prepared.frames), [(2, 30.5, 30.0), (4, 50.0, 20.0)])
    assert np.array_equal(tracks.xy[[0, 1], [2, 4]], np.float32([(30.5, 30.0), (50.0, 20.0)]))
    assert tracks.valid.all() and tracks.source.model == "dino-tracker"
    with pytest.raises(UsageError, match="a video of 5 frames, and this one has 4"):
        model.track(type(features)(*(part[:4] for part in features)), prepared.size, queries)


def test_a_picture_of_the_features(prepared: Prepared, tmp_path: Path) -> None:
    options = DinoTrackerOptions.of("dino-tracker", {**SMALL, "buddies": False})
    METHOD.prepare(prepared, options, CPU, lambda what, done, total: None)
    fit = METHOD.build(prepared, options, 0, CPU)
    (picture,) = fit.pictures(tmp_path)
    assert (tmp_path / picture.file).stat().st_size > 1000 and "refined" in picture.caption


def test_a_clip_in_which_no_flow_agrees_is_refused(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by a flow that never returns."""

    class Astray:
        reach = 1

        def flow(self, first: int, second: int) -> np.ndarray:
            return np.broadcast_to(np.float16([5, 0]), (*prepared.size, 2))

    monkeypatch.setattr("tapkit.per_video.dino_tracker.method.pair_flows", lambda *_: Astray())
    with pytest.raises(UsageError, match="no two neighbouring frames agree by flow"):
        METHOD.prepare(prepared, DinoTrackerOptions.of("dino-tracker", SMALL), CPU, lambda what, done, total: None)


def test_masks_of_ones_own_serve_without_the_backbones_last_block(prepared: Prepared, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "given"
    folder.mkdir()
    for frame in range(5):
        mask = np.zeros(prepared.size, np.uint8)
        mask[20:40, 30:60] = 255
        Image.fromarray(mask).save(folder / f"{frame}.png")
    options = DinoTrackerOptions.of("dino-tracker", {**SMALL, "masks": str(folder)})
    METHOD.prepare(prepared, options, CPU, lambda what, done, total: None)
    assert len(list(prepared.folder.glob("tokens-*"))) == 1
    drawn = METHOD.build(prepared, options, 0, CPU).step(0, 8)
    assert drawn["total"] > 0


def test_presets_and_options_are_checked() -> None:
    assert set(PRESETS) == {"paper", "fast", "cpu"}
    for options in PRESETS.values():
        options.check()
    paper = PRESETS["paper"]
    assert (paper.steps, paper.pairs, paper.frames, paper.backbone) == (10_000, 512, 4, "dinov2-vitl14")
    for wrong in ({"backbone": "dino"}, {"pairs": 1}, {"reach": 0}, {"every": 0}):
        with pytest.raises(UsageError):
            DinoTrackerOptions.of("dino-tracker", wrong)


def test_sizes_scale_from_the_clip_to_the_model() -> None:
    assert resize(torch.tensor([[72.0, 60.0]]), SIZE, GRID.size).tolist() == [[70.0, 56.0]]
