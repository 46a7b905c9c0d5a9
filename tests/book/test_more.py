"""What the page of the grids beside the protocol's says: costs and intervals by hand, seeds as the grids have them."""

import pandas as pd
import pytest
from scipy.stats import ttest_rel
from synthetic import made
from ticketbook import board, book_rows, claim_page, more
from ticketbook.numbers import Rows

from ticketlib.analysis import verdicts
from ticketlib.experiments import claims, grids, ledger
from ticketlib.experiments.config import previous_round
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import KNOWN, NO_IMAGES

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
    runs = book_rows.grid_lineage("imp")
    assert len(rounds) == 10 and len(runs) == 48 + 6 * 10 and len({one.name for one in runs}) == len(runs)
    assert len(book_rows.grid_lineage("order")) == 64


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


def rows_of(name, but=()):
    """Made-up rows of all runs of a grid, those of some seeds left out."""
    return [made(config) for config in book_rows.grid_lineage(name) if config.seed not in but]


@pytest.mark.parametrize("name", grids.MORE)
def test_every_arm_of_a_grid_is_compared_at_every_sparsity_and_rate_that_it_has(name):
    configs = [config for config in book_rows.grid_runs(name) if config.ticket != "dense"]
    found = more.comparisons(name, ledger.frame(rows_of(name)))
    compared = {(f"{arm}@{one.sparsity}", one.lr) for one in found.itertuples() for arm in (one.a, one.b)}
    assert compared == {(config.arm, config.lr) for config in configs}
    assert not found.duplicated(["a", "b", "sparsity", "lr"]).any()
    assert set(found.n) == {len({config.seed for config in configs})} and not found.word.isin(verdicts.UNREAD).any()


@pytest.mark.parametrize("name", ["order", "rates", "fair"])
def test_a_difference_is_that_of_the_grids_own_seeds(name):
    own, step1 = rows_of(name), grids.grid("step1", "laptop", KNOWN["cifar10"][0])
    found = more.comparisons(name, ledger.frame([*own, *rows_of("league"), *map(made, step1)]))
    for one in found.itertuples():
        a, b = ([row["accuracy"] for row in sorted(own, key=lambda row: row.config.seed)
                 if row["arm"] == f"{arm}@{one.sparsity}" and row.config.lr == one.lr] for arm in (one.a, one.b))
        interval = ttest_rel(a, b).confidence_interval(0.9)
        assert (one.mean, one.low, one.high) == pytest.approx((sum(a) / len(a) - sum(b) / len(b), *interval))
        assert (one.accuracy_a, one.accuracy_b) == pytest.approx((sum(a) / len(a), sum(b) / len(b)))


def test_numbers_are_shown_once_every_seed_is_there(monkeypatch):
    show = lambda rows: monkeypatch.setattr(more, "ledger_frame", lambda: ledger.frame(rows))  # noqa: E731
    show(rows_of("fair"))
    whole = lines(more.More().compared("fair"))
    assert [line[0] for line in whole][0] == "hybrid − LRR" and len(whole) == 4
    assert all(" to " in line[3] and " and " in line[4] and line[5] == "5" for line in whole)
    show(rows_of("fair", but=[82]))
    assert [line[2:] for line in lines(more.More().compared("fair"))] == [["4 of 5 seeds", "", "", "4"]] * 4
    show(rows_of("signs"))  # rows, but none of this grid
    assert "|" not in more.More().compared("fair")


def test_two_rates_are_two_tables_in_one(monkeypatch):
    monkeypatch.setattr(more, "ledger_frame", lambda: ledger.frame(rows_of("rates")))
    assert [line[2] for line in lines(more.More().compared("rates"))] == ["0.03"] * 4 + ["0.3"] * 4


def test_other_pages_read_no_run_of_these_grids():
    step1 = [made(config) for config in grids.grid("step1", "laptop", KNOWN["cifar10"][0])]
    alone, both = (ledger.frame([*step1, *more]) for more in ([], [row for name in ("league", "fair", "fair100")
                                                                   for row in rows_of(name)]))  # fmt: skip
    plan = claims.protocol()  # so that version 1's runs stand elsewhere
    tables = [board.elsewhere(frame, list(claims.CLAIMS), plan) for frame in (alone, both)]
    assert len(tables[0]) > 10 and tables[0].equals(tables[1])
    used = pd.DataFrame({"a": ["smart", "hybrid"], "b": ["snip", "lrr"]})
    names = [set(claim_page.behind(frame, plan, used).name) for frame in (alone, both)]
    assert len(names[0]) > 40 and names[0] == names[1] and len(both) > len(alone)
