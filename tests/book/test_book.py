"""The built site: built once, complete, self-contained, with no machine's paths in it; and a build that must fail."""

import json
import os
import re
import shutil
from urllib.parse import parse_qsl, unquote, urlsplit

import figures
import make_book
import nbformat
import nbref
import pytest
import toy_notebook
import yaml
from site_build import Page, build, copy_of, from_script

from ticketlib.experiments.ledger import KINDS, Ledger
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import PROFILES
from ticketlib.experiments.session import PARAMETERS

MAX_PAGE, MAX_SITE = 400_000, 20_000_000  # bytes
SHOW = "from ticketbook import notebook\nnotebook.show('{}')"
HOW_TO = "extend.html"  # shows how a number is written into prose
READ_BY_SCRIPTS = ("explore", "run", "ratios")  # pages whose fragment is no anchor, but what to show


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
                found = parts.fragment in anchors or unquote(parts.fragment) in anchors
                missing += [(name, address)] * (target.stem not in READ_BY_SCRIPTS and not found)
    assert missing == []


def test_images_say_what_they_show(pages):
    assert [(name, image) for name, page in pages.items() for image in page.images if not image.get("alt")] == []


def test_every_figure_of_a_chapter_has_a_caption_alternative_text_and_its_links(book):
    for path in sorted((book / "book" / "claims").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        drawn = [c for c in cells if any("image/png" in out.get("data", {}) for out in c.get("outputs", []))]
        html = (book / "_build" / "html" / "claims" / f"{path.stem}.html").read_text(encoding="utf-8")
        for cell in drawn:
            assert list(figures.problems(cell)) == [] and figures.caption_of(cell), f"{path.stem}, cell {cell.id}"
            assert f'<span id="cell-{cell.id}">' in html and f'<a href="#cell-{cell.id}">' in html
        count = len(drawn)
        assert html.count("<figure") == html.count("<figcaption") == html.count("<img") == count, path.stem
        assert html.count('class="figure-links"') == html.count("Re-run this at your scale") == count


def test_links_under_figures_name_a_page_and_a_kind_of_row(book, pages):
    found = {link.partition("#")[2] for page in pages.values() for link in page.links if "explore.html#" in link}
    assert "page=05_budget&kind=run" in found
    script = (book / "book" / "_assets" / "explore.js").read_text(encoding="utf-8")
    known = set(json.loads(re.search(r"const FILTERS = (\[.*?\]);", script)[1]))
    for filters in found:
        given = dict(parse_qsl(filters, strict_parsing=True))
        assert given["kind"] in KINDS and f"claims/{given['page']}.html" in pages, filters
        assert set(given) <= known, filters


def test_commands_under_figures_name_a_notebook_and_its_parameters(book, pages):
    for name, page in pages.items():
        for notebook, words in re.findall(r"papermill (notebooks/\S+\.ipynb) out\.ipynb((?: -p \S+ \S+)*)", page.text):
            assert (book / notebook).is_file(), name
            given = dict(zip(words.split()[1::3], words.split()[2::3], strict=True))
            assert set(given) <= set(PARAMETERS) and given.get("profile", "smoke") in PROFILES, name


def test_every_row_of_the_ledger_is_in_the_bundle_of_its_name(book):
    names = {row["name"] for profile in PROFILES for row in Ledger(book_ledger(profile)).rows()}
    bundles = {path.stem: set(from_script(path)) for path in (book / "_build" / "html" / "data" / "runs").glob("*.js")}
    assert set().union(*bundles.values()) == names
    assert all(name.startswith(prefix) for prefix, of in bundles.items() for name in of)


def test_nothing_is_left_unfilled(pages):
    of_prose = [page.text for name, page in pages.items() if name != HOW_TO]
    assert not [text for text in of_prose if "{{" in text or "IPython.core.display" in text]


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
        home = os.path.expanduser("~").rstrip("/") + "/"
        for word in ("Traceback", str(root), str(book), *[home] * (home != "/"), os.environ["TICKETLIB_LEDGER"]):
            assert word not in text, f"{source.name} has {word!r}"
        cells = [c.source for c in done.cells if "injected-parameters" not in c.metadata.get("tags", [])]
        assert cells == [c.source for c in nbformat.read(source, as_version=4).cells]
        assert not done.metadata.papermill.exception and done.metadata.papermill.parameters


def printed(cell):
    """The text of a cell's outputs, as nbval compares it: what was printed, then each value, addresses aside."""
    values = [output.data[kind] for output in cell.outputs if "data" in output
              for kind in ("text/plain", "text/markdown") if kind in output.data]  # fmt: skip
    said = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
    return [re.sub(r"0x[0-9a-fA-F]{6,}", "0xADDRESS", text) for text in (said, *values)]


@pytest.mark.parametrize("name", make_book.LIVE)
def test_pages_run_afresh_print_what_is_stored(root, book, name):
    ran = nbformat.read(book / "book" / "claims" / f"{name}.ipynb", as_version=4)
    cells = {cell.id: cell for cell in ran.cells}
    stored = [cell for cell in nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4).cells
              if nbref.TAG in nbref.tags(cell)]  # fmt: skip
    assert stored and {cell.id: printed(cells[cell.id]) for cell in stored} == {c.id: printed(c) for c in stored}


