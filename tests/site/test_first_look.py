"""Three pages in each size and theme, where a browser is there: in `make test` too, so that no break lands unseen.

`make test` takes each size and each theme once, `make test-all` all four combinations.
"""

import axe_script
import browser as chrome
import pytest
import visits

PROBLEM = chrome.missing() or axe_script.missing()
pytestmark = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "a browser is there")
LOOKS = [pytest.param(size, theme, marks=[pytest.mark.slow] * ((size == "desk") == (theme == "light")))
         for size in chrome.SIZES for theme in chrome.THEMES]  # fmt: skip
PAGES = ("index", "claims/03_architecture_checks", "explore")
# Code that is wider than its column, or lies under the button that copies it.
TIGHT = """() => [...document.querySelectorAll("div.highlight")].filter((box) => {
    const [code, button] = [box.querySelector("pre"), box.querySelector("button.copybtn")];
    const range = document.createRange();
    range.selectNodeContents(code);
    const under = button && [...range.getClientRects()].some((line) => {
        const at = button.getBoundingClientRect();
        return at.left < line.right && line.left < at.right && at.top < line.bottom && line.top < at.bottom;
    });
    return code.scrollWidth > code.clientWidth + 1 || under;
}).map((box) => box.innerText.slice(0, 80))"""
# How many figures stand on a white slab, for which a dark page must have no place.
GLARING = """() => [...document.querySelectorAll(".bd-content figure img")].map((image) => getComputedStyle(image))
    .filter((style) => style.filter === "none" || style.backgroundColor === "rgb(255, 255, 255)").length"""


@pytest.mark.parametrize("size, theme", LOOKS)
def test_three_pages_open_are_read_by_everyone_and_fit(chromium, site, size, theme):
    context = chrome.view(chromium, size, theme)
    for name in PAGES:
        visit = visits.opened(context, site / f"{name}.html", tight=TIGHT, glaring=GLARING)
        assert visit.errors + visit.failed + visit.foreign + visit.look["broken"] == [], name
        assert visit.faults == [], name  # the contrast of letters, badges and buttons to their ground among them
        assert visit.look["width"] <= chrome.SIZES[size][0], name
        assert visit.look["tight"] == [], name
        assert theme == "light" or visit.look["glaring"] == 0, name
    context.close()
