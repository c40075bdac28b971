// Which frame is on the screen. `wanted` is where the person went; `shown` is the frame whose picture is there. Numbers
// on the page, overlays and edits follow `shown`, so that a number never stands beside the picture of another frame.

import { Emitter } from "./emitter.js";

const BUFFER = 3;            // frames that are to be here before playing goes on after a gap

/** Emits "shown" (t), "wanted" (t) and "playing" (bool). */
export class Player extends Emitter {
  constructor(frames, count, fps) {
    super();
    this.frames = frames;
    this.count = count;
    this.fps = fps || 25;
    this.speed = 1;
    this.wanted = 0;
    this.shown = null;
    this.playing = false;
    this.rate = 0;           // frames shown in the last second of playing
    frames.arrived = (t) => this.arrived(t);
  }

  /** The picture to draw, null before the first one came. */
  get entry() {
    return this.shown === null ? null : this.frames.get(this.shown);
  }

  seek(t, { scrub = false } = {}) {
    const target = Math.min(Math.max(0, Math.round(t)), this.count - 1);
    const direction = target === this.wanted ? this.frames.direction : Math.sign(target - this.wanted);
    this.wanted = target;
    this.frames.want(target, { direction, scrub });
    this.emit("wanted", target);
    if (this.frames.get(target)) this.show(target);
  }

  step(by) {
    this.pause();
    this.seek(this.wanted + by);
  }

  arrived(t) {
    const nearer = this.shown === null || Math.abs(t - this.wanted) <= Math.abs(this.shown - this.wanted);
    if (t === this.wanted || (nearer && this.shown !== this.wanted)) this.show(t);
  }

  show(t) {
    this.shown = t;
    this.emit("shown", t);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.playing) return;
    this.playing = true;
    if (this.wanted >= this.count - 1) this.seek(0);
    this.frames.want(this.wanted, { direction: 1 });
    this.due = performance.now();
    this.times = [];
    this.waiting = false;
    this.emit("playing", true);
    this.tick = requestAnimationFrame((now) => this.advance(now));
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.tick);
    this.emit("playing", false);
  }

  /** Every frame is shown, in order and never faster than wished; where the pictures come slower, so does the clip. */
  advance(now) {
    if (!this.playing) return;
    const next = this.wanted + 1;
    if (next >= this.count) return this.pause();
    const left = this.count - next;
    if (this.waiting) this.waiting = this.frames.ready(this.wanted) < Math.min(BUFFER, left);
    if (now >= this.due && !this.waiting) {
      if (this.frames.get(next)) {
        this.seek(next);
        this.due = Math.max(this.due + 1000 / (this.fps * this.speed), now - 50);
        this.times.push(now);
        while (this.times[0] < now - 1000) this.times.shift();
        this.rate = this.times.length;
      } else {
        this.waiting = true;
        this.due = now;
        this.frames.pump();
      }
    }
    this.tick = requestAnimationFrame((time) => this.advance(time));
    return undefined;
  }
}
