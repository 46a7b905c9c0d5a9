/* What scrolls by itself can be reached by keyboard; what fits into the window is left out. */
"use strict";
(function () {
  const MAY_SCROLL = ".bd-content figure, .bd-content table, .pst-scrollable-table-container, .cell_output, .bd-content .math, .bd-content pre";

  function reach() {
    for (const node of document.querySelectorAll(MAY_SCROLL)) {
      const scrolls = node.scrollWidth > node.clientWidth && getComputedStyle(node).overflowX !== "visible";
      if (scrolls) node.tabIndex = 0;
      else if (node.getAttribute("tabindex") === "0") node.removeAttribute("tabindex");
    }
  }

  addEventListener("load", reach);
  addEventListener("resize", reach);
})();
