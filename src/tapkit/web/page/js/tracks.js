// Positions of points, fetched by range as they are looked at. What changed is shown as it was until the new answer is here.

const CHUNK = 64;               // frames
const COLUMNS = 400;            // chunks kept, of all points
const AT_ONCE = 2;              // requests
export const NONE = 0, KEY = 1, PREDICTED = 2;
const SOURCES = { k: KEY, p: PREDICTED };

function empty() {
  return {
    x: new Float32Array(CHUNK).fill(NaN), y: new Float32Array(CHUNK), visible: new Int8Array(CHUNK).fill(-1),
    confidence: new Float32Array(CHUNK).fill(NaN), source: new Uint8Array(CHUNK), whole: false, loading: false,
  };
}

export class Tracks {
  /** `load(points, start, stop)` resolves to the server's answer; `changed()` is called when something can be drawn anew. */
  constructor(count, load, changed) {
    Object.assign(this, { count, load, changed });
    this.columns = new Map();     // chunk -> Map(id -> part)
    this.versions = new Map();    // id -> how often it was changed: an answer to an older question is not kept
    this.running = 0;
    this.next = null;
  }

  part(id, chunk) {
    return this.columns.get(chunk)?.get(id);
  }

  /** {x, y, visible (1, 0, -1 unknown), confidence, source} at a frame, null where the point has no position. */
  at(id, t) {
    const part = this.part(id, Math.floor(t / CHUNK)), i = t % CHUNK;
    if (!part || part.source[i] === NONE) return null;
    return { x: part.x[i], y: part.y[i], visible: part.visible[i], confidence: part.confidence[i], source: part.source[i] };
  }

  /** The positions are being fetched or have to be: not the same as "there is none". */
  unknown(id, t) {
    const part = this.part(id, Math.floor(t / CHUNK));
    return !part || !part.whole;
  }

  /** Writes one position at once, before the server's answer. */
  put(id, t, x, y, visible) {
    const part = this.make(id, Math.floor(t / CHUNK)), i = t % CHUNK;
    part.x[i] = x;
    part.y[i] = y;
    part.source[i] = KEY;
    part.confidence[i] = 1;
    if (visible !== null) part.visible[i] = visible ? 1 : 0;
  }

  make(id, chunk) {
    let column = this.columns.get(chunk);
    if (!column) {
      if (this.columns.size >= COLUMNS) this.columns.delete(this.columns.keys().next().value);
      this.columns.set(chunk, column = new Map());
    }
    let part = column.get(id);
    if (!part) column.set(id, part = empty());
    return part;
  }

  /** What the server sends of `start` to `stop` (exclusive): an answer or a message while tracking. */
  write({ start, stop, points }) {
    for (const { id, x, y, visible, confidence, source } of points) {
      for (let t = start; t < stop; t += 1) {
        const part = this.make(id, Math.floor(t / CHUNK)), i = t % CHUNK, n = t - start;
        const known = x[n] !== null && x[n] !== undefined;
        part.x[i] = known ? x[n] : NaN;
        part.y[i] = known ? y[n] : NaN;
        part.visible[i] = visible[n] ?? -1;
        part.confidence[i] = confidence[n] ?? NaN;
        part.source[i] = known ? SOURCES[source[n]] ?? PREDICTED : NONE;
      }
    }
    this.changed();
  }

  /** These points changed: their parts are asked for again when they are looked at. */
  stale(ids) {
    for (const id of ids) this.versions.set(id, (this.versions.get(id) ?? 0) + 1);
    const which = new Set(ids);
    for (const column of this.columns.values()) {
      for (const [id, part] of column) {
        if (!which.has(id)) continue;
        part.whole = false;
        part.loading = false;
      }
    }
    this.changed();
  }

  remove(ids) {
    for (const column of this.columns.values()) for (const id of ids) column.delete(id);
    this.changed();
  }

  /** Fetches what is not here of these points from `start` to `stop`; only the last wish counts while two are running. */
  ensure(ids, start, stop) {
    this.next = { ids, start: Math.max(0, start), stop: Math.min(this.count, stop) };
    this.pump();
  }

  pump() {
    if (!this.next || this.running >= AT_ONCE) return;
    const { ids, start, stop } = this.next;
    for (let chunk = Math.floor(start / CHUNK); chunk * CHUNK < stop; chunk += 1) {
      const missing = ids.filter((id) => {
        const part = this.part(id, chunk);
        return !part || (!part.whole && !part.loading);
      });
      if (missing.length) {
        this.fetch(missing, chunk);
        if (this.running >= AT_ONCE) return;
      }
    }
    this.next = null;
  }

  async fetch(ids, chunk) {
    this.running += 1;
    const asked = new Map(ids.map((id) => [id, this.versions.get(id) ?? 0]));
    for (const id of ids) this.make(id, chunk).loading = true;
    const current = (id) => (this.versions.get(id) ?? 0) === asked.get(id);
    try {
      const start = chunk * CHUNK, stop = Math.min(start + CHUNK, this.count);
      const answer = await this.load(ids, start, stop);
      const points = answer.points.filter(({ id }) => current(id));
      for (const { id } of points) this.make(id, chunk).whole = true;
      this.write({ start, stop, points });
    } catch { /* asked for again at the next look */
    } finally {
      for (const id of ids) {
        const part = this.part(id, chunk);
        if (part && current(id)) part.loading = false;
      }
      this.running -= 1;
    }
    this.pump();
  }
}
