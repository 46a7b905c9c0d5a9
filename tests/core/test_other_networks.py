"""Networks that are not the book's: scores against float64 references, what is refused and by which name."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.utils import parametrizations, prune

from ticketlib import masks, models, pruners, ratios, tickets
from ticketlib.effective import effective_sparsity
from ticketlib.errors import TicketError
from ticketlib.masks import Mask
from ticketlib.models import prunable

CLASSES = 5


def group_norm_cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, groups=2),
        nn.GroupNorm(4, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES),
    )  # fmt: skip


def vit():
    net = torchvision.models.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=CLASSES)
    nn.init.normal_(net.heads.head.weight, 0, 0.1)  # torchvision draws zeros
    return net


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 12), nn.GELU(), nn.Linear(12, CLASSES))


NETS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=CLASSES),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES, dropout=0),
    "vit": vit, "group norm": group_norm_cnn, "mlp": mlp,
}  # fmt: skip


def drawn(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def batch(count=6, size=16):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, size, size, generator=generator), torch.arange(count) % CLASSES


def flat(scores):
    return torch.cat([s.detach().double().flatten() for s in scores.values()])


# --- against references in float64 that share no code with ours


def mode_of_scoring(net):
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return net


def gradient(net, temperature=1.0):
    images, labels = batch()
    loss = F.cross_entropy(net(images.double()) / temperature, labels)
    return torch.autograd.grad(loss, list(prunable(net).values()))


@pytest.mark.parametrize("name", NETS)
def test_snip_is_weight_times_gradient(name):
    net = drawn(NETS[name]).double()
    found = pruners.score(net, "snip", *batch())
    twin = mode_of_scoring(copy.deepcopy(net))
    wanted = torch.cat([(w * g).abs().flatten() for w, g in zip(prunable(twin).values(), gradient(twin), strict=True)])
    torch.testing.assert_close(flat(found), wanted.detach(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_grasp_is_the_change_of_the_gradient_along_itself(name):
    net = drawn(NETS[name]).double()
    found = flat(pruners.score(net, "grasp", *batch()))
    twin = mode_of_scoring(copy.deepcopy(net))
    weights, here = list(prunable(twin).values()), gradient(twin, 200)
    step = 1e-9 / math.sqrt(sum(float(g.square().sum()) for g in here))
    values = [w.detach().clone() for w in weights]
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for weight, value, g in zip(weights, values, here, strict=True):
                weight.copy_(value + sign * step * g)
        ends.append(gradient(twin, 200))
    wanted = torch.cat([(v * (a - b) / (2 * step)).flatten() for v, a, b in zip(values, *ends, strict=True)])
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()  # a longer step meets kinks of ReLU


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mlp"])
def test_synflow_is_the_flow_of_the_linear_net(name):
    net = drawn(NETS[name])
    found = flat(pruners.score(net, "synflow", batch()[0], sparsity=0.5, rounds=1))
    twin = copy.deepcopy(net).double().eval()
    for parent in list(twin.modules()):
        for child, module in parent.named_children():
            if isinstance(module, nn.ReLU6 | nn.GELU):
                setattr(parent, child, nn.Identity())
    with torch.no_grad():
        for key, parameter in twin.named_parameters():
            parameter.zero_() if key.endswith("bias") else parameter.abs_()
    weights = list(prunable(twin).values())
    flow = twin(torch.ones(1, 3, 16, 16).double()).sum()
    wanted = torch.cat([(w * g).flatten() for w, g in zip(weights, torch.autograd.grad(flow, weights), strict=True)])
    torch.testing.assert_close(found, (wanted / flow).detach(), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(("make", "layer"), [
    (vit, "encoder"), (group_norm_cnn, r"1 \(GroupNorm\)"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)), "LayerNorm"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.Tanh(), nn.Linear(8, 3)), r"2 \(Tanh\)"),
    (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.Flatten(),
                           nn.Linear(1568, 3)), r"1 \(BatchNorm2d\)"),
])  # fmt: skip
def test_what_breaks_the_linearity_of_synflow_is_named(make, layer):
    with pytest.raises(TicketError, match=layer):
        pruners.score(drawn(make), "synflow", batch()[0], sparsity=0.5, rounds=2)


@pytest.mark.parametrize("act", [
    nn.SiLU, nn.ELU, nn.Hardswish, nn.Mish, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.CELU, nn.SELU, nn.ReLU6, nn.Softplus,
    lambda: nn.Threshold(0.1, 20), lambda: nn.Hardtanh(-1, 2),
])  # fmt: skip
def test_synflow_is_the_same_whatever_rectifies(act):
    def net(act):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act(), nn.Conv2d(4, 4, 3, groups=2), act(),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))  # fmt: skip

    found, wanted = (flat(pruners.score(drawn(lambda a=a: net(a)), "synflow", batch()[0], sparsity=0.5, rounds=3))
                     for a in (act, nn.ReLU))  # fmt: skip
    torch.testing.assert_close(found, wanted)


def deep(depth, scale, norm=False):
    between = [layer for _ in range(depth) for layer in
               (nn.Linear(8, 8, bias=False), *[nn.BatchNorm1d(8)] * norm, nn.ReLU())]  # fmt: skip
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 8, bias=False), *between, nn.Linear(8, CLASSES, bias=False))
    for weight in prunable(net).values():
        weight.data.abs_().mul_(scale)
    return net


@pytest.mark.parametrize(("depth", "scale"), [(10, 1e-20), (10, 1e20), (100, 0.01), (100, 300)])
@pytest.mark.parametrize("norm", [False, True])
def test_synflow_ranks_the_weights_of_a_deep_or_badly_scaled_network(depth, scale, norm):
    net = drawn(lambda: deep(depth, scale, norm))
    found = pruners.score(net, "synflow", batch()[0], sparsity=0.5, rounds=1)
    for name, scores in found.items():  # each layer's scores sum to one and the same
        assert float(scores.double().sum()) == pytest.approx(1, rel=1e-4), name
    usual = pruners.score(drawn(lambda: deep(depth, 1, norm)), "synflow", batch()[0], sparsity=0.5, rounds=1)
    torch.testing.assert_close(flat(found), flat(usual), rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_a_flow_that_no_float_holds_is_refused(scale):
    with pytest.raises(TicketError, match="flow"):
        pruners.score(drawn(lambda: deep(100, scale)), "synflow", batch()[0], sparsity=0.5)


@pytest.mark.parametrize("method", ["snip", "grasp"])
@pytest.mark.parametrize("scale", [1e-20, 1e-4, 1e20])
def test_gradients_that_no_float_holds_give_no_mask(method, scale):
    with pytest.raises(TicketError, match="All scores are 0|not finite|tell apart"):
        masks.global_mask(pruners.score(drawn(lambda: deep(10, scale)), method, *batch()), 0.5)


def test_attention_that_no_kernel_differentiates_twice_is_scored_all_the_same():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))

        def forward(self, x):  # (B, 3, 16, 16)
            x = x.flatten(1, 2)
            return self.out(F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))).mean(1)[:, :CLASSES]

    scores = pruners.score(drawn(Attending), "grasp", *batch())
    assert all(s.abs().sum() > 0 for s in scores.values())


# --- what a network returns


class Returning(nn.Module):
    """A small network that wraps its logits."""

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = nn.Sequential(nn.Flatten(), nn.Linear(768, CLASSES)), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


class Output:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, 2), lambda x: [x], lambda x: {"logits": x}, Output])
@pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
def test_logits_are_found_in_what_a_network_returns(wrap, method):
    scores = [pruners.score(drawn(lambda w=w: Returning(w)), method, *batch(), sparsity=0.5)["net.1.weight"]
              for w in (wrap, lambda x: x)]  # fmt: skip
    assert torch.equal(*scores)


@pytest.mark.parametrize("wrap", [lambda x: {"a": x}, lambda _: None, lambda _: (), lambda x: x[:1], lambda x: x[None]])
def test_what_holds_no_logits_is_refused(wrap):
    with pytest.raises(TicketError, match="logits"):
        pruners.score(drawn(lambda: Returning(wrap)), "snip", *batch())


# --- weights that are not what they seem


def test_a_wrapper_is_looked_through():
    net = drawn(group_norm_cnn)
    plain = pruners.score(net, "grasp", *batch())
    for wrapped in (torch.compile(net), nn.DataParallel(net)):
        scores = pruners.score(wrapped, "grasp", *batch())
        assert list(scores) == list(plain) and all(torch.equal(scores[n], plain[n]) for n in plain)
    masks.global_mask(plain, 0.5).apply(torch.compile(net))
    weights = prunable(net).values()
    zeros, size = sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)
    assert zeros == round(size / 2)
    assert models.family(torch.compile(models.build("resnet8", 3))) == "resnet"


def test_a_weight_that_two_layers_share_is_counted_once():
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    net[4].weight = net[2].weight
    assert list(prunable(net)) == ["1.weight", "2.weight"]
    scores = pruners.score(net, "snip", batch()[0], torch.arange(6))
    F.cross_entropy(net(batch()[0]), torch.arange(6)).backward()
    torch.testing.assert_close(scores["2.weight"], (net[2].weight * net[2].weight.grad).abs().detach())
    mask = masks.global_mask(scores, 0.5)
    mask.apply(net)
    assert mask.size == 768 * 8 + 64 and (net[4].weight == 0).sum() == 64 - mask.counts["2.weight"]


def tied():
    net = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7))
    net[1].weight = net[0].weight
    return net


def parametrised(change):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2))
    change(net[0])
    return net


@pytest.mark.parametrize(("net", "named"), [
    (tied(), "1.weight.*0.weight"), (nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyLinear(2)), "of 1 .*run"),
    (parametrised(lambda c: prune.l1_unstructured(c, "weight", 0.5)), "of 0 .*prune.remove"),
    (parametrised(parametrizations.weight_norm), "of 0 .*remove_parametrizations"),
    (parametrised(parametrizations.spectral_norm), "of 0 .*remove_parametrizations"),
    (parametrised(nn.utils.weight_norm), "of 0 .*remove_weight_norm"), ([1], "list"),
])  # fmt: skip
def test_a_weight_that_cannot_be_set_is_refused_by_the_name_of_its_layer(net, named):
    with pytest.raises(TicketError, match=named):
        prunable(net)
    if isinstance(net, nn.Module):
        assert not models.report(net).prunable.all()  # which lists it all the same


def remade(change):
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES))
    change(net)
    return net


def with_a_buffer(net):
    weight = net[2].weight.data
    del net[2].weight
    net[2].register_buffer("weight", weight)


@pytest.mark.parametrize(("change", "named"), [
    (with_a_buffer, "of 2 is a buffer"), (lambda net: net[2].register_parameter("weight", None), "of 2 is not there"),
    (lambda net: setattr(net[3], "weight", nn.Parameter(net[2].weight.data[:CLASSES])), "3.weight shares.* 2.weight"),
    (lambda net: setattr(net[2], "weight", nn.Parameter(net[1].weight.data[:, :8])), "2.weight shares.* 1.weight"),
    (lambda net: setattr(net[2], "weight", nn.Parameter(net[2].weight.data.T)), None),
    (lambda net: setattr(net[2], "weight", nn.Parameter(torch.ones(8, 1).expand(8, 8))), "2.weight"),
    (lambda net: net.append(nn.LazyBatchNorm1d()), None),
])  # fmt: skip
def test_memory_that_two_weights_share_is_refused_by_both_names(change, named):
    net = remade(change)
    if named is None:
        assert list(prunable(net)) == ["1.weight", "2.weight", "3.weight"]
    else:
        with pytest.raises(TicketError, match=named):
            prunable(net)


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Padded(nn.Conv2d):
    """Of another class, but with its weight as it is."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


