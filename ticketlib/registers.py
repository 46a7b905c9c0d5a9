"""The names that arms are written with, each of one meaning; and how a function of one's own gets one."""

import re

from ticketlib.errors import TicketError

REGISTERS = {}  # what a word of an arm's name can be -> dict from name to what it stands for


def named(kind, name, flagged, flags):
    """Make a decorator that registers the function below it, and notes its name in the set `flags` if `flagged`.

    Arguments: kind and name, as `register`.
    Raises: TicketError for a name that is taken, or that no arm could be written with.
    """
    _check_name(kind, name)

    def decorate(function):
        register(kind, name, function)
        (flags.add if flagged else flags.discard)(name)
        return function

    return decorate


def register(kind, name, function):
    """Give a function a name that arms are written with; it stands for one thing only.

    The same function may be given its name again, as it is when a notebook's cell runs twice.

    Arguments: kind, "pruner", "rule", "check", "corruption" or "ticket"; name, letters, digits and _.
    Raises: TicketError for a name of another form, and for one that is taken.
    """
    _check_name(kind, name)
    for other, names in REGISTERS.items():
        if name in names and (other != kind or _origin(names[name]) != _origin(function)):
            raise TicketError(f"{kind} {name!r} is not allowed, as a {other} of this name is there; allowed: another.")
    REGISTERS.setdefault(kind, {})[name] = function


def _check_name(kind, name):  # at once: @pruner without a name has the function for one, and would register nothing
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name, re.A):
        raise TicketError(f"{kind} {name!r} is not a name for arms; allowed: letters, digits and _.")


def _origin(function):
    return function.__module__, getattr(function, "__qualname__", "")
