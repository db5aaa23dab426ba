"use strict";
// What the page can do beside being read: sort the table, show what lies under the pointer, look at one class,
// choose a rate.  Nothing is fetched, and without this script all but that is there.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Columns of numbers and names: a button in each head that has data-sort, the order in which it begins.
function sortable(table) {
  const [body] = table.tBodies;
  const heads = all("th[data-sort]", table.tHead);
  const value = (row, column) => {
    const cell = row.cells[column];
    if (cell.tagName === "TH") return cell.textContent.trim();
    return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = { ascending: "descending", descending: "ascending" }[head.ariaSort] ?? head.dataset.sort;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => [value(row, head.cellIndex), row]);
      rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
  }
}

// The note beside a mark: what data-tip says, and the picture of data-row.
const note = document.getElementById("note");

function show(mark) {
  for (const other of all(".pointed")) other.classList.remove("pointed");
  mark.classList.add("pointed");
  const [picture, words] = note.children;
  picture.toggleAttribute("hidden", !("row" in mark.dataset));
  picture.firstElementChild.setAttribute("href", `#row-${mark.dataset.row}`);
  words.textContent = mark.dataset.tip;
  note.hidden = false;
  const place = mark.getBoundingClientRect(), own = note.getBoundingClientRect();
  const left = Math.min(Math.max(4, place.left + place.width / 2 - own.width / 2), innerWidth - own.width - 20);
  const above = place.top - own.height - 8;
  note.style.left = `${left + scrollX}px`;
  note.style.top = `${(above > 4 ? above : place.bottom + 8) + scrollY}px`;
}

function hide() {
  note.hidden = true;
  for (const other of all(".pointed")) other.classList.remove("pointed");
}

// A drawing with marks is one stop of the tab key; arrows go from mark to mark.
function explored(drawing) {
  const columns = Number(drawing.dataset.columns ?? 1);
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  const marks = () => all("[data-tip]", drawing).filter((mark) => !mark.closest(".faint"));
  drawing.tabIndex = 0;
  drawing.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (!(event.key in steps)) return;
    event.preventDefault();
    const found = marks(), at = found.indexOf(drawing.querySelector(".pointed"));
    const next = at < 0 ? 0 : at + steps[event.key];
    if (found[next]) show(found[next]);
  });
  drawing.addEventListener("blur", hide);
}

for (const kind of ["pointerover", "pointerdown"]) {
  document.addEventListener(kind, ({ target }) => {
    const mark = target.closest?.("[data-tip]");
    if (mark) show(mark);
    else if (!document.activeElement?.matches("svg.marks")) hide();
  });
}

// One class, or all: of the map the others fade, of the queries they go.
function chosen(label) {
  for (const select of all("select[data-classes]")) {
    select.value = [...select.options].some((option) => option.value === label) ? label : "";
  }
  for (const mark of all("g[data-class]")) mark.classList.toggle("faint", label !== "" && mark.dataset.class !== label);
  for (const query of all("ol[data-class]")) query.hidden = label !== "" && query.dataset.class !== label;
  for (const none of all(".none")) none.hidden = all("ol[data-class]:not([hidden])", none.parentElement).length > 0;
}

for (const select of all("select[data-classes]")) select.addEventListener("change", () => chosen(select.value));
for (const select of all("select[data-rates]")) {
  select.addEventListener("change", () => {
    for (const one of all("[data-rate]")) one.toggleAttribute("hidden", one.dataset.rate !== select.value);
  });
}
for (const control of all(".control")) control.hidden = false;
all("table.sortable").forEach(sortable);
all("svg.marks").forEach(explored);
addEventListener("beforeprint", () => all("details").forEach((one) => (one.open = true)));
