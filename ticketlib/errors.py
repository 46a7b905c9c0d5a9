"""The one error a user's input can cause, and the names that may be given to what one adds."""

import re

REGISTERS = {}  # what a word of an arm's name can be -> dict from name to what it stands for


class TicketError(ValueError):
    """Bad input, said in one sentence: the value given and what is allowed."""

    def _render_traceback_(self):
        """What a notebook shows: the sentence alone."""
        return [f"TicketError: {self}"]


def one_of(what, value, allowed):
    """Return `value` if it is among `allowed`, else raise TicketError naming both."""
    if value not in allowed:
        raise TicketError(f"{what} {value!r} is not known; allowed: {', '.join(map(str, allowed))}.")
    return value


def register(kind, name, function):
    """Give a function a name that arms are written with; it stands for one thing only.

    The same function may be given its name again, as it is when a notebook's cell runs twice.

    Arguments: kind, "pruner", "rule", "check", "corruption" or "ticket"; name, letters, digits and _.
    Raises: TicketError for a name of another form, and for one that is taken.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name, re.A):
        raise TicketError(f"{kind} {name!r} is not a name for arms; allowed: letters, digits and _.")
    for other, names in REGISTERS.items():
        if name in names and (other != kind or _origin(names[name]) != _origin(function)):
            raise TicketError(f"{kind} {name!r} is not allowed, as a {other} of this name is there; allowed: another.")
    REGISTERS.setdefault(kind, {})[name] = function


def _origin(function):
    return function.__module__, getattr(function, "__qualname__", "")
