"""What ledger rows say beside paired differences: collapses, seeds, masks. Each function gives an answers.Piece."""

from collections import Counter

import numpy as np
from scipy.stats import spearmanr

from ticketbook import checks, imagenet, limits, overlaps, shapes, shares
from ticketbook import verdicts_1 as verdicts
from ticketbook.answers import Piece
from ticketbook.claims_1 import CLAIMS
from ticketlib import ratios
from ticketlib.analysis import evidence
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import decimal, span, title
from ticketlib.experiments import grids
from ticketlib.experiments.config import DEFAULTS
from ticketlib.experiments.probe import imagenet_rows
from ticketlib.experiments.profiles import PROFILES
from ticketlib.tickets import TICKETS

SPARSITY, SPARSEST = "0.98", "0.999"  # at which masks are compared, and their paths
METHODS = ("snip", "grasp", "synflow", "magnitude", "lt")
PLACES = {"ResNet-32": ("paper", "resnet"), "VGG-19": ("paper", "vgg"), "ResNet-20": ("laptop", "resnet")}
SPOILT = {"snip": ("ResNet-32", "VGG-19"), "grasp": ("ResNet-32", "VGG-19"), "lt": ("ResNet-20",)}
REQUIRED = {"ResNet-32": METHODS[:-1], "VGG-19": METHODS[:-1], "ResNet-20": ("lt",)}  # LT needs trained nets
MASK_SEEDS = 10  # seeds of the probes
TRAINED_SEEDS = 3  # of the probes that need networks trained on noise and in a second order


def stability(facts):
    """The claims' runs at the recipe's learning rate that went astray, and the arm that varies most over seeds.

    Empty layers are not counted: the mask fixes them before training. Dense nets are compared by no claim.
    """
    arms = {arm: of for arm, of in _claim_arms(facts).items() if not arm.startswith("dense")}
    rows = [row for of in arms.values() for row in of.values()]
    widest = _widest(arms)
    if not widest:
        return Piece("", complete=False)
    wide, spread = widest
    kinds, (ticket, _, sparsity) = Counter(map(evidence.collapse, rows)), wide.partition("@")
    text = (f"of the {len(rows)} runs that claims compare, at the recipe's rate, {kinds['diverged']} diverged and "
            f"{kinds[evidence.LOW]} ended below twice chance (empty layers alone are not counted); "
            f"{style(ticket).label} at {sparsity} varies most over seeds "
            f"(SD {spread:.2f} points)")  # fmt: skip
    for where, of in _beside(facts).items():
        text += f"; {where}: {_astray(of)}" if any(map(len, of.values())) else ""
        rows += [row for seeds in of.values() for row in seeds.values()]
    return Piece(text, evidence.names(rows), _counts(arms), _full(arms, facts))


def _beside(facts):
    """Tickets that no verdict reads, by the place where they trained: dict place -> {arm: {seed: Row}}."""
    slim = evidence.select(facts.rows, facts.profile, "vgg")
    return {
        "ResNet-20 at 0.995": {arm: of for arm, of in facts.arms.items() if arm.endswith("@0.995")},
        "slim VGG-16 at 0.98": {arm: of for arm, of in slim.items() if arm.endswith("@0.98")},
    }


def _astray(arms):
    """How many runs of some arms failed in training, and the arm that varies most over seeds."""
    rows = [row for of in arms.values() for row in of.values()]
    lost = sum(map(evidence.collapsed_in_training, rows)) or "none"
    said = f"{lost} of {len(rows)} runs diverged or ended below twice chance"
    if widest := _widest(arms):
        said += f", {checks.label(widest[0].partition('@')[0])} varies most (SD {widest[1]:.2f} points)"
    return said


def _widest(arms):
    """The arm that varies most over seeds, and its standard deviation in points; None where no arm has two seeds."""
    spreads = {
        arm: np.std([evidence.accuracy(row) for row in of.values()], ddof=1) for arm, of in arms.items() if len(of) > 1
    }
    return max(spreads.items(), key=lambda one: one[1], default=None)


