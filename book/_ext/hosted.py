"""The first cell of every notebook for hosted services (Colab, Binder): it fetches what they lack.

    python book/_ext/hosted.py    put the cell into every notebook, or take it out

The cell is there only while `ticketbook_repository` in _config.yml names the repository; run this after a change of it.
"""

import sys
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[2]
TAG = "hosted"
CELL = """# For hosted notebooks: fetches what they lack. It does nothing where ticketlib is installed.
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

if not find_spec("ticketlib"):
    if not Path("ticketlib-book").is_dir():  # it is there after a restart
        subprocess.run(["git", "clone", "-q", "--depth", "1", "{address}", "ticketlib-book"], check=True)
    sys.path[:0] = ["ticketlib-book", "ticketlib-book/book"]
    for _name, _package in {packages}.items():
        if not find_spec(_name):
            subprocess.run([sys.executable, "-m", "pip", "install", "-q", _package], check=True)"""
PACKAGES = {name: name for name in ("torch", "scipy", "numba", "pyarrow", "safetensors", "tqdm", "seaborn")}
PACKAGES |= {"torchvision": "torchvision", "sklearn": "scikit-learn", "PIL": "pillow"}


def address(root=ROOT):
    """The repository's address, an empty text while there is none."""
    settings = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    return settings["sphinx"]["config"]["ticketbook_repository"]


def put(notebook, where):
    """Put the cell after the title, or take it out where the address is empty; returns the notebook."""
    notebook.cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
    if where:
        source = CELL.format(address=where, packages=PACKAGES)
        notebook.cells.insert(1, nbformat.v4.new_code_cell(source, id=TAG, metadata={"tags": [TAG, "remove-cell"]}))
    return notebook


def main():
    """Put the cell into every notebook, or take it out."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        nbformat.write(put(nbformat.read(path, as_version=4), address()), path)
    print(f"The notebooks fetch from {address()}." if address() else "The notebooks fetch nothing: no address is set.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
