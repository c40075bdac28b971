// The points for another program: the formats of `tapkit export`, and what the other program will not take.

import { h, icon, plural, replace } from "./dom.js";
import { dialog, failed, toast } from "./notes.js";

const FIRST = ["nuke", "ae", "blender", "dlc", "fusion", "sleap", "cvat", "tapvid", "csv"];

export function exportDialog({ api, clip, annotation, formats, chosen = null }) {
  return dialog("Export", (close) => {
    const rank = (format) => { const n = FIRST.indexOf(format.id); return n < 0 ? FIRST.length : n; };
    const ordered = [...formats].sort((a, b) => rank(a) - rank(b));
    const warnings = h("div", { class: "warnings" }), selected = annotation.chosen;
    const find = h("input", { type: "search", placeholder: `Find among ${formats.length} formats`, "aria-label": "Find a format", autofocus: true });
    const list = h("div", { class: "formats", role: "radiogroup", "aria-label": "Format" });
    const only = h("input", { type: "checkbox", disabled: !selected.length });
    let format = ordered.find((one) => one.id === chosen)?.id ?? ordered[0]?.id;
    const draw = () => {
      const shown = ordered.filter((one) => `${one.id} ${one.name}`.toLowerCase().includes(find.value.trim().toLowerCase()));
      if (!shown.some((one) => one.id === format)) format = shown[0]?.id;          // what is chosen can be seen
      replace(list, shown.map((one) => h("label", { class: "format" },
        h("input", { type: "radio", name: "format", value: one.id, checked: one.id === format, onchange: () => { format = one.id; } }),
        h("span", {}, h("b", {}, one.name), h("small", { class: "dim" }, `${one.id}  ${one.extension ?? ""}`)))),
      shown.length ? null : h("p", { class: "dim" }, "No format is called so."));
    };
    find.addEventListener("input", draw);
    find.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      save.click();
    });
    draw();
    const save = h("button", { class: "primary", onclick: async () => {
      if (!list.querySelector("input:checked")) return toast("Choose a format.");
      save.disabled = true;
      try {
        await download(api, clip, format, only.checked ? selected : null);
        close(format);
      } catch (error) {
        failed(error);
      }
      save.disabled = false;
      return undefined;
    } }, icon("download"), "Download");
    api.checkExport(clip.id).then((check) => {
      replace(warnings, check.notes.map((note) => h("p", { class: "warning" }, icon("warn"), h("span", {}, note))));
    }).catch(() => {});
    return [
      find, list, warnings,
      h("footer", {},
        h("label", { class: "check" }, only, selected.length > 1 ? `only the ${plural(selected.length, "selected point")}` : "only the selected point"),
        h("button", { onclick: () => close() }, "Cancel"), save),
    ];
  }, { size: "middle-wide" });
}

async function download(api, clip, format, points) {
  const response = await api.export(clip.id, format, points);
  const said = /filename\*?=(?:UTF-8'')?"?([^";]+)"?/i.exec(response.headers.get("Content-Disposition") ?? "");
  const name = said ? decodeURIComponent(said[1]) : `${clip.name}.${format}`;
  const url = URL.createObjectURL(await response.blob());
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  const notes = JSON.parse(decodeURIComponent(response.headers.get("X-Tapkit-Notes") ?? "[]"));
  toast(`Exported ${name}.`);
  for (const note of notes) toast(note, { kind: "error" });
}
