// What was given to this person, and what waits for a reviewer.

import { duration, h, icon, plural } from "./dom.js";

const STAGES = { objects: "boxes and labels of objects", points: "points", "clean-up": "clean-up" };

export async function workPage(app) {
  const answer = await app.api.work(), mine = answer, { clips } = await app.clips();
  const clip = (id) => clips.find((one) => one.id === id);
  const rows = [...mine].sort((a, b) => rank(a) - rank(b));
  const waiting = app.session.user?.role !== "annotator" ? clips.filter((one) => one.state === "to review") : [];
  const element = h("div", { class: "page", dataset: { view: "work" } },
    h("header", { class: "page-head" }, h("h1", {}, "My work")),
    waiting.length ? h("section", {}, h("h2", {}, `${plural(waiting.length, "clip")} to review`),
      h("ul", { class: "lines" }, waiting.map((one) => h("li", {}, h("a", { href: `#/review/${one.id}` }, one.name), h("span", { class: "dim" }, plural(one.points, "point")), h("a", { class: "button primary", href: `#/review/${one.id}` }, "Review"))))) : null,
    rows.length ? h("ul", { class: "lines" }, rows.map((one) => line(one, clip(one.clip))))
      : h("div", { class: "empty big" }, icon("check"), h("h2", {}, "Nothing waits for you"), h("p", {}, "Clips that the owner gives to you appear here."), h("p", {}, h("a", { class: "button", href: "#/clips" }, "All clips"))));
  return { element };
}

function rank({ state }) {
  return ["in work", "open", "to review", "accepted"].indexOf(state);
}

function line(one, clip) {
  const todo = ["open", "in work"].includes(one.state);
  return h("li", {},
    h("a", { href: `#/clip/${one.clip}` }, clip?.name ?? one.name ?? `clip ${one.clip}`),
    h("span", { class: `state ${one.state.replace(" ", "-")}` }, one.state),
    h("span", { class: "dim" }, `${STAGES[one.stage] ?? one.stage}${one.blind ? ", blind" : ""} · ${duration(one.seconds ?? 0)} so far`),
    one.comment ? h("q", { class: "said warn" }, one.comment) : null,
    h("a", { class: `button${todo ? " primary" : ""}`, href: `#/clip/${one.clip}` }, todo ? (one.comment ? "Do again" : "Open") : "Look"));
}
