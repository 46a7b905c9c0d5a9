/* The ledger as a table that can be filtered, sorted and downloaded. Its filters stand in the address. */
"use strict";
(function ({ el, select, parameters, remember, download, pageLinks, rows: data }) {
  const TITLES = {
    name: "run", kind: "kind", profile: "profile", dataset: "data", network: "network", ticket: "ticket", check: "check",
    corruption: "corruption", sparsity: "sparsity", seed: "seed", epochs: "epochs", recipe: "recipe",
    accuracy: "accuracy, %", overlap: "overlap", seconds: "seconds", pages: "used on",
  };
  const FILTERS = ["page", "kind", "profile", "network", "ticket", "check", "corruption", "sparsity", "epochs", "recipe"];
  const STEP = 200; // lines shown at first
  const rows = data.rows.map((cells) => Object.fromEntries(data.columns.map((column, i) => [column, cells[i]])));
  const state = { text: "", sort: "", down: "", ...Object.fromEntries(FILTERS.map((f) => [f, ""])) };
  const root = document.getElementById("explore");
  let shown = STEP;

  const values = (row, filter) => (filter === "page" ? row.pages.split(" ") : [row[filter]]);
  const missing = (value) => value === null || value === "";

  function compare(a, b) {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b;
  }

  function found() {
    const words = state.text.toLowerCase().split(/\s+/);
    const kept = rows.filter((row) => FILTERS.every((f) => !state[f] || values(row, f).map(String).includes(state[f]))
      && words.every((word) => data.columns.some((column) => String(row[column] ?? "").toLowerCase().includes(word))));
    if (!data.columns.includes(state.sort)) return kept;
    const sign = state.down ? -1 : 1;
    return kept.sort((a, b) => (missing(a[state.sort]) || missing(b[state.sort]) ? 1 : sign) * compare(a[state.sort], b[state.sort]));
  }

  function cell(row, column) {
    if (column === "name") return el("th", { scope: "row" }, el("a", { href: `run.html#${row.name}` }, row.name));
    if (column === "pages") return el("td", {}, pageLinks(row.pages.split(" ").filter(Boolean)));
    if (column === "accuracy" && !missing(row.accuracy)) return el("td", { class: "tb-number" }, row.accuracy.toFixed(2));
    return el("td", { class: typeof row[column] === "number" ? "tb-number" : "" }, row[column] ?? "");
  }

  function header(column) {
    const sorted = state.sort === column;
    const press = () => change({ sort: column, down: sorted && !state.down ? "1" : "" });
    return el("th", { scope: "col", "aria-sort": sorted ? (state.down ? "descending" : "ascending") : null },
      el("button", { type: "button", class: "tb-sort", "data-column": column, click: press }, TITLES[column],
        el("span", { "aria-hidden": "true" }, sorted ? (state.down ? " ▼" : " ▲") : "")));
  }

  const quoted = (value) => `"${String(value ?? "").replace(/^(?=[=+@-]\D)/, "'").replace(/"/g, '""')}"`;
  const csv = (kept) => [data.columns, ...kept.map((row) => data.columns.map((column) => row[column]))]
    .map((line) => line.map(quoted).join(",") + "\r\n").join("");

  const status = el("p", { role: "status", class: "tb-status" });
  const place = el("div", { class: "tb-scroll", tabindex: 0, role: "region", "aria-label": "Rows of the ledger" });
  const more = el("button", { type: "button", class: "tb-button", click: () => { shown = Infinity; draw(); } });

  function draw() {
    const kept = found(), columns = data.columns;
    status.textContent = `${kept.length} of ${rows.length} rows.`;
    place.replaceChildren(el("table", { class: "table tb-rows" },
      el("thead", {}, el("tr", {}, columns.map(header))),
      el("tbody", {}, kept.slice(0, shown).map((row) => el("tr", {}, columns.map((column) => cell(row, column)))))));
    more.hidden = kept.length <= shown;
    more.textContent = `Show all ${kept.length} rows`;
  }

  function change(values) {
    Object.assign(state, values);
    shown = STEP;
    remember(state);
    const focused = document.activeElement.dataset.column;
    draw();
    if (focused) place.querySelector(`[data-column="${focused}"]`).focus();
  }

  function filter(name) {
    const known = [...new Set(rows.flatMap((row) => values(row, name)))].filter((value) => !missing(value)).sort(compare);
    if (state[name] && !known.map(String).includes(state[name])) known.push(state[name]);
    const options = [["", "all"], ...known.map((value) => [String(value), value])];
    const label = name === "page" ? "used on page" : TITLES[name];
    return select(`filter-${name}`, label, options, state[name], (event) => change({ [name]: event.target.value }));
  }

  function start() {
    for (const name of Object.keys(state)) state[name] = parameters().get(name) || "";
    const clear = () => { history.replaceState(null, "", "#"); start(); root.querySelector("input").focus(); };
    const text = el("input", { id: "filter-text", type: "search", value: state.text, input: (e) => change({ text: e.target.value }) });
    root.replaceChildren(
      el("form", { class: "tb-form", "aria-label": "Filters", submit: (event) => event.preventDefault() },
        el("div", { class: "tb-field" }, el("label", { for: "filter-text" }, "contains the words"), text), FILTERS.map(filter)),
      el("p", { class: "tb-buttons" },
        el("button", { type: "button", class: "tb-button", click: clear }, "Clear filters"),
        el("button", { type: "button", class: "tb-button", click: () => download("rows.csv", "text/csv", csv(found())) }, "Download CSV"),
        el("button", { type: "button", class: "tb-button", click: () => download("rows.json", "application/json", JSON.stringify(found(), null, 1)) }, "Download JSON")),
      status, place, more);
    draw();
  }

  window.addEventListener("hashchange", start);
  start();
})(window.ticketbook);
