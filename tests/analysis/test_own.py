"""Networks and images from outside: seen as they are, named by what they are, refused with what is wrong."""

import functools
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from ticketlib import corrupt, feed, train
from ticketlib.analysis import own
from ticketlib.errors import TicketError
from ticketlib.masks import Mask

DRAW = torch.Generator().manual_seed(0)
BYTES = torch.randint(256, (12, 3, 8, 8), generator=DRAW, dtype=torch.uint8)
FLOATS = torch.randn(12, 1, 8, 8, generator=DRAW)
LABELS = torch.arange(12) % 3


def parts(x, y=LABELS):
    return x[:8], y[:8], x[8:], y[8:]


def seen(dataset):
    return feed.plain(np.array(dataset.train.images), dataset).tensor()


def test_bytes_are_seen_scaled_and_floats_as_they_are():
    scaled = own.dataset(parts(BYTES))
    assert seen(scaled).mean((0, 2, 3)).abs().max() < 1e-5 and seen(scaled).std((0, 2, 3)) == pytest.approx(1, abs=0.01)
    assert torch.equal(seen(own.dataset(parts(FLOATS))), FLOATS[:8])
    assert scaled.classes == ("0", "1", "2") and scaled.train.labels.dtype == np.int64
    assert scaled.test.images.shape == (4, 3, 8, 8) and scaled.train.labels.tolist() == LABELS[:8].tolist()
    constant = own.dataset(parts(BYTES.clone().fill_(7)))
    assert seen(constant).abs().max() < 1e-6


def test_a_name_follows_content_kind_and_shape_of_all_four_parts():
    made = [parts(BYTES), parts(FLOATS), parts(FLOATS[:, :, :4]), parts(BYTES, LABELS.flip(0)), parts(BYTES.flip(0))]
    made += [(BYTES[:7], LABELS[:7], BYTES[7:], LABELS[7:])]
    assert len({own.dataset(of).name for of in made}) == len(made)
    found = own.dataset(parts(BYTES))
    assert re.fullmatch("own-[0-9a-f]{16}", found.name) and found.name == f"own-{found.fingerprint}"
    assert own.dataset([array.numpy() for array in parts(BYTES)]).name == found.name
    assert own.dataset(parts(FLOATS.double())).name == own.dataset(parts(FLOATS)).name


class Pairs(Dataset):
    def __init__(self, images, labels, transform=lambda image: image):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError
        return self.transform(self.images[i]), int(self.labels[i])


def test_two_torch_datasets_are_the_same_images():
    as_parts = own.dataset(parts(BYTES))
    halves = lambda *change: (Pairs(BYTES[:8], LABELS[:8], *change), Pairs(BYTES[8:], LABELS[8:], *change))  # noqa: E731
    picture = lambda image: Image.fromarray(image.permute(1, 2, 0).numpy())  # noqa: E731
    assert own.dataset(halves()).name == own.dataset(halves(picture)).name == as_parts.name
    grey = (Pairs(BYTES[:8], LABELS[:8], lambda image: Image.fromarray(image[0].numpy())),) * 2
    assert own.dataset(grey).train.images.shape == (8, 1, 8, 8)
    with pytest.raises(TicketError, match="Pairs"):
        own.dataset(halves(lambda image: image + torch.rand(1)))
    with pytest.raises(TicketError, match="2 shapes"):
        own.dataset((Pairs([BYTES[0], BYTES[1, :, :4]], LABELS[:2]),) * 2)


WRONG = {
    "(8, 8, 8)": parts(FLOATS[:, 0]),
    "int64 (8, 1, 8, 8)": parts(FLOATS.long()),
    "(8, 8, 8, 3)": parts(BYTES.permute(0, 2, 3, 1)),
    "NaN": parts(FLOATS * torch.nan),
    "train labels of float32": parts(BYTES, LABELS.float()),
    "from -1": parts(BYTES, LABELS - 1),
    "(8, 1)": parts(BYTES, LABELS[:, None]),
    "8 images and 4 labels": (BYTES[:8], LABELS[:4], BYTES[8:], LABELS[8:]),
    "test has 4 images and 12": (BYTES[:8], LABELS[:8], BYTES[8:], LABELS),
    "uint8 (3, 8, 8), float32 (1, 8, 8)": (BYTES[:8], LABELS[:8], FLOATS[8:], LABELS[8:]),
    "3 parts": (BYTES, LABELS, BYTES),
    "1 parts": BYTES,
    "(0, 3, 8, 8)": (BYTES[:0], LABELS[:0], BYTES, LABELS),
    "list": ([1, 2], [3, 4]),
}


