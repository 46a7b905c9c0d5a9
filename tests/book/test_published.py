"""Published figures: differences within one source, none of what must not be printed, known cells by hand."""

import csv

import pytest
from ticketbook import published

from ticketlib.analysis import plots
from ticketlib.errors import TicketError
from ticketlib.experiments.claims import CLAIMS


@pytest.fixture(scope="module")
def differences():
    return published.differences()


def accuracies(name, source, **wanted):
    """Accuracies of one source straight from its file: dict (network, dataset, sparsity) -> percent."""
    with open(published.FOLDER / name, encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["source"] == source and wanted.items() <= line.items()]
    return {(line["network"], line["dataset"], line["sparsity"]): float(line["accuracy_percent"]) for line in lines}


def test_differences_are_those_of_two_rows_of_one_source(differences):
    for label, method in (("SNIP", "snip"), ("uniform", "uniform")):
        ours = differences[(differences.panel == published.ERK) & (differences.label == label)]
        erk, other = (accuracies("published_mge.csv", "mge_snn2024", method=of) for of in ("erk", method))
        assert len(ours) == len(set(erk) & set(other))
        for line in ours.itertuples():
            key = line.network, line.dataset.replace("tiny-imagenet", "tinyimagenet"), line.sparsity
            assert line.points == pytest.approx(erk[key] - other[key], abs=0.006)


def test_known_cells(differences):
    at = differences.set_index(["panel", "label", "network", "dataset", "sparsity"]).points
    assert at[published.HYBRID, "hybrid", "resnet32", "cifar10", "0.98"] == pytest.approx(90.47 - 90.78)
    assert at[published.CORRUPTED, "SNIP", "vgg19", "cifar10", "0.98"] == pytest.approx(-40.43)
    lost = differences[differences.collapsed & (differences.panel == published.HYBRID)]
    assert lost[published.CELL].to_numpy().tolist() == [["vgg19", "cifar10", "0.98"]]  # its LRR is at 10.00 %


def test_what_the_notes_say_of_erk_comes_out(differences):
    erk = differences[differences.panel == published.ERK]

    def count(label, sparsity, least):
        of = erk[(erk.label == label) & (erk.sparsity == sparsity)]
        return int((of.points >= least).sum()), len(of)

    assert count("uniform", "0.95", 1e-9) == (15, 15) and count("uniform", "0.98", 1e-9) == (13, 13)
    assert count("SNIP", "0.9", -1) == (13, 15) and count("SNIP", "0.98", -1) == (11, 12)
    assert count("GraSP", "0.9", -1) == (12, 15) and count("GraSP", "0.98", -1) == (10, 15)


def test_what_must_not_be_printed_is_in_no_difference():
    banned = published.table().query("banned")
    assert len(banned) == 5 and set(banned.source) == {"grasp2020", "comp6258"}
    assert set(banned.source) == set(published.sources().query("left_out != ''").index)
    assert "er" not in set(published.table().method) and len(published.left_out_table()) == 2
    assert not (published.differences().source.eq("comp6258") & published.differences().label.eq("SynFlow")).any()


def test_every_claim_has_its_table_and_caveats_and_no_other_has():
    for claim in CLAIMS:
        of = published.differences().query("claim == @claim")
        text = published.full_scale(claim)
        assert len(of) and all(published.sources().caveat[source][1:] in text for source in set(of.source))
    with pytest.raises(TicketError, match="Z"):
        published.full_scale("Z")


def test_every_panel_can_be_drawn_and_every_source_is_known(differences):
    drawn = published.panels()
    assert set(drawn) == {contrast.panel for contrast in published.CONTRASTS}
    assert all(plots.style(style) for of in drawn.values() for style, *_ in of)
    assert sum(len(points) for of in drawn.values() for *_, points in of) == len(differences)
    assert set(published.table().source) == set(published.sources().index)


def test_spans_count_every_cell_of_the_sparser_half():
    spans = published.span_table(published.counting(published.differences())).set_index(["difference", "method"])
    line = spans.loc[(published.CORRUPTED, "SNIP")]
    assert (line.cells, line.smallest, line["within 1 point"], line.below) == (6, "−40.43", 5, 1)
    assert (spans[["within 1 point", "above", "below"]].sum(axis=1) == spans.cells).all()


def test_the_papers_random_tickets_are_the_reproductions_minus_the_bracket():
    table = published.random_tickets()
    assert len(table) == 12 and table.iloc[9].tolist() == ["ResNet-32, CIFAR-100", "0.9", "69.70", "68.50", "−1.20"]
