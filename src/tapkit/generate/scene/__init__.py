"""Descriptions of scenes: seeded, readable, editable; standard library alone, so that Blender's Python has them."""