def test_what_a_page_offers_to_download_is_its_clean_notebook(book, pages):
    for source in (book / "notebooks").glob("*.ipynb"):
        name = f"_sources/claims/{source.name}"
        assert f"../{name}" in pages[f"claims/{source.stem}.html"].links
        assert (book / "_build" / "html" / name).read_bytes() == source.read_bytes()


def test_bibliography_keys_are_all_cited_by_their_names(book):
    keys = re.findall(r"^@\w+\{(\w+),", (book / "book" / "references.bib").read_text(), re.M)
    assert len(set(keys)) == len(keys) and "su2020" in keys


def with_page(root, folder, code):
    """A copy whose only notebook is the toy running `code`, listed in the contents."""
    folder = copy_of(root, folder)
    for probes in (folder / "book" / "ledger").glob("*/probes"):
        shutil.rmtree(probes)  # thousands of rows, which take long to write, and which the toy does not show
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


@pytest.fixture(scope="module")
def warned(root, tmp_path_factory):
    """A book that is built but for a warning: (its folder, how the build ended). Its repository has an address."""
    code = SHOW.format("{term}`a word nobody explained` $x^2$\\n\\n| a | b |\\n| --- | --- |\\n| 1 | 2 |")
    folder = with_page(root, tmp_path_factory.mktemp("warned"), code)
    config = (folder / "_config.yml").read_text()
    address = 'ticketbook_repository: "https://github.com/owner/name"'
    (folder / "_config.yml").write_text(config.replace('ticketbook_repository: ""', address))
    return folder, build(folder)


def test_a_warning_stops_the_build(warned):
    _, done = warned
    assert done.returncode == 1 and done.stdout.count("WARNING") == 1 and "term not in glossary" in done.stdout
    assert done.stdout.strip().endswith("The book was not built: the site failed, as shown above.")


def test_a_page_is_executed_explained_and_leads_to_its_clean_source(warned):
    path = warned[0] / "_build" / "html" / "claims" / "01_toy.html"
    html, page = path.read_text(), Page(path)
    assert "papermill notebooks/01_toy.ipynb out.ipynb -p profile laptop -p source stored" in page.text
    assert "<table" in html and "mathjax" in html and "Parameters of this page" in html
    assert "https://colab.research.google.com/github/owner/name/blob/main/notebooks/01_toy.ipynb" in page.links
    assert any("mybinder.org" in link and "notebooks/01_toy" in link for link in page.links)
    assert not [link for link in page.links if "book/claims" in link and link.startswith("http")]
