/* The ledger as a table that can be filtered, sorted and downloaded. Its filters stand in the address. */
"use strict";
(function ({ el, select, parameters, remember, download, pageLinks, label, placed, rows: data }) {
  const TITLES = {
    name: "run", kind: "kind", profile: "profile", dataset: "data", network: "network", ticket: "ticket", check: "check",
    corruption: "corruption", sparsity: "sparsity", seed: "seed", epochs: "epochs", recipe: "recipe",
    accuracy: "accuracy, %", overlap: "overlap", seconds: "seconds", pages: "used on",
  };
  const FILTERS = ["page", "kind", "profile", "dataset", "network", "ticket", "check", "corruption", "sparsity", "epochs", "recipe"];
  // Columns shown at first, and a result: what tells runs apart; in "check", all of APPLIED.
  const FEW = ["name", "ticket", "check", "sparsity", "network", "dataset", "epochs", "recipe", "seed"];
  const RESULT = 4; // where the result stands among them
  const SAME = FEW.slice(1, -1).concat("corruption"); // what runs must share for their mean to be one of an arm
  const APPLIED = ["check", "corruption"]; // "none" or nothing: the ticket as it was found
  const DIGITS = { accuracy: 2, overlap: 3 };
  const STEP = 200; // lines shown at first, and with every press of "more"
  const rows = data.rows.map((cells) => Object.fromEntries(data.columns.map((column, i) => [column, cells[i]])));
  const state = { text: "", sort: "", down: "", more: "", ...Object.fromEntries(FILTERS.map((f) => [f, ""])) };
  const root = document.getElementById("explore");
  let shown = 0;

  const values = (row, filter) => (filter === "page" ? row.pages.split(" ") : APPLIED.includes(filter) ? [row[filter] || "none"] : [row[filter]]);
  const applied = (value) => value && value !== "none";
  const missing = (value) => value === null || value === "";
  const counted = (number) => number.toLocaleString("en");
  const words = (row, column) => [row[column] ?? "", ...(column === "pages" ? row.pages.split(" ") : [row[column]]).map((name) => label(column, name) ?? "")];
  const columnsOf = (kept) => (state.more ? data.columns
    : [...FEW.slice(0, RESULT), kept.some((row) => !missing(row.accuracy)) ? "accuracy" : "overlap", ...FEW.slice(RESULT)]);

  function compare(a, b) {
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b;
  }

  function found() {
    const asked = state.text.toLowerCase().split(/\s+/);
    const kept = rows.filter((row) => FILTERS.every((f) => !state[f] || values(row, f).map(String).includes(state[f]))
      && asked.every((word) => data.columns.some((column) => words(row, column).join(" ").toLowerCase().includes(word))));
    if (!data.columns.includes(state.sort)) return kept;
    const sign = state.down ? -1 : 1;
    return kept.sort((a, b) => (missing(a[state.sort]) || missing(b[state.sort]) ? 1 : sign) * compare(a[state.sort], b[state.sort]));
  }

  function cell(row, column) {
    const value = row[column], about = { "data-column": column, class: typeof value === "number" ? "tb-number" : "" };
    if (column === "name") return el("th", { ...about, scope: "row" }, el("a", { href: `run.html#${value}` }, value));
    if (column === "pages") return el("td", about, pageLinks(value.split(" ").filter(Boolean)));
    if (column === "check" && !state.more) return el("td", about, APPLIED.filter((what) => applied(row[what])).map((what) => label(what, row[what])).join(", "));
    if (missing(value) || (APPLIED.includes(column) && !applied(value))) return el("td", about);
    return el("td", about, column in DIGITS ? value.toFixed(DIGITS[column]) : label(column, value));
  }

  function header(column) {
    const sorted = state.sort === column;
    const press = () => change({ sort: column, down: sorted && !state.down ? "1" : "" });
    return el("th", { scope: "col", "aria-sort": sorted ? (state.down ? "descending" : "ascending") : null },
      el("button", { type: "button", class: "tb-sort", "data-column": column, click: press }, TITLES[column],
        el("span", { "aria-hidden": "true" }, sorted ? (state.down ? " ▼" : " ▲") : "")));
  }

  const quoted = (value) => `"${String(value ?? "").replace(/^(?=[=@]|[+-](?![\d.]+$))/, "'").replace(/"/g, '""')}"`;
  const csv = (kept) => [data.columns, ...kept.map((row) => data.columns.map((column) => row[column]))]
    .map((line) => line.map(quoted).join(",") + "\r\n").join("");

  const status = el("p", { role: "status", class: "tb-status" });
  const place = el("div", { class: "tb-scroll", tabindex: 0, role: "region", "aria-label": "Rows of the ledger" });
  const more = el("button", { type: "button", class: "tb-button", click: () => lines(found()) });
  const wide = el("button", { type: "button", class: "tb-button", click: () => change({ more: state.more ? "" : "1" }) });

  /* The next lines, under those that are there. */
  function lines(kept) {
    const columns = columnsOf(kept);
    place.querySelector("tbody").append(...kept.slice(shown, shown + STEP).map((row) => el("tr", {}, columns.map((column) => cell(row, column)))));
    shown += STEP;
    more.hidden = kept.length <= shown;
    more.textContent = `Show ${Math.min(STEP, kept.length - shown)} more`;
  }

  /* How many runs a selection has, their mean accuracy and its 95 % interval over runs; and in what they differ. */
  function summary(kept) {
    const values = kept.map((row) => row.accuracy).filter((value) => !missing(value)), n = values.length;
    if (!n) return "";
    const mean = values.reduce((a, b) => a + b, 0) / n;
    const sd = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1));
    const reach = n > 1 ? data.quantiles[Math.min(n - 2, data.quantiles.length - 1)] * sd / Math.sqrt(n) : NaN;
    const runs = kept.filter((row) => !missing(row.accuracy));
    const differ = SAME.filter((column) => new Set(runs.map((row) => row[column] || "none")).size > 1).map((column) => TITLES[column]);
    const interval = n > 1 ? `, 95 % interval ${(mean - reach).toFixed(2)} to ${(mean + reach).toFixed(2)}` : "";
    return ` Accuracy: n = ${counted(n)}, mean ${mean.toFixed(2)} %${interval}.`
      + (differ.length ? ` These runs differ in ${differ.join(", ")}: choose more, until they are of one kind.` : "");
  }

  function draw() {
    const kept = found();
    status.textContent = `${counted(kept.length)} of ${counted(rows.length)} rows.${summary(kept)}`;
    wide.textContent = state.more ? "Fewer columns" : "More columns";
    place.replaceChildren(el("table", { class: "table tb-rows" }, el("thead", {}, el("tr", {}, columnsOf(kept).map(header))), el("tbody", {})));
    shown = 0;
    lines(kept);
    placed();
  }

  function change(values) {
    Object.assign(state, values);
    remember(state);
    const focused = document.activeElement.dataset.column;
    draw();
    if (focused) place.querySelector(`button[data-column="${focused}"]`).focus();
  }

  function filter(name) {
    const known = [...new Set(rows.flatMap((row) => values(row, name)))].filter((value) => !missing(value)).sort(compare);
    if (state[name] && !known.map(String).includes(state[name])) known.push(state[name]);
    const options = [["", "all"], ...known.map((value) => [String(value), label(name === "page" ? "pages" : name, value)])];
    return select(`filter-${name}`, name === "page" ? "used on page" : TITLES[name], options, state[name], (event) => change({ [name]: event.target.value }));
  }

  function start() {
    for (const name of Object.keys(state)) state[name] = parameters().get(name) || "";
    const clear = () => { history.replaceState(null, "", "#"); start(); root.querySelector("input").focus(); };
    const text = el("input", { id: "filter-text", type: "search", value: state.text, input: (e) => change({ text: e.target.value }) });
    root.replaceChildren(
      el("form", { class: "tb-form", "aria-label": "Filters", submit: (event) => event.preventDefault() },
        el("div", { class: "tb-field" }, el("label", { for: "filter-text" }, "contains the words"), text), FILTERS.map(filter)),
      el("p", { class: "tb-buttons" },
        el("button", { type: "button", class: "tb-button", click: clear }, "Clear filters"), wide,
        el("button", { type: "button", class: "tb-button", click: () => download("rows.csv", "text/csv", csv(found())) }, "Download CSV"),
        el("button", { type: "button", class: "tb-button", click: () => download("rows.json", "application/json", JSON.stringify(found(), null, 1)) }, "Download JSON")),
      status, place, more);
    draw();
  }

  window.addEventListener("hashchange", start);
  start();
})(window.ticketbook);
