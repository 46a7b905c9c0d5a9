"""Does a layer's keep-ratio follow its place or its size? Networks in which the two part tell."""


import numpy as np

from ticketbook import shares
from ticketbook import verdicts_1 as verdicts
from ticketlib import ratios
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import style
from ticketlib.experiments import grids, session
from ticketlib.experiments.grids import METHODS, PROBED
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.probe import is_plain

EQUAL, SHRINKING = "equal layers", "shrinking layers"
NETWORKS = {"resnet32": "ResNet-32", "vgg19": "VGG-19", "vgg16_equal": EQUAL, "vgg16_reversed": SHRINKING}
ENDS = 3  # layers at either end over which keep-ratios are averaged
FACTOR = 2.0  # a change of keep-ratios from one end to the other counts from here on
DIGITS = {"vgg16_equal": 0.125, "vgg16_reversed": 0.0625}  # widths with the profile smoke


def measured(run):
    """Clean masks on the paper's networks and on those in which place and size part.

    Arguments: run, session.NotebookRun; with source "run" the profile's own masks on the latter are made first.
    Returns: dict (our network's name, ticket, sparsity) -> {seed: Row}, an empty dict for what is not there.
    """
    if run.source == "run":
        _make(run)
    beside = Ledger(book_ledger("paper")).rows() if run.profile != "smoke" else []
    return found_in([*beside, *session.rows_of(run)], run.seeds)


def found_in(rows, seeds=0):
    """The rows that `measured` asks for, among others; seeds, how many at most, 0 for all."""
    found = {(name, ticket, s): {} for name in NETWORKS.values() for ticket in METHODS for s in PROBED}
    for row in rows:
        values = row["config"]
        if not is_plain(row) or values["corruption"] != "none":
            continue
        key = NETWORKS.get(values["network"]), values["ticket"], values["sparsity"]
        if key in found and (not seeds or values["seed"] < seeds):
            found[key][values["seed"]] = row
    return found


def _make(run):
    dataset = session.images(run)
    widths = DIGITS if run.profile == "smoke" else grids.SHAPES
    configs = grids.shape_probes(run.profile, dataset, session.seeds(run), widths)
    session.make_probes(run, configs, dataset)


def inner(model):
    """The convolutions whose keep-ratios are compared: all but the first, which is small and has a part of its own."""
    return [layer for layer in ratios.layers(model) if not layer.linear][1:]


def mean_ratios(rows):
    """Mean keep-ratios over seeds of the inner convolutions: (list of ratios.Layer, float array (num_layers,)).

    Arguments: rows, of one network and method, at least one.
    """
    layers = inner(shares.network_of(rows[0]))
    return layers, np.mean([[row["keep_counts"][layer.name] / layer.size for layer in layers] for row in rows], axis=0)


def told(kept, by):
    """Share, 0 to 1, of the variance of log keep-ratios that a straight line on something tells; nan if it is constant.

    Arguments: kept, keep-ratios, float (num_layers,), those of empty layers are left out; by, float (num_layers,).
    """
    kept, by = np.asarray(kept), np.asarray(by, dtype=float)
    there = kept > 0
    if np.ptp(by[there]) == 0 or np.ptp(kept[there]) == 0:
        return float("nan")
    return float(np.corrcoef(np.log(kept[there]), by[there])[0, 1] ** 2)


def by_place_and_size(layers, kept):
    """What a layer's place alone, and the logarithm of its size alone, tell of its keep-ratio: (place, size)."""
    return told(kept, np.arange(len(layers))), told(kept, np.log([layer.size for layer in layers]))


def fall(kept):
    """By what factor keep-ratios fall from the first layers to the last: above 1 they fall, below 1 they rise."""
    first, last = np.mean(kept[:ENDS]), np.mean(kept[-ENDS:])
    return float(first / last) if last else float("inf")


