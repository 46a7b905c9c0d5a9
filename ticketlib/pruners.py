"""Pruners: how much each weight matters, as a score of which bigger means keep."""

import math
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ticketlib.errors import TicketError, one_of
from ticketlib.masks import asked_total
from ticketlib.models import (
    as_they_are,
    check_values,
    evaluating,
    located,
    logits,
    prunable,
    random_stream,
    uncompiled,
    unwrapped,
)
from ticketlib.registers import REGISTERS, named
from ticketlib.synflow import Flow

METHODS = REGISTERS.setdefault("pruner", {})  # name -> function (Task) -> dict of score tensors
NEEDS_BATCH = set()  # the methods that look at images and labels
VARIANTS = ("default", "authors")
FAINT = torch.finfo(torch.float32).smallest_normal / torch.finfo(torch.float32).eps
TEMPERATURE = 200  # GraSP divides the logits by it
FAILURES = RuntimeError, ValueError, TypeError, IndexError, AssertionError  # of a network that images do not fit


@dataclass(frozen=True)
class Task:
    """What a pruner gets: detached copies to differentiate by, so that nothing it does reaches the model."""

    model: nn.Module
    weights: dict  # prunable name -> leaf tensor that requires a gradient, at least float32
    others: dict  # all other parameters and copies of all buffers
    images: torch.Tensor | None
    labels: torch.Tensor | None
    sparsity: float | None
    rounds: int
    generator: torch.Generator
    redraw: bool  # a generator was passed for variant "authors"
    variant: str

    def run(self, images, tensors):
        """Run the model with other tensors in place of its own; TicketError names a layer that cannot take the images.

        Arguments: images, (B, ...); tensors, dict from the name of each parameter and buffer to what stands for it.
        Returns: the logits.
        """
        with located(self.model) as inside, as_they_are(self.model, tensors, inside):
            try:
                return logits(functional_call(self.model, tensors, (images,)))
            except FAILURES as error:
                raise cannot_run(inside, images, error) from error

    def outputs(self, images):
        """Run the model with the copies in place of its own tensors: (B, ...) -> (B, num_classes)."""
        found = self.run(images, self.others | self.weights)
        if found.ndim != 2 or len(found) != len(images):
            seen = tuple(found.shape)
            raise TicketError(f"The network gives logits of shape {seen}; allowed: ({len(images)}, classes).")
        return found

    def loss(self, part=slice(None), temperature=1):
        """Mean cross-entropy over a part of the batch, logits divided by the temperature."""
        if self.images is None:
            raise TicketError("A pruner that asks for the loss needs a batch; register it with needs_batch=True.")
        outputs = self.outputs(self.images[part]) / temperature
        labels = self.labels[part]
        if int(labels.max()) >= outputs.shape[1]:
            raise TicketError(f"label {int(labels.max())} is out of range; allowed: 0 to {outputs.shape[1] - 1}.")
        return F.cross_entropy(outputs, labels)


def cannot_run(inside, images, error):
    """The TicketError for a forward pass that failed; `inside` names the layers entered, the innermost last."""
    if isinstance(error, TicketError):
        return error
    where, shape = inside[-1] if inside else "the network", tuple(images.shape)
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    hint = "images of shape (B, C, H, W) as the network takes them"
    if len(shape) == 4 and shape[-1] in (1, 3) and shape[1] not in (1, 3):
        hint = "channels before rows and columns, as images.permute(0, 3, 1, 2)"
    elif shape[0] == 1 and "more than 1 value per channel" in reason:
        hint = "at least 2 images, as batch norm needs"
    return TicketError(f"{where} cannot work on images of shape {shape} ({reason}); allowed: {hint}.")


def pruner(name, *, needs_batch=False):
    """Register a pruner: a function from a Task to a dict from prunable name to scores of the weight's shape.

    Raises: TicketError for a name that is taken, or that no arm could be written with.
    """
    return named("pruner", name, needs_batch, NEEDS_BATCH)


