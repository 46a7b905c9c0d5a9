"""Keep-counts compared as pages show it: pairs and yardsticks by hand, place and size, rules, what is drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import CIFAR
from ticketbook import layers, probes

from ticketlib import models, ratios
from ticketlib.experiments import grids, probe

SIZES = {"conv.weight": 100, "fc.weight": 900}
CLEAN, SPOILT = {"conv.weight": 50, "fc.weight": 50}, {"conv.weight": 60, "fc.weight": 40}


def counts(first):
    return {"conv.weight": first, "fc.weight": 100 - first}


def line(method="snip", seed=0, corruption="none", counts=CLEAN, **facts):
    """One line of `probes.table`, of a made-up network of two layers."""
    values = {"network": "resnet20", "width": 16, "stem_stride": 2, "dataset": "cifar10"}
    return dict.fromkeys(probes.COLUMNS) | {
        "network": "Net", "method": method, "sparsity": "0.9", "seed": seed, "corruption": corruption,
        "fingerprint": "f", "counts": counts, "sizes": SIZES, "row": {"config": values},
    } | facts  # fmt: skip


def pairs(*lines):
    return layers.spoilt(pd.DataFrame(lines, columns=probes.COLUMNS))


SHARED = dict(overlap=0.5, chance=0.25, ceiling=0.75)
BOTH = pairs(line(counts=counts(50), second=counts(54)), line(corruption="both", counts=counts(60), **SHARED),
             line(seed=1, counts=counts(52)), line(seed=1, corruption="both", counts=counts(60)))  # fmt: skip


def test_pairs_are_of_one_seed_and_one_set_of_images():
    lines = [line(), line(seed=1, corruption="both"), line(corruption="both", fingerprint="g"), line("magnitude"),
             line("magnitude", corruption="both"), line(corruption="labels")]  # fmt: skip
    assert pairs(*lines).empty
    found = pairs(*lines, line("lt"), line("lt", corruption="both", counts=SPOILT, second=CLEAN))
    assert len(found) == 1 and found.counts[0] == CLEAN and found.counts_spoilt[0] == SPOILT
    assert found.second[0] == CLEAN  # kept beside the spoilt mask there


def test_drifts_beside_another_batch_and_another_seed():
    found = layers.drifts(BOTH).set_index("against")
    assert found.moved.to_dict() == pytest.approx(
        {"spoilt data": (0.10 + 0.08) / 2, "another batch": 0.04, "another seed": 0.02}
    )
    assert found.largest["spoilt data"] == pytest.approx(0.09) and set(found.seeds) == {2}
    times = layers.times_as_far(layers.drifts(BOTH), "another seed")
    assert times.to_list() == pytest.approx([0.09 / 0.02])
    alone = layers.drifts(pairs(line(), line(corruption="both")))
    assert list(alone.against) == ["spoilt data"] and layers.times_as_far(alone, "another seed").empty


def test_tables_of_drifts():
    [text] = layers.drift_table(BOTH).values.tolist()
    assert text[:5] == ["Net", "SNIP", "0.9", "9.0 / 4.0 / 2.0", "9.0 / 4.0 / 2.0"]
    assert text[6:] == ["first convolution, 0.51 to 0.60", 2]
    [text] = layers.drift_table(pairs(line(), line(corruption="both"))).values.tolist()
    assert text[3:6] == ["0.0 / – / –", "0.0 / – / –", "0.00 / – / –"]
    said = layers.drift_summary(layers.drifts(BOTH)).values.tolist()[0]
    assert said[:3] == ["SNIP", "9.0", "2.0"] and said[-1] == 1
    assert layers.drift_summary(layers.drifts(pairs(line(), line(corruption="both")))).values.tolist() == [
        ["SNIP", "0.0", "not run", "not run", "not run", 1]]  # fmt: skip
    assert layers.drift_table(pairs()).empty and layers.drift_summary(layers.drifts(pairs())).empty


def test_overlaps_stand_between_chance_and_two_clean_masks():
    [of] = layers.overlaps(BOTH).itertuples()  # one seed of the two has an overlap
    assert (of.overlap, of.chance, of.ceiling, of.seeds) == (0.5, 0.25, 0.75, 1)
    chance = (54 * 50 / 100 + 46 * 50 / 900) / 100
    assert of.ceiling_chance == pytest.approx(chance) and of.agreement == pytest.approx(0.75 - chance)
    assert of.left == pytest.approx(0.25 / (0.75 - chance)) and of.moved == pytest.approx(0.1)
    assert np.isnan(of.between_seeds)
    [text] = layers.overlap_table(BOTH).values.tolist()
    assert text == ["Net", "SNIP, 0.9", "0.100", "one seed", "0.500 (0.250)", "0.750 (0.296)", "55", 1]
    unknown = pairs(line(), line(corruption="both", **SHARED))  # the counts of its second mask were not kept
    assert layers.overlap_table(unknown).values.tolist()[0][-3:] == ["0.750", "–", 1]


def test_overlaps_are_drawn_a_bar_a_cell_and_a_dot_a_seed():
    ax = Figure().subplots()
    layers.draw_overlaps(ax, BOTH, "Net")
    [bar], [dots, zero] = ax.patches, ax.lines
    assert bar.get_height() == pytest.approx(layers.overlaps(BOTH).agreement[0])
    assert dots.get_ydata() == pytest.approx([0.25]) and list(zero.get_ydata()) == [0, 0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.9\nSNIP"]


def test_clean_and_spoilt_ratios_to_draw():
    [(key, arms)] = layers.spoilt_panels(BOTH).items()
    assert key == ("Net", "snip") and list(arms) == ["snip", "snip+both"]
    assert arms["snip"] == pytest.approx([0.51, 49 / 900]) and arms["snip+both"] == pytest.approx([0.6, 40 / 900])


def mask(network, kept, method="snip", sparsity="0.9", seed=0):
    """One line of `probes.table`, of a network of SHAPES whose inner convolutions keep what `kept` says."""
    values = {"network": network, "width": grids.SHAPES[network], "stem_stride": 1, "dataset": "cifar10",
              "sparsity": sparsity}  # fmt: skip
    table, places = probes.layers_of(values), iter(np.linspace(0, 1, 12))
    inner = layers.layerwise.inner(table)
    found = {x.name: round(x.size * (kept(next(places)) if x in inner else 0.5)) for x in table}
    return line(method, seed, counts=found, sizes=probes.sizes_of(values), network=probes.SHAPED[network],
                sparsity=sparsity, row={"config": values}, classifier=0.1 + 0.2 * seed, empty=seed)  # fmt: skip


FALLING, RISING, FLAT = (lambda x: 0.5 * 10**-x), (lambda x: 0.01 * 30**x), (lambda x: 0.1)
WORDS = {"place": (FALLING, FALLING), "size": (FLAT, RISING), "place and size": (FALLING, FLAT),
         "neither": (FLAT, FLAT)}  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_what_keep_ratios_follow(word):
    lines = [mask(network, kept, sparsity=s) for s in probes.PROBED
             for network, kept in zip(grids.SHAPES, WORDS[word], strict=True)]  # fmt: skip
    measured = layers.place_and_size(pd.DataFrame(lines))
    assert layers.followed(measured).word.to_dict() == {"snip": word}
    assert layers.followed_table(measured).values.tolist()[0][:2] == ["SNIP", word]
    assert layers.followed(measured[measured.network == probes.EQUAL]).empty
    assert layers.followed_table(measured[:0]).empty


def test_place_and_size_are_taken_of_mean_ratios():
    lines = [mask("vgg16_equal", FALLING), mask("vgg16_equal", lambda x: 3 * FALLING(x) if x > 0.5 else 0, seed=1)]
    [of] = layers.place_and_size(pd.DataFrame(lines)).itertuples()
    kept = np.array([FALLING(x) * (2 if x > 0.5 else 0.5) for x in np.linspace(0, 1, 12)])
    assert of.first_over_last == pytest.approx(kept[:3].mean() / kept[-3:].mean(), rel=1e-3)
    assert of.place == pytest.approx(np.corrcoef(np.log(kept), range(12))[0, 1] ** 2, rel=1e-2)
    assert np.isnan(of.size) and of.seeds == 2  # one size
    [text] = layers.place_table(layers.place_and_size(pd.DataFrame(lines[:1]))).values.tolist()
    assert text == ["equal layers", "SNIP", "100", "one size", "6.6", "1"]


def rule_mask(rule, seed=0):
    values = probe.configuration(grids.arm("laptop", "snip@0.98", seed, CIFAR, **grids.OWN_SCORES))
    found = ratios.keep_counts(grids.layers("laptop", "resnet"), rule, "0.98", family="resnet")
    return line(seed=seed, counts=found, sizes=probes.sizes_of(values), network="ResNet-20", sparsity="0.98",
                row={"config": values}, classifier=0.1 + 0.2 * seed, empty=seed)  # fmt: skip


def test_the_nearest_rule_is_the_one_that_made_the_counts():
    [of] = layers.nearest_rules(pd.DataFrame([rule_mask("igq"), rule_mask("igq", 1)])).itertuples()
    assert (of.rule, of.distance) == ("igq", 0) and of.smart > 0.1 and of.spread == 0
    assert of.classifier == pytest.approx(0.2) and (of.empty, of.seeds) == (1, 2)
    [of] = layers.nearest_rules(pd.DataFrame([rule_mask("igq"), rule_mask("smart", 1)])).itertuples()
    assert of.spread == pytest.approx(2 * of.smart)
    [text] = layers.rule_table(pd.DataFrame([rule_mask("smart")])).values.tolist()
    assert text == ["ResNet-20", "SNIP", "not run", "not run", "0.00; smart ratio 0.00", "10", "0", "1"]


def test_where_the_smart_ratio_is_not_defined_its_distance_says_so():
    found = pd.DataFrame([mask("vgg16_reversed", FLAT, sparsity="0.98")])
    assert np.isnan(layers.nearest_rules(found).smart[0])
    assert layers.rule_table(found).values.tolist()[0][4].startswith("not defined here; ")
    assert list(layers.panels(found)[probes.SHRINKING]) == ["snip"]


def test_panels_begin_with_the_smart_ratio():
    [(network, kept)] = layers.panels(pd.DataFrame([rule_mask("igq"), rule_mask("uniform", 1)])).items()
    assert network == "ResNet-20" and list(kept) == ["smart", "snip"]
    igq, uniform = (layers.mean_ratios(pd.DataFrame([rule_mask(rule)])) for rule in ("igq", "uniform"))
    assert kept["snip"] == pytest.approx((igq + uniform) / 2)


def test_rules_side_by_side():
    model = models.build("resnet8", 10, 1, width=8)
    table = layers.rule_distances({"small": model}).set_index("rule")
    assert list(table) == ["small, 0.9", "small, 0.95", "small, 0.98"] and len(table) == len(ratios.RULES) - 1
    assert table.loc["ascending", "small, 0.98"] == "not defined here"
    of = [ratios.keep_counts(model, rule, "0.9") for rule in ("uniform", "smart")]
    assert float(table.loc["uniform", "small, 0.9"]) == pytest.approx(layers.layerwise.total_variation(*of), abs=0.005)
    panels = layers.rule_panels({"small": model}, "0.98")
    assert len(panels) == 3 and "not defined here: ascending" in list(panels)[0]
    assert sorted(sum(layers.GROUPS.values(), ("smart",))) == sorted(ratios.RULES)
    assert all(next(iter(panel)) == "smart" for panel in panels.values())
