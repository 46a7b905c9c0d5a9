"""Batches: padding, crops and flips against a plain loop, and normalisation by hand."""

import numpy as np
import pytest
import torch

from ticketlib import data


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 256, (20, 3, 6, 6), dtype=np.uint8)


def windows(padded, size, flip):
    """Return every window of an image (C, P, P), and its mirror if `flip`, as bytes, by plain loops."""
    places = range(padded.shape[-1] - size + 1)
    found = [padded[:, y : y + size, x : x + size] for y in places for x in places]
    return {item.tobytes() for item in found} | {item[:, :, ::-1].tobytes() for item in found if flip}


def test_pad_by_hand(images):
    padded = data.pad(images, 2)
    assert padded.shape == (20, 3, 10, 10) and padded.dtype == torch.uint8
    assert np.array_equal(padded, np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2))))
    assert torch.equal(data.pad(torch.tensor(images), 2), padded)


@pytest.mark.parametrize("padding", [0, 2])
def test_pad_copies(images, padding):
    images.flags.writeable = False  # as a memory map is
    before = images.copy()
    data.pad(images, padding).zero_()
    assert np.array_equal(images, before)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_every_crop_is_a_window_of_its_own_image(images, padding, flip):
    padded, index = data.pad(images, padding), torch.randint(20, (300,), generator=rng(9))
    found = data.crop_flip(padded, index, rng(), 6, flip)
    assert found.shape == (300, 3, 6, 6) and found.dtype == torch.uint8
    seen = {}
    for chosen, image in zip(index.tolist(), found.numpy(), strict=True):
        assert image.tobytes() in windows(padded[chosen].numpy(), 6, flip)
        seen.setdefault(chosen, set()).add(image.tobytes())
    possible = (2 * padding + 1) ** 2 * (1 + flip)
    assert max(map(len, seen.values())) > min(possible, 8) - 1  # windows and mirrors do vary


def test_no_padding_and_no_flip_changes_nothing(images):
    found = data.crop_flip(data.pad(images, 0), torch.arange(20), rng(), 6, flip=False)
    assert np.array_equal(found, images)


def test_half_of_the_images_are_mirrored_and_all_windows_are_as_likely():
    image = torch.arange(36, dtype=torch.uint8).reshape(1, 1, 6, 6)
    found = data.crop_flip(image, torch.zeros(6000, dtype=torch.int64), rng(), 4)
    mirrored = found[:, 0, 0, 0] > found[:, 0, 0, 1]
    assert 2800 < mirrored.sum() < 3200
    corners = torch.where(mirrored, found[:, 0, 0, 3], found[:, 0, 0, 0])
    counts = torch.bincount(corners.long(), minlength=36).reshape(6, 6)
    assert counts[:3, :3].sum() == 6000 and (abs(counts[:3, :3] - 6000 / 9) < 105).all()


def test_the_generator_decides_alone(images):
    padded, index = data.pad(images, 4), torch.arange(20)
    torch.manual_seed(1)
    first = data.crop_flip(padded, index, rng(5), 6)
    torch.manual_seed(2)
    assert torch.equal(first, data.crop_flip(padded, index, rng(5), 6))
    assert not torch.equal(first, data.crop_flip(padded, index, rng(6), 6))


def test_normalise_by_hand():
    given = torch.tensor([[[[0, 255]], [[51, 102]]]], dtype=torch.uint8)
    found = data.normalise(given, (0.5, 0.2), (0.5, 0.1))
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == pytest.approx([-1, 1, 0, 2], abs=1e-6)
    assert data.normalise(given, (0.5, 0.2), (0.5, 0.1), torch.bfloat16).dtype == torch.bfloat16


def test_normalised_training_images_have_mean_0_and_deviation_1():
    digits = data.load("digits")
    found = data.normalise(torch.tensor(digits.train.images), digits.mean, digits.std)
    assert float(found.mean()) == pytest.approx(0, abs=1e-5) and float(found.std()) == pytest.approx(1, abs=1e-4)
