"""What claim pages share, on made-up rows; and the pages themselves: on digits, on no rows at all."""

import json
import re
import subprocess
import sys

import pytest
from synthetic import book, row
from ticketbook import claim_page

from ticketlib.analysis import pairs
from ticketlib.experiments import claims, grids
from ticketlib.experiments.ledger import Ledger, frame
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import NO_IMAGES
from ticketlib.experiments.session import NotebookRun

PAGES = ("00_quick_start", "01_smart_ratios", "02_data_checks", "03_architecture_checks", "04_hybrid_tickets")
PAIR = {"01": ("snip", "smart", "uniform", "snip+rearranged"), "02": ("snip", "snip+both", "snip+order=order2"),
        "03": ("snip", "snip+rearranged"), "04": ("dense", "lrr", "lrr+rearranged", "hybrid")}  # fmt: skip


def run_of(folder, profile="laptop", source="stored", seeds=0):
    return NotebookRun(profile, source, folder, seeds, "cpu", "")


def test_a_page_makes_what_the_protocol_runs_again_and_digits_at_one_sparsity():
    planned = {config.arm for config in grids.v2("laptop", NO_IMAGES)}
    assert set(claim_page.arms("laptop", ["A"])) == {
        f"{m}@{s}" for s in ("0.8", "0.9", "0.98") for m in ("snip", "snip+both", "grasp", "grasp+both", "lt")
    }
    assert set(claim_page.arms("laptop", claims.CLAIMS)) == planned - {"dense@0"}
    assert claim_page.arms("smoke", ["A"])[:2] == ["snip@0.9", "snip+both@0.9"] and "lt+both@0.9" in claim_page.arms(
        "smoke", ["A"]
    )


@pytest.mark.parametrize("changed", [{"profile": "smoke"}, {"source": "run"}, {"seeds": 3}, {"folder": "elsewhere"}])
def test_sentences_are_shown_beside_the_books_own_rows_alone(changed, tmp_path):
    assert claim_page.is_book(run_of(book_ledger("laptop")))
    folder = tmp_path if changed.pop("folder", None) else book_ledger("laptop")
    assert not claim_page.is_book(run_of(folder, **changed))


def test_differences_beside_a_claim_have_their_own_interval_at_every_sparsity_they_have():
    made = [row(f"{arm}@{s}", seed, level + by * seed) for s, level in (("0.9", 80.0), ("0.98", 70.0))
            for arm, by in (("snip", 0.0), ("snip+labels", 1.0)) for seed in (0, 1, 2)]  # fmt: skip
    runs = pairs.select(frame([*made, row("snip@0.995", 0, 60.0)]), "laptop")
    found = claim_page.beside(runs, [("snip+labels", "snip"), ("lt", "snip")])
    assert found.sparsity.to_list() == ["0.9", "0.98"] and found.n.to_list() == [3, 3]
    assert found["mean"].to_list() == [1.0, 1.0] and found.points[0].to_list() == [0.0, 1.0, 2.0]
    assert found.high[0] == pytest.approx(1 + 4.303 / 3**0.5, abs=1e-3)  # t of 2 degrees of freedom, 97.5 %
    [first, _] = claim_page.beside_table(found).to_dict("records")
    assert first["accuracies, %"] == "81.00 and 80.00" and first["removed"] == "90 %"
    assert claim_page.beside(runs, [("lt", "snip")]).empty


def test_a_difference_whose_check_did_nothing_is_not_read():
    made = [row("snip@0.9", 0, 80.0), row("snip+rearranged@0.9", 0, 81.0, control={"moved_share": 0.01})]
    found = claim_page.beside(pairs.select(frame(made), "laptop"), [("snip+rearranged", "snip")])
    assert "not read" in claim_page.beside_table(found)["points (95 % interval)"][0]


def test_a_reader_sees_the_books_numbers_beside_their_own(tmp_path):
    made = [row(f"{arm}@0.9", s, a + s / 10) for arm, a in (("snip", 80.0), ("snip+both", 81.0)) for s in range(10)]
    for one in made:
        Ledger(tmp_path).add(one)
    from ticketlib.analysis import verdicts

    _, comparisons = verdicts.board(frame(made), claims.EXPLORATORY)
    shown = claim_page.beside_book(comparisons[comparisons.claim == "A"]).set_index(["difference", "removed"])
    assert shown.loc[("SNIP on corrupted data − SNIP", "90 %"), "n"] == 10
    assert shown.loc[("SNIP on corrupted data − SNIP", "90 %"), claim_page.BOOK].startswith("same, +0.10")


