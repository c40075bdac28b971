"""What layers are made of: photographs and procedural textures, as one small uint8 tensor with its pyramid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.errors import StorageError
from tapkit.synth.dice import Dice
from tapkit.synth.textures import procedural

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
LEVELS = 4


class PhotoBank:
    """Pictures of one size with halved copies beside them, resident on a device.

    `atlas` is uint8 [P, H, W + W/2, 3]: the picture at the left, below each other at its right the copies of a
    half, a quarter and an eighth of its size. The first `photographs` of the P pictures come from files.
    """

    def __init__(self, pictures: Tensor, photographs: int = 0) -> None:
        """Build the pyramid of `pictures`, uint8 [P,H,W,3] with H and W multiples of 8."""
        count, height, width, _ = pictures.shape
        if height % 8 or width % 8:
            raise StorageError(f"pictures of a bank have sides that are multiples of 8, got {width}x{height}")
        self.photographs = photographs
        self.size = (height, width)
        self.atlas = pictures.new_zeros((count, height, width + width // 2, 3))
        self.atlas[:, :, :width] = pictures
        self.corners = [(0, 0)]
        level, top = pictures, 0
        for _ in range(1, LEVELS):
            level = _halved(level)
            self.atlas[:, top : top + level.shape[1], width : width + level.shape[2]] = level
            self.corners.append((top, width))
            top += level.shape[1]

    def __len__(self) -> int:
        return self.atlas.shape[0]

    @classmethod
    def load(
        cls,
        folders: str | Path | Sequence[str | Path],
        size: tuple[int, int] = (256, 384),
        textures: int = 64,
        limit: int | None = None,
        device: str | torch.device = "cpu",
    ) -> PhotoBank:
        """Read all photographs of one or several folders (and their sub-folders), and add procedural textures.

        Args:
            size: (height, width) that every picture is cropped and shrunk to; multiples of 8.
            textures: how many procedural textures are added.
            limit: at most so many photographs, evenly spread over the sorted files.

        Raises:
            StorageError: a folder does not exist, holds no picture, or a picture cannot be read.
        """
        files = _pictures([folders] if isinstance(folders, (str, Path)) else folders)
        if limit is not None and len(files) > limit:
            files = [files[i * len(files) // limit] for i in range(limit)]
        cut = [piece for file in files for piece in _cut(file, size)]
        pictures = torch.from_numpy(np.stack(cut)) if cut else torch.empty((0, *size, 3), dtype=torch.uint8)
        drawn = procedural(textures, size, Dice(0))
        return cls(torch.cat([pictures, drawn]).to(device), photographs=len(cut))

    @classmethod
    def procedural(
        cls,
        textures: int = 96,
        size: tuple[int, int] = (256, 384),
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> PhotoBank:
        """Procedural textures alone: needs no files."""
        return cls(procedural(textures, size, Dice(seed)).to(device))

    def to(self, device: str | torch.device) -> PhotoBank:
        """This bank on another device (itself if it is there)."""
        device = torch.device(device)
        if self.atlas.device == device:
            return self
        return PhotoBank(self.atlas[:, :, : self.size[1]].to(device), self.photographs)

    def draw(self, dice: Dice, count: int, share_procedural: float) -> Tensor:
        """Indices of `count` random pictures, int64 [count]; photographs first, where there are any."""
        total = len(self)
        if self.photographs in (0, total):
            return dice.integers(0, total, count)
        is_procedural = dice.chance(share_procedural, count)
        return torch.where(
            is_procedural, dice.integers(self.photographs, total, count), dice.integers(0, self.photographs, count)
        )

    def windows(self, index: Tensor, level: Tensor, corner: Tensor, size: tuple[int, int]) -> Tensor:
        """Windows of `size` out of pictures; beyond a picture's border it is mirrored.

        Args:
            index: int64 [n], which picture.
            level: int64 [n], how often halved, 0..3.
            corner: int64 [n,2], top-left (y, x) of the window in pixels of that level; any sign.
            size: (height, width).

        Returns:
            float [n,3,height,width] in 0..1.
        """
        device = self.atlas.device
        corners = torch.tensor(self.corners, device=device)[level]
        y = _mirrored(corner[:, :1] + torch.arange(size[0], device=device), self.size[0] >> level)
        x = _mirrored(corner[:, 1:] + torch.arange(size[1], device=device), self.size[1] >> level)
        y, x = y + corners[:, :1], x + corners[:, 1:]
        picked = self.atlas[index[:, None, None], y[:, :, None], x[:, None, :]]
        return picked.permute(0, 3, 1, 2).float().div_(255)


def _mirrored(position: Tensor, length: Tensor) -> Tensor:
    """Positions [n,k] folded back into 0..length-1, the border pixel repeated."""
    length = length[:, None]
    folded = position.remainder(2 * length)
    return torch.minimum(folded, 2 * length - 1 - folded)


def _halved(level: Tensor) -> Tensor:
    return torch.cat(
        [
            F.avg_pool2d(part.permute(0, 3, 1, 2).float(), 2).add_(0.5).to(torch.uint8).permute(0, 2, 3, 1)
            for part in torch.split(level, 64)
        ]
    )


def _pictures(folders: Iterable[str | Path]) -> list[Path]:
    files: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise StorageError(f"{folder} is not a folder of photographs")
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        if not found:
            raise StorageError(f"{folder} holds no photograph ({', '.join(ENDINGS)})")
        files += found
    return files


def _cut(file: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """The picture cropped to the shape of `size`: one piece, or of a panorama the whole middle and two halves."""
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError) as error:
        raise StorageError(f"{file} cannot be read as a picture ({error})") from error
    boxes: list[Image.Image] = [image]
    if image.width >= 2 * image.height:  # a panorama: near its poles it is distorted
        middle = image.crop((0, image.height // 6, image.width, image.height * 5 // 6))
        half = image.width // 2
        boxes = [image, middle.crop((0, 0, half, middle.height)), middle.crop((half, 0, image.width, middle.height))]
    return [np.asarray(ImageOps.fit(box, (width, height), Image.Resampling.BOX)) for box in boxes]
