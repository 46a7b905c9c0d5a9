"""The built site: built once, complete, self-contained, with no machine's paths in it; and a build that must fail."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import toy_notebook
import yaml

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
MAX_PAGE, MAX_SITE = 300_000, 25_000_000  # bytes


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


@pytest.fixture(scope="session")
def book(root, tmp_path_factory):
    """A copy of the repository with the site built in it."""
    folder = copy_of(root, tmp_path_factory.mktemp("book"))
    for path in (root / "notebooks").glob("*.ipynb"):
        shutil.copy(path, folder / "notebooks")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The book is built. Open" in done.stdout and re.search(r"^the site +\d+\.\d s$", done.stdout, re.M)
    return folder


@pytest.fixture(scope="session")
def pages(book):
    """Every page of the site, parsed, by its path in the site."""
    site = book / "_build" / "html"
    return {str(path.relative_to(site)): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_every_page_of_the_contents_is_built(book, pages):
    contents = yaml.safe_load((book / "book" / "_toc.yml").read_text())
    files = [contents["root"], *(chapter["file"] for part in contents["parts"] for chapter in part["chapters"])]
    assert {f"{name}.html" for name in files} <= set(pages)


def test_pages_load_nothing_from_other_hosts(pages):
    foreign = {name: [x for x in page.loads if re.match(r"(https?:)?//", x)] for name, page in pages.items()}
    assert {name: found for name, found in foreign.items() if found} == {}


def test_style_sheets_load_nothing_from_other_hosts(book):
    for path in (book / "_build" / "html" / "_static").rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_links_and_what_is_loaded_exist(book, pages):
    site = (book / "_build" / "html").resolve()
    missing = []
    for name, page in pages.items():
        for address in page.loads + page.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            if not target.exists():
                missing.append((name, address))
            elif parts.fragment and target.suffix == ".html":
                anchors = pages[str(target.resolve().relative_to(site))].anchors
                missing += [(name, address)] * (unquote(parts.fragment) not in anchors)
    assert missing == []


def test_images_say_what_they_show(pages):
    assert [(name, image) for name, page in pages.items() for image in page.images if not image.get("alt")] == []


def test_nothing_is_left_unfilled(pages):
    assert [name for name, page in pages.items() if "{{" in page.text] == []


def test_no_button_leads_to_a_repository_while_none_is_named(pages):
    for page in pages.values():
        assert not [link for link in page.links if "executablebooks" in link or "colab" in link or "mybinder" in link]


def test_maths_and_its_fonts_come_with_the_site(book):
    vendor = book / "_build" / "html" / "_static" / "vendor"
    assert (vendor / "tex-mml-chtml.js").stat().st_size > 1_000_000
    assert len(list((vendor / "output" / "chtml" / "fonts" / "woff-v2").glob("*.woff"))) == 23


def test_the_site_is_light(book):
    site = book / "_build" / "html"
    assert {str(p): p.stat().st_size for p in site.rglob("*.html") if p.stat().st_size > MAX_PAGE} == {}
    assert sum(p.stat().st_size for p in site.rglob("*") if p.is_file()) < MAX_SITE


def test_executed_notebooks_are_the_sources_and_name_no_machine(root, book):
    for source in (root / "notebooks").glob("*.ipynb"):
        path = book / "book" / "claims" / source.name
        text, done = path.read_text(encoding="utf-8"), nbformat.read(path, as_version=4)
        for word in ("Traceback", str(root), str(book), os.path.expanduser("~"), os.environ["TICKETLIB_LEDGER"]):
            assert word not in text, f"{source.name} has {word!r}"
        cells = [c.source for c in done.cells if "injected-parameters" not in c.metadata.get("tags", [])]
        assert cells == [c.source for c in nbformat.read(source, as_version=4).cells]
        assert not done.metadata.papermill.exception and done.metadata.papermill.parameters


def test_bibliography_keys_are_all_cited_by_their_names(book):
    keys = re.findall(r"^@\w+\{(\w+),", (book / "book" / "references.bib").read_text(), re.M)
    assert len(set(keys)) == len(keys) and "su2020" in keys


def with_page(root, folder, code):
    """A copy whose only notebook is the toy running `code`, listed in the contents."""
    folder = copy_of(root, folder)
    toy_notebook.write(folder / "notebooks" / "01_toy.ipynb", code)
    chapters = {"caption": "Toy", "chapters": [{"file": "claims/01_toy"}]}
    contents = {"format": "jb-book", "root": "index", "parts": [chapters]}
    (folder / "book" / "_toc.yml").write_text(yaml.safe_dump(contents))
    (folder / "book" / "index.md").write_text("# Toy\n")
    return folder


def test_a_failing_notebook_stops_the_build(root, tmp_path):
    folder = with_page(root, tmp_path, "from ticketlib import errors\nraise errors.TicketError('No such thing.')")
    done = build(folder)
    assert done.returncode == 1 and "TicketError: No such thing." in done.stdout
    assert done.stdout.strip().endswith("The book was not built: 01_toy failed, as shown above.")
    assert not (folder / "_build").exists()


def test_a_warning_stops_the_build(root, tmp_path):
    folder = with_page(root, tmp_path, "nb.show_markdown('{term}`a word nobody explained`')")
    done = build(folder)
    assert done.returncode == 1 and "term not in glossary" in done.stdout
    assert done.stdout.strip().endswith("The book was not built: the site failed, as shown above.")


def test_a_page_is_executed_explained_and_leads_to_its_clean_source(root, tmp_path):
    folder = with_page(root, tmp_path, "nb.show_markdown('$x^2$\\n\\n| a | b |\\n| --- | --- |\\n| 1 | 2 |')")
    config = (folder / "_config.yml").read_text()
    address = 'ticketbook_repository: "https://github.com/owner/name"'
    (folder / "_config.yml").write_text(config.replace('ticketbook_repository: ""', address))
    done = build(folder)
    assert done.returncode == 0, done.stdout
    path = folder / "_build" / "html" / "claims" / "01_toy.html"
    html, page = path.read_text(), Page(path)
    assert "papermill notebooks/01_toy.ipynb out.ipynb -p profile laptop -p source stored" in page.text
    assert "<table" in html and "mathjax" in html and "Parameters of this page" in html
    assert "https://colab.research.google.com/github/owner/name/blob/main/notebooks/01_toy.ipynb" in page.links
    assert any("mybinder.org" in link and "notebooks/01_toy" in link for link in page.links)
    assert not [link for link in page.links if "book/claims" in link and link.startswith("http")]
