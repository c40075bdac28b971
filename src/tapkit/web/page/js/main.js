// The page: who is there, which page is shown, and what is the same on all of them.

import { Api } from "./api.js";
import { clipsPage } from "./clips.js";
import { pageCommands } from "./commands.js";
import { h, icon, replace } from "./dom.js";
import { Keys } from "./keys.js";
import { firstPage, loginPage } from "./login.js";
import { banner, failed, startTips, toast } from "./notes.js";
import { peoplePage } from "./people.js";
import { reportPage } from "./report.js";
import { reviewPage } from "./review.js";
import { Studio } from "./studio.js";
import { switchTheme } from "./theme.js";
import { workPage } from "./work.js";

const AWAY = "The studio's server does not answer. What you do is kept here and sent again as soon as it is back.";

class App {
  constructor() {
    this.api = new Api();
    this.main = document.getElementById("main");
    this.top = document.getElementById("top");
    this.page = null;                    // {close()} of the page that is shown
    this.turn = 0;
  }

  async start() {
    startTips();
    window.addEventListener("hashchange", () => this.route());
    await this.again();
  }

  /** Reads the session anew: at the start, after log-in and log-out. */
  async again() {
    try {
      this.session = await this.api.session();
    } catch (error) {
      this.show(h("div", { class: "page narrow" }, h("h1", {}, "The studio is not running"), h("p", {}, error.message),
        h("button", { class: "primary", onclick: () => this.again() }, "Try again")));
      return undefined;
    }
    document.body.classList.toggle("team", Boolean(this.session.team));
    return this.route();
  }

