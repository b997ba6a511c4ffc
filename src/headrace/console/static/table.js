// Tables: columns of figures that line up; on a narrow screen a row becomes a block.

import { make, nothing } from "./dom.js";

/**
 * A table. `columns`: { name, cell, figures, main }, where `cell` makes text or an element of a row;
 * `figures` lines up to the right, `date` stays on one line, `main` heads its row. `empty` is said where there are no rows.
 */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return nothing(empty);
  // Roles are spelled out: a row that is shown as a block would lose its own.
  const head = make(
    "tr",
    { role: "row" },
    columns.map((column) =>
      make("th", { role: "columnheader", scope: "col", class: kind(column) }, column.name),
    ),
  );
  const body = rows.map((row) =>
    make("tr", { role: "row" }, columns.map((column) => cell(column, row))),
  );
  return make(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      { role: "table", "aria-label": caption },
      make("thead", { role: "rowgroup" }, head),
      make("tbody", { role: "rowgroup" }, body),
    ),
  );
}

function cell(column, row) {
  const main = column.main === true;
  return make(
    main ? "th" : "td",
    {
      role: main ? "rowheader" : "cell",
      scope: main ? "row" : null,
      class: kind(column),
      "data-label": main ? null : column.name,
    },
    column.cell(row),
  );
}

function kind(column) {
  return [column.date && "date", column.wide && "wide", column.figures && "figures", column.main && "main", column.actions && "actions"]
    .filter(Boolean)
    .join(" ");
}
