"""A trained ticket as a classifier of its own: batch norm folded into the surviving weights, no zero touched."""

import numpy as np
import torch

from ticketlib.errors import TicketError
from ticketlib.experiments import run as experiment
from ticketlib.sparse import flat
from ticketlib.sparse import plan as plans
from ticketlib.sparse.flat import CONVOLVE, POOL, SPLIT, STEP, Flat
from ticketlib.sparse.net import SparseNet, aligned
from ticketlib.sparse.norm import EPS
from ticketlib.sparse.simd import LANES

FEW = LANES // 2  # images; for fewer it does not pay to lay LANES of them side by side


def export(model, mask, image_shape):
    """A function that classifies images with a ticket, quick for one image as for many.

    Arguments: model, a trained ResNet or VGG, float32; mask, its mask; image_shape, (channels, height, width).
    Returns: a function from images, float32 (any number, channels, height, width), to logits (number, classes).
    Raises: TicketError, as SparseNet does.
    """
    many = SparseNet(model, mask, 64, image_shape)
    _share(many.net.layers)
    one = _Builder(model, {name: kept.numpy() for name, kept in mask.items()}, image_shape).flat()

    def classify(images):
        if len(images) >= FEW:
            return many.evaluate(images)
        if images.dtype != torch.float32 or images.shape[1:] != many.image_shape:
            raise TicketError(f"images of {tuple(images.shape)} are not allowed; this ticket takes {many.image_shape}.")
        logits = np.empty((len(images), len(one.head_bias)), np.float32)
        flat.classify(one, images.contiguous().numpy(), logits)
        return torch.from_numpy(logits)

    return classify


def from_recipe(config, dataset, **options):
    """Train the ticket of a ledger's row again, by its own recipe, and export it.

    Arguments: config, runs.Config, as row.config; dataset, the data.Dataset it names; options, as experiment.execute.
    Returns: (the function that `export` makes, the ledger.Row of this training).
    """
    kept = []
    row = experiment.execute(config, dataset, keep=lambda *found: kept.extend(found), **options)
    return export(*kept, dataset.train.images.shape[1:]), row


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
        for link in plans.chain(model):
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
        for conv, norm in reversed(list(zip(link.convs, link.norms, strict=True))):
            out = self._plane(self.modules[conv].out_channels, height, width)
            relu = conv == link.convs[0]
            self._convolve((conv, norm), (source, stride, phase), out, rest if relu else None, relu)
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
        out, into, row, column = plans.entries([kept])
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
