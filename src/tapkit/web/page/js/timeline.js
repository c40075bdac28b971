// The timeline: a ruler to scrub on and one strip for each point. Only the rows in sight are drawn.

import { append, h } from "./dom.js";
import { Drawn } from "./drawing.js";
import { reason } from "./summary.js";
import { colourOf, palette } from "./theme.js";

const ROW = 20, RULER = 24, SLOP = 4, COARSE = 3;       // CSS pixels; COARSE: a bin wider than this is drawn from positions
const FINEST = 1500;          // frames in sight at most for that
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];

export class Timeline extends Drawn {
  constructor(studio) {
    super();
    this.studio = studio;
    this.range = [0, studio.clip.frames];                // frames in sight
    this.span = null;                                    // {id, from, to} while one drags along a strip
    this.ruler = h("canvas", {
      class: "ruler", role: "slider", tabindex: 0, "aria-label": "Frame", "aria-valuemin": 0, "aria-valuemax": studio.clip.frames - 1,
    });
    this.canvas = h("canvas", { class: "strips", "aria-hidden": "true" });
    this.spacer = h("div", { class: "rows-spacer" });
    this.rows = h("div", { class: "rows", tabindex: -1, "aria-label": "Strips of the points" }, this.canvas, this.spacer);
    this.note = h("div", { class: "empty-note" }, "Each point gets a strip here: bright where it is seen, thin where it is hidden, ◆ where you set it.");
    this.element = append(h("div", { class: "strips-box" }), [this.ruler, this.rows, this.note]);
    this.listen();
  }

