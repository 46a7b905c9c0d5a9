"""What the page of the grids beside the protocol's says: costs and intervals by hand, seeds as the grids have them."""

import pytest
from ticketbook import more
from ticketbook.numbers import Rows

from ticketlib.experiments import grids
from ticketlib.experiments.config import previous_round
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import NO_IMAGES

PAGE = (ROOT / "book" / "more.md").read_text(encoding="utf-8")


def lines(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_hours_are_images_over_speed_and_the_dense_engine_is_as_fast_at_any_sparsity():
    sparse, dense = (grids.arm("laptop", "smart@0.9", 0, NO_IMAGES, engine=engine) for engine in ("sparse", "dense"))
    lrr = grids.arm("laptop", "lrr@0.9", 0, NO_IMAGES)
    speeds = {("resnet20", "sparse", "0.9"): 1000.0, ("resnet20", "dense", "0"): 500.0}
    assert more.core_hours([sparse], speeds) == pytest.approx(20 * 50_000 / 1000 / 3600)
    assert more.core_hours([dense, lrr], speeds) == pytest.approx((20 / 500 + 15 / 1000) * 50_000 / 3600)
    assert more.core_hours([grids.arm("laptop", "smart@0.98", 0, NO_IMAGES)], speeds) is None


def test_what_others_start_from_is_counted_once():
    rounds, sparsity = [], "0.9"
    while (sparsity := previous_round(sparsity)) != "0":
        rounds.append(sparsity)
    runs = more.runs_of("imp")
    assert len(rounds) == 10 and len(runs) == 48 + 6 * 10 and len({one.name for one in runs}) == len(runs)
    assert len(more.runs_of("order")) == 64


def test_the_table_has_a_line_a_grid_and_their_sum():
    found = lines(more.table())
    assert [line[0].split("`")[1] for line in found[:-1]] == list(grids.MORE) and found[-1][0] == "all"
    assert sum(int(line[2]) for line in found[:-1]) == int(found[-1][2])
    assert sum(float(line[4]) for line in found[:-1]) == pytest.approx(float(found[-1][4]), abs=0.4)
    assert found[0][1] == "30 to 34" and found[0][5] == "±0.48"


@pytest.mark.parametrize("name", grids.MORE)
def test_the_page_says_the_seeds_of_every_grid(name):
    seeds = sorted({one.seed for one in grids.grid(name, "laptop", NO_IMAGES)})
    section = PAGE.partition(f"`{name}`")[2].partition("\n## ")[0]
    assert f"seeds {seeds[0]} to {seeds[-1]}" in section.replace("\n", " ")


def test_differences_that_the_page_rests_on_hold():
    assert Rows().difference("snip+rearranged@0.98", "snip@0.98", above=0).startswith("+0.4")
    assert Rows().difference("smart@0.98", "snip+rearranged@0.98", below=-1).startswith("−2.")
    assert lines(more.trial())[0] == ["SNIP", "66.2", "66.2"]
