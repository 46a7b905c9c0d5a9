"""Published accuracies: differences against numbers known beforehand, and rows that must not be printed."""

import csv

import pytest
from ticketbook import published
from ticketbook.claims_1 import CLAIMS
from ticketbook.published import AGAIN, CONTRASTS, CORRUPTED, HYBRID, ITERATED, MOVED, UNIFORM
from ticketbook.sources import SOURCES

from ticketlib.analysis import plots
from ticketlib.errors import TicketError


def points(panel, source=None, least=0.0):
    """Every difference of a panel: dict (label, network, dataset, sparsity) -> points."""
    return {
        (contrast.label, cell.network, cell.dataset, cell.sparsity): cell.points
        for contrast in CONTRASTS
        if contrast.panel == panel and source in (None, contrast.source)
        for cell in published.cells(contrast)
        if float(cell.sparsity) >= least
    }


def test_the_books_table_has_every_row_and_the_five_that_are_banned_are_in_no_cell():
    with open(published.TABLE, encoding="utf-8", newline="") as file:
        whole = list(csv.DictReader(file))
    banned = [row for of in published.left_out().values() for row in of]
    assert len(whole) == 429 and len(published.rows()) == 424 and len(banned) == 5
    assert {(row["source"], row["method"]) for row in banned} == {("comp6258", "synflow"), ("grasp2020", "snip")}
    shown = "\n".join([published.full_scale(claim) for claim in CLAIMS] + [published.summary()])
    shown += published.left_out_list() + published.source_list()
    assert published.left_out_list().splitlines() == [
        "- Wang et al. 2020, SNIP on ResNet-32, at 0.9: quoted at second hand; the origin could not be found.",
        "- COMP6258 student re-run, SynFlow on VGG-16, at 4 sparsities: its code takes the number as the share to "
        "*keep*, so the labels are wrong.",
    ]
    assert "92.59" not in shown and "SynFlow: rearranged" not in shown
    assert not [c for c in CONTRASTS if c.source == "comp6258" and "synflow" in (c.a[0], c.b[0])]


def test_every_row_has_a_known_source_network_and_data_set():
    for row in published.rows():
        assert row["source"] in SOURCES
    for contrast in CONTRASTS:
        assert contrast.claim in ("", *CLAIMS) and plots.style(contrast.style) and published.cells(contrast)
        assert {cell.network for cell in published.cells(contrast)} <= set(published.NETWORKS)
        assert {cell.dataset for cell in published.cells(contrast)} <= set(published.NUM_CLASSES)


def test_hybrid_wins_three_of_twelve_cells_all_at_the_sparse_end():
    found = points(HYBRID)
    won = {key[1:]: value for key, value in found.items() if value > 0}
    assert len(found) == 12 and {key[2] for key in won} == {"0.98"}
    assert won == {("vgg19", "cifar10", "0.98"): 82.93, ("vgg19", "cifar100", "0.98"): 13.0,
                   ("resnet32", "cifar100", "0.98"): 1.31}  # fmt: skip


def test_grasp_hardly_moves_in_thirty_six_comparisons():
    found = points(CORRUPTED, "epfl_grasp") | {("moved", *key): v for key, v in points(MOVED, "epfl_grasp").items()}
    assert len(found) == 36
    assert max(found, key=lambda key: abs(found[key])) == ("GraSP", "resnet32", "cifar100", "0.98")
    assert max(map(abs, found.values())) == 0.77


def test_snip_has_one_cell_that_stands_out():
    found = sorted(abs(v) for panel in (CORRUPTED, MOVED) for v in points(panel, "epfl_snip").values())
    assert found[-2:] == [1.15, 40.43]
    assert points(CORRUPTED)["SNIP", "vgg19", "cifar10", "0.98"] == -40.43


def test_iterative_pruning_gains_over_one_shot():
    found = points(ITERATED)
    gains = [round(found["LRR", net, data, "0.8926"], 1) for net, data in
             (("resnet20", "cifar10"), ("resnet56", "cifar10"), ("resnet50", "imagenet"))]  # fmt: skip
    assert gains == [1.7, 1.1, 1.7] and min(found.values()) > 0