def table(found):
    """What place and size tell, of every network and method, as Markdown; each at the sparsities of the probes."""
    titles = ["network", "method", "told by place, %", "told by size, %", "first layers over last", "seeds"]
    lines = []
    for network, ticket in dict.fromkeys(key[:2] for key in found):
        cells = [list(found[network, ticket, s].values()) for s in PROBED]
        if not all(cells):
            lines.append([network, style(ticket).label, *[verdicts.NOT_RUN] * 3, 0])
            continue
        means = [mean_ratios(rows) for rows in cells]
        told_by = zip(*(by_place_and_size(*mean) for mean in means), strict=True)
        falls = ", ".join(_factor(fall(kept)) for _, kept in means)
        seeds = " or ".join(map(str, sorted({len(rows) for rows in cells})))
        lines.append([network, style(ticket).label, *map(_percent, told_by), falls, seeds])
    return prose.table(titles, lines)


def _percent(values):
    if np.isnan(values).all():
        return "one size"
    return ", ".join("one size" if np.isnan(value) else f"{100 * value:.0f}" for value in values)


def follows(found, ticket):
    """What a method's keep-ratios follow, from the two networks in which place and size part.

    Returns: (word, falls over equal layers, falls over shrinking layers), the falls a list, one a sparsity; None
        without rows. The word is "place", "size", "both" or "neither".
    """
    cells = {network: [list(found[network, ticket, s].values()) for s in PROBED] for network in (EQUAL, SHRINKING)}
    if not all(rows for of in cells.values() for rows in of):
        return None
    equal, shrinking = ([fall(mean_ratios(rows)[1]) for rows in of] for of in cells.values())
    place, size = min(equal) >= FACTOR, max(shrinking) <= 1 / FACTOR
    # Where place alone counts, keep-ratios fall over shrinking layers as over equal ones; size holds against that.
    size |= place and max(b / a for a, b in zip(equal, shrinking, strict=True)) <= 1 / FACTOR
    return {(1, 1): "both", (1, 0): "place", (0, 1): "size", (0, 0): "neither"}[place, size], equal, shrinking


def answer(found):
    """What the methods' keep-ratios follow, in short, as Markdown."""
    known = {ticket: answer for ticket in METHODS if (answer := follows(found, ticket))}
    if not known:
        return f"**{verdicts.NOT_RUN.capitalize()}.** This ledger has no masks of such networks."
    words = {word for word, _, _ in known.values()}
    head = "In part." if len(words) > 1 else {"place": "Yes.", "both": "In part."}.get(words.pop(), "No.")
    lines = [[style(ticket).label, {"both": "place and size"}.get(word, word), *map(_spanned, (equal, shrinking))]
             for ticket, (word, equal, shrinking) in known.items()]  # fmt: skip
    titles = ["method", "its keep-ratios follow", "equal layers: first over last", "shrinking layers: first over last"]
    return f"**{head}** {_sentence(known)}\n\n{prose.table(titles, lines)}"


def _spanned(values):
    return " to ".join(dict.fromkeys(map(_factor, (min(values), max(values)))))


def _factor(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _sentence(known):
    of = {word: [style(ticket).label for ticket, found in known.items() if found[0] == word]
          for word in ("place", "both", "size", "neither")}  # fmt: skip
    said = {"place": "follow the place of a layer alone", "both": "follow place and size",
            "size": "follow the size of a layer alone", "neither": "follow neither"}  # fmt: skip
    return "; ".join(f"{', '.join(of[word])}: the keep-ratios {said[word]}" for word in of if of[word]) + "."


def panels(found, sparsity):
    """Mean keep-ratios of all methods beside the smart ratio's: dict network -> {method: float array (num_layers,)}."""
    drawn = {}
    for (network, ticket, at), rows in found.items():
        if rows and at == sparsity:
            model = shares.network_of(next(iter(rows.values())))
            panel = drawn.setdefault(network, {})
            smart = shares.rule_counts(model, sparsity)["smart"]
            panel |= {"smart": shares.keep_ratios(smart, model)} if smart and not panel else {}
            panel[ticket] = np.mean([shares.keep_ratios(row["keep_counts"], model) for row in rows.values()], axis=0)
    return drawn
