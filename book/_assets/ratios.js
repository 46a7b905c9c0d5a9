/* Keep-ratios of a network under a rule at a sparsity, computed when the book was built. */
"use strict";
(function ({ el, select, parameters, remember, layerTable, ratios: data }) {
  const root = document.getElementById("ratios");
  const given = parameters();
  const one = (name, known, usual) => (known.includes(given.get(name)) ? given.get(name) : usual);
  const names = data.networks.map((network) => network.name), rules = Object.keys(data.rules);
  const state = {
    network: one("network", names, names[0]), rule: one("rule", rules, "smart"), beside: one("beside", rules, ""),
    sparsity: one("sparsity", data.sparsities, "0.9"), log: given.get("log") || "",
  };
  const place = el("div", {}), status = el("p", { role: "status" }), said = el("output", { for: "sparsity" });

  const named = (rule) => (data.rules[rule].endsWith("ratio") ? `the ${data.rules[rule]}` : data.rules[rule]);
  const first = (text) => text[0].toUpperCase() + text.slice(1);

  function summary(network, counts) {
    const kept = counts.reduce((a, b) => a + b, 0), empty = counts.filter((count) => !count).length;
    const all = network.layers.reduce((sum, layer) => sum + layer[1], 0);
    return `${first(named(state.rule))} keeps ${kept.toLocaleString("en")} of ${all.toLocaleString("en")} weights.`
      + (empty ? ` It leaves ${empty} ${empty > 1 ? "layers" : "layer"} empty, so this cell takes no part in a verdict.` : "");
  }

  function draw() {
    const network = data.networks.find((n) => n.name === state.network);
    const counts = network.counts[state.rule][state.sparsity];
    const beside = state.beside ? network.counts[state.beside][state.sparsity] : null;
    const text = `${state.sparsity}: ${+(100 * (1 - state.sparsity)).toFixed(1)} % of the weights are kept`;
    said.textContent = text;
    root.querySelector("#sparsity").setAttribute("aria-valuetext", text);
    if (typeof counts === "string") {
      status.textContent = `${first(named(state.rule))} is ${counts}`;
      return place.replaceChildren();
    }
    const other = typeof beside === "string" ? ` ${first(named(state.beside))} is ${beside}`
      : beside ? ` The lines across the bars are ${named(state.beside)}.` : "";
    status.textContent = summary(network, counts) + other;
    const caption = `Keep-ratios of ${state.network} under ${named(state.rule)} at sparsity ${state.sparsity}`;
    place.replaceChildren(layerTable(caption, network.layers, counts, { beside: other && typeof beside !== "string" ? beside : null, log: Boolean(state.log) }));
  }

  const change = (name) => (event) => { state[name] = event.target.value; remember(state); draw(); };
  const slide = (event) => { state.sparsity = data.sparsities[event.target.value]; remember(state); draw(); };
  const tick = (event) => { state.log = event.target.checked ? "1" : ""; remember(state); draw(); };
  const labels = rules.map((rule) => [rule, data.rules[rule]]);
  root.replaceChildren(
    el("form", { class: "tb-form", "aria-label": "Choices", submit: (event) => event.preventDefault() },
      select("network", "network", names.map((name) => [name, name]), state.network, change("network")),
      select("rule", "rule", labels, state.rule, change("rule")),
      select("beside", "beside it", [["", "nothing"], ...labels], state.beside, change("beside")),
      el("div", { class: "tb-field tb-wide" }, el("label", { for: "sparsity" }, "sparsity"),
        el("input", { id: "sparsity", type: "range", min: 0, max: data.sparsities.length - 1, step: 1,
          value: data.sparsities.indexOf(state.sparsity), input: slide }), said),
      el("div", { class: "tb-field tb-check" }, el("input", { id: "log", type: "checkbox", checked: Boolean(state.log), change: tick }),
        el("label", { for: "log" }, "logarithmic bars, from 0.01 % to 100 %"))),
    status, place);
  draw();
})(window.ticketbook);
