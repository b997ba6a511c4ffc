// Dialogs: they keep the keyboard inside, Escape leaves them, and they are gone when closed.

import { button, make } from "./dom.js";
import { onSubmit } from "./form.js";

let made = 0;

/** Show a dialog with a heading; `close()` of what is returned ends it. */
export function openDialog(title, ...content) {
  made += 1;
  const id = `dialog-${made}`;
  const dialog = make(
    "dialog",
    { "aria-labelledby": id },
    make("h2", { id }, title),
    ...content,
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * A dialog with a form: `parts`, and the button that does `work` with the form's values. It says what
 * is wrong with them, or closes; `after` goes on with what the work gave.
 */
export function openForm(title, parts, { submit, kind = "primary", work, after = () => {} }) {
  const form = make(
    "form",
    { class: "form" },
    ...parts,
    make("p", { class: "problem", role: "alert" }),
    make(
      "div",
      { class: "choices" },
      button("outline", "Cancel", () => dialog.close()),
      make("button", { type: "submit", class: kind }, submit),
    ),
  );
  const dialog = openDialog(title, form);
  onSubmit(form, async (values) => {
    const made = await work(values);
    dialog.close();
    after(made);
  });
  return form;
}

/** Ask before something that cannot be taken back. */
export function confirm(title, text, submit, work) {
  openForm(title, [make("p", {}, text)], { submit, kind: "danger", work });
}
