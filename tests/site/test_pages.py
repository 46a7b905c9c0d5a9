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
