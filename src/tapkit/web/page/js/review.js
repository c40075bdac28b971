// The review of one clip: how far its annotators agree, where they do not, and what is to become of it.

import { h, icon, number, plural } from "./dom.js";
import { dialog, failed, toast } from "./notes.js";
import { table } from "./report.js";

const RADII = [1, 2, 4, 8, 16];           // px at 256 x 256

export async function reviewPage(app, id) {
  const { clips } = await app.clips(), clip = clips.find((one) => one.id === id);
  if (!clip) throw new Error("There is no such clip in this project, or it is not yours.");
  const [agreement, assignments, people, log] = await Promise.all([app.api.agreement(id), app.api.assignments(id), names(app), app.api.events(id)]);
  const name = (user) => people.get(user) ?? `person ${user}`;
  const labels = new Map(agreement.points.map((one) => [one.point, one.label || `point ${one.point}`]));
  const adopt = async (point, from) => {
    try {
      await app.api.adopt(id, point, from);
      toast(`Adopted ${from === "mean" ? "the mean" : `${name(from)}'s`}.`);
      await app.route();
    } catch (error) {
      failed(error);
    }
  };
  const taken = adopted(log, name), blind = assignments.some((one) => one.blind && one.stage !== "objects");
  const element = h("div", { class: "page", dataset: { view: "review" } },
    h("header", { class: "page-head" }, h("h1", {}, `Review of ${clip.name}`), h("span", { class: `state ${clip.state.replace(" ", "-")}` }, clip.state), h("span", { class: "spacer" }),
      h("a", { class: "button", href: `#/clip/${id}` }, "Open the clip")),
    h("section", {}, h("h2", {}, "Handed in"), assignments.length ? h("ul", { class: "lines" }, assignments.map((one) => decision(app, one, name)))
      : h("p", { class: "dim" }, "Nobody has this clip. Give it to people on the page Clips.")),
    h("section", {}, h("h2", {}, "Agreement"), agreement.points.length ? [
      agreementTable(agreement, name, adopt, taken),
      h("p", { class: "dim" }, "Distances in pixels of the frame scaled to 256 × 256, where both see the point; kappa is of visible or not.")]
      : h("p", { class: "dim" }, "Agreement is measured where two people annotated the clip blind to each other.")),
    blind && !taken.size ? h("p", { class: "said" }, "Nothing is adopted yet: until then the clip says, and hands on, only what it said before it was given to them.") : null,
    agreement.unmatched.length ? h("section", {}, h("h2", {}, "Only one has them"), h("ul", { class: "lines" }, agreement.unmatched.map(([user, point]) => h("li", {}, labels.get(point) ?? `point ${point}`, h("span", { class: "dim" }, name(user)), h("button", { onclick: () => adopt(point, user) }, "Adopt"))))) : null,
    agreement.places.length ? h("section", {}, h("h2", {}, plural(agreement.places.length, "place", "places to look at")), h("ol", { class: "places" }, agreement.places.slice(0, 200).map((place) => h("li", {},
      `frame ${place.t}, ${labels.get(place.point) ?? `point ${place.point}`}: `, h("b", {}, `${number(place.value, 1)} px`), " apart ",
      (agreement.points.find((one) => one.point === place.point)?.users ?? agreement.users).map((user) => [" ", h("a", { href: `#/clip/${id}/of/${user}`, "aria-label": `See what ${name(user)} did on frame ${place.t}`, onclick: () => sessionStorage.setItem(`tapkit.frame.${id}`, place.t) }, name(user))]))))) : null);
  return { element };
}

async function names(app) {
  const answer = await app.api.users().catch(() => []);
  return new Map(answer.map((user) => [user.id, user.name]));
}

/** What was adopted last of each point, by the log: point -> whose. */
function adopted(log, name) {
  const found = new Map();
  for (const { text, points, undone } of log) {
    const said = /^adopted .* from (?:user (\d+)|all annotators)$/s.exec(text);
    if (said && !undone) for (const point of points) found.set(point, said[1] ? name(Number(said[1])) : "the mean");
  }
  return found;
}

function agreementTable(agreement, name, adopt, taken) {
  return table(["Point", "Median", ...RADII.map((r) => `≤ ${r} px`), "Kappa", "Adopt"], agreement.points.map((one) => [
    one.label || `point ${one.point}`,
    one.median === null ? "–" : h("b", { class: one.median > 4 ? "bad" : one.median > 1.5 ? "warn" : "good" }, `${number(one.median, 2)} px`),
    ...RADII.map((_, i) => (one.within ? `${number(100 * one.within[i], 0)} %` : "–")), number(one.kappa, 2),
    h("span", { class: "row" }, one.users.map((user) => h("button", { onclick: () => adopt(one.point, user) }, name(user))), one.users.length > 1 ? h("button", { onclick: () => adopt(one.point, "mean") }, "Mean") : null,
      taken.has(one.point) ? h("span", { class: "dim" }, icon("check"), ` ${taken.get(one.point)}`) : null)]));
}

function decision(app, one, name) {
  const decide = async (what) => {
    let comment = "";
    if (what === "reject") {
      comment = await why(name(one.user));
      if (comment === null) return;
    }
    try {
      await app.api.review(one.id, what, comment);
      toast(what === "accept" ? "Accepted." : `Handed back to ${name(one.user)}.`);
      await app.route();
    } catch (error) {
      failed(error);
    }
  };
  return h("li", {}, h("b", {}, name(one.user)), h("span", { class: `state ${one.state.replace(" ", "-")}` }, one.state), h("span", { class: "dim" }, `${one.stage}${one.blind ? ", blind" : ""}`),
    one.comment ? h("q", {}, one.comment) : null,
    one.blind ? h("a", { href: `#/clip/${one.clip}/of/${one.user}` }, "see the work") : null,
    one.state === "to review" ? h("span", { class: "row" }, h("button", { onclick: () => decide("reject") }, "Hand back"), h("button", { class: "primary", onclick: () => decide("accept") }, icon("check"), "Accept")) : null);
}

function why(name) {
  const text = h("textarea", { rows: 3, required: true, maxlength: 2000, autofocus: true });
  return dialog(`Hand back to ${name}`, (close) => h("form", { onsubmit: (event) => { event.preventDefault(); close(text.value.trim()); } },
    h("label", { class: "field" }, "What is to be done", text),
    h("footer", {}, h("button", { type: "button", onclick: () => close() }, "Cancel"), h("button", { class: "primary" }, "Hand back"))));
}
