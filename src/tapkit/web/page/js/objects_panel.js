// Objects with their boxes: the first of TAP-Vid's three stages. Shown once there is one.

import { h, icon, plural, replace } from "./dom.js";
import { toast } from "./notes.js";

export class ObjectsPanel {
  constructor(studio) {
    this.studio = studio;
    this.list = h("ul", { class: "objects" });
    this.element = h("section", { class: "objects-box", "aria-label": "Objects", hidden: true }, h("h2", {}, "Objects"), this.list);
  }

  draw() {
    const { objects } = this.studio.annotation;
    this.element.hidden = objects.length === 0;
    replace(this.list, objects.map((object) => this.row(object)));
  }

  row(object) {
    const name = object.label || `object ${object.id}`, { studio } = this;
    return h("li", {},
      h("button", { class: "name", "data-tip": "To its next box", onclick: () => this.next(object) }, name),
      h("span", { class: "keys-count" }, plural(object.boxes.length, "box", "boxes")),
      h("button", { class: "bare eye", "data-tip": "Delete the box on this frame, or the object where there is none", "aria-label": `Delete ${name}`, onclick: () => this.remove(object, name) }, icon("trash")),
      studio.readOnly ? null : h("button", { class: "bare eye", "data-tip": "The selected points are on this object", "aria-label": `The selected points are on ${name}`, onclick: () => this.assign(object, name) }, icon("link")));
  }

  next(object) {
    const times = object.boxes.map((box) => box.t).sort((a, b) => a - b), t = this.studio.player.shown;
    this.studio.player.pause();
    this.studio.player.seek(times.find((time) => time > t) ?? times[0]);
  }

  async remove(object, name) {
    const t = this.studio.player.shown, here = object.boxes.some((box) => box.t === t);
    const change = await this.studio.change([here ? { op: "delete_box", object: object.id, t } : { op: "delete_box", object: object.id }]);
    if (change) toast(here ? `Deleted the box of ${name} on frame ${t}.` : `Deleted ${name}.`, { actions: [["Undo", () => this.studio.undo()]] });
  }

  async assign(object, name) {
    const ids = this.studio.chosenOrSay();
    if (ids && await this.studio.editPoints(ids, { object: object.id })) toast(`${plural(ids.length, "point")} on ${name}.`);
  }
}
