// The list of points: names, groups, what is shown. Only the rows in sight are elements, so that 500 points are no burden.

import { append, h, icon, plural, replace } from "./dom.js";
import { colourOf } from "./theme.js";

const ROW = 28;

export class PointsPanel {
  constructor(studio) {
    this.studio = studio;
    this.filter = "";
    this.search = h("input", {
      type: "search", placeholder: "Find a point or group", "aria-label": "Find a point or group",
      oninput: () => { this.filter = this.search.value.trim().toLowerCase(); this.draw(); },
    });
    this.count = h("span", { class: "count" });
    this.list = h("div", { class: "points", role: "listbox", tabindex: 0, "aria-multiselectable": "true", "aria-label": "Points" });
    this.room = h("div", { class: "points-room" });
    this.list.append(this.room);
    this.empty = h("div", { class: "empty" },
      h("p", {}, h("b", {}, "No points yet.")),
      h("p", {}, "Click on something in the picture that you could find again: a corner, an eye, a screw."),
      h("p", {}, "Then press ", h("kbd", {}, "T"), " and it is followed through the clip."));
    this.element = h("aside", { class: "left panel", "aria-label": "Points of the clip" },
      h("header", {}, h("h2", {}, "Points"), this.count, studio.keys.button("place", icon("plus"), { class: "bare" })),
      this.search, this.empty, this.list, studio.objects.element);
    this.list.addEventListener("scroll", () => this.rows(), { passive: true });
    this.list.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.rows()).observe(this.list);
  }

  /** Rows: {group} or {id}, filtered, groups first in the order in which they came. */
  items() {
    const { annotation } = this.studio, groups = new Map();
    for (const id of this.studio.order()) {
      const point = annotation.points.get(id);
      const text = `${annotation.name(id)} ${point.group ?? ""}`.toLowerCase();
      if (this.filter && !text.includes(this.filter)) continue;
      const group = point.group || "";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push({ id });
    }
    if (groups.size === 1 && groups.has("")) return groups.get("");
    return [...groups].flatMap(([group, rows]) => [{ group, ids: rows.map((row) => row.id) }, ...rows]);
  }

  draw() {
    this.shown = this.items();
    const total = this.studio.annotation.points.size;
    replace(this.count, total ? String(total) : "");
    this.count.setAttribute("aria-label", plural(total, "point"));
    this.empty.hidden = total > 0;
    this.list.hidden = total === 0;
    this.search.hidden = total < 6;
    this.room.style.height = `${this.shown.length * ROW}px`;
    this.rows();
  }

  rows() {
    if (!this.shown) return;
    const first = Math.max(0, Math.floor(this.list.scrollTop / ROW) - 4);
    const last = Math.min(this.shown.length, first + Math.ceil((this.list.clientHeight || 400) / ROW) + 8);
    replace(this.room, this.shown.slice(first, last).map((item, n) => {
      const row = item.id === undefined ? this.group(item) : this.row(item.id, first + n);
      row.style.top = `${(first + n) * ROW}px`;
      return row;
    }));
    const active = this.studio.annotation.active;
    if (active) this.list.setAttribute("aria-activedescendant", `point-${active.id}`);
    else this.list.removeAttribute("aria-activedescendant");
  }

  group({ group, ids }) {
    const { studio } = this, hidden = ids.every((id) => studio.unseen.has(id));
    return h("div", { class: "group-row", role: "presentation" },
      h("button", { class: "name", "data-tip": "Select the group", onclick: () => studio.annotation.select(ids) }, group || "no group"),
      this.eye(hidden, `the group ${group || "without name"}`, () => studio.show(ids, hidden)));
  }

  eye(hidden, what, run) {
    return h("button", {
      class: "bare eye", tabindex: -1, "data-tip": hidden ? "Show" : "Hide from the picture", "aria-label": `${hidden ? "Show" : "Hide"} ${what}`,
      onclick: (event) => { event.stopPropagation(); run(); },
    }, icon(hidden ? "eyeOff" : "eye"));
  }

  row(id, position) {
    const { studio } = this, { annotation } = studio, point = annotation.points.get(id), hidden = studio.unseen.has(id);
    const dot = h("span", { class: "dot" });
    dot.style.backgroundColor = colourOf(point);
    return append(h("div", {
      class: `point-row${hidden ? " unseen" : ""}`, role: "option", id: `point-${id}`, "aria-selected": String(annotation.selection.has(id)),
      "aria-posinset": position + 1, "aria-setsize": this.shown.length,
      onclick: (event) => this.choose(id, event), ondblclick: () => studio.rename(),
    }), [dot, h("span", { class: "name" }, annotation.name(id)),
      h("span", { class: "keys-count", "data-tip": plural(point.keyframes.length, "keyframe") }, `◆${point.keyframes.length}`),
      this.eye(hidden, annotation.name(id), () => studio.show([id], hidden))]);
  }

  choose(id, event) {
    const { annotation } = this.studio;
    this.list.focus({ preventScroll: true });
    if (event.shiftKey && annotation.active) {
      const ids = this.shown.map((item) => item.id).filter((other) => other !== undefined);
      const [a, b] = [ids.indexOf(annotation.active.id), ids.indexOf(id)].sort((p, q) => p - q);
      if (a >= 0) return annotation.select(ids.slice(a, b + 1), { add: true });
    }
    return annotation.select([id], { toggle: event.ctrlKey || event.metaKey });
  }

  key(event) {
    const ids = this.shown.map((item) => item.id).filter((id) => id !== undefined);
    const at = ids.indexOf(this.studio.annotation.active?.id);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: ids.length - 1 }[event.key];
    if (event.key === "Enter") this.studio.rename();
    else if (to === undefined || !ids.length) return;
    else {
      const id = ids[Math.min(Math.max(0, to), ids.length - 1)];
      this.studio.annotation.select([id], { add: event.shiftKey });
      this.reveal(id);
    }
    event.preventDefault();
  }

  reveal(id) {
    const row = this.shown?.findIndex((item) => item.id === id) ?? -1;
    if (row < 0) return;
    const top = row * ROW, { scrollTop, clientHeight } = this.list;
    if (top < scrollTop) this.list.scrollTop = top;
    else if (top + ROW > scrollTop + clientHeight) this.list.scrollTop = top + ROW - clientHeight;
    this.rows();
  }
}
