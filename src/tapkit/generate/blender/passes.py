"""The two renders of a frame: the picture with everything, and the data without what blurs them. Runs in Blender.

Volumes, motion blur and depth of field disturb depth and masks, and make them slow; the data are rendered apart,
one sample at the centre of each pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

PASSES = ("z", "normal", "position", "object_index", "emit")
GPUS = ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI")
CENTRE = 0.01
"""Width of the pixel filter of the data in pixels; the smallest that Cycles takes."""


def choose_device(scene: Any, wanted: str) -> str:
    """Let Cycles run on `wanted` (auto, cpu, gpu). Returns what it runs on; leaves with a sentence if there is none."""
    scene.cycles.device = "CPU"
    if wanted == "cpu":
        return "cpu"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for kind in GPUS:
        try:
            preferences.compute_device_type = kind
        except TypeError:  # this Blender was built without it
            continue
        preferences.get_devices()
        found = [device for device in preferences.devices if device.type == kind]
        if found:
            for device in preferences.devices:
                device.use = device in found
            scene.cycles.device = "GPU"
            return f"{kind.lower()}: {', '.join(device.name for device in found)}"
    if wanted == "gpu":
        raise SystemExit("Blender finds no GPU here: --device cpu renders without one")
    return "cpu"


class Film:
    """Renders frames of the scene that is open."""

    def __init__(self, built: Any, samples: int, threads: int, denoise: bool = True) -> None:
        self.scene, self.volumes = bpy.context.scene, list(built.volumes)
        self.camera = built.camera.data
        self.samples, self.denoise = samples, denoise
        render, cycles = self.scene.render, self.scene.cycles
        self.hidden = [volume.hide_render for volume in self.volumes]
        self.bounces = cycles.max_bounces
        self.blurred, self.deep = render.use_motion_blur, self.camera.dof.use_dof
        render.engine, render.resolution_percentage = "CYCLES", 100
        render.use_compositing = render.use_sequencer = render.use_border = render.use_simplify = False
        render.threads_mode, render.threads = "FIXED", threads
        render.film_transparent = False
        render.use_file_extension = False
        render.use_persistent_data = True  # only what has changed is handed to Cycles anew: four times as quick
        render.motion_blur_position = "CENTER"
        cycles.use_animated_seed = True  # noise differs from frame to frame, and is the same for one of them alone
        cycles.use_adaptive_sampling = False
        cycles.denoiser, cycles.denoising_quality, cycles.denoising_prefilter = "OPENIMAGEDENOISE", "BALANCED", "FAST"
        if render.pixel_aspect_x != render.pixel_aspect_y:
            raise SystemExit("pixels must be square")

    def picture(self, path: Path) -> None:
        """Render the current frame as it shall look, an 8-bit PNG."""
        render, cycles = self.scene.render, self.scene.cycles
        for volume, hidden in zip(self.volumes, self.hidden, strict=True):
            volume.hide_render = hidden
        render.use_motion_blur, self.camera.dof.use_dof = self.blurred, self.deep
        cycles.samples, cycles.use_denoising, cycles.max_bounces = self.samples, self.denoise, self.bounces
        cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5
        self._passes(())
        settings = render.image_settings
        if hasattr(settings, "media_type"):  # Blender 5
            settings.media_type = "IMAGE"
        settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGB", "8"
        self._write(path)

    def data(self, path: Path) -> None:
        """Render depth, normals, positions, object indices and emission of the current frame: a 32-bit EXR."""
        render, cycles = self.scene.render, self.scene.cycles
        for volume in self.volumes:
            volume.hide_render = True
        render.use_motion_blur, self.camera.dof.use_dof = False, False
        cycles.samples, cycles.use_denoising, cycles.max_bounces = 1, False, 0
        cycles.pixel_filter_type, cycles.filter_width = "BOX", CENTRE
        self._passes(PASSES)
        settings = render.image_settings
        if hasattr(settings, "media_type"):
            settings.media_type = "MULTI_LAYER_IMAGE"
        settings.file_format, settings.color_depth, settings.exr_codec = "OPEN_EXR_MULTILAYER", "32", "ZIP"
        self._write(path)

    def _passes(self, wanted: tuple[str, ...]) -> None:
        for layer in self.scene.view_layers:
            for name in PASSES:
                setattr(layer, f"use_pass_{name}", name in wanted)

    def _write(self, path: Path) -> None:
        self.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        if not path.is_file():
            raise SystemExit(f"Blender did not write {path}")
