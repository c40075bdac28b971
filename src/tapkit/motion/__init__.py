"""What tracks say about motion: distances, speeds, jumps; per point, with units."""

from tapkit.motion.doubt import Doubts, Unsure, doubts
from tapkit.motion.jumps import Jump, jumps
from tapkit.motion.kinematics import Scale, Steps, speeds, steps
from tapkit.motion.stats import COLUMNS, stats, write_stats

__all__ = [
    "COLUMNS",
    "Doubts",
    "Jump",
    "Scale",
    "Steps",
    "Unsure",
    "doubts",
    "jumps",
    "speeds",
    "stats",
    "steps",
    "write_stats",
]
