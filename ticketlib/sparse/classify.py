"""A trained ticket as a classifier of its own: batch norm folded into the surviving weights, no zero touched.

    classify = export(model, mask)  # a trained network of models.build, and the mask it was trained with
    logits = classify(images)       # float32 (any number, channels, height, width), scaled as in training

A handful of images goes one at a time: a plane is one row of floats, and vectors run across its line ends. It has a
border of one and a pitch of width + 2, so that a shift by a kernel's row and column is a shift of the whole plane; what
comes out in the border is multiplied by 0. More images go as in training, LANES side by side.
"""

import copy
import functools
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ticketlib.errors import TicketError
from ticketlib.sparse import conv, plan, simd
from ticketlib.sparse.net import SparseNet, aligned, checked_mask
from ticketlib.sparse.norm import EPS
from ticketlib.sparse.simd import LANES, LONG, VECTOR, floats_at, fuse, inner, spread

FEW = LANES // 2  # images; for fewer it does not pay to lay LANES of them side by side
MANY = 64  # images that go through the network at once
SIZES = 4  # image shapes whose layouts are kept

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


def export(model, mask, image_shape=None):
    """A function that classifies images with a ticket, quick for one image as for many; one thread.

    Arguments: model, a trained ResNet or VGG of models.build, float32 on the CPU, in training mode or not; mask, its
        mask: what lies outside counts as 0. They are copied, so what happens to them later changes nothing.
        image_shape, (channels, height, width) to be made ready for now; else that is done when images come.
    Returns: a function from images, float32 (any number, channels, height, width), to logits (number, classes), as the
        masked network gives them in evaluation mode, but for rounding: batch norm is folded into the weights.
    Raises: TicketError for another network, naming the layer that is not computed here, for a mask that does not fit,
        and for values that are no numbers, in network or images.
    """
    first = plan.chain(model)[0].convs[0]
    checked_mask(model, mask)
    for name, value in model.state_dict().items():
        if not value.isfinite().all() or (name.endswith("running_var") and (value < 0).any()):
            raise TicketError(f"{name} has values that are not allowed: no number, or a variance below 0.")
    model, mask = copy.deepcopy(model).requires_grad_(), {name: kept.clone() for name, kept in mask.items()}
    channels = model.get_submodule(first).in_channels
    layouts = functools.lru_cache(SIZES)(lambda shape: _layouts(model, mask, shape))
    if image_shape is not None:
        layouts(tuple(image_shape))

    def classify(images):
        _check_images(images, channels)
        many, one = layouts(tuple(images.shape[1:]))
        if len(images) >= FEW:
            return many.evaluate(images)
        logits = np.empty((len(images), len(one.head_bias)), np.float32)
        _classify_each(one, images.detach().contiguous().numpy(), logits)
        return torch.from_numpy(logits)

    return classify


def _check_images(images, channels):
    """Refuse what compiled code would read wrongly."""
    fits = isinstance(images, torch.Tensor) and images.dtype == torch.float32 and images.device.type == "cpu"
    if not fits or images.ndim != 4 or images.shape[1] != channels or not min(images.shape[2:]):
        seen = f"{images.dtype} {tuple(images.shape)}" if hasattr(images, "dtype") else type(images).__name__
        raise TicketError(f"images of {seen} are not allowed; this ticket takes float32 tensors (any number, "
                          f"{channels}, height, width) on the CPU.")  # fmt: skip
    if not images.sum().isfinite() and not images.isfinite().all():  # the sum costs a tenth of the certain answer
        raise TicketError("images have values that are no finite numbers; a classifier cannot tell what they show.")


def _layouts(model, mask, shape):
    """The network laid out for many images of a shape, and for one."""
    many = SparseNet(model, mask, MANY, shape)
    _share(many.net.layers)
    return many, _Builder(model, {name: kept.numpy() for name, kept in mask.items()}, shape).flat()


def _share(layers):
    """Let every second z take one place: classifying needs but two at a time, and these stay in the cache."""
    for odd in (0, 1):
        z = layers["z"][odd::2]
        home = z["base"][np.argmax(z["channels"] * z["channel"])]
        after = layers[odd + 1 :: 2]
        moved = (home - z["base"])[: len(after)]
        after["rest"]["base"] += np.where(after["rest_kind"] == 2, moved, 0)  # the z of a shortcut
        z["base"] = home


