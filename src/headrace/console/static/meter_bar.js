// How full something is: a bar, and the figures beside it.

import { make } from "./dom.js";

/** `used` of `limit`, said by `format`; `name` is for those who do not see the bar. */
export function meterBar(name, used, limit, format) {
  const part = limit > 0 ? Math.min(1, used / limit) : 1;
  const fill = make("span", { class: part >= 1 ? "fill full" : part >= 0.8 ? "fill near" : "fill" });
  fill.style.width = `${part * 100}%`;
  return make(
    "div",
    { class: "fullness" },
    make(
      "span",
      {
        class: "track",
        role: "meter",
        "aria-label": name,
        "aria-valuemin": "0",
        "aria-valuemax": String(limit),
        "aria-valuenow": String(Math.min(used, limit)),
        "aria-valuetext": `${format(used)} of ${format(limit)}`,
      },
      fill,
    ),
    make("span", { class: "of" }, `${format(used)} of ${format(limit)}`),
  );
}
