"""Source notebooks: store the outputs that tests compare, and find what breaks the rules.

    python book/_ext/nbref.py refresh [NOTEBOOK ...]    run, then keep only the outputs of checked cells
    python book/_ext/nbref.py check [NOTEBOOK ...]      print what breaks a rule

A cell tagged `nbval-check-output` is run again by the tests and its output compared; no other cell stores any.
"""

import ast
import os
import re
import sys
import tempfile
from pathlib import Path

import figures
import hosted
import nbformat
from nbclient import NotebookClient

from ticketlib.experiments.session import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
TAG = "nbval-check-output"
SHOWING = {"print", "show", "provenance"}  # what a cell calls that shows text
FORBIDDEN_TAGS = {"nbval-skip", "nbval-ignore-output", "nbval-raises-exception", "raises-exception"}
MAX_CELL_LINES = 15
WORDS_PER_CODE_LINE = 10
DEFAULTS = {"profile": "smoke", "source": "run"}  # what a newcomer can run anywhere
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def tags(cell):
    """The tags of a cell, a list."""
    return cell.metadata.get("tags", [])


def code_cells(notebook):
    """The code cells of a notebook, in order, but for the one for hosted services, which hosted.py makes."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and hosted.TAG not in tags(cell)]


def canonical(notebook):
    """Keep the outputs of checked cells, counted 1, and drop all else that a run leaves; returns the notebook.

    nbval compares nothing for a cell without an execution count, and passes; so checked cells must have one.
    """
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)
        checked = TAG in tags(cell)
        cell.execution_count = 1 if checked else None
        cell.outputs = cell.outputs if checked else []
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = 1
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def refresh(path):
    """Run a notebook with its defaults and write it back in canonical form."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    nbformat.write(canonical(notebook), path)


def compared(output):
    """Whether nbval compares something in this output: text that says more than an object's name."""
    if output.output_type == "stream":
        return output.name == "stdout" and bool(output.text.strip())
    data = output.get("data", {})
    text = data.get("text/plain", "")
    return bool("text/markdown" in data or (text.strip() and not text.startswith("<")))


def prints(cell):
    """Whether a code cell shows text: it calls one of SHOWING or ends in a value, and draws no figure."""
    tree = ast.parse(cell.source)
    called = {getattr(node.func, "attr", getattr(node.func, "id", "")) for node in ast.walk(tree)
              if isinstance(node, ast.Call)}  # fmt: skip
    ends = bool(tree.body) and isinstance(tree.body[-1], ast.Expr) and not cell.source.rstrip().endswith(";")
    return not figures.caption_of(cell) and (ends or bool(SHOWING & called))


def share(notebooks):
    """How many of the cells that show text are compared with what is stored, and how many there are: two ints."""
    showing = [cell for notebook in notebooks for cell in code_cells(notebook)[2:] if prints(cell)]  # less the set-up
    return sum(TAG in tags(cell) for cell in showing), len(showing)


