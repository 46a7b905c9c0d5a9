"""Numbers in the prose of Markdown pages: taken from the book's rows, each with an assertion beside it.

A page writes {{ rows.difference("hybrid@0.98", "lrr@0.98", above=0) }}. The build fails, naming the numbers, once the
rows no longer say what the sentence around them says.
"""

import functools

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ticketbook import layers, probes
from ticketbook.book_rows import ledger_frame, ledger_rows
from ticketlib.analysis import pairs, stats
from ticketlib.analysis.layerwise import keep_ratios
from ticketlib.analysis.words import decimal, signed, span
from ticketlib.errors import TicketError
from ticketlib.experiments import claims, grids
from ticketlib.experiments.profiles import Images
from ticketlib.masks import asked_total
from ticketlib.tickets import TICKETS

OTHER = {"cifar100": {"dataset": "cifar100", "epochs": grids.other_recipe("laptop")["epochs"]}}
ON_PURPOSE = ("epochs",)  # may differ in a pair where a page asks for it
AT = "0.98"  # the sparsity at which masks are compared
NETWORKS = ("ResNet-32", "VGG-19", "ResNet-20")
METHODS = ("snip", "grasp", "synflow", "magnitude", "lt")


@functools.cache
def runs(network="resnet", dataset="", epochs=claims.EXPLORATORY.epochs):
    """Version 1's runs, seeds 0 to 9, and what was run beside them: as pairs.select gives."""
    changes = {"epochs": epochs} | OTHER.get(dataset, {})
    chosen = pairs.select(ledger_frame(), "laptop", network, **changes)
    return chosen[chosen.seed.isin(claims.EXPLORATORY.seeds)]


def paired(a, b, b_epochs=None, **where):
    """The paired difference of two arms, a minus b: pairs.Difference.

    Arguments: a, b, as Config.arm; b_epochs, the length of b's training where it differs on purpose; where, arguments
        of `runs`.
    Raises: TicketError for an arm without pairs, or pairs that may not be compared.
    """
    of_b = runs(**where | {"epochs": b_epochs}) if b_epochs else runs(**where)
    both = [of[of.arm == arm] for of, arm in ((runs(**where), a), (of_b, b))]
    nets = runs(**where).query("ticket == 'dense'")
    difference = pairs.difference(pd.concat([*both, nets]).drop_duplicates("name"), a, b)
    refused = [what for what in difference.refused if not (b_epochs and what in ON_PURPOSE)]
    if difference.points.empty or refused:
        raise TicketError(f"{a} − {b} has no pairs that may be compared {refused}; a page asks for it.")
    return difference


