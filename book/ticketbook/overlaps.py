"""How far a mask moves when the data that find it are spoilt: between chance and the masks of two clean batches."""

from collections import defaultdict
from itertools import combinations

import numpy as np

from ticketbook import shares
from ticketbook import verdicts_1 as verdicts
from ticketlib import masks, ratios
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import span, title
from ticketlib.experiments import grids, profiles, session
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.probe import is_plain

TICKETS = ("snip", "grasp", "lt")  # their masks need data; LT's by way of a trained net
NO_PROBE = f"**{verdicts.NOT_RUN.capitalize()}.** This ledger has no probe."
LITTLE = 0.05  # an agreement beyond chance of which a percentage says little
BELOW = (  # the table of overlaps
    "*Change of layer* is the share of the kept weights that change layer; *two clean seeds*, the same between two "
    "clean masks. In brackets stands what chance gives. *Agreement left* is taken over the seeds of which the counts "
    "of the second clean mask are known. *Seeds* are those whose masks were compared, for LT fewer than have runs."
)


def measured(run):
    """Masks found on clean and on corrupted batches; with source "run" those of the profile are probed first.

    Beside the rows of this ledger stand the book's probes of the paper's networks, but for the profile `smoke`.

    Returns: dict (network, ticket, sparsity) -> {seed: (row of the clean mask, row of the other)}.
    """
    if run.source == "run":
        _make(run)
    beside = Ledger(book_ledger("paper")).rows() if run.profile != "smoke" else []
    found = pairs_of([*beside, *session.rows_of(run)])
    return {key: {seed: pair for seed, pair in found[key].items() if not run.seeds or seed < run.seeds}
            for key in sorted(found, key=lambda key: (key[0], TICKETS.index(key[1]), key[2]))}  # fmt: skip


def pairs_of(rows):
    """Clean and corrupted probes of the same seed, as `measured` gives them."""
    by_kind = defaultdict(dict)
    for row in rows:
        values = row["config"]
        if is_plain(row) and values["ticket"] in TICKETS:
            key = values["network"], values["ticket"], values["sparsity"]
            by_kind[key, values["seed"], values["fingerprint"]][values["corruption"]] = row
    found = defaultdict(dict)
    for (key, seed, _), of in sorted(by_kind.items()):
        if {"none", "both"} <= set(of) and "ceiling" in of["both"]:
            found[key][seed] = of["none"], of["both"]
    return dict(found)


def _make(run):
    dataset = session.images(run)
    network = profiles.PROFILES[run.profile].networks["resnet"][0]
    configs = [config for config in grids.probes(run.profile, dataset, session.seeds(run))
               if config.ticket in TICKETS and config.network == network]  # fmt: skip
    session.make_probes(run, configs, dataset)


def sizes_of(row):
    """Number of weights of each layer that a row has a keep count for: dict name -> int."""
    if "sizes" in row:
        return row["sizes"]
    layers = ratios.layers(shares.network_of(row))
    return {layer.name: layer.size for layer in layers if layer.name in row["keep_counts"]}


def movable(counts, sizes):
    """Share, 0 to 1, of the kept weights that rearranging within layers moves, on average: masks.movable_share."""
    return 1 - masks.chance_of(counts, counts, sizes)


def far(pair):
    """Share, 0 to 1, of the kept weights that lie in other layers, once the batch is corrupted."""
    return shares.distance(*(row["keep_counts"] for row in pair))


def between_seeds(of):
    """The same share between the clean masks of two seeds, over all pairs of seeds; nan for one seed."""
    counts = [clean["keep_counts"] for clean, _ in of.values()]
    apart = [shares.distance(a, b) for a, b in combinations(counts, 2)]
    return float(np.mean(apart)) if apart else float("nan")


def beyond_chance(pair):
    """What a corrupted mask shares with the clean one, and what two clean masks share, each beyond its own chance.

    Returns: (float, float), overlaps minus what chance gives at their keep-counts; None where the counts of the second
        clean mask were not kept.
    """
    clean, spoilt = pair
    second = spoilt.get("second_keep_counts") or clean.get("second_keep_counts")  # LT's stand with the spoilt mask
    if second is None:
        return None
    chance = masks.chance_of(second, clean["keep_counts"], sizes_of(clean))
    return spoilt["overlap"] - spoilt["chance"], spoilt["ceiling"] - chance


