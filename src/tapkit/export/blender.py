"""Blender: a script that fills a movie clip with tracks, and the JSON that the same script writes after editing.

Blender's own coordinates: 0..1 over the picture, y up, frames of the clip counted from 1.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.export.format import Format, Job, Option
from tapkit.export.found import Context, Found, unique
from tapkit.export.text import NameRule, write_text

_LINE = 100
"""Characters of a line of encoded data: Blender's text editor is slow with long ones."""


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode("ascii")


def _write(job: Job, target: Path, clip: str = "") -> None:
    """The script: facts as JSON, keys as zlib-packed base64 of little-endian arrays, in the order of the points."""
    video, key = job.video, job.keys.key
    unit = coords.to_normalized(coords.flip_y(job.keys.xy, video.height), video.size)
    facts = {
        "names": job.names, "counts": key.sum(1).tolist(), "width": video.width, "height": video.height,
        "fps": [video.fps.numerator, video.fps.denominator], "frames": job.tracks.frames,
        "pixel_aspect": [video.pixel_aspect.numerator, video.pixel_aspect.denominator], "first": job.first,
        "path": clip or (str(Path(video.path).resolve()) if video.path else ""),
    }  # fmt: skip
    weight = np.where(key, job.tracks.confidence, np.nan)
    weights = np.nan_to_num(np.nanmean(weight, 1), nan=1.0) if len(weight) else np.zeros(0)
    data = {
        "FRAMES": np.broadcast_to(job.numbers, key.shape)[key].astype("<i4"), "POSITIONS": unit[key].astype("<f4"),
        "MUTED": ~job.keys.shown[key], "KEYED": job.keyframe[key], "WEIGHTS": weights.astype("<f4"),
    }  # fmt: skip
    template = resources.files("tapkit.export").joinpath("templates/blender.py.txt").read_text("utf-8")

    def parts() -> Iterator[str]:
        head, tail = template.split("#DATA#\n")
        # The facts stand in a raw string between ''\': an apostrophe within them would end it, as Python code.
        yield head.replace("#FACTS#", json.dumps(facts, indent=None).replace("'", "\\u0027"))
        for name, array in data.items():
            text = _packed(array)
            lines = (text[at : at + _LINE] for at in range(0, len(text), _LINE))
            yield f'{name} = """\n' + "\n".join(lines) + '\n"""\n'
        yield tail

    write_text(target, parts())


def _read(path: Path, context: Context) -> Found:
    """The JSON that "Save tracks" of the script writes."""
    if path.suffix.lower() == ".py":
        raise UsageError(f"{path.name} is the script to run in Blender; import the JSON that it saves there")
    document = json.loads(path.read_text("utf-8"))
    if document.get("format") != "tapkit-blender":
        raise context.damaged("it was not saved by the panel of a tapkit script in Blender")
    height, width = context.size(document["width"], document["height"])
    tracks = document["tracks"]
    context.left_out("tracks of other objects than the camera", document.get("others", 0))
    counts = [len(t["frames"]) for t in tracks]
    unit = np.array([pair for t in tracks for pair in t["positions"]], float).reshape(-1, 2)
    muted = np.array([flag for t in tracks for flag in t["muted"]], bool)
    return Found(
        unique([t["name"] for t in tracks]), np.repeat(np.arange(len(tracks)), counts),
        np.array([frame for t in tracks for frame in t["frames"]], int),
        coords.flip_y(coords.from_normalized(unit, (height, width)), height), visible=1.0 - muted,
        human=np.array([flag for t in tracks for flag in t["keyed"]], bool),
        width=document["width"], height=document["height"],
        fps=Fraction(*document["fps"]), pixel_aspect=Fraction(*document["pixel_aspect"]),
        frames=document["frames"], first=0,
    )  # fmt: skip


BLENDER = Format(
    "blender", ".py", "Blender script that fills a movie clip (import: the JSON that it saves)", _write, _read,
    NameRule(r"[\x00-\x1f]", 60), first_frame=1, occlusion=True, most_points=2000, bytes_per_key=14,
    options={"clip": Option(str, "path of the footage on the machine with Blender")},
)  # fmt: skip
