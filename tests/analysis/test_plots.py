"""Figures: what is drawn is what was given, in the styles of the one table."""
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import imread

from ticketlib.analysis import plots
from ticketlib.analysis.stats import Estimate
from ticketlib.errors import TicketError
from ticketlib.experiments.claims import CLAIMS

SEEDS = [-0.4, 0.1, 0.6]
CELL = SEEDS, Estimate(0.1, -0.9, 1.1, 3, 0.5, 0.95)
ONE = [0.3], Estimate(0.3, None, None, 1, None, 0.95)
NONE = [], Estimate(None, None, None, 0, None, 0.95)


@pytest.fixture
def ax():
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("error")
        plots.set_style()
        figure, axes = plt.subplots()
        yield axes
        figure.canvas.draw()  # whatever was asked for can be drawn
        plt.close(figure)


def compared(**cells):
    """Comparisons as verdicts.board gives them: a line a key and sparsity, of cells as CELL is one."""
    return pd.DataFrame(
        [(key, sparsity, points, of.point, of.low, of.high, of.n)
         for key, at in cells.items() for sparsity, (points, of) in at.items()],
        columns=["key", "sparsity", "points", "mean", "low", "high", "n"],
    )  # fmt: skip


def lines(ax, marker):
    return [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata())]


def intervals(ax):
    return [line for line in ax.lines if line.get_linewidth() == 1.5]


def test_every_method_has_a_look_of_its_own():
    looks = [style[1:] for style in plots.STYLE.values()]
    assert len(set(looks)) == len(looks) and len({style.label for style in plots.STYLE.values()}) == len(looks)
    methods = {"dense", "snip", "grasp", "synflow", "magnitude", "lt", "smart", "uniform", "erk", "er", "igq"}
    methods |= {"balanced", "pyramidal", "uniform_plus", "linear", "cubic", "ascending", "lrr", "omp", "hybrid", "imp"}
    assert methods < set(plots.STYLE)


@pytest.mark.parametrize("colour", sorted({style.colour for style in plots.STYLE.values()}))
def test_every_colour_can_be_seen_on_white(colour):
    parts = np.array(to_rgb(colour))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05) >= 3  # the contrast that WCAG asks of graphics


@pytest.mark.parametrize("together", [
    ("dense", "snip", "grasp", "lt", "smart", "uniform", "erk"),
    ("dense", "lt", "lrr", "omp", "hybrid", "imp", "smart"),
    ("as found", "rearranged", "shuffled", "reinitialised", "corrupted"),
])
def test_methods_shown_together_differ_in_colour_and_marker(together):
    assert len({plots.STYLE[key].colour for key in together}) == len(together)
    assert len({plots.STYLE[key].marker for key in together}) >= len(together) - 1


def test_every_comparison_of_the_claims_has_a_style():
    for claim in CLAIMS.values():
        for comparison in claim.comparisons:
            assert all(plots.style(name).label for name in (comparison.key, comparison.a, comparison.b))


def test_style_of_an_arm():
    arm, ticket, check = plots.style("lt+rearranged@0.90"), plots.STYLE["lt"], plots.STYLE["rearranged"]
    assert arm == plots.Style("LT, rearranged", ticket.colour, ticket.marker, check.linestyle)
    assert plots.style("lt+linear=global@0.98").label == "LT, linear=global"
    for key in ("mine", "lt+scrambled"):
        with pytest.raises(TicketError, match="own"):
            plots.style(key)


def test_figures_are_opaque_white_and_readable(tmp_path):
    with matplotlib.rc_context():
        plots.set_style()
        figure, axes = plt.subplots()
        assert tuple(figure.get_size_inches()) == (6.4, 4.0)
        assert min(matplotlib.rcParams[f"{axis}tick.labelsize"] for axis in "xy") >= 10
        figure.savefig(tmp_path / "figure.png")
        plt.close(figure)
    image = imread(tmp_path / "figure.png")
    assert image[0, 0, :3].tolist() == [1, 1, 1] and (image.shape[2] == 3 or (image[:, :, 3] == 1).all())


