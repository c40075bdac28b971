// Short messages at the foot of the page, the banner at its head, tooltips and dialogs.

import { append, h, icon, replace } from "./dom.js";

const STAY = 6000;            // ms; a message with a button stays twice as long
const TIP_AFTER = 350;

/** One sentence; `actions` are [label, function] pairs. Errors stay until they are closed. Gives what closes it; its `say` changes the sentence. */
export function toast(sentence, { kind = "info", actions = [] } = {}) {
  const place = document.getElementById("toasts");
  const close = () => note.remove();
  const text = h("span", {}, sentence);
  close.say = (other) => { text.textContent = other; };
  const note = h("div", { class: `toast ${kind}` }, text,
    actions.map(([label, run]) => h("button", { class: "link", onclick: () => { close(); run(); } }, label)),
    h("button", { class: "bare", "aria-label": "Close this message", onclick: close }, icon("close")));
  if ([...place.children].some((other) => other.firstChild.textContent === sentence)) return close;
  if (kind !== "error") place.querySelectorAll(".toast.info").forEach((other) => other.remove());     // one at a time
  place.append(note);
  while (place.children.length > 4) place.firstChild.remove();
  if (kind === "info") setTimeout(close, actions.length ? 2 * STAY : STAY);
  return close;
}

export function failed(error) {
  if (error?.name === "AbortError") return;
  toast(error?.message ?? String(error), { kind: "error" });
  if (!("status" in (error ?? {}))) console.error(error);
}

/** The line at the head of the page; null takes it away. */
export function banner(sentence, kind = "warn") {
  const place = document.getElementById("banner");
  place.hidden = !sentence;
  place.className = `banner ${kind}`;
  replace(place, sentence ? [icon("warn"), h("span", {}, sentence)] : []);
}

/** A modal dialog. `content(close)` gives its children; resolves with what close was called with, null where dismissed. */
export function dialog(title, content, { size = "" } = {}) {
  return new Promise((resolve) => {
    const close = (value = null) => {
      box.returned = value;
      box.close();
    };
    const id = `dialog-${Math.random().toString(36).slice(2)}`;
    const box = h("dialog", { class: size, "aria-labelledby": id });
    append(box, [
      h("header", {}, h("h2", { id }, title),
        h("button", { class: "bare", "aria-label": "Close", onclick: () => close() }, icon("close"))),
      content(close),
    ]);
    box.returned = null;
    const messages = document.getElementById("toasts");         // what lies outside a modal dialog can be neither read nor pressed
    box.addEventListener("close", () => {
      if (box.contains(messages)) ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(messages);
      box.remove();
      resolve(box.returned);
    });
    box.addEventListener("click", (event) => { if (event.target === box) close(); });
    document.body.append(box);
    box.showModal();
    box.append(messages);
  });
}

/** A question with two answers; resolves to true or false. */
export async function confirm(title, sentence, yes, { danger = false, no = "Cancel" } = {}) {
  const answer = await dialog(title, (close) => [
    h("p", {}, sentence),
    h("footer", {},
      h("button", { onclick: () => close(false) }, no),
      h("button", { class: danger ? "danger" : "primary", autofocus: true, onclick: () => close(true) }, yes)),
  ]);
  return answer === true;
}

/** Tooltips of everything that has data-tip: on hover and on keyboard focus. */
export function startTips() {
  const tip = document.getElementById("tip");
  let timer = null;
  const hide = () => {
    clearTimeout(timer);
    tip.hidden = true;
  };
  const show = (target) => {
    if (!target.isConnected) return;
    replace(tip, target.dataset.tip, target.dataset.key ? h("kbd", {}, target.dataset.key) : null);
    tip.hidden = false;
    const at = target.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(6, at.left + at.width / 2 - own.width / 2), innerWidth - own.width - 6);
    const below = at.bottom + 8 + own.height < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? at.bottom + 6 : at.top - own.height - 6}px`;
  };
  document.addEventListener("pointerover", (event) => {
    const target = event.target.closest?.("[data-tip]");
    hide();
    if (target) timer = setTimeout(show, TIP_AFTER, target);
  });
  document.addEventListener("focusin", (event) => {
    const target = event.target.closest?.("[data-tip]");
    hide();
    if (target?.matches(":focus-visible")) show(target);
  });
  for (const name of ["pointerdown", "focusout", "wheel"]) document.addEventListener(name, hide, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}
