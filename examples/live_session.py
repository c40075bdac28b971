"""A live session: frames come one by one, points are added and removed while it runs.

python examples/live_session.py [MODEL] [WEIGHTS]
"""

from __future__ import annotations

import sys

import tapkit
from tapkit.video.samples import sample


def main(model: str, weights: str | None) -> None:
    tracker = tapkit.load(model, weights)
    with tapkit.open_video(sample()) as video:
        session = tracker.start(video.info, [(0, 262, 170), (0, 403, 164)])  # two letter blocks
        print(f"{model}: results are final {session.latency} frames later")
        for frame in video.frames(0, 60):
            for result in session.step(frame.image):
                if result.frame % 10 == 0:
                    told = (f"{n} ({x:.1f}, {y:.1f})" for n, (x, y) in zip(result.ids, result.xy, strict=True))
                    print(f"at frame {frame.index:2}: frame {result.frame:2} has {', '.join(told)}")
            if frame.index == 20:
                added = session.add([(session.earliest, 359, 300)])
                print(f"added {added[0]} on frame {session.earliest}")
            if frame.index == 40:
                session.remove(["1"])
                print("removed 1")
        print(f"{sum(len(r.ids) for r in session.finish())} answers were still owed")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lucas-kanade", sys.argv[2] if len(sys.argv) > 2 else None)
