/* What the interactive pages share. All text from rows goes through text nodes, so that none of it can be markup. */
"use strict";
window.ticketbook = window.ticketbook || {};

(function (book) {
  const SVG = new Set(["svg", "rect", "line", "path", "circle", "text", "g"]);
  const LEAST = 4; // decades of the logarithmic bars

  /* An element with attributes (functions are listeners) and children; null and "" children are left out. */
  book.el = function (tag, attributes, ...children) {
    const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") node.addEventListener(name, value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== "").map((c) => (c.nodeType ? c : String(c))));
    return node;
  };
  const el = book.el;

  /* A labelled control: select, with options as [value, text]. */
  book.select = function (id, label, options, value, onchange) {
    const items = options.map(([v, text]) => el("option", { value: v, selected: v === value }, text));
    return el("div", { class: "tb-field" }, el("label", { for: id }, label), el("select", { id, change: onchange }, items));
  };

  /* When a table was put into the page, reach.js looks again at what scrolls. */
  book.placed = () => requestAnimationFrame(() => window.dispatchEvent(new Event("resize")));

  book.table = function (caption, titles, lines) {
    book.placed();
    const cell = (value, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, value);
    return el("div", { class: "tb-scroll", tabindex: 0, role: "region", "aria-label": caption },
      el("table", { class: "table" }, el("caption", {}, caption),
        el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col" }, title)))),
        el("tbody", {}, lines.map((line) => el("tr", {}, line.map(cell))))));
  };

  const place = (share, log) => (share <= 0 ? 0 : 100 * (log ? Math.max(0.004, 1 + Math.log10(share) / LEAST) : share));

  function bar(share, beside, log) {
    const mark = beside === null ? null : place(beside, log) + "%";
    return el("svg", { class: "tb-bar", width: "100%", height: 16, "aria-hidden": "true" },
      el("rect", { class: "tb-ground", width: "100%", height: 16 }),
      el("rect", { class: "tb-kept", width: place(share, log) + "%", height: 16 }),
      mark && ["tb-edge", "tb-beside"].map((kind) => el("line", { class: kind, x1: mark, x2: mark, y1: 0, y2: 16 })));
  }

  /* Layers as a table with a bar each. layers: [[name, size]], counts: [int]; beside: [int] or null, drawn as a line. */
  book.layerTable = function (caption, layers, counts, { beside = null, log = false } = {}) {
    const lines = layers.map(([name, size], i) => [name.replace(/\.weight$/, ""), size.toLocaleString("en"),
      counts[i].toLocaleString("en"), (100 * counts[i] / size).toPrecision(3) + " %",
      bar(counts[i] / size, beside && beside[i] / size, log)]);
    const table = book.table(caption, ["layer", "weights", "kept", "keep-ratio", "as a bar"], lines);
    table.classList.add("tb-layers");
    return table;
  };

  /* The fragment of the address as parameters, and back. */
  book.parameters = () => new URLSearchParams(location.hash.slice(1));
  book.remember = function (values) {
    const kept = Object.entries(values).filter(([, value]) => value !== "" && value !== null);
    history.replaceState(null, "", "#" + new URLSearchParams(kept));
  };

  book.download = function (name, type, text) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    el("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  /* What readers call what rows call by a short name; a name without a label stays as it is. */
  book.label = (what, name) => (book.labels?.[what] && Object.hasOwn(book.labels[what], name) ? book.labels[what][name] : name);

  /* Where a page of the book lies, from its name in the ledger's index. */
  book.pageLinks = (names) => names.flatMap((name, i) => [i ? ", " : "",
    el("a", { href: `claims/${name}.html` }, book.label("pages", name))]);
})(window.ticketbook);
