// Elements from data. Strings always become text nodes: names and labels that people typed are never read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("button", {class: "x", onclick: f, "aria-label": "Play"}, child, "text", ...). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** A text whose marks of direction (right to left, turned around) end with it, and turn nothing that follows. */
function isolated(text) {
  return /[\u202a-\u202e\u2066-\u2069]/.test(text) ? `\u2068${text}\u2069` : text;
}

export function append(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(isolated(String(child))));
  }
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** Outlines on a 24 x 24 grid. */
const PATHS = {
  play: "M7 4.5v15l12-7.5z", pause: "M8 5v14M16 5v14", back: "M15 5l-7 7 7 7", forward: "M9 5l7 7-7 7",
  keyBack: "M6 12l5-5 5 5-5 5zM20 6v12", keyForward: "M8 12l5-5 5 5-5 5zM4 6v12", plus: "M12 5v14M5 12h14",
  minus: "M5 12h14", trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5", undo: "M8 5L4 9l4 4M4 9h9a6 6 0 010 12h-3",
  redo: "M16 5l4 4-4 4M20 9h-9a6 6 0 000 12h3", sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5",
  moon: "M20 14.5A8.5 8.5 0 119.5 4a7 7 0 0010.5 10.5z", help: "M9 9a3 3 0 115 2.2c-1.2.9-2 1.5-2 2.8M12 18v.5M12 2.5a9.5 9.5 0 100 19 9.5 9.5 0 000-19z",
  eye: "M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12zM12 9a3 3 0 100 6 3 3 0 000-6z",
  eyeOff: "M4 4l16 16M10 6c.7-.3 1.300-.5 2-.5 6.400 0 10 6.500 10 6.500a17 17 0 01-3 3.600M6.200 7.500A17 17 0 002 12s3.600 6.500 10 6.500c1.500 0 2.900-.3 4-.8",
  target: "M12 5a7 7 0 100 14 7 7 0 000-14zM12 1.500v5M12 17.500v5M1.500 12h5M17.500 12h5", box: "M5 5h14v14H5zM5 5h.1M19 5h.1",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14", upload: "M12 16V5M7 9l5-5 5 5M5 20h14", check: "M5 12.500l4.500 4.500L19 7.500", warn: "M12 4L2.500 20h19zM12 10v4.500M12 17.200v.3",
  comment: "M4 5h16v11H10l-4 4v-4H4z", people: "M9 5a3.200 3.200 0 100 6.400A3.200 3.200 0 009 5zM3 19c.4-3.500 2.700-5.300 6-5.300s5.600 1.800 6 5.300M15.500 5.300a3.200 3.200 0 010 5.900M17.500 14c2 .7 3.200 2.300 3.500 5",
  film: "M4 5h16v14H4zM8 5v14M16 5v14M4 9.500h4M4 14.500h4M16 9.500h4M16 14.500h4", chart: "M4 4v16h16M8 15l3.500-5 3 3L20 6.500", fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  zoomIn: "M10.500 4a6.500 6.500 0 100 13 6.500 6.500 0 000-13zM15.500 15.500L21 21M10.500 7.500v6M7.500 10.500h6", zoomOut: "M10.500 4a6.500 6.500 0 100 13 6.500 6.500 0 000-13zM15.500 15.500L21 21M7.500 10.500h6",
  down: "M6 9l6 6 6-6", close: "M6 6l12 12M18 6L6 18", doubt: "M12 4L2.500 20h19zM12 10v4.500M12 17.200v.3", compare: "M12 3v18M9 7H4v10h5M15 7h5v10h-5",
  solve: "M4 17c4-12 7 4 10-5 1-3 3-4 6-4M4 17h.1M20 8h.1", hidden: "M4 4l16 16M12 5.500a6.500 6.500 0 016 9M7 8a6.500 6.500 0 009.500 9", users: "M12 5a3.500 3.500 0 100 7 3.500 3.500 0 000-7zM5 20c.5-4 3-6 7-6s6.500 2 7 6",
  link: "M7 7.500a2.500 2.500 0 100-5 2.500 2.500 0 000 5zM17 21.500a2.500 2.500 0 100-5 2.500 2.500 0 000 5zM8.500 7l7 10", gear: "M4 7h10M18 7h2M14 4.500v5M4 17h2M10 17h10M10 14.500v5", lock: "M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 017 0v3", tracks: "M3 17c5-9 9 4 12-5M18 5.500a3 3 0 100 6 3 3 0 000-6z",
  stop: "M6 6h12v12H6z", merge: "M5 4v4c0 4 7 3 7 8v4M19 4v4c0 4-7 3-7 8",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `icon icon-${name}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  if (name === "play" || name === "stop") path.setAttribute("class", "solid");
  svg.append(path);
  return svg;
}

/** A number for people: 12 345, 1.25. */
export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function plural(count, noun, many = `${noun}s`) {
  return `${number(count)} ${count === 1 ? noun : many}`;
}

/** Seconds for people: "8 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** "29 Nov, 14:05" of a UTC ISO string, in the reader's own time. */
export function when(iso) {
  if (!iso) return "–";
  return new Date(iso).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}
