// A clip is given to people.

import { h } from "./dom.js";
import { dialog, failed, toast } from "./notes.js";

const STAGES = [["objects", "Objects: a box every 30 frames and a label"], ["points", "Points: clicks, and where they are hidden"], ["clean-up", "Clean-up: correct what others did"]];

export async function assignDialog(app, clip) {
  let people;
  try {
    const answer = await app.api.users();
    people = answer.filter((user) => user.active !== false && user.role === "annotator");
  } catch (error) {
    return failed(error);
  }
  const boxes = people.map((user) => h("input", { type: "checkbox", value: user.id }));
  const stage = h("select", {}, STAGES.map(([value, text]) => h("option", { value, selected: value === "points" }, text)));
  const blind = h("input", { type: "checkbox" });
  const answer = await dialog(`Give ${clip.name} to`, (close) => [
    people.length ? h("fieldset", {}, h("legend", { class: "sr" }, "People"), people.map((user, i) => h("label", { class: "check" }, boxes[i], h("span", {}, user.name))))
      : h("p", {}, "There are no annotators yet: make accounts for them on the page ", h("a", { href: "#/people", onclick: () => close() }, "People"), "."),
    h("label", { class: "field" }, "Stage", stage),
    h("label", { class: "check" }, blind, "blind: they do not see each other's work, and their agreement is measured"),
    h("footer", {}, h("button", { onclick: () => close() }, "Cancel"), h("button", { class: "primary", onclick: () => {
      const users = boxes.filter((box) => box.checked).map((box) => Number(box.value));
      if (users.length) close(users);
      else toast("Choose at least one person.");
    } }, "Assign")),
  ]);
  if (!answer) return undefined;
  try {
    await app.api.assign(clip.id, answer, stage.value, blind.checked);
    await app.route();
  } catch (error) {
    failed(error);
  }
  return undefined;
}
