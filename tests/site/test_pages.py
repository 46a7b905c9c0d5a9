"""Every page of the site in headless Chromium, opened from disk with no network, in both sizes and both themes."""

import browser as chrome
import pytest

pytestmark = pytest.mark.slow
VIEWS = [("desk", "light"), ("desk", "dark"), ("phone", "dark")]


@pytest.fixture(params=VIEWS, ids="-".join)
def visits(request, visit_all):
    return visit_all(*request.param)


def which(visits, what):
    """The pages for which something is not empty."""
    return {path: found for path, visit in visits.items() if (found := what(visit))}


def test_no_page_reports_an_error(visits):
    assert which(visits, lambda visit: visit.errors) == {}


def test_no_page_asks_for_what_is_not_there_or_for_another_host(visits):
    assert which(visits, lambda visit: visit.failed + visit.foreign) == {}


def test_images_are_there(visits):
    assert which(visits, lambda visit: visit.look["broken"]) == {}


def test_maths_is_set(visits):
    assert which(visits, lambda visit: visit.look["formulas"] - visit.look["typeset"]) == {}
    assert sum(visit.look["typeset"] for visit in visits.values()) > 10


def test_no_page_is_wider_than_its_window(visits, request):
    size, _ = request.node.callspec.params["visits"]
    assert which(visits, lambda visit: max(0, visit.look["width"] - chrome.SIZES[size][0])) == {}


def test_axe_finds_no_serious_fault(visits):
    """With the contrast of letters to their ground among them, in light and in dark."""
    assert which(visits, lambda visit: visit.faults) == {}


def test_without_javascript_pages_are_read_and_say_what_needs_it(chromium, site):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    for name in ("explore", "run", "ratios"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.get_by_text("needs JavaScript").is_visible()
    page.goto((site / "claims" / "01_smart_ratios.html").as_uri())
    assert page.locator("figure img").first.is_visible() and page.locator("figcaption").first.is_visible()
    page.goto((site / "index.html").as_uri())
    assert page.locator("table.board").is_visible() and page.locator("svg.drawn").first.is_visible()
    context.close()


def test_the_keyboard_alone_reaches_the_text_the_doors_and_the_full_figures(chromium, site):
    context = chrome.view(chromium)
    page = chrome.open_page(context, site / "index.html")
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    seen = [focused(page) for _ in range(20)]
    assert {"Read the claims", "Run it yourself", "Bring your own pruner"} <= set(seen)
    page = chrome.open_page(context, site / "claims" / "05_budget.html")
    page.locator("figure a.full-size").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/_images/*.png")
    context.close()


def test_on_a_phone_tables_say_that_they_scroll_and_contents_close(chromium, site):
    width, height = chrome.SIZES["phone"]
    context = chromium.new_context(viewport={"width": width, "height": height}, is_mobile=True, has_touch=True)
    context.set_default_timeout(chrome.WAIT)
    page = chrome.open_page(context, site / "claims" / "05_budget.html")
    box = page.locator(".pst-scrollable-table-container.scrolls").first
    assert "sideways" in box.evaluate("(node) => getComputedStyle(node, '::before').content")
    first = box.locator("tbody tr > :first-child").first
    before = first.bounding_box()["x"]
    box.evaluate("(node) => { node.scrollLeft = 200; }")
    assert abs(first.bounding_box()["x"] - before) < 2 and box.get_attribute("tabindex") == "0"
    page.locator("button.secondary-toggle").first.click()
    page.locator(".bd-sidebar-secondary a").first.click()
    assert not page.locator("#pst-secondary-sidebar-checkbox").is_checked()
    page.goto((site / "index.html").as_uri())
    assert not page.locator("button.secondary-toggle").first.is_visible()
    page.goto((site / "faults.html").as_uri())
    page.locator("button.unfold").first.click()
    assert page.locator("table.folded").count() < page.locator("table.many").count()
    context.close()


def focused(page):
    """What the next press of the tabulator key reaches, in the words that a reader sees beside it."""
    page.keyboard.press("Tab")
    return page.evaluate("(e => (e.closest('.sd-card') || e).innerText.trim().split('\\n')[0])(document.activeElement)")
