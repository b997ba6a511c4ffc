// What all pages share. Text of models and of people goes in as text, never as markup.

export const byId = (id) => document.getElementById(id);

/** A new element with text, if any. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** A button that copies `text`. */
export function copyButton(text) {
  const button = element("button", "", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text)) ? "Copied" : "Not allowed";
  });
  return button;
}

/** Put text on the clipboard; false where the browser does not let us. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** A large count in a few letters. */
export function short(count) {
  const steps = [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ];
  const [size, letter] = steps.find(([least]) => count >= least) ?? [1, ""];
  const value = count / size;
  return `${value.toFixed(value < 10 && letter ? 1 : 0)} ${letter}`.trim();
}
