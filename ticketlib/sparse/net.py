"""Training that skips the zeros: a masked ResNet or VGG on the CPU, in float32, whose cost follows its weights.

The idea: a batch lies image beside image, [channel, row, column, image], each plane padded by one. So a pixel of LANES
images is one vector, and a row of pixels is a run of them. Then each surviving weight w, from channel i to channel o,
costs three passes over rows, and a pruned weight none, as no list names it:

    forward                 out[o]        += w * in[i, moved by w's place in the kernel]
    gradient of the input   d_in[i]       += w * d_out[o, moved the other way]
    gradient of the weight  d_w            = the sum of d_out[o] * in[i, moved]

A step is one compiled function, not an autograd function round each convolution. So batch norm, ReLU and the residual
sum are one pass that writes what the next convolution reads, block by block while it lies in the cache; nothing is
turned into torch's layout and back; and inner activations are made twice rather than kept. Augmentation is a pass of
its own from bytes into the layout. torch does the rest: the models, their initial values, the masks and all draws.

Beneath it: `plan` (what each weight reads), `layout` (where numbers lie), `simd` (short vectors), `conv`, `norm` and
`head` (the passes), `step` (a whole step). `classify` makes of a trained ticket a classifier of its own.
"""

import numpy as np
import torch

from ticketlib.errors import TicketError
from ticketlib.feed import Feed
from ticketlib.models import prunable
from ticketlib.sparse import plan, step
from ticketlib.sparse.layout import CHANNEL, LAYER, Net, Seen, Taps
from ticketlib.sparse.simd import LANES


def aligned(size):
    """A zeroed float32 array whose start suits whole-vector loads."""
    raw = np.zeros(size + LANES, np.float32)
    skip = -raw.ctypes.data // 4 % LANES
    return raw[skip : skip + size]


