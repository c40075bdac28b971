// The keyboard: one table of commands, from which keys, tooltips and the help are made.

import { dialog } from "./notes.js";
import { h } from "./dom.js";

const NAMES = {
  " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", Delete: "Del", Home: "Home", End: "End", Enter: "Enter", Backspace: "⌫",
};

/** "ctrl+shift+z" as it is printed: "Ctrl+Shift+Z". */
export function keyLabel(key) {
  return splitKey(key).map((part) => NAMES[part] ?? (part.length === 1 ? part.toUpperCase() : part[0].toUpperCase() + part.slice(1))).join("+");
}

/** "ctrl+ArrowLeft" into its parts; the key "+" itself is allowed. */
function splitKey(key) {
  return key === "+" ? ["+"] : key.split("+");
}

/** The same for ARIA's attribute. */
function shortcut(key) {
  return splitKey(key).map((part) => ({ ctrl: "Control", shift: "Shift", alt: "Alt", " ": "Space", "+": "Plus" })[part] ?? part).join("+");
}

/** What an event is called in the table. Shift is left out where it made the character itself ("?", "+"). */
export function keyOf(event) {
  const parts = [];
  if (event.ctrlKey || event.metaKey) parts.push("ctrl");
  if (event.altKey) parts.push("alt");
  const letter = event.key.length === 1;
  if (event.shiftKey && (!letter || event.key === " " || event.key.toLowerCase() !== event.key.toUpperCase())) parts.push("shift");
  parts.push(letter ? event.key.toLowerCase() : event.key);
  return parts.join("+");
}

const TYPED = "input:not([type=checkbox]):not([type=radio]):not([type=range]):not([type=button]), textarea, select, [contenteditable]";
const OWN = new Set([" ", "Enter"]);                        // what a focused button does by itself
const ARROWS = /^(Arrow|Home|End|PageUp|PageDown)/;         // what sliders and radio buttons do by themselves
const VERTICAL = /^(ArrowUp|ArrowDown|Home|End)/;           // what lists do

const KEYED = 500;                                          // ms after a key in which a change is the keyboard's doing

export class Keys {
  /** `commands`: {id, keys, title, group, run(event), when()}; `busy()` is true while keys belong to something else. */
  constructor(commands) {
    this.commands = new Map(commands.map((command) => [command.id, command]));
    this.pressedAt = -Infinity;
    this.table = new Map(commands.flatMap((command) => (command.keys ?? []).map((key) => [key, command])));
    this.listener = (event) => this.pressed(event);
    this.letGo = (event) => this.afterPointer(event);
    document.addEventListener("keydown", this.listener);
    for (const name of ["click", "change"]) document.addEventListener(name, this.letGo);
  }

  /**
   * What was used with the mouse gives the keyboard back: the arrow key after a click on "Occluded" is to go to the next
   * frame, not to "Outside"; Space after a click on a tool plays. Who came by Tab stays where they are.
   */
  afterPointer({ type, target }) {
    if (document.activeElement?.matches(":focus-visible:not(select, input[type=radio], input[type=color], input[type=range])")) return;
    const done = type === "click" ? target.closest?.("button[data-command]") : target.matches?.("select, input[type=radio], input[type=color]");
    if (done && performance.now() - this.pressedAt > KEYED) document.activeElement?.blur();
  }

  close() {
    document.removeEventListener("keydown", this.listener);
    for (const name of ["click", "change"]) document.removeEventListener(name, this.letGo);
  }

  pressed(event) {
    this.pressedAt = performance.now();
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const key = keyOf(event), target = event.target;
    if (target.matches?.(TYPED)) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (OWN.has(event.key) && target.matches?.("button, a[href], summary, input, [role=option], [role=menuitem]")) return;
    if (ARROWS.test(event.key) && target.matches?.("input")) return;
    if (VERTICAL.test(event.key) && target.matches?.("[role=listbox]")) return;
    const command = this.table.get(key);
    if (!command || (command.when && !command.when())) return;
    event.preventDefault();
    command.run(event);
  }

  run(id) {
    const command = this.commands.get(id);
    if (!command.when || command.when()) command.run({});
  }

  /** A button for a command; its tooltip carries the title and the key. */
  button(id, content, attributes = {}) {
    const command = this.commands.get(id), key = command.keys?.[0];
    const label = attributes["aria-label"] ?? command.title;
    return h("button", {
      type: "button", "data-tip": command.title, "data-key": key ? keyLabel(key) : null, "aria-keyshortcuts": key ? shortcut(key) : null,
      "data-command": id, onclick: () => this.run(id), ...attributes, "aria-label": label,
    }, content);
  }

  /** All commands with their keys, by group. */
  help() {
    const groups = grouped([...this.commands.values()].filter((command) => !command.quiet));
    return dialog("Keys", () => [
      h("div", { class: "keys" }, [...groups].map(([group, commands]) => h("section", {},
        h("h3", {}, group),
        h("dl", {}, commands.filter((c) => c.keys?.length && !c.quiet).map((command) => [
          h("dt", {}, command.keys.slice(0, 2).map((key, i) => [i ? " or " : null, h("kbd", {}, keyLabel(key))])),
          h("dd", {}, command.title),
        ]))))),
      h("p", { class: "dim" }, "With the mouse: drag a point to correct it (Shift: eight times finer), or Ctrl+click where the selected one is; Shift+click an empty place for a new point, ",
        "wheel to zoom, drag an empty place to pan; on the timeline drag along a strip to say that the point is hidden."),
    ], { size: "wide" });
  }
}

function grouped(commands) {
  const groups = new Map();
  for (const command of commands) groups.set(command.group, [...(groups.get(command.group) ?? []), command]);
  return groups;
}
