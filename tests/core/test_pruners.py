"""Scores: each method against an oracle of its own, and a model left exactly as it was found."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scored_nets import METHODS, along, batch, seeded
from torch import nn

from ticketlib import masks, pruners
from ticketlib.errors import TicketError
from ticketlib.models import prunable


def state(model):
    facts = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    facts |= {f"{name} grad": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    flags = [(p.requires_grad, id(p)) for p in model.parameters()]
    return facts, flags, [module.training for module in model.modules()]


def assert_same(before, after):
    assert before[1:] == after[1:] and before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])


class TestEveryMethod:
    def test_names(self):
        assert list(pruners.METHODS) == METHODS

    @pytest.mark.parametrize("variant", ["default", "authors"])
    @pytest.mark.parametrize("method", METHODS)
    def test_leaves_the_model_as_found(self, net, method, variant):
        F.cross_entropy(net(batch()[0]), batch()[1]).backward()
        net.blocks[0].eval()  # a mixed mode
        net.blocks[1].conv1.weight.requires_grad_(False)
        before = state(net)
        scores = pruners.score(net, method, *batch(), sparsity=0.5, rounds=3, generator=seeded(), variant=variant)
        assert_same(before, state(net))
        assert [(n, s.shape, s.dtype) for n, s in scores.items()] == [
            (n, w.shape, torch.float32) for n, w in prunable(net).items()
        ]
        assert not any(s.requires_grad for s in scores.values())
        assert scores["blocks.1.conv1.weight"].abs().sum() > 0  # frozen weights are scored like any other

    @pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
    def test_leaves_the_model_as_found_after_an_error(self, net, method, monkeypatch):
        before = state(net)

        def fail(x):
            raise RuntimeError("interrupted")

        monkeypatch.setattr(net.fc, "forward", fail)
        with pytest.raises(TicketError, match="interrupted"):
            pruners.score(net, method, *batch(), sparsity=0.5)
        assert_same(before, state(net))

    @pytest.mark.parametrize("method", METHODS)
    def test_repeats_whatever_the_global_stream_and_the_mode(self, net, method):
        net = nn.Sequential(net, nn.Dropout(0.5))
        torch.manual_seed(0)
        first = pruners.score(net, method, *batch(), sparsity=0.5, rounds=2, generator=seeded(1))
        torch.manual_seed(1)
        net.eval()
        with torch.no_grad():
            second = pruners.score(net, method, *batch(), sparsity=0.5, rounds=2, generator=seeded(1))
        assert all(torch.equal(first[name], second[name]) for name in first)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_any_dtype(self, net, method, dtype):
        low = copy.deepcopy(net).to(dtype)
        scores = pruners.score(low, method, *batch(), sparsity=0.5, rounds=2)
        wanted = torch.float64 if dtype == torch.float64 else torch.float32
        assert method == "random" or all(s.dtype == wanted for s in scores.values())
        if method != "random":
            # The same weights in another precision keep nearly the same.
            rounded = copy.deepcopy(low).float()
            same = pruners.score(rounded, method, *batch(), sparsity=0.5, rounds=2)
            assert masks.overlap(masks.global_mask(scores, 0.5), masks.global_mask(same, 0.5)) > 0.98

    @pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
    def test_memory_layout_does_not_matter(self, net, method):
        other = copy.deepcopy(net).to(memory_format=torch.channels_last)
        mine = pruners.score(net, method, *batch(), sparsity=0.5, rounds=2)
        images, labels = batch()
        images = images.to(memory_format=torch.channels_last)
        theirs = pruners.score(other, method, images, labels, sparsity=0.5, rounds=2)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


class TestRandomAndMagnitude:
    def test_random_follows_its_generator(self, net):
        a, b, c = (pruners.score(net, "random", generator=seeded(s))["fc.weight"] for s in (1, 1, 2))
        assert torch.equal(a, b) and not torch.equal(a, c) and 0 <= a.min() < a.max() < 1

    def test_magnitude(self, net):
        scores = pruners.score(net, "magnitude")
        assert all(torch.equal(scores[name], w.abs()) for name, w in prunable(net).items())


class TestSnip:
    def test_is_the_effect_of_removal_to_first_order(self, toy):
        model, images, labels = toy
        scores = pruners.score(model, "snip", images, labels)

        def loss():
            return F.cross_entropy(model(images), labels).item()

        for name, weight in prunable(model).items():
            for index in np.ndindex(*weight.shape):
                change = along(weight, index, loss)
                assert abs(change) == pytest.approx(float(scores[name][index]), rel=1e-4, abs=1e-9)

    def test_authors_variant_only_divides_by_the_sum(self, net):
        default, authors = (pruners.score(net, "snip", *batch(), variant=v) for v in pruners.VARIANTS)
        total = sum(s.sum() for s in default.values())
        assert sum(float(s.sum()) for s in authors.values()) == pytest.approx(1, rel=1e-5)
        assert all(torch.allclose(authors[name], default[name] / total) for name in default)


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"method": "obd"}, "'obd'"),
            ({"variant": "theirs"}, "'theirs'"),
            ({"sparsity": 1}, "1"),
            ({"rounds": 0}, "rounds 0"),
            ({"rounds": 2.5}, "rounds 2.5"),
            ({"images": torch.full((12, 3, 8, 8), torch.nan)}, r"conv\.weight"),
            ({"method": "synflow"}, "synflow"),
        ],
    )
    def test_one_sentence_names_the_value(self, net, change, match):
        images, labels = batch()
        options = {"method": "snip", "images": images, "labels": labels} | change
        with pytest.raises(TicketError, match=match):
            pruners.score(net, options.pop("method"), options.pop("images"), options.pop("labels"), **options)

    def test_nan_weights(self, net):
        net.fc.weight.data[0, 0] = torch.nan
        with pytest.raises(TicketError, match=r"magnitude.*fc\.weight"):
            pruners.score(net, "magnitude")

    def test_a_pruner_of_one_s_own_is_checked(self, net):
        @pruners.pruner("mine")
        def mine(task):
            return {name: weight.flatten() for name, weight in task.weights.items()}

        try:
            with pytest.raises(TicketError, match=r"mine.*conv\.weight"):
                pruners.score(net, "mine")
            pruners.METHODS["mine"] = lambda task: {"fc.weight": task.weights["fc.weight"]}
            with pytest.raises(TicketError, match=r"mine.*fc\.weight.*conv\.weight"):
                pruners.score(net, "mine")
        finally:
            del pruners.METHODS["mine"]


def test_authors_scores_keep_their_sign_where_they_sum_below_zero():
    scores = pruners._normalised({"a": torch.tensor([1.0, -3.0])})
    assert scores["a"].tolist() == pytest.approx([0.5, -1.5])


def test_slips_in_a_new_pruner_are_told(net, monkeypatch):
    slips = {"needs_batch": lambda task: task.loss(), "a list": lambda task: [1], "a NoneType": lambda task: None}
    for named, made in slips.items():
        monkeypatch.setitem(pruners.METHODS, "mine", made)
        with pytest.raises(TicketError, match=named):
            pruners.score(net, "mine")