def test_what_the_page_says_in_words():
    corrupted, moved = points(CORRUPTED), points(MOVED)
    assert [key for key, value in corrupted.items() if abs(value) > 2] == [("SNIP", "vgg19", "cifar10", "0.98")]
    assert max(map(abs, moved.values())) < 2
    assert max(v for v in points(AGAIN, "renda2020").values()) < -1
    for panel in (UNIFORM, HYBRID):
        cells = [cell for c in CONTRASTS if c.panel == panel for cell in published.cells(c)]
        assert max(cells, key=lambda cell: cell.points).collapsed
    assert {row["n_runs"] for row in published.rows() if row["source"].startswith("epfl")} == {"1"}
    checked = {row["method"] for row in published.rows() if row["check"] != "none"}
    assert checked == {"snip", "grasp", "magnitude_at_init", "weight_rewinding"}  # no LT among them


def test_brackets_are_the_ones_that_the_reproduction_prints():
    notes = {float(row["note"].split("bracket in README ")[1]) for row in published.rows()
             if row["source"] == "epfl_random"}  # fmt: skip
    head, lines = published.random_tickets()
    assert len(lines) == 12 and {float(line[-1].replace("−", "-")) for line in lines} == notes
    assert lines[0] == ["VGG-19, CIFAR-10", "0.9", "93.77", "93.65", "−0.12"]


def test_panels_hold_every_difference():
    drawn = sum(len(points) for of in published.panels().values() for *_, points in of)
    assert drawn == sum(len(published.cells(contrast)) for contrast in CONTRASTS)


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_has_its_full_scale_table(claim):
    text = published.full_scale(claim)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) > 3 and "Differences within one source" in text and published.SILENT[claim] in text
    assert (published.DAGGER in text) == any("†" in line for line in lines)


def test_the_summary_says_how_many_of_the_files_accuracies_are_read():
    assert f"holds {len(published.rows())} accuracies" in published.summary()
    assert f"; {sum(published.used().values())} are read here." in published.summary()


def test_a_claim_or_a_panel_that_is_not_known():
    with pytest.raises(TicketError, match="'E'"):
        published.full_scale("E")
    with pytest.raises(TicketError, match="sideways"):
        published.span("sideways")
    with pytest.raises(TicketError, match="digits"):
        published.span(HYBRID, dataset="digits")


def test_a_span_in_words():
    assert published.span(HYBRID) == (
        "hybrid − LRR: −2.13 to +82.93 points, 7 of 12 within ±1; beside a collapsed network: 1"
    )
    assert published.span(CORRUPTED, dataset="cifar100") == (
        "corrupted data − clean data (CIFAR-100): −0.77 to +0.20 points, 6 of 6 within ±1"
    )


def test_rows_read_are_counted():
    found = published.used()
    assert set(found) == set(SOURCES) and found["epfl_random"] == found["su2020"] == 12
    assert found["granet2021"] == found["lottery_jackpots"] == 0 and found["epfl_partial"] == 24


def test_two_rows_for_one_cell_are_refused(monkeypatch):
    row = published.rows()[0]
    monkeypatch.setattr(published, "_table", lambda: (row, row))
    contrast = CONTRASTS[0]._replace(source=row["source"], a=(row["method"], row["check"], row["rounds"]))
    with pytest.raises(TicketError, match="two rows"):
        published.cells(contrast)


def test_density_is_what_is_left_and_full_scale_tables_start_at_ninety_per_cent():
    [(_, _, density, points)] = published.panels()[HYBRID]
    assert set(density) == {10.0, 5.0, 2.0} and points[density.index(2.0)] == 82.93
    line = published.full_scale("D2").splitlines()[2]
    assert line.count("†") == 1 and "+82.93† (0.98)" in line
    assert "(0.9)" in published.full_scale("A") and "(0.8)" not in published.full_scale("A")
