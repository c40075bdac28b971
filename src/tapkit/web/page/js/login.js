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
