"""What the sparse engine is made for, and what it refuses by name rather than compute wrongly."""

import copy
from inspect import isfunction

import numpy as np
import pytest
import torch
from masked_nets import random_mask
from torch import nn
from torch.nn.utils import prune

from ticketlib.errors import TicketError
from ticketlib.models import build
from ticketlib.sparse import SparseNet, plan
from ticketlib.sparse.classify import export
from ticketlib.sparse.simd import LANES


def put(path, make):
    """A change that sets one attribute or module of a network."""

    def change(model):
        above, _, last = path.rpartition(".")
        setattr(model.get_submodule(above), last, make(model.get_submodule(path)) if isfunction(make) else make)

    return change


def conv(out, into, size=3, stride=1, padding=None, **options):
    return lambda _: nn.Conv2d(into, out, size, stride, size // 2 if padding is None else padding, **options)


class OtherNorm(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


class OtherForward(type(build("resnet8", 5, width=4))):
    def forward(self, x):
        return -super().forward(x)


def tie(model):
    model.blocks[1].conv2.weight = model.blocks[0].conv1.weight


def become(model):
    model.__class__ = OtherForward


def prune_by_torch(model):
    prune.l1_unstructured(model.fc, "weight", 0.5)


RESNET = {  # what is done to the network -> the layer that the refusal names
    "kernel": (put("conv", conv(4, 3, 5)), "conv"),
    "even kernel": (put("conv", conv(4, 3, 2)), "conv"),
    "oblong kernel": (put("conv", conv(4, 3, (1, 3), padding=(0, 1))), "conv"),
    "padding": (put("blocks.0.conv2", conv(4, 4, 3, padding=0)), "blocks.0.conv2"),
    "padding of 1x1": (put("blocks.1.shortcut", conv(8, 4, 1, 2, padding=1)), "blocks.1.shortcut"),
    "padding by name": (put("blocks.0.conv1", conv(4, 4, 3, padding="same")), "blocks.0.conv1"),
    "padding mode": (put("conv", conv(4, 3, padding_mode="circular")), "conv"),
    "groups": (put("blocks.0.conv1", conv(4, 4, groups=2)), "blocks.0.conv1"),
    "dilation": (put("blocks.0.conv1", conv(4, 4, padding=2, dilation=2)), "blocks.0.conv1"),
    "oblong stride": (put("conv", conv(4, 3, stride=(2, 1))), "conv"),
    "stride in a block": (put("blocks.0.conv1", conv(4, 4, stride=2)), "blocks.0.conv2"),
    "stride of the second": (put("blocks.1.conv2", conv(8, 8, stride=2)), "blocks.1.conv2"),
    "stride of the shortcut": (put("blocks.1.shortcut", conv(8, 4, 1, 1)), "blocks.1.shortcut"),
    "channels": (put("blocks.0.conv1", conv(4, 3)), "blocks.0.conv1"),
    "channels of a sum": (put("blocks.0.conv2", conv(5, 4)), "blocks.0.conv2"),
    "channels of a norm": (put("bn", nn.BatchNorm2d(5)), "conv"),
    "weight of another shape": (put("conv.weight", nn.Parameter(torch.zeros(4, 3, 1, 1))), "conv"),
    "width of the classifier": (put("fc", nn.Linear(9, 5)), "fc"),
    "classifier without bias": (put("fc", nn.Linear(16, 5, bias=False)), "fc"),
    "two classifiers": (put("fc", lambda fc: nn.Sequential(fc, nn.Linear(5, 5))), "fc"),
    "eps": (put("bn.eps", 1e-3), "bn"),
    "momentum": (put("blocks.2.bn3.momentum", 0.01), "blocks.2.bn3"),
    "no statistics": (put("bn", nn.BatchNorm2d(4, track_running_stats=False)), "bn"),
    "no scale": (put("bn", nn.BatchNorm2d(4, affine=False)), "bn"),
    "another norm": (put("bn", nn.GroupNorm(2, 4)), "bn"),
    "norm of one's own": (put("blocks.0.bn1", OtherNorm(4)), "blocks.0.bn1"),
    "no norm": (put("blocks.0.bn1", nn.Identity()), "blocks.0.bn1"),
    "another block": (put("blocks.1", nn.Identity()), "blocks.1"),
    "another order of blocks": (put("blocks", lambda blocks: nn.ModuleList(blocks)), "blocks"),
    "forward of an instance": (lambda model: setattr(model.blocks[0], "forward", print), "blocks.0"),
    "forward of a class": (become, "OtherForward"),
    "hook": (lambda model: model.bn.register_forward_hook(lambda *_: None), "bn"),
    "hook before": (lambda model: model.register_forward_pre_hook(lambda *_: None), "the network"),
    "hook on the way back": (lambda model: model.fc.register_full_backward_hook(lambda *_: None), "fc"),
    "hook before that": (lambda model: model.fc.register_full_backward_pre_hook(lambda *_: None), "fc"),
    "one more parameter": (lambda model: model.register_parameter("scale", nn.Parameter(torch.ones(1))), "scale"),
    "parametrised": (lambda model: nn.utils.parametrizations.weight_norm(model.fc), "fc"),
    "pruned by torch": (prune_by_torch, "fc"),
    "tied": (tie, "blocks.0.conv1.weight and blocks.1.conv2.weight"),
    "float64": (lambda model: model.double(), "conv.weight is torch.float64"),
    "no values": (lambda model: model.to("meta"), "conv.weight is torch.float32 on meta"),
}  # fmt: skip
VGG = {
    "activation": (put("features.2", nn.LeakyReLU()), "features.2"),
    "no activation": (lambda model: model.features.pop(2), "features.2"),
    "activation left out at the end": (lambda model: model.features.pop(-1), r"features.\d+ is None"),
    "kind of pool": (put("features.3", nn.AvgPool2d(2, ceil_mode=True)), "features.3"),
    "size of pool": (put("features.3", nn.MaxPool2d(3, 2, ceil_mode=True)), "features.3"),
    "rounding of pool": (put("features.3", nn.MaxPool2d(2)), "features.3"),
    "order": (lambda model: model.features.insert(0, nn.ReLU()), "features.0"),
    "nothing": (put("features", nn.Sequential()), "features.0"),
    "a layer that stands twice": (lambda model: model.features.extend(model.features[8:11]), "features"),
}


def changed(network, change):
    model = build(network, 5, width=4 if network == "resnet8" else 0.06)
    change(model)
    return model


@pytest.mark.parametrize("network, name", [("resnet8", name) for name in RESNET] + [("vgg11", name) for name in VGG])
def test_what_the_engine_does_not_compute_is_refused_by_name(network, name):
    change, named = (RESNET | VGG)[name]
    with pytest.raises(TicketError, match=rf"^(.*\.)?{named}\b"):
        plan.chain(changed(network, change))


@pytest.mark.parametrize("wrap", [nn.DataParallel, nn.Sequential, lambda model: nn.Linear(2, 2)])
def test_another_network_is_named_with_what_is_known(wrap):
    model = wrap(build("resnet8", 5, width=4))
    for made in (lambda: SparseNet(model, {}, 4, (3, 8, 8)), lambda: export(model, {})):
        with pytest.raises(TicketError, match=rf"{type(model).__name__} is not known.*models\.build"):
            made()


def test_a_frozen_parameter_is_not_trained_but_may_classify():
    model = build("resnet8", 5, width=4)
    mask = random_mask(model, 0.5, torch.Generator().manual_seed(0))
    model.fc.bias.requires_grad_(False)
    with pytest.raises(TicketError, match="fc.bias is frozen"):
        SparseNet(model, mask, 4, (3, 8, 8))
    assert export(model, mask)(torch.zeros(1, 3, 8, 8)).shape == (1, 5) and not model.fc.bias.requires_grad


def test_the_chain_of_a_resnet_and_of_a_vgg():
    links = plan.chain(build("resnet8", 5, width=4))
    assert [link.convs for link in links[:3]] == [("conv",), ("blocks.0.conv1",), ("blocks.0.conv2",)]
    assert [link.convs for link in links[3:5]] == [("blocks.1.conv1", "blocks.1.shortcut"), ("blocks.1.conv2",)]
    assert [link.rest for link in links] == ["", "", "input", "", "shortcut", "", "shortcut"]
    assert [link.keep for link in links] == [True, False, True, False, True, False, True]
    links = plan.chain(build("vgg11", 5, width=0.06))
    assert [link.pool for link in links] == [True, True, False, True, False, True, False, False]
    assert links[2].convs == ("features.8",) and links[2].norms == ("features.9",)


def test_entries_are_numbered_over_convolutions_and_centred():
    three, one = np.zeros((2, 1, 3, 3), bool), np.zeros((1, 1, 1, 1), bool)
    three[1, 0, 0, 2] = three[0, 0, 2, 1] = one[0, 0, 0, 0] = True
    assert plan.entries([three, one]).T.tolist() == [[0, 0, 2, 1], [1, 0, 0, 2], [2, 0, 1, 1]]


def test_groups_are_as_many_as_their_weights_are_worth():
    assert plan.groups(9 * 32 * 32, 32, 32) == 4  # 8 channels in each
    assert plan.groups(32 * 30, 32, 32) == 2  # 30 weights a channel: two spans of at least 12
    assert plan.groups(0, 32, 32) == plan.groups(500, 16, 3) == 1


def test_grids_of_one_name_and_shape_share_their_place():
    arena = plan.Arena(3)
    padded = arena.padded(2, 5, 4, 2)  # two phases each way of 7 x 6
    assert (padded.pitch, padded.phase, padded.channel, padded.block) == tuple(LANES * n for n in (3, 12, 48, 96))
    assert padded.base == 0 and padded.inset == padded.pitch + LANES and arena.size == 3 * 96 * LANES
    first, second = (arena.padded(2, 5, 4, name="activation") for _ in range(2))
    assert first == second and first.block == 0 and arena.size == 3 * 96 * LANES + 2 * 42 * LANES
    before = arena.size
    plain = arena.plain(2, 5, 4, name="dy")
    assert arena.plain(2, 5, 4, name="dy") == plain != arena.plain(2, 5, 4, name="other")
    assert plain.base == before and plain.block == 2 * plain.channel >= 2 * 20 * LANES
    assert arena.size == before + 2 * 3 * plain.block


def test_a_copy_is_left_as_it_was():
    model = build("vgg11", 5, width=0.06)
    before = copy.deepcopy(model.state_dict())
    export(model, random_mask(model, 0.5, torch.Generator().manual_seed(0)))(torch.zeros(1, 3, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
