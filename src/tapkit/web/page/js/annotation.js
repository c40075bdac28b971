// The document of one clip as this page knows it: points, selection, and the edits on their way to the server.

import { ApiError, freshName } from "./api.js";
import { Emitter } from "./emitter.js";

const AGAIN = 1500;            // ms between tries while the server is away
const SOON = 150;              // ms after the last undo until it is asked how much more there is

/**
 * Emits "points" (ids that changed; others may still look the same), "removed" (ids), "selection", "saving" (number of
 * edits on their way), "made" (something was done, or undone), "away" (bool) and "conflict" ({error, theirs, yes, again, drop}).
 */
export class Annotation extends Emitter {
  constructor(api, clip) {
    super();
    this.api = api;
    this.clip = clip;
    this.points = new Map();
    this.selection = new Set();
    this.skeleton = [];
    this.objects = [];            // {id, label, boxes: [{t, x0, y0, x1, y1}]}
    this.revision = 0;
    this.canUndo = this.canRedo = false;
    this.waiting = 0;
    this.line = Promise.resolve();
    this.closed = false;
  }

  async load() {
    const [answer, objects] = await Promise.all([this.api.points(this.clip.id), this.api.objects(this.clip.id)]);
    const before = new Set(this.points.keys());
    this.points = new Map(answer.points.map((point) => [point.id, point]));
    this.take(answer);
    this.objects = objects;
    const gone = [...before].filter((id) => !this.points.has(id));
    for (const id of gone) this.selection.delete(id);
    if (gone.length) this.emit("removed", gone);
    this.emit("points", [...this.points.keys()]);
    this.emit("selection");
  }

  take(answer) {
    this.revision = answer.revision ?? this.revision;
    if (answer.skeleton) this.skeleton = answer.skeleton;
    if ("can_undo" in answer) this.canUndo = answer.can_undo;
    if ("can_redo" in answer) this.canRedo = answer.can_redo;
  }

  /** Takes the server's account of a change: {revision, points, removed}. */
  apply(change) {
    this.take(change);
    for (const object of change.objects ?? []) {
      this.objects = this.objects.filter((other) => other.id !== object.id);
      if (object.boxes.length) this.objects.push(object);
    }
    for (const point of change.points ?? []) this.points.set(point.id, point);
    const removed = (change.removed ?? []).filter((id) => this.points.delete(id));
    let chosen = false;
    for (const id of removed) chosen = this.selection.delete(id) || chosen;
    if (removed.length) this.emit("removed", removed);
    this.emit("points", (change.points ?? []).map((point) => point.id));
    if (chosen) this.emit("selection");
  }

  /** Sends edits in the order in which they were made; resolves to the change, null where they were given up. */
  edit(edits, { force = false } = {}) {
    const base = this.seen(edits);
    return this.queue(() => this.send((name) => this.api.edits(name, this.clip.id, base, edits, force)), this.asks(() => this.edit(edits, { force: true }))).then((change) => {
      if (change) {
        this.canUndo = true;
        this.canRedo = false;
      }
      this.emit("saving", this.waiting);
      return change;
    });
  }

  /** What to do where someone else's change is in the way: it is asked whether `again` is to be done all the same. */
  asks(again, yes = "Use mine") {
    return (error) => new Promise((resolve) => {
      this.emit("conflict", {
        error: error.message, theirs: error.body.theirs, yes,
        again: () => resolve(again()),
        drop: () => this.load().then(() => resolve(null)),
      });
    });
  }

  /**
   * The revision up to which this page knows the points that the edits are about. Not that of the clip: the answer to an
   * edit of one point carries it beyond what others did to another point meanwhile.
   */
  seen(edits) {
    const known = edits.flatMap(({ point, keep, other }) => [point, keep, other]).map((id) => this.points.get(id)?.revision);
    return Math.min(this.revision, ...known.filter((revision) => revision !== undefined));
  }

  undo() {
    return this.travel("undo", "canUndo", "canRedo");
  }

  redo() {
    return this.travel("redo", "canRedo", "canUndo");
  }

  async travel(which, there, back, force = false) {
    try {
      const change = await this.queue(() => this.send((name) => this.api[which](name, this.clip.id, force)), this.asks(() => this.travel(which, there, back, true), which === "undo" ? "Undo all the same" : "Do it all the same"));
      if (change) this[back] = true;
      this.flags();
      return change;
    } catch (error) {
      if (error.status >= 400 && error.status < 500 && error.status !== 409) this[there] = false;
      throw error;
    } finally {
      this.emit("saving", this.waiting);
    }
  }

  /** Whether there is more to undo and to redo, and which objects are left: the server knows. */
  flags() {
    clearTimeout(this.asking);
    this.asking = setTimeout(async () => {
      try {
        const [{ can_undo, can_redo }, objects] = await Promise.all([this.api.points(this.clip.id), this.api.objects(this.clip.id)]);
        this.take({ can_undo, can_redo });
        this.objects = objects;
        this.emit("points", []);
        this.emit("saving", this.waiting);
      } catch { /* the next undo says it */ }
    }, SOON);
  }

  queue(run, conflict = null) {
    this.waiting += 1;
    this.emit("saving", this.waiting);
    const result = this.line.then(run).then((change) => {
      this.emit("made");
      this.apply(change);
      return change;
    });
    this.line = result.catch(() => null).finally(() => {
      this.waiting -= 1;
      this.emit("saving", this.waiting);
    });
    return result.catch((error) => {
      if (conflict && error.status === 409 && error.body.theirs !== undefined) return conflict(error);
      throw error;
    });
  }

  /** Calls until the server answers, under one name: what was done and only its answer lost is not done again. */
  async send(call) {
    const name = freshName();
    for (;;) {
      try {
        const answer = await call(name);
        this.emit("away", false);
        return answer;
      } catch (error) {
        if (!(error instanceof ApiError) || !error.unheard || this.closed) throw error;
        this.emit("away", true);
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
    }
  }

  /** The ids that a command is about: the selected ones, in the order of the list. */
  get chosen() {
    return [...this.points.keys()].filter((id) => this.selection.has(id));
  }

  /** The one that was selected last. */
  get active() {
    return this.points.get([...this.selection].at(-1)) ?? null;
  }

  select(ids, { add = false, toggle = false } = {}) {
    if (!add && !toggle) this.selection.clear();
    for (const id of ids) {
      if (toggle && this.selection.has(id)) this.selection.delete(id);
      else {
        this.selection.delete(id);            // last selected, last in the set
        this.selection.add(id);
      }
    }
    this.emit("selection");
  }

  keyframe(id, t) {
    return this.points.get(id)?.keyframes.find((key) => key.t === t) ?? null;
  }

  /** Frames of the keyframes of these points, in order, without repetition. */
  keyTimes(ids) {
    const times = new Set(ids.flatMap((id) => this.points.get(id)?.keyframes.map((key) => key.t) ?? []));
    return [...times].sort((a, b) => a - b);
  }

  /** "visible", "occluded", "outside" where a person said so, else null. */
  stated(id, t) {
    return this.points.get(id)?.hidden.find((span) => span.start <= t && t < span.stop)?.state ?? null;
  }

  name(id) {
    const point = this.points.get(id);
    return point ? point.label || `point ${id}` : `point ${id}`;
  }
}
