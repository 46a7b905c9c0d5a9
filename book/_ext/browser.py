"""The book in headless Chromium: one PDF, and screenshots to look at.

    python book/_ext/browser.py pdf            the whole book as _build/book.pdf
    python book/_ext/browser.py screenshots    every page, desk and phone, light and dark, into _build/screenshots
    python book/_ext/browser.py check          say what keeps a browser from opening here, if anything does

The book is built first if it is not there. Nothing is requested from any host.
"""

import contextlib
import os
import shutil
import sys

import make_book

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
SIZES = {"desk": (1280, 900), "phone": (390, 844)}  # width and height in pixels
THEMES = ("light", "dark")
WAIT = 120_000  # milliseconds a page may take on a busy machine
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
TALLEST = 16_000  # pixels of a window that Chromium draws in one piece
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
UNFOLD = "document.querySelectorAll('details.sd-dropdown').forEach((fold) => (fold.open = true))"  # paper has no clicks
FOOTER = '<div style="font-size:8px;width:100%;text-align:center"><span class="pageNumber"></span></div>'
HERE = {  # what the program can be found by, and what to say where it cannot
    "playwright": "Playwright is not installed; `make site-test` installs it.",
    "chromium": "Chromium was not found: install it (Debian: apt-get install chromium), or name one in $CHROMIUM.",
}


def program():
    """The path of Chromium: $CHROMIUM, or the first of PROGRAMS that is there; None if there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)


def missing():
    """What keeps a browser from opening here, in one sentence; an empty text if nothing does."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return HERE["playwright"]
    return "" if program() else HERE["chromium"]


@contextlib.contextmanager
def chromium():
    """A headless Chromium without a profile and without a network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=program(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


def view(browser, size="desk", theme="light"):
    """A new window of a browser: a Playwright context of this size and colour scheme."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    context.set_default_timeout(WAIT)
    return context


def open_page(context, path, fragment=""):
    """Open a file of the site and wait until its maths is set and its images are there."""
    page = context.new_page()
    page.goto(path.resolve().as_uri() + fragment, wait_until="load")
    settle(page)
    return page


def settle(page):
    """Wait until letters and images are there, those that would wait for a scroll included, and maths is set."""
    page.evaluate(
        """async () => {
            document.querySelectorAll("img[loading=lazy]").forEach((image) => image.removeAttribute("loading"));
            await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
            if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
            await document.fonts.ready;
        }"""
    )


def html_pages(site):
    """The pages of a site, sorted by path, without those of its assets."""
    return sorted(path for path in site.rglob("*.html") if not {"_static", "_sources"} & set(path.parts))


def pdf(build):
    """Build the book as one page and print it. Returns: the path of the PDF."""
    status, said, _ = make_book.call([*make_book.SPHINX, "--builder", "singlehtml"])
    if status:
        raise SystemExit(f"{said}\nThe book could not be put on one page, as shown above.")
    target = build / "book.pdf"
    with chromium() as browser:
        page = open_page(view(browser), build / "singlehtml" / "index.html")
        page.evaluate(UNFOLD)
        margin = dict.fromkeys(("left", "right"), "16mm") | dict.fromkeys(("top", "bottom"), "18mm")
        page.pdf(
            path=target, format="A4", scale=0.85, margin=margin, outline=True, tagged=True, display_header_footer=True,
            header_template="<span></span>", footer_template=FOOTER,
        )  # fmt: skip
    return target


def screenshots(build):
    """Take a picture of every page in every size and theme. Returns: their folder."""
    folder = build / "screenshots"
    shutil.rmtree(folder, ignore_errors=True)
    with chromium() as browser:
        for size in SIZES:
            for theme in THEMES:
                take(view(browser, size, theme), build / "html", folder / f"{size}-{theme}")
    return folder


def take(context, site, folder):
    """Take a picture of every page, as high as it is, in one window; nothing moves in it."""
    folder.mkdir(parents=True)
    for path in html_pages(site):
        page = open_page(context, path)
        page.emulate_media(reduced_motion="reduce")
        page.add_style_tag(content=STILL)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": page.viewport_size["width"], "height": min(height, TALLEST)})
        page.evaluate(TWO_FRAMES)
        page.screenshot(path=folder / f"{'-'.join(path.relative_to(site).with_suffix('').parts)}.png", full_page=True)
        page.close()
    context.close()


def main(arguments):
    """Do what is asked for; returns the exit status."""
    build, tasks = make_book.ROOT / "_build", {"pdf": pdf, "screenshots": screenshots, "check": None}
    if len(arguments) != 1 or arguments[0] not in tasks:
        print(__doc__)
        return 2
    if problem := missing():
        print(problem, file=sys.stderr)
        return 1
    if task := tasks[arguments[0]]:
        if not (make_book.ROOT / make_book.TIMES).is_file() and make_book.main():  # a failed build leaves pages too
            return 1
        print(task(build).relative_to(make_book.ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