def emptied(facts):
    """How many runs of LRR have an empty layer at the sparser end of the claims, and at which accuracy these end."""
    arms = {"lrr@0.98": facts.arms.get("lrr@0.98", {})}
    rows = list(arms["lrr@0.98"].values())
    if not rows:
        return Piece("", complete=False)
    thin = [evidence.accuracy(row) for row in rows if row["empty_layers"]]
    ends = f", which end at {span(thin)} %" if thin else ""
    lost = sum(map(evidence.collapsed_in_training, rows)) or "none"
    text = (f"LRR at 0.98 has an empty layer in {len(thin)} of {len(rows)} runs{ends}; {lost} of its runs diverged or "
            "ended below twice chance")  # fmt: skip
    slim = list(evidence.select(facts.rows, facts.profile, "vgg").get("lrr@0.98", {}).values())
    if failed := [row for row in slim if evidence.collapsed_in_training(row)]:
        empty = sum(bool(row["empty_layers"]) for row in failed) or "none"
        text += f"; on slim VGG-16 {len(failed)} of {len(slim)} did, and {empty} of these have an empty layer"
    return Piece(text, evidence.names([*rows, *slim]), _counts(arms), _full(arms, facts))


def seeds(facts):
    """How many seeds stand behind each arm of the claims."""
    arms = _claim_arms(facts)
    counts = [len(of) for of in arms.values()]
    if not any(counts):
        return Piece("", complete=False)
    text = f"{span(counts, 0)} seeds behind each of the {len(counts)} arms of the claims"
    rows = [row for of in arms.values() for row in of.values()]
    return Piece(text, evidence.names(rows), tuple(sorted(set(counts) - {0})), _full(arms, facts))


def _claim_arms(facts):
    return {key: facts.arms.get(key, {}) for key in (k if "@" in k else f"{k}@0" for k in grids.claim_arms())}


def _full(arms, facts):
    return all(len(of) >= PROFILES[facts.profile].seeds for of in arms.values())


def _counts(arms):
    return tuple(sorted({len(of) for of in arms.values() if of}))


def masks_of(facts, ticket, place, corruption="none", sparsity=SPARSITY):
    """Rows, runs or probes, with a ticket's mask as found on a network of PLACES: dict seed -> Row."""
    of, network = PLACES[place]
    name, width, stem_stride = PROFILES[of].networks[network]
    plain = {what: DEFAULTS[what] for what in ("check", "linear", "variant", "min_per_layer", "held_out", "scoring")}
    wanted = plain | dict(network=name, width=width, stem_stride=stem_stride, dataset=PROFILES[of].dataset,
                          ticket=ticket, corruption=corruption, sparsity=sparsity,
                          recipe=PROFILES[of].training["recipe"])  # fmt: skip
    return {
        row["config"]["seed"]: row
        for row in sorted(facts.rows, key=lambda row: row["kind"], reverse=True)  # probes last: they say more
        if row.get("keep_counts")
        and all(row["config"].get(what, DEFAULTS.get(what)) == value for what, value in wanted.items())
    }


def _each_method(facts, measure):
    """Mean over seeds of `measure(row, model)`, for every network and method that has masks.

    Returns: (dict "method on network" -> mean, Piece with no text).
    """
    means, rows, counts, full = {}, [], set(), True
    for place, required in REQUIRED.items():
        found = {method: masks_of(facts, method, place) for method in METHODS}
        full &= all(len(found[method]) >= MASK_SEEDS for method in required)
        for method, of in found.items():
            if of:
                model = shares.network_of(next(iter(of.values())))
                means[f"{style(method).label} on {place}"] = np.mean([measure(row, model) for row in of.values()])
                rows += of.values()
                counts.add(len(of))
    return means, Piece("", evidence.names(rows), tuple(sorted(counts)), full and bool(rows))


