"""The book's grids of runs, in the order in which they are carried out: seed by seed, every arm of a seed together."""

from ticketlib.errors import one_of
from ticketlib.runs import PROFILES, config

PILOT_TICKETS = ("dense", "lt", "lt+rearranged", "snip", "snip+rearranged", "smart", "uniform")
PILOT_SPARSITY = "0.9"


def arm(profile, key, seed, dataset, **changes):
    """Configuration of one arm, named as Config.arm names it but without the sparsity where dense.

    Arguments: key, ticket[+check][+corruption][+option=value]@sparsity; changes, further fields of Config.
    """
    names, _, sparsity = key.partition("@")
    ticket, *options = names.split("+")
    for option in options:
        what, _, value = option.rpartition("=")
        changes[what or _field_of(option)] = int(value) if value.isdigit() else value
    return config(profile, ticket, sparsity or "0", seed, dataset=dataset, **changes)


def _field_of(option):
    from ticketlib.corrupt import KINDS
    from ticketlib.tickets import CHECKS

    one_of("option of an arm", option, [*CHECKS[1:], *KINDS[1:]])
    return "check" if option in CHECKS else "corruption"


def pilot(profile, dataset):
    """The pilot: how much training do the claims need? Held-out training images, seeds of its own, recipe version 0."""
    plan = PROFILES[profile].pilot
    return [
        arm(profile, key if key == "dense" else f"{key}@{PILOT_SPARSITY}", seed, dataset,
            epochs=epochs, held_out=plan["held_out"], recipe=0)
        for seed in plan["seeds"]
        for epochs in plan["epochs"]
        for key in PILOT_TICKETS
    ]  # fmt: skip


GRIDS = {"pilot": pilot}


def grid(name, profile, dataset):
    """All configurations of a named grid, in order."""
    return GRIDS[one_of("grid", name, GRIDS)](profile, dataset)
