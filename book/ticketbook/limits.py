"""How far masks go before they break: weights on no live path, empty layers, what rearranging can move, on paper."""

from typing import NamedTuple

import numpy as np

from ticketbook import overlaps
from ticketbook import verdicts_1 as verdicts
from ticketlib import ratios
from ticketlib.analysis import evidence
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import kept_axis, style
from ticketlib.experiments import grids, profiles, session
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.probe import is_plain

SPARSITIES = (*grids.PROBED, *grids.SPARSE_END)
METHODS = (*grids.METHODS, "lt", *ratios.RULES)
NAMES = {("paper", "resnet"): "ResNet-32", ("paper", "vgg"): "VGG-19", ("laptop", "resnet"): "ResNet-20",
         ("laptop", "vgg"): "slim VGG-16", ("smoke", "resnet"): "tiny ResNet",
         ("smoke", "vgg"): "tiny VGG"}  # fmt: skip
SOUND = 0.9  # a mask is called sound here if so large a share of its kept weights is live


class Cell(NamedTuple):
    """What one mask, or the mean over masks of several seeds, looks like; or why there is none."""

    live: float = 0.0  # share of the kept weights that lie on a live path, 0 to 1
    effective: float = 1.0  # effective sparsity, 0 to 1
    empty: int = 0  # layers that keep nothing, in the seed that has most
    movable: float = 0.0  # share of the kept weights that rearranging moves, 0 to 1
    classifier: float = 0.0  # the linear layers' share of the kept weights, 0 to 1
    seconds: float | None = None  # to find the mask
    rearranged: float | None = None  # share of the kept weights that are live once rearranged
    n: int = 0  # seeds
    reason: str = ""  # why the rule is not defined here


def measured(run):
    """Cells of the networks of the paper and of the profile, from probes, and for LT from runs.

    Arguments: run, session.NotebookRun; with source "run" the masks of the profile's residual network are made first.
    Returns: dict (our network's name, method, sparsity) -> Cell, None for what is not there; and the rows behind them.
    """
    if run.source == "run":
        _make(run)
    rows = session.rows_of(run)
    beside = Ledger(book_ledger("paper")).rows() if run.profile not in ("smoke", "paper") else []
    shown = dict.fromkeys(("paper" if beside else run.profile, run.profile))
    spots = [(of, network) for of in shown for network in profiles.PROFILES[of].networks]
    return cells_in([*beside, *rows], spots, run.seeds)


def cells_in(rows, places, seeds=0):
    """Cells of some networks from rows, as `measured` gives them.

    Arguments: rows, of any ledgers; places, list of (profile, short name of a network); seeds, at most, 0 for all.
    """
    cells, used = {}, []
    for of, network in places:
        by_key = _of_network(rows, seeds, of, network)
        cells |= {(NAMES[of, network], *key): _cell(by_key.get(key), of, network, *key)
                  for key in ((method, sparsity) for method in METHODS for sparsity in SPARSITIES)}  # fmt: skip
        used += [row for found in by_key.values() for row in found.values()]
    return cells, used


def _of_network(rows, seeds, profile, network):
    """Rows of clean masks on one network: dict (method, sparsity) -> {seed: Row}, probes before runs."""
    name, width, stem_stride = profiles.PROFILES[profile].networks[network]
    wanted, found = {"network": name, "width": width, "stem_stride": stem_stride, "corruption": "none"}, {}
    for row in rows:
        values = row["config"]
        named = is_plain(row) and all(values.get(what) == value for what, value in wanted.items())
        if named and (not seeds or values["seed"] < seeds):
            found.setdefault((values["ticket"], values["sparsity"]), {})[values["seed"]] = row
    arms = evidence.select(rows, profile, network)
    for sparsity in SPARSITIES:
        trained = {seed: row for seed, row in arms.get(f"lt@{sparsity}", {}).items() if row.get("keep_counts")}
        if trained and ("lt", sparsity) not in found:
            found["lt", sparsity] = {seed: row for seed, row in trained.items() if not seeds or seed < seeds}
    return found


def _cell(rows, profile, network, method, sparsity):
    """A Cell from rows; without them, the reason why a rule has none, or None."""
    if rows:
        return from_rows(list(rows.values()))
    if method not in ratios.RULES:
        return None
    why = ratios.why_not(grids.layers(profile, network), method, sparsity, family=network)
    return Cell(reason=why) if why else None


