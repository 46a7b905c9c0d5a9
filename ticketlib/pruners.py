"""Pruners: how much each weight matters, as a score of which bigger means keep."""

import math
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from ticketlib.errors import TicketError, one_of
from ticketlib.masks import asked_total
from ticketlib.models import prunable
from ticketlib.synflow import Flow

METHODS = {}  # name -> function (Task) -> dict of score tensors
NEEDS_BATCH = set()  # the methods that look at images and labels
VARIANTS = ("default", "authors")
TEMPERATURE = 200  # GraSP divides the logits by it


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

    def outputs(self, images, weights=None):
        """Run the model with the copies in place of its own tensors: (B, ...) -> (B, num_classes)."""
        return functional_call(self.model, self.others | (weights or self.weights), (images,))

    def loss(self, part=slice(None), temperature=1):
        """Mean cross-entropy over a part of the batch, logits divided by the temperature."""
        logits = self.outputs(self.images[part]) / temperature
        labels = self.labels[part]
        if int(labels.max()) >= logits.shape[1]:
            raise TicketError(f"label {int(labels.max())} is out of range; allowed: 0 to {logits.shape[1] - 1}.")
        return F.cross_entropy(logits, labels)


def pruner(name, *, needs_batch=False):
    """Register a pruner: a function from a Task to a dict from prunable name to scores of the weight's shape."""

    def register(function):
        METHODS[name] = function
        if needs_batch:
            NEEDS_BATCH.add(name)
        return function

    return register


def score(
    model,
    method,
    images=None,
    labels=None,
    *,
    sparsity=None,
    rounds=100,
    generator=None,
    variant="default",
):
    """Score each prunable weight; bigger means keep.

    The model is left as it was found: weights, batch norm statistics, gradients and mode. Batch norm runs in training
    mode (SynFlow: evaluation mode), dropout is off. Half-precision models are scored in float32.

    Arguments:
        model: any module from images to logits.
        method: a name of METHODS.
        images: normalised floats, (B, C, H, W), for methods that need data; SynFlow takes its input shape from them.
        labels: integers, (B,), from 0 to num_classes - 1.
        sparsity, rounds: SynFlow prunes to this sparsity in so many rounds.
        generator: torch.Generator on the CPU for random scores; None for one seeded 0. See also `grasp`.
        variant: "default", or "authors" for the arithmetic of the paper's code (`snip`, `grasp`; others have one).
    Returns: dict from name to tensor of the weight's shape and device, float32 (float64 for a float64 model).
    Raises: TicketError for an unknown method or variant, missing or bad data, or a score that is not finite.
    Source: each method's in its own docstring.
    """
    function = METHODS[one_of("method", method, METHODS)]
    one_of("variant", variant, VARIANTS)
    if sparsity is not None:
        asked_total(1, sparsity)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise TicketError(f"rounds {rounds!r} is not allowed; it must be a positive integer.")
    if images is not None or method in NEEDS_BATCH:
        images, labels = _checked_batch(model, method, images, labels)
    with torch.inference_mode(False), torch.enable_grad(), _mode(model, training=method in NEEDS_BATCH):
        weights, others = _copies(model)
        redraw = variant == "authors" and generator is not None
        generator = generator or torch.Generator().manual_seed(0)
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
    grads = _grad(task.loss(), task.weights)
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
    grads = _grad(loss, task.weights, create_graph=True)
    products = _grad(list(grads.values()), task.weights, grad_outputs=[g.detach() for g in grads.values()])
    scores = {name: hg.mul_(task.weights[name].detach()) for name, hg in products.items()}
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
def _mode(model, training):
    """Set batch norms to a mode and all else to evaluation, and put every module's mode back at the end."""
    found = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in found:
            module.training = training and isinstance(module, nn.modules.batchnorm._BatchNorm)
        yield
    finally:
        for module, mode in found:
            module.training = mode


def _copies(model):
    """Detach a model's tensors: prunable weights as leaves, and all others, with buffers copied (batch norm writes)."""
    wide = lambda tensor: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor  # noqa: E731
    names = prunable(model)
    parameters = {name: wide(p.detach()) for name, p in model.named_parameters()}
    weights = {name: parameters.pop(name).requires_grad_() for name in names}
    return weights, parameters | {name: wide(buffer.detach().clone()) for name, buffer in model.named_buffers()}


def _checked_batch(model, method, images, labels):
    if method in NEEDS_BATCH and (images is None or labels is None):
        raise TicketError(f"{method} needs images and labels; both must be given.")
    weight = next(iter(prunable(model).values()))
    if not isinstance(images, torch.Tensor) or not images.is_floating_point() or not len(images):
        kind = f"{images.dtype} of shape {tuple(images.shape)}" if isinstance(images, torch.Tensor) else type(images)
        raise TicketError(f"images are {kind}; they must be normalised floats of shape (B, C, H, W), B at least 1.")
    images = images.detach().to(weight.device, torch.float64 if weight.dtype == torch.float64 else torch.float32)
    if method not in NEEDS_BATCH:
        return images, None
    if not isinstance(labels, torch.Tensor) or labels.is_floating_point() or labels.shape != images.shape[:1]:
        kind = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, torch.Tensor) else type(labels)
        raise TicketError(f"labels are {kind}; they must be integers of shape ({len(images)},), one for each image.")
    if int(labels.min()) < 0:
        raise TicketError(f"label {int(labels.min())} is out of range; allowed: 0 to num_classes - 1.")
    return images, labels.to(weight.device, torch.int64)


def _checked_scores(method, scores, weights):
    if scores.keys() != weights.keys():
        raise TicketError(f"{method} scored {', '.join(scores)}; it must score {', '.join(weights)}.")
    for name, weight in weights.items():
        if scores[name].shape != weight.shape:
            seen, wanted = tuple(scores[name].shape), tuple(weight.shape)
            raise TicketError(f"{method} gave {name} scores of shape {seen}; the weight has {wanted}.")
        if not all(map(math.isfinite, scores[name].detach().aminmax())):
            raise TicketError(f"{method} gave {name} a score that is not finite; weights and images must be finite.")
    return {name: scores[name].detach() for name in weights}


def _grad(of, weights, **options):  # a weight that nothing depends on gets zeros
    return dict(
        zip(weights, torch.autograd.grad(of, list(weights.values()), materialize_grads=True, **options), strict=True)
    )


def _normalised(scores):  # in place, by the size of the sum, with the 1e-10 of the paper's code
    size = abs(sum(float(s.sum()) for s in scores.values())) + 1e-10
    return {name: s.div_(size) for name, s in scores.items()}
