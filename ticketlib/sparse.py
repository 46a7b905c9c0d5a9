"""Training that skips the zeros: a masked ResNet or VGG on the CPU, in float32, whose cost follows its weights."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ticketlib import kernels, plans
from ticketlib.errors import TicketError
from ticketlib.layout import Activation, Convolution, Norm
from ticketlib.models import prunable
from ticketlib.norms import set_norm, set_slope
from ticketlib.plans import NO_GRID
from ticketlib.vectors import LANES

MOMENTUM, EPS = 0.1, 1e-5  # torch's batch norm


def aligned(size):
    """A zeroed float32 array whose start suits whole-vector loads."""
    raw = np.zeros(size + LANES, np.float32)
    skip = -raw.ctypes.data // 4 % LANES
    return raw[skip : skip + size]


def _norm(channels):
    zeros = [np.zeros(channels, np.float32) for _ in range(6)]
    return Norm(*zeros, np.zeros((channels, 2)), np.zeros((channels, 3), np.float32))


def _part(norm, start, stop=None):
    return Norm(*(values[start:stop] for values in norm))


NO_NORM = _norm(0)
NO_ACTIVATION = Activation(NO_GRID, NO_NORM, NO_GRID, NO_NORM, NO_GRID, NO_GRID, NO_GRID, False, False)


class Layer(NamedTuple):
    """One link of the chain, ready to run."""

    conv: Convolution
    act: Activation
    upper: plans.Grid  # gradients that reach the shortcut's channels
    weights: slice  # of the flat parameters, as the next three
    gamma: slice
    beta: slice
    bias: slice


class SparseNet:
    """A masked network with its own copy of the surviving weights, trained without touching a zero.

    Arguments:
        model: ResNet or VGG, float32; left as it is until `write_back`.
        mask: Mapping from parameter name to bool tensor, True where a weight survives.
        batch_size: the most images a step takes, at least 1. image_shape: (channels, height, width).
    Raises: TicketError for another kind of network or a mask that does not fit it.
    """

    def __init__(self, model, mask, batch_size, image_shape):
        masks = _checked(model, mask)
        self.batch_size, self.image_shape = batch_size, tuple(image_shape)
        self.arena, self.links = plans.Arena(-(-batch_size // LANES)), plans.chain(model)
        self._place_parameters(model, masks)
        acts = self._activations(dict(model.named_modules()))
        self.layers = [self._layer(i, acts, masks) for i in range(len(acts))]
        self.x, self.lanes = aligned(self.arena.size), aligned(self.arena.blocks * LANES)
        self.features = aligned(self.arena.blocks * LANES * acts[-1].out.channels)
        self.dots = aligned(LANES * max(len(layer.conv.taps.index) for layer in self.layers))
        self._load(model)

    def _place_parameters(self, model, masks):
        """Give every surviving parameter its place in the flat arrays: self.places, name -> (slice, mask or None)."""
        self.places, size, dense = {}, 0, dict(model.named_parameters())
        for name in [name for link in self.links for name in _parameters(link, dense)] + ["fc.weight", "fc.bias"]:
            count = int(masks[name].sum()) if name in masks else dense[name].numel()
            self.places[name] = (slice(size, size + count), masks.get(name))
            size += count
        self.w, self.gradient, self.velocity = aligned(size + 1), np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.w[size] = 1  # scales what an identity passes back

    def _span(self, names, kind):
        """The slice of the flat arrays that one kind of parameter of a link's parts fills."""
        found = [self.places[f"{name}.{kind}"][0] for name in names if f"{name}.{kind}" in self.places]
        return slice(found[0].start, found[-1].stop) if found else slice(0, 0)

    def _activations(self, modules):
        """The chain's activations; the one a stride-s convolution reads is kept as s * s phases."""
        channels, height, width = self.image_shape
        strides = [modules[link.convs[0]].stride[0] for link in self.links] + [1]
        self.images = self.arena.grid(channels, height, width, strides[0])
        acts = []
        for i, link in enumerate(self.links):
            height, width = (height - 1) // strides[i] + 1, (width - 1) // strides[i] + 1
            channels = modules[link.convs[0]].out_channels
            z = self.arena.grid(channels * len(link.convs), height, width)
            height, width = (-(-height // 2), -(-width // 2)) if link.pool else (height, width)
            out = self.arena.grid(channels, height, width, strides[i + 1])
            dy = self._gradient_grid(i, z, out)
            raw = dy if out.split == 1 else self.arena.grid(channels, height, width, out.split, "raw")
            act = Activation(z, _norm(z.channels), NO_GRID, NO_NORM, out, raw, dy, link.pool, link.rest == "shortcut")
            acts.append(act._replace(**self._rest(link, acts, channels)))
        return acts

    def _gradient_grid(self, i, z, out):
        """Inside a block the gradients before and behind batch norm share a grid; a block's end needs both."""
        if i + 1 < len(self.links) and self.links[i + 1].rest:
            return self.arena.grid(z.channels, z.height, z.width, 1, "inside")._replace(channels=out.channels)
        return self.arena.grid(out.channels, out.height, out.width, 1, "end")

    @staticmethod
    def _rest(link, acts, channels):
        if link.rest == "input":
            norm = _norm(channels)
            norm.scale[:] = 1
            return {"rest": acts[-2].out, "rest_norm": norm}
        if link.rest == "shortcut":
            z = acts[-1].z
            rest = z._replace(base=z.base + channels * z.channel, channels=channels)
            return {"rest": rest, "rest_norm": _part(acts[-1].norm, channels)}
        return {}

    def _layer(self, i, acts, masks):
        link, act, after = self.links[i], acts[i], acts[i + 1] if i + 1 < len(acts) else NO_ACTIVATION
        source, raw = (acts[i - 1].out, acts[i - 1].raw) if i else (self.images, NO_GRID)
        z = act.z
        dz = self.arena.grid(z.channels, z.height, z.width, 1, "inside" if after.rest.channels else "start")
        weights, places = self._span(link.convs, "weight"), plans.entries([masks[f"{c}.weight"] for c in link.convs])
        taps = plans.forward_taps(places, source, z.channels, weights.start)
        back = plans.backward_taps(places if i else places[:, :0], dz, raw, weights.start)
        if i and after.rest.channels and not after.shortcut:
            back = plans.add_identity(back, dz, after.dy, len(self.gradient))
        conv = Convolution(source, z, act.norm, taps, dz, raw, back)
        part = act._replace(norm=_part(act.norm, 0, act.out.channels))
        spans = (self._span(link.norms, "weight"), self._span(link.norms, "bias"), self._span(link.convs, "bias"))
        return Layer(conv, part, after.dy if after.shortcut else NO_GRID, weights, *spans)

    def _load(self, model):
        """Copy parameters and running statistics out of a model."""
        dense = {name: p.detach() for name, p in model.named_parameters()}
        for name, (place, mask) in self.places.items():
            self.w[place] = (dense[name] if mask is None else dense[name][torch.from_numpy(mask)]).flatten().numpy()
        buffers = dict(model.named_buffers())
        for link, layer in zip(self.links, self.layers, strict=True):
            for kind in ("running_mean", "running_var"):
                whole = torch.cat([buffers[f"{name}.{kind}"] for name in link.norms])
                getattr(layer.conv.norm, kind)[:] = whole.numpy()
            bias = self.w[layer.bias]
            layer.conv.norm.running_mean[: len(bias)] -= bias
        self.steps = int(buffers[f"{self.links[0].norms[0]}.num_batches_tracked"])

    def step(self, images, labels):
        """Compute the mean loss of a batch and all its gradients, and update the running statistics.

        Arguments:
            images: float32 (batch, channels, height, width), batch from 1 to batch_size. labels: int64 (batch,).
        Returns: float, the mean cross-entropy.
        """
        lanes = self._pack(images)
        before = NO_ACTIVATION
        for layer in self.layers:
            kernels.forward(self.x, self.w, before, layer.conv, lanes)
            z = layer.conv.z
            batch = (len(images) * z.height * z.width, MOMENTUM, EPS)
            set_norm(layer.conv.norm, batch, self.w[layer.gamma], self.w[layer.beta])
            before = layer.act
        kernels.forward_last(self.x, before, self.features, lanes)
        loss = self._classify_and_back(labels)
        kernels.backward_last(self.x, before, self.features, lanes)
        for i in reversed(range(len(self.layers))):
            self._layer_back(i, lanes)
        self.steps += 1
        return loss

    def _layer_back(self, i, lanes):
        layer, before = self.layers[i], self.layers[i - 1].act if i else NO_ACTIVATION
        conv = layer.conv
        count = int(lanes.sum()) * conv.z.height * conv.z.width
        set_slope(conv.norm, count, self.w[layer.gamma], (self.gradient[layer.gamma], self.gradient[layer.beta]))
        dots = self.dots[: len(conv.taps.index) * LANES]
        kernels.backward(self.x, self.w, (layer.act, layer.upper, conv, before), lanes, dots)
        kernels.add_lanes(dots, self.gradient[layer.weights])

    def _pack(self, images):
        """Lay a batch out; returns which lanes of its blocks it fills, float32 0 or 1."""
        if images.shape[1:] != self.image_shape or not 1 <= len(images) <= self.batch_size:
            allowed = f"1 to {self.batch_size} images of {self.image_shape}"
            raise TicketError(f"images of shape {tuple(images.shape)} are not allowed; this net takes {allowed}.")
        kernels.pack(self.x, images.detach().contiguous().numpy(), self.images)
        self.lanes[:] = np.arange(len(self.lanes)) < len(images)
        return self.lanes[: -(-len(images) // LANES) * LANES]

    def _logits(self, count):
        """Features (count, channels), classifier weight, and logits (count, classes), torch tensors."""
        features = torch.from_numpy(self.features).view(self.arena.blocks, -1, LANES).transpose(1, 2).flatten(0, 1)
        weight, bias = (self._dense(name, self.w) for name in ("fc.weight", "fc.bias"))
        return features[:count], weight, torch.addmm(bias, features[:count], weight.t())

    def _classify_and_back(self, labels):
        """Loss; leaves the classifier's gradients in place and the features' in self.features."""
        features, weight, logits = self._logits(len(labels))
        loss = F.cross_entropy(logits, labels)
        slope = (torch.softmax(logits, 1) - F.one_hot(labels, logits.shape[1])) / len(labels)
        place, mask = self.places["fc.weight"]
        self.gradient[place] = (slope.t() @ features)[torch.from_numpy(mask)].numpy()
        self.gradient[self.places["fc.bias"][0]] = slope.sum(0).numpy()
        back = torch.zeros(self.arena.blocks * LANES, features.shape[1])
        back[: len(labels)] = slope @ weight
        self.features[:] = back.view(self.arena.blocks, LANES, -1).transpose(1, 2).flatten().numpy()
        return float(loss)

    def update(self, lr, momentum, weight_decay):
        """One step of SGD from the last gradients, as torch.optim.SGD over all surviving parameters."""
        kernels.descend(self.w, self.gradient, self.velocity, np.array([lr, momentum, weight_decay], np.float32))

    def evaluate(self, images):
        """Logits in evaluation mode: float32 (any number, channels, height, width) -> float32 (number, classes)."""
        for layer in self.layers:
            norm = layer.conv.norm
            norm.scale[:] = self.w[layer.gamma] / np.sqrt(norm.running_var + np.float32(EPS))
            norm.shift[:] = self.w[layer.beta] - norm.running_mean * norm.scale
        return torch.cat([self._evaluate_batch(part) for part in images.split(self.batch_size)])

    def _evaluate_batch(self, images):
        lanes, before = self._pack(images), NO_ACTIVATION
        for layer in self.layers:
            kernels.forward(self.x, self.w, before, layer.conv, lanes)
            layer.conv.norm.sums[:] = 0
            before = layer.act
        kernels.forward_last(self.x, before, self.features, lanes)
        return self._logits(len(images))[2]

    def _dense(self, name, flat):
        """One parameter from a flat array in its dense shape, zeros where pruned."""
        place, mask = self.places[name]
        if mask is None:
            return torch.from_numpy(flat[place].copy())
        dense = np.zeros(mask.shape, np.float32)
        dense[mask] = flat[place]
        return torch.from_numpy(dense)

    def gradients(self):
        """The last step's gradients, dense: dict from parameter name to float32 tensor, 0 where pruned."""
        return {name: self._dense(name, self.gradient) for name in self.places}

    def write_back(self, model):
        """Write parameters (0 where pruned), running statistics and the number of steps into a model of this kind."""
        state = {name: self._dense(name, self.w) for name in self.places}
        for link, layer in zip(self.links, self.layers, strict=True):
            norm, bias = layer.conv.norm, self.w[layer.bias]
            mean = norm.running_mean.copy()
            mean[: len(bias)] += bias
            parts = len(link.norms)
            for k, name in enumerate(link.norms):
                state[f"{name}.running_mean"] = torch.from_numpy(np.split(mean, parts)[k])
                state[f"{name}.running_var"] = torch.from_numpy(np.split(norm.running_var, parts)[k])
                state[f"{name}.num_batches_tracked"] = torch.tensor(self.steps)
        model.load_state_dict(state)


def _parameters(link, dense):
    """The names of a link's parameters in the order of the flat arrays."""
    names = [f"{conv}.weight" for conv in link.convs]
    names += [f"{norm}.{kind}" for kind in ("weight", "bias") for norm in link.norms]
    return names + [f"{conv}.bias" for conv in link.convs if f"{conv}.bias" in dense]


def _checked(model, mask):
    """The mask as numpy arrays, in forward order."""
    weights = prunable(model)
    if set(mask) != set(weights):
        odd = sorted(set(mask) ^ set(weights))
        raise TicketError(f"The mask does not fit the network: {', '.join(odd)} is in one of them only.")
    for name, weight in weights.items():
        if mask[name].dtype != torch.bool or mask[name].shape != weight.shape:
            seen = f"{mask[name].dtype} {tuple(mask[name].shape)}"
            raise TicketError(f"The mask of {name} is {seen}; it must be bool {tuple(weight.shape)}.")
    return {name: mask[name].numpy() for name in weights}
