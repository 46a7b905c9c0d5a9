"""Score functions from outside: called on a copy of the model, checked, and named by what they compute."""

import contextlib
import copy
import dis
import functools
import hashlib
import importlib
import pickle
import re
import sys
import sysconfig
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ticketlib.errors import TicketError
from ticketlib.models import prunable

NAME = re.compile(r"\w[\w.-]*", re.A)
INSTALLED = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib"))
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))


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
    return Scorer(function, name, identity(function))


def identity(function):
    """Twelve hexadecimal digits of what a function computes with.

    Bytecode, constants and defaults; what it closes over, the globals it reads and the modules it imports, wherever
    these are defined in Python outside the installed packages. Comments and layout do not count, but in the files of
    modules. What is installed counts by name. What such a module imports in its turn is not looked at.

    Raises: TicketError if it holds something whose content cannot be read, such as a torch.Generator.
    """
    parts = _function_parts(function) if isinstance(function, types.FunctionType) else [function]
    memo = {}
    return hashlib.sha256("".join(_digest(part, memo) for part in parts).encode()).hexdigest()[:12]


def _digest(value, memo):
    """Text that tells a value from any other; `memo`, id -> (text, value), saves work and stops at cycles."""
    if isinstance(value, PLAIN):
        return f"{type(value).__name__} {value!r};"
    if id(value) not in memo:
        memo[id(value)] = "cycle;", value  # holding the value keeps its id from being given away
        digest = hashlib.sha256(f"{type(value).__module__}.{type(value).__qualname__}:".encode())
        for part in _parts(value):
            digest.update(_digest(part, memo).encode())
        memo[id(value)] = digest.hexdigest(), value
    return memo[id(value)][0]


def _parts(value):
    """What a value consists of: a list of simpler values."""
    if isinstance(value, types.FunctionType | type | types.ModuleType) and _is_installed(value):
        return [value.__name__, getattr(value, "__module__", None), getattr(value, "__qualname__", None)]
    for kinds, parts in READERS:
        if isinstance(value, kinds):
            return parts(value)
    if hasattr(value, "__dict__"):
        return [type(value), vars(value)]
    try:
        return [pickle.dumps(value)]
    except (TypeError, pickle.PicklingError):
        raise TicketError(
            f"The pruner holds a {type(value).__name__}, whose content cannot be read, so a change of it would not be "
            "seen; make it inside the function."
        ) from None


def _function_parts(function):
    """Code, defaults, closure, and the globals that the code and the functions in it read."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    known = function.__globals__
    named = [part for name in sorted(_names(function.__code__)) if name in known for part in (name, known[name])]
    named += map(_module, sorted(_names(function.__code__, ("IMPORT_NAME",))))
    return [function.__code__, function.__defaults__, function.__kwdefaults__, *cells, *named]


def _names(code, steps=("LOAD_GLOBAL", "LOAD_NAME")):
    """Names of the globals that code reads, or with ("IMPORT_NAME",) of what it imports; what it defines included."""
    own = {found.argval for found in dis.get_instructions(code) if found.opname in steps}
    return own.union(*(_names(const, steps) for const in code.co_consts if isinstance(const, types.CodeType)))


def _module(name):
    """A module that a function imports, as it will find it; None where there is none, which it has to live with."""
    with contextlib.suppress(ImportError, ValueError):
        return importlib.import_module(name)


def _class_parts(value):
    """The attributes of a class and of its bases, installed ones left out."""
    bases = [base for base in value.__mro__ if not _is_installed(base)]
    return [{k: v for k, v in vars(base).items() if k not in NO_CONTENT and k[:5] != "_abc_"} for base in bases]


def _array_parts(value):
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    return [str(array.dtype), array.shape, array.tobytes()]


NO_CONTENT = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__")
READERS = (
    (types.FunctionType, _function_parts),
    (types.CodeType, lambda code: [code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_consts]),
    (types.BuiltinFunctionType, lambda function: [str(function.__module__), function.__qualname__]),
    (staticmethod | classmethod, lambda wrapped: [wrapped.__func__]),
    (types.MethodType, lambda method: [method.__func__, method.__self__]),
    (types.ModuleType, lambda module: [Path(module.__file__).read_bytes() if module.__name__ != "__main__" else None]),
    (functools.partial, lambda partial: [partial.func, partial.args, partial.keywords]),
    (property, lambda found: [found.fget]),
    (type, _class_parts),
    (torch.Tensor | np.ndarray, _array_parts),
    (Mapping, lambda mapping: [part for item in mapping.items() for part in item]),
    (set | frozenset, lambda found: sorted(found, key=repr)),
    (list | tuple, list),
)


def _is_installed(value):
    """Whether a function, class or module comes with Python, an installed package or this library."""
    module = value if isinstance(value, types.ModuleType) else sys.modules.get(value.__module__)
    path = getattr(module, "__file__", None)
    if module is None or module.__name__ == "__main__":
        return False
    if path is None:  # built into Python
        return True
    path = Path(path).resolve()
    return path.parent == Path(__file__).resolve().parent or any(folder in path.parents for folder in INSTALLED)


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
