// What a person does to points, as methods of Studio: each becomes one edit, is seen at once and is undone in one step.

import { h } from "./dom.js";
import { dialog, failed, toast } from "./notes.js";

const FAR = 1e-3;             // px; a drag shorter than this is none

export const editing = {
  /** Refuses in the page's words where nothing can be changed; true where it did. */
  refuse() {
    if (this.readOnly === null) return false;
    toast(this.readOnly, { kind: "error" });
    return true;
  },

  within(x, y) {
    return { x: Math.min(Math.max(0, x), this.clip.width), y: Math.min(Math.max(0, y), this.clip.height) };
  },

  setMode(mode, sticky = false) {
    if (mode !== "select" && this.refuse()) return;
    this.mode = mode;
    this.sticky = sticky;
    this.stage.drag = null;
    if (mode === "select" || mode === "box") this.stage.cursor = null;
    this.pendingSpan = this.timeline.span = null;
    this.stage.hover = null;
    this.stage.canvas.style.cursor = mode === "select" ? "default" : "crosshair";
    this.emit("mode", mode);
    this.emit("cursor", null);
    this.stage.request();
  },

  async placePoint(x, y, { stay = false } = {}) {
    if (this.refuse()) return;
    const t = this.player.shown;
    if (t === null) return;
    if (!this.view.inside(x, y)) {
      toast("That is outside the picture: click on it.");
      return;
    }
    const ghost = { t, x, y };
    this.stage.ghosts.push(ghost);
    this.stage.request();
    const before = new Set(this.annotation.points.keys()), several = this.placed && stay;
    if (!stay) this.setMode("select");
    this.placed = true;
    try {
      const change = await this.annotation.edit([{ op: "add_point", t, x, y }]);
      const added = (change?.points ?? []).map((point) => point.id).filter((id) => !before.has(id));
      for (const id of added) this.tracks.put(id, t, x, y, true);
      this.annotation.select(added, { add: several });
    } catch (error) {
      failed(error);
    } finally {
      this.stage.ghosts = this.stage.ghosts.filter((other) => other !== ghost);
      this.stage.request();
    }
  },

  /** A point was dragged to (x, y) at frame t: a keyframe there, and the track follows to the neighbouring keyframes. */
  async correct(id, t, x, y) {
    this.stage.drag = null;
    const was = this.tracks.at(id, t);
    if (this.refuse() || (was && Math.hypot(was.x - x, was.y - y) < FAR)) return;
    const follow = this.hasTrack(id, t);
    this.showKeyframe(id, t, x, y);
    try {
      const change = await this.annotation.edit([{ op: "set_keyframe", point: id, t, x, y }]);
      if (!change) return;
      this.corrections.set(id, change.event ?? change.revision);
      if (follow) await this.follow(id, t);
    } catch (error) {
      failed(error);
      await this.annotation.load();
    }
  },

  /** The active point is at (x, y) on this frame, wherever it was thought to be. */
  putHere(x, y) {
    if (!this.view.inside(x, y)) return toast("That is outside the picture: click on it.");
    return this.correct(this.annotation.active.id, this.player.shown, x, y);
  },

  /** The keyframe as it will be, before the server has answered. */
  showKeyframe(id, t, x, y) {
    const point = this.annotation.points.get(id);
    const key = this.annotation.keyframe(id, t), visible = key?.visible ?? true;
    const keyframes = [...point.keyframes.filter((other) => other.t !== t), { t, x, y, visible }].sort((a, b) => a.t - b.t);
    this.annotation.points.set(id, { ...point, keyframes });
    this.tracks.put(id, t, x, y, visible);
    this.redraw();
  },

  hasTrack(id, t) {
    const others = this.annotation.points.get(id).keyframes.filter((key) => key.t !== t);
    return others.length > 0 || this.tracks.at(id, t - 1) !== null || this.tracks.at(id, t + 1) !== null;
  },

  async change(edits) {
    if (this.refuse() || !edits.length) return null;
    try {
      return await this.annotation.edit(edits);
    } catch (error) {
      failed(error);
      this.annotation.load().catch(() => {});
      return null;
    }
  },

  async setVisibility(ids, start, stop, state) {
    const change = await this.change(ids.map((point) => ({ op: "set_visibility", point, start, stop, state })));
    if (!change) return;
    const who = ids.length === 1 ? this.annotation.name(ids[0]) : `${ids.length} points`;
    const span = stop - start === 1 ? `frame ${start}` : `frames ${start} to ${stop - 1}`;
    const other = state === "occluded" ? "outside" : "occluded";
    this.offer(`${who}: ${state ?? "as the tracker says"} on ${span}.`, [
      [`${other[0].toUpperCase()}${other.slice(1)} instead`, () => this.setVisibility(ids, start, stop, other)],
      ...(state === null ? [] : [["Clear", () => this.setVisibility(ids, start, stop, null)]]),
      ["Undo", () => this.undo()],
    ]);
  },

  setStateHere(state) {
    const t = this.player.shown;
    return this.change(this.annotation.chosen.map((point) => ({ op: "set_visibility", point, start: t, stop: t + 1, state })));
  },

  /** The key pressed at both ends of a span. */
  spanEnd(state) {
    const ids = this.chosenOrSay();
    if (!ids || this.refuse()) return;
    const t = this.player.shown, pending = this.pendingSpan;
    if (!pending || pending.state !== state) {
      this.pendingSpan = { ids, t, state };
      this.timeline.span = { id: ids.at(-1), from: t, to: t, moved: true };
      this.emit("hint", `${state} from frame ${t}: go to the other end and press the key again (Esc: leave it)`);
      this.timeline.request();
      return;
    }
    this.pendingSpan = this.timeline.span = null;
    this.emit("hint", null);
    this.setVisibility(pending.ids, Math.min(t, pending.t), Math.max(t, pending.t) + 1, state);
  },

  chosenOrSay() {
    const ids = this.annotation.chosen;
    if (ids.length) return ids;
    if (this.annotation.points.size === 1) return [...this.annotation.points.keys()];
    toast("Select a point first: click on it, or press ] for the next one.");
    return null;
  },

  editPoints(ids, fields) {
    return this.change(ids.map((point) => ({ op: "edit_point", point, ...fields })));
  },

  rename() {
    this.inspector.name.focus();
    this.inspector.name.select();
  },

  setKeyframeHere() {
    const t = this.player.shown, ids = this.chosenOrSay();
    if (!ids) return null;
    const edits = ids.map((point) => [point, this.tracks.at(point, t)]).filter(([, at]) => at)
      .map(([point, at]) => ({ op: "set_keyframe", point, t, x: at.x, y: at.y, visible: at.visible !== 0 }));
    if (!edits.length) toast("There is no position on this frame to keep: track the point, or press G to put it somewhere.");
    return this.change(edits);
  },

  deleteKeyframesHere() {
    const t = this.player.shown, ids = this.annotation.chosen.filter((id) => this.annotation.keyframe(id, t));
    if (!ids.length) toast("The selected points have no keyframe on this frame.");
    return this.change(ids.map((point) => ({ op: "delete_keyframe", point, t })));
  },

  async deletePoints() {
    const ids = this.chosenOrSay();
    if (!ids) return;
    const name = ids.length === 1 ? this.annotation.name(ids[0]) : `${ids.length} points`;
    const change = await this.change(ids.map((point) => ({ op: "delete_point", point })));
    if (change) this.offer(`Deleted ${name}.`, [["Undo", () => this.undo()]]);
  },

  /** Forgets what the tracker said after this frame, up to the next keyframe of each point. */
  async deleteFuture() {
    const t = this.player.shown, ids = this.chosenOrSay();
    if (!ids) return;
    const edits = ids.map((point) => {
      const next = this.annotation.points.get(point).keyframes.find((key) => key.t > t);
      return { op: "delete_prediction", point, start: t + 1, stop: next ? next.t : this.clip.frames };
    }).filter(({ start, stop }) => start < stop);
    if (await this.change(edits)) toast("Forgot the track after this frame, up to the next keyframe.", { actions: [["Undo", () => this.undo()]] });
  },

  merge() {
    const [keep, other] = [...this.annotation.selection];
    return this.change([{ op: "merge_points", keep, other }]);
  },

  /** Joins two selected points by a line of the skeleton, or takes the line away. */
  link() {
    const [a, b] = [...this.annotation.selection], { skeleton } = this.annotation;
    const same = ([p, q]) => (p === a && q === b) || (p === b && q === a);
    const links = skeleton.some(same) ? skeleton.filter((pair) => !same(pair)) : [...skeleton, [a, b]];
    return this.change([{ op: "set_skeleton", links }]);
  },

  /** The cross while placing, or the point while it is moved, goes by pixels of the video. */
  moveCursor(dx, dy) {
    const { stage } = this;
    if (this.mode === "grab") {
      stage.drag = { id: stage.drag.id, ...this.within(stage.drag.x + dx, stage.drag.y + dy) };
      this.emit("cursor", [stage.drag.x, stage.drag.y]);
      this.inspector.frame();
    } else {
      const [x, y] = stage.cursor ?? [this.clip.width / 2, this.clip.height / 2], to = this.within(x + dx, y + dy);
      stage.cursor = [to.x, to.y];
      this.emit("cursor", stage.cursor);
      this.emit("hint", `cross at ${to.x.toFixed(1)}, ${to.y.toFixed(1)}: Enter places the point`);
    }
    stage.request();
  },

  startPlacing(sticky = false) {
    this.setMode("place", sticky);
    if (this.mode !== "place") return;
    this.placed = false;
    const [x, y] = this.view.toVideo(this.view.room[0] / 2, this.view.room[1] / 2), to = this.within(x, y);
    this.stage.cursor ??= [to.x, to.y];
    this.stage.canvas.focus({ preventScroll: true });
  },

  grab() {
    const ids = this.chosenOrSay(), t = this.player.shown;
    if (!ids || this.refuse()) return;
    const id = ids.at(-1), at = this.tracks.at(id, t);
    this.player.pause();
    this.annotation.select([id]);
    this.setMode("grab");
    const start = at ?? { x: this.clip.width / 2, y: this.clip.height / 2 };
    this.stage.drag = { id, x: start.x, y: start.y };
    this.grabbed = t;
    this.stage.canvas.focus({ preventScroll: true });
    this.emit("hint", "arrows move the point (Shift: 10 px, Ctrl: 0.1 px); Enter sets it, Esc leaves it");
    this.stage.request();
  },

  enter(stay) {
    const { stage, mode } = this;
    if (mode === "place" && stage.cursor) this.placePoint(...stage.cursor, { stay: stay || this.sticky });
    else if (mode === "grab") {
      const { id, x, y } = stage.drag;
      this.setMode("select");
      this.correct(id, this.grabbed, x, y);
    }
  },

  escape() {
    this.emit("hint", null);
    if (this.mode !== "select" || this.pendingSpan) this.setMode("select");
    else if (this.stage.ghostPath) this.toggleCompare();
    else this.annotation.select([]);
    this.timeline.request();
  },

  async drawnBox({ x0, y0, x1, y1 }) {
    const t = this.player.shown, from = this.within(x0, y0), to = this.within(x1, y1);
    if (to.x - from.x < 1 || to.y - from.y < 1) return;
    const box = { t, x0: from.x, y0: from.y, x1: to.x, y1: to.y };
    const { objects } = this.annotation;
    const answer = await dialog("Which object is this?", (close) => {
      const label = h("input", { maxlength: 80, placeholder: "for instance: left player", "aria-label": "Label of the new object", autofocus: true });
      return h("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); close({ label: label.value.trim() }); } },
        objects.length ? h("div", { class: "row wrap" }, objects.map((object) => h("button", { type: "button", onclick: () => close({ object: object.id }) }, object.label || `object ${object.id}`))) : null,
        h("label", { class: "field" }, "A new one, called", label),
        h("footer", {}, h("button", { type: "button", onclick: () => close() }, "Cancel"), h("button", { class: "primary" }, "Add the object")));
    });
    if (!answer) return;
    await this.change([{ op: "set_box", ...box, ...answer }]);
    toast(`Box at frame ${t}. TAP-Vid asks for one every 30 frames.`, { actions: [["Go 30 frames on", () => this.player.step(30)]] });
  },

  async undo() {
    await this.travel("undo", "Undone");
  },

  async redo() {
    await this.travel("redo", "Done again");
  },

  async travel(which, word) {
    if (this.refuse()) return;
    try {
      const change = await this.annotation[which]();
      if (change?.text) this.emit("hint", `${word}: ${change.text.replace(/^(undid|did again): /, "")}`);
    } catch (error) {
      if (error.status >= 400 && error.status < 500) toast(error.message);
      else failed(error);
    }
  },
};
