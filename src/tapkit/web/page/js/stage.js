// The canvas with the frame and everything that lies on it. The overlay is of the frame that is shown, never of the one wanted.

import { Drawn, cross } from "./drawing.js";
import { heightFor } from "./frames.js";
import { colourOf, palette } from "./theme.js";

const RADIUS = 5, HIT = 11;               // CSS pixels
const SHARP = 3;                          // from this scale on pixels are shown as squares
const MANY = 100;                         // points from which trails are one stroke each, without fading
const PREFETCH = 40;                      // frames of positions ahead of the one shown

export class Stage extends Drawn {
  constructor(studio, canvas) {
    super();
    this.studio = studio;
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.cursor = null;                   // (x, y) of the placing cross, video pixels
    this.drag = null;                     // {id, x, y} while a point is dragged
    this.ghosts = [];                     // {t, x, y} of placements on their way to the server
    this.box = null;                      // {x0, y0, x1, y1} while one is drawn
    this.ghostPath = null;                // what a correction replaced: {id, start, x, y, visible}
    this.hover = null;
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.ratio = Math.min(window.devicePixelRatio || 1, 3);
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    this.studio.view.resize(width, height);
    this.zoomed();
    this.draw();
  }

  /** After a change of the scale: how large the frames are to be. */
  zoomed() {
    const { view, frames, clip } = this.studio;
    frames.setHeight(heightFor(clip.height * view.scale * (this.ratio ?? 1) * 0.9, clip.height));
    this.studio.emit("zoom");
    this.request();
  }

  draw() {
    if (this.asked) cancelAnimationFrame(this.asked);
    this.asked = null;
    const { context, ratio = 1 } = this, { player, view } = this.studio;
    const colours = palette();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colours.stage;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const entry = player.entry;
    if (!entry) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = view.scale * (entry.bitmap.height ? this.studio.clip.height / entry.bitmap.height : 1) < SHARP;
    context.imageSmoothingQuality = "high";
    context.drawImage(entry.bitmap, view.left, view.top, view.width * view.scale, view.height * view.scale);
    this.overlay(player.shown);
    this.studio.painted(player.shown);
  }

  /** Where a point is at frame `t` as the page knows it, the drag included; null where it is nowhere. */
  place(id, t) {
    const at = this.studio.tracks.at(id, t);
    if (this.drag?.id !== id) return at;
    return { ...(at ?? { visible: 1, confidence: 1, source: 1 }), x: this.drag.x, y: this.drag.y };
  }

  overlay(t) {
    const { annotation, tracks, settings } = this.studio;
    const ids = this.studio.seen();
    tracks.ensure(ids, t - settings.trail, t + PREFETCH);
    this.boxes(t);
    this.skeleton(t);
    for (const id of ids) this.trail(id, t, settings.trail);
    if (this.ghostPath) this.before(t);
    for (const id of ids) if (!annotation.selection.has(id)) this.point(id, t, false);
    for (const id of annotation.selection) if (annotation.points.has(id)) this.point(id, t, true);
    for (const ghost of this.ghosts) if (ghost.t === t) this.mark(ghost.x, ghost.y, "#ffffff", 0.6, true, false);
    if (this.cursor && this.studio.mode !== "select") this.cross(this.cursor);
  }

  trail(id, t, length) {
    if (length < 1) return undefined;
    const { tracks, view, annotation } = this.studio, { context } = this;
    context.strokeStyle = colourOf(annotation.points.get(id));
    context.lineWidth = annotation.selection.has(id) ? 2 : 1.25;
    if (this.studio.seen().length > MANY) return this.plainTrail(id, t, length);
    let last = null;
    for (let s = Math.max(0, t - length); s <= t; s += 1) {
      const at = s === t ? this.place(id, t) : tracks.at(id, s);
      const here = at && view.toScreen(at.x, at.y);
      if (here && last) {
        context.globalAlpha = (0.15 + 0.75 * (1 - (t - s) / length)) * (at.visible === 0 ? 0.4 : 1);
        context.beginPath();
        context.moveTo(...last);
        context.lineTo(...here);
        context.stroke();
      }
      last = here;
    }
    context.globalAlpha = 1;
    return undefined;
  }

