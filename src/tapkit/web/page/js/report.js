// The work on the whole project: time per track, progress of each person, agreement.

import { duration, h, icon, number, plural } from "./dom.js";

export async function reportPage(app) {
  const { rows, agreement = [] } = await app.api.report();
  const people = byPerson(rows), most = Math.max(1, ...people.map((one) => one.total));
  const element = h("div", { class: "page", dataset: { view: "report" } },
    h("header", { class: "page-head" }, h("h1", {}, "Report")),
    rows.length ? [
      people.length ? h("section", {}, h("h2", {}, "Progress by person"), h("div", { class: "bars" }, people.map((one) => person(one, most)))) : null,
      h("section", {}, h("h2", {}, "Work on each clip"), table(["Clip", "Person", "Stage", "State", "Points", "Keyframes", "Edits", "Time", "Time per track"], rows.map((row) => [
        row.clip, row.user || "–", row.stage || "–", row.state ? h("span", { class: `state ${row.state.replace(" ", "-")}` }, row.state) : "–", number(row.points), number(row.keyframes), number(row.edits), duration(row.seconds), row.seconds_per_track === null ? "–" : `${number(row.seconds_per_track, 1)} s`]))),
      agreement.length ? h("section", {}, h("h2", {}, "Agreement of clips that several annotated"), table(["Clip", "Median distance at 256 × 256", "Kappa of visibility"],
        agreement.map((one) => (Array.isArray(one) ? one : [one.clip, one.median, one.kappa])).map(([clip, median, kappa]) => [clip, median === null ? "–" : `${number(median, 2)} px`, number(kappa, 2)]))) : null,
    ] : h("div", { class: "empty big" }, icon("chart"), h("h2", {}, "Nothing to report yet"), h("p", {}, "Time and progress are counted from the first edit on. Give clips to people on the page Clips.")));
  return { element };
}

export function table(heads, rows) {
  return h("div", { class: "table-room" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => h(i ? "td" : "th", i ? {} : { scope: "row" }, cell)))))));
}

function byPerson(rows) {
  const people = new Map();
  for (const row of rows) {
    if (!row.state) continue;                  // looked in, without being asked to
    const one = people.get(row.user) ?? { name: row.user, total: 0, states: new Map(), seconds: 0, points: 0 };
    one.total += 1;
    one.seconds += row.seconds ?? 0;
    one.points += row.points ?? 0;
    one.states.set(row.state, (one.states.get(row.state) ?? 0) + 1);
    people.set(row.user, one);
  }
  return [...people.values()];
}

function person({ name, total, states, seconds, points }, most) {
  const bar = h("span", { class: "bar", role: "img", "aria-label": [...states].map(([state, count]) => `${count} ${state}`).join(", ") });
  for (const state of ["accepted", "to review", "in work", "open"]) {
    const count = states.get(state);
    if (!count) continue;
    const part = h("span", { class: `part ${state.replace(" ", "-")}`, "data-tip": `${count} ${state}` }, String(count));
    part.style.width = `${(100 * count) / most}%`;
    bar.append(part);
  }
  return h("div", { class: "bar-row" }, h("span", { class: "bar-name" }, name || "without account"), bar, h("span", { class: "dim" }, `${plural(points, "point")}, ${duration(seconds)}, ${plural(total, "clip")}`));
}
