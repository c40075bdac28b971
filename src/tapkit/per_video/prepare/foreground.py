"""What is foreground: given as pictures, or told by the main direction in which DINOv2's last tokens differ.

Only the choice of points hangs on it (as many from the foreground as from all the rest), so it need not be exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tapkit.coords import Size, to_centers
from tapkit.errors import UsageError, VideoError
from tapkit.per_video.prepare.store import Prepared, Table
from tapkit.per_video.prepare.tokens import unit_tokens

SHARE = 0.6
"""Of the range of the main direction, from its background end, that is not foreground."""


def principal_masks(tokens: Table, shape: Size, device: torch.device | str = "cpu") -> np.ndarray:
    """Masks bool [T,h,w], one value for each token, from tokens [C,h,w] of all frames.

    Tumanyan et al., "DINO-Tracker", appendix: the first principal component of all tokens (of length 1), scaled to 0..1
    over the clip; foreground is below 0.6. Its sign means nothing, and the authors take what comes; here it is the one
    with which fewer tokens along the frames' borders are foreground.
    """
    total = squares = torch.zeros(())
    for frame in range(len(tokens)):
        rows = unit_tokens(tokens, frame, device)
        total, squares = total.to(device) + rows.double().sum(0), squares.to(device) + (rows.T @ rows).double()
    count = len(tokens) * shape[0] * shape[1]
    mean = total / count
    axis = torch.linalg.eigh(squares / count - torch.outer(mean, mean))[1][:, -1].float()
    along = torch.stack(
        [((unit_tokens(tokens, frame, device) - mean.float()) @ axis).cpu() for frame in range(len(tokens))]
    )
    scaled = (along - along.min()) / (along.max() - along.min()).clamp(min=1e-12)
    either = [(way < SHARE).view(-1, *shape) for way in (scaled, 1 - scaled)]
    chosen: np.ndarray = min(either, key=lambda mask: float(_border(mask).float().mean())).numpy()
    return chosen


def _border(masks: Tensor) -> Tensor:
    """Values along the borders of masks [T,h,w]."""
    return torch.cat([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], 1)


def given_masks(folder: str | Path, prepared: Prepared) -> np.ndarray:
    """Masks bool [T,h,w] from a folder of pictures, one for each frame in the order of their names.

    Foreground is what is brighter than half, or in pictures with a palette all but its first colour. Raises
    `UsageError`, `VideoError`.
    """
    from PIL import Image

    place = Path(folder)
    if not place.is_dir():
        raise UsageError(f"masks must be a folder of pictures, one for each frame: there is no folder {place}")
    files = sorted(path for path in place.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if len(files) != len(prepared):
        raise UsageError(f"{place} has {len(files)} pictures, but the video has {len(prepared)} frames")
    height, width = prepared.size
    masks = []
    for path in files:
        try:
            with Image.open(path) as picture:
                numbered = picture.mode == "P"
                plain = picture if numbered else picture.convert("L")
                values = np.asarray(plain.resize((width, height), Image.Resampling.NEAREST))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(f"{path} cannot be read as a picture ({error})") from error
        masks.append(values > (0 if numbered else 127))
    return np.stack(masks)


def foreground_at(mask: Tensor, xy: Tensor, size: Size) -> Tensor:
    """Whether positions [n,2] in a frame of `size` touch the foreground of its mask [h,w]: bool [n].

    That is so if one of the (up to four) pixels between whose centres a position lies is foreground; where the mask is
    smaller than the frame, a pixel is what its place in the mask says.
    """
    index = to_centers(xy)
    touched = torch.zeros(len(xy), dtype=torch.bool, device=xy.device)
    for column in (index[:, 0].floor(), index[:, 0].ceil()):
        for row in (index[:, 1].floor(), index[:, 1].ceil()):
            x, y = column.clamp(0, size[1] - 1) + 0.5, row.clamp(0, size[0] - 1) + 0.5
            touched |= mask[(y * (mask.shape[0] / size[0])).long(), (x * (mask.shape[1] / size[1])).long()]
    return touched
