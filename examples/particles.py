"""The particles of a clip with their links, as pictures.

    python examples/particles.py CLIP OUT [--frames 0,30,60] [--side 480]

Dots are particles in colours of their own; links run from red (their ends have moved differently) to green.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from tapkit.flow.particle_video.links import graph
from tapkit.flow.particle_video.options import ParticleOptions
from tapkit.flow.particle_video.sweeps import Sweeps
from tapkit.video import open_video
from tapkit.viz import draw_particles


def main() -> None:
    """Make the particles, then draw the frames asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", default="0,30,60", help="which, counted from 0")
    parser.add_argument("--side", type=int, default=480, help="longer side of the frames as tracked, pixels")
    asked = parser.parse_args()
    with open_video(asked.clip) as video:
        images = [small(frame.image, asked.side) for frame in video.frames()]
    options = ParticleOptions(max_side=asked.side)
    sweeps = Sweeps(np.stack(images).transpose(0, 3, 1, 2), options, report)
    particles = sweeps.run()
    asked.out.mkdir(parents=True, exist_ok=True)
    for frame in sorted({int(text) for text in asked.frames.split(",")}):
        links, weights = graph(particles, frame, options.sigma_link)
        picture = draw_particles(images[frame], particles.ids[frame], particles.xy[frame], links, weights)
        target = asked.out / f"particles_{frame:04d}.png"
        Image.fromarray(picture).save(target)
        print(f"\r{target}: {len(particles.ids[frame])} particles, {len(links)} links")


def small(image: np.ndarray, side: int) -> np.ndarray:
    """The picture [h,w,3], not longer than that."""
    scale = min(side / max(image.shape[:2]), 1)
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size))


def report(done: int, total: int) -> None:
    """Progress on one line."""
    print(f"\r{done} of {total} frames processed", end="", flush=True)


if __name__ == "__main__":
    main()