def _range(means):
    low, high = min(means, key=means.get), max(means, key=means.get)
    return f"{decimal(means[low])} ({low}) to {decimal(means[high])} ({high}), over {len(means)} masks"


def depth(facts):
    """Rank correlation of a convolution's place with its keep-ratio, for every method."""

    def measure(row, model):
        kept = [row["keep_counts"][layer.name] / layer.size for layer in ratios.layers(model) if not layer.linear]
        return spearmanr(range(len(kept)), kept).statistic

    means, piece = _each_method(facts, measure)
    if not means:
        return piece
    fall = sum(mean < 0 for mean in means.values())
    return piece._replace(text=f"at {SPARSITY}, keep-ratios fall with depth in {fall} of {len(means)}: rank "
                               f"correlation of a layer's place with its keep-ratio {_range(means)}")  # fmt: skip


def distances(facts):
    """Share of the kept weights that lie in other layers than the smart ratio's, for every method."""
    smart = {}

    def measure(row, model):
        name = row["config"]["network"]
        if name not in smart:
            smart[name] = ratios.keep_counts(model, "smart", SPARSITY)
        return shares.distance(row["keep_counts"], smart[name])

    means, piece = _each_method(facts, measure)
    if not means:
        return piece
    return piece._replace(text=f"at {SPARSITY}, share of kept weights not where the smart ratio has them: "
                               f"{_range(means)}")  # fmt: skip


def recorded(facts):
    """How many rows keep the keep-counts of every layer."""
    rows = [row for row in facts.rows if row.get("keep_counts") and row["config"].get("recipe")]
    methods = {row["config"]["ticket"] for row in rows} - {"dense"}
    if not methods:
        return Piece("", complete=False)
    seeds = {row["config"]["seed"] for row in rows}
    text = f"{len(rows)} rows keep the counts of every layer, of {len(methods)} kinds of ticket"
    full = all(len(masks_of(facts, method, place)) >= MASK_SEEDS for place, of in REQUIRED.items() for method in of)
    return Piece(text, evidence.names(rows), (len(seeds),), full)


def corruption(facts):
    """How far keep-ratios and masks move when what finds a mask is corrupted, beside two clean masks."""
    said, used, counts, full = [], [], set(), True
    for method, places in SPOILT.items():
        found = {place: _spoilt_pairs(facts, method, place) for place in places}
        wanted = TRAINED_SEEDS if method == "lt" else MASK_SEEDS
        full &= all(sum("overlap" in bad for _, bad in pairs) >= wanted for pairs in found.values())
        there = [pairs for pairs in found.values() if pairs]
        where = " and ".join(place for place, pairs in found.items() if pairs)
        said += [f"{style(method).label} on {where} {_moved(there)}"] if there else []
        used += [row for pairs in there for pair in pairs for row in pair]
        counts |= set(map(len, there))
    if not said:
        return Piece("", complete=False)
    text = (f"at {SPARSITY}, share of kept weights that change layer, and how much of the agreement of two "
            f"clean masks beyond chance is left: {'; '.join(said)}")  # fmt: skip
    return Piece(text, evidence.names(used), tuple(sorted(counts)), full)


def _spoilt_pairs(facts, method, place):
    clean, bad = (masks_of(facts, method, place, kind) for kind in ("none", "both"))
    return [(clean[seed], bad[seed]) for seed in sorted(set(clean) & set(bad))]


def _moved(of):
    far = [100 * np.mean([shares.distance(a["keep_counts"], b["keep_counts"]) for a, b in pairs]) for pairs in of]
    overlapped = [[pair for pair in pairs if "overlap" in pair[1]] for pairs in of]
    known = [100 * overlaps.left(pairs) for pairs in overlapped if overlaps.agreement(pairs)[1] > overlaps.LITTLE]
    if not known and any(overlaps.agreement(pairs)[1] <= overlaps.LITTLE for pairs in overlapped):
        return f"{span(far, 0)} % (two clean masks hardly agree)"
    return f"{span(far, 0)} % and {f'{span(known, 0)} %' if known else verdicts.NOT_RUN}"