def _make(run):
    dataset = session.images(run)
    network = profiles.PROFILES[run.profile].networks["resnet"][0]
    wanted = [*grids.probes(run.profile, dataset, 1), *grids.sparse_probes(run.profile, dataset, 1)]
    clean = [config for config in wanted if config.network == network and config.corruption == "none"]
    session.make_probes(run, clean, dataset)


def from_rows(rows):
    """The mean over rows of one network, method and sparsity: a Cell."""
    sizes = overlaps.sizes_of(rows[0])
    kept = [sum(row["keep_counts"].values()) / sum(sizes.values()) for row in rows]
    live = [(1 - row["effective_sparsity"]) / share for row, share in zip(rows, kept, strict=True)]
    moved = [(1 - row["rearranged_effective_sparsity"]) / share for row, share in zip(rows, kept, strict=True)
             if "rearranged_effective_sparsity" in row]  # fmt: skip
    mean = lambda what: float(np.mean([row[what] for row in rows]))  # noqa: E731
    return Cell(
        live=float(np.mean(live)),
        effective=mean("effective_sparsity"),
        empty=max(len(row["empty_layers"]) for row in rows),
        movable=float(np.mean([overlaps.movable(row["keep_counts"], sizes) for row in rows])),
        classifier=mean("classifier_share"),
        rearranged=float(np.mean(moved)) if moved else None,
        n=len(rows),
    )


def sound(cell):
    """Whether a mask still does what its sparsity says: nine tenths of its kept weights are live."""
    return not cell.reason and cell.live >= SOUND


TITLE = "{}, by fraction removed"  # above the first column; the others are the fractions
REARRANGED = "live once rearranged, %"
QUANTITIES = {  # column of a table -> text of a Cell
    "effective sparsity, %": lambda cell: f"{100 * cell.effective:.3f}",
    "kept weights that are live, %": lambda cell: f"{100 * cell.live:.0f}",
    "empty layers": lambda cell: str(cell.empty),
    "kept weights that rearranging moves, %": lambda cell: f"{100 * cell.movable:.0f}",
    REARRANGED: lambda cell: f"{100 * cell.rearranged:.0f}",
    "classifier's share of kept weights, %": lambda cell: f"{100 * cell.classifier:.1f}",
    "seconds": lambda cell: f"{cell.seconds:.1f}",
}  # fmt: skip


def table(cells, quantity, methods=None):
    """One quantity of every cell as Markdown: a table a network, a line a method, a column a sparsity.

    Arguments: cells, dict (network, method, sparsity) -> Cell, None where it was not measured; quantity, of QUANTITIES;
        methods, those shown; None for all.
    """
    sparsities = list(dict.fromkeys(key[2] for key in cells))
    names = [name for name in dict.fromkeys(key[:2] for key in cells) if methods is None or name[1] in methods]
    parts = []
    for network in dict.fromkeys(network for network, _ in names):
        lines = [[style(method).label, *(_text(cells.get((network, method, s)), quantity) for s in sparsities)]
                 for of, method in names if of == network]  # fmt: skip
        parts += [f"**{network}**", prose.table([TITLE.format("mask"), *sparsities], lines)]
    return "\n\n".join(parts)


def _text(cell, quantity):
    if cell is None or (quantity == REARRANGED and cell.rearranged is None and not cell.reason):
        return verdicts.NOT_RUN
    return verdicts.NOT_DEFINED if cell.reason else QUANTITIES[quantity](cell)


def reasons(cells):
    """Why cells are not defined, as a Markdown table, rules with the same reason together; "" where all are."""
    found = {}
    for (network, method, sparsity), cell in cells.items():
        if cell and cell.reason:
            why, _, budget = cell.reason.partition(" ")[2].rstrip(".").partition(ratios.BUDGET)
            at = f"{sparsity} (budget {budget})" if budget else sparsity
            rules, where = found.setdefault((network, why), ({}, {}))
            rules[style(method).label] = where[at] = None
    lines = [[network, ", ".join(rules), why, ", ".join(where)] for (network, why), (rules, where) in found.items()]
    return prose.table(["network", "rule", "why not", "fraction removed"], lines) if lines else ""


def there(cells):
    """The cells of the networks of which at least one mask was looked at, in the same form."""
    seen = {network for (network, _, _), cell in cells.items() if cell and cell.n}
    return {key: cell for key, cell in cells.items() if key[0] in seen}


