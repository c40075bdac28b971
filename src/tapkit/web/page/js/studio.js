// The workspace of one clip: holds the parts together and passes on what changed.

import { Annotation } from "./annotation.js";
import { commands } from "./commands.js";
import { editing } from "./editing.js";
import { Emitter } from "./emitter.js";
import { exportDialog } from "./export.js";
import { Frames } from "./frames.js";
import { Gestures } from "./gestures.js";
import { Inspector } from "./inspector.js";
import { Jobs } from "./jobs.js";
import { Keys } from "./keys.js";
import { layout } from "./layout.js";
import { Live } from "./live.js";
import { Loupe } from "./loupe.js";
import { banner, dialog, failed, toast } from "./notes.js";
import { Player } from "./player.js";
import { Plot } from "./plot.js";
import { ObjectsPanel } from "./objects_panel.js";
import { PointsPanel } from "./points_panel.js";
import { keep, settings } from "./settings.js";
import { Stage } from "./stage.js";
import { Summary } from "./summary.js";
import { onTheme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { Tracks } from "./tracks.js";
import { tracking } from "./tracking.js";
import { h, plural } from "./dom.js";
import { View } from "./view.js";

const RELOAD = 150;           // ms of quiet after others' changes before the points are read again

/** Emits "mode", "zoom", "cursor" ((x, y) or null), "hint" (sentence or null), "compare", "doubts" (how many) and what its parts tell. */
export class Studio extends Emitter {
  constructor(app, clip) {
    super();
    Object.assign(this, { app, api: app.api, session: app.session, clip, settings });
    this.mode = "select";
    this.sticky = false;
    this.unseen = new Set();              // ids that are hidden from the picture in this window
    this.corrections = new Map();         // id -> event of its last correction
    this.pendingSpan = null;
    this.api.of = clip.of ?? null;
    this.readOnly = clip.problem ?? app.session.read_only ?? null;
    this.view = new View(clip.width, clip.height);
    this.annotation = new Annotation(this.api, clip);
    this.frames = new Frames(clip.frames, (t, height, signal) => this.api.frame(clip, t, height, signal), null, (error, t) => this.noFrame(error, t));
    this.player = new Player(this.frames, clip.frames, clip.fps);
    this.tracks = new Tracks(clip.frames, (ids, start, stop) => this.api.positions(clip.id, ids, start, stop), () => this.redraw());
    this.summary = new Summary(this.api, clip, () => this.annotation.points.size, () => {
      this.timeline?.request();
      this.emit("doubts", this.summary.doubts.length);
    });
    this.keys = new Keys(commands(this));
    this.jobs = new Jobs(this.api, (job) => this.jobOver(job));
    this.stage = new Stage(this, h("canvas", { class: "stage", tabindex: 0, role: "application", "aria-label": "Picture of the clip", "aria-describedby": "stage-help" }));
    this.gestures = new Gestures(this, this.stage.canvas);
    this.timeline = new Timeline(this);
    this.loupe = new Loupe(this);
    this.plot = new Plot(this);
    this.objects = new ObjectsPanel(this);
    this.panel = new PointsPanel(this);
    this.inspector = new Inspector(this);
    this.element = layout(this);
    this.off = [onTheme(() => {
      this.redraw();
      this.plot.draw();
    })];
    this.wire();
  }

  wire() {
    const { annotation, player } = this;
    player.on("shown", (t) => {
      this.stage.draw();                  // at once: the picture and its number change together
      this.timeline.follow(t);
      this.inspector.frame();
      this.loupe.update();
      this.plot.draw();
      if (this.pendingSpan) this.timeline.span = { ...this.timeline.span, to: t };
    });
    player.on("wanted", () => this.timeline.request());
    annotation.on("selection", () => this.selected());
    annotation.on("points", (ids) => {
      this.forgetOrder();
      this.tracks.stale(ids);
      this.summary.touch(ids);
      this.panel.draw();
      this.objects.draw();
      this.inspector.draw();
      this.loupe.update();
      if (ids.some((id) => annotation.selection.has(id))) this.plot.update();
      this.redraw();
    });
    annotation.on("removed", (ids) => {
      this.forgetOrder();
      this.tracks.remove(ids);
      this.summary.remove(ids);
      this.panel.draw();
      this.redraw();
    });
    annotation.on("made", () => this.offered?.());
    annotation.on("conflict", (conflict) => this.conflict(conflict));
    annotation.on("away", (away) => {
      this.app.away(away);
      if (!away) banner(this.readOnly);
    });
    this.leaving = (event) => { if (annotation.waiting) event.preventDefault(); };
    window.addEventListener("beforeunload", this.leaving);
  }

  async open() {
    if (this.readOnly) banner(this.readOnly);
    this.player.seek(Number(sessionStorage.getItem(`tapkit.frame.${this.clip.id}`) ?? 0));
    await this.annotation.load();
    this.connect();
    this.summary.load().catch(failed);
    this.jobs.load(this.clip.id).catch(failed);
    this.panel.draw();
    this.inspector.draw();
    this.element.dataset.ready = "yes";
    if (!this.annotation.points.size && this.readOnly === null) this.startPlacing(true);
  }

  connect() {
    this.live = new Live(this.clip.id);
    let first = true;
    this.live.on("message", (message) => this.told(message));
    this.live.on("closed", () => this.app.away(true));
    this.live.on("out", () => this.app.again());
    this.live.on("open", () => {
      this.app.away(false);
      if (!first) this.again();
      first = false;
    });
  }

  /** The line to the server is there again: what was missed is read. */
  again() {
    Promise.all([this.annotation.load(), this.summary.load(), this.jobs.load(this.clip.id)]).catch(failed);
    this.frames.pump();
  }

  told(message) {
    if (message.type === "job") this.jobs.take(message);
    else if (message.type === "positions") {
      this.tracks.write(message);
      this.summary.write(message);
      this.inspector.frame();
      this.plot.update();
    } else if (message.type === "changed") this.changed(message);
  }

  /** Something was changed: by a job, whose positions are read again, or in another window, whose edits are. */
  changed({ revision, points = [], by, window: where, job }) {
    if (where !== undefined && where === this.api.window) return;
    this.tracks.stale(points);
    this.summary.touch(points);
    if (points.some((id) => this.annotation.selection.has(id))) this.plot.update();
    if (job !== undefined) {
      this.annotation.revision = Math.max(this.annotation.revision, revision);
      return;
    }
    clearTimeout(this.reload);
    this.reload = setTimeout(() => this.annotation.load().catch(() => {}), RELOAD);
    const what = points.length === 1 ? this.annotation.name(points[0]) : plural(points.length, "point");
    if (points.length) this.emit("hint", `${by?.name ?? "Another window"} changed ${what}`);
  }

  /** A message with buttons that are about what was done last: it goes when anything else is done, so that its Undo undoes that and nothing else. */
  offer(sentence, actions) {
    this.offered = toast(sentence, { actions });
  }

  jobOver(job) {
    this.offered?.();
    const ids = job.points ?? [...this.annotation.points.keys()];
    this.tracks.stale(ids);
    this.summary.touch(ids);
    this.plot.update();
    this.annotation.canUndo = true;
    this.annotation.canRedo = false;
    this.annotation.emit("saving", this.annotation.waiting);
    if (job.state === "cancelled") toast("Stopped. What was tracked so far is kept.");
  }

  conflict({ error, yes, again, drop }) {
    dialog("Someone else changed this", (close) => [
      h("p", {}, `${error[0].toUpperCase()}${error.slice(1).replace(/[;:] (to do it all the same, )?force it.*$/, "")}.`),
      h("footer", {}, h("button", { onclick: () => close("theirs") }, "Keep theirs"), h("button", { class: "primary", onclick: () => close("mine") }, yes)),
    ]).then((answer) => (answer === "mine" ? again() : drop()));
  }

  selected() {
    const { active } = this.annotation;
    if (this.stage.ghostPath && this.stage.ghostPath.id !== active?.id) this.toggleCompare();
    this.panel.rows();
    this.inspector.draw();
    this.loupe.update();
    this.plot.update();
    if (active) {
      this.timeline.reveal(active.id);
      this.panel.reveal(active.id);
    }
    this.redraw();
  }

  redraw() {
    this.stage?.request();
    this.timeline?.request();
    this.loupe?.draw();
    this.inspector?.frame();
  }

  /** Told by the stage when frame `t` with its overlay is on the canvas. */
  painted(t) {
    this.element.dataset.shown = t;
    this.emit("painted", t);
    sessionStorage.setItem(`tapkit.frame.${this.clip.id}`, t);
  }

  noFrame(error, t) {
    if (error.status === 0) this.app.away(true);
    else toast(`Frame ${t}: ${error.message}`, { kind: "error" });
  }

  order() {
    this.ordered ??= [...this.annotation.points.values()].sort((a, b) => a.id - b.id).map((point) => point.id);
    return this.ordered;
  }

  /** Points that are drawn. */
  seen() {
    this.drawn ??= this.order().filter((id) => !this.unseen.has(id));
    return this.drawn;
  }

  forgetOrder() {
    this.ordered = this.drawn = null;
  }

  show(ids, visible) {
    for (const id of ids) {
      if (visible) this.unseen.delete(id);
      else this.unseen.add(id);
    }
    this.forgetOrder();
    this.panel.draw();
    this.redraw();
  }

  zoom(factor) {
    if (factor === null) this.view.fit();
    else this.view.zoom(factor);
    this.stage.zoomed();
  }

  closeUp() {
    const { active } = this.annotation, at = active && this.stage.place(active.id, this.player.shown);
    if (!at) return;
    if (this.view.scale < 4) this.view.zoom(4 / this.view.scale);
    this.view.center(at.x, at.y);
    this.stage.zoomed();
  }

  toggleLabels() {
    keep({ labels: !settings.labels });
    this.stage.request();
  }

  async export() {
    await exportDialog({ api: this.api, clip: this.clip, annotation: this.annotation, formats: this.session.formats });
  }

  saySaved() {
    toast(this.annotation.waiting ? "Saving: each change is stored as it is made." : "Everything is saved: each change is stored as it is made.");
  }

  close() {
    clearTimeout(this.reload);
    this.offered?.();
    window.removeEventListener("beforeunload", this.leaving);
    this.annotation.closed = true;
    this.player.pause();
    this.live?.close();
    for (const part of [this.keys, this.stage, this.timeline, this.loupe, this.plot, this.summary, this.frames]) part.close();
    for (const off of this.off) off();
    banner(null);
  }
}

Object.assign(Studio.prototype, editing, tracking);
