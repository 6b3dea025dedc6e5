// Tables that open the book: headings that sort, boxes that filter, rows with an address of their own.
// Without this script they are the same tables, in their own order. What a reader chose stands in the address
// behind '#', so that a view can be kept and sent; '#dcff/cifar10/vgg16' is a row.
"use strict";

const said = (cell) => (cell.firstChild ? cell.firstChild.textContent.trim() : "");
const missing = (cell) => said(cell) === "–";

/** The number that a cell is sorted by: its own, or the one that its text begins with. */
function number(cell) {
  return Number(cell.dataset.value ?? (/^[+-]?[\d,]*\.?\d+/.exec(said(cell)) || ["NaN"])[0].replace(/,/g, ""));
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);

  function sort(head, column) {
    const order = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    if (order !== "none") head.setAttribute("aria-sort", order);
    const sign = order === "descending" ? -1 : 1;
    const compare = (a, b) => {
      const [first, second] = [a.cells[column], b.cells[column]];
      if (missing(first) || missing(second)) return missing(first) - missing(second); // what is not there comes last
      const numbers = [first, second].map(number);
      if (!numbers.some(Number.isNaN)) return sign * (numbers[0] - numbers[1]);
      return sign * said(first).localeCompare(said(second), "en", { numeric: true });
    };
    body.append(...(order === "none" ? rows : rows.slice().sort(compare)));
  }

  heads.forEach((head, column) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    button.addEventListener("click", () => sort(head, column));
    head.replaceChildren(button);
  });
}

/** The rows that are shown, as CSV: what each cell says, then its small print. */
function asCsv(table) {
  const line = (row) =>
    Array.from(row.cells, (cell) => {
      const small = Array.from(cell.querySelectorAll("small"), (part) => part.textContent.trim());
      const text = [cell.querySelector("a[href$='.json']") ? cell.textContent.trim() : said(cell), ...small];
      return `"${[...new Set(text)].filter(Boolean).join(" | ").replace(/"/g, '""')}"`;
    }).join(",");
  const rows = Array.from(table.tBodies[0].rows).filter((row) => !row.hidden);
  return [table.tHead.rows[table.tHead.rows.length - 1], ...rows].map(line).join("\n") + "\n";
}

function makeFilters(box, name) {
  const table = box.querySelector("table");
  const rows = Array.from(table.tBodies[0].rows);
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  const given = new URLSearchParams(location.hash.slice(1));
  const controls = document.createElement("div");
  controls.className = "prune-controls";
  controls.setAttribute("role", "search");
  controls.setAttribute("aria-label", `Filter the ${name}`);

  function control(title, field) {
    const label = document.createElement("label");
    field.name = title.toLowerCase();
    label.append(title, field);
    controls.append(label);
    return field;
  }

  const text = control("Find", Object.assign(document.createElement("input"), { type: "search" }));
  text.placeholder = name === "results" ? "resnet56, imagenet, l1 …" : "cdp, chance, widths …";
  text.value = given.get("find") || "";
  let source = null;
  if (rows.some((row) => row.dataset.source)) {
    source = control("Rows", document.createElement("select"));
    source.append(new Option("all", ""), new Option("reported"), new Option("our own"));
  }
  const choices = heads
    .map((head, column) => ({ name: head.dataset.filter, column }))
    .filter((choice) => choice.name);
  for (const choice of choices) {
    choice.field = control(choice.name, document.createElement("select"));
    choice.field.append(new Option("all", ""));
    const values = new Set(rows.map((row) => said(row.cells[choice.column])));
    for (const value of values) choice.field.append(new Option(value === "–" ? "none" : value, value));
  }
  const fields = Array.from(controls.querySelectorAll("select"));
  for (const field of fields) {
    const wanted = given.get(field.name) || "";
    if (Array.from(field.options).some((option) => option.value === wanted)) field.value = wanted;
  }
  const clear = Object.assign(document.createElement("button"), { type: "button", textContent: "Clear" });
  const save = Object.assign(document.createElement("button"), { type: "button", textContent: "Save these as CSV" });
  const status = document.createElement("output");
  status.setAttribute("aria-live", "polite");
  controls.append(clear, save, status);
  box.before(controls);

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const own = row.dataset.source === "own";
      const all = row.textContent.toLowerCase();
      row.hidden = !(
        words.every((word) => all.includes(word)) &&
        (!source || !source.value || own === (source.value === "our own")) &&
        choices.every(({ field, column }) => !field.value || said(row.cells[column]) === field.value)
      );
      if (!row.hidden) shown += 1;
    }
    status.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
    const kept = new URLSearchParams();
    for (const field of [text, ...fields]) if (field.value) kept.set(field.name, field.value);
    const hash = kept.toString();
    if (hash || location.hash.includes("=")) {
      history.replaceState(null, "", location.pathname + location.search + (hash ? `#${hash}` : ""));
    }
  }

  function showAll() {
    for (const field of [text, ...fields]) field.value = "";
    filter();
  }

  controls.addEventListener("input", filter);
  clear.addEventListener("click", () => {
    showAll();
    text.focus();
  });
  save.addEventListener("click", () => {
    const file = new Blob([asCsv(table)], { type: "text/csv" });
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  /** A row that the address names is brought into sight, whatever was filtered. */
  function toRow() {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!row || !rows.includes(row)) return;
    if (row.hidden) {
      const address = location.hash;
      showAll();
      history.replaceState(null, "", address);
    }
    row.scrollIntoView({ block: "center" });
  }
  filter();
  addEventListener("hashchange", toRow);
  toRow();
}

document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".prune-sort")) {
    const filters = box.querySelector("th[data-filter]");
    makeSortable(box.querySelector("table"));
    if (filters) makeFilters(box, location.pathname.split("/").pop().replace(".html", ""));
  }
});
