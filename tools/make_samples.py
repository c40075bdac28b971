"""Cuts the sample clips of the package out of the shared videos: `python tools/make_samples.py [ASSETS/videos]`."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av

from tapkit.video import open_video

ROOT = Path(__file__).parents[1]
CLIPS = {
    # name: (file, first frame, stop, (height, width))
    "blocks": ("demo_blocks.mp4", 132, 232, (360, 640)),
    "rabbit": ("mdn_rabbit320.mp4", 130, 210, (240, 320)),
}


def cut(source: Path, target: Path, start: int, stop: int, size: tuple[int, int]) -> None:
    """Frames `start` to `stop` (excluded) of `source` as H.264, resized to `size` (height, width), without sound."""
    with open_video(source) as video, av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=video.info.fps, options={"crf": "19", "preset": "veryslow", "g": "48"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1) / video.info.fps
        for count, frame in enumerate(video.frames(start, stop, size=size)):
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
            picture.pts = count
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def main() -> None:
    videos = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "assets" / "videos"
    for name, (file, start, stop, size) in CLIPS.items():
        target = ROOT / "src" / "tapkit" / "video" / "samples" / f"{name}.mp4"
        cut(videos / file, target, start, stop, size)
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
