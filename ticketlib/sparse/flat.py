"""Compiled classification of one image at a time: a plane is one row of floats, and vectors run across its line ends.

A plane of height x width has a border of one and a pitch of width + 2, so that a shift by a kernel's row and column is
a shift of the whole plane. What comes out in the border is multiplied by 0. Batch norm is folded in.
"""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ticketlib.sparse import simd as vectors
from ticketlib.sparse import tiles
from ticketlib.sparse.simd import LANES, LONG, VECTOR, floats_at, fuse, inner, spread

CONVOLVE, SPLIT, POOL = range(3)
STEP = np.dtype(
    [(name, "i8") for name in ("kind", "source", "source_channel", "source_pitch", "target", "target_channel")]
    + [(name, "i8") for name in ("target_pitch", "channels", "height", "width")]
    # CONVOLVE: rest, mask: positions, 0 for no rest (there all is 0); starts: of its first channel; count: vectors of
    # a plane; relu: 0 or 1
    + [(name, "i8") for name in ("rest", "mask", "starts", "count", "relu")]
    # SPLIT: into split * split phases, `phase` floats apart
    + [(name, "i8") for name in ("split", "phase")]
)


class Flat(NamedTuple):
    """All arrays of a classifier for single images, float32 where nothing is said."""

    x: np.ndarray
    steps: np.ndarray  # STEP
    weight: np.ndarray
    offset: np.ndarray  # int32, from a step's source to what a weight multiplies
    starts: np.ndarray  # int64: weights starts[i]:starts[i + 1] make a channel
    bias: np.ndarray  # of each channel
    head: np.ndarray  # int64 (kept, 2): class and feature of each of the classifier's weights
    head_weight: np.ndarray
    head_bias: np.ndarray
    features: np.ndarray  # (channels of the last step,), scratch


def _vector(builder, pointer, i):
    """Pointer to the i-th vector from a float, wherever that lies."""
    return builder.bitcast(builder.gep(pointer, [ir.Constant(LONG, i * LANES)]), VECTOR.as_pointer())


def _load(builder, pointer, i):
    value = builder.load(_vector(builder, pointer, i))
    value.align = 4
    return value


@intrinsic(prefer_literal=True)
def flat_tile(typing, arrays, span, where, scalars, width):
    """`width` vectors of a plane: mask * max(least, bias + rest + the sum of weight[k] * x[source + offset[k]]).

    Arguments: arrays: addresses of x, weight, offset. span: first and last + 1 of k. where: positions (source,
    target, rest, mask). scalars: (bias, least), float32. width: a literal.
    """

    def code(context, builder, signature, args):
        (x, weight, offset), span_, positions, (bias, least) = tiles.members(builder, args, 4)
        x, weight = floats_at(builder, x), floats_at(builder, weight)
        target, rest, mask = (builder.gep(x, [position]) for position in positions[1:])

        def add(k, sums):
            scale = spread(builder, builder.load(builder.gep(weight, [k])))
            row = tiles.row_at(builder, x, positions[0], offset, k)
            return [fuse(builder, scale, _load(builder, row, i), value) for i, value in enumerate(sums)]

        low, start = spread(builder, least), spread(builder, bias)
        first = [builder.fadd(start, _load(builder, rest, i)) for i in range(width.literal_value)]
        for i, value in enumerate(tiles.loop(builder, span_, first, add)):
            value = builder.select(builder.fcmp_ordered(">", value, low), value, low)
            value = builder.fmul(value, _load(builder, mask, i))
            builder.store(value, _vector(builder, target, i)).align = 4
        return context.get_dummy_value()

    return types.void(arrays, span, where, scalars, width), code


@inner
def _convolve(flat, step):
    x = vectors.address(flat.x)
    arrays = x, vectors.address(flat.weight), vectors.address(flat.offset)
    least = np.float32(0 if step.relu else -np.inf)
    count, rest_step = step.count, step.target_channel if step.rest else 0
    for c in range(step.channels):
        span = flat.starts[step.starts + c], flat.starts[step.starts + c + 1]
        scalars = flat.bias[step.starts + c], least
        done = 0
        while done < count:
            i = done * LANES
            target = step.target + c * step.target_channel + i
            where = step.source + i, target, step.rest + c * rest_step + i, step.mask + i
            if count - done >= 8:
                flat_tile(arrays, span, where, scalars, 8)
                done += 8
            elif count - done >= 4:
                flat_tile(arrays, span, where, scalars, 4)
                done += 4
            else:
                flat_tile(arrays, span, where, scalars, 1)
                done += 1


@inner
def _split(flat, step):
    x, s = flat.x, step.split  # phases as in layout
    for c in range(step.channels):
        for y in range(step.height):
            source = step.source + c * step.source_channel + y * step.source_pitch
            target = step.target + c * step.target_channel + (y + 1) // s * step.target_pitch
            for i in range(step.width):
                x[target + ((y + 1) % s * s + (i + 1) % s) * step.phase + (i + 1) // s] = x[source + i]


@inner
def _pool(flat, step):
    """2 x 2 windows, smaller at an odd edge; height and width are the source's."""
    x = flat.x
    for c in range(step.channels):
        for y in range(0, step.height, 2):
            source = step.source + c * step.source_channel + y * step.source_pitch
            target = step.target + c * step.target_channel + y // 2 * step.target_pitch
            for i in range(0, step.width, 2):
                best = x[source + i]
                for down in range(min(2, step.height - y)):
                    for right in range(min(2, step.width - i)):
                        best = max(best, x[source + down * step.source_pitch + i + right])
                x[target + i // 2] = best


@inner
def _classify(flat, image, logits):
    first, last = flat.steps[0], flat.steps[len(flat.steps) - 1]
    for c in range(image.shape[0]):
        for y in range(image.shape[1]):
            start = first.source + c * first.source_channel + y * first.source_pitch
            flat.x[start : start + image.shape[2]] = image[c, y]
    for i in range(1, len(flat.steps) - 1):
        step = flat.steps[i]
        if step.kind == CONVOLVE:
            _convolve(flat, step)
        elif step.kind == SPLIT:
            _split(flat, step)
        else:
            _pool(flat, step)
    for c in range(last.channels):
        start, total = last.source + c * last.source_channel, np.float32(0)
        for i in range(start, start + last.height * last.source_pitch):  # the border is 0
            total += flat.x[i]
        flat.features[c] = total / np.float32(last.height * last.width)
    logits[:] = flat.head_bias
    for e in range(len(flat.head)):
        logits[flat.head[e, 0]] += flat.head_weight[e] * flat.features[flat.head[e, 1]]


def _entry(version):
    """The function that Python calls; it encloses a number made from its sources, as those of kernels do."""

    @njit(cache=True, error_model="numpy")
    def classify(flat, images, logits):
        """Logits, float32 (batch, classes), of images, float32 (batch, channels, height, width), one after another."""
        for b in range(len(images) if version else 0):
            _classify(flat, images[b], logits[b])

    return classify


_SOURCES = b"".join(Path(module.__file__).read_bytes() for module in (vectors, tiles))
classify = _entry(1 + int.from_bytes(sha256(_SOURCES).digest()[:7], "big"))
