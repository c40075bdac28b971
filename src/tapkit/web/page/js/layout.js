// Where things are in the workspace: points on the left, the picture with its tools, the selected point on the right, time below.

import { h, icon, replace } from "./dom.js";
import { commentsPanel } from "./comments.js";
import { keep, settings } from "./settings.js";

export function layout(studio) {
  const { keys } = studio;
  const element = h("div", { class: "studio", dataset: { view: "studio" } },
    studio.panel.element,
    h("section", { class: "middle", "aria-label": "Picture" }, toolbar(studio), h("div", { class: "stage-room" }, studio.stage.canvas, hint(studio), frameBadge(studio)),
      h("p", { id: "stage-help", class: "sr" }, "N places a point with the arrow keys and Enter. G moves the selected point. Question mark shows all keys.")),
    h("aside", { class: "right panel", "aria-label": "Selected point and curves" }, studio.inspector.element, studio.loupe.element, studio.plot.element,
      studio.session.team ? commentsPanel(studio) : null),
    h("section", { class: "bottom", "aria-label": "Timeline" }, transport(studio), studio.timeline.element));
  return element;
}

function toolbar(studio) {
  const { keys } = studio, text = (label) => h("span", { class: "wide-only" }, label);
  const place = keys.button("place", [icon("target"), "Point"], { "aria-pressed": "false" });
  const box = keys.button("box", [icon("box"), text("Box")], { "aria-pressed": "false" });
  const compare = keys.button("compare", [icon("compare"), text("Compare")], { "aria-pressed": "false" });
  studio.on("mode", (mode) => {
    place.setAttribute("aria-pressed", mode === "place");
    box.setAttribute("aria-pressed", mode === "box");
  });
  studio.on("compare", (on) => compare.setAttribute("aria-pressed", on));
  return h("div", { class: "toolbar", role: "toolbar", "aria-label": "Tools" },
    place, box,
    h("span", { class: "split" }, keys.button("track", [icon("tracks"), "Track"], { class: "primary" }), trackMenu(studio)),
    keys.button("solve", [icon("solve"), text("Assist")]),
    keys.button("occluded", [icon("hidden"), text("Hidden")]),
    compare,
    h("span", { class: "spacer" }),
    zoomTools(studio),
    keys.button("export", [icon("download"), text("Export")]));
}

/** A small panel below its button. */
export function menu(label, button, content) {
  const id = `menu-${Math.random().toString(36).slice(2)}`;
  const panel = h("div", { id, popover: "auto", class: "menu", role: "group", "aria-label": label }, content);
  button.setAttribute("popovertarget", id);
  panel.addEventListener("toggle", (event) => {
    button.setAttribute("aria-expanded", event.newState === "open");
    if (event.newState !== "open") return;
    const at = button.getBoundingClientRect(), own = panel.getBoundingClientRect();
    panel.style.left = `${Math.max(6, Math.min(at.left, innerWidth - own.width - 6))}px`;
    panel.style.top = `${Math.max(6, Math.min(at.bottom + 4, innerHeight - own.height - 6))}px`;
  });
  return [button, panel];
}

function choice(label, name, options) {
  return h("label", { class: "field" }, label, h("select", { onchange: (event) => keep({ [name]: event.target.value }) },
    options.map(([value, text]) => h("option", { value, selected: settings[name] === value }, text))));
}

function trackMenu(studio) {
  const button = h("button", { class: "primary narrow", "data-tip": "How to track", "aria-label": "How to track", "aria-expanded": "false" }, icon("down"));
  const models = h("select", { onchange: (event) => keep({ model: event.target.value }) });
  const list = () => replace(models, studio.session.trackers.map(({ id, name }) => h("option", { value: id, selected: id === studio.model() }, name)));
  const model = h("label", { class: "field" }, "Tracker", models);
  list();
  button.addEventListener("click", () => studio.api.session().then((session) => {       // more may be known by now
    studio.session.trackers = session.trackers;
    list();
  }).catch(() => {}));
  const trail = h("input", { type: "range", min: 0, max: 64, value: settings.trail, oninput: () => { keep({ trail: Number(trail.value) }); studio.redraw(); } });
  trail.value = settings.trail;
  return menu("How to track", button, [
    model,
    choice("Direction", "direction", [["both", "both ways"], ["forward", "forwards (F)"], ["backward", "backwards (Shift+T)"]]),
    choice("As far as", "until", [["end", "the ends of the clip"], ["keyframes", "the neighbouring keyframes"]]),
    choice("After a point was dragged", "afterDrag", [["track", "track to the neighbouring keyframes"], ["solve", "follow the motion between keyframes"], ["nothing", "do nothing"]]),
    h("label", { class: "field" }, "Trail behind the points", trail),
  ]);
}

