// Parts of pages, made of names, attributes and text. What comes from data is text, always.

/** An element; children are elements or text, nothing for null and false. */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== false));
  return made;
}

/** A button that does something; `kind` is its class. */
export function button(kind, text, work, attributes = {}) {
  const made = make("button", { type: "button", class: kind, ...attributes }, text);
  made.addEventListener("click", work);
  return made;
}

/** A labelled control with a hint under it, if any. */
export function field(label, control, hint = "") {
  const parts = [label, control];
  if (hint) parts.push(make("span", { class: "hint" }, hint));
  return make("label", { class: "stack" }, ...parts);
}

/** A choice; options are [value, text]. */
export function choice(name, options, chosen, attributes = {}) {
  return make(
    "select",
    { name, ...attributes },
    options.map(([value, text]) => make("option", { value, selected: value === chosen }, text)),
  );
}

/** What stands where nothing is, and what to do about it. */
export function nothing(...says) {
  return make("p", { class: "nothing" }, ...says);
}
