// The whole clip in bins, and the places to look at: what the timeline draws without any positions.

const BINS = 512;
const VALUES = 60_000;                   // bins times points: with many points the bins are fewer
const FEW = 40;                          // points that are asked for by name
const SOON = 200, LATER = 700;           // ms after the last change until bins and doubtful places are asked for again

export class Summary {
  /** `count()` says how many points there are; `changed()` is called when something can be drawn anew. */
  constructor(api, clip, count, changed) {
    Object.assign(this, { api, clip, count, changed });
    this.bins = [];                       // first frame of each bin
    this.points = new Map();              // id -> {visible, confidence, doubt}
    this.doubts = [];                     // {t, point, reason, value}, by frame
    this.stale = new Set();
  }

  async load() {
    await this.all();
    await this.loadDoubts();
  }

  /** Without points there is nothing to ask for. */
  get none() {
    return this.count() === 0;
  }

  /** Of all points; later, of those that changed, in the same bins. */
  async all(points = null) {
    if (points === null) this.asked = Math.max(64, Math.min(BINS, Math.floor(VALUES / Math.max(1, this.count()))));
    if (this.none) this.points.clear();
    else this.take(await this.api.summary(this.clip.id, this.asked, points));
  }

  async loadDoubts() {
    this.doubts = this.none ? [] : await this.api.doubtful(this.clip.id);
    this.changed();
  }

  take({ bins, points }) {
    this.bins = bins;
    for (const point of points) this.points.set(point.id, point);
    this.changed();
  }

  /** These points changed; both are asked for again soon, once for many changes. */
  touch(ids) {
    if (!ids.length) return;
    for (const id of ids) this.stale.add(id);
    clearTimeout(this.soon);
    clearTimeout(this.later);
    this.soon = setTimeout(() => this.again(), SOON);
    this.later = setTimeout(() => this.loadDoubts().catch(() => {}), LATER);
  }

  async again() {
    const ids = [...this.stale], few = this.bins.length > 0 && ids.length <= FEW;
    this.stale.clear();
    try {
      await this.all(few ? ids : null);
    } catch { /* the server is away: the line being there again asks for everything */ }
  }

  remove(ids) {
    for (const id of ids) this.points.delete(id);
    this.doubts = this.doubts.filter((doubt) => !ids.includes(doubt.point));
    this.changed();
  }

  /** Bin of a frame. */
  bin(t) {
    let low = 0, high = this.bins.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.bins[middle] <= t) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Positions that came while tracking: shown at once, replaced by the server's own bins later. */
  write({ start, stop, points }) {
    for (const { id, x, visible, confidence } of points) {
      const own = this.points.get(id);
      if (!own) continue;
      for (let t = start; t < stop; t += 1) {
        const n = t - start, b = this.bin(t);
        if (x[n] === null) continue;
        own.visible[b] = visible[n] ?? own.visible[b];
        own.confidence[b] = confidence[n] ?? own.confidence[b];
      }
    }
    this.changed();
  }

  close() {
    clearTimeout(this.soon);
    clearTimeout(this.later);
  }
}

const REASONS = {
  jump: (value) => `a jump of ${value.toFixed(1)} px`, unsure: (value) => `the tracker is unsure (${value.toFixed(2)})`,
  disagreement: (value) => `forwards and backwards differ by ${value.toFixed(1)} px`, missed: (value) => `the tracker missed the keyframe by ${value.toFixed(1)} px`,
};

/** Why a place is doubtful, in words. */
export function reason({ reason: kind, value }) {
  return REASONS[kind]?.(value ?? 0) ?? kind;
}