function zoomTools(studio) {
  const { keys } = studio;
  const percent = keys.button("fit", "100 %", { class: "bare percent" });
  const tell = () => replace(percent, `${Math.round(studio.view.scale * 100)} %`);
  studio.on("zoom", tell);
  tell();
  return h("span", { class: "group" }, keys.button("zoomOut", icon("zoomOut"), { class: "bare" }), percent, keys.button("zoomIn", icon("zoomIn"), { class: "bare" }));
}

/** The frame's number in the picture's corner: it changes with the picture itself. */
function frameBadge(studio) {
  const badge = h("output", { class: "frame-badge", "aria-label": "Frame on the screen" });
  studio.on("painted", (t) => replace(badge, String(t)));
  return badge;
}

/** What to do now, over the foot of the picture. */
function hint(studio) {
  const place = h("p", { class: "stage-hint", "aria-live": "polite" });
  const sentences = {
    place: () => (studio.sticky
      ? ["Click on each thing to follow. Then ", h("kbd", {}, "T"), " tracks; ", h("kbd", {}, "Esc"), " ends placing."]
      : ["Click on the thing to follow (", h("kbd", {}, "Shift"), " keeps placing), or use the arrow keys and ", h("kbd", {}, "Enter"), "."]),
    box: () => ["Draw the box around an object. ", h("kbd", {}, "Esc"), " ends it."],
    grab: () => ["Arrow keys move the point; ", h("kbd", {}, "Enter"), " sets it."],
  };
  const draw = () => {
    const sentence = sentences[studio.mode]?.();
    place.hidden = !sentence;
    replace(place, sentence ?? []);
  };
  studio.on("mode", draw);
  draw();
  return place;
}

function transport(studio) {
  const { keys, player, clip } = studio;
  const play = keys.button("play", icon("play"), { class: "round" });
  player.on("playing", (on) => replace(play, icon(on ? "pause" : "play")));
  const field = h("input", {
    type: "number", class: "frame", min: 0, max: clip.frames - 1, value: 0, "aria-label": "Frame", "data-tip": "Frame on the screen: type one to go there",
    onchange: () => { player.pause(); player.seek(Number(field.value)); },
  });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") field.blur(); });
  const time = h("span", { class: "dim time" });
  const note = h("span", { class: "hint", "aria-live": "polite" });
  const count = h("span", { class: "count" });
  const doubts = keys.button("doubt", [icon("doubt"), h("span", {}, "Next doubt"), count], { class: "doubt" });
  studio.on("doubts", (many) => replace(count, many ? String(many) : ""));
  studio.on("painted", (t) => {
    if (document.activeElement !== field) field.value = t;
    replace(time, `of ${clip.frames - 1} · ${(t / (clip.fps || 25)).toFixed(2)} s${player.playing ? ` · ${player.rate} fps` : ""}`);
  });
  studio.on("hint", (sentence) => replace(note, sentence ?? ""));
  const speed = h("select", { "aria-label": "Speed of playing", "data-tip": "Speed of playing", onchange: () => { player.speed = Number(speed.value); keep({ speed: player.speed }); } },
    [0.1, 0.25, 0.5, 1, 2].map((value) => h("option", { value, selected: value === settings.speed }, `×${value}`)));
  player.speed = settings.speed;
  return h("div", { class: "transport", role: "toolbar", "aria-label": "Time" },
    keys.button("keyBack", icon("keyBack"), { class: "bare" }), keys.button("ArrowLeft", icon("back"), { class: "bare" }), play,
    keys.button("ArrowRight", icon("forward"), { class: "bare" }), keys.button("keyForward", icon("keyForward"), { class: "bare" }),
    field, time, speed, note, doubts,
    h("span", { class: "group" }, keys.button("timeOut", icon("minus"), { class: "bare" }), keys.button("timeIn", icon("plus"), { class: "bare" })));
}