def test_a_layer_that_computes_its_weight_on_the_way_is_refused_and_one_that_takes_it_is_not():
    of = lambda kind: nn.Sequential(kind(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))  # noqa: E731
    for method in ("snip", "grasp", "synflow"):
        with pytest.raises(TicketError, match="^0 computes"):
            pruners.score(of(Standardised), method, *batch(), sparsity=0.5)
        padded = pruners.score(drawn(lambda: of(Padded)), method, *batch(), sparsity=0.5)
        usual = drawn(lambda: of(lambda *given: nn.Conv2d(*given, padding=1)))
        torch.testing.assert_close(flat(padded), flat(pruners.score(usual, method, *batch(), sparsity=0.5)))
    with pytest.raises(TicketError, match="^0 computes"):
        effective_sparsity(of(Standardised), Mask.dense(of(Standardised)), (3, 16, 16))
    assert effective_sparsity(of(Padded), Mask.dense(of(Padded)), (3, 16, 16)) == 0


def test_weights_without_values():
    with torch.device("meta"):
        net = group_norm_cnn()
    assert sum(ratios.keep_counts(net, "erk", 0.5).values()) == masks.asked_total(Mask.dense(net).size, 0.5)
    mask = Mask.dense(net)
    for call in (
        lambda: pruners.score(net, "magnitude"), lambda: mask.apply(net), lambda: masks.random_signs(net, mask, 0),
        lambda: masks.shuffle_survivors(net, mask, 0), lambda: effective_sparsity(net, mask, (3, 16, 16)),
        lambda: tickets.save("nowhere", net, mask), lambda: masks.fresh_magnitudes(net, mask, prunable(net)),
    ):  # fmt: skip
        with pytest.raises(TicketError, match="0.weight.*meta"):
            call()
    with pytest.raises(TicketError, match=r"1\.weight.*run"):
        pruners.score(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LazyBatchNorm2d()), "synflow", batch()[0], sparsity=0.5)
    with pytest.raises(TicketError, match="0.weight.*complex"):
        pruners.score(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)), "magnitude")


