"""Score functions from outside: called on a copy of the model, checked, and named by everything they compute with."""

import ast
import contextlib
import copy
import dis
import functools
import hashlib
import importlib
import logging
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

import ticketlib
from ticketlib.errors import TicketError
from ticketlib.models import prunable
from ticketlib.registers import REGISTERS

LIBRARY = Path(ticketlib.__file__).resolve().parent
INSTALLED = (LIBRARY, *(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")))
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
NO_CONTENT = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__")
NAME = re.compile(r"\w[\w.-]*", re.A)


@dataclass(frozen=True)
class Scorer:
    """A checked score function; called, it returns dict name -> detached scores, or raises one clear TicketError."""

    function: object  # (model, images, labels) -> {name: scores}, bigger = keep
    name: str  # letters, digits, _ . -
    digest: str  # of everything the function computes with: a changed function has another

    def __call__(self, model, images, labels):
        """Score a copy of the model, so that nothing reaches the model itself; gradients left behind go with the copy.

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
        after = _state(model)
        for name in before | after:
            if not _same(before.get(name), after.get(name)):
                raise TicketError(f"Pruner {self.name!r} changed {name}; it must leave parameters and buffers as they "
                                  "were (gradients may stay).")  # fmt: skip
        return self._checked(scores, prunable(model))

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
    name = plain_name(function) if name is None else name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise TicketError(f"Pruner name {name!r} is not allowed; it must be letters, digits, '_', '.' or '-'.")
    return Scorer(function, name, digest(function))


def plain_name(function):
    """A callable's own name in letters, digits, '_', '.' and '-'."""
    function = function.func if isinstance(function, functools.partial) else function
    own = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"[^\w.-]+", "", own, flags=re.A).lstrip(".-") or "unnamed"


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
    """Copies of all parameters and buffers: dict from name to tensor."""
    return {name: t.detach().clone() for name, t in (*model.named_parameters(), *model.named_buffers())}


def _same(a, b):
    known = a is not None and b is not None
    return known and a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)


def _seed(model):
    """A seed that the model's weights decide."""
    hashed = hashlib.sha256()
    for weight in prunable(model).values():
        hashed.update(weight.detach().cpu().numpy().tobytes())
    return int.from_bytes(hashed.digest()[:7], "big")


def _where(error):
    """The exception in words, with the line of the pruner that it came through."""
    frames = traceback.extract_tb(error.__traceback__)[1:2]
    said = str(error).strip().split("\n")[0].rstrip(".")
    return ": ".join(filter(None, (type(error).__name__, said))) + "".join(f" (its line {f.lineno})" for f in frames)


def _listed(names):  # the first of them, and how many more there are
    return ", ".join(str(name)[:60] for name in names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)


# what a function computes with


def digest(*values):
    """Sixteen hexadecimal digits of what values consist of; of functions, of everything that they compute with.

    Bytecode, constants and defaults; what a function closes over, the globals it reads, the modules it imports and
    those that these import, and what it asks for by a registered name, wherever it is defined in Python outside the
    installed packages. Comments and layout do not count. What is installed counts by name. The text alone would not
    do: two functions on one line share it.

    Raises: TicketError for what holds something whose content cannot be read, naming the variable.
    """
    memo = {}
    return hashlib.sha256("".join(_written(value, memo, "it") for value in values).encode()).hexdigest()[:16]


def _written(value, memo, where):
    """Text that tells a value from any other; `memo`, id -> (text, value), saves work and stops at cycles."""
    if isinstance(value, PLAIN):
        return f"{type(value).__name__} {value!r};"
    if id(value) not in memo:
        memo[id(value)] = "cycle;", value  # holding the value keeps its id from being given away
        try:
            parts = _parts(value)
        except (AttributeError, RuntimeError, TypeError, ValueError, pickle.PicklingError):
            raise TicketError(f"Content of a {type(value).__name__}, which {where} holds, cannot be read, so a change "
                              "of it would not be seen; make it inside the function.") from None  # fmt: skip
        texts = [f"{type(value).__module__}.{type(value).__qualname__}:"]
        texts += [_written(part, memo, name or where) for name, part in parts]
        memo[id(value)] = hashlib.sha256("".join(texts).encode()).hexdigest(), value
    return memo[id(value)][0]


def _parts(value):
    """What a value consists of: pairs of a variable's name, "" for no variable, and a simpler value."""
    if isinstance(value, types.FunctionType | type | types.ModuleType) and _is_installed(value):
        return [("", str(getattr(value, "__module__", ""))), ("", getattr(value, "__qualname__", value.__name__))]
    if isinstance(value, types.FunctionType):
        return _function_parts(value)
    return [("", part) for part in _plain_parts(value)]


