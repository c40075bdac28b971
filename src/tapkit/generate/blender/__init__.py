"""From a description to a built Blender scene. Runs in Blender's Python (bpy, numpy, `scene`), never in tapkit's.

The folder above is on the module path there: `from scene.description import ...`, `from blender.build import build`.
"""
