"""Tracks made by tapkit, for a movie clip in Blender 4.2 or later.

In Blender: open this file in the text editor and press Run; or `blender -b scene.blend --python THIS_FILE`.
It loads the footage (or uses it where it is loaded), adds the tracks, and puts a panel "tapkit" into the sidebar of
the clip editor, with a button that saves the tracks for `tapkit import`. Markers that were found are "tracked",
those that a person set are "keyed", occluded ones are disabled. Run it again in a file that has the tracks already,
and it only brings the panel back.
"""

import base64
import json
import zlib
from array import array

import bpy

FACTS = json.loads(r'''{"names": ["gap", "late start", "occluded"], "counts": [9, 9, 12], "width": 320, "height": 180, "fps": [24000, 1001], "frames": 12, "pixel_aspect": [1, 1], "first": 1, "path": "/footage/shot.mov"}''')
FRAMES = """
eJxjZGBgYAJiZiBmAWIOIOYEYi4g5gZiHqg4KxCzATE7DjWMaOYQUg8AL1AA0w==
"""
POSITIONS = """
eJybNbPRdvUqLbtZMw/azv/iaXf2DIOdZV8ykFawKy8vt0tLm2BXJNMOpBfY6d1oAtIboOIHwOrS0i7YgfX5xNu/2ultP2tmpP35
Ljf7tGfB9o0rHeyNjf3suTWt7BkaPOwzxI3tz55xss+t17afJWlrfyFT2T4tzdz+xF0pe+PNhvY5DwXtGRgY7F9O/gc0j8Geb/Vn
oLsY7P/mvrZLe8ZgL/rwuZ2xMaP9/Ucv7RgaGO37vn4AupPR/krsb7tZkkz2G9yZgeYx2fs9Yweax2RvkckFNI/Zns2Yy/6sD7P9
vwB2ewAPfV5q
"""
MUTED = """
eJxjYMAKGBkZQRQAADAABA==
"""
KEYED = """
eJxjZMAJGBkYAAA/AAM=
"""
WEIGHTS = """
eJxjYHCwZ4BiAAg9AX4=
"""


def unpack(kind, text):
    values = array(kind)
    values.frombytes(zlib.decompress(base64.b64decode(text)))
    return values


def find_clip():
    """The clip in the clip editor, else one of the size of the tracked video, else the footage, loaded."""
    size = (FACTS["width"], FACTS["height"])
    for area in bpy.context.screen.areas if bpy.context.screen else ():
        if area.type == "CLIP_EDITOR" and area.spaces.active.clip:
            return area.spaces.active.clip
    fitting = [clip for clip in bpy.data.movieclips if tuple(clip.size) == size]
    if fitting:
        return fitting[0]
    if not FACTS["path"]:
        raise RuntimeError("tapkit: open the tracked footage in the movie clip editor first")
    return bpy.data.movieclips.load(bpy.path.abspath(FACTS["path"]))


def fill(clip):
    """Add the tracks to the clip, once."""
    if clip.get("tapkit"):
        return
    size = tuple(clip.size)
    if size != (FACTS["width"], FACTS["height"]):
        print("tapkit: the clip is %d x %d, the tracked video %d x %d" % (size + (FACTS["width"], FACTS["height"])))
    frames, positions = unpack("i", FRAMES), unpack("f", POSITIONS)
    muted, keyed, weights = unpack("b", MUTED), unpack("b", KEYED), unpack("f", WEIGHTS)
    at, ends = 0, {}
    for name, count, weight in zip(FACTS["names"], FACTS["counts"], weights):
        track = clip.tracking.tracks.new(name=name, frame=frames[at])
        track.weight = weight
        for k in range(at, at + count):
            marker = track.markers.insert_frame(frames[k], co=(positions[2 * k], positions[2 * k + 1]))
            marker.is_keyed = bool(keyed[k])
            marker.mute = bool(muted[k])
        ends[track.name] = end_spans(track, frames[at : at + count])
        at += count
    clip["tapkit"] = json.dumps({"fps": FACTS["fps"], "frames": FACTS["frames"], "first": FACTS["first"],
                                 "pixel_aspect": FACTS["pixel_aspect"], "ends": ends})


def end_spans(track, frames):
    """Put a disabled marker after every span, or Blender takes the point as known up to the next one. Their frames."""
    ends, last = [], FACTS["first"] + FACTS["frames"] - 1
    for frame, following in zip(frames, list(frames[1:]) + [last + 1]):
        if following > frame + 1:
            marker = track.markers.insert_frame(frame + 1, co=tuple(track.markers.find_frame(frame).co))
            marker.is_keyed, marker.mute = False, True
            ends.append(frame + 1)
    return ends


def save(clip, path):
    """Write the tracks of the clip as JSON for `tapkit import`; frames on which a track is not known are left out."""
    facts = json.loads(clip.get("tapkit", "{}"))
    first, tracks = facts.get("first", 1), []
    for track in clip.tracking.tracks:
        ends = set(facts.get("ends", {}).get(track.name, ()))
        markers = [m for m in track.markers if not (m.frame in ends and m.mute and not m.is_keyed)]
        tracks.append({
            "name": track.name, "frames": [m.frame - first for m in markers], "positions": [list(m.co) for m in markers],
            "keyed": [m.is_keyed for m in markers], "muted": [m.mute for m in markers],
        })
    document = {
        "format": "tapkit-blender", "width": clip.size[0], "height": clip.size[1],
        "fps": facts.get("fps", [round(clip.fps * 1000), 1000]), "frames": facts.get("frames", clip.frame_duration),
        "pixel_aspect": facts.get("pixel_aspect", [1, 1]), "tracks": tracks,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)


class TAPKIT_OT_save_tracks(bpy.types.Operator):
    """Save the tracks of this clip as JSON, for `tapkit import`"""

    bl_idname = "tapkit.save_tracks"
    bl_label = "Save tracks"
    filepath: bpy.props.StringProperty(subtype="FILE_PATH", default="tracks.json")
    filter_glob: bpy.props.StringProperty(default="*.json", options={"HIDDEN"})

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        save(find_clip(), bpy.path.abspath(self.filepath))
        return {"FINISHED"}


class TAPKIT_PT_tracks(bpy.types.Panel):
    bl_label = "tapkit"
    bl_category = "tapkit"
    bl_space_type = "CLIP_EDITOR"
    bl_region_type = "UI"

    def draw(self, context):
        self.layout.operator("tapkit.save_tracks")


for kind in (TAPKIT_OT_save_tracks, TAPKIT_PT_tracks):
    previous = getattr(bpy.types, kind.__name__, None)
    if previous is not None:
        bpy.utils.unregister_class(previous)
    bpy.utils.register_class(kind)
fill(find_clip())
