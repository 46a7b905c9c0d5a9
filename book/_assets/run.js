/* One run or probe, named by the fragment of the address: its curve, kept weights and configuration. */
"use strict";
(function (book) {
  const { el, table, layerTable, download, pageLinks } = book;
  const root = document.getElementById("run");
  const title = document.title;
  const HIDDEN = ["config", "curve", "keep_counts", "sizes", "correct", "versions", "control", "name", "kind", "second_keep_counts"];
  const EXPLAINED = {
    accuracy: "test accuracy after the last epoch, %", best_accuracy: "best test accuracy over epochs, %", loss: "training loss at the end",
    achieved_sparsity: "share of weights removed", effective_sparsity: "share removed, counting kept weights that no path reaches",
    classifier_share: "share of the kept weights in the classifier", movable_share: "share of kept weights in layers that are not full",
    overlap: "overlap with the mask found on clean data", chance: "overlap expected by chance", ceiling: "overlap of two clean batches",
    parent: "run it starts from", num_test: "test images", empty_layers: "layers left without weights",
    arm: "ticket, check and sparsity, as the ledger writes them", code: "version of the code", device: "made on", threads: "threads",
    seconds: "seconds in all", train_seconds: "seconds of training", eval_seconds: "seconds of testing",
    mask_seconds: "seconds to find the mask", busy: "share of the machine busy with other work", images: "training images seen",
    images_per_second: "training images a second", diverged: "training diverged", num_classes: "classes",
    mask_digest: "digest of the mask", checkpoint: "digest of the trained weights",
    parent_checkpoint: "digest of the weights it starts from",
    rearranged_effective_sparsity: "the same with the mask rearranged within layers",
  };

  const plain = (value) => (value === null || typeof value !== "object" ? String(value)
    : Array.isArray(value) ? value.map(plain).join(", ") || "none"
      : Object.entries(value).map(([k, v]) => `${k} ${plain(v)}`).join(", ") || "none");
  const short = (value) => (typeof value === "number" ? value.toLocaleString("en", Number.isInteger(value) ? {} : { maximumSignificantDigits: 5 })
    : typeof value === "boolean" ? (value ? "yes" : "no") : value);
  const linked = (name, value) => (name === "parent" ? el("a", { href: `#${value}` }, value) : plain(value));
  const heading = (text) => el("h3", {}, text);

  function curve(points) {
    const width = Math.min(root.clientWidth, 640), height = 260, left = 44, bottom = 40, top = 10, right = 14;
    const last = points[points.length - 1][0], levels = points.map((point) => point[1]);
    const low = Math.floor(Math.min(...levels) / 10) * 10, high = Math.max(low + 10, Math.ceil(Math.max(...levels) / 10) * 10);
    const x = (epoch) => left + (width - left - right) * epoch / last;
    const y = (level) => top + (height - top - bottom) * (high - level) / (high - low);
    const ticks = [0, 1, 2, 3, 4].map((i) => low + i * (high - low) / 4);
    const epochs = [0, 1, 2, 3, 4].map((i) => Math.round(i * last / 4)).filter((e, i, all) => all.indexOf(e) === i);
    const said = `Accuracy over epochs: ${levels[0]} % after ${points[0][0]} epochs, ${levels[levels.length - 1]} % after ${last}.`;
    return el("svg", { class: "tb-curve", role: "img", "aria-label": said, width, height, viewBox: `0 0 ${width} ${height}` },
      ticks.map((level) => [el("line", { class: "tb-grid", x1: left, x2: width - right, y1: y(level), y2: y(level) }),
        el("text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" }, +level.toFixed(1))]),
      epochs.map((epoch) => el("text", { x: x(epoch), y: height - bottom + 18, "text-anchor": "middle" }, epoch)),
      el("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "epochs; upwards: test accuracy, %"),
      el("path", { class: "tb-line", d: points.map((p, i) => `${i ? "L" : "M"}${x(p[0])} ${y(p[1])}`).join("") }),
      points.map((p) => el("circle", { class: "tb-dot", cx: x(p[0]), cy: y(p[1]), r: 3.5 })));
  }

  function curveParts(points) {
    if (!points || !points.length) return [];
    const lines = points.map(([epoch, accuracy, loss]) => [epoch, accuracy, loss === undefined ? "" : loss]);
    return [heading("Learning curve"), curve(points),
      el("p", {}, "One run, one seed: there are no error bars."),
      el("details", {}, el("summary", {}, "The curve in numbers"), table("Learning curve", ["epoch", "accuracy, %", "training loss"], lines))];
  }

  const bundle = (name) => name.slice(0, 2); // the file that a run is in

  /* What a bundle holds: JSON, gzipped, in base64. */
  function unzipped(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  }

  function show({ row, profile, layers, pages, label }) {
    const facts = Object.entries(row).filter(([name, value]) => !HIDDEN.includes(name) && value !== null);
    const parts = ["versions", "control"].filter((name) => row[name] && Object.keys(row[name]).length).map((name) => [name, plain(row[name])]);
    const kept = layers.map((layer) => layer[2]), total = kept.reduce((a, b) => a + b, 0);
    const size = layers.reduce((sum, layer) => sum + layer[1], 0);
    document.title = `${label}, ${row.name} — ${title}`;
    root.replaceChildren(
      heading(`${label}, seed ${row.config.seed}`),
      el("p", {}, `A ${row.kind} of the profile ${profile}, named `, el("code", {}, row.name), pages.length ? ". Used on " : ".",
        pageLinks(pages), pages.length ? "." : ""),
      el("p", { class: "tb-buttons" }, el("button", { type: "button", class: "tb-button",
        click: () => download(`${row.name}.json`, "application/json", JSON.stringify(row, null, 1)) }, "Download this row (JSON)")),
      ...curveParts(row.curve),
      ...(layers.length ? [heading("Kept weights"),
        el("p", {}, `${total.toLocaleString("en")} of ${size.toLocaleString("en")} prunable weights are kept.`),
        layerTable("Kept weights of each layer, in forward order", layers, kept)] : []),
      heading("What was measured"),
      table("What was measured", ["what", "value"], facts.map(([name, value]) => [EXPLAINED[name] || name, linked(name, short(value))])),
      heading("Configuration"),
      table("Configuration; its hash is the name", ["setting", "value"], Object.entries(row.config).map(([n, v]) => [n, linked(n, v)])),
      ...(parts.length ? [heading("Versions and controls"), table("Versions and controls", ["what", "value"], parts)] : []));
  }

  const note = (...text) => root.replaceChildren(
    el("p", {}, ...text, el("a", { href: "explore.html" }, "Choose one in the ledger"), ", or look at one of these:"),
    el("ul", {}, (book.examples || []).map(([name, said]) => el("li", {}, el("a", { href: `#${name}` }, said)))));

  function open() {
    const name = location.hash.slice(1);
    document.title = title;
    if (!/^[0-9a-f]{16}$/.test(name)) return note("The address names no run. ");
    const chosen = () => location.hash.slice(1) === name; // a later choice may be there first
    const failed = () => chosen() && note("This book has no run ", el("code", {}, name), ". ");
    const loaded = async () => {
      const run = (await unzipped(book[`runs_${bundle(name)}`]))[name];
      if (!run) return failed();
      if (chosen()) show(run);
    };
    document.head.append(el("script", { src: `data/runs/${bundle(name)}.js`, load: loaded, error: failed }));
  }

  window.addEventListener("hashchange", open);
  open();
})(window.ticketbook);
