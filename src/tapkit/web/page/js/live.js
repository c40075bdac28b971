// What the server tells by itself: progress, positions while tracking, and what others changed.

import { Emitter } from "./emitter.js";

const FIRST_WAIT = 500;      // ms before the first new try; doubled up to LONGEST_WAIT
const LONGEST_WAIT = 8000;

const OUT = new Set([4401, 4404]);      // signed out; the clip is not this person's any more

/** Emits "message" (decoded), "open" (every time the line is there again), "closed", and "out": it will not open again. */
export class Live extends Emitter {
  constructor(clip) {
    super();
    this.clip = clip;
    this.wait = FIRST_WAIT;
    this.ended = false;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/api/clips/${this.clip}/live`);
    this.socket.addEventListener("open", () => {
      this.wait = FIRST_WAIT;
      this.emit("open");
    });
    this.socket.addEventListener("message", (event) => this.emit("message", JSON.parse(event.data)));
    this.socket.addEventListener("close", ({ code }) => {
      if (this.ended) return;
      if (OUT.has(code)) {
        this.emit("out");
        return;
      }
      this.emit("closed");
      this.timer = setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    });
  }

  close() {
    this.ended = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