def confounded(facts):
    """How closely place and size go together in the profile's networks, and what methods follow where they part."""
    said = []
    for network, (name, *_) in PROFILES[facts.profile].networks.items():
        far = shares.depth_and_size(grids.layers(facts.profile, network))
        said.append(f"{decimal(far)} in {title(name)}")
    text = f"rank correlation of a layer's place with its size: {', '.join(said)}"
    found = shapes.found_in(facts.rows)
    words = {ticket: known[0] for ticket in shapes.METHODS if (known := shapes.follows(found, ticket))}
    if not words:
        return Piece(text)
    of = [rows for (network, ticket, _), rows in found.items()
          if network in (shapes.EQUAL, shapes.SHRINKING) and ticket in words]  # fmt: skip
    told = ", ".join(f"{style(ticket).label} {'place and size' if word == 'both' else word}"
                     for ticket, word in words.items())  # fmt: skip
    used = [row for rows in of for row in rows.values()]
    text += f"; where the two part, keep-ratios follow: {told}"
    return Piece(text, evidence.names(used), _counts(dict(enumerate(of))))


def movable(facts):
    """What is live at the sparse end as found and rearranged, and the share that rearranging can move, on paper."""
    cells, _ = limits.cells_in(facts.rows, [PLACES["ResNet-32"], PLACES["VGG-19"]])
    known = {key: cell for key, cell in cells.items() if key[2] == SPARSEST and cell and cell.rearranged is not None}
    if not known:
        return Piece("")
    told = ", ".join(f"{style(method).label} on {network} {cell.live:.2f} and {cell.rearranged:.2f}"
                     for (network, method, _), cell in known.items()
                     if max(cell.live, cell.rearranged) >= 0.005)  # fmt: skip
    told += ", all others on these two none" if any(max(c.live, c.rearranged) < 0.005 for c in known.values()) else ""
    text = (f"on the paper's two networks at {SPARSEST}, share of kept weights on a live path, as found and "
            f"rearranged, without training: {told}; "
            f"at least {min(cell.movable for cell in known.values()):.2f} of them can move")  # fmt: skip
    used = [row for place in ("ResNet-32", "VGG-19") for method in METHODS[:-1]
            for row in masks_of(facts, method, place, sparsity=SPARSEST).values()]  # fmt: skip
    return Piece(text, evidence.names(used), tuple(sorted({cell.n for cell in known.values()})))


def at_scale(facts):
    """What masks say of networks for ImageNet, without training."""
    rows = imagenet_rows(facts.rows)
    cells = imagenet.cells_of(rows)
    known = [cell for cell in cells.values() if cell and cell.n]
    if not known:
        return Piece("", complete=False)
    missing = {}
    for (network, method, sparsity), cell in cells.items():
        if method == "smart" and cell and cell.reason:
            missing.setdefault(network, []).append(sparsity)
    smart = [f"{network} at {' and '.join(of)}" for network, of in missing.items()]
    text = f"masks alone, without training: {sum(map(limits.sound, known))} of {len(known)} are sound"
    text += f"; the smart ratio is {verdicts.NOT_DEFINED} on {', '.join(smart)}" if smart else ""
    return Piece(text, evidence.names(rows.values()), (1,), all(cell is not None for cell in cells.values()))


def weight_of_initial_tickets(facts):
    """How many of the claims' comparisons are about tickets that train from their initial weights."""
    compared = [c for claim in CLAIMS.values() for c in claim.comparisons]
    initial = [c for c in compared if TICKETS[c.a.partition("+")[0]].start == "initial"]
    return Piece(f"{len(initial)} of the {len(compared)} comparisons of the claims are about tickets that train from "
                 "their initial weights")  # fmt: skip
