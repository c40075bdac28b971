// Curves of x, y or speed of the selected points over time. A click goes to that frame.

import { h, number, replace } from "./dom.js";
import { keep, settings } from "./settings.js";
import { colourOf, palette } from "./theme.js";

const MOST = 8, BINS = 400, SOON = 150;       // points drawn; bins asked for; ms from a change to asking
const LEFT = 40, FOOT = 16, HEAD = 6;         // CSS pixels around the curves
const KINDS = { x: "x, px", y: "y, px", speed: "px per frame" };

export class Plot {
  constructor(studio) {
    this.studio = studio;
    this.data = null;
    this.canvas = h("canvas", { class: "curves", role: "img", "aria-label": "Curves of the selected points; click to go to a frame" });
    this.note = h("p", { class: "empty-note" }, "Select a point to see its curve.");
    this.tabs = h("div", { class: "segments", role: "radiogroup", "aria-label": "Curve" }, Object.keys(KINDS).map((kind) => h("label", {},
      h("input", { type: "radio", name: "curve", value: kind, checked: settings.curve === kind, onchange: () => this.choose(kind) }), kind)));
    this.legend = h("span", { class: "dim" });
    this.element = h("section", { class: "plot", "aria-label": "Curves" },
      h("header", {}, h("h3", {}, "Curves"), this.tabs), h("div", { class: "plot-room" }, this.canvas, this.note), this.legend);
    const go = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const t = ((event.clientX - box.left - LEFT) / (box.width - LEFT - 6)) * studio.clip.frames;
      studio.player.pause();
      studio.player.seek(Math.floor(t), { scrub: true });
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.held = true;
      go(event);
    });
    this.canvas.addEventListener("pointermove", (event) => { if (this.held) go(event); });
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => { this.held = false; });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas);
  }

  choose(kind) {
    keep({ curve: kind });
    this.update();
  }

  /** The selection or a selected point changed. */
  update() {
    this.timer ??= setTimeout(() => this.fetch(), SOON);
  }

  async fetch() {
    this.timer = null;
    const ids = this.studio.annotation.chosen.slice(0, MOST), asked = this.asked = {};
    if (!ids.length) this.data = null;
    else {
      try {
        const data = await this.studio.api.curves(this.studio.clip.id, ids, settings.curve, BINS);
        if (this.asked !== asked) return;
        this.data = { ...data, shown: settings.curve };
      } catch { return; }
    }
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas, ratio = Math.min(devicePixelRatio || 1, 3);
    this.note.hidden = this.data !== null;
    this.canvas.hidden = false;
    if (!width || !height) return;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const context = this.canvas.getContext("2d"), colours = palette();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    replace(this.legend, this.data ? KINDS[this.data.shown] : "");
    if (!this.data) return;
    const [low, high] = extent(this.data.points);
    const x = (t) => LEFT + ((t + 0.5) / this.studio.clip.frames) * (width - LEFT - 6);
    const y = (value) => HEAD + (1 - (value - low) / (high - low)) * (height - HEAD - FOOT);
    this.axes(context, colours, width, height, low, high, y);
    for (const point of this.data.points) this.curve(context, point, x, y);
    const { shown } = this.studio.player;
    if (shown === null) return;
    context.fillStyle = colours.accent;
    context.fillRect(x(shown) - 0.75, HEAD, 1.5, height - HEAD - FOOT);
  }

  axes(context, colours, width, height, low, high, y) {
    context.font = "10px system-ui, sans-serif";
    context.fillStyle = colours.dim;
    context.strokeStyle = colours.line;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of [low, (low + high) / 2, high]) {
      context.fillText(number(value, high - low < 8 ? 1 : 0), LEFT - 5, y(value));
      context.beginPath();
      context.moveTo(LEFT, y(value));
      context.lineTo(width - 6, y(value));
      context.stroke();
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "left";
    context.fillText("0", LEFT, height - 4);
    context.textAlign = "right";
    context.fillText(String(this.studio.clip.frames - 1), width - 6, height - 4);
  }

  /** A band from the least to the greatest value of each bin; with one frame to a bin that is a line. */
  curve(context, point, x, y) {
    const { bins } = this.data, known = this.studio.annotation.points.get(point.id);
    context.strokeStyle = colourOf(known ?? point);
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.beginPath();
    let open = false;
    bins.forEach((t, i) => {
      const a = point.low[i], b = point.high[i];
      if (a === null || a === undefined) {
        open = false;
        return;
      }
      if (open) context.lineTo(x(t), y(a));
      else context.moveTo(x(t), y(a));
      if (b !== a) context.lineTo(x(t), y(b));
      open = true;
    });
    context.stroke();
  }

  close() {
    clearTimeout(this.timer);
    this.observer.disconnect();
  }
}

function extent(points) {
  let low = Infinity, high = -Infinity;
  for (const point of points) {
    for (const value of [...point.low, ...point.high]) {
      if (value === null || value === undefined) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  const margin = Math.max(0.5, (high - low) * 0.06);
  return [low - margin, high + margin];
}