def summary(cells):
    """The answer in short, as Markdown: how many masks are sound at each sparsity, and which are longest."""
    known = {key: cell for key, cell in cells.items() if cell and cell.n}
    if not known:
        return f"**{verdicts.NOT_RUN.capitalize()}.** There is no mask to look at."
    sparsities = list(dict.fromkeys(key[2] for key in cells))
    lines = [[network, *(_sound_of(known, network, s) for s in sparsities), _longest(known, network, sparsities)]
             for network in dict.fromkeys(key[0] for key in known)]  # fmt: skip
    titles = [TITLE.format("sound masks"), *sparsities, f"most live at {sparsities[-1]}"]
    absent = [name for name in dict.fromkeys(key[0] for key in cells) if name not in {key[0] for key in known}]
    said, counts = [], {sum(key[::2] == (network, s) for key in known) for network, *_ in lines for s in sparsities}
    if len(counts - {0}) > 1:
        rest = there(cells).values()
        why = ["some rules cannot be met"] * any(cell and cell.reason for cell in rest)
        why += ["some masks were not made"] * (None in rest)
        said += [f"The numbers of masks differ: {' and '.join(why)}."]
    said += [f"{verdicts.NOT_RUN.capitalize()}: {', '.join(absent)}."] if absent else []
    return "\n\n".join([prose.table(titles, lines), *said])


def _sound_of(known, network, sparsity):
    of = [cell for (name, _, s), cell in known.items() if (name, s) == (network, sparsity)]
    return f"{sum(map(sound, of))} of {len(of)}" if of else verdicts.NOT_RUN


def _longest(known, network, sparsities):
    last = {method: cell.live for (name, method, s), cell in known.items() if (name, s) == (network, sparsities[-1])}
    best = sorted(last, key=last.get, reverse=True)[:2]
    return ", ".join(f"{style(method).label} {100 * last[method]:.0f} %" for method in best) or verdicts.NOT_RUN


def rearranged(cells, sparsity):
    """What rearranging does to the live share at one sparsity, as a sentence; "" where nothing was measured."""
    known = [(f"{style(method).label} on {network}", 100 * cell.live, 100 * cell.rearranged)
             for (network, method, at), cell in cells.items()
             if at == sparsity and cell and cell.rearranged is not None]  # fmt: skip
    said = [f"{name} from {live:.0f} to {moved:.0f} %" for name, live, moved in known if max(live, moved) >= 0.5]
    text = f"At {sparsity}, rearranging takes the live share of {'; '.join(said)}." if said else ""
    cut = "The other masks that were rearranged are" if said else f"At {sparsity}, all masks that were rearranged are"
    return f"{text} {cut} cut, before and after.".strip() if len(said) < len(known) else text


def verdict(cells, sparsity):
    """How many masks are still sound at one sparsity, in words and numbers; "" where none was looked at."""
    known = [cell for key, cell in cells.items() if key[2] == sparsity and cell and cell.n]
    if not known:
        return ""
    of, many = sum(map(sound, known)), len(known)
    word = "None does." if not of else "Few do." if of <= many / 4 else "Some do." if of <= many / 2 else "Most do."
    text = (f"**{word}** With {100 * float(sparsity):g} % removed, {of} of {many} masks are sound: at least nine "
            "tenths of their kept weights lie on a path from image to answer.")  # fmt: skip
    if any(cell and cell.empty for (_, method, _), cell in cells.items() if method in ratios.RULES):
        text += (" A rule that leaves a layer empty is counted here; elsewhere in the book it is "
                 f"*{verdicts.NOT_DEFINED}*.")  # fmt: skip
    return text


def draw(ax, cells, network, methods):
    """Draw the live share of the kept weights over density, a line a method; what is not defined has no marker."""
    for method in methods:
        look = style(method)
        points = sorted((100 * (1 - float(s)), 100 * cell.live) for (of, m, s), cell in cells.items()
                        if (of, m) == (network, method) and cell and not cell.reason)  # fmt: skip
        if points:
            x, y = zip(*points, strict=True)
            ax.plot(x, y, look.marker, color=look.colour, label=look.label, linestyle=look.linestyle)
    ax.set(ylim=(-4, 104), title=network)
    return kept_axis(ax, [10, 5, 2, 1, 0.5, 0.1])


def seeds_said(cells):
    """How many seeds the numbers rest on, as a sentence, and what rests on fewer; "" where there is no mask.

    Arguments: cells, dict (network, method, sparsity) -> Cell, or None for what is not there.
    """
    counts = [(cell.n, *key) for key, cell in cells.items() if cell and cell.n]
    most = max((n for n, *_ in counts), default=0)
    few = "".join(f"; {n} for {style(method).label} on {network} at {sparsity}"
                  for n, network, method, sparsity in counts if n < most)  # fmt: skip
    return f"Each number rests on {most} seed{'s' * (most > 1)}{few}." if most else ""
