"""Objects: detections of every frame become tracks with identities, by points that are tracked inside them."""

from tapkit.apps.objects.association import Changes, PointMOT, Points
from tapkit.apps.objects.detections import Detections
from tapkit.apps.objects.files import read_detections, write_objects
from tapkit.apps.objects.follow import track_objects
from tapkit.apps.objects.onnx_detector import OnnxDetector
from tapkit.apps.objects.options import RULES, ObjectOptions, Rule
from tapkit.apps.objects.scores import ObjectScores, score_objects
from tapkit.apps.objects.table import ObjectTracks

__all__ = [
    "RULES",
    "Changes",
    "Detections",
    "ObjectOptions",
    "ObjectScores",
    "ObjectTracks",
    "OnnxDetector",
    "PointMOT",
    "Points",
    "Rule",
    "read_detections",
    "score_objects",
    "track_objects",
    "write_objects",
]