def sources():
    """The book's source notebooks, in order: dict from file name to notebook."""
    return {path.name: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def check_outputs(notebook):
    """Yield every cell whose stored output would be compared with nothing, or should not be stored."""
    if not any(TAG in tags(cell) for cell in code_cells(notebook)):
        yield f"no cell is tagged {TAG}"
    for cell in code_cells(notebook):
        checked = TAG in tags(cell)
        if checked and (cell.execution_count is None or not any(map(compared, cell.outputs))):
            yield f"cell {cell.id}: tagged {TAG}, but nothing is stored to compare"
        if not checked and (cell.outputs or cell.execution_count is not None):
            yield f"cell {cell.id}: not tagged {TAG}, but has stored output"
        if FORBIDDEN_TAGS & set(tags(cell)) or re.search(r"#\s*(NBVAL_|PYTEST_)", cell.source):
            yield f"cell {cell.id}: says what nbval should leave out or check; only the tag {TAG} is used"


def check_parameters(notebook):
    """Yield what is wrong with the parameters cell and the check that follows it."""
    code = code_cells(notebook)
    if [i for i, cell in enumerate(code) if "parameters" in tags(cell)] != [0]:
        yield "the first code cell, and no other, must be tagged parameters"
        return
    values = {}
    for line in ast.parse(code[0].source).body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.value, ast.Constant):
            yield f"cell {code[0].id}: every line must be like `seeds: int = 0`"
            return
        values[line.target.id] = line.value.value
    if tuple(values) != PARAMETERS:
        yield f"cell {code[0].id}: the parameters must be {', '.join(PARAMETERS)}, in this order"
    if any(values.get(name) != value for name, value in DEFAULTS.items()):
        yield f"cell {code[0].id}: the defaults must be " + ", ".join(f"{k} {v}" for k, v in DEFAULTS.items())
    if len(code) < 2 or "session.check(globals())" not in code[1].source:
        yield "the second code cell must call session.check(globals())"


def check_cells(notebook):
    """Yield cells that are too long, have no name, or do what a notebook should not."""
    ids = [cell.get("id", "") for cell in notebook.cells]
    for cell in notebook.cells:
        name = cell.get("id", "")
        if ids.count(name) > 1 or not name or re.fullmatch(r"[0-9a-f-]{8,}", name):
            yield f"cell {name!r}: needs an id of its own, given by hand"
    for cell in code_cells(notebook):
        if len(cell.source.splitlines()) > MAX_CELL_LINES:
            yield f"cell {cell.id}: longer than {MAX_CELL_LINES} lines"
        if re.search(r"^\s*[!%]", cell.source, re.M):
            yield f"cell {cell.id}: has a shell or magic line"
        if re.search(r"""["']\.{1,2}/""", cell.source):
            yield f"cell {cell.id}: has a relative path, which depends on the folder papermill is called from"


def check_figures(notebook):
    """Yield what cells that draw a figure do not say about it, so that a page could not."""
    for cell in code_cells(notebook):
        for missing in figures.problems(cell):
            yield f"cell {cell.id}: its figure needs {missing} in the cell's metadata"


def check_whole(notebook):
    """Yield what is wrong with the title, the metadata, or the balance of prose and code."""
    if not notebook.cells or not re.match(r"# \S", notebook.cells[0].source):
        yield "the first cell must be the title, `# ...`"
    if notebook.metadata != METADATA:
        yield "the metadata hold more than the kernel python3; run nbref.py refresh"
    shown = [cell for cell in code_cells(notebook)[2:] if "remove-input" not in tags(cell)]  # those print prose
    lines = [line for cell in shown for line in cell.source.splitlines()]
    code = sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    if words < WORDS_PER_CODE_LINE * code:
        yield f"{words} words beside {code} lines of code; {WORDS_PER_CODE_LINE} words a line are wanted"


def problems(notebook):
    """All that breaks a rule in a notebook, a list of sentences."""
    rules = (check_whole, check_parameters, check_cells, check_figures, check_outputs)
    return [found for rule in rules for found in rule(notebook)]


def main(arguments):
    """Refresh or check the notebooks named, or all; returns the exit status."""
    if not arguments or arguments[0] not in ("refresh", "check"):
        print(__doc__)
        return 2
    paths = [Path(name).resolve() for name in arguments[1:]] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as ledger:
        os.environ["TICKETLIB_LEDGER"] = ledger
        for path in paths if arguments[0] == "refresh" else []:
            refresh(path)
    notebooks = {path.name: nbformat.read(path, as_version=4) for path in paths}
    found = [f"{name}: {problem}" for name, notebook in notebooks.items() for problem in problems(notebook)]
    compared, showing = share(notebooks.values())
    print(*found, f"{len(paths)} notebooks, {len(found)} problems; of {showing} cells that show text {compared} are "
          "compared.", sep="\n")  # fmt: skip
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
