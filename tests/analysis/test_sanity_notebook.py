"""`sanity_check` as a stranger uses it: a score it has never seen, in a clean notebook, in a folder of its own."""

import contextlib

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from ticketlib.experiments.ledger import Ledger

SCORER = """
import torch
import torch.nn.functional as F

def sign_agreement(model, images, labels):
    "A weight counts if halves of the batch pull it the same way."
    names = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    pulls = []
    for half in (slice(None, None, 2), slice(1, None, 2)):
        loss = F.cross_entropy(model(images[half]), labels[half])
        pulls.append(torch.autograd.grad(loss, list(names.values())))
    return {name: (a * b * p.detach() ** 2) for (name, p), a, b in zip(names.items(), *pulls)}
"""
CALL = "import ticketlib\nresult = ticketlib.sanity_check(sign_agreement, seeds=1)\nresult"
WRONG = "ticketlib.sanity_check(lambda model, images, labels: {}, name='empty')"


def carry_out(folder, *cells):
    """Run cells as a new notebook whose kernel works in a folder; returns the notebook, failed cells included."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    where = {"metadata": {"path": str(folder)}}
    with contextlib.suppress(CellExecutionError):
        NotebookClient(notebook, kernel_name="python3", resources=where, timeout=1800).execute()
    return notebook


def shown(cell, kind="text/markdown"):
    """What a cell shows of one kind, as text."""
    return "\n".join("".join(o["data"][kind]) for o in cell.outputs if kind in o.get("data", {}))


@pytest.mark.slow
def test_a_score_it_has_never_seen_in_a_clean_notebook_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETLIB_LEDGER", str(tmp_path / "rows"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    first = carry_out(elsewhere, SCORER, CALL, "result.figure();", WRONG)
    table = shown(first.cells[1])
    assert "**sign_agreement** on" in table and "2 of 6 seeds" not in table and "1 of 6 seeds" in table
    assert shown(first.cells[2], "image/png")
    ledger = Ledger(tmp_path / "rows" / "smoke" / "own")
    assert len(ledger.names()) == 12 and not list(elsewhere.iterdir())  # nothing is left where the notebook lies
    [error] = [o for o in first.cells[3].outputs if o.output_type == "error"]
    assert error.ename == "TicketError" and error.evalue.startswith("Pruner 'empty' returned no scores for ")

    again = carry_out(elsewhere, SCORER, CALL)
    assert shown(again.cells[1]).partition("**sign_agreement**")[2] == table.partition("**sign_agreement**")[2]
    assert len(ledger.names()) == 12
    assert not [o for o in again.cells[1].outputs if "runs to carry out" in str(o)]
