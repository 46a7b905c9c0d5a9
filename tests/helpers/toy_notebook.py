"""A small notebook that keeps every rule, for the tests of the build."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

WORDS = "The words of this page say what is done, why it is done, and what would change the answer. " * 3
PARAMETERS = '''profile: str = "smoke"  # smoke, laptop or paper
source: str = "run"  # stored or run
ledger: str = ""  # folder of rows
seeds: int = 0  # how many
device: str = "auto"  # auto, cpu or cuda
data_root: str = ""  # where image data lie'''
CHECK = "from ticketlib.experiments import session\n\nrun = session.check(globals())"


def toy(code="print(1 + 1)"):
    """A notebook of four cells; the last one, checked by nbval, runs `code` and is stored as if it printed 2."""
    stored = [nbformat.v4.new_output("stream", name="stdout", text="2\n")]
    checked = {"tags": ["nbval-check-output"]}
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    cells = [
        new_markdown_cell(f"# A toy page\n\n{WORDS}", id="title"),
        new_code_cell(PARAMETERS, id="given", metadata={"tags": ["parameters"]}),
        new_code_cell(CHECK, id="check", metadata={"tags": ["remove-input"]}),
        new_code_cell(code, id="sum", metadata=checked, outputs=stored, execution_count=1),
    ]
    return new_notebook(cells=cells, metadata=metadata)


def write(path, code="print(1 + 1)"):
    """Write the toy notebook to a file and return its path."""
    nbformat.write(toy(code), path)
    return path