def test_weights_outside_the_forward_pass_are_said():
    net = Returning(lambda x: x)
    net.aux = nn.Linear(2, 480)
    for method in ("snip", "grasp"):
        with pytest.warns(UserWarning, match=r"aux\.weight.*20\.0%"):
            scores = pruners.score(net, method, *batch())
        assert not scores["aux.weight"].any() and scores["net.1.weight"].any()


@pytest.mark.parametrize("wrap", [lambda x: x.detach(), lambda x: (x > 0).float()])
def test_a_network_without_a_gradient_is_refused(wrap):
    for method in ("snip", "grasp"):
        with pytest.raises(TicketError, match="gradient"):
            pruners.score(Returning(wrap), method, *batch())


def test_a_report_lists_every_parameter_once_and_says_why_not():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.up = nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 2, 2, bias=False)
            self.attention, self.lstm = nn.MultiheadAttention(4, 1, bias=False), nn.LSTM(2, 1, bias=False)
            self.table, self.norm, self.free = nn.Embedding(5, 2), nn.LayerNorm(3), nn.Parameter(torch.ones(7))
            self.again = self.conv

    table = models.report(torch.compile(Net()))
    assert table["size"].to_dict() == {
        "free": 7, "conv.weight": 12, "conv.bias": 4, "up.weight": 32, "attention.in_proj_weight": 48,
        "attention.out_proj.weight": 16, "lstm.weight_ih_l0": 8, "lstm.weight_hh_l0": 4, "table.weight": 10,
        "norm.weight": 3, "norm.bias": 3,
    }  # fmt: skip
    assert table["size"].sum() == sum(p.numel() for p in Net().parameters()) and table.share.sum() == pytest.approx(1)
    assert list(table.index[table.prunable]) == list(prunable(Net())) == ["conv.weight", "attention.out_proj.weight"]
    assert table.share["conv.weight"] == pytest.approx(12 / 147) and table["shape"]["up.weight"] == (4, 2, 2, 2)
    assert (table.why == "").equals(table.prunable) and table.why.nunique() == 8


