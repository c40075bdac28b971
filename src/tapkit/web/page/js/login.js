// The door of a team's studio.

import { h, replace } from "./dom.js";

export function loginPage(app) {
  const name = h("input", { name: "name", autocomplete: "username", required: true, autofocus: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const said = h("p", { class: "said bad", role: "alert" });
  const button = h("button", { class: "primary" }, "Log in");
  const element = h("div", { class: "page login" }, h("h1", {}, "Log in"),
    h("form", { onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      replace(said);
      try {
        await app.api.login(name.value.trim(), password.value);
        await app.again();
      } catch (error) {
        replace(said, error.message);
        password.select();
      }
      button.disabled = false;
    } }, h("label", { class: "field" }, "Name", name), h("label", { class: "field" }, "Password", password), said, button),
    h("p", { class: "dim" }, "No account? The owner of the project makes one for you on the page People."));
  return { element, open: async () => name.focus() };
}

/** The first visit of a team's studio: whoever has the address makes the owner's account. */
export function firstPage(app) {
  const name = h("input", { autocomplete: "username", required: true, maxlength: 80 });
  const password = h("input", { type: "password", autocomplete: "new-password", required: true, minlength: 8 });
  const said = h("p", { class: "said bad", role: "alert" });
  const element = h("div", { class: "page login" }, h("h1", {}, "The first account"),
    h("p", {}, "This studio has no accounts yet. The first one owns the project: it gives clips to people and makes their accounts."),
    h("form", { onsubmit: async (event) => {
      event.preventDefault();
      replace(said);
      try {
        await app.api.addUser({ name: name.value.trim(), password: password.value, role: "owner" });
        location.hash = "#/people";
        await app.again();
      } catch (error) {
        replace(said, error.message);
      }
    } }, h("label", { class: "field" }, "Name", name), h("label", { class: "field" }, "Password, at least 8 characters", password), said, h("button", { class: "primary" }, "Make the account")));
  return { element, open: async () => name.focus() };
}
