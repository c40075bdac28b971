// The active point eight times enlarged, beside the patch at its nearest keyframe: is it still the same spot?

import { h, number, replace } from "./dom.js";
import { cross } from "./drawing.js";
import { palette } from "./theme.js";

const ZOOM = 8, SIDE = 17;                // video pixels across
const IDLE = 120;                         // ms without a new frame before the exact pixels are fetched
const KEEP = 4;                           // exact frames

export class Loupe {
  constructor(studio) {
    this.studio = studio;
    this.exact = new Map();               // t -> ImageBitmap
    this.at = null;                       // where a placing cross is
    this.now = canvas("The point now, eight times enlarged; drag to move it by an eighth of a pixel for each pixel");
    this.then = canvas("The point at its nearest keyframe, eight times enlarged");
    this.nowNote = h("figcaption", {});
    this.thenNote = h("figcaption", {});
    this.element = h("section", { class: "loupe", "aria-label": "Loupe" },
      h("figure", {}, this.now, this.nowNote), h("figure", {}, this.then, this.thenNote));
    this.now.addEventListener("pointerdown", (event) => this.grab(event));
    this.now.addEventListener("pointermove", (event) => this.pull(event));
    this.now.addEventListener("pointerup", () => this.release());
    studio.on("cursor", (at) => {
      this.at = at;
      this.draw();
    });
  }

  grab(event) {
    const { active } = this.studio.annotation, t = this.studio.player.shown, at = active && this.studio.stage.place(active.id, t);
    if (!at || this.studio.readOnly) return;
    this.studio.player.pause();
    this.now.setPointerCapture(event.pointerId);
    this.held = { id: active.id, t, x: at.x, y: at.y, px: event.clientX, py: event.clientY, moved: false };
  }

  pull(event) {
    const { held } = this;
    if (!held) return;
    held.moved = held.moved || Math.hypot(event.clientX - held.px, event.clientY - held.py) > 2;
    if (!held.moved) return;
    // the point goes where the pointer goes: the picture below it stays, the mark moves
    const to = this.studio.within(held.x + (event.clientX - held.px) / ZOOM, held.y + (event.clientY - held.py) / ZOOM);
    held.to = to;
    this.studio.stage.drag = { id: held.id, ...to };
    this.studio.stage.request();
    this.draw();
  }

  release() {
    const { held } = this;
    this.held = null;
    if (held?.moved) this.studio.correct(held.id, held.t, held.to.x, held.to.y);
  }

  /** Draws what is known now, and asks for the exact pixels when the frame stays. */
  update() {
    this.draw();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(), IDLE);
  }

  target() {
    const { annotation, player, stage } = this.studio, t = player.shown;
    if (t === null) return null;
    if (this.held) return { t, x: this.held.x, y: this.held.y, mark: this.held.to ?? this.held };
    if (this.at) return { t, x: this.at[0], y: this.at[1] };
    const at = annotation.active && stage.place(annotation.active.id, t);
    return at ? { t, x: at.x, y: at.y } : null;
  }

  /** The last keyframe up to frame t, else the first. */
  reference(t) {
    const keys = this.studio.annotation.active?.keyframes ?? [];
    const before = keys.filter((key) => key.t <= t);
    return before.at(-1) ?? keys[0] ?? null;
  }

  async fetch() {
    const target = this.target(), reference = target && this.reference(target.t);
    for (const t of new Set([reference?.t, this.studio.player.playing ? null : target?.t])) {
      if (t === null || t === undefined || this.exact.has(t)) continue;
      try {
        const response = await this.studio.api.fullFrame(this.studio.clip, t);
        if (Number(response.headers.get("X-Tapkit-Frame")) !== t) throw new Error("another frame than was asked for");
        this.exact.set(t, await createImageBitmap(await response.blob()));
        while (this.exact.size > KEEP) {
          const [first, bitmap] = this.exact.entries().next().value;
          this.exact.delete(first);
          bitmap.close();
        }
      } catch { /* the enlarged preview stays */ }
      this.draw();
    }
  }

  draw() {
    const target = this.target(), active = this.studio.annotation.active;
    this.element.classList.toggle("idle", !target);
    if (!target) {
      patch(this.now, null);
      replace(this.nowNote, active ? "no position here" : "×8 loupe");
    } else {
      const exact = this.exact.get(target.t) ?? null;
      patch(this.now, exact ?? this.studio.player.entry?.bitmap, target, target.mark ?? target, this.studio.clip);
      replace(this.nowNote, `here: ${number(target.x, 1)}, ${number(target.y, 1)}`, exact ? "" : " ~");
    }
    const key = active && this.reference(target?.t ?? this.studio.player.shown ?? 0);
    const picture = key && this.exact.get(key.t);
    patch(this.then, picture ?? null, key, key, this.studio.clip);
    replace(this.thenNote, key ? `keyframe ${key.t}` : active ? "no keyframe" : "its keyframe");
  }

  close() {
    clearTimeout(this.timer);
    for (const bitmap of this.exact.values()) bitmap.close();
  }
}

function canvas(label) {
  return h("canvas", { width: SIDE * ZOOM, height: SIDE * ZOOM, role: "img", "aria-label": label });
}

/** The patch around `at` of a frame of any size, with a cross at `mark`; both in video pixels. */
function patch(target, bitmap, at, mark, clip) {
  const context = target.getContext("2d"), size = SIDE * ZOOM, colours = palette();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = colours.stage;
  context.fillRect(0, 0, size, size);
  if (!bitmap || !at) return;
  const left = at.x - SIDE / 2, top = at.y - SIDE / 2;
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, -left * ZOOM, -top * ZOOM, clip.width * ZOOM, clip.height * ZOOM);
  const place = [(mark.x - left) * ZOOM, (mark.y - top) * ZOOM];
  cross(context, place, 5, 22, [[4, "rgba(0,0,0,.7)"], [1.75, "#fff"]]);
}