# --- images and labels


@pytest.mark.parametrize(("images", "labels", "named"), [
    (batch()[0].permute(0, 2, 3, 1), batch()[1], "^0 .*permute"),
    (batch()[0][:, :1], batch()[1], r"^0 .*\(6, 1, 16, 16\)"), (batch()[0][:, 0], batch()[1], r"^0 .*\(6, 16, 16\)"),
    (batch(3)[0][:, 0], batch(3)[1], r"^1 .*\(3, 16, 16\)"), (batch()[0], batch()[1] + 1, "label 5"),
])  # fmt: skip
def test_images_of_another_kind_are_refused_by_the_layer_that_cannot_take_them(images, labels, named):
    with pytest.raises(TicketError, match=named):
        pruners.score(drawn(group_norm_cnn), "snip", images, labels)


HEAD = lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, CLASSES))  # noqa: E731


@pytest.mark.parametrize("change", [
    lambda x, y: (x.double(), y), lambda x, y: (x, y.int()), lambda x, y: (x, y.to(torch.uint8)),
    lambda x, y: (x.clone().requires_grad_(), y), lambda x, y: (x.contiguous(memory_format=torch.channels_last), y),
])  # fmt: skip
def test_the_kind_of_numbers_makes_no_difference(change):
    found, wanted = (pruners.score(drawn(HEAD), "snip", *given) for given in (change(*batch()), batch()))
    assert torch.equal(found["1.weight"], wanted["1.weight"]) and found["1.weight"].dtype == torch.float32