def agreement(pairs):
    """Means of `beyond_chance` over the pairs that have it: (float, float), nan where none has."""
    known = list(filter(None, map(beyond_chance, pairs)))
    return tuple(map(float, np.mean(known, axis=0))) if known else (np.nan, np.nan)


def left(pairs):
    """How much of the agreement of two clean masks corruption leaves, a share of its mean; nan where none is known."""
    spoilt, clean = agreement(pairs)
    return spoilt / clean if clean else np.nan


def table(found):
    """Every cell as Markdown, means over seeds: how far keep-counts move, the overlap between chance and ceiling."""
    titles = ["network", "method, fraction removed", "change of layer", "two clean seeds", "overlap", "ceiling",
              "agreement left, %", "seeds"]  # fmt: skip
    lines = []
    for (network, ticket, sparsity), of in found.items():
        pairs = list(of.values())
        moved, apart = np.mean(list(map(far, pairs))), f"{between_seeds(of):.3f}" if len(of) > 1 else "one seed"
        numbers = [f"{moved:.3f}", apart, *_with_chance(pairs), _percent(left(pairs)), len(of)]
        lines.append([title(network), f"{style(ticket).label}, {sparsity}", *numbers])
    return f"{prose.table(titles, lines)}\n\n{BELOW}" if lines else NO_PROBE


def _with_chance(pairs):
    """Mean overlap and mean ceiling, each with its chance in brackets, as texts."""
    overlap, chance, ceiling = (np.mean([row[what] for _, row in pairs]) for what in ("overlap", "chance", "ceiling"))
    known = [(pair[1]["ceiling"], beyond[1]) for pair in pairs if (beyond := beyond_chance(pair))]
    clean = f" ({np.mean([top - rest for top, rest in known]):.3f})" if known else ""
    return f"{overlap:.3f} ({chance:.3f})", f"{ceiling:.3f}{clean}"


def _percent(share):
    return "not known" if np.isnan(share) else f"{100 * share:.0f}"


def reading(found):
    """What the table says over all its cells, and that LT is not in it while that is so; "" where there is none."""
    if not found:
        return ""
    moved = [100 * np.mean([far(pair) for pair in of.values()]) for of in found.values()]
    shares_left = [100 * left(of.values()) for of in found.values() if agreement(of.values())[1] > LITTLE]
    said = [f"Over the {len(found)} cells, corruption moves {span(moved, 1)} % of the kept weights to other layers."]
    said += [f"It leaves {span(shares_left, 0)} % of the agreement of two clean masks."] if shares_left else []
    little = defaultdict(list)
    for (network, ticket, sparsity), of in found.items():
        if agreement(of.values())[1] <= LITTLE:
            little[f"{style(ticket).label} on {title(network)}"].append(sparsity)
    where = "; ".join(f"{name} at {', '.join(at)}" for name, at in little.items())
    said += [f"With {where}, two clean masks agree by {LITTLE:g} beyond chance or less. So there the percentage is one "
             "of next to nothing, and is left out of this."] if little else []  # fmt: skip
    said += [] if any(key[1] == "lt" for key in found) else ["LT is not in this table: its ceiling has not been run."]
    return " ".join(said)


def draw(ax, found, network):
    """Draw one network: for each method and sparsity each seed's overlap beyond chance a dot, the ceiling a bar."""
    cells = [(key, of) for key, of in found.items() if key[0] == network]
    for place, ((_, ticket, _), of) in enumerate(cells):
        look = style(ticket)
        ax.bar(place, agreement(of.values())[1], width=0.8, color="0.85", zorder=0)
        dots = [row["overlap"] - row["chance"] for _, row in of.values()]
        ax.plot([place] * len(of), dots, look.marker, color=look.colour)
    ax.axhline(0, color="0.4", linewidth=0.8)
    tickets = [key[1] for key, _ in cells]
    middle = {ticket: tickets.index(ticket) + (tickets.count(ticket) - 1) // 2 for ticket in tickets}
    labels = [f"{s}\n{style(t).label if middle[t] == place else ''}" for place, ((_, t, s), _) in enumerate(cells)]
    ax.set_xticks(range(len(cells)), labels, fontsize=9)
    ax.set_title(title(network))
    return ax