class Rows:
    """What pages call `rows`. Every method returns text, and raises TicketError where its assertion fails."""

    def difference(self, a, b, above=None, below=None, around=None, short=False, **where):
        """Arm a minus arm b in points: mean, 95 % interval, seeds; the mean alone where `short`.

        Assertions: above, below, the interval lies wholly there; around, it contains this value.
        """
        points = paired(a, b, **where).points
        mean = stats.t_interval(points.tolist())
        if mean.low is None:
            _hold(f"{a} − {b}", "one seed", above is below is around is None, "more than that")
            return f"{signed(mean.point)} (one seed)"
        text = f"{signed(mean.point)} ({signed(mean.low)} to {signed(mean.high)}, n = {mean.n})"
        _hold(f"{a} − {b}", text, above is None or mean.low > above, f"above {above}")
        _hold(f"{a} − {b}", text, below is None or mean.high < below, f"below {below}")
        _hold(f"{a} − {b}", text, around is None or mean.low <= around <= mean.high, f"around {around}")
        return signed(mean.point) if short else text

    def accuracy(self, arm, above=0, below=100, **where):
        """Mean accuracy of an arm in percent, and its seeds' number."""
        of = runs(**where).query("arm == @arm").accuracy
        _hold(arm, of.mean(), above < of.mean() < below, f"between {above} and {below} %")
        return f"{of.mean():.2f} %"

    def loss(self, arm, above=0, **where):
        """Mean training loss of an arm at the end."""
        of = runs(**where).query("arm == @arm").loss
        _hold(arm, of.mean(), of.mean() > above, f"above {above}")
        return f"{of.mean():.4f}"

    def spread(self, arm, widest=False, **where):
        """Standard deviation over seeds of an arm in points; `widest` asserts that none at its sparsity has more."""
        spreads = runs(**where).groupby("arm").accuracy.std()
        beside = spreads[spreads.index.str.endswith(arm[arm.index("@"):])]
        _hold(arm, spreads[arm], not widest or spreads[arm] == beside.max(), "the widest")
        return f"{spreads[arm]:.2f}"

    def collapsed(self, sparsity, least=0, most=None, ticket="", of_claims=False, **where):
        """How many runs of a sparsity collapsed, "2 of 33": of all, of one ticket, or of those that claims compare."""
        of = runs(**where).query("sparsity == @sparsity")
        of = of[of.arm == f"{ticket}@{sparsity}"] if ticket else of
        of = of[of.arm.isin(grids.claim_arms())] if of_claims else of
        lost = int(of.collapsed.sum())
        _hold(f"at {sparsity}", f"{lost} collapsed", least <= lost <= (len(of) if most is None else most), "otherwise")
        return f"{lost or 'none'} of {len(of)}"

    def emptied(self, arm, least=0, **where):
        """How many runs of an arm have an empty layer: "9 of 10"."""
        empty = runs(**where).query("arm == @arm").empty_layers > 0
        _hold(arm, empty.sum(), empty.sum() >= least, f"empty in {least}")
        return f"{empty.sum()} of {len(empty)}"

    def seeds(self, *arms, n, **where):
        """The number of seeds of some arms, asserted to be n in each."""
        counts = {arm: len(runs(**where).query("arm == @arm")) for arm in arms}
        _hold(", ".join(arms), counts, set(counts.values()) == {n}, f"of {n} seeds")
        return str(n)

    def fresh(self, below):
        """How many of the protocol's seeds have all their runs, asserted to be fewer than `below`: "1 of 8"."""
        seeds, made = claims.protocol().seeds, ledger_frame()
        names, images = set(made.name), Images("cifar10", made[made.dataset == "cifar10"].fingerprint.iloc[0])
        short = {config.seed for config in grids.grid("v2", "laptop", images) if config.name not in names}
        whole = len(seeds) - len(short)
        _hold("version 2", f"{whole} seeds complete", whole < below, f"fewer than {below}")
        return f"{whole} of {len(seeds)}"

    def weights(self, profile, network, sparsity):
        """How many weights of a network stay: "5,418 of 270,896"."""
        total = sum(layer.size for layer in grids.layers(profile, network))
        return f"{asked_total(total, sparsity):,} of {total:,}"

    def probes(self, ticket, network, dataset, n):
        """How many of the paper's probes are of a ticket on a network and data, asserted to be n: "no" for none."""
        asked = {"ticket": ticket, "network": network, "dataset": dataset}
        of = [row for row in ledger_rows("paper") if row["kind"] == "probe" and asked.items() <= row["config"].items()]
        _hold(f"{ticket} on {network}", f"{len(of)} probes", len(of) == n, f"{n}")
        return {0: "no", 1: "one"}.get(n, str(n))

    def untrained(self, least):
        """How many of the comparisons that claims demand are between tickets that need no trained network."""
        demanded = [one for claim in claims.CLAIMS.values() for one in claim.demanded]
        untrained = [one for one in demanded
                 if not any(TICKETS[arm.partition("+")[0]].needs_trained for arm in (one.a, one.b))]  # fmt: skip
        _hold("comparisons without training", len(untrained), len(untrained) >= least, f"at least {least}")
        return f"{len(untrained)} of {len(demanded)}"

    def falling(self):
        """How many methods' keep-ratios fall with depth, of how many, by rank correlation: all, it is asserted."""
        ranks = {}
        for place, cell in _masks().groupby(["network", "method"]):
            network = probes.layers_of(cell.row.iloc[0]["config"])
            sizes = {layer.name: layer.size for layer in network if not layer.linear}
            kept = [keep_ratios(counts, sizes) for counts in cell.counts]
            ranks[place] = np.mean([spearmanr(range(len(sizes)), one).statistic for one in kept])
        _hold("rank correlation", ranks, max(ranks.values()) < 0, "below 0 everywhere")
        return f"{len(ranks)} of {len(ranks)}, rank correlation {span(ranks.values(), write=decimal)}"

    def apart(self, above):
        """Share of the kept weights that lie in other layers than the smart ratio's, over methods and networks."""
        shares = 100 * layers.nearest_rules(_masks()).smart
        _hold("distance to the smart ratio", shares.tolist(), above < shares.min(), f"above {above} %")
        return f"{span(shares, 0)} %"

    def spoilt(self, method, places, below=100.0, above=0.0):
        """Share of the kept weights that change layer when what finds the mask is corrupted, in percent."""
        both = layers.spoilt(probes.book()).query("method == @method and network in @places and sparsity == @AT")
        moved = 100 * layers.drifts(both).query("against == 'spoilt data'").moved
        _hold(f"{method} on spoilt data", moved.tolist(), above < moved.min() <= moved.max() < below,
              f"{above} to {below} %")  # fmt: skip
        return f"{span(moved, 0)} %"


def _hold(what, value, holds, said):
    """Raises: TicketError where an assertion of a page does not hold."""
    if not holds:
        raise TicketError(f"{what} is {value}, and a sentence of this page says {said}: write the sentence anew.")


def _masks():
    """Masks of METHODS at AT on NETWORKS, found on clean data: lines of probes.book."""
    found = probes.clean(probes.book())
    return found[found.method.isin(METHODS) & (found.sparsity == AT) & found.network.isin(NETWORKS)]
