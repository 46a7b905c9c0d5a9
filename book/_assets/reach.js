/* What scrolls by itself says so and can be reached by keyboard; what fits into the window is left out. */
"use strict";
(function () {
  const MAY_SCROLL = ".bd-content figure, .bd-content table, .pst-scrollable-table-container, .tb-scroll, .cell_output, .bd-content div.math, .bd-content pre";
  const TABLES = ".pst-scrollable-table-container, .tb-scroll"; // boxes of tables, whose first column stays
  const CONTENTS = "pst-secondary-sidebar-checkbox"; // of the theme: whether the contents cover a phone's screen

  function reach() {
    for (const node of document.querySelectorAll(MAY_SCROLL)) {
      node.classList.remove("scrolls");
      const scrolls = node.scrollWidth > node.clientWidth && getComputedStyle(node).overflowX !== "visible";
      if (scrolls) node.tabIndex = 0;
      else if (node.getAttribute("tabindex") === "0") node.removeAttribute("tabindex");
      if (scrolls && node.matches(TABLES)) node.classList.add("scrolls");
    }
  }

  /* On a phone, of a long stack of cards the first ones, and the rest when asked for. */
  function fold(table) {
    const button = document.createElement("button");
    button.className = "tb-button unfold";
    button.textContent = `Show all ${table.tBodies[0].rows.length} entries`;
    button.addEventListener("click", () => { table.classList.remove("folded"); button.remove(); });
    table.classList.add("folded");
    table.parentNode.after(button);
  }

  function leaveContents(event) {
    if (event.target.closest(".bd-sidebar-secondary a")) document.getElementById(CONTENTS).checked = false;
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("table.stacked.many").forEach(fold));
  addEventListener("load", reach);
  addEventListener("resize", reach);
  addEventListener("toggle", reach, true);
  addEventListener("click", leaveContents);
})();
