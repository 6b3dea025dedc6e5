// The results page: headings that sort, boxes that filter. Without this script it is the same table, in its own order.
// What a reader chose stands in the address after '#', so that a view can be kept and sent.
"use strict";

function upgradeResults(box) {
  const table = box.querySelector("table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  const given = new URLSearchParams(location.hash.slice(1));
  const controls = document.createElement("div");
  controls.className = "prune-controls";
  controls.setAttribute("role", "search");
  controls.setAttribute("aria-label", "Filter the results");

  const said = (cell) => (cell.firstChild ? cell.firstChild.textContent.trim() : "");
  const missing = (cell) => said(cell) === "–";

  function control(name, field) {
    const label = document.createElement("label");
    field.name = name.toLowerCase();
    label.append(name, field);
    controls.append(label);
    return field;
  }

  const text = control("Find", Object.assign(document.createElement("input"), { type: "search" }));
  text.placeholder = "resnet56, imagenet, l1 …";
  text.value = given.get("find") || "";
  const source = control("Rows", document.createElement("select"));
  source.append(new Option("all", ""), new Option("reported"), new Option("our own"));
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
  const status = document.createElement("output");
  status.setAttribute("aria-live", "polite");
  controls.append(clear, status);
  box.before(controls);

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const own = row.dataset.source === "own";
      const all = row.textContent.toLowerCase();
      row.hidden = !(
        words.every((word) => all.includes(word)) &&
        (!source.value || own === (source.value === "our own")) &&
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

  function sort(head, column) {
    const order = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    if (order !== "none") head.setAttribute("aria-sort", order);
    const sign = order === "descending" ? -1 : 1;
    const compare = (a, b) => {
      const [first, second] = [a.cells[column], b.cells[column]];
      if (missing(first) || missing(second)) return missing(first) - missing(second); // what is not there comes last
      const numbers = [first, second].map((cell) => Number(cell.dataset.value ?? NaN));
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
  controls.addEventListener("input", filter);
  clear.addEventListener("click", () => {
    for (const field of [text, ...fields]) field.value = "";
    filter();
    text.focus();
  });
  filter();
}

document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".prune-results")) upgradeResults(box);
});