@pytest.mark.parametrize("change", [
    lambda x, y: (x.to(torch.uint8), y), lambda x, y: (x.numpy(), y), lambda x, y: (x.to_sparse(), y),
    lambda x, y: (x.to("meta"), y), lambda x, y: (x + 0j, y), lambda x, y: (x[:0], y[:0]), lambda x, y: (None, y),
    lambda x, y: (x[0], y[:1]), lambda x, y: (x / 0, y), lambda x, y: (x * torch.nan, y),
    lambda x, y: (x, F.one_hot(y, CLASSES)), lambda x, y: (x, y.float()), lambda x, y: (x, y[:, None]),
    lambda x, y: (x, y.tolist()), lambda x, y: (x, y.to("meta")), lambda x, y: (x, y - 100), lambda x, y: (x, y[:3]),
    lambda x, y: (x, y[0]), lambda x, y: (x, None),
])  # fmt: skip
def test_what_are_no_images_and_labels_is_refused(change):
    with pytest.raises(TicketError, match="images|label"):
        pruners.score(drawn(HEAD), "snip", *change(*batch()))


def test_one_image_and_batch_norm():
    net = nn.Sequential(nn.Conv2d(3, 4, 16), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, CLASSES))
    with pytest.raises(TicketError, match="^1 .*at least 2"):
        pruners.score(net, "snip", *batch(1))
    assert pruners.score(drawn(group_norm_cnn), "snip", *batch(1))["0.weight"].any()


# --- scores, masks, tickets


@pytest.mark.parametrize("make", [
    lambda s: masks.global_mask(s, 0.5), lambda s: masks.from_counts(s, {"a": 2, "b": 1}),
])  # fmt: skip
def test_scores_that_are_all_equal_choose_nothing(make):
    with pytest.raises(TicketError, match="equal|All scores are 3"):
        make({"a": torch.full((4,), 3.0), "b": torch.full((2,), 3.0)})
    assert make({"a": torch.full((4,), 3.0), "b": torch.tensor([3.0, 2.0])}).kept == 3


def test_equal_scores_are_no_matter_where_nothing_is_chosen():
    scores = {"a": torch.ones(4), "b": torch.ones(2)}
    assert masks.global_mask(scores, 0).kept == 6 and masks.from_counts(scores, {"a": 4, "b": 0}).counts["b"] == 0


def test_a_head_of_zeros_gives_no_mask():
    net = drawn(lambda: torchvision.models.VisionTransformer(16, 8, 1, 1, 8, 16, num_classes=CLASSES))
    with pytest.raises(TicketError, match="All scores are 0"):
        tickets.find_mask("snip", net, "0.9", torch.Generator, batch=batch())