def test_accuracy_over_what_was_spent_has_no_interval_of_two_seeds():
    made = [row("smart@0.9", s, 80.0 + s) for s in range(3)] + [row("lrr@0.9", s, 85.0 + s) for s in range(2)]
    runs = frame(made)
    found = claim_page.curves(runs.assign(spent=runs.ticket.map({"smart": 20.0, "lrr": 35.0})), "spent")
    assert found["smart"][20.0][0] == [80.0, 81.0, 82.0] and found["smart"][20.0][1].low is not None
    assert found["lrr"][35.0][1].point == 85.5 and found["lrr"][35.0][1].low is None


def test_all_runs_behind_a_page_are_named_but_for_pilots_and_those_that_no_board_reads_yet():
    fixed, shown = claims.protocol(), claims.EXPLORATORY
    made = [row("snip@0.9", 0, 80.0), row("dense", 0, 90.0), row("smart@0.9", 0, 80.0),
            row("snip@0.9", 1000, 80.0, changes={"recipe": 0, "held_out": 5000}),
            row("snip@0.9", fixed.seeds[0], 80.0, changes={"epochs": fixed.epochs})]  # fmt: skip
    table = claim_page.beside(pairs.select(frame(made), "laptop"), [("snip", "snip")])
    seeds = [claim_page.behind(frame(made), plan, table).query("ticket == 'snip'").seed for plan in (shown, fixed)]
    assert [sorted(of) for of in seeds] == [[0], [0, fixed.seeds[0]]]
    assert sorted(claim_page.behind(frame(made), shown, table).arm) == ["dense@0", "snip@0.9"]


def executed(root, name, folder, **parameters):
    """The cells of a page run by papermill, by id, and the ledger that it filled."""
    given = [word for what, value in parameters.items() for word in ("-p", what, str(value))]
    out = folder / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(root / "notebooks" / out.name), str(out), *given]
    done = subprocess.run([*command, "-k", "python3", "--no-progress-bar"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {cell["id"]: cell for cell in json.loads(out.read_text(encoding="utf-8"))["cells"]}


def printed(cell):
    return "".join("".join(out.get("text", "")) for out in cell["outputs"] if out.get("name") == "stdout")


def markdown(cells):
    outputs = [out for cell in cells.values() for out in cell.get("outputs", ())]
    return "\n".join("".join(out.get("data", {}).get("text/markdown", "")) for out in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES[1:])
def test_the_check_in_sight_is_the_one_that_the_library_carries_out(root, page, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the library's runs
    monkeypatch.setenv("TICKETLIB_LEDGER", str(tmp_path / "made"))
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    cells = executed(root, page, tmp_path, profile="smoke", source="run", seeds=1)
    from ticketlib import data
    from ticketlib.experiments.run import execute

    said = [float(number) for number in re.findall(r"(\d+\.\d\d) %", printed(cells["sight-train"]))]
    digits = data.load("digits")
    for arm, accuracy in zip(PAIR[page[:2]], said, strict=True):
        config = grids.arm("smoke", arm if arm == "dense" else f"{arm}@0.9", 0, digits)
        assert round(execute(config, digits, progress=False, cache=tmp_path / "cache")["accuracy"], 2) == accuracy, arm


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_rows_runs_to_its_end_and_says_so(root, page, tmp_path):
    (tmp_path / "none").mkdir()
    cells = executed(root, page, tmp_path, profile="laptop", source="stored", ledger=tmp_path / "none")
    assert "nan" not in markdown(cells) and (page == PAGES[0] or "not run" in markdown(cells))


@pytest.mark.slow
def test_every_row_of_the_claims_has_a_place_on_a_page(root, tmp_path):
    made = [one for one in book(("step1", "step2", "step3", "step4", "step6")) if one.config.ticket != "imp"]
    ledger = tmp_path / "made"
    for one in made:
        Ledger(ledger).add(one)
    given = {"profile": "laptop", "source": "stored", "ledger": ledger}
    pages = {name: executed(root, name, tmp_path, **given) for name in PAGES[1:]}
    named = set(re.findall(r"\b[0-9a-f]{16}\b", "\n".join(map(markdown, pages.values()))))
    assert set(Ledger(ledger).names()) <= named
    for cells in pages.values():  # other rows than the book's: their words beside the book's
        assert claim_page.BOOK in markdown({"finding": cells["finding"]})
