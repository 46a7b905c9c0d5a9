"""What a page opened from disk, by keyboard or on a phone could not use is put right in the finished pages."""

import re
import struct
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
FIGURE = re.compile(r'(<figure class=")([^"]*"[^>]*>\s*)(<img [^>]*src="([^"]+\.png)"[^>]*>)')
NARROW = 620  # pixels; a wider figure keeps its letters on a phone and is moved sideways (interactive.css)


def polish(html):
    """A finished page without the theme's faults."""
    for pattern, replacement in FAULTS:
        html = pattern.sub(replacement, html)
    return html


def mark_wide(html, folder):
    """A finished page whose wide figures say so on a phone, and are shown in full size when they are pressed.

    Arguments: html; folder, where the page lies, from which the addresses of its images are read.
    """
    def marked(found):
        before, inside, image, address = found.groups()
        if png_width(folder / address) <= NARROW:
            return found[0]
        return f'{before}wide {inside}<a class="full-size" title="Show it in full size" href="{address}">{image}</a>'

    return FIGURE.sub(marked, html)


def png_width(path):
    """The width of a PNG file in pixels, from its header."""
    with open(path, "rb") as file:
        return struct.unpack(">I", file.read(20)[16:])[0]


def polish_all(site):
    """Put every page of a site right, in place."""
    for path in Path(site).rglob("*.html"):
        found = path.read_text(encoding="utf-8")
        if (better := mark_wide(polish(found), path.parent)) != found:
            path.write_text(better, encoding="utf-8")