def test_arrays_are_scores_and_seeds_are_generators():
    scores = {"a": np.array([[3.0, 1.0], [2.0, 0.0]]), "b": [9, -1]}
    assert masks.global_mask({"a": scores["a"]}, 0.5)["a"].tolist() == [[True, False], [True, False]]
    for bad in ("text", None, [object()], torch.ones(2, dtype=torch.complex64), torch.ones(2, device="meta")):
        with pytest.raises(TicketError, match="scores of b"):
            masks.global_mask({"a": scores["a"], "b": bad}, 0.5)
    draw = lambda generator: masks.random_mask({"a": (50,)}, {"a": 9}, generator=generator)  # noqa: E731
    assert draw(3) == draw(torch.Generator().manual_seed(3)) != draw(4)
    assert masks.rearrange(draw(3), 5) == masks.rearrange(draw(3), torch.Generator().manual_seed(5))
    for bad in (None, 1.5, True, "0"):
        with pytest.raises(TicketError, match=f"generator {bad!r}"):
            draw(bad)


def stream(name):
    return torch.Generator().manual_seed(len(name))


def test_tickets_of_other_networks():
    net = drawn(NETS["resnet18"])
    for family in models.FAMILIES:
        wanted = ratios.keep_counts(net, "smart", "0.9", family=family)
        assert tickets.find_mask("smart", net, "0.9", stream, family=family).counts == wanted
    with pytest.raises(TicketError, match="ResNet"):
        tickets.find_mask("smart", net, "0.9", stream)
    trained = {name: torch.randn(w.shape, generator=stream("a")) for name, w in prunable(net).items()}
    with pytest.raises(TicketError, match="conv1.weight"):
        tickets.find_mask("lt", net, "0.9", stream, trained=trained | {"conv1.weight": torch.ones(3)})
    with pytest.raises(TicketError, match="fc.weight"):
        tickets.find_mask("lt", net, "0.9", stream, trained={n: w for n, w in trained.items() if n != "fc.weight"})


# --- effective sparsity


@pytest.mark.parametrize(("make", "named"), [
    (vit, "self_attention"), (lambda: torchvision.models.mobilenet_v3_small(num_classes=3), r"features\.1\.block\.1"),
])  # fmt: skip
def test_paths_are_not_defined_where_signals_are_multiplied(make, named):
    net = drawn(make)
    with pytest.raises(TicketError, match=named):
        effective_sparsity(net, Mask.dense(net), (3, 16, 16))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "group norm"])
def test_a_dense_network_is_alive(name):
    net = drawn(NETS[name])
    assert effective_sparsity(torch.compile(net), Mask.dense(net), (3, 64, 64)) == 0


class Steps(nn.Module):
    """Two linear layers and something between."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False), between
        self.free, self.register = nn.Parameter(torch.ones(2)), self.register_buffer("end", torch.tensor([1.0, 0.0]))

    def forward(self, x):
        return self.last(self.between(self, self.first(x)))


@pytest.mark.parametrize(("between", "live"), [
    (lambda net, x: x, 3), (lambda net, x: x + net.free, 3), (lambda net, x: x - 5, 3), (lambda net, x: 1 - x, 3),
    (lambda net, x: x.add_(net.free), 3), (lambda net, x: -x, 3), (lambda net, x: x - x.flip(1), 4),
    (lambda net, x: x * -2, 3), (lambda net, x: x / 3, 3), (lambda net, x: x * net.end, 3),
    (lambda net, x: x.mul_(net.end), 3), (lambda net, x: x * (1 - net.end), 0), (lambda net, x: x.sub_(x.flip(1)), 4),
    (lambda net, x: torch.cat([x[:, 1:], x[:, :1]], 1), 3), (lambda net, x: x + x * (1 - net.end), 3),
])  # fmt: skip
def test_constants_start_nothing_and_end_only_what_they_multiply_by_zero(between, live):
    net = Steps(between)
    mask = Mask({"first.weight": torch.tensor([[True, True], [False, False]]), "last.weight": torch.ones(1, 2).bool()})
    assert effective_sparsity(net, mask, (2,)) == pytest.approx(1 - live / 6)


@pytest.mark.parametrize("between", [lambda net, x: x * x, lambda net, x: x.exp(), lambda net, x: x @ x.T])
def test_what_adds_up_no_paths_is_refused(between):
    net = Steps(between)
    with pytest.raises(TicketError, match="the network"):
        effective_sparsity(net, Mask.dense(net), (2,))
