"""A result to look at, without writing a file: the rerun viewer, or a page of its own in the browser.

The page has a canvas over the video. Tracks are data in it (JSON and base64), never code: its policy allows the one
script that comes with tapkit, by its hash, and no address but files of this machine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.errors import UsageError
from tapkit.types import Tracks
from tapkit.types import skeleton as edges_of
from tapkit.video.base import Source
from tapkit.video.span import Span
from tapkit.video.writer import VideoWriter
from tapkit.viz.draw import check_size
from tapkit.viz.palettes import by_number, by_position

_TEMPLATE = Path(__file__).with_name("viewer.html")
_PLAYED = {".mp4": {"h264", "av1"}, ".m4v": {"h264"}, ".webm": {"vp8", "vp9", "av1"}}
"""What browsers play: codecs by the ending of the file."""
_PIXELS = {"yuv420p", "yuvj420p"}
LARGEST = 60 << 20
"""Bytes of positions that a page may have."""
FEW = 12
"""Up to how many points have a colour each; more are coloured by where they begin."""


def write_page(source: Source, tracks: Tracks, folder: Path, threshold: float | None = None, frame: int = 0) -> Path:
    """Write the page into `folder`, and a copy of the video where browsers do not play the file itself.

    Args:
        source: the video that was tracked, at its own size.
        threshold: visible from this score on, as in `Tracks.visible_at`.
        frame: shown first.

    Raises `UsageError` for a video of another size, no points, a frame that there is not, or too many positions.
    """
    check_size(source, tracks)
    if not len(tracks):
        raise UsageError("there are no points to show")
    if not 0 <= frame < tracks.frames:
        raise UsageError(f"there is no frame {frame} in tracks of {tracks.frames} frames")
    if tracks.xy.nbytes > LARGEST:
        raise UsageError(
            f"{len(tracks)} points on {tracks.frames} frames are too much for a page: show some of them (--points)"
        )
    if played(source):
        video = Path(str(source.info.path)).resolve()
    else:
        video = folder / "video.mp4"
        with VideoWriter(video, source.info) as writer:
            for each in source.frames(0, tracks.frames):
                writer.write(each)
    page = folder / "page.html"
    page.write_text(_page(_data(tracks, video, threshold, frame)), encoding="utf-8")
    return page


def played(source: Source) -> bool:
    """Whether browsers play the very file that `source` reads, from its first frame to its last."""
    path = Path(source.info.path or "")
    if isinstance(source, Span) or path.suffix.lower() not in _PLAYED or not path.is_file():
        return False
    import av

    with av.open(str(path)) as container:
        streams = container.streams.video
        if len(streams) != 1 or streams[0].codec_context.name not in _PLAYED[path.suffix.lower()]:
            return False
        return streams[0].codec_context.pix_fmt in _PIXELS


def _data(tracks: Tracks, video: Path, threshold: float | None, frame: int) -> dict[str, Any]:
    """What the page's script reads."""
    info, times = tracks.video, tracks.times()
    few = len(tracks) <= FEW
    rgb = by_number(np.arange(len(tracks))) if few else by_position(tracks.queries.xy, info.size)
    state = np.where(tracks.valid, np.where(tracks.visible_at(threshold), 2, 1), 0).astype(np.uint8)
    xy = np.nan_to_num(tracks.xy).astype("<f4")
    name = Path(info.path or "tracks").name.encode("utf-8", "replace").decode()
    return {
        "title": name,
        "about": f"{len(tracks)} points, {tracks.frames} frames, {tracks.source.model or 'unknown tracker'}.",
        "video": video.as_uri(),
        "size": [info.width, info.height],
        "shown": [info.width * float(info.pixel_aspect), info.height],
        "times": (times - times[0]).tolist(),
        "last": float(1 / info.fps),
        "first": info.start_frame,
        "at": frame,
        "ids": tracks.ids.tolist(),
        "colors": ["#" + "".join(f"{round(255 * float(part)):02x}" for part in tone) for tone in rgb],
        "edges": edges_of.rows(tracks.skeleton, tracks.ids.tolist()),
        "xy": _base64(xy.transpose(1, 0, 2)),
        "state": _base64(state.T),
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _page(data: dict[str, Any]) -> str:
    """The template with the data in it. No text can end the element that holds it: "<" is written as a code."""
    template = _TEMPLATE.read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", template, re.S)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    text = json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return template.replace("@SCRIPT@", f"sha256-{digest}").replace("@DATA@", text)


def temporary_folder() -> Path:
    """A new folder among the system's temporary ones, which the system clears; nobody else may look into it."""
    return Path(tempfile.mkdtemp(prefix="tapkit-show-"))


def rerun_there() -> bool:
    """Whether the rerun viewer is installed and there is a screen to show it on."""
    screen = sys.platform in ("win32", "darwin") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
    return screen and find_spec("rerun") is not None


def show_in_rerun(source: Source, tracks: Tracks, folder: Path, threshold: float | None = None) -> bool:
    """Write a recording into `folder` and open the viewer on it; returns when that is closed, False if it failed."""
    from tapkit.export import library

    check_size(source, tracks)
    video = str(source.info.path) if source.info.path and not isinstance(source, Span) else ""
    recording = library.find("rerun").write(tracks, folder / "show.rrd", threshold=threshold, video=video)
    return subprocess.run([sys.executable, "-m", "rerun", str(recording)], check=False).returncode == 0
