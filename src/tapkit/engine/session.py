"""Session: frames in, results out, for every kind of tracker. Points come and go, and are corrected, while it runs."""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from tapkit import coords
from tapkit.engine.ahead import Ready
from tapkit.engine.driver import Driver, DriverResult, PreparesFrames
from tapkit.engine.frame_clock import FrameClock, Gap
from tapkit.engine.memory import device_memory, keep_freed
from tapkit.engine.single_user import SingleUser
from tapkit.errors import QueryError, ShapeError, StorageError, UsageError
from tapkit.models.base import Model, Size
from tapkit.nn.transfer import Upload, arrived, sent
from tapkit.types import FrameResult, Queries, VideoInfo
from tapkit.video.base import Frame
from tapkit.video.cuts import CutDetector
from tapkit.video.live_frame import FrameReader

_NEVER = np.iinfo(np.int64).max
_CUTS_KEPT = 4096

OnCut = Literal["ignore", "note", "redetect"]
"""What a session does about scene cuts: nothing; note them in `Session.cuts`; or also let go of the points there and
track as many corners of the new scene instead, under fresh ids."""


class Session:
    """A running tracker. Made by `Tracker.start`.

    `frame` is the index of the next frame to be stepped, `earliest` the first frame on which points can still be
    added (the one stepped last for causal models: a click on what is on the screen), `latency` how many frames
    later a result is final (-1: at `finish`). Results are in pixels of the original video whatever the
    size of the frames handed in; at its query frame a point's answer is the query itself.

    Every point that is ever added has a row, counted from 0, by which results name it; `names[row]` is its id.

    A session is used by one thread at a time: calls that overlap are refused with `UsageError` and change nothing.
    `with tracker.start(info) as session:` closes it at the end.
    """

    def __init__(
        self,
        model: Model,
        info: VideoInfo,
        driver: Driver,
        reader: FrameReader | None = None,
        cuts: OnCut = "ignore",
    ) -> None:
        if cuts not in get_args(OnCut):
            raise UsageError(f"cuts must be ignore, note or redetect, got {cuts!r}")
        if model.device.type == "cpu":
            keep_freed()
        self.model = model
        self.info = info
        self.latency = model.card.latency
        self.frame = 0
        self.size: Size = model.frame_size(info.size) or info.size
        self.names = np.zeros(0, np.str_)
        """Ids of all points ever added, by row."""
        self._driver = driver
        self._reader = reader or FrameReader()
        self._clock = FrameClock(float(info.fps))
        self._on_cut = cuts
        self._detector = None if cuts == "ignore" else CutDetector()
        self._cuts: deque[int] = deque(maxlen=_CUTS_KEPT)
        self._leaving = False
        """Whether points of an earlier scene are still held by the driver."""
        self._user = SingleUser("this session", "give each thread a session of its own, or a lock around both")
        self._upload: Upload | None = None
        """Of frames that are made ready ahead."""
        self._finished = False
        self._active: dict[str, int] = {}
        """Rows of the points being tracked, by id."""
        # What the driver tracks are anchors: the query of a point, and each correction of it. By key, rows of these:
        self._t = np.zeros(0, np.int64)
        self._xy = np.zeros((0, 2), np.float32)
        self._row = np.zeros(0, np.int64)
        self._until = np.zeros(0, np.int64)
        """Frame from which on another anchor answers for the point."""
        self._corrected = np.zeros(0, bool)
        """Whether a human set the position."""
        self._owed = np.zeros(0, np.int64)
        """Keys of anchors on a frame that has been answered already: their own answers there are still to be given."""

    # -- points -----------------------------------------------------------------------------------

    @property
    def earliest(self) -> int:
        """The first frame on which points can still be added."""
        return self._driver.earliest

    @property
    def ids(self) -> list[str]:
        """Names of the points being tracked."""
        return list(self._active)

    def __len__(self) -> int:
        """How many points are being tracked."""
        return len(self._active)

    @property
    def queries(self) -> Queries:
        """The points being tracked, as they were asked for or corrected last."""
        rows = np.array(list(self._active.values()), np.int64)
        latest = np.zeros(len(self.names), np.int64)
        latest[self._row] = np.arange(len(self._row))  # later keys overwrite earlier ones
        keys = latest[rows]
        return Queries(self._t[keys], self._xy[keys], self.names[rows])

    @torch.inference_mode()
    def add(self, points: Any) -> np.ndarray:
        """Track these too: `Queries` or rows (t, x, y), t from `earliest` on. Returns their ids [M] str.

        Rows get fresh ids; `Queries` keep theirs, which must not be in use. Raises `QueryError` for a point
        outside the frame, or on a frame that is no longer held.
        """
        with self._user:
            return self._add(points)

    def _add(self, points: Any) -> np.ndarray:
        self._running()
        named = isinstance(points, Queries)
        queries = Queries.of(points)
        if not named:
            queries = queries.with_ids(self._fresh(len(queries)))
        if self._active and (clash := self._active.keys() & set(queries.ids.tolist())):
            raise QueryError(f"a point called {min(clash)!r} is being tracked already")
        self._check(queries)
        if not len(queries):
            return queries.ids
        rows = np.arange(len(self.names), len(self.names) + len(queries))
        self._anchor(queries, rows, corrected=False)
        self.names = np.concatenate([self.names, queries.ids])
        self._active.update(zip(queries.ids.tolist(), rows.tolist(), strict=True))
        return queries.ids

    @torch.inference_mode()
    def correct(self, points: Queries) -> None:
        """A human says where points that are being tracked are: ids, frames (from `earliest` on), positions.

        From there on each is tracked from its new position; what was answered before stays. On that frame its answer
        is the position given. Raises `QueryError` for an id that is not tracked, and as `add` does.
        """
        with self._user:
            self._running()
            rows = self._rows_of(points.ids.tolist())
            self._check(points)
            if not len(rows):
                return
            for row, t in zip(rows.tolist(), points.t.tolist(), strict=True):
                earlier = (self._row == row) & (self._t <= t)
                self._until[earlier] = np.minimum(self._until[earlier], t)
            # An anchor that was announced for later keeps its frame: the new one answers until then.
            until = [
                int(self._t[(self._row == row) & (self._t > t)].min(initial=_NEVER))
                for row, t in zip(rows.tolist(), points.t.tolist(), strict=True)
            ]
            keys = self._anchor(points, rows, corrected=True)
            self._until[keys] = until
            self._retire()

    @torch.inference_mode()
    def remove(self, ids: Iterable[Any]) -> None:
        """Stop tracking these. Raises `QueryError` for an id that is not being tracked."""
        with self._user:
            names = [ids] if isinstance(ids, str) else [str(name) for name in ids]
            rows = self._rows_of(names)
            for name in dict.fromkeys(names):
                del self._active[name]
            keys = np.flatnonzero(np.isin(self._row, rows) & (self._until > self.earliest))
            if len(keys):
                self._until[keys] = -1
                self._driver.remove(torch.from_numpy(keys))

    def _rows_of(self, names: Sequence[str]) -> np.ndarray:
        for name in names:
            if name not in self._active:
                raise QueryError(f"no point called {name!r} is being tracked")
        return np.array([self._active[name] for name in names], np.int64)

    def _check(self, queries: Queries) -> None:
        """Raise `QueryError` unless all lie in the video, on frames that are still held."""
        queries.check(self.info.size, self.info.frames)
        early = queries.t < self.earliest
        if early.any():
            row = int(np.flatnonzero(early)[0])
            raise QueryError(
                f"point {queries.ids[row]!s} starts on frame {queries.t[row]}, which is no longer held: "
                f"this session takes points from frame {self.earliest} on"
            )

    def _anchor(self, queries: Queries, rows: np.ndarray, corrected: bool) -> np.ndarray:
        """Have the driver track points from these positions on; returns their keys."""
        count = len(queries)
        keys = np.arange(len(self._t), len(self._t) + count)
        handed = torch.from_numpy(queries.array())
        handed[:, 1:] = coords.resize(handed[:, 1:], self.info.size, self.size)
        with device_memory(self.model.device, len(self) + count):  # first, so that nothing has changed if it fails
            self._driver.add(torch.from_numpy(keys), handed)
        self._t = np.concatenate([self._t, queries.t])
        self._xy = np.concatenate([self._xy, queries.xy])
        self._row = np.concatenate([self._row, rows])
        self._until = np.concatenate([self._until, np.full(count, _NEVER)])
        self._corrected = np.concatenate([self._corrected, np.full(count, corrected)])
        if self.latency == 0:  # a causal model has answered for the frame stepped last already
            self._owed = np.concatenate([self._owed, keys[queries.t < self.frame]])
        return keys

    def _retire(self) -> None:
        """Take from the driver the anchors that will not be asked again."""
        over = np.flatnonzero((self._until <= self.earliest) & (self._until >= 0))
        if len(over):
            self._until[over] = -1
            self._driver.remove(torch.from_numpy(over))

    def _fresh(self, count: int) -> Sequence[str]:
        number = len(self.names)
        names: list[str] = []
        while len(names) < count:
            if str(number) not in self._active:
                names.append(str(number))
            number += 1
        return names

    # -- frames -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(
        self, frame: Any, provisional: bool = False, *, number: int | None = None, time: float | None = None
    ) -> list[FrameResult]:
        """Take the next frame, of the video's size or of `size`.

        Args:
            frame: an array [H,W,3], [3,H,W], gray [H,W], with alpha [H,W,4]; a tensor, a PIL image, a `Frame`; uint8
                RGB unless the session was told otherwise (`Tracker.start`). `conversion` says how it was read.
            provisional: also return what may still change.
            number, time: the camera's number of this frame, or its time in seconds, with every step or with none:
                frames left out between two steps are then known (`dropped`, `gaps`, `number_of`).

        Returns what is final by now, oldest first. Raises `ShapeError` and `UsageError` for a frame that cannot be
        read, or whose number or time is not after the one before; it is then as if the call had not been made.
        `DeviceMemoryError` where the device runs out of memory (a causal tracker is then as before, too).
        """
        with self._user:
            self._running()
            missing = self._clock.missing(number, time)
            ready = frame.prepared if isinstance(frame, Ready) else None
            tensor = frame.tensor if isinstance(frame, Ready) else self._tensor(frame)
            if isinstance(frame, Ready) and frame.mark is not None:
                tensor = arrived(tensor, frame.mark)
            if self._detector is not None and self._detector(tensor):
                self._cut(tensor)
            with device_memory(self.model.device, len(self)):
                results = self._driver.step(self.frame, tensor, ready)
            self._clock.take(missing, number, time)
            self.frame += 1
            said = self._take_owed() + self._convert(results, provisional)
            if self._leaving or self._corrected.any():
                self._retire()
                self._leaving = self._leaving and self.earliest < self._cuts[-1]
            return said

    @property
    def prepares(self) -> bool:
        """Whether a second thread that calls `prepare` would get a recorded clip done sooner.

        On the processor: where the driver has work for it, and torch may use two threads. Beside a GPU: always; frames
        are decoded and sent there meanwhile.
        """
        if self.model.device.type != "cpu":
            return True
        return self._encodes_ahead and torch.get_num_threads() > 1

    @property
    def _encodes_ahead(self) -> bool:
        """A GPU has one queue of work, and no idle half."""
        driver = self._driver
        return self.model.device.type == "cpu" and isinstance(driver, PreparesFrames) and driver.prepares

    @property
    def frames_at_once(self) -> int:
        """How many frames `prepare` is best given."""
        driver = self._driver
        return driver.frames_at_once if self._encodes_ahead and isinstance(driver, PreparesFrames) else 1

    def prepare(self, frames: Sequence[Frame]) -> list[Ready]:
        """All of some frames that can be done before the ones before them are done with. Frames come in order, each
        once, and are then stepped one by one. Another thread may be within `step`. If it fails it is as if the call
        had not been made."""
        if self.model.device.type == "cuda":
            return [self._sent(frame) for frame in frames]
        tensors = [self._tensor(frame.image) for frame in frames]
        if not self._encodes_ahead:
            return [Ready(frame, tensor, None) for frame, tensor in zip(frames, tensors, strict=True)]
        assert isinstance(self._driver, PreparesFrames)
        prepared = self._driver.prepare(tensors)
        return [Ready(*one) for one in zip(frames, tensors, prepared, strict=True)]

    def _sent(self, frame: Frame) -> Ready:
        """A frame on its way to the GPU."""
        self._upload = self._upload or Upload(self.model.device)
        tensor, mark = self._upload(self._on_host(frame.image), self.model.device)
        return Ready(frame, tensor, None, mark)

    def _cut(self, tensor: Tensor) -> None:
        """A new scene begins with this frame, which is about to be stepped."""
        self._cuts.append(self.frame)
        if self._on_cut != "redetect" or not self._active:
            return
        count = len(self._active)
        rows = np.array(list(self._active.values()), np.int64)
        keys = np.isin(self._row, rows)
        self._until[keys] = np.minimum(self._until[keys], self.frame)  # what is still owed of the old scene is given
        self._active.clear()
        self._leaving = True
        image = tensor.permute(1, 2, 0).cpu().numpy()
        found = Queries.corners(image, count, self.frame)
        xy = coords.resize(found.xy, self.size, self.info.size)
        self._add(np.column_stack([found.t, xy]))

    @property
    def cuts(self) -> tuple[int, ...]:
        """Frames with which a new scene began, as far as noticed (`Tracker.start(cuts=...)`); the last 4096."""
        return tuple(self._cuts)

    @property
    def dropped(self) -> int:
        """Frames of the camera that were left out between two steps, by their numbers or times."""
        return self._clock.dropped

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where frames were left out: the session's frame that came after them, and how many; the last 4096."""
        return self._clock.gaps

    def number_of(self, frame: int) -> int:
        """The camera's number of `frame` as the session counts (of a result): what `step` was told, or made of times.

        Raises `QueryError` for a frame not stepped yet.
        """
        return self._clock.number_of(frame)

    @property
    def conversion(self) -> str:
        """How the last frame was read, in words: type, axes, channels, black and white."""
        return self._reader.said

    @torch.inference_mode()
    def finish(self) -> list[FrameResult]:
        """There are no more frames: everything still owed, final. The session is then over."""
        with self._user:
            self._running()
            self._finished = True
            with device_memory(self.model.device, len(self)):
                results = self._driver.finish()
            return self._take_owed() + self._convert(results, False)

    def close(self) -> None:
        """The session is over; what is still owed is not computed. A second call does nothing."""
        with self._user:
            self._finished = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        owing = not self._finished and self.latency != 0 and self.frame > 0 and len(self) > 0
        if owing and kind is None:
            warnings.warn("the session was closed before finish(): its last answers are lost", stacklevel=2)
        self.close()

    def _running(self) -> None:
        if self._finished:
            raise UsageError("this session is finished; start a new one")

    def _take_owed(self) -> list[FrameResult]:
        """The answers of anchors on frames answered already: the positions themselves. Not of points since removed."""
        if not len(self._owed):
            return []
        keys, self._owed = self._owed, np.zeros(0, np.int64)
        keys = keys[self._until[keys] > self._t[keys]]
        results = []
        for t in np.unique(self._t[keys]).tolist():
            some = keys[self._t[keys] == t]
            ones = np.ones(len(some), np.float32)
            results.append(self._result(t, some, self._xy[some], ones, ones, True))
        return results

    def _tensor(self, frame: Any) -> Tensor:
        """The frame as uint8 [3,h,w] of `size` on the model's device."""
        return sent(self._on_host(frame), self.model.device).contiguous()

    def _on_host(self, frame: Any) -> Tensor:
        """The frame as uint8 [3,h,w] of `size`, contiguous if it lies on the host."""
        read = self._reader.read(frame)
        # A mirrored view ([..., ::-1], BGR to RGB) has strides that torch does not take.
        if not isinstance(read, Tensor):
            read = torch.from_numpy(np.require(read, requirements=("C", "W"))).permute(2, 0, 1)
        tensor = read
        size = (int(tensor.shape[1]), int(tensor.shape[2]))
        if size != self.size:
            if size != self.info.size:
                (height, width), (h, w) = self.info.size, size
                raise ShapeError(f"the session's frames are {width}x{height}, got one of {w}x{h}")
            from tapkit.video.resize import resize_array

            # By the resizer of `video`, so that frames handed in are those that a source would have handed in.
            image = resize_array(tensor.permute(1, 2, 0).cpu().numpy(), self.size)
            tensor = torch.from_numpy(image).permute(2, 0, 1)
        if tensor.device.type == "cpu":
            # By numpy, in this thread: for one frame torch's threads cost more than they help.
            tensor = torch.from_numpy(np.ascontiguousarray(tensor.numpy()))
        return tensor

    def _convert(self, results: Sequence[DriverResult], provisional: bool) -> list[FrameResult]:
        chosen = (self._one(result) for result in results if result.final or provisional)
        return [result for result in chosen if len(result.rows)]

    def _one(self, result: DriverResult) -> FrameResult:
        keys = result.keys.cpu().numpy()
        t = self._t[keys]
        xy, visible, confidence = (part.detach().float().cpu().numpy() for part in result.prediction)
        xy = coords.resize(xy.astype(np.float32), self.size, self.info.size)
        start = t == result.frame
        if start.any():
            xy[start] = self._xy[keys[start]]
            visible, confidence = visible.copy(), confidence.copy()
            visible[start] = confidence[start] = 1.0
        asked = self._until[keys] > result.frame
        # Before its anchor a point is answered by the anchor before; before its query only if the model looks back.
        asked &= (t <= result.frame) | (self.model.card.bidirectional & ~self._corrected[keys])
        if not asked.all():
            keys, xy, visible, confidence = keys[asked], xy[asked], visible[asked], confidence[asked]
        return self._result(result.frame, keys, xy, visible, confidence, result.final)

    def _result(
        self, frame: int, keys: np.ndarray, xy: np.ndarray, visible: np.ndarray, confidence: np.ndarray, final: bool
    ) -> FrameResult:
        marks = self._corrected[keys] & (self._t[keys] == frame)
        return FrameResult(
            frame, self._row[keys], xy, visible, confidence, final, self.names, marks if marks.any() else None
        )

    # -- saving -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """The whole session as named tensors (safetensors can hold them): `load_state_dict` continues from there."""
        with self._user:
            return self._state()

    def _state(self) -> dict[str, Tensor]:
        kept = {"clock": self._clock.to_json(), "ranges": self._reader.to_json(), "cuts": list(self._cuts)}
        about = {"ids": self.names.tolist(), "active": self._active, "frame": self.frame, **kept}
        names = json.dumps(about).encode()
        return {
            "session.names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
            **{f"session.{name}": torch.from_numpy(getattr(self, f"_{name}").copy()) for name in _ANCHORS},
            # Copies of their own: what a driver holds may be a view, or be written to by the steps that follow.
            **{f"driver.{name}": _own(tensor) for name, tensor in self._driver.snapshot().items()},
        }

    def state_bytes(self) -> int:
        """About how large `state_dict` would be."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._driver.snapshot().values())

    @torch.inference_mode()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where the session that gave `state` was; for one just started with the same tracker and video."""
        with self._user:
            self._load(state)

    def _load(self, state: dict[str, Tensor]) -> None:
        try:
            names = json.loads(bytes(state["session.names"].cpu().numpy()))
            anchors = {name: state[f"session.{name}"].cpu().numpy().copy() for name in _ANCHORS}
        except (KeyError, ValueError) as error:
            raise StorageError("this is not the state of a session, or one of another version") from error
        self.names = np.array(names["ids"], dtype=np.str_) if names["ids"] else np.zeros(0, np.str_)
        self._active, self.frame = names["active"], names["frame"]
        if "clock" in names:  # states of earlier versions have none
            self._clock.load_json(names["clock"])
            self._reader.load_json(names["ranges"])
            self._cuts = deque(names["cuts"], maxlen=_CUTS_KEPT)
            self._leaving = bool(self._cuts)
        for name, array in anchors.items():
            setattr(self, f"_{name}", array)
        prefix = "driver."
        self._driver.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


_ANCHORS = ("t", "xy", "row", "until", "corrected", "owed")
