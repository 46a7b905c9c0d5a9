"""The commands that print the book and take pictures of it; what they need and lack is said in one sentence."""

import os
import subprocess
import sys

import browser as chrome
import pytest

pytestmark = pytest.mark.slow


def command(book, *words, **environment):
    """Run the command as make does."""
    program = [sys.executable, str(book / "book" / "_ext" / "browser.py"), *words]
    return subprocess.run(program, cwd="/", capture_output=True, text=True, env={**os.environ, **environment})


def test_the_whole_book_becomes_one_pdf(book):
    done = command(book, "pdf")
    assert done.returncode == 0 and done.stdout.strip().endswith("_build/book.pdf"), done.stdout + done.stderr
    found = (book / "_build" / "book.pdf").read_bytes()
    assert found.startswith(b"%PDF-") and found.rstrip().endswith(b"%%EOF")
    assert found.count(b"/Type /Page\n") > 50 and b"/Outlines" in found and b"/StructTreeRoot" in found


def test_a_picture_is_taken_of_every_page(site, chromium, tmp_path):
    for path in chrome.html_pages(site)[:2]:
        (tmp_path / "site" / path.relative_to(site)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / path.relative_to(site)).write_bytes(path.read_bytes())
    chrome.take(chrome.view(chromium, "phone", "dark"), tmp_path / "site", tmp_path / "pictures")
    pictures = list((tmp_path / "pictures").glob("*.png"))
    assert len(pictures) == 2 and all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_a_missing_browser_is_said_in_one_sentence(book):
    done = command(book, "pdf", PATH="", CHROMIUM="")
    assert done.returncode == 1 and done.stderr.strip() == chrome.HERE["chromium"] and done.stdout == ""


def test_a_wrong_word_shows_how_to_call(book):
    done = command(book, "print")
    assert done.returncode == 2 and "browser.py pdf" in done.stdout
