"""How far keep-ratios drift when the data that find a mask are spoilt, beside what another batch or seed does."""

from collections import Counter
from itertools import combinations

import numpy as np
from scipy.special import entr

from ticketbook import board_1 as board
from ticketbook import overlaps, shares
from ticketbook import verdicts_1 as verdicts
from ticketlib import ratios
from ticketlib.analysis import evidence
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import span, title
from ticketlib.experiments import profiles, session

LT = ("0.9", "0.98")  # sparsities of LT in the book's grids
FACTOR = 2.0  # what differs by less is called about as much


def measured(run):
    """Masks found on clean and on spoilt data, of SNIP and GraSP from probes, of LT from probes or else its runs.

    Arguments: run, nb.NotebookRun; with source "run" the probes of the profile are made first, LT's runs never.
    Returns: dict (network, ticket, sparsity) -> {seed: (row of the clean mask, row of the other)}; LT's may be empty.
    """
    arms = evidence.select(session.rows_of(run), run.profile)
    network = profiles.PROFILES[run.profile].networks["resnet"][0]
    found = overlaps.measured(run)
    for sparsity in LT:
        clean, spoilt = (
            {seed: row for seed, row in arms.get(f"{arm}@{sparsity}", {}).items() if row.get("keep_counts")}
            for arm in ("lt", "lt+both")
        )
        seeds = sorted(seed for seed in clean.keys() & spoilt.keys() if not run.seeds or seed < run.seeds)
        probed = found.get((network, "lt", sparsity), {})  # they say more than runs
        found[network, "lt", sparsity] = {seed: (clean[seed], spoilt[seed]) for seed in seeds} | probed
    return found


def with_overlap(found):
    """The cells, or seeds of them, whose spoilt masks have an overlap with its yardsticks; in the same form."""
    kept = {key: {seed: pair for seed, pair in of.items() if "ceiling" in pair[1]} for key, of in found.items()}
    return {key: of for key, of in kept.items() if of}


def largest(a, b, sizes):
    """The layer whose keep-ratio differs most between two sets of keep counts: (difference, 0 to 1, its name)."""
    return max((abs(a[name] - b[name]) / size, name) for name, size in sizes.items())


def divergence(a, b, sizes):
    """Jensen-Shannon divergence of two sets of keep-ratios, in bits per weight, layers weighted by their size.

    It is what one learns, on average over all weights, about which of two masks is at hand, on being told the layer of
    a weight and whether it is kept. 0 for equal keep-ratios, 1 for opposite ones; a layer that is empty or kept whole
    needs no special case.

    Arguments: a, b, keep counts; sizes, weights of each layer; dicts with the same names.
    """
    n = np.array(list(sizes.values()), dtype=float)
    p, q = (np.array([counts[name] for name in sizes]) / n for counts in (a, b))
    return float(np.sum(n * (_bits((p + q) / 2) - (_bits(p) + _bits(q)) / 2)) / n.sum())


def _bits(p):  # entropy of a coin that shows heads with probability p
    return (entr(p) + entr(1 - p)) / np.log(2)


def apart(pairs, sizes):
    """How far pairs of keep counts are apart: means of (share that changes layer, largest, divergence); None if none.

    Arguments: pairs, list of (keep counts, keep counts); sizes, weights of each layer.
    """
    if not pairs:
        return None
    found = [(shares.distance(a, b), largest(a, b, sizes)[0], divergence(a, b, sizes)) for a, b in pairs]
    return tuple(np.mean(found, axis=0))


def drift(of):
    """What corruption does in one cell, beside its yardsticks.

    Arguments: of, {seed: (clean row, spoilt row)}, not empty.
    Returns: dict "spoilt", "second batch", "other seed" -> as `apart` gives.
    """
    rows = list(of.values())
    sizes, clean = overlaps.sizes_of(rows[0][0]), [a["keep_counts"] for a, _ in rows]
    second = [(a["keep_counts"], row["second_keep_counts"])  # LT's stand with the spoilt mask
              for a, b in rows for row in (a, b) if "second_keep_counts" in row]  # fmt: skip
    return {
        "spoilt": apart([(a["keep_counts"], b["keep_counts"]) for a, b in rows], sizes),
        "second batch": apart(second, sizes),
        "other seed": apart(list(combinations(clean, 2)), sizes),
    }


def _number(found, which, scale, digits):
    return "–" if found is None else f"{scale * found[which]:.{digits}f}"


COLUMNS = {"change of layer, %": (0, 100, 1), "largest change, points": (1, 100, 1),
           "divergence, 0.001 bits": (2, 1000, 2)}  # fmt: skip
BELOW = (
    "*Largest change* is that of a keep-ratio. *Most in*: the layer in which it lies for most seeds, and that layer's "
    "mean keep-ratio, clean and spoilt; changes of opposite sign cancel in it. A dash: there is no yardstick."
)


