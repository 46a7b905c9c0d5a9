"""Place or size: what a line tells, by hand; the rule behind the word; what is read from the ledger."""

import numpy as np
import pytest
from ticketbook import shapes

from ticketlib import ratios
from ticketlib.experiments import places
from ticketlib.experiments.grids import PROBED, SHAPES
from ticketlib.experiments.ledger import Ledger, Row, name_of

LAYERS = [ratios.Layer(f"{i}", (size,), size, False) for i, size in enumerate((10, 40, 10, 40, 10))]


def test_what_a_line_tells():
    place, size = shapes.by_place_and_size(LAYERS, [0.16, 0.08, 0.04, 0.02, 0.01])
    assert place == pytest.approx(1) and size == pytest.approx(0, abs=1e-12)
    place, size = shapes.by_place_and_size(LAYERS, [0.4, 0.1, 0.4, 0.1, 0.4])
    assert place == pytest.approx(0, abs=1e-12) and size == pytest.approx(1)
    assert np.isnan(shapes.told([0.1, 0.2], [5, 5])) and np.isnan(shapes.told([0.1, 0.1], [1, 2]))
    assert shapes.told([0.1, 0.0, 0.4], [1, 2, 3]) == pytest.approx(1)  # an empty layer has no logarithm


def test_fall_is_the_first_layers_over_the_last():
    assert shapes.fall([0.4, 0.4, 0.4, 0.9, 0.1, 0.1, 0.1]) == pytest.approx(4)
    assert shapes.fall([0.4, 0.4, 0.4, 0, 0, 0]) == float("inf")


def probe(network, ticket, sparsity, kept, seed=0):
    """A probe row of a network of SHAPES whose inner convolutions keep what `kept` says of each place, from 0 to 1."""
    config = {"network": network, "width": SHAPES[network], "stem_stride": 1, "dataset": "cifar10", "ticket": ticket,
              "sparsity": sparsity, "seed": seed, "corruption": "none", "linear": "own", "variant": "default",
              "min_per_layer": 0, "probe": "mask", "recipe": 1}  # fmt: skip
    model = shapes.shares.network_of({"config": config})
    places = iter(np.linspace(0, 1, 12))
    counts = {x.name: round(x.size * (kept(next(places)) if x in shapes.inner(model) else 0.5))
              for x in ratios.layers(model)}  # fmt: skip
    facts = {"keep_counts": counts, "empty_layers": [], "classifier_share": 0.1, "device": "cpu: synthetic"}
    return Row(kind="probe", name=name_of(config), config=config, arm=f"{ticket}@{sparsity}", **facts)


WORDS = {  # keep-ratios over equal layers, and over shrinking ones -> the word
    "place": (lambda x: 0.5 * 10**-x, lambda x: 0.5 * 10**-x),
    "size": (lambda x: 0.1, lambda x: 0.01 * 30**x),
    "both": (lambda x: 0.5 * 10**-x, lambda x: 0.1),
    "neither": (lambda x: 0.1, lambda x: 0.1),
}


@pytest.mark.parametrize("word", WORDS)
def test_the_word_follows_by_rule(word):
    rows = [probe(network, "snip", s, kept) for network, kept in zip(SHAPES, WORDS[word], strict=True) for s in PROBED]
    found = shapes.found_in(rows)
    assert shapes.follows(found, "snip")[0] == word and shapes.follows(found, "grasp") is None
    said = shapes.answer(found)
    assert said.startswith({"place": "**Yes.**", "both": "**In part.**"}.get(word, "**No.**"))
    assert f"| SNIP | {'place and size' if word == 'both' else word} |" in said
    assert "| equal layers | SNIP |" in shapes.table(found) and "one size, one size" not in shapes.table(found)
    assert "| ResNet-32 | SNIP | not run | not run | not run | 0 |" in shapes.table(found)


def test_methods_that_differ_are_no_yes():
    rows = [probe(network, ticket, s, kept) for ticket, word in (("snip", "place"), ("synflow", "size"))
            for network, kept in zip(SHAPES, WORDS[word], strict=True) for s in PROBED]  # fmt: skip
    said = shapes.answer(shapes.found_in(rows))
    assert said.startswith("**In part.** SNIP: the keep-ratios follow the place of a layer alone; SynFlow: ")


def test_rows_of_options_and_other_seeds_are_left_out():
    plain = probe("vgg16_equal", "snip", "0.9", WORDS["size"][0], seed=3)
    other = Row(plain | {"config": plain["config"] | {"variant": "authors", "seed": 0}})
    assert list(shapes.found_in([plain, other])["equal layers", "snip", "0.9"]) == [3]
    assert shapes.found_in([plain], seeds=2)["equal layers", "snip", "0.9"] == {}
    assert shapes.answer(shapes.found_in([])).startswith("**Not run.**")


def test_the_books_own_rows_have_an_answer_for_every_method():
    found = shapes.found_in(Ledger(places.book_ledger("paper")).rows())
    assert all(shapes.follows(found, ticket)[0] in WORDS for ticket in shapes.METHODS)
    assert list(shapes.panels(found, "0.98")) == list(shapes.NETWORKS.values())