  plainTrail(id, t, length) {
    const { tracks, view } = this.studio, { context } = this;
    context.globalAlpha = 0.55;
    context.beginPath();
    let open = false;
    for (let s = Math.max(0, t - length); s <= t; s += 1) {
      const at = tracks.at(id, s);
      if (at && open) context.lineTo(...view.toScreen(at.x, at.y));
      else if (at) context.moveTo(...view.toScreen(at.x, at.y));
      open = at !== null;
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  /** The path that a correction replaced, dashed, with its own position at this frame. */
  before(t) {
    const { context } = this, { view } = this.studio, { start, x, y } = this.ghostPath;
    context.strokeStyle = "#ffffff";
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.beginPath();
    for (let i = 0; i < x.length; i += 1) {
      if (x[i] === null || Math.abs(start + i - t) > 60) continue;
      context.lineTo(...view.toScreen(x[i], y[i]));
    }
    context.stroke();
    context.setLineDash([]);
    const i = t - start;
    if (i >= 0 && i < x.length && x[i] !== null) this.mark(x[i], y[i], "#ffffff", 1, true, false);
  }

  point(id, t, chosen) {
    const at = this.place(id, t);
    if (!at) return;
    const { annotation, settings } = this.studio, point = annotation.points.get(id);
    const key = annotation.keyframe(id, t) !== null || this.drag?.id === id;
    this.mark(at.x, at.y, colourOf(point), 1, at.visible !== 0, key, chosen);
    if (chosen || settings.labels || this.hover === id) this.label(annotation.name(id), at.x, at.y);
  }

  /** A disc where the point is visible, a ring where it is hidden, a diamond at a keyframe. */
  mark(x, y, colour, alpha, visible, key, chosen = false) {
    const { context } = this, [px, py] = this.studio.view.toScreen(x, y), r = chosen ? RADIUS + 1.5 : RADIUS;
    context.globalAlpha = alpha;
    const shape = () => {
      context.beginPath();
      if (key) {
        const d = r * 1.3;
        context.moveTo(px, py - d);
        context.lineTo(px + d, py);
        context.lineTo(px, py + d);
        context.lineTo(px - d, py);
        context.closePath();
      } else context.arc(px, py, r, 0, 2 * Math.PI);
    };
    shape();
    context.lineWidth = 3.5;
    context.strokeStyle = "rgba(0,0,0,.75)";
    context.stroke();
    if (visible) {
      context.fillStyle = colour;
      context.fill();
      context.strokeStyle = "#fff";
    } else {
      context.strokeStyle = colour;
      context.setLineDash([3, 2.5]);
    }
    context.lineWidth = visible ? 1.25 : 2;
    context.stroke();
    context.setLineDash([]);
    if (chosen) {
      context.beginPath();
      context.arc(px, py, r + 6, 0, 2 * Math.PI);
      context.lineWidth = 3;
      context.strokeStyle = "rgba(0,0,0,.6)";
      context.stroke();
      context.lineWidth = 1.5;
      context.strokeStyle = "#fff";
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  label(text, x, y) {
    const { context } = this, [px, py] = this.studio.view.toScreen(x, y);
    context.font = "600 12px system-ui, sans-serif";
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.strokeStyle = "rgba(0,0,0,.8)";
    context.fillStyle = "#fff";
    context.strokeText(text, px + 13, py - 9);
    context.fillText(text, px + 13, py - 9);
  }

  skeleton(t) {
    const { annotation, view } = this.studio, { context } = this;
    context.lineWidth = 2;
    context.strokeStyle = "rgba(255,255,255,.65)";
    for (const [a, b] of annotation.skeleton) {
      const first = this.place(a, t), second = this.place(b, t);
      if (!first || !second) continue;
      context.beginPath();
      context.moveTo(...view.toScreen(first.x, first.y));
      context.lineTo(...view.toScreen(second.x, second.y));
      context.stroke();
    }
  }

  boxes(t) {
    const { context } = this, { annotation, view } = this.studio;
    const draw = ({ x0, y0, x1, y1 }, colour, text, dashed) => {
      const [px, py] = view.toScreen(x0, y0);
      context.setLineDash(dashed ? [6, 4] : []);
      context.lineWidth = 2;
      context.strokeStyle = colour;
      context.strokeRect(px, py, (x1 - x0) * view.scale, (y1 - y0) * view.scale);
      context.setLineDash([]);
      if (text) this.label(text, x0 - 8 / view.scale, y0 + 4 / view.scale);
    };
    for (const object of annotation.objects) {
      const box = object.boxes.find((one) => one.t === t);
      if (box) draw(box, "#7bdff2", object.label || `object ${object.id}`, false);
    }
    if (this.box) draw(this.box, "#fff", "", true);
  }

  cross([x, y]) {
    cross(this.context, this.studio.view.toScreen(x, y), 4, 15, [[3.5, "rgba(0,0,0,.6)"], [1.5, "#fff"]]);
  }

  /** The nearest point to a place on the canvas (CSS pixels), null where none is near; selected ones win. */
  hit(px, py) {
    const t = this.studio.player.shown;
    if (t === null) return null;
    let best = null, least = HIT;
    for (const id of this.studio.seen()) {
      const at = this.place(id, t);
      if (!at) continue;
      const [x, y] = this.studio.view.toScreen(at.x, at.y);
      const distance = Math.hypot(px - x, py - y) - (this.studio.annotation.selection.has(id) ? 2 : 0);
      if (distance < least) [best, least] = [id, distance];
    }
    return best;
  }

  close() {
    this.observer.disconnect();
    if (this.asked) cancelAnimationFrame(this.asked);
  }
}