  async route() {
    const turn = this.turn += 1;
    if (!this.session.signed_in && !this.session.team) return this.show(incomplete());
    if (this.session.team && !this.session.user) return this.open(this.session.setup ? firstPage(this) : loginPage(this));
    const [name, id, , of] = location.hash.replace(/^#\/?/, "").split("/");
    try {
      const page = await this.make(name, Number(id), of ? Number(of) : null);
      if (turn !== this.turn) return page.close?.();
      return this.open(page);
    } catch (error) {
      if (error.status === 401) return this.again();
      if (turn === this.turn) this.show(h("div", { class: "page narrow" }, h("h1", {}, "That does not open"), h("p", {}, error.message),
        h("p", {}, h("a", { class: "button primary", href: "#/clips" }, "All clips"))));
      return undefined;
    }
  }

  async make(name, id, of) {
    switch (name) {
      case "clip": return this.clip(id, of);
      case "work": return workPage(this);
      case "review": return reviewPage(this, id);
      case "people": return peoplePage(this);
      case "report": return reportPage(this);
      case "clips": return clipsPage(this);
      default: {
        const { clips } = await this.clips();
        if (clips.length === 1 && !this.session.team) return this.clip(clips[0].id);
        return this.session.user?.role === "annotator" ? workPage(this) : clipsPage(this);
      }
    }
  }

  async clips() {
    return { clips: await this.api.clips() };
  }

  async clip(id, of = null) {
    const { clips } = await this.clips(), clip = clips.find((one) => one.id === id);
    if (!clip) throw new Error("There is no such clip in this project, or it is not yours.");
    const whose = of === null ? null : (await this.api.users()).find((user) => user.id === of)?.name ?? `person ${of}`;
    return new Studio(this, { ...clip, of, whose });
  }

  open(page) {
    const { element } = page;
    this.page?.close?.();
    this.keys?.close();
    this.page = page;
    this.keys = page.keys ?? new Keys(pageCommands(this));
    this.main.className = page instanceof Studio ? "fixed" : "";
    this.head(page);
    replace(this.main, element);
    document.title = page.clip ? `${page.clip.name} – tapkit studio` : "tapkit studio";
    page.open?.().catch?.((error) => {
      if (error.status === 401) this.again();
      else failed(error);
    });
    window.studio = page instanceof Studio ? page : null;       // for the console, and for tests
  }

  show(element) {
    this.open({ element });
  }

  away(away) {
    if (this.isAway === away) return;
    this.isAway = away;
    if (away) banner(AWAY, "bad");
    else banner(this.page?.readOnly ?? null);
  }

  head(page) {
    const { session } = this, studio = page instanceof Studio ? page : null;
    const link = (hash, text) => h("a", { href: hash, "aria-current": location.hash.startsWith(hash) ? "page" : null }, text);
    const chief = session?.user && session.user.role !== "annotator";
    replace(this.top,
      h("a", { class: "brand", href: "#/clips", "data-tip": "All clips" }, h("img", { src: "icon.svg", alt: "", width: 22, height: 22 }), h("b", {}, "tapkit"), h("span", { class: "wide-only" }, "studio")),
      studio ? h("span", { class: "crumb" }, h("span", { class: "clip-name" }, studio.clip.whose ? `${studio.clip.name}: the work of ${studio.clip.whose}` : studio.clip.name)) : h("nav", { "aria-label": "Pages" },
        session?.team && !session.user ? null : [link("#/clips", "Clips"), session?.team ? [link("#/work", "My work"), chief ? [link("#/report", "Report"), link("#/people", "People")] : null] : null]),
      studio?.jobs.element, h("span", { class: "spacer" }),
      studio ? [saved(studio), submit(this, studio), history(studio)] : null,
      h("button", { class: "bare", "data-tip": "Dark or light", "data-key": "Y", "aria-label": "Dark or light", onclick: switchTheme }, [icon("sun"), icon("moon")]),
      h("button", { class: "bare", "data-tip": "Keys", "data-key": "?", "aria-label": "Keys", onclick: () => this.keys.help() }, icon("help")),
      session?.user && session.team ? h("span", { class: "who" }, h("span", { class: "wide-only" }, session.user.name), h("button", { class: "link", onclick: () => this.leave() }, "Log out")) : null);
  }

  async leave() {
    try {
      await this.api.logout();
      location.hash = "#/clips";
      await this.again();
    } catch (error) {
      failed(error);
    }
  }
}

function saved(studio) {
  const place = h("span", { class: "saved", role: "status" });
  const draw = (waiting) => replace(place, icon(waiting ? "upload" : "check"), h("span", { class: "wide-only" }, waiting ? `Saving ${waiting}` : "All saved"));
  studio.annotation.on("saving", draw);
  draw(0);
  return place;
}

function history(studio) {
  const undo = studio.keys.button("undo", icon("undo"), { class: "bare" }), redo = studio.keys.button("redo", icon("redo"), { class: "bare" });
  const draw = () => {
    undo.disabled = !studio.annotation.canUndo;
    redo.disabled = !studio.annotation.canRedo;
  };
  for (const name of ["points", "removed", "saving"]) studio.annotation.on(name, draw);
  draw();
  return h("span", { class: "group" }, undo, redo);
}

/** Hands the clip in, where it was given to this person. */
function submit(app, studio) {
  if (!app.session.team || !app.session.user) return null;
  const place = h("span", {});
  app.api.work().then((answer) => {
    const mine = answer.find((one) => one.clip === studio.clip.id && ["open", "in work"].includes(one.state));
    if (!mine) return;
    replace(place, h("button", { class: "primary", "data-tip": "Hand it to the reviewer", onclick: async () => {
      try {
        await app.api.submit(mine.id);
        toast("Handed in. A reviewer looks at it now.");
        location.hash = "#/work";
      } catch (error) {
        failed(error);
      }
    } }, icon("check"), "Hand in"));
  }).catch(failed);
  return place;
}

function incomplete() {
  return h("div", { class: "page narrow" }, h("h1", {}, "This address lacks its key"),
    h("p", {}, "Open the address that ", h("code", {}, "tapkit studio"), " printed when it was started: the key in it lets you in."));
}

const app = new App();
window.tapkit = app;
app.start();
