"""Cards of RAFT."""

from __future__ import annotations

from tapkit.types import ModelCard, PublishedNumber

_PAPER = "Teed and Deng: RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020"
_PORT = "torchvision's re-measured port, weights C_T_V1"
_NOTES = (
    "A two-frame flow model, no tracker. Checkpoints load under the authors' names (raft-*.pth of models.zip, Dropbox "
    "s/4j4z58wuv8o0mfz) and under torchvision's. Default weights: torchvision's, BSD-3-Clause; the authors' own carry "
    "no separate licence. Frames are padded by their border to multiples of 8 and to at least 128 pixels a side."
)


def _numbers(protocol: str, source: str, **values: float) -> tuple[PublishedNumber, ...]:
    names = {
        "clean": ("Sintel train clean", "EPE"),
        "final": ("Sintel train final", "EPE"),
        "kitti": ("KITTI-15 train", "EPE"),
        "outliers": ("KITTI-15 train", "Fl-all"),
    }
    return tuple(PublishedNumber(*names[name], value, protocol, source) for name, value in values.items())


RAFT_LARGE = ModelCard(
    id="raft-large",
    name="RAFT",
    paper=_PAPER,
    paper_url="https://arxiv.org/abs/2003.12039",
    code_licence="BSD-3-Clause",
    weights_licence="BSD-3-Clause (torchvision's)",
    commercial=True,
    factory="tapkit.flow.raft.model:build_large",
    options="tapkit.flow.raft.model:RaftOptions",
    weights_url="https://download.pytorch.org/models/raft_large_C_T_SKHT_V2-ff5fadd5.pth",
    weights_file="raft_large_C_T_SKHT_V2-ff5fadd5.pth",
    streaming="pairwise",
    published=(
        *_numbers("Chairs + Things, 32 (Sintel) or 24 (KITTI) iterations", "paper, Table 1", clean=1.43, final=2.71,
                  kitti=5.04, outliers=17.4),
        *_numbers("32 (Sintel) or 24 (KITTI) iterations", _PORT, clean=1.4411, final=2.7894, kitti=5.0172,
                  outliers=17.45),
    ),
    notes=_NOTES,
)  # fmt: skip

RAFT_SMALL = ModelCard(
    id="raft-small",
    name="RAFT (small)",
    paper=_PAPER,
    paper_url="https://arxiv.org/abs/2003.12039",
    code_licence="BSD-3-Clause",
    weights_licence="BSD-3-Clause (torchvision's)",
    commercial=True,
    factory="tapkit.flow.raft.model:build_small",
    options="tapkit.flow.raft.model:RaftOptions",
    weights_url="https://download.pytorch.org/models/raft_small_C_T_V2-01064c6d.pth",
    weights_file="raft_small_C_T_V2-01064c6d.pth",
    streaming="pairwise",
    published=_numbers("Chairs + Things, 32 (Sintel) or 24 (KITTI) iterations", "paper, Table 1", clean=2.21,
                       final=3.35, kitti=7.51, outliers=26.9),
    notes=_NOTES,
)  # fmt: skip

CARDS: tuple[ModelCard, ...] = (RAFT_LARGE, RAFT_SMALL)
