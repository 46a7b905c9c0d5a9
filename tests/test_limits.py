"""How far masks go: cells from rows by hand, tables and words, what the ledger and the rules give."""

import pytest
from ticketbook import limits

from ticketlib import ratios
from ticketlib.experiments import grids, session

SIZES = {"first": 100, "second": 900}


def row(first, second, effective, **facts):
    counts = {"first": first, "second": second}
    empty = [name for name, count in counts.items() if not count]
    return {"keep_counts": counts, "sizes": SIZES, "effective_sparsity": effective, "empty_layers": empty,
            "classifier_share": 0.25} | facts  # fmt: skip


def test_a_cell_is_the_mean_over_seeds():
    one, two = row(50, 50, 0.9), row(100, 0, 0.95, rearranged_effective_sparsity=0.975)
    cell = limits.from_rows([one, two])
    assert (cell.live, cell.effective) == pytest.approx((0.75, 0.925)) and (cell.empty, cell.n) == (1, 2)
    assert cell.movable == pytest.approx(((50 * 50 / 100 + 50 * 850 / 900) / 100 + 0) / 2)
    assert cell.rearranged == pytest.approx(0.25) and cell.classifier == 0.25
    assert limits.from_rows([one]).rearranged is None


CELLS = {
    ("Net", "snip", "0.9"): limits.Cell(live=1.0, effective=0.9, n=3),
    ("Net", "snip", "0.999"): limits.Cell(live=0.0, effective=1.0, empty=4, rearranged=0.5, n=3),
    ("Net", "smart", "0.9"): limits.Cell(live=0.95, effective=0.905, n=1),
    ("Net", "smart", "0.999"): limits.Cell(reason="smart keeps too much."),
    ("Net", "lt", "0.9"): None,
    ("Net", "lt", "0.999"): None,
    ("Other", "snip", "0.9"): None,
    ("Other", "snip", "0.999"): None,
}


def test_tables_say_what_was_not_run_and_what_is_not_defined():
    name, net, other, of_other = limits.table(CELLS, "kept weights that are live, %").split("\n\n")
    assert (name, other) == ("**Net**", "**Other**")
    assert of_other.endswith("| not run | not run |")
    assert net.splitlines()[0] == "| mask, by fraction removed | 0.9 | 0.999 |"
    assert net.splitlines()[2:] == ["| SNIP | 100 | 0 |", "| smart ratio | 95 | not defined here |",
                                    "| LT | not run | not run |"]  # fmt: skip
    moved = limits.table(CELLS, limits.REARRANGED, ["snip"]).split("\n\n")
    assert moved[1].splitlines()[2:] == ["| SNIP | not run | 50 |"] and len(moved) == 4
    assert limits.reasons(CELLS).splitlines()[2:] == ["| Net | smart ratio | keeps too much | 0.999 |"]


def test_a_reason_stands_once_with_the_budget_of_each_sparsity():
    cells = {("Net", rule, s): limits.Cell(reason=f"{rule} needs 9 weights; the budget is {budget}.")
             for rule in ("smart", "cubic") for s, budget in (("0.9", 5), ("0.99", 1))}  # fmt: skip
    said = limits.reasons(cells).splitlines()[2:]
    assert said == ["| Net | smart ratio, cubic | needs 9 weights | 0.9 (budget 5), 0.99 (budget 1) |"]


def test_networks_without_a_mask_are_left_out():
    assert {key[0] for key in limits.there(CELLS)} == {"Net"}
    assert limits.seeds_said(CELLS) == "Each number rests on 3 seeds; 1 for smart ratio on Net at 0.9."
    assert limits.seeds_said({("Net", "lt", "0.9"): None}) == ""


@pytest.mark.parametrize(("sound", "word"), [(0, "None does."), (1, "Few do."), (2, "Some do."), (3, "Most do.")])
def test_how_many_masks_are_sound_in_a_word(sound, word):
    cells = {(f"net {i}", "snip", "0.9"): limits.Cell(live=float(i < sound), effective=0.9, n=1) for i in range(4)}
    assert limits.verdict(cells, "0.9").startswith(f"**{word}** With 90 % removed, {sound} of 4 masks")


def test_the_answer_counts_sound_masks():
    said = limits.summary(CELLS)
    assert "| Net | 2 of 2 | 0 of 1 | SNIP 0 % |" in said and said.endswith("Not run: Other.")
    assert limits.verdict(CELLS, "0.9").startswith("**Most do.** With 90 % removed, 2 of 2 masks")
    assert limits.verdict(CELLS, "0.999").startswith("**None does.** With 99.9 % removed, 0 of 1 masks")
    assert limits.rearranged(CELLS, "0.999") == (
        "At 0.999, rearranging takes the live share of SNIP on Net from 0 to 50 %.")  # fmt: skip
    assert "\n\nThe numbers of masks differ: some rules cannot be met and some masks were not made.\n\nNot" in said
    assert "numbers of masks" not in limits.summary({key: CELLS[key] for key in list(CELLS)[:2]})
    assert limits.summary({("Net", "lt", "0.9"): None}).startswith("**Not run.**")


def test_masks_that_are_cut_and_rules_that_leave_a_layer_empty_are_said():
    cut = {("Net", "snip", "0.999"): limits.Cell(rearranged=0.0, n=3)}
    assert limits.rearranged(cut, "0.999") == "At 0.999, all masks that were rearranged are cut, before and after."
    both = limits.rearranged(CELLS | {("Net", "grasp", "0.999"): limits.Cell(rearranged=0.004, n=3)}, "0.999")
    assert both.endswith("from 0 to 50 %. The other masks that were rearranged are cut, before and after.")
    assert "is counted here" not in limits.verdict(CELLS, "0.9")
    empty = CELLS | {("Net", "ascending", "0.9"): limits.Cell(live=0.0, empty=1, n=1)}
    assert limits.verdict(empty, "0.9").endswith("is counted here; elsewhere in the book it is *not defined here*.")


def run(folder, profile="laptop", source="stored"):
    return session.NotebookRun(profile=profile, source=source, seeds=0, device="auto", data_root="", ledger=folder)


def test_the_books_rows_have_every_method_and_rule_on_the_papers_networks(tmp_path):
    cells, rows = limits.measured(run(tmp_path))
    missing = [key for key, cell in cells.items() if cell is None and key[0] in ("ResNet-32", "VGG-19")]
    assert {method for _, method, _ in missing} == {"lt"}
    undefined = {key[1:] for key, cell in cells.items() if cell and cell.reason and key[0] == "ResNet-20"}
    assert ("uniform_plus", "0.999") in undefined and rows
    synflow = cells["ResNet-32", "synflow", "0.98"]
    assert synflow.n >= 3 and synflow.live > limits.SOUND


def test_digits_are_probed_when_a_page_runs(tmp_path):
    cells, rows = limits.measured(run(tmp_path, "smoke", "run"))
    mine = {key[1:]: cell for key, cell in cells.items() if key[0] == "tiny ResNet"}
    assert {method for (method, _), cell in mine.items() if cell is None} == {"lt"}
    assert mine["synflow", "0.9"].n == 1 and mine["synflow", "0.9"].rearranged is not None
    assert all(cell is None or cell.reason for key, cell in cells.items() if key[0] == "tiny VGG")
    assert len(rows) == sum(bool(cell and cell.n) for cell in mine.values())


def test_rules_are_asked_for_by_the_networks_own_family():
    layers = grids.layers("laptop", "vgg")
    assert limits._cell(None, "laptop", "vgg", "smart", "0.9") is None  # defined, not probed
    assert ratios.keep_counts(layers, "smart", "0.9", family="vgg")
