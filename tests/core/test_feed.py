"""Batches: windows, mirrors and scales by hand and against numpy; what is given stays as it was."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ticketlib import feed

AS_BYTES = SimpleNamespace(mean=(0.0,) * 3, std=(1 / 255,) * 3)  # what is seen is the byte itself


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (20, 3, 6, 6), dtype=np.uint8)


def windows(image, border, flip):
    """Every window of an image (C, H, H) with a border, and its mirror if `flip`, as bytes, by plain loops."""
    size, padded = image.shape[-1], np.pad(image, ((0, 0), (border, border), (border, border)))
    places = range(2 * border + 1)
    found = [padded[:, y : y + size, x : x + size] for y in places for x in places]
    return {item.tobytes() for item in found} | {item[:, :, ::-1].tobytes() for item in found if flip}


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_every_image_is_seen_through_a_window_of_its_own(images, padding, flip):
    chosen = torch.randint(20, (300,), generator=rng(9))
    found = feed.augment(images[chosen], AS_BYTES, rng(), padding=padding, flip=flip).tensor()
    assert found.shape == (300, 3, 6, 6) and found.dtype == torch.float32
    seen = {}
    for i, image in zip(chosen.tolist(), found.round().to(torch.uint8).numpy(), strict=True):
        assert image.tobytes() in windows(images[i], padding, flip)
        seen.setdefault(i, set()).add(image.tobytes())
    possible = (2 * padding + 1) ** 2 * (1 + flip)
    assert max(map(len, seen.values())) > min(possible, 8) - 1  # windows and mirrors do vary


def test_windows_and_mirrors_by_hand():
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    cut = lambda top, left, mirrored: feed.cut(image, *torch.tensor([[top], [left], [mirrored]]))[0, 0].tolist()  # noqa: E731
    assert cut(0, 0, 0) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert cut(0, 0, 1) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert cut(-1, 2, 0) == [[0, 0, 0], [3, 0, 0], [6, 0, 0]]
    assert cut(1, -1, 1) == [[5, 4, 0], [8, 7, 0], [0, 0, 0]]


def test_half_of_the_images_are_mirrored_and_all_windows_are_as_likely():
    drawn = feed.augment(torch.zeros(6000, 3, 6, 6, dtype=torch.uint8), AS_BYTES, rng(), padding=1).windows
    assert 2800 < drawn[2].sum() < 3200 and set(drawn[2].tolist()) == {0, 1}
    counts = torch.bincount(3 * (drawn[0] + 1) + drawn[1] + 1, minlength=9)
    assert counts.sum() == 6000 and (abs(counts - 6000 / 9) < 105).all()


def test_the_generator_decides_alone(images):
    torch.manual_seed(1)
    first = feed.augment(images, AS_BYTES, rng(5), padding=4).tensor()
    torch.manual_seed(2)
    assert torch.equal(first, feed.augment(images, AS_BYTES, rng(5), padding=4).tensor())
    assert not torch.equal(first, feed.augment(images, AS_BYTES, rng(6), padding=4).tensor())


def test_the_images_given_stay_as_they_were(images):
    before = images.copy()
    feed.augment(images, AS_BYTES, rng(), padding=2).tensor().zero_()
    feed.plain(images, AS_BYTES).tensor().zero_()
    assert np.array_equal(images, before)


def test_scaling_by_hand():
    given = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    found = feed.plain(given, SimpleNamespace(mean=(0.5, 0.2), std=(0.5, 0.1))).tensor()
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == pytest.approx([-1, 1, 0, 2], abs=1e-6)
