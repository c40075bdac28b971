// Accounts and roles; for owners.

import { h, when } from "./dom.js";
import { dialog, failed, toast } from "./notes.js";

const ROLES = ["annotator", "reviewer", "owner"];

export async function peoplePage(app) {
  const answer = await app.api.users(), people = answer, owner = app.session.user?.role === "owner";
  const change = (user, changes) => app.api.changeUser(user.id, changes).then(() => app.route()).catch((error) => { failed(error); app.route(); });
  const element = h("div", { class: "page", dataset: { view: "people" } },
    h("header", { class: "page-head" }, h("h1", {}, "People"), h("span", { class: "spacer" }), owner ? h("button", { class: "primary", onclick: () => add(app) }, "Add a person") : null),
    h("div", { class: "table-room" }, h("table", {}, h("thead", {}, h("tr", {}, ["Name", "Role", "Since", ""].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, people.map((user) => h("tr", { class: user.active === false ? "gone" : "" },
        h("th", { scope: "row" }, user.name),
        h("td", {}, owner ? h("select", { "aria-label": `Role of ${user.name}`, onchange: (event) => change(user, { role: event.target.value }) }, ROLES.map((role) => h("option", { value: role, selected: role === user.role }, role))) : user.role),
        h("td", {}, when(user.created)),
        h("td", { class: "row" }, owner || user.id === app.session.user?.id ? h("button", { onclick: () => password(app, user) }, "New password") : null, owner ? [ h("button", { onclick: () => change(user, { active: user.active === false }) }, user.active === false ? "Let in again" : "Lock out")] : null)))))),
    h("p", { class: "dim" }, "Annotators see the clips that were given to them. Reviewers see all, compare and accept. Owners also make accounts."));
  return { element };
}

function secret() {
  return h("input", { type: "password", autocomplete: "new-password", minlength: 8, required: true });
}

async function add(app) {
  const name = h("input", { required: true, maxlength: 80, autofocus: true }), word = secret();
  const role = h("select", {}, ROLES.map((one) => h("option", { value: one }, one)));
  await dialog("Add a person", (close) => h("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      await app.api.addUser({ name: name.value.trim(), password: word.value, role: role.value });
      close(true);
      await app.route();
    } catch (error) {
      failed(error);
    }
  } }, h("label", { class: "field" }, "Name", name), h("label", { class: "field" }, "Password, at least 8 characters", word), h("label", { class: "field" }, "Role", role),
  h("footer", {}, h("button", { type: "button", onclick: () => close() }, "Cancel"), h("button", { class: "primary" }, "Add"))));
}

async function password(app, user) {
  const word = secret(), self = user.id === app.session.user.id, old = h("input", { type: "password", autocomplete: "current-password", required: true });
  await dialog(`New password for ${user.name}`, (close) => h("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      await app.api.changeUser(user.id, { password: word.value, ...(self ? { current: old.value } : {}) });
      if (self) app.session = await app.api.session();
      close(true);
      toast(`${user.name} has a new password.`);
    } catch (error) {
      failed(error);
    }
  } }, self ? h("label", { class: "field" }, "The password you have now", old) : null, h("label", { class: "field" }, "New password, at least 8 characters", word),
  h("footer", {}, h("button", { type: "button", onclick: () => close() }, "Cancel"), h("button", { class: "primary" }, "Set"))));
}
