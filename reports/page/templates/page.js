"use strict";
// All of this is a convenience: without scripts the page shows the same content.

const make = (tag, attributes = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
};
const key = (cell) => cell.dataset.key ?? cell.textContent;

// Sort a table by the heading clicked: numbers by value, empty cells last.
const compare = (a, b) => {
  const x = Number(a), y = Number(b);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.firstElementChild.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
      const empty = rows.filter(([value]) => value === "");
      const full = rows.filter(([value]) => value !== "");
      full.sort(([a], [b]) => (down ? -1 : 1) * compare(a, b));
      table.tBodies[0].append(...[...full, ...empty].map(([, row]) => row));
    });
  });
}

// Filter: show rows that contain every typed word and the chosen value of one column.
for (const table of document.querySelectorAll("table[data-choices]")) {
  const column = Number(table.dataset.choices), rows = [...table.tBodies[0].rows];
  const values = [...new Set(rows.map((row) => row.cells[column].textContent))].sort();
  const name = table.tHead.rows[0].cells[column].textContent.trim();
  const text = make("input", { type: "search", placeholder: "alpha=32 attention" });
  const choice = make("select", {}, make("option", { value: "", textContent: `every ${name}` }),
    ...values.map((value) => make("option", { value, textContent: value })));
  const count = make("output", { textContent: `${rows.length} of ${rows.length} rows` });
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  const holds = (row, word) => {
    const [head, value] = word.split("=");
    if (value === undefined) return row.textContent.toLowerCase().includes(word);
    const cell = row.cells[heads.findIndex((h) => h.toLowerCase() === head)];
    return cell && [key(cell), cell.textContent].some((own) => own.toLowerCase() === value);
  };
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !(words.every((word) => holds(row, word)) &&
      ["", row.cells[column].textContent].includes(choice.value));
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  text.addEventListener("input", filter);
  choice.addEventListener("change", filter);
  table.closest(".scroll").before(make("div", { className: "filter" },
    make("label", {}, "Filter ", text), make("label", {}, "Show ", choice), count));
}

// Say that a table is wider than its frame.
const mark = () => {
  for (const frame of document.querySelectorAll(".scroll"))
    frame.toggleAttribute("data-wide", frame.scrollWidth > frame.clientWidth + 1);
};
addEventListener("resize", mark);
addEventListener("toggle", mark, true);
mark();

// Save a table as a file: the rows shown, in their order, with full numbers.
const csv = (table) => [...table.rows].filter((row) => !row.hidden).map((row) =>
  [...row.cells].map((cell) => `"${(cell.tagName === "TH" ? cell.textContent.trim() :
    key(cell)).replaceAll('"', '""')}"`).join(",")).join("\r\n") + "\r\n";
for (const table of document.querySelectorAll("table[data-name]")) {
  const button = make("button", { type: "button", className: "csv", textContent: "CSV",
    ariaLabel: `Save as CSV: ${table.caption.textContent}` });
  button.addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
    make("a", { href: url, download: `${table.dataset.name}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  table.closest(".scroll").after(button);
}

// Point at a mark: show its trial's row, and highlight the trial in every other figure.
const tip = make("div", { className: "tip", hidden: true });
const trials = new Map([...document.querySelectorAll("[data-row]")].map(
  (row) => [row.dataset.row, row]));
const told = (row) => [...row.closest("table").tHead.rows[0].cells].map((head, column) =>
  [head.textContent.trim(), row.cells[column].textContent]).filter(([, value]) => value);
const leave = () => {
  tip.hidden = true;
  for (const other of document.querySelectorAll("svg .same")) other.classList.remove("same");
};
document.body.append(tip);
document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest("[data-trial]");
  leave();
  if (!mark) return;
  const row = trials.get(mark.dataset.trial);
  tip.replaceChildren(...(row ? told(row) : [["trial", mark.dataset.trial]]).map(
    ([name, value]) => make("div", {}, make("span", { textContent: name }), ` ${value}`)));
  tip.hidden = false;
  for (const other of document.querySelectorAll(`svg [data-trial="${mark.dataset.trial}"]`))
    other.classList.add("same");
  const place = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const room = document.documentElement.clientWidth - own.width - 8;
  const below = place.bottom + 10 + own.height < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 12, room)) + scrollX}px`;
  tip.style.top = `${(below ? event.clientY + 14 : event.clientY - own.height - 14) + scrollY}px`;
});
document.addEventListener("keydown", (event) => event.key === "Escape" && leave());

// Printed pages show all details.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
