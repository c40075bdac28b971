// Decoded frames by index: what is wanted first, neighbours ahead of time, a bounded amount of memory.

const BUDGET = 256 * 2 ** 20;                                 // bytes of decoded pixels kept
const LIMIT = 4;                                              // requests at once: the browser allows six to one server
const SCRUB_LIMIT = 2;
const SETTLED = 90;                                           // ms without a new wish before neighbours are fetched
const AHEAD = 14, BEHIND = 4;
const HEIGHTS = [180, 270, 360, 480, 720, 1080, 1440, 2160];  // few sizes, so that caches are hit

/** The height to ask for: the smallest step that is not below `pixels`; null asks for the frame as it is. */
export function heightFor(pixels, full) {
  const step = HEIGHTS.find((height) => height >= pixels) ?? full;
  return step >= full ? null : step;
}

export class Frames {
  /**
   * `load(t, height, signal)` resolves to a Response with header X-Tapkit-Frame; `arrived(t)` is told of every frame
   * that came because it was wanted, `refused(error)` of every failure of a wanted one.
   */
  constructor(count, load, arrived, refused) {
    Object.assign(this, { count, load, arrived, refused });
    this.kept = new Map();       // t -> {t, bitmap, height, bytes}; the order is that of use
    this.coming = new Map();     // t -> {stop, wanted}
    this.bytes = 0;
    this.height = null;
    this.wanted = 0;
    this.direction = 1;
    this.settled = true;
    this.closed = false;
  }

  /** The frame if it is here at the present height or better, else null. A smaller one is kept until it is replaced. */
  get(t) {
    const entry = this.kept.get(t);
    if (!entry) return null;
    this.kept.delete(t);
    this.kept.set(t, entry);
    return entry;
  }

  good(t) {
    const entry = this.kept.get(t);
    return entry !== undefined && (entry.height ?? Infinity) >= (this.height ?? Infinity);
  }

  /** The number of frames after `t`, in the direction of travel, that are here without a gap. */
  ready(t) {
    let n = 0;
    while (n < AHEAD && this.kept.has(t + (n + 1) * this.direction)) n += 1;
    return n;
  }

  setHeight(height) {
    if (height === this.height) return;
    this.height = height;
    for (const { stop } of this.coming.values()) stop.abort();
    this.coming.clear();
    this.pump();
  }

  want(t, { direction = this.direction, scrub = false } = {}) {
    this.wanted = t;
    this.direction = direction;
    clearTimeout(this.timer);
    this.settled = !scrub;
    if (scrub) {
      this.timer = setTimeout(() => {
        this.settled = true;
        this.pump();
      }, SETTLED);
    }
    this.pump();
  }

  /** Never more than can be kept: large frames would push one another out, and be fetched for ever. */
  neighbours() {
    const order = [], most = Math.floor(BUDGET / (this.largest || 1)), ahead = Math.min(AHEAD, Math.floor(most * 0.6));
    for (let n = 1; n <= ahead; n += 1) {
      order.push(this.wanted + n * this.direction);
      if (n <= Math.min(BEHIND, most * 0.2)) order.push(this.wanted - n * this.direction);
    }
    return order.filter((t) => t >= 0 && t < this.count);
  }

  pump() {
    if (this.closed) return;
    const near = this.neighbours();
    if (!this.good(this.wanted) && !this.coming.has(this.wanted)) {
      if (!this.settled && this.coming.size >= SCRUB_LIMIT) return;        // the next arrival pumps again
      const useful = new Set(near);
      for (const [t, request] of this.coming) {
        if (!useful.has(t) && !request.wanted) {
          request.stop.abort();
          this.coming.delete(t);
        }
      }
      this.fetch(this.wanted, true);
    } else if (this.coming.has(this.wanted)) {
      this.coming.get(this.wanted).wanted = true;
    }
    if (!this.settled) return;
    for (const t of near) {
      if (this.coming.size >= LIMIT) return;
      if (!this.good(t) && !this.coming.has(t)) this.fetch(t, false);
    }
  }

  async fetch(t, wanted) {
    const request = { stop: new AbortController(), wanted };
    const height = this.height;
    this.coming.set(t, request);
    try {
      const response = await this.load(t, height, request.stop.signal);
      const said = Number(response.headers.get("X-Tapkit-Frame"));
      if (said !== t) throw new Error(`The server sent frame ${said} when frame ${t} was asked for.`);
      const bitmap = await createImageBitmap(await response.blob());
      if (this.closed || this.coming.get(t) !== request) return bitmap.close();
      this.keep(t, bitmap, height);
      this.coming.delete(t);
      if (request.wanted || t === this.wanted) this.arrived(t);
    } catch (error) {
      if (this.coming.get(t) === request) this.coming.delete(t);
      if (error.name === "AbortError" || this.closed) return undefined;
      if (request.wanted || t === this.wanted) this.refused(error, t);
      return undefined;              // no pump: what failed is asked for again by the next wish
    }
    this.pump();
    return undefined;
  }

  keep(t, bitmap, height) {
    const before = this.kept.get(t);
    if (before) this.drop(t);
    const bytes = this.largest = bitmap.width * bitmap.height * 4;
    this.kept.set(t, { t, bitmap, height, bytes });
    this.bytes += bytes;
    for (const other of this.kept.keys()) {
      if (this.bytes <= BUDGET) break;
      if (other !== t && other !== this.wanted) this.drop(other);
    }
  }

  drop(t) {
    const entry = this.kept.get(t);
    this.bytes -= entry.bytes;
    this.kept.delete(t);
    entry.bitmap.close();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    for (const { stop } of this.coming.values()) stop.abort();
    for (const t of [...this.kept.keys()]) this.drop(t);
  }
}
