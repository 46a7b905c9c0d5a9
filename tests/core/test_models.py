"""Networks: sizes and order of the paper's, initial statistics, odd inputs, errors."""

import math

import pytest
import torch
from torch import nn

from ticketlib import models
from ticketlib.errors import TicketError
from ticketlib.models import build, prunable


def weights(model):
    return sum(w.numel() for w in prunable(model).values())


@pytest.mark.parametrize(
    ("name", "classes", "options", "tensors", "size"),
    [
        ("resnet32", 10, {}, 34, 1_855_584),
        ("vgg19", 10, {}, 17, 20_024_000),
        ("resnet20", 10, {"width": 16, "stem_stride": 2}, 22, 270_896),
        ("resnet20", 10, {"width": 16}, 22, 270_896),
        ("resnet32", 100, {}, 34, 1_854_304 + 12_800),
        ("resnet32", 200, {}, 34, 1_854_304 + 25_600),
        ("vgg19", 100, {}, 17, 20_018_880 + 51_200),
        ("vgg19", 200, {}, 17, 20_018_880 + 102_400),
        ("vgg11", 10, {}, 9, 9_222_848),
        ("vgg16", 10, {}, 14, 14_715_584),
    ],
)
def test_sizes(name, classes, options, tensors, size):
    model = build(name, classes, **options)
    assert len(prunable(model)) == tensors and weights(model) == size


def test_order_is_forward_with_a_shortcut_after_its_block():
    names = list(prunable(build("resnet14", 10, width=4)))
    assert names == [
        "conv.weight",
        *(f"blocks.{i}.conv{j}.weight" for i in (0, 1) for j in (1, 2)),
        *(f"blocks.2.{layer}.weight" for layer in ("conv1", "conv2", "shortcut")),
        *(f"blocks.3.conv{j}.weight" for j in (1, 2)),
        *(f"blocks.4.{layer}.weight" for layer in ("conv1", "conv2", "shortcut")),
        *(f"blocks.5.conv{j}.weight" for j in (1, 2)),
        "fc.weight",
    ]


@pytest.mark.parametrize(("name", "width"), [("resnet20", 4), ("vgg16", 0.1)])
def test_order_is_that_in_which_layers_run(name, width):
    model, ran = build(name, 10, width=width), []
    for path, module in model.named_modules():
        if models.is_prunable(module):
            module.register_forward_hook(lambda *_, path=path: ran.append(f"{path}.weight"))
    model(torch.zeros(2, 3, 32, 32))
    assert list(prunable(model)) == ran


def test_biases_and_batch_norms_are_not_prunable():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Embedding(3, 2), nn.Linear(2, 2))
    assert list(prunable(model)) == ["0.weight", "3.weight"]
    assert list(prunable(nn.Linear(2, 2))) == ["weight"]
    with pytest.raises(TicketError, match="ReLU"):
        prunable(nn.ReLU())


@pytest.mark.parametrize(("name", "mode"), [("resnet20", "fan_out"), ("vgg16", "fan_in")])
def test_initial_statistics(name, mode):
    model = build(name, 100, generator=torch.Generator().manual_seed(0))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            c_out, c_in, *kernel = module.weight.shape
            deviation = math.sqrt(2 / (math.prod(kernel) * (c_out if mode == "fan_out" else c_in)))
            spread = 5 / math.sqrt(module.weight.numel())
            assert module.weight.std().item() == pytest.approx(deviation, rel=spread)
            assert abs(module.weight.mean().item()) < spread * deviation
            assert module.bias is None or not module.bias.any()
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.03) and not model.fc.bias.any()


def test_vgg_convolutions_have_biases_and_resnet_convolutions_do_not():
    for name, has in (("vgg11", True), ("resnet8", False)):
        convs = [m for m in build(name, 10, width=0.1 if has else 4).modules() if isinstance(m, nn.Conv2d)]
        assert all((m.bias is not None) == has for m in convs)


def test_weights_follow_the_generator_alone():
    draw = lambda seed: build("resnet8", 10, width=4, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    torch.manual_seed(5)
    one, two, three = draw(1), draw(1), draw(2)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same) and not torch.equal(one.conv.weight, three.conv.weight)
    assert torch.equal(build("resnet8", 10).conv.weight, build("resnet8", 10).conv.weight)
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    draw(3)
    assert torch.equal(torch.rand(1), before)  # the global stream is not read


def test_initialise_draws_afresh_and_resets_batch_norms():
    model = build("resnet8", 10, width=4)
    model(torch.randn(4, 3, 8, 8) + 5)
    old = model.conv.weight.detach().clone()
    assert model.bn.running_mean.any()
    models.initialise(model, torch.Generator().manual_seed(9))
    assert not torch.equal(model.conv.weight, old) and not model.bn.running_mean.any()
    assert (model.bn.running_var == 1).all() and model.bn.num_batches_tracked == 0