def score(model, method, images=None, labels=None, *, sparsity=None, rounds=100, generator=None, variant="default"):
    """Score each prunable weight; bigger means keep.

    The model is left as it was found: weights, batch norm statistics, gradients and mode. Batch norm runs in training
    mode (SynFlow: evaluation mode), dropout is off. Half-precision models are scored in float32.

    Arguments:
        model: any module from images to what `models.logits` reads; compiled or wrapped ones are looked through.
        method: a name of METHODS.
        images: normalised floats, (B, C, H, W), for methods that need data; SynFlow takes its input shape from them.
        labels: integers, (B,), from 0 to num_classes - 1.
        sparsity, rounds: SynFlow prunes to this sparsity in so many rounds.
        generator: torch.Generator on the CPU for random scores, or a seed; None for 0. See also `grasp`.
        variant: "default", or "authors" for the arithmetic of the paper's code (`snip`, `grasp`; others have one).
    Returns: dict from name to tensor of the weight's shape and device, float32 (float64 for a float64 model).
    Warns: naming weights that take no part in the forward pass; their scores are 0.
    Raises: TicketError for an unknown method or variant, missing or bad data, a network that cannot work on them or
        that the method is not defined for (naming the layer), or a score that is not finite.
    Source: each method's in its own docstring.
    """
    function, model = METHODS[one_of("method", method, METHODS)], unwrapped(model)
    _check_kind(model)
    one_of("variant", variant, VARIANTS)
    if sparsity is not None:
        asked_total(1, sparsity)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise TicketError(f"rounds {rounds!r} is not allowed; it must be a positive integer.")
    if images is not None or method in NEEDS_BATCH:
        images, labels = _checked_batch(model, method, images, labels)
    in_training = nn.modules.batchnorm._BatchNorm if method in NEEDS_BATCH else ()
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model, in_training), _plainly():
        weights, others = _copies(model)
        redraw = variant == "authors" and generator is not None
        generator = random_stream(0 if generator is None else generator)
        task = Task(model, weights, others, images, labels, sparsity, rounds, generator, redraw, variant)
        scores = function(task)
    return _checked_scores(method, scores, weights)


@pruner("random")
def random(task):
    """Uniformly random scores."""
    return {name: torch.rand(w.shape, generator=task.generator).to(w.device) for name, w in task.weights.items()}


@pruner("magnitude")
def magnitude(task):
    """The weights' magnitudes."""
    return {name: w.detach().abs() for name, w in task.weights.items()}


@pruner("snip", needs_batch=True)
def snip(task):
    """`$|w g|$`, `$g$` the gradient of the batch's mean cross-entropy (Lee et al. 2019).

    Variant "authors" divides by the sum, as the paper's pruner/SNIP.py does; the order is the same.
    """
    grads = _gradients(task.loss(), task.weights)
    scores = {name: grad.mul_(task.weights[name].detach()).abs_() for name, grad in grads.items()}
    return _normalised(scores) if task.variant == "authors" else scores


@pruner("grasp", needs_batch=True)
def grasp(task):
    """`$w (H g)$`, `$H$` and `$g$` the Hessian and gradient of the loss, logits divided by 200 (Wang et al. 2020).

    To first order, removing weight `$i$` changes the squared gradient norm by `$-2 w_i (H g)_i$`, so weights of low
    score are those whose removal raises it. The published code drops the top of `$-w (H g)$`; this is its negative.

    Variant "authors" follows the paper's pruner/GraSP.py: `$g$` is the sum over two halves of the batch, in the order
    given, and `$H g$` sums the halves' Hessians. Scores are divided by the size of their sum. If a generator was passed
    to `score`, linear layers are drawn afresh (Xavier normal) and scored at those values.
    """
    parts = [slice(None)]
    if task.variant == "authors":
        half = len(task.images) // 2
        if not half:
            raise TicketError("grasp halves its batch, and 1 image was given; at least 2 are needed.")
        parts = [slice(half), slice(half, None)]
        for name, w in list(task.weights.items()):
            if task.redraw and w.ndim == 2:
                drawn = nn.init.xavier_normal_(torch.empty(w.shape), generator=task.generator)
                task.weights[name] = drawn.to(w).requires_grad_()
    # One graph serves g and H g: both halves' losses are summed before either is differentiated twice.
    loss = sum(task.loss(part, TEMPERATURE) for part in parts)
    grads = list(_gradients(loss, task.weights, create_graph=True).values())
    try:
        products = torch.autograd.grad(
            grads, list(task.weights.values()), [g.detach() for g in grads], materialize_grads=True
        )
    except RuntimeError as error:
        raise TicketError(f"grasp differentiates twice, and this network cannot be ({error}).") from error
    scores = {name: hg.mul_(w.detach()) for (name, w), hg in zip(task.weights.items(), products, strict=True)}
    return _normalised(scores) if task.variant == "authors" else scores


@pruner("synflow")
def synflow(task):
    """Synaptic flow `$|w\\, \\partial R / \\partial w|$` after iterative pruning (Tanaka et al. 2020).

    `$R$` is the sum of the outputs of the network of `$|w|$` for an input of ones.

    Density falls exponentially over `rounds`; each round scores the survivors of the last.
    Biases and batch norm shifts are left out, since they lie on no path from the input; at their initial 0 that
    changes nothing. So R is multilinear, which lets `Flow` scale it against overflow without a change of order.

    Returns: the scores of the last round, before its cut; -1 for a weight removed in an earlier one.
    """
    if task.sparsity is None:
        raise TicketError("synflow needs the sparsity it prunes to; pass sparsity, 0 <= sparsity < 1.")
    flow = Flow(task)
    size = sum(len(offsets) for offsets in flow.alive.values())
    final = asked_total(size, task.sparsity)
    for done in range(1, task.rounds):
        flow.keep(round(size * (final / size) ** (done / task.rounds)))
    return flow.full_scores()


