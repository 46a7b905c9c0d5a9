"""Keep counts side by side: what rules ask for, what methods were seen to keep, and how far apart they are."""

import textwrap
from collections import defaultdict
from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from ticketbook import verdicts_1 as verdicts
from ticketlib import data, models, ratios
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import title
from ticketlib.experiments import checkpoints, grids, probe, profiles, session
from ticketlib.experiments.config import parent

SPARSITIES = grids.PROBED
SCORED = ("snip", "grasp", "synflow")  # their keep counts follow from scores taken before any training
GROUPS = {
    "of another power of depth": ("linear", "cubic", "ascending"),
    "from the layers' shapes": ("er", "erk", "igq", "balanced"),
    "of a flat or geometric form": ("uniform", "uniform_plus", "pyramidal"),
}


def rule_counts(model, sparsity):
    """Keep counts of every rule on a network; None where a rule is infeasible or leaves a layer empty.

    Arguments: model, one of ours; sparsity, fraction removed.
    Returns: dict rule -> {layer: count} or None.
    """
    return {rule: ratios.defined_counts(model, rule, sparsity) for rule in ratios.RULES}


def keep_ratios(counts, model):
    """Fraction kept in each layer, 0 to 1, in forward order: float array (num_layers,)."""
    return np.array([counts[layer.name] / layer.size for layer in ratios.layers(model)])


def distance(a, b):
    """Share, 0 to 1, of the kept weights that would have to change layer to turn one set of keep counts into another.

    It is half the sum over layers of the absolute differences between shares of all kept weights (total variation), so
    that a layer counts by the weights it keeps.

    Arguments: a, b, keep counts of the same layers, not all zero.
    """
    return sum(abs(a[name] / sum(a.values()) - b[name] / sum(b.values())) for name in a) / 2


def distances(networks):
    """How far every rule is from the smart ratio.

    Arguments: networks, dict name -> model.
    Returns: (column titles, lines): a line a rule, a column a network and sparsity, two decimals or "not defined here".
    """
    cells = [(name, sparsity) for name in networks for sparsity in SPARSITIES]
    counts = {cell: rule_counts(networks[cell[0]], cell[1]) for cell in cells}
    rules = [rule for rule in ratios.RULES if rule != "smart"]
    lines = [[style(rule).label, *(_distance(counts[cell], rule) for cell in cells)] for rule in rules]
    return ["rule", *(f"{name}, {sparsity}" for name, sparsity in cells)], lines


def _distance(counts, rule):
    if counts[rule] is None or counts["smart"] is None:
        return verdicts.NOT_DEFINED
    return f"{distance(counts[rule], counts['smart']):.2f}"


def depth_and_size(layers):
    """Rank correlation, -1 to 1, of a convolution's place in the network and the number of its weights.

    Arguments: layers, list of ratios.Layer in forward order.
    """
    sizes = [layer.size for layer in layers if not layer.linear]
    return float(spearmanr(range(len(sizes)), sizes).statistic)


def rule_panels(model):
    """Keep-ratios of all rules, ready to draw beside the smart ratio.

    Returns: dict title -> {rule: float array (num_layers,)}, a panel for each sparsity and group of rules; a title
        names the rules of its group that are not defined there.
    """
    drawn = {}
    for sparsity in SPARSITIES:
        counts = rule_counts(model, sparsity)
        for group, rules in GROUPS.items():
            missing = [style(rule).label for rule in rules if counts[rule] is None]
            said = [f"{sparsity} removed: rules {group}"]
            said += [f"{verdicts.NOT_DEFINED}: {', '.join(missing)}"] * bool(missing)
            title = "\n".join(textwrap.fill(line, 27) for line in said)
            shown = [rule for rule in ("smart", *rules) if counts[rule]]
            drawn[title] = {rule: keep_ratios(counts[rule], model) for rule in shown}
    return drawn


def measured(run):
    """Masks probed on clean data; with source "run" those that are missing are made first, trained nets included.

    Returns: dict (network, ticket, sparsity) -> {seed: Row}: every key that the chapter asks for, maybe without rows.
    """
    if run.source == "run":
        _make(run, session.images(run))
    wanted = {(*profiles.PROFILES[of].networks[network], ticket) for of, network, ticket in _probed(run.profile)}
    kinds = [(profiles.PROFILES[of].networks[network][0], ticket) for of, network, ticket in _probed(run.profile)]
    found = {(*kind, sparsity): {} for kind in kinds for sparsity in SPARSITIES}
    for row in _rows(run):
        values = row["config"]
        key = values["network"], values["ticket"], values["sparsity"]
        named = key in found and (values["network"], values["width"], values["stem_stride"], values["ticket"]) in wanted
        plain = probe.is_plain(row) and row["config"]["corruption"] == "none"
        if named and plain and (not run.seeds or values["seed"] < run.seeds):
            found[key][values["seed"]] = row
    return found


def _rows(run):
    """The rows of the ledger, and where it is one folder among those of the profiles, of the paper's networks."""
    beside = [replace(run, ledger=run.ledger.with_name("paper"))] if run.ledger.name == run.profile else []
    return [row for each in (run, *beside) for row in session.rows_of(each)]


