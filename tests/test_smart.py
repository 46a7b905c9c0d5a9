"""The smart ratio and its ablations against the vectors calculated from the paper's code."""

import numpy as np
import pytest

from ticketlib import ratios
from ticketlib.masks import asked_total
from ticketlib.models import build
from ticketlib.ratios import keep_counts

FIXING = ("smart", "linear", "cubic", "ascending")

# Kept fractions of the paper's rule, calculated from its code: CIFAR-10, the classifier (at .3) left out.
VGG19 = {
    0.90: [1.0] * 6 + [0.3177, 0.1730, 0.1119, 0.0725, 0.0466, 0.0294, 0.0179, 0.0103, 0.0054, 0.0024],
    0.95: [1.0] * 4 + [0.6686, 0.2180, 0.1355, 0.0865, 0.0559, 0.0362, 0.0233, 0.0147, 0.0089, 0.0051, 0.0027, 0.0012],
    0.98: [1.0] * 2
    + [0.8384, 0.2635, 0.1461, 0.0870, 0.0541, 0.0345, 0.0223, 0.0145, 0.0093, 0.0059, 0.0036, 0.0020, 0.0011, 0.0005],
}
RESNET32 = {0.90: (0.7975, 0.0040), 0.95: (0.3981, 0.0020), 0.98: (0.1574, 0.0008)}


@pytest.fixture(scope="module")
def nets():
    return {name: build(name, 10) for name in ("vgg19", "resnet32")}


def authors_floor(layers, sparsity, squared):  # the paper's arithmetic, floors and all, without its early break
    conv = [x for x in layers if not x.linear]
    linear = sum(x.size for x in layers if x.linear)
    L = len(layers)
    p = np.array([((L - i) ** 2 + (L - i)) / (i + 1) ** squared for i in range(len(conv))])
    n = np.array([x.size for x in conv], float)
    p *= (round((1 - sparsity) * (n.sum() + linear)) - int(0.3 * linear)) / (p * n).sum()
    surplus = 0.0
    for i in range(len(conv)):
        p[i] += surplus / n[i]
        surplus = max(p[i] - 1, 0) * n[i]
        p[i] = min(p[i], 1)
    return np.floor(p * n + 1e-6).astype(int)


class TestGolden:
    @pytest.mark.parametrize("sparsity", VGG19)
    def test_vgg19(self, nets, sparsity):
        layers = ratios.layers(nets["vgg19"])
        sizes = np.array([x.size for x in layers[:-1]])
        floors = authors_floor(layers, sparsity, 2)
        assert (floors / sizes).round(4).tolist() == VGG19[sparsity]
        counts = np.array(list(keep_counts(nets["vgg19"], "smart", sparsity).values()))
        assert set(counts[:-1] - floors) <= {0, 1} and counts[-1] == 1536  # the remainder goes by largest fraction
        assert counts.sum() == asked_total(20_024_000, sparsity)

    @pytest.mark.parametrize("sparsity", RESNET32)
    def test_resnet32(self, nets, sparsity):
        layers = ratios.layers(nets["resnet32"])
        floors = authors_floor(layers, sparsity, 0)
        ends = (floors[0] / layers[0].size, floors[-1] / layers[-2].size)
        assert tuple(np.round(ends, 4)) == RESNET32[sparsity]
        counts = np.array(list(keep_counts(nets["resnet32"], "smart", sparsity).values()))
        assert set(counts[:-1] - floors) <= {0, 1} and counts[-1] == 384
        assert counts.sum() == asked_total(1_855_584, sparsity)

    def test_ablations_on_resnet32(self, nets):
        share = {
            rule: [count / x.size for count, x in zip(counts.values(), ratios.layers(nets["resnet32"]), strict=True)]
            for rule in FIXING
            for counts in [keep_counts(nets["resnet32"], rule, 0.98)]
        }
        assert [round(x, 3) for x in (share["linear"][0], share["linear"][-2])] == [0.069, 0.004]
        assert 254 <= 864 * share["cubic"][0] <= 255 and share["cubic"][-2] < 1e-4  # .2940 with the floors
        assert share["ascending"][0] == 0

    @pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.98])
    def test_ascending_on_a_resnet_leaves_the_first_layer_empty_unless_guarded(self, nets, sparsity):
        literal = keep_counts(nets["resnet32"], "ascending", sparsity)
        guarded = keep_counts(nets["resnet32"], "ascending", sparsity, min_per_layer=32)
        assert literal["conv.weight"] == 0 and guarded["conv.weight"] == 32
        assert sum(literal.values()) == sum(guarded.values())

    def test_ascending_on_a_vgg_is_almost_uniform(self, nets):
        counts = keep_counts(nets["vgg19"], "ascending", 0.9)
        share = [count / x.size for count, x in zip(counts.values(), ratios.layers(nets["vgg19"]), strict=True)]
        assert round(share[0], 3) == 0.183 and round(share[-2], 3) == 0.097

    def test_cubic_on_resnet32_at_90_keeps_the_first_layer_whole(self, nets):
        counts = keep_counts(nets["resnet32"], "cubic", 0.9)
        assert counts["conv.weight"] == 864 and sum(counts.values()) == asked_total(1_855_584, 0.9)
