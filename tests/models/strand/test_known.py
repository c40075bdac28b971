"""What strand's backbone knew before anything was learned: read at the right places, looked for, kept with a point."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tapkit.models.strand.encoder import Maps, StrandConfig, _cells, config_of
from tapkit.models.strand.matching import coarse_to_fine, everywhere
from tapkit.models.strand.network import Network
from tapkit.models.strand.tracker import build
from tapkit.models.strand.whole_clip import build_clip
from tapkit.nn.efficientnet_lite import OFF, STRIDES, EfficientNetLite0

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
import lite0_backbone

KNOWN = StrandConfig(encoder="lite0", evidence=True, known=(8, 12))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(3)
    return Network(KNOWN).eval().requires_grad_(False)


@pytest.mark.parametrize("number", [3, 4])
def test_cells_of_the_backbone_are_read_where_they_are_not_where_they_should_be(number):
    stride, off = STRIDES[number], OFF[number]
    # A map that tells where its cells are: the middle of cell i lies at stride * (i + 1/2) + off.
    height, width = 160, 224
    y, x = (stride * (torch.arange(side // stride) + 0.5) + off for side in (height, width))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1])[None]
    grid = torch.tensor(_cells(height // 16, width // 16, height, width, off))[None]
    read = F.grid_sample(places, grid, padding_mode="border", align_corners=False)[0]
    wanted = torch.stack(torch.meshgrid(torch.arange(10) * 16 + 8.0, torch.arange(14) * 16 + 8.0, indexing="ij")[::-1])
    torch.testing.assert_close(read[:, 2:-2, 2:-2], wanted[:, 2:-2, 2:-2], atol=1e-3, rtol=0)


def test_it_is_two_vectors_side_by_side_also_where_32_does_not_divide_a_side(network):
    maps = network.encode(torch.randint(0, 255, (2, 3, 80, 112), dtype=torch.uint8))
    assert maps.known.shape == (2, 5, 7, 20) and maps.known.is_contiguous()
    for part in (maps.known[..., :8], maps.known[..., 8:]):
        lengths = part.norm(dim=-1)
        assert (lengths <= 1 + 1e-5).all() and (lengths > 0.2).all()  # means of neighbours are shorter


def test_a_point_is_found_by_it_where_the_learned_maps_tell_nothing_apart(network):
    generator = torch.Generator().manual_seed(1)
    flat = [F.normalize(torch.ones(1, 160 // s, 224 // s, c), dim=-1) for s, c in ((4, 64), (8, 128), (16, 128))]
    here = F.normalize(torch.randn(1, 10, 14, 20, generator=generator), dim=-1)
    before, after = Maps(*flat, here), Maps(*flat, here.roll((2, -3), (1, 2)))
    queries = torch.tensor([[120.0, 56.0], [136.0, 88.0]])
    points = network.begin(before, torch.zeros(2, dtype=torch.long), queries)
    moved = queries + torch.tensor([-48.0, 32.0])
    nowhere = network.seek(points, queries)._replace(power=torch.zeros(2))  # expected anywhere
    for found in (everywhere(after, nowhere), coarse_to_fine(after, nowhere)):
        assert (found.xy - moved).abs().max() <= 8  # within the cell


def test_it_is_kept_with_a_query_at_every_size_and_remembered(network):
    frames = torch.randint(0, 255, (3, 3, 96, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    strand = build(network.state_dict(), precision="float32", resolution=112)
    state, _ = strand.step(strand.start((96, 128)), frames[0], torch.tensor([[40.0, 50.0], [70.0, 30.0]]))
    assert [part.shape[1:] for part in state.query] == [(25, 64), (9, 128), (9, 128), (1, 20)]
    sizes = state.scales.patches[3]
    assert sizes.shape == (2, 5, 1, 20)
    torch.testing.assert_close(sizes[:, 2], state.query[3])
    assert (sizes[:, 0] - sizes[:, 2]).abs().max() > 1e-3
    after, _ = strand.step(state, frames[1], torch.zeros(0, 2))
    assert not torch.equal(after.memory[3], state.memory[3])


def test_what_a_whole_clip_keeps_of_a_frame_is_what_it_says_beforehand(network):
    clip = build_clip(network.state_dict(), precision="float32")
    features = clip.encode(torch.zeros(1, 3, 96, 128, dtype=torch.uint8))
    assert clip.frame_bytes((96, 128)) == sum(part.nbytes for part in features)


def test_weights_say_whether_they_have_it(network):
    assert config_of(network.state_dict()) == KNOWN
    without = Network(StrandConfig(encoder="lite0", evidence=True))
    assert config_of(without.state_dict()).known == (0, 0)
    maps = without.encode(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert maps.known.shape == (1, 4, 4, 0) and len(maps.levels) == 3


def test_what_is_added_to_weights_is_decorrelated_over_the_photographs_and_nothing_else(tmp_path, network):
    random = np.random.default_rng(0)
    for number in range(3):
        coarse = Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8))
        coarse.resize((256, 192)).save(tmp_path / f"{number}.png")
    (tmp_path / "LICENCE.txt").write_text("free")
    plain = {n: v for n, v in network.state_dict().items() if "known" not in n}
    found = lite0_backbone.with_known(plain, tmp_path)
    assert config_of(found).known == lite0_backbone.KNOWN
    assert all(torch.equal(found[name], value) for name, value in plain.items())
    backbone = EfficientNetLite0().eval()
    backbone.load_state_dict({n[17:]: v for n, v in plain.items() if n.startswith("encoder.backbone.")})
    cells = []
    for number in range(3):
        picture = torch.from_numpy(np.array(Image.open(tmp_path / f"{number}.png"))).permute(2, 0, 1)[None]
        with torch.no_grad():
            level = backbone(picture.float() / 127.5 - 1)[3]
        layer = (found["encoder.known.0.weight"], found["encoder.known.0.bias"])
        cells.append(F.conv2d(level, *layer)[0].flatten(1).T)
    covariance = torch.cov(torch.cat(cells).double().T)
    kept = covariance.diagonal()
    assert (covariance - torch.diag(kept)).abs().max() < 1e-3
    assert (kept.diff() < 1e-6).all() and 0.5 < kept[0] < 1  # the most certain first
    assert torch.cat(cells).mean(0).abs().max() < 1e-3


def test_a_folder_without_photographs_is_one_sentence(tmp_path, network):
    with pytest.raises(SystemExit, match="no photographs"):
        lite0_backbone.known(EfficientNetLite0(), tmp_path)
