"""Three pages in every size and theme, where a browser is there: part of `make test`, so that no break lands unseen."""

import axe_script
import browser as chrome
import pytest
import visits

PROBLEM = chrome.missing() or axe_script.missing()
pytestmark = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "a browser is there")
PAGES = ("index", "claims/03_architecture_checks", "explore")
FIT = """() => [...document.querySelectorAll("div.highlight")].filter((box) => {
    const [code, button] = [box.querySelector("pre"), box.querySelector("button.copybtn")];
    const range = document.createRange();
    range.selectNodeContents(code);
    const under = button && [...range.getClientRects()].some((line) => {
        const at = button.getBoundingClientRect();
        return at.left < line.right && line.left < at.right && at.top < line.bottom && line.top < at.bottom;
    });
    return code.scrollWidth > code.clientWidth + 1 || under;
}).map((box) => box.innerText.slice(0, 80))"""
GROUNDS = """() => [...document.querySelectorAll(".bd-content figure img")].map((image) => getComputedStyle(image))
    .filter((style) => style.filter === "none" || style.backgroundColor === "rgb(255, 255, 255)").length"""


@pytest.mark.parametrize("theme", chrome.THEMES)
@pytest.mark.parametrize("size", chrome.SIZES)
def test_three_pages_open_are_read_by_everyone_and_fit(chromium, site, size, theme):
    context = chrome.view(chromium, size, theme)
    for name in PAGES:
        visit = visits.opened(context, site / f"{name}.html")
        assert visit.errors + visit.failed + visit.foreign + visit.look["broken"] == [], name
        assert visit.faults == [], name  # the contrast of letters, badges and buttons to their ground among them
        assert visit.look["width"] <= chrome.SIZES[size][0], name
        page = chrome.open_page(context, site / f"{name}.html")
        assert page.evaluate(FIT) == [], name  # code that is wider than its column, or under the button that copies it
        assert theme == "light" or page.evaluate(GROUNDS) == 0, name  # figures on a white slab
        page.close()
    context.close()
