// What a pointer does on the canvas. A press that moves nothing and places nothing changes nothing: an empty place is for panning.

const STILL = 3;               // CSS pixels that a click may move
const FINE = 1 / 8;            // of the movement, while Shift is held in a drag

export class Gestures {
  constructor(studio, canvas) {
    this.studio = studio;
    this.canvas = canvas;
    this.now = null;           // the gesture under way
    const on = (name, run) => canvas.addEventListener(name, (event) => run.call(this, event));
    on("pointerdown", this.down);
    on("pointermove", this.move);
    on("pointerup", this.up);
    on("pointercancel", this.cancel);
    on("pointerleave", this.leave);
    on("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => event.preventDefault());
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    const { studio } = this, { stage, view } = studio;
    const screen = this.at(event), video = view.toVideo(...screen);
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const common = { start: screen, last: screen, moved: false, shift: event.shiftKey };
    if (event.button === 1 || event.button === 2) this.now = { kind: "pan", ...common };
    else if (studio.mode === "box") this.now = { kind: "box", ...common, from: video };
    else {
      const id = stage.hit(...screen);
      if ((event.ctrlKey || event.metaKey) && studio.annotation.active && studio.mode === "select") this.now = { kind: "put", ...common };
      else if (studio.mode === "place" || (id === null && event.shiftKey)) this.now = { kind: "place", ...common };
      else if (id === null) this.now = { kind: "pan", ...common };
      else {
        const at = stage.place(id, studio.player.shown);
        this.now = { kind: "point", id, ...common, x: at.x, y: at.y, t: studio.player.shown };
      }
    }
    if (this.now.kind !== "pan") studio.player.pause();
  }

  move(event) {
    const { studio, now } = this, { stage, view } = studio, screen = this.at(event), video = view.toVideo(...screen);
    if (studio.mode === "place" || studio.mode === "box") {
      stage.cursor = video;
      studio.emit("cursor", video);
      stage.request();
    }
    if (!now) return this.hover(stage.hit(...screen));
    const dx = screen[0] - now.last[0], dy = screen[1] - now.last[1];
    now.moved = now.moved || Math.hypot(screen[0] - now.start[0], screen[1] - now.start[1]) > STILL;
    now.last = screen;
    if (!now.moved) return undefined;
    if (now.kind === "pan") {
      view.pan(dx, dy);
      studio.emit("zoom");
    } else if (now.kind === "point" && !studio.readOnly) {
      const share = event.shiftKey ? FINE : 1;
      now.x += (dx * share) / view.scale;
      now.y += (dy * share) / view.scale;
      stage.drag = { id: now.id, ...studio.within(now.x, now.y) };
      studio.emit("cursor", [stage.drag.x, stage.drag.y]);
    } else if (now.kind === "box") {
      stage.box = corners(now.from, video);
    }
    stage.request();
    return undefined;
  }

  hover(id) {
    const { stage, mode } = this.studio;
    this.canvas.style.cursor = mode === "select" ? (id === null ? "default" : "grab") : "crosshair";
    if (stage.hover === id) return;
    stage.hover = id;
    stage.request();
  }

  up(event) {
    const { studio, now } = this, { stage, view, annotation } = studio, video = view.toVideo(...this.at(event));
    this.now = null;
    if (!now) return;
    if (now.kind === "put" && !now.moved) studio.putHere(...video);
    else if (now.kind === "pan" && !now.moved && event.button === 0) studio.emit("hint", "Nothing was placed: press N first, or hold Shift.");
    else if (now.kind === "place" && !now.moved) studio.placePoint(...video, { stay: event.shiftKey || studio.sticky });
    else if (now.kind === "point") {
      if (!now.moved) annotation.select([now.id], { toggle: now.shift });
      else if (studio.readOnly) studio.refuse();
      else {
        if (!annotation.selection.has(now.id)) annotation.select([now.id]);
        studio.correct(now.id, now.t, stage.drag.x, stage.drag.y);
      }
    } else if (now.kind === "box" && now.moved) studio.drawnBox(stage.box);
    stage.box = null;
    studio.emit("cursor", null);
    stage.request();
  }

  cancel() {
    const { stage } = this.studio;
    this.now = null;
    stage.drag = stage.box = null;
    stage.request();
  }

  leave() {
    const { stage } = this.studio;
    if (this.now) return;
    this.hover(null);
    if (this.studio.mode !== "grab") stage.cursor = null;
    this.studio.emit("cursor", null);
    stage.request();
  }

  wheel(event) {
    event.preventDefault();
    const { view, stage } = this.studio;
    view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), this.at(event));
    stage.zoomed();
  }
}

function corners([ax, ay], [bx, by]) {
  return { x0: Math.min(ax, bx), y0: Math.min(ay, by), x1: Math.max(ax, bx), y1: Math.max(ay, by) };
}
