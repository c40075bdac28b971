"""Tracks that pass through keyframes: every position that a human set is tracked from, both ways, and between two of
them the tracks from either side are cross-faded.

A point's query and its keyframes are its *anchors*. To the trackers each anchor is a point of its own; here the tracks
of a point's anchors become one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapkit.sinks.table import Table
from tapkit.types import FrameResult, Keyframes, Queries
from tapkit.types.keyframes import share_of_right
from tapkit.types.storage import Block


class Anchors:
    """The anchors of N points: `queries` [M >= N] is what is to be tracked, the first N of them in the points' order.

    A keyframe on the frame of the query takes the query's place.
    """

    def __init__(self, asked: Queries, keyframes: Keyframes | None = None) -> None:
        self.asked = asked
        self.keyframes = keyframes if keyframes is not None else Keyframes.of([])
        rows = self.keyframes.rows(asked) if len(self.keyframes) else np.zeros(0, np.int64)
        t, xy = asked.t.copy(), asked.xy.copy()
        on_query = self.keyframes.t == t[rows]
        xy[rows[on_query]] = self.keyframes.xy[on_query]
        later = np.flatnonzero(~on_query)
        self.owner = np.concatenate([np.arange(len(asked)), rows[later]])
        """[M] point that each anchor belongs to."""
        self.queries = asked
        """[M] what is to be tracked."""
        if len(self.keyframes):
            names = [*asked.ids.tolist(), *_free_names(len(later), set(asked.ids.tolist()))]
            every_t = np.concatenate([t, self.keyframes.t[later]])
            every_xy = np.concatenate([xy, self.keyframes.xy[later]])
            self.queries = Queries(every_t, every_xy, names)  # type: ignore[arg-type]
        self.human = np.zeros(len(self.owner), bool)
        """[M] whether a human set the anchor's position."""
        self.human[rows[on_query]] = True
        self.human[len(asked) :] = True
        several = np.unique(rows[later])
        self._of = {int(row): self._in_order(np.flatnonzero(self.owner == row)) for row in several}
        """Points of several anchors: these, by frame."""

    def _in_order(self, anchors: np.ndarray) -> np.ndarray:
        ordered: np.ndarray = anchors[np.argsort(self.queries.t[anchors], kind="stable")]
        return ordered

    @property
    def points(self) -> Queries:
        """The points asked for, at the position that holds on their query's frame."""
        return self.queries[: len(self.asked)]

    def block(self, table: Table, start: int, stop: int) -> Block:
        """Points start..stop on all frames (as `Table.points`), each through all its anchors."""
        block = table.points(slice(start, stop))
        frames = np.arange(block["valid"].shape[1])
        several = {row: anchors for row, anchors in self._of.items() if start <= row < stop}
        if several:
            wanted = np.concatenate(list(several.values()))
            tracks = table.points(wanted)
            place = {int(anchor): index for index, anchor in enumerate(wanted)}
            for row, anchors in several.items():
                parts = [{name: part[place[int(anchor)]] for name, part in tracks.items()} for anchor in anchors]
                for name, values in self._cross_faded(parts, anchors, frames).items():
                    block[name][row - start] = values
        for anchor in np.flatnonzero(self.human):
            row, t = int(self.owner[anchor]), int(self.queries.t[anchor])
            if start <= row < stop and t < len(frames):
                block["keyframe"][row - start, t] = block["valid"][row - start, t]
        return block

    def at(self, table: Table, frame: int) -> FrameResult:
        """The points asked for on one frame (as `Table.at`)."""
        result = table.at(frame)
        if len(self.owner) == len(self.asked):
            return result._replace(names=self.asked.ids, keyframe=self._marks(result.rows, frame))
        cells = _cells(result, len(self.owner))
        for row, anchors in self._of.items():
            parts = [{name: part[anchor, None] for name, part in cells.items()} for anchor in anchors]
            for name, values in self._cross_faded(parts, anchors, np.array([frame])).items():
                cells[name][row] = values[0]
        rows = np.flatnonzero(cells["valid"][: len(self.asked)])
        xy, visible, confidence = (cells[name][rows] for name in ("xy", "visible", "confidence"))
        return FrameResult(
            frame, rows, xy, visible, confidence, names=self.asked.ids, keyframe=self._marks(rows, frame)
        )

    def _marks(self, rows: np.ndarray, frame: int) -> np.ndarray | None:
        now = self.human & (self.queries.t == frame)
        return np.isin(rows, self.owner[now]) if now.any() else None

    def _cross_faded(self, parts: Sequence[Block], anchors: np.ndarray, frames: np.ndarray) -> Block:
        """One track out of those of a point's anchors (in the order of their frames), each [T], on these frames.

        Between two anchors each counts the more the nearer and the surer it is (`share_of_right`), so that the track
        passes through both.
        """
        t = self.queries.t[anchors]
        last = len(t) - 1
        before = np.searchsorted(t, frames, side="right") - 1
        after = np.searchsorted(t, frames, side="left")
        left, right = before.clip(0, last), after.clip(0, last)
        left, right = np.where(before < 0, right, left), np.where(after > last, left, right)
        stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        column = np.arange(len(frames))
        gap = np.maximum(t[right] - t[left], 1)
        sure = [stacked["visible"][side, column] * stacked["confidence"][side, column] for side in (left, right)]
        weight = share_of_right(((frames - t[left]) / gap).clip(0, 1), *sure).astype(np.float32)
        has_left, has_right = stacked["valid"][left, column], stacked["valid"][right, column]
        # Where only one side was asked for (one direction), that side alone counts.
        weight = np.where(left == right, 0.0, np.where(has_left & has_right, weight, np.where(has_right, 1.0, 0.0)))
        joined: Block = {"valid": has_left | has_right, "keyframe": np.zeros(len(frames), bool)}
        for name in ("xy", "visible", "confidence"):
            share = (weight[:, None] if name == "xy" else weight).astype(np.float32)
            one, other = (np.nan_to_num(stacked[name][side, column]) for side in (left, right))
            joined[name] = (1 - share) * one + share * other
        joined["xy"][~joined["valid"]] = np.nan
        return joined


def _cells(result: FrameResult, count: int) -> Block:
    """A result as arrays of all `count` rows."""
    cells: Block = {
        "xy": np.full((count, 2), np.nan, np.float32),
        "visible": np.zeros(count, np.float32),
        "confidence": np.zeros(count, np.float32),
        "valid": np.zeros(count, bool),
        "keyframe": np.zeros(count, bool),
    }
    for name in ("xy", "visible", "confidence"):
        cells[name][result.rows] = getattr(result, name)
    cells["valid"][result.rows] = True
    return cells


def _free_names(count: int, taken: set[str]) -> list[str]:
    """Names that no point has: anchors are never shown to anybody."""
    names: list[str] = []
    number = 0
    while len(names) < count:
        if (name := f"anchor {number}") not in taken:
            names.append(name)
        number += 1
    return names
