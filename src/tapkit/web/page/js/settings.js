// What one person prefers in this browser. It never holds anything of the project.

const DEFAULTS = { model: null, direction: "both", until: "end", afterDrag: "track", trail: 16, labels: false, speed: 1, curve: "x" };

function read() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem("tapkit.settings") ?? "{}") };
  } catch {
    return { ...DEFAULTS };
  }
}

export const settings = read();

export function keep(changes) {
  Object.assign(settings, changes);
  try {
    localStorage.setItem("tapkit.settings", JSON.stringify(settings));
  } catch { /* storage refused: it holds until the page is closed */ }
}
