"""What a session makes of each kind of frame, as a table.

    python tools/live_inputs.py > docs/reference/live_inputs.md

Every row is a frame handed to a real session. It shows one patch of orange (RGB 240, 120, 60), or the gray that
stands for it, in the type and layout of the row; the result is what the tracker was given.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tapkit.engine.tracker import Tracker
from tapkit.errors import TapkitError
from tapkit.models.base import Prediction
from tapkit.models.lucas_kanade.card import CARDS
from tapkit.types import VideoInfo

HEIGHT, WIDTH = 24, 32
ORANGE = np.array([240, 120, 60], np.uint8)


class Row(NamedTuple):
    """One kind of frame."""

    what: str
    frame: Any
    options: dict[str, Any]


def rgb() -> np.ndarray:
    """[H,W,3] uint8: orange on the left, black on the right, one white pixel: extremes that settle any range."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = ORANGE
    image[0, -1] = 255
    return image


def rows() -> list[Row]:
    """All kinds of frames, taken and refused."""
    color = rgb()
    gray = color[..., 1]
    alpha = np.concatenate([color, np.full((HEIGHT, WIDTH, 1), 7, np.uint8)], 2)
    turned = np.ascontiguousarray(color[..., ::-1])
    bgra = np.concatenate([turned, alpha[..., 3:]], 2)
    wide = color.astype(np.uint16) * 257
    twelve = (color.astype(np.uint32) * 4095 // 255).astype(np.uint16)
    unit = color.astype(np.float32) / 255
    return [
        Row("RGB (Pillow, imageio, PyAV)", color, {}),
        Row("BGR (OpenCV)", turned, {"colors": "bgr"}),
        Row("RGBA", alpha, {}),
        Row("BGRA", bgra, {"colors": "bgr"}),
        Row("gray", gray, {}),
        Row("gray with an axis", gray[..., None], {}),
        Row("RGBA, channels first", alpha.transpose(2, 0, 1), {}),
        Row("channels first", color.transpose(2, 0, 1), {}),
        Row("tensor, channels first", torch.from_numpy(color).permute(2, 0, 1), {}),
        Row("tensor, channels last", torch.from_numpy(color), {}),
        Row("tensor, BGR", torch.from_numpy(turned).permute(2, 0, 1), {"colors": "bgr"}),
        Row("batch of one", torch.from_numpy(color).permute(2, 0, 1)[None], {}),
        Row("PIL image", Image.fromarray(color), {}),
        Row("float 0..1", unit, {}),
        Row("float 0..255", color.astype(np.float64), {}),
        Row("half precision, 0..1", torch.from_numpy(unit).half(), {}),
        Row("float -1..1", unit * 2 - 1, {"value_range": (-1, 1)}),
        Row("16 bits, full range", wide, {}),
        Row("16 bits, gray", wide[..., 1], {}),
        Row("12 bits in 16", twelve, {"value_range": 4095}),
        Row("integers 0..255", color.astype(np.int32), {}),
        Row("mask", gray > 0, {}),
        Row("12 bits in 16, range not stated", twelve, {}),
        Row("float -1..1, range not stated", unit * 2 - 1, {}),
        Row("not a number", np.where(unit > 0.9, np.nan, unit), {}),
        Row("two channels (YUYV)", color[..., :2], {}),
        Row("planes of YUV 4:2:0 (I420)", np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8), {}),
        Row("a batch of two", np.stack([color, color]), {}),
        Row("another size", color[: HEIGHT // 2], {}),
        Row("complex numbers", color.astype(np.complex64), {}),
        Row("nothing (the camera is gone)", None, {}),
    ]


class _Witness:
    """A causal model that keeps the frame it was given."""

    card = CARDS[0]
    options: dict[str, Any] = {}  # noqa: RUF012
    device = torch.device("cpu")
    seen: Tensor

    def to(self, device: torch.device | str) -> _Witness:
        return self

    def frame_size(self, size: tuple[int, int]) -> None:
        return None

    def point_bytes(self, size: tuple[int, int]) -> int:
        return 1

    def start(self, size: tuple[int, int]) -> tuple[()]:
        return ()

    def select(self, state: Any, chosen: Tensor) -> Any:
        return state

    def step(self, state: Any, frame: Tensor, new_xy: Tensor) -> tuple[Any, Prediction]:
        self.seen = frame
        return state, Prediction(new_xy, new_xy[:, 0], new_xy[:, 0])


class Given(NamedTuple):
    """What became of a frame."""

    frame: Tensor | None
    """uint8 [3,H,W] RGB, as the tracker got it; None: refused."""
    said: str
    """The conversion in words, or the sentence of the refusal."""


def give(row: Row) -> Given:
    """Hand the frame of a row to a session of its own."""
    model = _Witness()
    session = Tracker(model).start(VideoInfo(WIDTH, HEIGHT), [(0, 4, 4)], **row.options)  # type: ignore[arg-type]
    try:
        session.step(row.frame)
    except TapkitError as error:
        return Given(None, str(error))
    return Given(model.seen, session.conversion)


def kind(frame: Any) -> tuple[str, str]:
    """(dtype, shape) of a frame."""
    if frame is None or isinstance(frame, Image.Image):
        return "-", type(frame).__name__
    name = "tensor" if isinstance(frame, Tensor) else "array"
    return str(frame.dtype).removeprefix("torch."), f"{name} {[int(n) for n in frame.shape]}"


def table() -> str:
    """The page."""
    lines = [
        "# Frames that a session takes",
        "",
        (
            "What `session.step(frame)` makes of each kind of frame, for a session of a video of "
            f"{WIDTH}x{HEIGHT} pixels. Every row is a real frame: its left half is orange, RGB (240, 120, 60). What "
            "the order of the colours or the values mean that an array cannot say is stated to `tracker.start`. "
            "`session.conversion` says how the last frame was read."
        ),
        "",
        "| Frame | dtype | Shape | `tracker.start(...)` | Orange becomes | Read as, or refused with |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows():
        given, (dtype, shape) = give(row), kind(row.frame)
        stated = ", ".join(f"{name}={value!r}" for name, value in row.options.items())
        became = "refused" if given.frame is None else str(tuple(given.frame[:, 5, 5].tolist()))
        stated = f"`{stated}`" if stated else ""
        lines.append(f"| {row.what} | {dtype} | {shape} | {stated} | {became} | {given.said} |")
    lines += ["", "This page is printed by `python tools/live_inputs.py`; a test holds that it is up to date."]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
