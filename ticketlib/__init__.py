"""Tickets, keep-ratios and sanity checks of neural network pruning."""


def __getattr__(name):
    """Import `sanity_check` when it is first asked for: it brings torch and the plots, which `import` should not."""
    if name == "sanity_check":
        from ticketlib.sanity import sanity_check

        return sanity_check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
