"""What the theme writes that a page opened from disk, or by keyboard, cannot use: put right in the finished pages."""

import re
from pathlib import Path

FAULTS = (  # (pattern, replacement): why
    # Fonts asked for ahead of the style sheet fail on file:// addresses; the style sheet asks again, and gets them.
    (re.compile(r'<link rel="preload" as="font"[^>]*>\n?'), ""),
    # Runs in the page are off; what names their script is written twice, and two constants of one name are an error.
    (re.compile(r"<script>const THEBE_JS_URL.*?</script>\n?", re.S), ""),
    (re.compile(r'<script[^>]* src="[^"]*sphinx-thebe\.js[^"]*"></script>\n?'), ""),
    # A list whose children are no list items says nothing to a screen reader.
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
)


def polish(html):
    """A finished page without the theme's faults."""
    for pattern, replacement in FAULTS:
        html = pattern.sub(replacement, html)
    return html


def polish_all(site):
    """Put every page of a site right, in place."""
    for path in Path(site).rglob("*.html"):
        found = path.read_text(encoding="utf-8")
        if (better := polish(found)) != found:
            path.write_text(better, encoding="utf-8")
