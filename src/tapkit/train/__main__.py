"""`python -m tapkit.train`: as `tapkit train`, with nothing but torch, NumPy, Pillow and safetensors installed.

For machines on which tapkit is not installed: PYTHONPATH=src python -m tapkit.train --preset datacenter --out run
"""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from tapkit.errors import TapkitError
from tapkit.train.command import SHARE, preset_names, start
from tapkit.train.loop import RunOptions


def parser() -> argparse.ArgumentParser:
    """The options; `tapkit train --help` says more of each."""
    made = argparse.ArgumentParser(prog="python -m tapkit.train", description=__doc__)
    made.add_argument("--preset", default="cpu", help=preset_names())
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--photos", type=Path)
    made.add_argument("--models", type=Path, help="folder of GLB models (needs trimesh)")
    made.add_argument("--data", type=Path)
    made.add_argument("--share", type=float, default=SHARE, help="of clips that are of --data, with --photos")
    made.add_argument("--minutes", type=float)
    made.add_argument("--steps", type=int, help="of this call")
    made.add_argument("--total-steps", type=int, help="of the whole curriculum")
    made.add_argument("--resume", action="store_true")
    made.add_argument("--init", type=Path)
    made.add_argument("--eval", type=Path)
    made.add_argument("--export", type=Path)
    made.add_argument("--device", default="auto")
    made.add_argument("--precision", default="auto")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--checkpoint-minutes", type=float, default=3.0)
    made.add_argument("--validate-minutes", type=float, default=10.0)
    made.add_argument("--compact", action="store_true", help="16-bit state on disk")
    made.add_argument("--tensorboard", action="store_true")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; errors are one sentence and an exit code."""
    given = parser().parse_args(arguments)
    command = shlex.join(["python", "-m", "tapkit.train", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        options = RunOptions(
            out=given.out,
            minutes=given.minutes,
            steps=given.steps,
            resume=given.resume,
            init=given.init,
            eval=given.eval,
            export=given.export,
            precision=given.precision,
            checkpoint_minutes=given.checkpoint_minutes,
            validate_minutes=given.validate_minutes,
            compact=given.compact,
            tensorboard=given.tensorboard,
            command=command,
        )
        start(
            name=given.preset,
            options=options,
            photos=given.photos,
            models=given.models,
            data=given.data,
            share=given.share,
            device=given.device,
            curriculum_steps=given.total_steps,
            seed=given.seed,
            say=partial(print, flush=True),
        )
    except TapkitError as error:
        print(f"tapkit: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