class SparseNet:
    """A masked network with its own copy of the surviving weights, trained without touching a zero.

    One thread, float32, the same to the last digit on the same machine.

    Arguments:
        model: ResNet or VGG, float32; left as it is until `write_back`.
        mask: Mapping from parameter name to bool tensor, True where a weight survives.
        batch_size: the most images a step takes, at least 1. image_shape: (channels, height, width).
    Raises: TicketError for another kind of network or a mask that does not fit it.
    """

    def __init__(self, model, mask, batch_size, image_shape):
        self.links = plan.chain(model)
        _refuse_frozen(model)
        masks = checked_mask(model, mask)
        self.batch_size, self.image_shape = batch_size, tuple(image_shape)
        self._check_sizes(model.get_submodule(self.links[0].convs[0]).in_channels)
        self.places = _places(self.links, masks, dict(model.named_parameters()))
        arena = plan.Arena(-(-batch_size // LANES))
        layers = self._layers(arena, dict(model.named_modules()))
        taps = self._taps(layers, masks)
        self.net = self._net(arena, layers, taps)
        self.weight = aligned(len(taps.back_index))
        self.load(model)

    def _check_sizes(self, channels):
        """Refuse images that the first convolution does not take, which compiled code would read past."""
        sizes = (self.batch_size, *self.image_shape)
        whole = all(isinstance(size, int) and size > 0 for size in sizes)
        if not whole or len(self.image_shape) != 3 or self.image_shape[0] != channels:
            raise TicketError(f"batches of {self.batch_size!r} images of shape {self.image_shape} are not allowed; the "
                              f"network takes (channels, height, width) with {channels} channels.")  # fmt: skip

    def _layers(self, arena, modules):
        """The table of layers, but for where their taps lie; each layer reads what the one before made."""
        channels, height, width = self.image_shape
        strides = [modules[link.convs[0]].stride[0] for link in self.links] + [1]
        layers = np.zeros(len(self.links), LAYER)
        source, norm = arena.padded(channels, height, width, strides[0]), 0
        for layer, link, stride, following in zip(layers, self.links, strides, strides[1:], strict=False):
            height, width = (height - 1) // stride + 1, (width - 1) // stride + 1
            channels = modules[link.convs[0]].out_channels
            z = arena.plain(channels * len(link.convs), height, width)
            _set(layer, source=source, z=z, dz=arena.padded(z.channels, height, width, name="dz"), norm=norm)
            height, width = (-(-height // 2), -(-width // 2)) if link.pool else (height, width)
            source = arena.padded(channels, height, width, following, name=None if link.keep else "activation")
            dy = arena.plain(channels, height, width, name="end" if link.keep else "inside")
            _set(layer, out=source, dy=dy, pool=link.pool)
            norm += z.channels
        for i, link in enumerate(self.links):
            if link.rest == "input":
                _set(layers[i], rest=layers[i - 2]["out"], rest_kind=1)
                _set(layers[i - 1], carry=True)
            if link.rest == "shortcut":
                rest, channels = layers[i - 1]["z"].copy(), layers[i]["z"]["channels"]
                rest["base"] += channels * rest["channel"]
                _set(layers[i], rest=rest, rest_kind=2, rest_norm=layers[i - 1]["norm"] + channels)
                _set(layers[i - 1], upper=layers[i]["dy"])
        return layers

    def _taps(self, layers, masks):
        """The taps of all layers, end to end; notes in the table of layers where each one's begin."""
        parts = [[np.zeros(0, np.int64)] for _ in range(5)]
        for i, (layer, link) in enumerate(zip(layers, self.links, strict=True)):
            places = plan.entries([masks[f"{conv}.weight"] for conv in link.convs])
            at = [sum(map(len, part)) for part in parts]
            _set(layer, first=at[1], last=at[1] + places.shape[1], starts=at[0], back_starts=at[2], back=at[3])
            source, dz = (plan.Grid(*layer[name].tolist()) for name in ("source", "dz"))
            kept, phases = places.shape[1], source.channels * source.split**2
            forth, reverse = plan.groups(kept, dz.channels, source.channels), plan.groups(kept, phases, dz.channels)
            _set(layer, groups=forth, back_groups=reverse)
            starts, offset = plan.forward_taps(places, source, dz.channels, forth)
            back = plan.backward_taps(places if i else places[:, :0], source, dz, reverse)
            for part, values in zip(parts, (starts, offset, *back[:2], back[2] + at[1]), strict=True):
                part.append(values)
        starts, offset, back_starts, back_offset, back_index = map(np.concatenate, parts)
        narrow = [values.astype(np.int32) for values in (offset, back_offset, back_index)]
        return Taps(starts, narrow[0], back_starts, *narrow[1:])

    def _net(self, arena, layers, taps):
        classes, width = self.places["fc.weight"][1].shape
        head = np.stack(np.nonzero(self.places["fc.weight"][1]), 1).astype(np.int64)
        size, lanes = self.places["fc.bias"][0].stop, arena.blocks * LANES
        flat = [aligned(size + extra) for extra in (1, 0, 0)]
        most = max(layer["last"] - layer["first"] for layer in layers)
        channels = np.zeros(layers[-1]["norm"] + layers[-1]["z"]["channels"], CHANNEL)
        scratch = [aligned(count) for count in (lanes, most * LANES, lanes * width, lanes * classes)]
        return Net(aligned(arena.size), *flat, layers, channels, taps, *scratch, head)

    def load(self, model):
        """Copy the surviving weights, the other parameters and the running statistics out of a model."""
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        for name, (place, mask) in self.places.items():
            self.net.w[place] = state[name].ravel() if mask is None else state[name][mask]
        for conv, norm, channels in self._norms():
            for kind, name in (("gamma", f"{norm}.weight"), ("beta", f"{norm}.bias"), ("bias", f"{conv}.bias")):
                place = self.places[name][0] if name in self.places else None
                channels[kind] = np.arange(place.start, place.stop) if place else len(self.net.gradient)
            for kind in ("running_mean", "running_var"):
                channels[kind] = state[f"{norm}.{kind}"]
        self.steps = int(state[f"{self.links[0].norms[0]}.num_batches_tracked"])
        self.net.velocity[:] = 0

    def _norms(self):
        """Name of each convolution and of its batch norm, and their rows in the table of channels."""
        for layer, link in zip(self.net.layers, self.links, strict=True):
            rows = self.net.channels[layer["norm"] :][: layer["z"]["channels"]]
            yield from zip(link.convs, link.norms, np.split(rows, len(link.convs)), strict=True)

    def step(self, batch, labels):
        """Compute the mean loss of a batch and all its gradients, and update the running statistics.

        Arguments: batch: feed.Batch of 1 to batch_size images. labels: int64 (batch,).
        Returns: float, the mean cross-entropy.
        """
        pixels = self._images(batch.pixels, torch.uint8)
        if labels.shape != pixels.shape[:1] or labels.dtype != torch.int64:
            raise TicketError(f"labels of {labels.dtype} {tuple(labels.shape)} do not fit {len(pixels)} images.")
        (lowest, highest), classes = labels.aminmax(), self.places["fc.weight"][1].shape[0]
        if not 0 <= lowest <= highest < classes:
            raise TicketError(f"labels {lowest} to {highest} are not allowed; they lie between 0 and {classes - 1}.")
        self.steps += 1
        windows, labels = batch.windows.contiguous(), labels.contiguous()  # a step is compiled for each layout it sees
        seen = Seen(pixels, windows.numpy(), batch.scaling.numpy())
        return step.learn(self.net, seen, labels.numpy(), self.weight)

    def _images(self, images, dtype):
        fits = images.dtype == dtype and images.shape[1:] == self.image_shape
        if not fits or not 1 <= len(images) <= self.batch_size:
            seen, allowed = f"{images.dtype} {tuple(images.shape)}", f"1 to {self.batch_size} of {self.image_shape}"
            raise TicketError(f"images of {seen} are not allowed; this takes {dtype}, {allowed}.")
        return images.detach().contiguous().numpy()

    def update(self, lr, momentum, weight_decay):
        """One step of SGD from the last gradients, as torch.optim.SGD over all surviving parameters."""
        step.update(self.net, np.float32(lr), np.float32(momentum), np.float32(weight_decay))

    def feed(self, dataset, config, order, windows):
        """The training images as this network takes them: feed.Feed, whose arguments these are."""
        return Feed(dataset, config, order, windows)

    def learn(self, feed, size, lr, config):
        """Train on the next `size` images of a Feed: forward, backward, update. Returns: float, the mean loss."""
        loss = self.step(*feed.batch(size))
        self.update(lr, config.momentum, config.weight_decay)
        return loss

    def state(self):
        """Everything that training changes: dict of tensors."""
        found = {"w": self.net.w, "velocity": self.net.velocity, "steps": np.array(self.steps)}
        found |= {kind: self.net.channels[kind] for kind in ("running_mean", "running_var")}
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}

    def go_on(self, state):
        """Take over what `state` gave."""
        self.net.w[:], self.net.velocity[:], self.steps = state["w"], state["velocity"], int(state["steps"])
        for kind in ("running_mean", "running_var"):
            self.net.channels[kind] = state[kind]

    def evaluate(self, images):
        """Logits in evaluation mode: float32 (any number, channels, height, width) -> float32 (number, classes)."""
        return torch.cat([self._evaluate_batch(part) for part in images.split(self.batch_size)])

    def _evaluate_batch(self, images):
        step.classify(self.net, self._images(images, torch.float32))
        blocks = len(self.net.mask) // LANES
        logits = self.net.logits.reshape(blocks, -1, LANES).swapaxes(1, 2).reshape(blocks * LANES, -1)
        return torch.from_numpy(logits[: len(images)].copy())

    def _dense(self, flat):
        """All parameters from a flat array in their dense shapes, zeros where pruned."""
        dense = {name: flat[place].copy() for name, (place, _) in self.places.items()}
        for name, (_, mask) in self.places.items():
            if mask is not None:
                values, dense[name] = dense[name], np.zeros(mask.shape, np.float32)
                dense[name][mask] = values
        return {name: torch.from_numpy(values) for name, values in dense.items()}

    def gradients(self):
        """The last step's gradients, dense: dict from parameter name to float32 tensor, 0 where pruned."""
        return self._dense(self.net.gradient)

    def write_back(self, model):
        """Write parameters (0 where pruned), running statistics and the number of steps into a model of this kind."""
        state = self._dense(self.net.w)
        for _, norm, channels in self._norms():
            for kind in ("running_mean", "running_var"):
                state[f"{norm}.{kind}"] = torch.from_numpy(channels[kind].copy())
            state[f"{norm}.num_batches_tracked"] = torch.tensor(self.steps)
        model.load_state_dict(state)


def _set(row, **values):
    for name, value in values.items():
        row[name] = value


def _places(links, masks, dense):
    """Where each parameter lies in the flat arrays: name -> (slice, mask or None); convolutions first, head last."""
    names = [f"{conv}.weight" for link in links for conv in link.convs]
    names += [f"{norm}.{kind}" for link in links for kind in ("weight", "bias") for norm in link.norms]
    names += [f"{conv}.bias" for link in links for conv in link.convs if f"{conv}.bias" in dense]
    places, size = {}, 0
    for name in [*names, "fc.weight", "fc.bias"]:
        count = int(masks[name].sum()) if name in masks else dense[name].numel()
        places[name] = (slice(size, size + count), masks.get(name))
        size += count
    return places


def _refuse_frozen(model):
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            raise TicketError(f"{name} is frozen (requires_grad is False); the sparse engine trains every parameter.")


def checked_mask(model, mask):
    """The mask as numpy arrays. Raises: TicketError for one that does not fit the model."""
    weights = prunable(model)
    if set(mask) != set(weights):
        odd = ", ".join(sorted(set(mask) ^ set(weights)))
        raise TicketError(f"The mask does not fit the network: {odd} is in one of them only.")
    for name, weight in weights.items():
        if mask[name].dtype != torch.bool or mask[name].shape != weight.shape:
            seen = f"{mask[name].dtype} {tuple(mask[name].shape)}"
            raise TicketError(f"The mask of {name} is {seen}; it must be bool {tuple(weight.shape)}.")
    return {name: mask[name].cpu().numpy() for name in weights}
