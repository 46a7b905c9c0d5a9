"""What bounds the sparse engine, counted on toy numbers; and how a step is split into phases."""

import pytest
import roofline

from ticketlib.models import build, prunable


@pytest.fixture
def toy():
    return [roofline.Layer("stem", 4, 2), roofline.Layer("next", 1, 3)]


def test_a_weight_costs_three_multiply_adds_a_pixel_but_two_in_the_first_layer(toy):
    assert roofline.multiplied(toy, {"stem": 10, "next": 5}) == 10 * 4 * 2 + 5 * 1 * 3
    assert roofline.activations(toy) == 4 * 2 + 1 * 3


def test_the_bound_is_the_slower_of_arithmetic_and_its_reading_and_then_traffic(toy):
    kept = {"stem": 10, "next": 5}  # 95 multiply-adds, 11 values
    quick = roofline.Peaks(multiply=95.0, first=4 * 95 * 2.0, second=4 * 11 * 14.0, memory=4 * 11 * 4.0)
    assert roofline.bound(toy, kept, quick) == pytest.approx((1.0, 2.0))
    slow = quick._replace(first=4 * 95 / 3)
    assert roofline.bound(toy, kept, slow) == pytest.approx((3.0, 2.0))


def test_break_even_is_the_first_percent_at_which_the_bound_is_as_quick(toy):
    peaks = roofline.Peaks(1000.0, 1e12, 1e12, 1e12)
    counts = lambda sparsity: {"stem": 1000 * (1 - float(sparsity)) / 8, "next": 0}  # noqa: E731
    assert roofline.break_even(toy, counts, peaks, 0.4001) == 0.6  # 1 - sparsity seconds
    assert roofline.break_even(toy, counts, peaks, 0.0) == 1.0


def test_share_of_layers_that_lost_nothing(toy):
    sizes, kept = {"stem": 10, "next": 50}, {"stem": 10, "next": 5}
    assert roofline.dense_share(toy, kept, sizes) == 80 / 95
    assert roofline.dense_share(toy, {"stem": 9, "next": 5}, sizes) == 0


def test_layers_are_the_convolutions_in_forward_order():
    model = build("resnet8", 5, 3, width=4, stem_stride=2)
    found = roofline.layers(model, (3, 16, 16))
    assert found[0] == roofline.Layer("conv.weight", 64, 4)
    assert {layer.name for layer in found} == set(prunable(model)) - {"fc.weight"}


def test_what_is_left_of_a_step_is_no_convolution():
    import parts

    found = dict.fromkeys(parts.CONVOLUTIONS, 2.0) | {"whole": 10.0, "draws of augmentation": 0.6, "update": 0.5}
    phases = parts.split(found | {"evaluation": 5.0, parts.LAID_OUT: 0.4})
    assert phases[parts.REST] == pytest.approx(3.6) and phases[parts.LAID_OUT] == 0.4
    assert phases["evaluation"] == 0.5  # a test image for every ten training images
    assert sum(phases.values()) == pytest.approx(11.6)


def test_torch_takes_some_time_for_its_norms(toy):
    import parts

    assert 0 < parts.torch_norms(toy, 3) < 1000