  listen() {
    const { ruler, canvas, rows } = this;
    ruler.addEventListener("pointerdown", (event) => this.scrub(event, true));
    ruler.addEventListener("pointermove", (event) => this.scrub(event, false));
    for (const name of ["pointerup", "pointercancel"]) ruler.addEventListener(name, () => { this.scrubbing = false; });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => { this.span = null; this.request(); });
    canvas.addEventListener("pointerleave", () => this.studio.emit("hint", null));
    rows.addEventListener("scroll", () => this.request(), { passive: true });
    for (const target of [ruler, rows]) target.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(rows);
  }

  get gutter() {
    return this.width < 480 ? 72 : 120;
  }

  resize() {
    this.ratio = Math.min(window.devicePixelRatio || 1, 3);
    this.width = this.rows.clientWidth;
    this.height = this.rows.clientHeight;
    for (const [canvas, height] of [[this.ruler, RULER], [this.canvas, this.height]]) {
      canvas.width = Math.max(1, Math.round(this.width * this.ratio));
      canvas.height = Math.max(1, Math.round(height * this.ratio));
      canvas.style.width = `${this.width}px`;
      canvas.style.height = `${height}px`;
    }
    this.draw();
  }

  x(t) {
    const [start, stop] = this.range;
    return this.gutter + ((t - start) / (stop - start)) * (this.width - this.gutter);
  }

  frame(event) {
    const box = this.rows.getBoundingClientRect(), [start, stop] = this.range;
    const t = Math.floor(start + ((event.clientX - box.left - this.gutter) / (this.width - this.gutter)) * (stop - start));
    return Math.min(Math.max(0, t), this.studio.clip.frames - 1);
  }

  id(event) {
    const box = this.rows.getBoundingClientRect();
    return this.studio.order()[Math.floor((event.clientY - box.top + this.rows.scrollTop) / ROW)] ?? null;
  }

  scrub(event, start) {
    if (start) {
      if (event.button !== 0) return;
      this.scrubbing = true;
      this.ruler.setPointerCapture(event.pointerId);
      this.studio.player.pause();
    }
    if (!this.scrubbing) return;
    const t = this.frame(event);
    if (start || t !== this.studio.player.wanted) this.studio.player.seek(t, { scrub: true });
  }

  down(event) {
    const id = this.id(event);
    if (id === null || event.button !== 0) return;
    const box = this.rows.getBoundingClientRect();
    if (event.clientX - box.left < this.gutter) {
      this.studio.annotation.select([id], { toggle: event.ctrlKey || event.metaKey || event.shiftKey });
      return;
    }
    this.canvas.setPointerCapture(event.pointerId);
    const t = this.frame(event);
    this.span = { id, from: t, to: t, at: event.clientX, moved: false };
  }

  move(event) {
    if (!this.span) return this.hint(event);
    this.span.moved = this.span.moved || Math.abs(event.clientX - this.span.at) > SLOP;
    this.span.to = this.frame(event);
    if (this.span.moved) {
      const [from, to] = ends(this.span);
      this.studio.emit("hint", `${this.studio.annotation.name(this.span.id)}: hidden from ${from} to ${to}`);
    }
    this.request();
    return undefined;
  }

  up() {
    const { span, studio } = this;
    this.span = null;
    if (!span) return;
    if (span.moved) {
      const [from, to] = ends(span);
      studio.setVisibility([span.id], from, to + 1, "occluded");
    } else {
      studio.annotation.select([span.id]);
      studio.player.pause();
      studio.player.seek(span.from);
    }
    this.request();
  }

  hint(event) {
    const id = this.id(event), box = this.rows.getBoundingClientRect();
    if (id === null || event.clientX - box.left < this.gutter) return this.studio.emit("hint", null);
    const t = this.frame(event), bins = this.studio.summary.points.get(id), b = this.studio.summary.bin(t);
    const doubt = this.studio.summary.doubts.find((d) => d.point === id && Math.abs(this.x(d.t) - this.x(t)) < 5);
    const parts = [this.studio.annotation.name(id), `frame ${t}`];
    if (bins?.confidence[b] != null) parts.push(`confidence ${bins.confidence[b].toFixed(2)}`);
    if (doubt) parts.push(reason(doubt));
    return this.studio.emit("hint", parts.join(" · "));
  }

  wheel(event) {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const delta = event.deltaY || event.deltaX, [start, stop] = this.range;
    if (event.ctrlKey) this.zoom(Math.exp(delta * 0.002), this.frame(event));
    else this.show(start + ((stop - start) * Math.sign(delta)) / 12, stop + ((stop - start) * Math.sign(delta)) / 12);
  }

  /** `factor` above 1 shows more of the clip; `about` stays where it is. */
  zoom(factor, about = this.studio.player.wanted) {
    const [start, stop] = this.range;
    this.show(about - (about - start) * factor, about + (stop - about) * factor);
  }

  show(start, stop) {
    const { frames } = this.studio.clip, length = Math.min(frames, Math.max(Math.min(12, frames), stop - start));
    const from = Math.min(Math.max(0, (start + stop - length) / 2), frames - length);
    this.range = [from, from + length];
    this.request();
  }

  /** Keeps a frame, and the selected point's strip, in sight. */
  follow(t) {
    const [start, stop] = this.range, length = stop - start;
    if (t < start || t >= stop) this.show(t < start ? t - length * 0.1 : t - length * 0.9, t < start ? t + length * 0.9 : t + length * 0.1);
    this.ruler.setAttribute("aria-valuenow", t);
    this.ruler.setAttribute("aria-valuetext", `frame ${t} of ${this.studio.clip.frames}`);
    this.request();
  }

  reveal(id) {
    const row = this.studio.order().indexOf(id), { scrollTop } = this.rows;
    if (row < 0) return;
    if (row * ROW < scrollTop) this.rows.scrollTop = row * ROW;
    else if ((row + 1) * ROW > scrollTop + this.height) this.rows.scrollTop = (row + 1) * ROW - this.height;
    this.request();
  }

  draw() {
    if (!this.width) return;
    const colours = palette(), order = this.studio.order();
    this.spacer.style.height = `${order.length * ROW}px`;
    this.note.hidden = order.length > 0;
    this.drawRuler(colours);
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const first = Math.floor(this.rows.scrollTop / ROW), last = Math.min(order.length, first + Math.ceil(this.height / ROW) + 1);
    const ids = order.slice(first, last);
    const binWidth = this.x(this.studio.summary.bins[1] ?? 1) - this.x(0);
    const fine = binWidth > COARSE && (this.studio.summary.bins[1] ?? 1) > 1 && this.range[1] - this.range[0] <= FINEST;
    if (fine) this.studio.tracks.ensure(ids, Math.floor(this.range[0]), Math.ceil(this.range[1]));
    ids.forEach((id, n) => this.drawRow(context, colours, id, (first + n) * ROW - this.rows.scrollTop, fine));
    const { shown, wanted } = this.studio.player;
    context.fillStyle = colours.accent;
    if (shown !== null) context.fillRect(this.x(shown + 0.5) - 0.75, 0, 1.5, this.height);
    if (wanted !== shown) {
      context.globalAlpha = 0.4;
      context.fillRect(this.x(wanted + 0.5) - 0.75, 0, 1.5, this.height);
      context.globalAlpha = 1;
    }
  }

  drawRuler(colours) {
    const context = this.ruler.getContext("2d"), [start, stop] = this.range;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = colours.raised;
    context.fillRect(0, 0, this.width, RULER);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "center";
    const perFrame = (this.width - this.gutter) / (stop - start);
    const step = STEPS.find((s) => s * perFrame >= 56) ?? STEPS.at(-1);
    for (let t = Math.ceil(start / step) * step; t < stop; t += step) {
      const x = this.x(t + 0.5);
      context.fillStyle = colours.line;
      context.fillRect(x - 0.5, RULER - 6, 1, 6);
      context.fillStyle = colours.dim;
      if (x > this.gutter + 6 && x < this.width - 10) context.fillText(String(t), x, 9);
    }
    context.fillStyle = colours.warn;
    const marked = new Set();
    for (const { t } of this.studio.summary.doubts) {
      const x = Math.round(this.x(t + 0.5));
      if (t < start || t >= stop || marked.has(x)) continue;
      marked.add(x);
      context.fillRect(x - 1, RULER - 4, 2, 4);
    }
    const { shown, wanted } = this.studio.player;
    if (shown === null) return;
    const x = this.x((shown ?? wanted) + 0.5);
    context.fillStyle = colours.accent;
    context.beginPath();
    context.moveTo(x - 6, RULER - 11);
    context.lineTo(x + 6, RULER - 11);
    context.lineTo(x, RULER - 1);
    context.fill();
  }

  drawRow(context, colours, id, top, fine) {
    const { annotation } = this.studio, point = annotation.points.get(id), chosen = annotation.selection.has(id);
    if (!point) return;
    context.fillStyle = chosen ? colours.raised : colours.strip;
    context.fillRect(0, top, this.width, ROW - 1);
    if (chosen) {
      context.fillStyle = colours.accent;
      context.fillRect(0, top, 3, ROW - 1);
    }
    context.save();
    context.beginPath();
    context.rect(this.gutter, top, this.width - this.gutter, ROW);
    context.clip();
    this.drawBars(context, id, top, fine, colourOf(point));
    this.drawMarks(context, colours, point, top);
    context.restore();
    context.fillStyle = colourOf(point);
    context.beginPath();
    context.arc(13, top + ROW / 2 - 0.5, 4, 0, 7);
    context.fill();
    context.fillStyle = chosen ? colours.text : colours.dim;
    context.font = `${chosen ? 600 : 400} 12px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillText(shorten(context, annotation.name(id), this.gutter - 30), 23, top + ROW / 2);
  }

  /** Runs of equal look, so that a strip is a few rectangles. */
  drawBars(context, id, top, fine, colour) {
    const look = fine ? (t) => this.lookAt(id, t) : (b) => this.lookOf(id, b);
    const { bins } = this.studio.summary, frames = this.studio.clip.frames;
    const from = fine ? Math.floor(this.range[0]) : this.studio.summary.bin(this.range[0]);
    const to = fine ? Math.ceil(this.range[1]) : this.studio.summary.bin(this.range[1]) + 1;
    const edge = fine ? (t) => t : (b) => bins[b] ?? frames;
    context.fillStyle = colour;
    for (let i = from; i < to;) {
      const kind = look(i);
      let end = i + 1;
      while (end < to && look(end) === kind) end += 1;
      if (kind > 0) {
        const x0 = this.x(edge(i)), x1 = this.x(edge(end));
        context.globalAlpha = kind === 1 ? 0.75 : 0.3 + 0.7 * ((kind - 2) / 4);
        if (kind === 1) context.fillRect(x0, top + ROW / 2 - 1, x1 - x0, 1.5);
        else context.fillRect(x0, top + 4, x1 - x0, ROW - 9);
      }
      i = end;
    }
    context.globalAlpha = 1;
  }

  /** 0 nothing, 1 hidden, 2..6 visible with growing confidence. */
  lookOf(id, b) {
    const bins = this.studio.summary.points.get(id);
    return bins ? look(bins.visible[b], bins.confidence[b]) : 0;
  }

  lookAt(id, t) {
    const at = this.studio.tracks.at(id, t);
    return at ? look(at.visible === -1 ? 1 : at.visible, at.confidence) : 0;
  }

  drawMarks(context, colours, point, top) {
    const [start, stop] = this.range;
    for (const { start: from, stop: to, state } of point.hidden) {
      if (to <= start || from >= stop) continue;
      const x0 = this.x(from), x1 = this.x(to);
      context.fillStyle = state === "visible" ? "rgba(255,255,255,.22)" : hatch(context, colours.dim);
      context.fillRect(x0, top + 2, Math.max(2, x1 - x0), ROW - 5);
      context.strokeStyle = colours.dim;
      context.lineWidth = 1;
      context.setLineDash(state === "outside" ? [3, 2] : []);
      context.strokeRect(x0 + 0.5, top + 2.5, Math.max(1, x1 - x0 - 1), ROW - 6);
      context.setLineDash([]);
    }
    context.fillStyle = colours.warn;
    for (const doubt of this.studio.summary.doubts) {
      if (doubt.point !== point.id || doubt.t < start || doubt.t >= stop) continue;
      const x = this.x(doubt.t + 0.5);
      context.beginPath();
      context.moveTo(x - 4, top + ROW - 2);
      context.lineTo(x + 4, top + ROW - 2);
      context.lineTo(x, top + ROW - 9);
      context.fill();
    }
    for (const key of point.keyframes) if (key.t >= start - 1 && key.t <= stop) this.diamond(context, colours, this.x(key.t + 0.5), top + ROW / 2 - 0.5);
    if (this.span?.id === point.id && this.span.moved) {
      const [from, to] = ends(this.span);
      context.fillStyle = hatch(context, colours.text);
      context.fillRect(this.x(from), top + 1, this.x(to + 1) - this.x(from), ROW - 3);
    }
  }

  diamond(context, colours, x, y) {
    context.beginPath();
    context.moveTo(x, y - 5.5);
    context.lineTo(x + 5.5, y);
    context.lineTo(x, y + 5.5);
    context.lineTo(x - 5.5, y);
    context.closePath();
    context.fillStyle = "#fff";
    context.fill();
    context.lineWidth = 1.5;
    context.strokeStyle = "#12161a";
    context.stroke();
  }

  close() {
    this.observer.disconnect();
    if (this.asked) cancelAnimationFrame(this.asked);
  }
}

function look(visible, confidence) {
  if (visible === null || visible === undefined) return 0;
  if (visible < 0.5) return 1;
  return 2 + Math.round(4 * Math.min(1, Math.max(0, confidence ?? 1)));
}

function ends({ from, to }) {
  return from <= to ? [from, to] : [to, from];
}

function shorten(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let n = text.length - 1;
  while (n > 1 && context.measureText(`${text.slice(0, n)}…`).width > width) n -= 1;
  return `${text.slice(0, n)}…`;
}

const tiles = new Map();

function hatch(context, colour) {
  if (!tiles.has(colour)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 6;
    const own = tile.getContext("2d");
    own.strokeStyle = colour;
    own.lineWidth = 1.4;
    own.beginPath();
    for (const shift of [-6, 0, 6]) {
      own.moveTo(shift, 6);
      own.lineTo(shift + 6, 0);
    }
    own.stroke();
    tiles.set(colour, context.createPattern(tile, "repeat"));
  }
  return tiles.get(colour);
}