class _Builder:
    """Lays a network out for single images: every activation has a place of its own."""

    def __init__(self, model, masks, image_shape):
        self.state = {name: value.numpy() for name, value in model.state_dict().items()}
        self.masks, self.modules = masks, dict(model.named_modules())
        height, width = image_shape[1:]
        self.size = 2 * (height + 2) * (width + 2)  # zeros, for steps that add nothing
        self.cut = {}  # position -> mask
        self.steps, self.parts, self.starts, self.biases = [], [], [0], []
        plane = self._plane(*image_shape)
        self.steps.append(self._step(0, plane, plane))
        acts = [plane]
        for link in plan.chain(model):
            acts.append(self._link(link, acts))
        self.steps.append(self._step(0, acts[-1], acts[-1]))

    def _take(self, size):
        self.size += -(-size // LANES) * LANES
        return self.size - -(-size // LANES) * LANES

    def _plane(self, channels, height, width):
        """A plane with its border: position, floats to the next channel, pitch, channels, height, width."""
        stride = (height + 2) * (width + 2) + LANES
        return self._take(channels * stride), stride, width + 2, channels, height, width

    @staticmethod
    def _step(kind, source, target, **more):
        """A row of the table; positions are those of the first true pixel, unless said otherwise."""
        at, into = (plane[0] + plane[2] + 1 for plane in (source, target))
        names = ("kind", "source", "source_channel", "source_pitch", "target", "target_channel", "target_pitch")
        row = dict(zip(names, (kind, at, *source[1:3], into, *target[1:3]), strict=True))
        return row | {"channels": source[3], "height": source[4], "width": source[5]} | more

    def _link(self, link, acts):
        """The steps of one link of the chain; returns the plane of its activation."""
        source, stride = acts[-1], self.modules[link.convs[0]].stride[0]
        height, width = ((side - 1) // stride + 1 for side in source[4:])
        phase = 0
        if stride > 1:
            source, phase = self._split(source, stride, width + 2)
        rest = self.short if link.rest == "shortcut" else acts[-2] if link.rest else None
        for names in reversed(list(zip(link.convs, link.norms, strict=True))):
            out = self._plane(self.modules[names[0]].out_channels, height, width)
            relu = names[0] == link.convs[0]
            self._convolve(names, (source, stride, phase), out, rest if relu else None, relu)
            if not relu:
                self.short = out
        if not link.pool:
            return out
        pooled = self._plane(out[3], -(-height // 2), -(-width // 2))
        self.steps.append(self._step(POOL, out, pooled))
        return pooled

    def _split(self, source, stride, pitch):
        """The same activation as stride * stride phases, at the pitch of what the convolution writes."""
        phase = -(-(source[4] + 2) // stride) * pitch
        target = (self._take(source[3] * stride * stride * phase), stride * stride * phase, pitch, *source[3:])
        row = self._step(SPLIT, source, target, split=stride, phase=phase)
        self.steps.append(row | {"target": target[0]})
        return target, phase

    def _convolve(self, names, where, out, rest, relu):
        source, stride, phase = where
        count = -(-((out[4] - 1) * out[2] + out[5]) // LANES)
        mask = self._take(count * LANES)
        columns = np.arange(count * LANES)
        self.cut[mask] = (columns % out[2] < out[5]) & (columns // out[2] < out[4])
        more = {"rest": rest[0] + rest[2] + 1 if rest else 0, "mask": mask, "count": count, "relu": relu}
        row = self._step(CONVOLVE, source, out, starts=len(self.starts) - 1, **more)
        self.steps.append(row | {"source": source[0], "channels": out[3]})
        self._fold(*names, (source, stride, phase))

    def _fold(self, conv, norm, where):
        """Note a convolution's weights, times the scale of its batch norm, and what they multiply."""
        (_, channel, pitch, *_), s, phase = where
        state, kept = self.state, self.masks[f"{conv}.weight"]
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + np.float32(EPS))
        mean = state[f"{norm}.running_mean"] - state.get(f"{conv}.bias", np.float32(0))
        out, into, row, column = plan.entries([kept])
        offset = into * channel + (row % s * s + column % s) * phase + row // s * pitch + column // s
        self.parts.append((state[f"{conv}.weight"][kept] * scale[out], offset))
        self.starts += (self.starts[-1] + np.cumsum(kept.reshape(len(kept), -1).sum(1))).tolist()
        self.biases.append(state[f"{norm}.bias"] - mean * scale)

    def flat(self):
        """The arrays of the classifier."""
        steps = np.zeros(len(self.steps), STEP)
        for row, values in zip(steps, self.steps, strict=True):
            for name, value in values.items():
                row[name] = value
        x = aligned(self.size + 2 * max(row["source_pitch"] for row in steps) + 2 * LANES)  # tiles read past the end
        for position, mask in self.cut.items():
            x[position : position + len(mask)] = mask
        weight, offset = (np.concatenate(parts) for parts in zip(*self.parts, strict=True))
        kept = self.masks["fc.weight"]
        head, head_weight = np.stack(np.nonzero(kept), 1), self.state["fc.weight"][kept]
        features = np.zeros(kept.shape[1], np.float32)
        weight, offset, biases = weight.astype(np.float32), offset.astype(np.int32), np.concatenate(self.biases)
        bias = self.state["fc.bias"].copy()
        return Flat(x, steps, weight, offset, np.array(self.starts), biases, head, head_weight, bias, features)


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
        (x, weight, offset), span_, positions, (bias, least) = conv.members(builder, args, 4)
        x, weight = floats_at(builder, x), floats_at(builder, weight)
        target, rest, mask = (builder.gep(x, [position]) for position in positions[1:])

        def add(k, sums):
            scale = spread(builder, builder.load(builder.gep(weight, [k])))
            row = conv.row_at(builder, x, positions[0], offset, k)
            return [fuse(builder, scale, _load(builder, row, i), value) for i, value in enumerate(sums)]

        low, start = spread(builder, least), spread(builder, bias)
        first = [builder.fadd(start, _load(builder, rest, i)) for i in range(width.literal_value)]
        for i, value in enumerate(conv.loop(builder, span_, first, add)):
            value = builder.select(builder.fcmp_ordered(">", value, low), value, low)
            value = builder.fmul(value, _load(builder, mask, i))
            builder.store(value, _vector(builder, target, i)).align = 4
        return context.get_dummy_value()

    return types.void(arrays, span, where, scalars, width), code


@inner
def _convolve(flat, step):
    x = simd.address(flat.x)
    arrays = x, simd.address(flat.weight), simd.address(flat.offset)
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
    """The function that Python calls; it encloses a number made from its sources, as those of `step` do."""

    @njit(cache=True, error_model="numpy")
    def classify_each(flat, images, logits):
        """Logits, float32 (batch, classes), of images, float32 (batch, channels, height, width), one after another."""
        for b in range(len(images) if version else 0):
            _classify(flat, images[b], logits[b])

    return classify_each


_SOURCES = b"".join(Path(module.__file__).read_bytes() for module in (simd, conv))
_classify_each = _entry(1 + int.from_bytes(sha256(_SOURCES).digest()[:7], "big"))
