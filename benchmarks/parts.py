"""What the parts of a sparse step cost: the convolutions of some layers by themselves, and the phases of a step."""

import torch
from loops import augmented, pixels
from numba import njit
from timing import side_by_side

from ticketlib.sparse import conv as convolutions
from ticketlib.sparse import head as heads
from ticketlib.sparse import step as kernels
from ticketlib.sparse.layout import Seen
from ticketlib.sparse.simd import LANES

LAID_OUT, REST = "images augmented and laid out", "batch norm, ReLU, residual sums, loss"
CONVOLUTIONS = ("convolutions forward", "gradients of inputs", "gradients of weights")
EVALUATED = 10_000 / 100_000  # test images for each training image: all of them after every second epoch


def _entries(version):
    """The compiled functions below; they enclose the engine's version, as those of kernels do."""

    @njit(cache=True, error_model="numpy")
    def convolve(net, weight, span, blocks, part):
        """Only the convolutions of layers span[0] to span[1] - 1; part: an index of CONVOLUTIONS."""
        for i in range(span[0], span[1] if version else 0):
            layer, before = net.layers[i], net.layers[max(i - 1, 0)]
            for block in range(blocks):
                if part == 0:
                    convolutions.convolve(net, layer, block)
                elif part == 1 and i > 0:
                    convolutions.convolve_back(net, weight, layer, before.dy, block)
                elif part == 2:
                    convolutions.dots(net, layer, block)

    @njit(cache=True, error_model="numpy")
    def pack(net, seen):
        """Only the first thing that a step does with its batch."""
        if version:
            heads.pack_bytes(net, seen)

    return convolve, pack


convolve, pack = _entries(kernels.VERSION)


def convolving(trainer, first, last, parts=(0, 1, 2)):
    """A function that runs some convolutions of layers first to last - 1 of a SparseNet, for a whole batch."""
    blocks = -(-trainer.batch_size // LANES)

    def work():
        for part in parts:
            convolve(trainer.net, trainer.weight, (first, last), blocks, part)

    return work


def phases(trainer, batch, labels):
    """Milliseconds of a training step by phase, the data's and the evaluation's share of it included.

    Arguments: trainer, SparseNet; batch, labels: a full batch. Returns: dict phase -> ms.
    """
    images, draw = pixels(10_000), torch.Generator().manual_seed(0)
    index, seen = torch.randperm(len(images), generator=draw)[: len(batch)], batch.tensor()
    works = {
        "draws of augmentation": lambda: augmented(images, index, draw),
        "whole": lambda: trainer.step(batch, labels),
        "update": lambda: trainer.update(0.01, 0.9, 5e-4),
        "evaluation": lambda: trainer.evaluate(seen),
        LAID_OUT: lambda: pack(trainer.net, Seen(*(part.numpy() for part in vars(batch).values()))),
    }
    for part, name in enumerate(CONVOLUTIONS):
        works[name] = convolving(trainer, 0, len(trainer.net.layers), (part,))
    return split({name: 1000 * seconds for name, seconds in side_by_side(works, 7, 1).items()})


def split(found):
    """The phases of a step from what was timed: what is left of a step is batch norm, ReLU and sums of activations."""
    rest = found["whole"] - sum(found[name] for name in (*CONVOLUTIONS, LAID_OUT))
    return {
        "draws of augmentation": found["draws of augmentation"],
        LAID_OUT: found[LAID_OUT],
        **{name: found[name] for name in CONVOLUTIONS},
        REST: max(rest, 0.0),
        "update": found["update"],
        "evaluation": found["evaluation"] * EVALUATED,
    }


def torch_norms(layers, batch):
    """Milliseconds of a step that torch takes for batch norm and ReLU, forth and back, in float32, one after another.

    Residual sums and the loss are left out, in torch's favour. Arguments: layers, list of roofline.Layer.
    """
    works = []
    for layer in layers:
        norm, z = torch.nn.BatchNorm1d(layer.channels), torch.randn(batch, layer.channels, layer.pixels)
        works.append((norm, z.requires_grad_(), torch.randn_like(z)))

    def step():
        for norm, z, slope in works:
            z.grad = norm.weight.grad = norm.bias.grad = None
            torch.relu(norm(z)).backward(slope)

    return 1000 * side_by_side({"torch": step}, 5, 1)["torch"]
