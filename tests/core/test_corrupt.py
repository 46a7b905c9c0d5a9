"""Corruption: that it did what it says, on exactly what it says, and the same for the same seed."""

import numpy as np
import pytest
import torch

from ticketlib import corrupt
from ticketlib.data import Split
from ticketlib.errors import TicketError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def split():
    random = np.random.default_rng(0)
    return Split(random.integers(0, 256, (2500, 3, 8, 8), dtype=np.uint8), random.integers(0, 10, 2500))


@pytest.mark.parametrize("kind", corrupt.KINDS)
def test_each_kind_touches_only_its_own(split, kind):
    images, labels = split.images.copy(), split.labels.copy()
    found = corrupt.apply(split, kind, 10, rng())
    assert np.array_equal(split.images, images) and np.array_equal(split.labels, labels)
    assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64
    if kind != "half":
        assert np.array_equal(found.images, images) == (kind in ("none", "labels"))
        assert np.array_equal(found.labels, labels) == (kind in ("none", "pixels"))


@pytest.mark.parametrize("kind", corrupt.KINDS)
def test_the_seed_decides(split, kind):
    first, again, other = (corrupt.apply(split, kind, 10, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.images, again.images) and np.array_equal(first.labels, again.labels)
    if kind != "none":
        assert not (np.array_equal(first.images, other.images) and np.array_equal(first.labels, other.labels))


def test_random_labels_agree_at_chance():
    labels = np.arange(20_000) % 10
    found = corrupt.random_labels(labels, 10, rng())
    assert set(found) == set(range(10))
    assert 0.09 < corrupt.label_agreement(labels, found) < 0.11  # with replacement: one in ten stays right
    assert len(set(np.bincount(found))) > 1  # counts vary: drawn, not permuted


def test_both_redraws_the_labels_that_labels_redraws(split):
    labels, both = (corrupt.apply(split, kind, 10, rng(3)) for kind in ("labels", "both"))
    assert np.array_equal(labels.labels, both.labels)


def test_random_pixels_keep_the_values_of_each_image(split):
    found = corrupt.random_pixels(split.images, rng())
    assert found.shape == split.images.shape
    for before, after in zip(split.images, found, strict=True):
        assert np.array_equal(np.sort(before, axis=None), np.sort(after, axis=None))


def test_random_pixels_are_uncorrelated(split):
    smooth = np.broadcast_to(np.arange(0, 256, 32, dtype=np.uint8), split.images.shape)
    found = corrupt.random_pixels(smooth, rng())
    assert corrupt.pixel_correlation(smooth, smooth) == pytest.approx(1)
    assert abs(corrupt.pixel_correlation(smooth, found)) < 0.01


def test_every_image_has_a_permutation_of_its_own_across_channels():
    image = np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8)
    found = corrupt.random_pixels(np.repeat(image, 3, axis=0), rng())
    assert len({item.tobytes() for item in found}) == 3
    assert all(set(item[0].ravel()) != set(image[0, 0].ravel()) for item in found)  # values change channel


def test_every_place_is_reached_evenly():
    image = np.zeros((4000, 1, 2, 2), np.uint8)
    image[:, 0, 0, 0] = 255
    reached = (corrupt.random_pixels(image, rng()) == 255).sum((0, 1)).ravel()
    assert reached.sum() == 4000 and (abs(reached - 1000) < 110).all()  # four standard deviations


def test_half_is_a_random_half_in_order(split):
    numbered = Split(split.images, np.arange(2500))
    found = corrupt.half(numbered, rng())
    assert len(found) == 1250 and (np.diff(found.labels) > 0).all()
    assert np.array_equal(found.images, split.images[found.labels])
    assert 550 < (found.labels < 1250).sum() < 700  # not the first half
    assert len(corrupt.half(Split(split.images[:5], split.labels[:5]), rng())) == 2


def test_an_unknown_kind_is_named(split):
    with pytest.raises(TicketError, match="'noise'"):
        corrupt.apply(split, "noise", 10, rng())


def test_label_agreement_by_hand():
    assert corrupt.label_agreement([0, 1, 2, 3], [0, 1, 0, 0]) == 0.5


def test_pixel_correlation_against_numpy():
    a, b = np.random.default_rng(1).integers(0, 256, (2, 1500, 1, 4, 4), dtype=np.uint8)
    expected = np.mean([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)])
    assert corrupt.pixel_correlation(a, b) == pytest.approx(expected)


def test_images_of_one_value_have_no_correlation():
    a = np.stack([np.zeros((1, 2, 2), np.uint8), np.arange(4, dtype=np.uint8).reshape(1, 2, 2)])
    assert corrupt.pixel_correlation(a, a[:, :, ::-1, ::-1]) == pytest.approx(-1)
    assert np.isnan(corrupt.pixel_correlation(a[:1], a[:1]))


def test_what_is_drawn_is_frozen():
    """Rows were made from these draws: another one would be another recipe."""
    images = np.arange(54, dtype=np.uint8).reshape(2, 3, 3, 3)
    assert corrupt.random_pixels(images, rng()).ravel().tolist()[:9] == [6, 20, 21, 1, 22, 17, 9, 16, 10]
    as_floats = corrupt.random_pixels(images.astype(np.float32), rng())  # the same permutations
    assert np.array_equal(as_floats, corrupt.random_pixels(images, rng())) and as_floats.dtype == np.float32
    assert corrupt.random_labels([0] * 8, 10, rng()).tolist() == [4, 9, 3, 0, 3, 9, 7, 3]
    assert corrupt.half(Split(images[[0, 1] * 3], np.arange(6)), rng()).labels.tolist() == [2, 3, 5]


def test_faint_images_are_correlated_as_any_other():
    a = np.eye(4, dtype=np.uint8).reshape(4, 1, 2, 2)
    assert corrupt.pixel_correlation(a, a) == pytest.approx(1)
    assert corrupt.pixel_correlation(a, 1 - a) == pytest.approx(-1)
