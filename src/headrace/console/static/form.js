// Forms: one submission at a time, what is wrong in words, where the reader looks.

/**
 * Do `work` with a form's values when it is submitted. What it throws is said in the form's
 * `.problem`, and the field it names is marked.
 */
export function onSubmit(form, work) {
  const problem = form.querySelector(".problem");
  const button = form.querySelector("[type=submit]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    problem.textContent = "";
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    try {
      await work(Object.fromEntries(new FormData(form)));
    } catch (error) {
      problem.textContent = error.message;
      const field = form.elements[error.param];
      if (field instanceof HTMLElement) {
        field.setAttribute("aria-invalid", "true");
        field.focus();
      }
    } finally {
      button.disabled = false;
    }
  });
}
