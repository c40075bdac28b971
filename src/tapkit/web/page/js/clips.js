// All clips of the project: how far each is, who has it, and how to add more.

import { duration, h, icon, number, plural, replace } from "./dom.js";
import { assignDialog } from "./assign.js";
import { dialog, failed, toast } from "./notes.js";

const LARGEST = 4 * 2 ** 30;          // bytes; the server's own limit holds, this one only answers sooner

export async function clipsPage(app) {
  const [{ clips }, files] = await Promise.all([app.clips(), app.api.files().catch(() => [])]), owner = !app.session.team || app.session.user?.role !== "annotator";
  const list = h("div", { class: "cards" });
  const add = owner && !app.session.read_only ? adding(app) : null;
  replace(list, clips.map((clip) => card(app, clip, owner)));
  const element = h("div", { class: "page", dataset: { view: "clips" } },
    h("header", { class: "page-head" }, h("h1", {}, "Clips"), h("span", { class: "dim" }, clips.length ? progress(clips) : ""), h("span", { class: "spacer" }), add),
    clips.length ? list : h("div", { class: "empty big" }, icon("film"), h("h2", {}, "No clips yet"),
      h("p", {}, owner ? "Drop a video here, choose one with the button above, or start the studio with a clip or a folder: " : "The owner has not given you a clip yet."),
      owner ? h("pre", {}, "tapkit studio clip.mp4") : null),
    add && files.length ? more(app, files) : null);
  if (add && app.session.upload) droppable(app, element);
  return { element };
}

function progress(clips) {
  const done = clips.filter((clip) => clip.state === "accepted").length;
  return done ? `${plural(clips.length, "clip")}, ${done} accepted` : plural(clips.length, "clip");
}

function card(app, clip, owner) {
  const seconds = clip.fps ? clip.frames / Number(clip.fps) : null;
  const picture = clip.problem ? h("div", { class: "no-picture" }, icon("warn")) : h("img", { src: app.api.frameUrl(clip, Math.floor(clip.frames / 3), 180), alt: "", loading: "lazy" });
  const who = clip.assigned_to ?? [];
  return h("article", { class: "card" },
    h("a", { class: "picture", href: `#/clip/${clip.id}`, "aria-label": `Open ${clip.name}` }, picture),
    h("div", { class: "card-text" },
      h("h2", {}, h("a", { href: `#/clip/${clip.id}` }, clip.name)),
      h("p", { class: "dim" }, `${clip.width} × ${clip.height} · ${plural(clip.frames, "frame")}${seconds ? ` · ${duration(seconds)}` : ""} · ${plural(clip.points, "point")}`),
      clip.problem ? [h("p", { class: "said bad" }, clip.problem), owner ? h("button", { onclick: () => relink(app, clip) }, "Say where it is now") : null] : null,
      app.session.team ? h("p", { class: "row wrap" }, h("span", { class: `state ${(clip.state ?? "open").replace(" ", "-")}` }, clip.state ?? "open"), who.length ? h("span", { class: "dim" }, who.map((one) => one.name ?? one).join(", ")) : h("span", { class: "dim" }, "nobody has it")) : null,
      app.session.team && owner ? h("p", { class: "row" }, h("button", { onclick: () => assignDialog(app, clip) }, icon("people"), "Assign"), h("a", { class: "button", href: `#/review/${clip.id}` }, "Review")) : null));
}

/** Videos in the folders that were opened, which are no clips yet. */
function more(app, files) {
  return h("section", {}, h("h2", {}, "Other videos in the opened folders"), h("ul", { class: "lines" }, files.slice(0, 200).map((file) => h("li", {}, h("span", { "data-tip": file.path }, file.name),
    h("button", { class: "button", onclick: () => app.api.addClip(file.path).then(() => app.route(), failed) }, icon("plus"), "Add")))));
}

async function relink(app, clip) {
  const path = h("input", { required: true, autofocus: true, placeholder: clip.path });
  await dialog(`Where is ${clip.name} now?`, (close) => h("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      await app.api.relink(clip.id, path.value.trim());
      close(true);
      await app.route();
    } catch (error) {
      failed(error);
    }
  } }, h("label", { class: "field" }, "Its path, in one of the folders that were opened", path), h("p", { class: "dim" }, "It has to be the same video; its points then fit."),
  h("footer", {}, h("button", { type: "button", onclick: () => close() }, "Cancel"), h("button", { class: "primary" }, "Use it"))));
}

function adding(app) {
  const file = h("input", { type: "file", accept: "video/*,image/gif,image/webp,image/tiff,.mkv,.mxf,.mts,.m2ts,.ts,.flv", hidden: true, onchange: () => { if (file.files.length) upload(app, file.files[0]); } });
  const path = h("input", { type: "text", placeholder: "or a path on the server's machine", "aria-label": "Path of a clip on the server's machine" });
  return h("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    if (!path.value.trim()) return path.focus();
    try {
      await app.api.addClip(path.value.trim());
      await app.route();
    } catch (error) {
      failed(error);
    }
    return undefined;
  } }, file, app.session.upload ? h("button", { type: "button", class: "primary", onclick: () => file.click() }, icon("upload"), "Add a video") : null, path, h("button", {}, "Add"));
}

async function upload(app, file) {
  if (file.size > LARGEST) return toast(`${file.name} is too large for the browser: start the studio with its folder instead.`, { kind: "error" });
  const size = number(file.size / 2 ** 20, 1), done = toast(`Sending ${file.name}, 0 of ${size} MB.`, { kind: "lasting" });
  try {
    const known = new Set((await app.clips()).clips.map((clip) => clip.id));
    const clip = await app.api.upload(file, (sent) => done.say(sent < file.size ? `Sending ${file.name}, ${number(sent / 2 ** 20, 1)} of ${size} MB.` : `${file.name} is there, and is looked at.`));
    done();
    if (known.has(clip.id)) toast(`${file.name} is here already: it is the video of ${clip.name}.`);
    await app.route();
  } catch (error) {
    done();
    failed(error);
  }
  return undefined;
}

function droppable(app, element) {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("dropping");
  });
  element.addEventListener("dragleave", () => element.classList.remove("dropping"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("dropping");
    if (event.dataTransfer.files.length) upload(app, event.dataTransfer.files[0]);
  });
}