def table(found):
    """Every cell as Markdown: three measures, each of spoilt data, of a second clean batch, and of another seed."""
    titles = ["network", "method", "removed", *COLUMNS, "most in", "seeds"]
    lines = []
    for (network, ticket, sparsity), of in found.items():
        name = [title(network), style(ticket).label, sparsity]
        if not of:
            lines.append([*name, *[verdicts.NOT_RUN] * 4, 0])
            continue
        moved = drift(of)
        cells = [" / ".join(_number(part, *how) for part in moved.values()) for how in COLUMNS.values()]
        lines.append([*name, *cells, _most(of), len(of)])
    return f"{prose.table(titles, lines)}\n\n{BELOW}"


def _most(of):
    """The layer whose keep-ratio changes most, in most seeds, with its keep-ratio clean and spoilt."""
    rows = list(of.values())
    sizes = overlaps.sizes_of(rows[0][0])
    name = Counter(largest(a["keep_counts"], b["keep_counts"], sizes)[1] for a, b in rows).most_common(1)[0][0]
    clean, spoilt = (np.mean([row["keep_counts"][name] for row in side]) / sizes[name]
                     for side in zip(*rows, strict=True))  # fmt: skip
    return f"{ratios.called(_layers(rows[0][0]), name).removeprefix('the ')}, {clean:.2f} to {spoilt:.2f}"


def _layers(row):
    return ratios.layers(shares.network_of(row))  # in forward order, which rows do not keep


def answer(found):
    """The answer in short, as Markdown: for each method what corruption does, beside another seed and another batch."""
    cells = {ticket: [drift(of) for key, of in found.items() if key[1] == ticket and of]
             for ticket in dict.fromkeys(key[1] for key in found)}  # fmt: skip
    if not any(cells.values()):
        return f"**{verdicts.NOT_RUN.capitalize()}.** This ledger has no clean and spoilt mask of the same seed."
    words = {ticket: _word(_times(of, "other seed"), of) for ticket, of in cells.items()}
    said = [f"{', '.join(style(t).label for t in words if words[t] == word)}: {word}."
            for word in dict.fromkeys(words.values())]  # fmt: skip
    lines = [_line(*each) for each in cells.items()]
    moved = ", ".join(f"{span} % for {label}" for label, span, *_ in lines if span != verdicts.NOT_RUN)
    far = [times for beside in YARDSTICKS.items() if (times := _times_as_far(cells, *beside))]
    measured = f"Spoilt data move keep-ratios, by their median divergence, {'; '.join(far)}. " if far else ""
    return (f"**{' '.join(said)}** {measured}Kept weights that move to other layers: {moved}.\n\n"
            f"{prose.table(TITLES, lines)}")  # fmt: skip


def _times_as_far(cells, yardstick, said):
    """How many times as far as a yardstick each method's keep-ratios move, in words; "" where there is none."""
    found = {ticket: times for ticket, of in cells.items() if (times := _times(of, yardstick))}
    each = ", ".join(f"{np.median(times):.1f} ({style(ticket).label})" for ticket, times in found.items())
    return f"{each} times as far as {said} does" if each else ""


YARDSTICKS = {"other seed": "another seed", "second batch": "another clean batch"}
TITLES = ["method", "moved to other layers by spoilt data, %", "moved by another seed, %",
          "divergence ÷ that of another seed", "divergence ÷ that of another batch", "cells"]  # fmt: skip


def _line(ticket, of):
    moved = [_span(100 * cell[what][0] for cell in of if cell[what]) for what in ("spoilt", "other seed")]
    times = [_counted(_times(of, what)) for what in YARDSTICKS]
    return [style(ticket).label, *moved, *times, len(of)]


def _times(cells, yardstick):
    """How many times as large as a yardstick's divergence that of spoilt data is, in each cell that has both."""
    both = [(moved["spoilt"][2], moved[yardstick][2]) for moved in cells if moved[yardstick]]
    return [a / b if b else float("inf") if a else 1.0 for a, b in both]


def _word(times, of):
    if not times:
        return "one seed, so no yardstick yet" if of else f"{verdicts.NOT_RUN} yet"
    if max(times) <= 1:
        return "no more than another seed does"
    return f"{'more than' if np.median(times) > FACTOR else 'about as much as'} another seed does"


def _counted(times):
    return f"{np.median(times):.1f}, at most {max(times):.1f}" if times else verdicts.NOT_RUN


def _span(values):
    ends = list(values)
    return span(ends, 1) if ends else verdicts.NOT_RUN


def claim_words(run):
    """The words of claims A and B on this page's profile, as Markdown."""
    judged = board.judged(session.rows_of(run), run.profile) if run.profile != "smoke" else {}
    words = {claim: judged[claim].word if claim in judged else verdicts.NOT_RUN for claim in "AB"}
    return f"On this page's profile, claim A: **{words['A']}**; claim B: **{words['B']}**."


def panels(found, sparsity):
    """Mean keep-ratios, clean and spoilt, ready to draw: dict (network's title, method) -> {arm: float array}."""
    drawn = {}
    for (network, ticket, at), of in found.items():
        if of and at == sparsity:
            model = shares.network_of(next(iter(of.values()))[0])  # layers in forward order, which rows do not keep
            drawn[title(network), ticket] = {
                arm: np.mean([shares.keep_ratios(pair[side]["keep_counts"], model) for pair in of.values()], axis=0)
                for side, arm in enumerate((ticket, f"{ticket}+both"))
            }
    return drawn
