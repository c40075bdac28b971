// What is known and can be said about the selected points.

import { h, icon, number, plural, replace } from "./dom.js";
import { KEY } from "./tracks.js";
import { colourOf } from "./theme.js";

const STATES = [["visible", "Visible"], ["occluded", "Occluded"], ["outside", "Outside"]];

export class Inspector {
  constructor(studio) {
    this.studio = studio;
    this.name = h("input", { class: "label", "aria-label": "Name of the point", maxlength: 80, placeholder: "Name" });
    this.group = h("input", { "aria-label": "Group, for instance the animal", maxlength: 80, placeholder: "Group", list: "groups" });
    this.colour = h("input", { type: "color", "aria-label": "Colour of the point" });
    this.groups = h("datalist", { id: "groups" });
    this.position = h("p", { class: "position", "aria-live": "off" });
    this.states = h("div", { class: "segments", role: "radiogroup", "aria-label": "On this frame" }, STATES.map(([state, text]) => h("label", {},
      h("input", { type: "radio", name: "state", value: state, onchange: () => studio.setStateHere(state) }), text)));
    this.several = h("p", { class: "dim" });
    this.actions = h("div", { class: "row wrap" });
    this.body = h("div", { class: "inspector-body" },
      h("div", { class: "row" }, this.colour, this.name, this.group, this.groups), this.several, this.position, this.states, this.actions);
    this.empty = h("p", { class: "dim empty-note" }, "Select a point in the picture, in the list or on the timeline.");
    this.element = h("section", { class: "inspector", "aria-label": "Selected point" }, this.empty, this.body);
    const change = (field) => (event) => studio.editPoints(studio.annotation.chosen, { [field]: event.target.value.trim() });
    this.name.addEventListener("change", (event) => {
      const { active } = studio.annotation;
      if (active) studio.editPoints([active.id], { label: event.target.value.trim() });
    });
    this.group.addEventListener("change", change("group"));
    this.colour.addEventListener("change", change("colour"));
    for (const input of [this.name, this.group]) input.addEventListener("keydown", (event) => { if (event.key === "Enter") input.blur(); });
  }

  /** The selection, or a selected point, changed. */
  draw() {
    const { annotation, keys } = this.studio, point = annotation.active, count = annotation.selection.size;
    this.body.hidden = !point;
    this.empty.hidden = Boolean(point);
    if (!point) return;
    const idle = (input) => document.activeElement !== input;
    if (idle(this.name)) this.name.value = point.label ?? "";
    this.name.placeholder = `point ${point.id}`;
    if (idle(this.group)) this.group.value = point.group ?? "";
    this.colour.value = colourOf(point);
    replace(this.groups, [...new Set([...annotation.points.values()].map((p) => p.group).filter(Boolean))].map((value) => h("option", { value })));
    replace(this.several, count > 1 ? `+ ${plural(count - 1, "other")}: group, colour and state go to all` : "");
    this.several.hidden = count < 2;
    for (const input of this.element.querySelectorAll("input")) input.disabled = this.studio.readOnly !== null;
    const two = count === 2;
    replace(this.actions,
      keys.button("keyframe", [icon("keyForward"), "Key"], {}), keys.button("deleteKeyframe", "Remove key"),
      two ? keys.button("link", [icon("link"), "Join"]) : null, two ? keys.button("merge", [icon("merge"), "Merge"]) : null,
      keys.button("deletePoint", icon("trash"), { class: "danger-quiet" }));
    this.frame();
  }

  /** The frame, or a position on it, changed. */
  frame() {
    const { annotation, player, stage } = this.studio, point = annotation.active, t = player.shown;
    if (!point || t === null) return;
    const at = stage.place(point.id, t), key = annotation.keyframe(point.id, t);
    const parts = [];
    if (at) {
      parts.push(h("b", {}, `${number(at.x, 2)}, ${number(at.y, 2)}`));
      if (key) parts.push(h("span", {}, "keyframe"));
      else if (at.source !== KEY) parts.push(h("span", {}, `confidence ${number(at.confidence, 2)}`));
    } else parts.push(h("span", {}, this.studio.tracks.unknown(point.id, t) ? "…" : "no position here: track it (T), or Ctrl+click where it is"));
    replace(this.position, parts);
    const stated = annotation.stated(point.id, t);
    const state = stated ?? (at && at.visible === 0 ? "occluded" : at ? "visible" : null);
    for (const input of this.states.querySelectorAll("input")) input.checked = input.value === state;
    this.states.classList.toggle("stated", stated !== null);
  }
}
