// What runs at the server: how far it is, at which speed, and how long it still takes.

import { duration, h, icon, number, replace } from "./dom.js";
import { failed, toast } from "./notes.js";

const VERBS = { track: "Tracking", solve: "Assist" };
const OVER = new Set(["done", "failed", "cancelled"]);

export class Jobs {
  /** `ended(job)` is called once for each job that is over. */
  constructor(api, ended) {
    this.api = api;
    this.ended = ended;
    this.all = new Map();
    this.mine = new Map();          // job -> what to do when it is done
    this.element = h("div", { class: "jobs", "aria-label": "What is running" });
  }

  async load(clip) {
    for (const job of await this.api.jobs()) if (!OVER.has(job.state) && job.clip === clip) this.take(job);
  }

  then(job, run) {
    if (OVER.has(this.all.get(job)?.state)) run(this.all.get(job));
    else this.mine.set(job, run);
  }

  /** A message of the server about a job. */
  take(message) {
    const before = this.all.get(message.job);
    if (before && OVER.has(before.state)) return;
    this.all.set(message.job, { ...before, ...message });
    if (OVER.has(message.state)) {
      if (message.state === "failed") toast(message.error ?? "The tracker failed.", { kind: "error" });
      this.ended(message);
      this.mine.get(message.job)?.(message);
      this.mine.delete(message.job);
    }
    this.draw();
  }

  get running() {
    return [...this.all.values()].filter((job) => !OVER.has(job.state));
  }

  draw() {
    replace(this.element, this.running.map((job) => this.chip(job)));
  }

  chip(job) {
    const { done = 0, total = 0 } = job, paused = job.state === "paused", queued = job.state === "queued";
    const numbers = queued ? "waiting for its turn" : `${number(done)} of ${total ? number(total) : "–"} frames`;
    const speed = job.state === "running" && job.rate ? ` · ${number(job.rate, job.rate < 10 ? 1 : 0)} per s` : "";
    const left = job.state === "running" && job.seconds_left != null ? ` · ${duration(job.seconds_left)} left` : "";
    const ask = (what) => () => this.api.job(job.job, what).catch(failed);
    return h("div", { class: `job ${job.state}` },
      h("span", {}, h("b", {}, `${VERBS[job.kind] ?? "Work"} `), numbers, speed, left, paused ? " · paused" : ""),
      h("progress", { max: total || 1, value: done, "aria-label": "Progress" }),
      queued ? null : h("button", { class: "bare", "data-tip": paused ? "Go on" : "Pause", "aria-label": paused ? "Go on" : "Pause", onclick: ask(paused ? "resume" : "pause") },
        icon(paused ? "play" : "pause")),
      h("button", { class: "bare", "data-tip": "Stop; what is tracked so far is kept", "aria-label": "Stop", onclick: ask("cancel") }, icon("stop")));
  }
}
