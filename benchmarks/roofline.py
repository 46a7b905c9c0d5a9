"""What bounds the sparse engine: its arithmetic and memory traffic, counted, over what this machine can do, measured.

A surviving weight costs one multiply-add for every output pixel, forward, for its gradient, and for that of its input
(not in the first layer). Each reads one value from the first cache: vectors cannot be used twice, as the weights that
survive share no pattern. Every value of an activation is besides written or read NEAR and FAR times, further away.
"""

from typing import NamedTuple

import torch
from numba import njit
from timing import side_by_side

from ticketlib import models
from ticketlib.sparse import simd as v
from ticketlib.sparse.net import aligned
from ticketlib.sparse.simd import LANES

FAR = 4  # z and the activation, written on the way forth, read on the way back, a whole network later
NEAR = 14  # of one block of images: moments 1, activate 2 and again 2, convolve 1, gate 4, gradients 4
NEAREST, NEARBY, FURTHEST = 1 << 11, 1 << 16, 1 << 25  # floats: arrays in the first and second cache, and in neither


class Layer(NamedTuple):
    """What the count needs of one prunable convolution, for one image."""

    name: str
    pixels: int  # of a plane of the output
    channels: int  # of the output


class Peaks(NamedTuple):
    """What one core can do: multiply-adds a second, and bytes a second from the first cache, the second, and memory."""

    multiply: float
    first: float
    second: float
    memory: float


def layers(model, shape=(3, 32, 32)):
    """The convolutions of a model in forward order."""
    found, names = [], {module: f"{name}.weight" for name, module in model.named_modules()}
    convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and models.is_prunable(m)]
    note = lambda m, _, out: found.append(Layer(names[m], out[0, 0].numel(), out.shape[1]))  # noqa: E731
    handles = [m.register_forward_hook(note) for m in convs]
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return found


def multiplied(found, kept):
    """Multiply-adds of one image's training step; kept: name -> surviving weights."""
    return sum(kept[layer.name] * layer.pixels * (3 if i else 2) for i, layer in enumerate(found))


def activations(found):
    """Values of all activations of one image."""
    return sum(layer.pixels * layer.channels for layer in found)


def bound(found, kept, peaks):
    """The least seconds of one image's training step: (arithmetic or its reading, memory traffic)."""
    sums, values = multiplied(found, kept), activations(found)
    arithmetic = max(sums / peaks.multiply, 4 * sums / peaks.first)
    return arithmetic, 4 * values * (NEAR / peaks.second + FAR / peaks.memory)


def break_even(found, counts, peaks, dense):
    """The least sparsity, in percents, at which the bound is below the dense path's seconds an image; 1.0 if none.

    Arguments: counts: function from sparsity (decimal text) to kept weights by name. dense: seconds an image.
    """
    for percent in range(1, 100):
        if sum(bound(found, counts(f"0.{percent:02}"), peaks)) <= dense:
            return percent / 100
    return 1.0


def dense_share(found, kept, sizes):
    """Share of a step's multiply-adds in layers that lost no weight; sizes: name -> all weights."""
    whole = {name: count if count == sizes[name] else 0 for name, count in kept.items()}
    return multiplied(found, whole) / multiplied(found, kept)


@njit(error_model="numpy")
def _multiply(x, times):
    """16 chains of multiply-adds that stay in registers."""
    at, a = v.address(x), v.load(v.address(x), 0)
    b = c = d = e = f = g = h = i = a
    j = k = m = n = o = p = q = r = a
    for _ in range(times):
        b, c, d, e = v.fma(a, b, a), v.fma(a, c, a), v.fma(a, d, a), v.fma(a, e, a)
        f, g, h, i = v.fma(a, f, a), v.fma(a, g, a), v.fma(a, h, a), v.fma(a, i, a)
        j, k, m, n = v.fma(a, j, a), v.fma(a, k, a), v.fma(a, m, a), v.fma(a, n, a)
        o, p, q, r = v.fma(a, o, a), v.fma(a, p, a), v.fma(a, q, a), v.fma(a, r, a)
    left, right = (b + c) + (d + e) + ((f + g) + (h + i)), (j + k) + (m + n) + ((o + p) + (q + r))
    v.store(at, 0, v.fma(left, right, a))


@njit(error_model="numpy")
def _read(x, size, times):
    """Read `size` floats, a multiple of 8 vectors, again and again."""
    at, scale = v.address(x), v.load(v.address(x), 0)
    a = b = c = d = e = f = g = h = scale
    for _ in range(times):
        for i in range(0, size, 8 * LANES):
            a, b = a + v.load(at, i), b + v.load(at, i + LANES)
            c, d = c + v.load(at, i + 2 * LANES), d + v.load(at, i + 3 * LANES)
            e, f = e + v.load(at, i + 4 * LANES), f + v.load(at, i + 5 * LANES)
            g, h = g + v.load(at, i + 6 * LANES), h + v.load(at, i + 7 * LANES)
    return v.total((a + b) + (c + d) + ((e + f) + (g + h)))


def peaks():
    """Measure what one core can do."""
    x, chains, steps, each = aligned(FURTHEST), 16, 200_000, FURTHEST
    works = {"multiply": lambda: _multiply(x, steps)}
    for size in (NEAREST, NEARBY, FURTHEST):
        works[size] = lambda size=size: _read(x, size, each // size)
    found = side_by_side(works, 7, 1)
    read = [4 * size * (each // size) / found[size] for size in (NEAREST, NEARBY, FURTHEST)]
    return Peaks(chains * LANES * steps / found["multiply"], *read)
