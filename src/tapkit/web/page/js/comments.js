// What people say about a clip, a frame or a point.

import { h, icon, replace, when } from "./dom.js";
import { failed } from "./notes.js";

export function commentsPanel(studio) {
  const list = h("ol", { class: "comments" }), count = h("span", { class: "count" });
  const text = h("textarea", { rows: 2, maxlength: 2000, placeholder: "Say something about this frame", "aria-label": "Comment" });
  const names = new Map();
  const draw = (comments) => {
    replace(count, comments.length ? String(comments.length) : "");
    replace(list, comments.map((comment) => h("li", {},
      h("span", { class: "dim" }, `${comment.name ?? names.get(comment.user) ?? "someone"}, ${when(comment.time)}`),
      comment.t === null || comment.t === undefined ? null : h("button", { class: "link", onclick: () => go(comment) }, `frame ${comment.t}`),
      h("p", {}, comment.text))));
  };
  const go = ({ t, point }) => {
    studio.player.pause();
    studio.player.seek(t);
    if (point && studio.annotation.points.has(point)) studio.annotation.select([point]);
  };
  const load = async () => {
    const answer = await studio.api.comments(studio.clip.id);
    draw(answer);
  };
  const send = async (event) => {
    event.preventDefault();
    if (!text.value.trim()) return text.focus();
    try {
      await studio.api.addComment(studio.clip.id, { text: text.value.trim(), t: studio.player.shown, point: studio.annotation.active?.id ?? null });
      text.value = "";
      await load();
    } catch (error) {
      failed(error);
    }
    return undefined;
  };
  if (studio.session.user?.role !== "annotator") {
    studio.api.users().then((answer) => {
      for (const user of answer) names.set(user.id, user.name);
      return load();
    }).catch(() => load().catch(failed));
  } else load().catch(failed);
  if (studio.session.user) names.set(studio.session.user.id, studio.session.user.name);
  return h("details", { class: "comments-box", open: true }, h("summary", {}, icon("comment"), "Comments", count), list,
    h("form", { onsubmit: send }, text, h("button", {}, "Send")));
}
