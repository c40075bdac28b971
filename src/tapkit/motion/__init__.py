"""What tracks say about motion: distances, speeds, jumps; lengths and angles of a skeleton; with units."""

from tapkit.motion.doubt import Doubts, Unsure, doubts
from tapkit.motion.edges import EDGE_COLUMNS, Angles, Lengths, edge_lengths, edge_rows, edge_stats, joint_angles
from tapkit.motion.jumps import Jump, jumps
from tapkit.motion.kinematics import Scale, Steps, speeds, steps
from tapkit.motion.stats import COLUMNS, stats, write_stats

__all__ = [
    "COLUMNS",
    "EDGE_COLUMNS",
    "Angles",
    "Doubts",
    "Jump",
    "Lengths",
    "Scale",
    "Steps",
    "Unsure",
    "doubts",
    "edge_lengths",
    "edge_rows",
    "edge_stats",
    "joint_angles",
    "jumps",
    "speeds",
    "stats",
    "steps",
    "write_stats",
]
