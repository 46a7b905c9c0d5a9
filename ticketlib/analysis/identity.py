"""Whether two functions compute the same: a digest of everything that a function computes with."""

import contextlib
import dis
import functools
import hashlib
import importlib
import pickle
import sys
import sysconfig
import types
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ticketlib.errors import TicketError

LIBRARY = Path(__file__).resolve().parents[1]
INSTALLED = tuple(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib"))
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))


def digest(function):
    """Twelve hexadecimal digits of what a function computes with.

    Bytecode, constants and defaults; what it closes over, the globals it reads and the modules it imports, wherever
    these are defined in Python outside the installed packages. Comments and layout do not count, but in the files of
    modules. What is installed counts by name. What such a module imports in its turn is not looked at.

    Raises: TicketError if it holds something whose content cannot be read, such as a lock.
    """
    parts = _function_parts(function) if isinstance(function, types.FunctionType) else [function]
    memo = {}
    return hashlib.sha256("".join(_written(part, memo) for part in parts).encode()).hexdigest()[:12]


def _written(value, memo):
    """Text that tells a value from any other; `memo`, id -> (text, value), saves work and stops at cycles."""
    if isinstance(value, PLAIN):
        return f"{type(value).__name__} {value!r};"
    if id(value) not in memo:
        memo[id(value)] = "cycle;", value  # holding the value keeps its id from being given away
        hashed = hashlib.sha256(f"{type(value).__module__}.{type(value).__qualname__}:".encode())
        for part in _parts(value):
            hashed.update(_written(part, memo).encode())
        memo[id(value)] = hashed.hexdigest(), value
    return memo[id(value)][0]


def _parts(value):
    """What a value consists of: a list of simpler values; TicketError where that cannot be read."""
    try:
        return _read(value)
    except (AttributeError, RuntimeError, TypeError, ValueError, pickle.PicklingError):
        raise TicketError(
            f"The pruner holds a {type(value).__name__}, whose content cannot be read, so a change of it would not be "
            "seen; make it inside the function."
        ) from None


def _read(value):
    if isinstance(value, types.FunctionType | type | types.ModuleType) and _is_installed(value):
        return [value.__name__, getattr(value, "__module__", None), getattr(value, "__qualname__", None)]
    for kinds, parts in READERS:
        if isinstance(value, kinds):
            return parts(value)
    return [type(value), vars(value)] if hasattr(value, "__dict__") else [pickle.dumps(value)]


def _function_parts(function):
    """Code, defaults, closure, and the globals that the code and the functions in it read."""
    cells = list(map(_content, function.__closure__ or ()))
    known = function.__globals__
    named = [part for name in sorted(_names(function.__code__)) if name in known for part in (name, known[name])]
    named += map(_module, sorted(_names(function.__code__, ("IMPORT_NAME",))))
    return [function.__code__, function.__defaults__, function.__kwdefaults__, *cells, *named]


def _content(cell):
    """What a cell of a closure holds; None for one that is still empty, which a function has to live with."""
    with contextlib.suppress(ValueError):
        return cell.cell_contents


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


def _tensor_parts(tensor):
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:  # numpy has none
        return ["bfloat16", *_array_parts(tensor.view(torch.int16).numpy())]
    return _array_parts(tensor.numpy())


def _array_parts(array):
    content = array.tolist() if array.dtype.hasobject else array.tobytes()  # the bytes of objects are their addresses
    return [str(array.dtype), array.shape, content]


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
    (torch.Tensor, _tensor_parts),
    (np.ndarray, _array_parts),
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
    return any(folder in path.parents for folder in (LIBRARY, *INSTALLED))
