"""Score functions from outside: called on a copy of the model, checked, and named by what they compute."""

import copy
import hashlib
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ticketlib.analysis import identity
from ticketlib.errors import TicketError
from ticketlib.models import prunable

NAME = re.compile(r"\w[\w.-]*", re.A)


@dataclass(frozen=True)
class Scorer:
    """A checked score function; called, it returns dict name -> detached scores, or raises one clear TicketError."""

    function: object  # (model, images, labels) -> {name: scores}, bigger = keep
    name: str  # letters, digits, _ . -
    digest: str  # of everything the function computes with: a changed function has another

    @property
    def key(self):
        """The name under which its runs are kept: a changed function never finds old ones."""
        return f"{self.name}-{self.digest}"

    def __call__(self, model, images, labels):
        """Score a copy of the model, so that nothing reaches the model itself.

        Batch norm uses the batch's own statistics and keeps none; all else is in evaluation mode. Torch's global
        generator is seeded from the initial weights, so that a random score is the same whenever a seed is.
        """
        model = _prepared(model)
        before = _state(model)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(_seed(model))
            try:
                scores = self.function(model, images.clone(), labels.clone())
            except Exception as error:
                raise TicketError(f"Pruner {self.name!r} raised {_where(error)}.") from error
        self._check_model(model, before)
        return self._checked(scores, prunable(model))

    def _check_model(self, model, before):
        """Raise TicketError for the first thing of the model that is not as it was."""
        after = _state(model)
        for name in before | after:
            if not _same(before.get(name), after.get(name)):
                raise TicketError(f"Pruner {self.name!r} changed {name}; it must leave weights, buffers, modes and "
                                  "gradients as it found them (torch.autograd.grad leaves none behind).")  # fmt: skip

    def _checked(self, scores, weights):
        """The scores, if there is one finite number for each weight and they rank at least one layer."""
        who = f"Pruner {self.name!r}"
        if not isinstance(scores, Mapping):
            raise TicketError(f"{who} returned {type(scores).__name__}; it must return a dict from name to scores.")
        missing, unknown = [n for n in weights if n not in scores], [n for n in scores if n not in weights]
        said = [f"no scores for {_listed(missing)}"] * bool(missing)
        said += [f"scores for the unknown {_listed(unknown)}"] * bool(unknown)
        if said:
            raise TicketError(f"{who} returned {', and '.join(said)}; allowed: exactly {_listed(list(weights))}.")
        for name, weight in weights.items():
            self._check_layer(name, scores[name], weight)
        if all(score.min() == score.max() for score in scores.values()):
            raise TicketError(f"{who} gave every weight of a layer the same score; scores must rank the weights.")
        return {name: scores[name].detach() * 1.0 for name in weights}  # integers become floats

    def _check_layer(self, name, score, weight):
        who, kind = f"Pruner {self.name!r}", type(score).__name__
        if dense := isinstance(score, torch.Tensor) and score.layout == torch.strided and not score.is_quantized:
            kind = f"{score.dtype} on {score.device}"
        if not dense or score.is_complex() or score.device != weight.device:
            raise TicketError(f"{who} scored {name} with {kind}; it must be a dense real tensor on {weight.device}.")
        seen, wanted = tuple(score.shape), tuple(weight.shape)
        if seen != wanted:
            raise TicketError(f"{who} gave {name} scores of shape {seen}; the weight has {wanted}.")
        bad = score.numel() - int(torch.isfinite(score).count_nonzero())
        if bad:
            raise TicketError(f"{who} gave {name} {bad} scores that are NaN or infinite; every score must be finite.")


def scorer(function, name=None):
    """Name a score function and fix what it is.

    Arguments: function, any callable (model, images, labels) -> {name: scores}; name, text, None for its own.
    Returns: Scorer. Raises: TicketError if it cannot be called, or for a name that is not allowed.
    """
    if not callable(function):
        raise TicketError(f"Pruner {function!r} is not allowed; it must be a function (model, images, labels).")
    own = getattr(function, "__name__", type(function).__name__)
    name = re.sub(r"[^\w.-]+", "", own, flags=re.A).lstrip(".-") if name is None else name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise TicketError(f"Pruner name {name!r} is not allowed; it must be letters, digits, '_', '.' or '-'.")
    return Scorer(function, name, identity.digest(function))


def _prepared(model):
    """A copy for the scorer: no gradients, batch norm on the batch's statistics and without memory, all else eval."""
    model = copy.deepcopy(model).eval()
    model.zero_grad(set_to_none=True)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
            module.track_running_stats = False
    return model


def _state(model):
    """Everything a scorer must leave as it was: dict from a description to a tensor, a mode or None."""
    found = {f"the mode of {name or 'the model'}": module.training for name, module in model.named_modules()}
    found |= {f"the values of {name}": tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return found | {f"the gradient of {name}": copy.deepcopy(p.grad) for name, p in model.named_parameters()}


def _same(a, b):
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)
    return a is b


def _seed(model):
    """A seed that the model's weights decide."""
    digest = hashlib.sha256()
    for weight in prunable(model).values():
        digest.update(weight.detach().cpu().numpy().tobytes())
    return int.from_bytes(digest.digest()[:7], "big")


def _where(error):
    """The exception in words, with the line of the pruner that it came through."""
    frames = traceback.extract_tb(error.__traceback__)[1:2]
    said = str(error).strip().split("\n")[0].rstrip(".")
    return ": ".join(filter(None, (type(error).__name__, said))) + "".join(f" (its line {f.lineno})" for f in frames)


def _listed(names):  # the first of them, and how many more there are
    return ", ".join(str(name)[:60] for name in names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)