@pytest.mark.parametrize("name", ["resnet8", "vgg11", "vgg16", "vgg19"])
@pytest.mark.parametrize(
    ("channels", "height", "width"), [(3, 32, 32), (1, 8, 8), (3, 64, 64), (1, 28, 28), (2, 9, 13)]
)
def test_any_sensible_input(name, channels, height, width):
    model = build(name, 7, in_channels=channels, width=4 if "resnet" in name else 0.1)
    output = model(torch.randn(3, channels, height, width))
    assert output.shape == (3, 7) and output.isfinite().all()
    output.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_stem_s_stride_shrinks_the_maps_not_the_weights():
    plain, strided = build("resnet8", 10, width=4), build("resnet8", 10, width=4, stem_stride=2)
    assert {n: w.shape for n, w in prunable(plain).items()} == {n: w.shape for n, w in prunable(strided).items()}
    sizes = []
    for model in (plain, strided):
        model.blocks.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(inputs[0].shape)))
        model(torch.zeros(2, 3, 32, 32))
    assert sizes == [(2, 4, 32, 32), (2, 4, 16, 16)]


def test_family():
    assert [models.family(build(n, 10, width=1)) for n in ("resnet8", "vgg11")] == ["resnet", "vgg"]
    with pytest.raises(TicketError, match=r"Linear"):
        models.family(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("name", "classes", "options", "match"),
    [
        ("resnet33", 10, {}, "'resnet33'"),
        ("resnet2", 10, {}, "'resnet2'"),
        ("resnet032", 10, {}, "'resnet032'"),
        ("vgg13", 10, {}, "'vgg13' .*vgg11, vgg16, vgg19"),
        ("alexnet", 10, {}, "'alexnet'"),
        (None, 10, {}, "None"),
        ("resnet8", 0, {}, "num_classes 0"),
        ("resnet8", 2.0, {}, "num_classes 2.0"),
        ("resnet8", 10, {"in_channels": -1}, "in_channels -1"),
        ("resnet8", 10, {"stem_stride": 0}, "stem_stride 0"),
        ("resnet8", 10, {"width": 0.5}, "width 0.5"),
        ("resnet8", 10, {"width": 0}, "width 0"),
        ("vgg11", 10, {"width": 0}, "width 0"),
        ("vgg11", 10, {"width": True}, "width True"),
        ("vgg11", 10, {"width": "thin"}, "width 'thin'"),
        ("vgg11", 10, {"width": 9}, "width 9"),
        ("vgg11", 10, {"stem_stride": 2}, "stem_stride 2"),
    ],
)
def test_one_sentence_names_the_value(name, classes, options, match):
    with pytest.raises(TicketError, match=match):
        build(name, classes, **options)


def test_networks_in_which_place_and_size_part():
    sizes = {name: [w.numel() for w in prunable(build(name, 10, width=0.5)).values()][1:-1]
             for name in ("vgg16_equal", "vgg16_reversed")}  # fmt: skip
    assert sizes["vgg16_equal"] == [9 * 64 * 64] * 12
    assert sizes["vgg16_reversed"] == sorted(sizes["vgg16_reversed"], reverse=True)
    assert [sizes["vgg16_reversed"][i] for i in (0, 4, 6, 11)] == [9 * 256**2, 9 * 256**2, 9 * 128**2, 9 * 32**2]


def test_the_ends_of_what_is_allowed():
    assert {m.out_channels for m in build("vgg11", 1, 1, width=1e-3).modules() if isinstance(m, nn.Conv2d)} == {1}
    assert models._vgg_stages("vgg11", 8)[0] == [512] and len(list(build("resnet8", 1, 1, width=1).blocks)) == 3


@pytest.mark.parametrize(("name", "channels"), [
    ("vgg11", [64, 128, 256, 256, 512, 512, 512, 512]), ("vgg16", [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6),
    ("vgg19", [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8), ("vgg16_equal", [128] * 13),
    ("vgg16_reversed", [512] * 6 + [256] * 3 + [128] * 2 + [64] * 2),
])  # fmt: skip
def test_channels_of_every_vgg(name, channels):
    assert sum(map(list, models._vgg_stages(name, None)), []) == channels
    assert len(models._vgg_stages(name, None)) == 5


class Backwards(torch.nn.Module):
    """Defines the classifier first, and a layer that is never called as a module."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 2)
        self.aside = torch.nn.Linear(4, 4)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)

    def forward(self, x):
        return self.fc(torch.nn.functional.linear(self.bn(self.conv(x)).mean((2, 3)), self.aside.weight))


def test_the_order_of_calls_is_that_of_definition_in_the_book_s_networks_only():
    model = Backwards().train()
    model.bn.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert list(models.prunable(model)) == ["fc.weight", "aside.weight", "conv.weight"]
    assert models.calls(model, torch.ones(1, 3, 8, 8)) == ["conv.weight", "fc.weight", "aside.weight"]
    assert model.training and not model.bn.training and not model.conv._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name in ("resnet8", "vgg11"):
        small = models.build(name, 10, width=2 if name == "resnet8" else 0.05)
        assert models.calls(small, torch.ones(1, 3, 32, 32)) == list(models.prunable(small))


def test_modes_are_put_back_also_where_a_pass_fails():
    model = build("resnet8", 10)
    model.blocks[0].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError):
        models.calls(model, torch.ones(1, 5, 8, 8))
    assert [module.training for module in model.modules()] == before and len(set(before)) == 2
    with models.evaluating(model, nn.BatchNorm2d):
        assert all(module.training is isinstance(module, nn.BatchNorm2d) for module in model.modules())
