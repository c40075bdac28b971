// The server's interface: one function for each address. Errors carry the server's own sentence.

export class ApiError extends Error {
  /** `status` is 0 where the server did not answer at all. */
  constructor(message, status, body = {}) {
    super(message);
    this.status = status;
    this.body = body;
  }

  /** Whether the server may not have heard of it: it is silent, or a proxy before it answers in its place. */
  get unheard() { return [0, 502, 503, 504].includes(this.status); }
}

const SILENT = "The studio's server does not answer. Nothing is lost: what was not saved yet is sent again when it is back.";

function query(values) {
  const parts = Object.entries(values).filter(([, v]) => v !== null && v !== undefined);
  return parts.length ? "?" + parts.map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join("&") : "";
}

async function failure(response) {
  let body = {};
  try {
    body = await response.json();
  } catch { /* not JSON: the status has to do */ }
  const sentence = typeof body.error === "string" ? body.error : `The server answered with status ${response.status}.`;
  return new ApiError(sentence, response.status, body);
}

/** A name that nothing else has. (crypto.randomUUID is not there on a team's page without https.) */
export const freshName = () => [Math.random(), Math.random()].map((part) => part.toString(36).slice(2)).join("");

/** What this window calls itself: an edit of another window of the same person is someone else's edit. */
function windowName() {
  const fresh = freshName().slice(0, 12);
  try {
    const name = sessionStorage.getItem("tapkit.window") ?? fresh;
    sessionStorage.setItem("tapkit.window", name);
    return name;
  } catch {
    return fresh;
  }
}

export class Api {
  constructor(base = "/api") {
    this.base = base;
    this.token = null;
    this.window = windowName();
    this.of = null;            // whose layer of blind work is looked at; null: what the person sees by itself
  }

  async fetch(method, path, { body, signal, headers = {} } = {}) {
    if (method !== "GET") headers["X-Tapkit-Token"] = this.token ?? "";
    headers["X-Tapkit-Window"] = this.window;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(this.base + path, {
        method, headers, signal, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(SILENT, 0);
    }
    if (!response.ok) throw await failure(response);
    return response;
  }

  async json(method, path, body, signal, headers) {
    const response = await this.fetch(method, path, { body, signal, headers });
    if (response.status === 204) return {};
    try {
      return await response.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(SILENT, 0);   // cut off on its way
    }
  }

  /** Something to be done once, however often it is sent under this name. */
  once(name, path, body) { return this.json("POST", path, body, undefined, { "Idempotency-Key": name }); }

  async session() {
    const session = await this.json("GET", "/session");
    this.token = session.token;
    return session;
  }

  login(name, password) { return this.json("POST", "/login", { name, password }); }
  logout() { return this.json("POST", "/logout", {}); }

  clips() { return this.json("GET", "/clips"); }
  files() { return this.json("GET", "/files"); }
  relink(clip, path) { return this.json("POST", `/clips/${clip}/relink`, { path }); }
  addClip(path) { return this.json("POST", "/clips", { path }); }
  /** Sends a file; `progress(bytes)` is told how much is there. (fetch does not say.) */
  upload(file, progress) {
    const form = new FormData();
    form.append("file", file, file.name);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", `${this.base}/upload`);
      request.setRequestHeader("X-Tapkit-Token", this.token ?? "");
      request.setRequestHeader("X-Tapkit-Window", this.window);
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => progress(event.loaded));
      request.addEventListener("error", () => reject(new ApiError(SILENT, 0)));
      request.addEventListener("load", () => {
        if (request.status < 300) resolve(request.response);
        else reject(new ApiError(request.response?.error ?? `The server answered with status ${request.status}.`, request.status, request.response ?? {}));
      });
      request.send(form);
    });
  }

  frameUrl(clip, t, height) { return `${this.base}/clips/${clip.id}/frame/${t}${query({ height, v: clip.hash })}`; }
  frame(clip, t, height, signal) { return this.fetch("GET", `/clips/${clip.id}/frame/${t}${query({ height, v: clip.hash })}`, { signal }); }
  fullFrame(clip, t, signal) { return this.fetch("GET", `/clips/${clip.id}/frame/${t}${query({ full: 1, v: clip.hash })}`, { signal }); }

  points(clip) { return this.json("GET", `/clips/${clip}/points${query({ of: this.of })}`); }
  objects(clip) { return this.json("GET", `/clips/${clip}/objects${query({ of: this.of })}`); }
  positions(clip, points, start, stop, signal) {
    return this.json("GET", `/clips/${clip}/positions${query({ points: points?.join(","), start, stop, of: this.of })}`, undefined, signal);
  }
  summary(clip, bins, points = null) { return this.json("GET", `/clips/${clip}/summary${query({ bins, points: points?.join(","), of: this.of })}`); }
  doubtful(clip) { return this.json("GET", `/clips/${clip}/doubtful${query({ of: this.of })}`); }
  curves(clip, points, kind, bins) { return this.json("GET", `/clips/${clip}/curves${query({ points: points.join(","), kind, bins, of: this.of })}`); }
  events(clip) { return this.json("GET", `/clips/${clip}/events`); }
  compare(clip, event) { return this.json("GET", `/clips/${clip}/compare/${event}`); }

  edits(name, clip, base, edits, force = false) { return this.once(name, `/clips/${clip}/edits`, { base, force, edits, of: this.of }); }
  undo(name, clip, force = false) { return this.once(name, `/clips/${clip}/undo`, { force }); }
  redo(name, clip, force = false) { return this.once(name, `/clips/${clip}/redo`, { force }); }

  startJob(clip, job) { return this.json("POST", `/clips/${clip}/jobs`, job); }
  jobs() { return this.json("GET", "/jobs"); }
  job(job, what) { return this.json("POST", `/jobs/${job}/${what}`, {}); }

  checkExport(clip) { return this.json("GET", `/clips/${clip}/export/check`); }
  export(clip, format, points) { return this.fetch("POST", `/clips/${clip}/export`, { body: { format, points, of: this.of } }); }

  users() { return this.json("GET", "/users"); }
  addUser(user) { return this.json("POST", "/users", user); }
  changeUser(user, changes) { return this.json("PATCH", `/users/${user}`, changes); }
  assign(clip, users, stage, blind) { return this.json("POST", `/clips/${clip}/assign`, { users, stage, blind }); }
  assignments(clip) { return this.json("GET", `/clips/${clip}/assignments`); }
  work() { return this.json("GET", "/work"); }
  submit(assignment) { return this.json("POST", `/assignments/${assignment}/submit`, {}); }
  agreement(clip) { return this.json("GET", `/clips/${clip}/agreement`); }
  review(assignment, decision, comment) { return this.json("POST", `/assignments/${assignment}/review`, { decision, comment }); }
  adopt(clip, point, from) { return this.json("POST", `/clips/${clip}/adopt`, { point, from }); }
  comments(clip) { return this.json("GET", `/clips/${clip}/comments`); }
  addComment(clip, comment) { return this.json("POST", `/clips/${clip}/comments`, comment); }
  report() { return this.json("GET", "/report"); }
}
