"""Build a copy of the book, as `make book` does, and read its pages."""

import base64
import gzip
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


class Page(HTMLParser):
    """What a page loads, where it links to, its anchors and its images."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.anchors, self.images, self.text = [], [], {""}, [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found.get("id", ""), found.get("name", "")}
        if tag in LOADING and "next" not in found.get("rel", "") and "prev" not in found.get("rel", ""):
            self.loads.append(found.get(LOADING[tag]) or "")
        if tag == "a":
            self.links.append(found.get("href") or "")
        if tag == "img":
            self.images.append(found)

    def handle_data(self, data):
        self.text += data


def copy_of(root, folder):
    """Copy what the build needs, so that a build here and one by hand do not meet."""
    shutil.copytree(root / "book", folder / "book", ignore=shutil.ignore_patterns("claims", "__pycache__"))
    (folder / "notebooks").mkdir()
    shutil.copy(root / "_config.yml", folder)
    return folder


def build(folder):
    """Run the build of a copy as `make book` does."""
    program = [sys.executable, str(folder / "book" / "_ext" / "make_book.py")]
    return subprocess.run(program, cwd="/", capture_output=True, text=True)


def value_of(script):
    """The value that a data script of the site sets, whether as JSON or as base64 of gzipped JSON."""
    value = json.loads(script.split("=", 2)[2].removesuffix(";\n"))
    return json.loads(gzip.decompress(base64.b64decode(value))) if isinstance(value, str) else value


def from_script(path):
    """The value that the data script of a file sets."""
    return value_of(path.read_text(encoding="utf-8"))
