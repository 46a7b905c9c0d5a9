"""The one error a user's input can cause."""


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
