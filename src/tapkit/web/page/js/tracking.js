// What the tracker is asked for, as methods of Studio: tracks, the assist between clicks, and what a correction changed.

import { plural } from "./dom.js";
import { failed, toast } from "./notes.js";
import { settings } from "./settings.js";
import { reason } from "./summary.js";

export const tracking = {
  /** The selected points, or all where none is selected. */
  trackIds() {
    const { annotation } = this;
    if (!annotation.points.size) {
      toast("There is nothing to track yet: press N and click on something in the picture.");
      return null;
    }
    return annotation.selection.size ? annotation.chosen : [...annotation.points.keys()];
  },

  async track(direction = settings.direction) {
    const ids = this.trackIds();
    if (!ids || this.refuse()) return;
    if (this.mode !== "select") this.setMode("select");
    const t = this.player.shown;
    const here = (id) => (direction === "both" ? this.annotation.keyframe(id, t) : this.tracks.at(id, t)) !== null;
    await this.start({ kind: "track", points: ids, model: this.model(), from: ids.every(here) ? t : null, direction, until: settings.until }, ids);
  },

  async solve() {
    const ids = this.trackIds();
    if (!ids || this.refuse()) return;
    if (this.mode !== "select") this.setMode("select");
    await this.start({ kind: "solve", points: ids, motion: "dis", from: null, direction: "both", until: "end" }, ids);
  },

  model() {
    const { trackers } = this.session, known = trackers.find((tracker) => tracker.id === settings.model);
    return (known ?? trackers.find((tracker) => tracker.default) ?? trackers[0])?.id ?? null;
  },

  async start(job, ids) {
    try {
      await this.annotation.line;                  // what was just placed is there before it is tracked
      const { job: id } = await this.api.startJob(this.clip.id, job);
      if (!this.jobs.all.has(id)) this.jobs.take({ job: id, kind: job.kind, state: "queued", done: 0, total: 0 });
      return id;
    } catch (error) {
      failed(error);
      return null;
    } finally {
      this.tracks.stale(ids);
    }
  },

  /** After a correction: the track between the neighbouring keyframes is made anew, and the page says what changed. */
  async follow(id, t) {
    if (settings.afterDrag === "nothing") return;
    const job = settings.afterDrag === "solve"
      ? { kind: "solve", points: [id], motion: "dis", from: t, direction: "both", until: "keyframes" }
      : { kind: "track", points: [id], model: this.model(), from: t, direction: "both", until: "keyframes" };
    const started = await this.start(job, [id]);
    if (started === null) return;
    this.jobs.then(started, (end) => {
      if (end.state !== "done") return;
      this.offer(`${this.annotation.name(id)} follows the correction at frame ${t}.`, [["Compare", () => this.toggleCompare(id)], ["Undo", () => this.undo()]]);
    });
  },

  /** Shows and hides the path that the last correction of the active point replaced. */
  async toggleCompare(id = this.annotation.active?.id) {
    if (this.stage.ghostPath) {
      this.stage.ghostPath = null;
      this.stage.request();
      this.emit("hint", null);
      this.emit("compare", false);
      return;
    }
    const event = this.corrections.get(id);
    if (event === undefined) {
      toast(id === undefined ? "Select a point that you corrected: its path before and after is then compared." : `${this.annotation.name(id)} was not corrected since the page was opened.`);
      return;
    }
    try {
      const answer = await this.api.compare(this.clip.id, event);
      const pair = answer.find((one) => one.before.id === id);
      if (!pair) return;
      this.stage.ghostPath = { ...pair.before, id, start: pair.start };
      this.emit("hint", "dashed: the path before the correction");
      this.emit("compare", true);
      this.stage.request();
    } catch (error) {
      failed(error);
    }
  },

  /** To the next place that asks to be looked at (or the one before it); selected points first, where they have any. */
  doubt(step) {
    const { doubts } = this.summary, { annotation } = this;
    const known = doubts.filter((doubt) => annotation.points.has(doubt.point) && !this.unseen.has(doubt.point));
    if (!known.length) {
      toast(annotation.points.size ? "Nothing asks to be looked at." : "There are no tracks yet.");
      return;
    }
    const t = this.player.wanted, last = known.indexOf(this.lastDoubt);
    let next;
    if (last >= 0 && this.lastDoubt.t === t) next = (last + step + known.length) % known.length;
    else if (step > 0) next = Math.max(0, known.findIndex((doubt) => doubt.t > t));
    else next = (known.findLastIndex((doubt) => doubt.t < t) + known.length) % known.length;
    this.lastDoubt = known[next];
    annotation.select([this.lastDoubt.point]);
    this.player.pause();
    this.player.seek(this.lastDoubt.t);
    this.emit("hint", `${next + 1} of ${plural(known.length, "doubtful place")}: ${annotation.name(this.lastDoubt.point)}, ${reason(this.lastDoubt)}`);
  },

  keyframeStep(step) {
    const ids = this.annotation.selection.size ? this.annotation.chosen : [...this.annotation.points.keys()];
    const times = this.annotation.keyTimes(ids), t = this.player.wanted;
    const to = step > 0 ? times.find((time) => time > t) : times.findLast((time) => time < t);
    if (to === undefined) toast(times.length ? `There is no keyframe ${step > 0 ? "after" : "before"} this frame.` : "There are no keyframes yet.");
    else {
      this.player.pause();
      this.player.seek(to);
    }
  },

  selectStep(step) {
    const order = this.order();
    if (!order.length) return;
    const at = order.indexOf(this.annotation.active?.id);
    this.annotation.select([order[at < 0 ? (step > 0 ? 0 : order.length - 1) : (at + step + order.length) % order.length]]);
  },
};
