// Everything that can be done in the studio, with its keys. Where CVAT and Blender agree on a key, it is theirs.

import { toast } from "./notes.js";
import { switchTheme } from "./theme.js";

/** The table for `Keys`; `s` is the studio. */
export function commands(s) {
  const moving = () => s.mode === "place" || s.mode === "grab";
  const two = () => s.annotation.selection.size === 2;
  const arrow = (key, dx, dy, title) => ({ key, dx, dy, title });
  const arrows = [arrow("ArrowLeft", -1, 0, "Previous frame"), arrow("ArrowRight", 1, 0, "Next frame"), arrow("ArrowUp", 0, -1), arrow("ArrowDown", 0, 1)];
  return [
    { id: "play", keys: [" "], group: "Time", title: "Play and pause", run: () => s.player.toggle() },
    ...arrows.flatMap(({ key, dx, dy, title }) => [
      { id: key, keys: [key], group: title ? "Time" : "Moving", title: title ?? `Move the cross or the point ${dy < 0 ? "up" : "down"}`, quiet: !title, when: title ? null : moving, run: () => (moving() ? s.moveCursor(dx, dy) : s.player.step(dx)) },
      { id: `shift${key}`, keys: [`shift+${key}`], group: title ? "Time" : "Moving", title: title ? `Ten frames ${dx < 0 ? "back" : "on"}` : `The same by 10 px ${dy < 0 ? "up" : "down"}`, quiet: !title, when: title ? null : moving, run: () => (moving() ? s.moveCursor(10 * dx, 10 * dy) : s.player.step(10 * dx)) },
      { id: `ctrl${key}`, keys: [`ctrl+${key}`], group: "Moving", quiet: true, title: `The same by 0.1 px ${{ ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" }[key]}`, when: moving, run: () => s.moveCursor(dx / 10, dy / 10) },
    ]),
    { id: "first", keys: ["Home"], group: "Time", title: "First frame", run: () => s.player.step(-s.clip.frames) },
    { id: "last", keys: ["End"], group: "Time", title: "Last frame", run: () => s.player.step(s.clip.frames) },
    { id: "keyBack", keys: [","], group: "Time", title: "Previous keyframe", run: () => s.keyframeStep(-1) },
    { id: "keyForward", keys: ["."], group: "Time", title: "Next keyframe", run: () => s.keyframeStep(1) },
    { id: "doubt", keys: ["d"], group: "Time", title: "Next doubtful place", run: () => s.doubt(1) },
    { id: "doubtBack", keys: ["shift+d"], group: "Time", title: "Previous doubtful place", run: () => s.doubt(-1) },

    { id: "place", keys: ["n"], group: "Points", title: "Place a point", run: () => s.startPlacing(false) },
    { id: "placeMany", keys: ["shift+n"], group: "Points", title: "Place points, one after the other", run: () => s.startPlacing(true) },
    { id: "grab", keys: ["g"], group: "Points", title: "Move the selected point with the arrow keys (Shift: 10 px, Ctrl: 0.1 px)", run: () => s.grab() },
    { id: "enter", keys: ["Enter"], group: "Points", title: "Set the point that is placed or moved", when: moving, run: () => s.enter(false) },
    { id: "enterStay", keys: ["shift+Enter"], group: "Points", title: "Set it and place another", when: moving, run: () => s.enter(true) },
    { id: "keyframe", keys: ["k"], group: "Points", title: "Keep the position on this frame as a keyframe", run: () => s.setKeyframeHere() },
    { id: "deleteKeyframe", keys: ["shift+Delete", "Backspace"], group: "Points", title: "Remove the keyframe on this frame", run: () => s.deleteKeyframesHere() },
    { id: "deletePoint", keys: ["Delete"], group: "Points", title: "Delete the selected points", run: () => s.deletePoints() },
    { id: "deleteFuture", keys: ["ctrl+Delete"], group: "Points", title: "Forget the track after this frame", run: () => s.deleteFuture() },
    { id: "next", keys: ["]"], group: "Points", title: "Select the next point", run: () => s.selectStep(1) },
    { id: "previous", keys: ["["], group: "Points", title: "Select the previous point", run: () => s.selectStep(-1) },
    { id: "all", keys: ["ctrl+a", "a"], group: "Points", title: "Select all points", run: () => s.annotation.select([...s.annotation.points.keys()]) },
    { id: "rename", keys: ["F2"], group: "Points", title: "Name the point", when: () => s.annotation.active !== null, run: () => s.rename() },
    { id: "link", keys: ["j"], group: "Points", title: "Join two points by a line, or part them", when: two, run: () => s.link() },
    { id: "merge", keys: ["m"], group: "Points", title: "Merge the second point into the first", when: two, run: () => s.merge() },
    { id: "box", keys: ["b"], group: "Points", title: "Draw the box of an object", run: () => s.setMode(s.mode === "box" ? "select" : "box") },

    { id: "track", keys: ["t"], group: "Tracking", title: "Track the selected points, or all", run: () => s.track() },
    { id: "trackBack", keys: ["shift+t"], group: "Tracking", title: "Track backwards only", run: () => s.track("backward") },
    { id: "trackForward", keys: ["f"], group: "Tracking", title: "Track forwards only", run: () => s.track("forward") },
    { id: "solve", keys: ["r"], group: "Tracking", title: "Assist: a path through all keyframes, along the motion of the picture", run: () => s.solve() },
    { id: "compare", keys: ["c"], group: "Tracking", title: "Compare with the path before the last correction", run: () => s.toggleCompare() },
    { id: "occluded", keys: ["o"], group: "Visibility", title: "Hidden: press at both ends of the span", run: () => s.spanEnd("occluded") },
    { id: "outside", keys: ["shift+o"], group: "Visibility", title: "Outside the picture: press at both ends", run: () => s.spanEnd("outside") },
    { id: "visible", keys: ["v"], group: "Visibility", title: "Visible: press at both ends", run: () => s.spanEnd("visible") },

    { id: "zoomIn", keys: ["+", "="], group: "Looking", title: "Zoom in", run: () => s.zoom(1.25) },
    { id: "zoomOut", keys: ["-"], group: "Looking", title: "Zoom out", run: () => s.zoom(0.8) },
    { id: "fit", keys: ["0"], group: "Looking", title: "Show the whole picture", run: () => s.zoom(null) },
    { id: "center", keys: ["z"], group: "Looking", title: "Go close to the selected point", run: () => s.closeUp() },
    { id: "labels", keys: ["l"], group: "Looking", title: "Names of all points in the picture", run: () => s.toggleLabels() },
    { id: "timeIn", keys: ["PageUp"], group: "Looking", title: "Less of the timeline, larger", run: () => s.timeline.zoom(0.6) },
    { id: "timeOut", keys: ["PageDown"], group: "Looking", title: "More of the timeline", run: () => s.timeline.zoom(1.6) },
    { id: "theme", keys: ["y"], group: "Looking", title: "Dark or light", run: switchTheme },

    { id: "undo", keys: ["ctrl+z"], group: "The document", title: "Undo", run: () => s.undo() },
    { id: "redo", keys: ["ctrl+shift+z", "ctrl+y"], group: "The document", title: "Redo", run: () => s.redo() },
    { id: "export", keys: ["e"], group: "The document", title: "Export for another program", run: () => s.export() },
    { id: "saved", keys: ["ctrl+s"], group: "The document", title: "Nothing to save: it says so", run: () => s.saySaved() },
    { id: "help", keys: ["?", "F1"], group: "The document", title: "Keys", run: () => s.keys.help() },
    { id: "escape", keys: ["Escape"], group: "The document", title: "Leave a mode, then the selection", run: () => s.escape() },
  ];
}

/** The few that hold on every other page. */
export function pageCommands(app) {
  return [
    { id: "theme", keys: ["y"], group: "Everywhere", title: "Dark or light", run: switchTheme },
    { id: "help", keys: ["?", "F1"], group: "Everywhere", title: "Keys", run: () => app.keys.help() },
    { id: "saved", keys: ["ctrl+s"], group: "Everywhere", title: "Nothing to save: it says so", run: () => toast("Everything is saved: each change is, as it is made.") },
  ];
}