@contextmanager
def _plainly():
    """Run without autocast, compiled code, or kernels of attention that cannot be differentiated twice."""
    with (
        torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False), sdpa_kernel(SDPBackend.MATH),
        uncompiled(),
    ):  # fmt: skip
        yield


def _check_kind(model):
    check_values(model)
    for name, weight in prunable(model).items():
        if not weight.is_floating_point():
            raise TicketError(f"{name} is {weight.dtype}; only weights that are real floating-point numbers can be "
                              "scored.")  # fmt: skip


def _copies(model):
    """Detach a model's tensors: prunable weights as leaves, and all others, with buffers copied (batch norm writes).

    Channels come first, as in the images, so that a score does not depend on the layout that the model came in.
    """
    wide = lambda tensor: tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor  # noqa: E731
    names = prunable(model)
    parameters = {name: wide(p.detach()).to(memory_format=torch.contiguous_format)
                  for name, p in model.named_parameters()}  # fmt: skip
    weights = {name: parameters.pop(name).requires_grad_() for name in names}
    return weights, parameters | {name: wide(buffer.detach().clone()) for name, buffer in model.named_buffers()}


def _holds_numbers(tensor):
    """Whether this is a dense tensor whose numbers are at hand: not sparse, not quantised, not on the meta device."""
    known = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
    return known and not (tensor.is_quantized or tensor.is_meta or tensor.is_complex())


def _checked_batch(model, method, images, labels):
    if method in NEEDS_BATCH and (images is None or labels is None):
        raise TicketError(f"{method} needs images and labels; both must be given.")
    weight = next(iter(prunable(model).values()))
    if not _holds_numbers(images) or not images.is_floating_point() or images.ndim < 2 or not len(images):
        kind = f"{images.dtype} of shape {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images)
        raise TicketError(f"images are {kind}; they must be normalised floats of shape (B, C, H, W), B at least 1.")
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    images = images.detach().to(weight.device, dtype, memory_format=torch.contiguous_format)
    if method not in NEEDS_BATCH:
        return images, None
    if not _holds_numbers(labels) or labels.is_floating_point() or labels.shape != images.shape[:1]:
        kind = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, torch.Tensor) else type(labels)
        raise TicketError(f"labels are {kind}; they must be integers of shape ({len(images)},), one for each image.")
    if int(labels.min()) < 0:
        raise TicketError(f"label {int(labels.min())} is out of range; allowed: 0 to num_classes - 1.")
    return images, labels.to(weight.device, torch.int64)


def _checked_scores(method, scores, weights):
    if not isinstance(scores, Mapping):
        raise TicketError(f"{method} returned a {type(scores).__name__}; it must return a dict from name to scores.")
    if scores.keys() != weights.keys():
        raise TicketError(f"{method} scored {', '.join(scores)}; it must score {', '.join(weights)}.")
    for name, weight in weights.items():
        if scores[name].shape != weight.shape:
            seen, wanted = tuple(scores[name].shape), tuple(weight.shape)
            raise TicketError(f"{method} gave {name} scores of shape {seen}; the weight has {wanted}.")
        if not all(map(math.isfinite, scores[name].detach().aminmax())):
            raise TicketError(f"{method} gave {name} a score that is not finite; weights and images must be finite and "
                              "of a usual size.")  # fmt: skip
    if method in NEEDS_BATCH and 0 < (largest := max(float(s.detach().abs().max()) for s in scores.values())) < FAINT:
        raise TicketError(f"{method} gave scores of {largest:.1e} at most, which float32 cannot tell apart; allowed: "
                          "weights of a usual size, or a network of float64 (model.double()).")  # fmt: skip
    return {name: scores[name].detach() for name in weights}


def _gradients(loss, weights, create_graph=False):
    """The loss's gradient by each weight; zeros, with a warning, for those that take no part in the forward pass."""
    grads = [None] * len(weights)
    if loss.requires_grad:
        grads = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, create_graph=create_graph)
    found = dict(zip(weights, grads, strict=True))
    unused = [name for name, grad in found.items() if grad is None]
    if len(unused) == len(found):
        raise TicketError("No gradient arrives at any weight: the network works without (no_grad, detach, quantised "
                          "layers); allowed: one that can be differentiated.")  # fmt: skip
    if unused:
        share = sum(weights[name].numel() for name in unused) / sum(weight.numel() for weight in weights.values())
        text = f"{', '.join(unused)} take no part in the forward pass: {share:.1%} of the weights, of score 0."
        warnings.warn(text, stacklevel=5)
        found |= {name: torch.zeros_like(weights[name], requires_grad=create_graph) for name in unused}
    return found


def _normalised(scores):  # in place, by the size of the sum, with the 1e-10 of the paper's code
    size = abs(sum(float(s.sum()) for s in scores.values())) + 1e-10
    return {name: s.div_(size) for name, s in scores.items()}
