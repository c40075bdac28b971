"""How a stored picture is turned for showing: what cameras write as a display matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np


@dataclass(frozen=True)
class Orientation:
    """First transpose (if so), then mirror left-right, top-bottom (if so)."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Orientation:
        """The orientation that `frame`'s display matrix asks for; angles between are taken to the next quarter turn.

        The matrix (ISO/IEC 14496-12, 8.2.2) has rows [a b u], [c d v], [x y w]: a stored pixel (x, y) is shown at
        (a x + c y, b x + d y), apart from a translation that brings the picture back into view.
        """
        side_data: Any = frame.side_data
        matrix = next((data for data in side_data if data.type.name == "DISPLAYMATRIX"), None)
        if matrix is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The stored image [H,W,3] as it is shown.

        >>> Orientation(True, True, False).apply(np.array([[[1], [2]], [[3], [4]]]))[..., 0].tolist()
        [[3, 1], [4, 2]]
        """
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)