@pytest.mark.parametrize("named", WRONG)
def test_images_of_another_form_are_refused_with_what_they_are(named):
    with pytest.raises(TicketError, match=re.escape(named)):
        own.dataset(WRONG[named])


def tiny(classes=3, act=nn.ReLU):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act(), nn.Flatten(), nn.Linear(4 * 36, classes))


class Shown(nn.Linear):
    def extra_repr(self):
        return f"{object()}"


def seed(number):
    return torch.Generator().manual_seed(number)


def test_a_seed_decides_the_weights_and_nothing_else_changes():
    net, before = own.network(tiny), torch.get_rng_state()
    one, two, other = (net(seed(number)).state_dict() for number in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    assert torch.equal(torch.get_rng_state(), before)
    net.check(FLOATS[:2].repeat(1, 3, 1, 1), 3)


def test_a_network_is_named_by_its_code_and_its_layers():
    makes = [tiny, *(functools.partial(tiny, *of) for of in ((4,), (3, nn.ReLU6), (3, nn.Tanh)))]
    keys = [own.network(make).key for make in makes]
    assert len(set(keys)) == 4 and all(re.fullmatch("own-[0-9a-f]{16}", key) for key in keys)
    assert own.network(tiny, "vgg").key == own.network(tiny).key == keys[0]
    assert own.network(functools.partial(tiny)).name == "tiny"
    assert len({own.network(functools.partial(Shown, 3, 4)).key for _ in range(3)}) == 1


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = tiny(), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


def test_logits_are_found_in_what_a_network_returns():
    net = own.network(lambda: Wrapped(lambda x: (x, x + 1)))
    net.check(torch.randn(2, 3, 8, 8), 3)
    trained = train.DenseNet(net(seed(0)), Mask.dense(net(seed(0))))
    assert trained.evaluate(torch.randn(2, 3, 8, 8)).shape == (2, 3)


class Standardised(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, self.weight - self.weight.mean(), self.bias)


REFUSED = {
    "1 computes": lambda: nn.Sequential(nn.Flatten(), Standardised(192, 3)),
    "str": lambda: "no module",
    "another 0.weight": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3)).apply(unseeded),
    "same weights for every seed": lambda: (torch.manual_seed(0), tiny())[1],
    "(2, 2)": functools.partial(tiny, 2),
    "(2, 4, 6, 6)": lambda: nn.Sequential(nn.Conv2d(3, 4, 3)),
    "torch.float64": lambda: tiny().double(),
    "dict": lambda: Wrapped(lambda x: {"a": x}),
}


def unseeded(module):
    if hasattr(module, "weight"):
        module.weight.data += torch.from_numpy(np.random.default_rng().random(module.weight.shape, np.float32))


@pytest.mark.parametrize("named", REFUSED)
def test_a_network_that_does_not_fit_is_refused_with_its_reason(named):
    with pytest.raises(TicketError, match=re.escape(named)):
        own.network(REFUSED[named]).check(torch.randn(2, 3, 8, 8), 3)


def test_a_module_in_place_of_a_function_and_an_unknown_family_are_refused():
    with pytest.raises(TicketError, match="Sequential"):
        own.network(tiny())
    with pytest.raises(TicketError, match="'vit'"):
        own.network(tiny, "vit")


def test_float_pixels_are_shuffled_within_each_image_and_bytes_as_ever():
    images = own.dataset(parts(FLOATS)).train.images
    found = corrupt.random_pixels(images, seed(0))
    assert np.array_equal(np.sort(found.reshape(8, -1)), np.sort(images.reshape(8, -1))) and found.dtype == np.float32
    assert abs(corrupt.pixel_correlation(images, found)) < 0.2

