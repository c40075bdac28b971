"""Session: frames in, results out, for every kind of tracker. Points come and go while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.engine.driver import Driver, DriverResult
from tapkit.errors import QueryError, ShapeError, StorageError, UsageError
from tapkit.models.base import Model, Size
from tapkit.types import FrameResult, Queries, VideoInfo


class Session:
    """A running tracker. Made by `Tracker.start`.

    `frame` is the index of the next frame to be stepped, `earliest` the first frame on which points can still be
    added (the one stepped last for causal models: a click on what is on the screen), `latency` how many frames
    later a result is final (-1: at `finish`). Results are in pixels of the original video whatever the
    size of the frames handed in; at its query frame a point's answer is the query itself.
    """

    def __init__(self, model: Model, info: VideoInfo, driver: Driver) -> None:
        self.model = model
        self.info = info
        self.latency = model.card.latency
        self.frame = 0
        self.size: Size = model.frame_size(info.size) or info.size
        self._driver = driver
        self._finished = False
        # Of every point ever added, by key: rows of these three.
        self._t = np.zeros(0, np.int64)
        self._xy = np.zeros((0, 2), np.float32)
        self._ids = np.zeros(0, np.str_)
        self._active: dict[str, int] = {}
        self._owed: list[FrameResult] = []

    # -- points -----------------------------------------------------------------------------------

    @property
    def earliest(self) -> int:
        """The first frame on which points can still be added."""
        return self._driver.earliest

    @property
    def ids(self) -> list[str]:
        """Names of the points being tracked."""
        return list(self._active)

    @property
    def queries(self) -> Queries:
        """The points being tracked, as they were asked for."""
        rows = list(self._active.values())
        return Queries(self._t[rows], self._xy[rows], self._ids[rows])

    @torch.inference_mode()
    def add(self, points: Any) -> np.ndarray:
        """Track these too: `Queries` or rows (t, x, y), t from `earliest` on. Returns their ids [M] str.

        Rows get fresh ids; `Queries` keep theirs, which must not be in use. Raises `QueryError` for a point
        outside the frame, or on a frame that is no longer held.
        """
        self._running()
        named = isinstance(points, Queries)
        queries = Queries.of(points)
        if not named:
            queries = queries.with_ids(self._fresh(len(queries)))
        queries.check(self.info.size, self.info.frames)
        clash = [name for name in queries.ids.tolist() if name in self._active]
        if clash:
            raise QueryError(f"a point called {clash[0]!r} is being tracked already")
        early = queries.t < self.earliest
        if early.any():
            row = int(np.flatnonzero(early)[0])
            raise QueryError(
                f"point {queries.ids[row]!s} starts on frame {queries.t[row]}, which is no longer held: "
                f"this session takes points from frame {self.earliest} on"
            )
        if not len(queries):
            return queries.ids
        first = len(self._t)
        keys = np.arange(first, first + len(queries))
        self._t = np.concatenate([self._t, queries.t])
        self._xy = np.concatenate([self._xy, queries.xy])
        self._ids = np.concatenate([self._ids, queries.ids])
        self._active.update(zip(queries.ids.tolist(), keys.tolist(), strict=True))
        rows = torch.from_numpy(queries.array())
        rows[:, 1:] = coords.resize(rows[:, 1:], self.info.size, self.size)
        self._driver.add(torch.from_numpy(keys), rows)
        self._owe_query_frame(keys)
        return queries.ids

    def _owe_query_frame(self, keys: np.ndarray) -> None:
        """A point added on a frame that a causal model has answered already: its answer there is the query."""
        if self.latency != 0:
            return
        for t in np.unique(self._t[keys]):
            if t >= self.frame:
                continue
            rows = keys[self._t[keys] == t]
            ones = np.ones(len(rows), np.float32)
            self._owed.append(FrameResult(int(t), self._ids[rows], self._xy[rows], ones, ones))

    @torch.inference_mode()
    def remove(self, ids: Iterable[Any]) -> None:
        """Stop tracking these. Raises `QueryError` for an id that is not being tracked."""
        names = [ids] if isinstance(ids, str) else [str(name) for name in ids]
        for name in names:
            if name not in self._active:
                raise QueryError(f"no point called {name!r} is being tracked")
        keys = [self._active.pop(name) for name in dict.fromkeys(names)]
        if keys:
            self._driver.remove(torch.tensor(keys))

    def _fresh(self, count: int) -> Sequence[str]:
        number = len(self._t)
        names: list[str] = []
        while len(names) < count:
            if str(number) not in self._active:
                names.append(str(number))
            number += 1
        return names

    # -- frames -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self, frame: Any, provisional: bool = False) -> list[FrameResult]:
        """Take the next frame: [H,W,3] uint8 RGB (numpy), or [3,H,W] (torch); original size or `size`.

        Returns what is final by now, oldest first; with `provisional` also what may still change.
        """
        self._running()
        results = self._driver.step(self.frame, self._tensor(frame))
        self.frame += 1
        return self._take_owed() + self._convert(results, provisional)

    @torch.inference_mode()
    def finish(self) -> list[FrameResult]:
        """There are no more frames: everything still owed, final. The session is then over."""
        self._running()
        self._finished = True
        return self._take_owed() + self._convert(self._driver.finish(), False)

    def _running(self) -> None:
        if self._finished:
            raise UsageError("this session is finished; start a new one")

    def _take_owed(self) -> list[FrameResult]:
        owed, self._owed = self._owed, []
        return owed

    def _tensor(self, frame: Any) -> Tensor:
        """The frame as uint8 [3,h,w] of `size` on the model's device."""
        tensor = frame if isinstance(frame, Tensor) else torch.from_numpy(np.asarray(frame))
        if tensor.ndim != 3 or tensor.dtype != torch.uint8:
            raise ShapeError(
                f"a frame must be uint8 [H,W,3] or a tensor [3,H,W], got {tensor.dtype} {list(tensor.shape)}"
            )
        if not (isinstance(frame, Tensor) and tensor.shape[0] == 3):
            if tensor.shape[2] != 3:
                raise ShapeError(f"a frame must have three channels (RGB), got shape {list(tensor.shape)}")
            tensor = tensor.permute(2, 0, 1)
        if tensor.device.type == "cpu":
            # By numpy, in this thread: for one frame torch's threads cost more than they help.
            tensor = torch.from_numpy(np.ascontiguousarray(tensor.numpy()))
        tensor = tensor.to(self.model.device)
        size = (int(tensor.shape[1]), int(tensor.shape[2]))
        if size == self.size:
            return tensor.contiguous()
        if size != self.info.size:
            (height, width), (h, w) = self.info.size, size
            raise ShapeError(f"frames of this session are {width}x{height}, got one of {w}x{h}")
        resized = F.interpolate(tensor[None].float(), self.size, mode="bilinear", antialias=True, align_corners=False)
        return resized[0].round().clamp(0, 255).to(torch.uint8)

    def _convert(self, results: Sequence[DriverResult], provisional: bool) -> list[FrameResult]:
        return [r for r in map(self._one, results) if (r.final or provisional) and len(r.ids)]

    def _one(self, result: DriverResult) -> FrameResult:
        keys = result.keys.cpu().numpy()
        t = self._t[keys]
        xy, visible, confidence = (part.detach().float().cpu().numpy() for part in result.prediction)
        xy = coords.resize(xy.astype(np.float32), self.size, self.info.size)
        asked = np.ones(len(keys), bool) if self.model.card.bidirectional else t <= result.frame
        start = t == result.frame
        xy[start] = self._xy[keys[start]]
        visible, confidence = visible.copy(), confidence.copy()
        visible[start] = confidence[start] = 1.0
        if not asked.all():
            keys, xy, visible, confidence = keys[asked], xy[asked], visible[asked], confidence[asked]
        return FrameResult(result.frame, self._ids[keys], xy, visible, confidence, result.final)

    # -- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """The whole session as named tensors (safetensors can hold them): `load_state_dict` goes on from there."""
        names = json.dumps({"ids": self._ids.tolist(), "active": self._active, "frame": self.frame}).encode()
        return {
            "session.names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
            "session.t": torch.from_numpy(self._t),
            "session.xy": torch.from_numpy(self._xy),
            **{f"driver.{name}": tensor for name, tensor in self._driver.snapshot().items()},
        }

    @torch.inference_mode()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where the session that gave `state` was; for a session just started with the same tracker and video."""
        try:
            names = json.loads(bytes(state["session.names"].numpy()))
            self._t, self._xy = state["session.t"].numpy().copy(), state["session.xy"].numpy().copy()
        except (KeyError, ValueError) as error:
            raise StorageError("this is not the state of a session") from error
        self._ids = np.array(names["ids"], dtype=np.str_) if names["ids"] else np.zeros(0, np.str_)
        self._active, self.frame = names["active"], names["frame"]
        prefix = "driver."
        self._driver.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
