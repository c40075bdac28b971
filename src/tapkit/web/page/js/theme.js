// Dark and light: the system's choice, until a person chooses.

export function theme() {
  return document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
}

const listeners = new Set();

export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function switchTheme() {
  document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("tapkit.theme", document.documentElement.dataset.theme);
  } catch { /* storage refused: it holds until the page is closed */ }
  told();
}

function told() {
  for (const listener of listeners) listener(theme());
}

matchMedia("(prefers-color-scheme: light)").addEventListener("change", told);

/** Values of the style sheet's custom properties, for what is drawn on a canvas. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(
    ["bg", "panel", "raised", "line", "strong", "text", "dim", "accent", "warn", "bad", "strip", "stage"].map((name) => [name, value(name)]),
  );
}

/** Colours of points that were given none; told apart in both themes and by most colour-blind readers. */
const COLOURS = ["#ff9f1c", "#2ec4f0", "#3ddc97", "#ffd23f", "#ff6fb5", "#9d8cff", "#ff5d5d", "#7bdff2", "#b8de6f", "#f4a582"];

export function colourOf(point) {
  return point?.colour || COLOURS[Math.abs((point?.id ?? 1) - 1) % COLOURS.length];
}