def test_differences_draw_every_seed_interval_and_margin(ax):
    cells = compared(snip={"0.90": CELL, "0.98": CELL}, lt={"0.9": CELL, "0.98": CELL})
    assert plots.differences(ax, cells, margin=1.0) is ax
    dots, marks = lines(ax, "."), lines(ax, "o")
    assert [line.get_ydata().tolist() for line in dots] == [SEEDS] * 4 and len(intervals(ax)) == 4
    assert [line.get_ydata().tolist() for line in intervals(ax)] == [[-0.9, 1.1]] * 4
    assert len(marks) == 2 and {to_hex(mark.get_color()) for mark in marks} == {plots.STYLE["snip"].colour}
    assert len(ax.patches) == 1 and ax.get_legend_handles_labels()[1] == ["margin, ±1 point", "SNIP", "LT"]
    assert ax.get_xscale() == "log" and ax.xaxis_inverted()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["90", "98"]


def test_differences_of_few_seeds_have_no_interval(ax):
    plots.differences(ax, compared(hybrid={"0.90": ONE, "0.98": NONE}))
    assert intervals(ax) == [] and len(lines(ax, ".")) == len(lines(ax, "h")) == 1 and not ax.patches


def test_differences_without_cells_are_an_empty_figure(ax):
    assert plots.differences(ax, compared(), margin=1.0) is ax and not lines(ax, ".")


def test_a_panel_of_fewer_sparsities_hides_no_point_of_those_that_share_its_axis():
    figure, (first, second, third) = plt.subplots(1, 3, sharex=True)
    plots.differences(first, compared(snip={"0.9": CELL, "0.98": CELL, "0.995": CELL}))
    plots.differences(second, compared(snip={"0.98": CELL}))
    plots.differences(third, compared())
    for panel in (first, second, third):
        left, right = panel.get_xlim()
        assert left > 10 > 0.5 > right and panel.get_xticks().tolist() == [10, 2, 0.5]
    plt.close(figure)


def test_arms_with_a_check_are_hollow(ax):
    plots.curves(ax, {"lt": {5: CELL}, "lt+rearranged": {5: CELL}})
    assert [mark.get_markerfacecolor() for mark in lines(ax, "s")] == [plots.STYLE["lt"].colour, "white"]


@pytest.mark.parametrize("draw", [lambda ax, cells: plots.differences(ax, compared(**cells)), plots.curves])
def test_every_point_is_in_view(ax, draw):
    draw(ax, {"lt": {0.9: CELL, 0.98: CELL}, "smart": {0.9: ([9.0], ONE[1])}, "erk": {0.98: ([-9.0], ONE[1])}})
    low, high = ax.get_ylim()
    assert low < -9 and high > 9
    left, right = sorted(ax.get_xlim())
    assert all(left < x < right for line in lines(ax, ".") for x in line.get_xdata())


def test_curves_join_the_estimates_in_order(ax):
    assert plots.curves(ax, {"smart": {20: CELL, 5: ONE, 10: NONE}}, xlabel="total epochs") is ax
    joined = ax.lines[0]
    assert list(joined.get_xdata()) == [5, 20] and list(joined.get_ydata()) == [0.3, 0.1]
    assert list(ax.get_xticks()) == [5, 10, 20]
    assert len(intervals(ax)) == 1 and ax.get_xlabel() == "total epochs"
    assert to_hex(joined.get_color()) == plots.STYLE["smart"].colour


def test_keep_ratios_show_empty_layers(ax):
    assert plots.keep_ratios(ax, {"smart": [1.0, 0.5, 0.1], "ascending": [0.1, 0.0, 1.0]}, 3) is ax
    crosses = lines(ax, "x")
    assert [cross.get_xdata().tolist() for cross in crosses] == [[2]] and ax.get_yscale() == "log"
    assert lines(ax, "*")[0].get_ydata().tolist() == [1.0, 0.5, 0.1]
    plots.legend(ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["smart ratio", "ascending"]


def test_keep_ratios_thin_out_numbers_of_deep_networks(ax):
    plots.keep_ratios(ax, {"erk": np.full(34, 0.1)}, 34)
    assert list(ax.get_xticks()) == [1, 5, 10, 15, 20, 25, 30]


def test_keep_ratios_need_one_a_layer(ax):
    with pytest.raises(TicketError, match="2 keep-ratios for 3 layers"):
        plots.keep_ratios(ax, {"erk": [0.1, 0.2]}, 3)


def test_mask_picture(ax):
    mask = np.array([[True, False, True], [False, False, True]])
    assert plots.mask_picture(ax, mask) is ax
    assert ax.collections[0].get_array().astype(bool).tolist() == mask.tolist() and ax.yaxis_inverted()


@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.ones((2, 2))])
def test_mask_picture_wants_a_table_of_bools(ax, mask):
    with pytest.raises(TicketError):
        plots.mask_picture(ax, mask)
