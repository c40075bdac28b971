"""Pictures of clips by frame number, as JPEG or PNG: decoded once, kept while there is room, and read ahead.

A browser's own player is never used for anything that is measured: it rounds times, and drops frames. Frame t here is
frame t of `tapkit.video`, which trackers see too.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit.annotate import footprint
from tapkit.coords import Size
from tapkit.errors import UsageError, VideoError
from tapkit.video import open_video
from tapkit.video.base import Frame, Source, check_index

QUALITY = 90
"""Of JPEG: points are judged by eye to a fraction of a pixel, `full=1` gives the exact values."""
LOWEST = 32
"""Rows of the smallest picture."""
AHEAD = 32
"""Frames that are read ahead while something else is being computed; else as many as there is room for."""
PACE = 0.0005
"""Seconds that reading ahead leaves between two frames, so that whoever waits for a frame gets it."""

Key = tuple[str, int, int]
"""Content of the clip, frame, rows of the picture (0: PNG of the exact pixels)."""


class Picture(NamedTuple):
    """One encoded frame."""

    data: bytes
    kind: str
    """image/jpeg or image/png."""


class Kept:
    """Encoded pictures, up to `capacity` bytes; the one unused for longest goes first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bytes = 0
        self._pictures: OrderedDict[Key, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Picture | None:
        """The picture, if it is here."""
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def has(self, key: Key) -> bool:
        """Whether it is here; does not count as used."""
        with self._lock:
            return key in self._pictures

    def put(self, key: Key, picture: Picture) -> None:
        """Keep it, unless it alone is too large."""
        with self._lock:
            if key in self._pictures or len(picture.data) > self.capacity:
                return
            self._pictures[key] = picture
            self.bytes += len(picture.data)
            while self.bytes > self.capacity:
                self.bytes -= len(self._pictures.popitem(last=False)[1].data)


@dataclass
class _Open:
    """A clip whose file is open."""

    path: str
    content: str
    source: Source
    stamp: tuple[int, int]
    """Size and time of the file when it was opened."""
    lock: threading.Lock


class Frames:
    """The frames of all clips of a project.

    Args:
        capacity: bytes of encoded pictures.
        busy: whether something is computed that needs this machine: reading ahead is then short.
        most_open: files open at once.

    Methods may be called from any thread; `close` ends the thread that reads ahead.
    """

    def __init__(self, capacity: int = 256 << 20, busy: Callable[[], bool] = lambda: False, most_open: int = 4) -> None:
        self.kept = Kept(capacity)
        self._busy, self._most_open = busy, most_open
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._lock = threading.Lock()
        self._wanted: tuple[str, str, int, int, int] | None = None
        """Path, content, frame, rows, direction of what was asked for last."""
        self._generation = 0
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        """Requests that wait for a decoder: reading ahead lets them go first."""
        self._closed = False
        self._thread: threading.Thread | None = None

    def picture(self, path: str, content: str, t: int, height: int | None = None, full: bool = False) -> Picture:
        """Frame `t` of a clip: a JPEG of at most `height` rows (None: all), or a PNG of the exact pixels.

        Args:
            path, content: where the clip lies, and the hash of what it holds.

        Raises `UsageError` for a frame that the clip does not have, `VideoError` for a clip that is gone, damaged or
        another one than when it was opened.
        """
        if height is not None and height < 1:
            raise UsageError(f"the height of a picture is 1 or more, got {height}")
        clip = self._clip(path, content)
        info = clip.source.info
        check_index(info.frames or 0, t)
        rows = 0 if full else min(max(height or info.height, LOWEST), info.height)
        key = (content, t, rows)
        found = self.kept.get(key)
        if found is None:
            found = self._made(clip, t, rows)
            self.kept.put(key, found)
        if not full:
            self._ahead_of(path, content, t, rows)
        return found

    def close(self) -> None:
        """End reading ahead and release all files."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5)
        with self._lock:
            clips = list(self._open.values())
            self._open.clear()
        for clip in clips:
            with clip.lock:
                clip.source.close()

    # -- decoding ---------------------------------------------------------------------------------

    def _clip(self, path: str, content: str) -> _Open:
        stamp = _stamp(path)
        with self._lock:
            clip = self._open.get(path)
            if clip is not None and clip.content == content and clip.stamp == stamp:
                self._open.move_to_end(path)
                return clip
        if clip is not None and clip.content == content:
            self._let_go(clip)
        fresh = _Open(path, content, open_video(path, cache_bytes=64 << 20), stamp, threading.Lock())
        closing = []
        with self._lock:
            if path in self._open and self._open[path].content == content:
                closing.append(fresh)
                fresh = self._open[path]
            self._open[path] = fresh
            while len(self._open) > self._most_open:
                closing.append(self._open.popitem(last=False)[1])
        for clip in closing:
            with clip.lock:
                clip.source.close()
        return fresh

    def _let_go(self, clip: _Open) -> None:
        """Close a file that was written to since: what it holds again may be read again, nothing else. Raises
        `VideoError`."""
        with self._lock:
            if self._open.get(clip.path) is clip:
                del self._open[clip.path]
        with clip.lock:
            clip.source.close()
        if footprint.content_hash(footprint.files_of(clip.path)) != clip.content:
            raise VideoError(f"{Path(clip.path).name} was changed while it was open: it is another video now")

    def _made(self, clip: _Open, t: int, rows: int) -> Picture:
        info = clip.source.info
        size = None if rows in (0, info.height) else _size(info.size, rows)
        with self._lock:
            self._waiting += 1
        try:
            with clip.lock:
                frame = _read(clip, t, size)
        finally:
            with self._lock:
                self._waiting -= 1
        return encoded(frame.image, exact=rows == 0)

    # -- reading ahead ----------------------------------------------------------------------------

    def _ahead_of(self, path: str, content: str, t: int, rows: int) -> None:
        with self._changed:
            before = self._wanted
            back = before is not None and before[:2] == (path, content) and before[3] == rows and t < before[2]
            self._wanted = (path, content, t, rows, -1 if back else 1)
            self._generation += 1
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._read_ahead, name="frames ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _read_ahead(self) -> None:
        done = 0
        while True:
            with self._changed:
                while self._generation == done and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                generation, wanted = self._generation, self._wanted
            if wanted is not None:
                self._follow(generation, *wanted)
            done = generation

    def _follow(self, generation: int, path: str, content: str, t: int, rows: int, step: int) -> None:
        """Frames after `t` until another one is asked for, or half of the room is taken."""
        with self._lock:
            clip = self._open.get(path)
        if clip is None or clip.content != content:
            return
        frames, room = clip.source.info.frames or 0, self.kept.capacity // 2
        for count in range(1, frames):
            at = t + step * count
            if self._generation != generation or self._closed or not 0 <= at < frames or room < 0:
                return
            if count > AHEAD and (step < 0 or self._busy()):
                return
            key = (content, at, rows)
            if self.kept.has(key):
                continue
            while self._waiting and self._generation == generation and not self._closed:
                time.sleep(PACE)
            try:
                picture = self._made_quietly(clip, at, rows)
            except Exception:
                return  # whoever asks for that frame is told what is wrong with it
            self.kept.put(key, picture)
            room -= len(picture.data)
            time.sleep(PACE)

    def _made_quietly(self, clip: _Open, t: int, rows: int) -> Picture:
        size = None if rows == clip.source.info.height else _size(clip.source.info.size, rows)
        with clip.lock:
            frame = _read(clip, t, size)
        return encoded(frame.image)


def _read(clip: _Open, t: int, size: Size | None) -> Frame:
    frame = clip.source.read(t, size)
    if frame.index != t:
        raise VideoError(f"frame {t} of {Path(clip.path).name} cannot be read")
    return frame


def _size(size: Size, rows: int) -> Size:
    """(height, width) of a picture of that many rows."""
    height, width = size
    return rows, max(round(width * rows / height), 1)


def _stamp(path: str) -> tuple[int, int]:
    try:
        now = os.stat(path)
    except OSError:
        raise VideoError(f"{Path(path).name} is not where it was: it was moved or deleted") from None
    return now.st_size, now.st_mtime_ns


def encoded(image: np.ndarray, exact: bool = False) -> Picture:
    """A picture [H,W,3] uint8 as JPEG (full colour resolution), or PNG if it is to be exact."""
    from PIL import Image

    out = io.BytesIO()
    if exact:
        Image.fromarray(image).save(out, "PNG", compress_level=1)
        return Picture(out.getvalue(), "image/png")
    Image.fromarray(image).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return Picture(out.getvalue(), "image/jpeg")