def probe_configs(profile, dataset, seeds):
    """Configurations whose masks the chapter measures, in order: scored tickets on the paper's networks, LT on ours.

    The profile `smoke` has no part of the paper's networks, which are too large for it. Scores are the book's own
    on every network.
    """
    return [
        profiles.config(of, ticket, sparsity, seed, dataset=dataset, network=network, **grids.OWN_SCORES)
        for seed in range(seeds)
        for of, network, ticket in _probed(profile)
        for sparsity in SPARSITIES
    ]


def _probed(profile):
    places = [(profile, "resnet")]
    if profile != "smoke":
        places = list(dict.fromkeys([("paper", "resnet"), ("paper", "vgg"), *places]))
    return [(*place, ticket) for place in places for ticket in SCORED] + [(profile, "resnet", "lt")]


def _make(run, dataset):
    there, configs = _rows(run), probe_configs(run.profile, dataset, session.seeds(run))
    names = {row["name"] for row in there}
    wanted = [config for config in configs if probe.name(config) not in names]
    parents = {p.name: p for p in map(parent, wanted) if p and checkpoints.load(p.name) is None}
    session.make_runs(run, list(parents.values()), dataset)
    seconds = _seconds(wanted, there + session.book_rows(run))
    session.make_probes(run, wanted, dataset, seconds)


def _seconds(wanted, rows):
    """What probes took before, on whatever machine: seconds for all that is wanted; None if some kind is new."""
    took = defaultdict(list)
    for row in rows:
        if row["kind"] == "probe":
            took[row["config"]["network"], row["config"]["ticket"]].append(row["seconds"])
    kinds = [(config.network, config.ticket) for config in wanted]
    return sum(np.median(took[kind]) for kind in kinds) if all(kind in took for kind in kinds) else None


def table_of(found):
    """What the methods keep, beside the rules: a line a network and method.

    Arguments: found, as `measured` gives.
    Returns: (column titles, lines): for each sparsity the mean distance from the smart ratio, and the nearest rule with
        its mean distance; for all of them in order, the classifier's share of the kept weights and the most layers left
        empty in a seed; seeds.
    """
    head = ["network", "method", *SPARSITIES, "in the last layer, %", "empty", "seeds"]
    names = dict.fromkeys(key[:2] for key in found)
    return head, [
        [title(network), style(ticket).label, *_line([found[network, ticket, sparsity] for sparsity in SPARSITIES])]
        for network, ticket in names
    ]


def _line(found):  # one {seed: Row} a sparsity
    of = [list(rows.values()) for rows in found]
    seeds = sorted({len(rows) for rows in of})
    share = [f"{100 * np.mean([row['classifier_share'] for row in rows]):.0f}" for rows in of if rows]
    empty = [str(max(len(row["empty_layers"]) for row in rows)) for rows in of if rows]
    cells = [_cell(rows, sparsity) for rows, sparsity in zip(of, SPARSITIES, strict=True)]
    return [*cells, ", ".join(share), ", ".join(empty), " or ".join(map(str, seeds))]


def _cell(rows, sparsity):
    if not rows:
        return verdicts.NOT_RUN
    far = {rule: np.mean(values) for rule, values in _far(rows, sparsity).items()}
    nearest = min(far, key=far.get)
    smart = f"{far['smart']:.2f}" if "smart" in far else verdicts.NOT_DEFINED
    return f"{smart}; {style(nearest).label} {far[nearest]:.2f}"


def _far(rows, sparsity):
    """Distance of each row's keep counts from every rule that is defined: dict rule -> list."""
    rules = rule_counts(network_of(rows[0]), sparsity)
    return {rule: [distance(row["keep_counts"], counts) for row in rows] for rule, counts in rules.items() if counts}


def reading(found):
    """Which rules are nearest to what the methods keep, and how much seeds differ, over the measured cells."""
    far = [_far(list(rows.values()), key[2]) for key, rows in found.items() if rows]
    nearest = [min(of, key=lambda rule: np.mean(of[rule])) for of in far]
    if not nearest:
        return f"**{verdicts.NOT_RUN.capitalize()}.** This ledger has no probe."
    said = [f"the smart ratio in {nearest.count('smart')}"]
    said += [f"a rule {group} in {sum(rule in rules for rule in nearest)}" for group, rules in GROUPS.items()]
    spread = max((np.ptp(of["smart"]) for of in far if "smart" in of), default=0.0)
    said = f"Of {len(nearest)} cells with rows, the nearest rule is {', '.join(said)}."
    return f"{said} Over the seeds of a cell, the distance from the smart ratio varies by {spread:.2f} at most."


def panels(found):
    """Mean keep-ratios over seeds, ready to draw.

    Arguments: found, as `measured` gives. Returns: dict (network's title, sparsity) -> {method: float array},
        the smart ratio first; only panels with rows.
    """
    drawn = {}
    for (network, ticket, sparsity), rows in found.items():
        if rows:
            model = network_of(next(iter(rows.values())))
            panel = drawn.setdefault((title(network), sparsity), {})
            smart = rule_counts(model, sparsity)["smart"]
            panel |= {"smart": keep_ratios(smart, model)} if smart and not panel else {}
            panel[ticket] = np.mean([keep_ratios(row["keep_counts"], model) for row in rows.values()], axis=0)
    return drawn


def network_of(row):
    """The network, with fresh weights, whose mask a probe row describes."""
    values = row["config"]
    channels = 1 if values["dataset"] == "digits" else 3
    size = {what: values[what] for what in ("width", "stem_stride")}
    return models.build(values["network"], data.CLASSES[values["dataset"]], channels, **size)