def _function_parts(function):
    """Code, defaults, closure, and the globals that the code and the functions in it read."""
    code, known = function.__code__, function.__globals__
    yield from (("", part) for part in (code, function.__defaults__, function.__kwdefaults__))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # still empty, which the function has to live with
            yield name, cell.cell_contents
    for name in sorted(_names(code, ("LOAD_GLOBAL", "LOAD_NAME")) & known.keys()):
        yield from (("", name), (name, known[name]))
    yield from _imported(set().union(*map(_imports, _codes(code))), known)
    texts = {const for each in _codes(code) for const in each.co_consts if isinstance(const, str)}
    for names in REGISTERS.values():
        asked = sorted(name for name in texts & names.keys() if not _is_librarys(names[name]))
        yield from ((name, names[name]) for name in asked)


def _codes(code):
    """Some code, and that of the functions and classes in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _codes(const)


def _names(code, steps):
    """What the given steps of some code name, the code of functions and classes in it included."""
    return {step.argval for each in _codes(code) for step in dis.get_instructions(each) if step.opname in steps}


def _imported(imports, known):
    """The modules that some code imports, each with its name; `known`, the globals that it runs with."""
    for name, wanted, level in sorted(imports):
        with contextlib.suppress(ImportError, ValueError):  # there is none, which the function has to live with
            __import__(name, known, None, wanted, level)
            yield name, (module := importlib.import_module("." * level + name, known.get("__package__")))
            for each in wanted:  # of a package, it can be a module of its own
                inner = sys.modules.get(f"{module.__name__}.{each}")
                yield from [(each, inner)] if inner and not _is_installed(inner) else []


def _imports(code):  # (a module's name, the names wanted of it, the level of a relative import)
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE")]
    return {(step.argval, steps[i - 1].argval or (), steps[i - 2].argval)
            for i, step in enumerate(steps) if step.opname == "IMPORT_NAME"}  # fmt: skip


def _is_librarys(registered):
    return getattr(registered, "__module__", "").startswith(f"{ticketlib.__name__}.")


def _plain_parts(value):
    for kinds, parts in READERS:
        if isinstance(value, kinds):
            return parts(value)
    return [type(value), vars(value)] if hasattr(value, "__dict__") else [pickle.dumps(value)]


def _module_parts(module):
    """The text of a module from outside, and the modules from outside that it imports."""
    if module.__name__ == "__main__":
        return [None]
    text = Path(module.__file__).read_bytes()
    if not module.__file__.endswith(".py"):  # compiled
        return [text]
    nodes = [*ast.walk(ast.parse(text))]
    imports = {(alias.name, (), 0) for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imports |= {(node.module or "", tuple(alias.name for alias in node.names), node.level)
                for node in nodes if isinstance(node, ast.ImportFrom)}  # fmt: skip
    return [text, *(one for _, one in _imported(imports, vars(module)) if not _is_installed(one))]


def _class_parts(value):
    """The attributes of a class and of its bases, installed ones left out."""
    bases = [base for base in value.__mro__ if not _is_installed(base)]
    return [{k: v for k, v in vars(base).items() if k not in NO_CONTENT and k[:5] != "_abc_"} for base in bases]


def _tensor_parts(tensor):
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return [str(tensor.dtype), tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).numpy().tobytes()]


def _array_parts(array):
    content = array.tolist() if array.dtype.hasobject else array.tobytes()  # the bytes of objects are their addresses
    return [str(array.dtype), array.shape, content]


READERS = (
    (types.CodeType, lambda code: [code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_consts]),
    (types.BuiltinFunctionType, lambda function: [function.__qualname__, function.__self__]),
    (staticmethod | classmethod, lambda wrapped: [wrapped.__func__]),
    (types.MethodType, lambda method: [method.__func__, method.__self__]),
    (types.ModuleType, _module_parts),
    (functools.partial, lambda partial: [partial.func, partial.args, partial.keywords]),
    (property, lambda value: [value.fget]),
    (logging.Logger, lambda log: [log.name]),
    (type, _class_parts),
    (torch.Tensor, _tensor_parts),
    (np.ndarray, _array_parts),
    (Mapping, lambda mapping: [part for item in mapping.items() for part in item]),
    (set | frozenset, lambda value: sorted(value, key=repr)),
    (list | tuple, list),
)


def _is_installed(value):
    """Whether a function, class or module comes with Python, an installed package or this library."""
    module = value if isinstance(value, types.ModuleType) else sys.modules.get(value.__module__)
    path = getattr(module, "__file__", None)
    if module is None or module.__name__ == "__main__":
        return False
    return path is None or any(folder in Path(path).resolve().parents for folder in INSTALLED)  # None: built in
