"""Descriptions of scenes: seeded, readable, editable; standard library and numpy alone, so that Blender's Python has them."""
