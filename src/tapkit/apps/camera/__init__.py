"""Cameras: where the camera was on every frame, and where the points are, from the tracks of any tracker."""

from tapkit.apps.camera.estimate import estimate_cameras
from tapkit.apps.camera.files import read_tum, write_cameras
from tapkit.apps.camera.follow import Followed, track_camera
from tapkit.apps.camera.observations import Observations
from tapkit.apps.camera.options import METHODS, CameraOptions, Method
from tapkit.apps.camera.scores import CameraScores, score_cameras
from tapkit.apps.camera.trajectory import Report, Trajectory

__all__ = [
    "METHODS",
    "CameraOptions",
    "CameraScores",
    "Followed",
    "Method",
    "Observations",
    "Report",
    "Trajectory",
    "estimate_cameras",
    "read_tum",
    "score_cameras",
    "track_camera",
    "write_cameras",
]
