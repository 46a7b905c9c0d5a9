"""What others measured at full scale: published accuracies, read only as differences within one source."""

import csv
import functools
from typing import NamedTuple

from ticketbook.claims_1 import CLAIMS
from ticketbook.sources import LEFT_OUT, SOURCES
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import DATASETS, NETWORKS, signed
from ticketlib.analysis.words import span as extent
from ticketlib.data import CLASSES
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments.places import ROOT

TABLE = ROOT / "book" / "reference" / "published.csv"
BANNED = "DO NOT USE"  # how the table's notes mark a row that must not be printed
COUNTING = 0.89  # the claims are about sparsities from 0.9 on; one source removes 89.3 % instead
NEAR = 1.0  # points; a yardstick for the eye, no margin
NUM_CLASSES = CLASSES | {"tiny-imagenet": 200, "imagenet": 1000}


class Contrast(NamedTuple):
    """One difference that one source allows: rows with `a` minus rows with `b`, each (method, check, rounds)."""

    claim: str  # the claim it bears on, "" for none
    panel: str
    style: str  # key of plots.STYLE
    label: str
    source: str
    a: tuple[str, str, str]
    b: tuple[str, str, str]


class Cell(NamedTuple):
    """One difference in one network, data set and sparsity."""

    network: str
    dataset: str
    sparsity: str  # fraction removed, decimal text
    points: float  # a minus b
    runs: str  # behind each of the two accuracies
    collapsed: bool  # one of the two is below twice chance


def _checks(claim, check, panel, source, methods):
    once = "one_shot"
    return [
        Contrast(claim, panel, style, label, source, (method, check, once), (method, "none", once))
        for method, style, label in methods
    ]


SNIP, GRASP = ("snip", "snip", "SNIP"), ("grasp", "grasp", "GraSP")
MAGNITUDE = ("magnitude_at_init", "magnitude", "magnitude at initialisation")
SYNFLOW = ("synflow", "synflow", "SynFlow")
CORRUPTED, MOVED, AGAIN = "corrupted data − clean data", "rearranged − as found", "re-initialised − as found"
UNIFORM, HYBRID, ITERATED = "method − uniform random", "hybrid − LRR", "iterative − one-shot"
CONTRASTS = (
    *_checks("A", "corrupted_data", CORRUPTED, "epfl_snip", [SNIP]),
    *_checks("A", "corrupted_data", CORRUPTED, "epfl_grasp", [GRASP]),
    *_checks("B", "rearranged", MOVED, "epfl_snip", [SNIP]),
    *_checks("B", "rearranged", MOVED, "epfl_grasp", [GRASP]),
    *_checks("B", "rearranged", MOVED, "comp6258", [SNIP, GRASP, MAGNITUDE]),
    *_checks("B", "reinitialised", AGAIN, "comp6258", [SNIP, GRASP, MAGNITUDE]),
    *_checks("D1", "reinitialised", AGAIN, "renda2020", [("weight_rewinding", "lt", "weight rewinding")]),
    *(Contrast("C", UNIFORM, style, label, "synflow2020",
               (method, "none", "iterative" if method == "synflow" else "one_shot"),
               ("uniform_random", "none", "one_shot")) for method, style, label in (SNIP, GRASP, MAGNITUDE, SYNFLOW)),
    Contrast("D2", HYBRID, "hybrid", "hybrid", "epfl_partial",
             ("hybrid", "none", "one_shot"), ("lr_rewinding", "none", "one_shot")),
    *(Contrast("", ITERATED, style, label, "renda2020", (method, "none", "iterative"), (method, "none", "one_shot"))
      for method, style, label in (("lr_rewinding", "lrr", "LRR"), ("weight_rewinding", "lt", "weight rewinding"),
                                   ("fine_tuning", "omp", "fine-tuning"))),
)  # fmt: skip
PANELS = tuple(dict.fromkeys(contrast.panel for contrast in CONTRASTS))
SILENT = {  # what a claim asks and no source here answers
    "A": "No source here checks LT on corrupted data.",
    "B": "No source here checks LT.",
    "C": "No source here has the smart ratio beside another method under one recipe. What there is: careful methods "
         "minus a mask of random scores over the whole network.",
    "D1": "No source here has LRR with half the data, shuffled weights or rearranged masks. What there is: weight "
          "rewinding, which starts from an early point of the dense training, with new initial weights in their place.",
    "D2": "No source here has a second run of any of these.",
}  # fmt: skip
DAGGER = "† One of the two networks is below twice chance."


@functools.cache
def _table():
    with open(TABLE, encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def rows():
    """The rows that may be printed: list of dicts, as in the file."""
    return [row for row in _table() if BANNED not in row["note"]]


def left_out():
    """The rows that must not be printed: dict (source, method, network) -> list of rows."""
    found = {}
    for row in _table():
        if BANNED in row["note"]:
            found.setdefault((row["source"], row["method"], row["network"]), []).append(row)
    return found


def left_out_list():
    """The rows that must not be printed and why, without their accuracies, as a Markdown list."""
    lines = []
    for (source, method, network), of in left_out().items():
        at = of[0]["sparsity"] if len(of) == 1 else f"{len(of)} sparsities"
        what = f"{style(method).label} on {NETWORKS[network]}, at {at}"
        lines.append(f"- {SOURCES[source].label}, {what}: {LEFT_OUT[source]}.")
    return "\n".join(lines)


def cells(contrast):
    """All differences of a contrast, in the order of the file: list of Cell.

    Raises: TicketError where two rows could be meant.
    """
    a, b = (_side(contrast.source, side) for side in (contrast.a, contrast.b))
    return [_cell(key, row, b[key]) for key, row in a.items() if key in b]


def _cell(key, *pair):
    a, b = (float(row["accuracy_percent"]) for row in pair)
    return Cell(*key, round(a - b, 2), pair[0]["n_runs"], min(a, b) < 200 / NUM_CLASSES[key[1]])


def _side(source, side):
    found = {}
    for row in rows():
        if row["source"] == source and (row["method"], row["check"], row["rounds"]) == side:
            key = row["network"], row["dataset"], row["sparsity"]
            if key in found:
                raise TicketError(f"{source} has two rows of {side} for {key}; a difference needs one.")
            found[key] = row
    return found


def panels():
    """All differences, ready to draw: dict panel -> list of (style key, label, density in percent, points)."""
    drawn = {panel: {} for panel in PANELS}
    for contrast in CONTRASTS:
        found = drawn[contrast.panel].setdefault((contrast.style, contrast.label), [])
        found += [(round(100 * (1 - float(cell.sparsity)), 4), cell.points) for cell in cells(contrast)]
    return {panel: [(*key, *zip(*found, strict=True)) for key, found in of.items()] for panel, of in drawn.items()}


def table_of(contrasts, least=0.0):
    """Column titles and lines: a line for each contrast, network and data set, its differences by sparsity.

    Arguments: contrasts, of CONTRASTS; least, the smallest sparsity shown.
    """
    head = ["difference", "source", "network, data", "points (fraction removed)"]
    lines = []
    for contrast in contrasts:
        shown = [cell for cell in cells(contrast) if float(cell.sparsity) >= least]
        for place in dict.fromkeys((cell.network, cell.dataset) for cell in shown):
            points = ", ".join(_written(cell) for cell in shown if (cell.network, cell.dataset) == place)
            where = f"{NETWORKS[place[0]]}, {DATASETS[place[1]]}"
            lines.append([_name(contrast), SOURCES[contrast.source].label, where, points])
    return head, lines


def _name(contrast):
    if contrast.panel in (UNIFORM, HYBRID):
        return contrast.panel.replace("method", contrast.label)
    return f"{contrast.label}: {contrast.panel}"


def _written(cell):
    return f"{signed(cell.points)}{'†' * cell.collapsed} ({float(cell.sparsity):.3g})"


def full_scale(claim_id):
    """Independent full-scale evidence for a claim, as Markdown: a table, and what to mind of it.

    Raises: TicketError for a claim that is not known.
    """
    one_of("claim", claim_id, CLAIMS)
    contrasts = [contrast for contrast in CONTRASTS if contrast.claim == claim_id]
    runs = sorted({cell.runs for contrast in contrasts for cell in cells(contrast)})
    said = f"Differences within one source; runs behind each accuracy: {' or '.join(runs)}; described, not judged."
    table = prose.table(*table_of(contrasts, COUNTING))
    of = [SOURCES[name] for name in dict.fromkeys(contrast.source for contrast in contrasts)]
    mind = "\n".join(f"- **{source.label}.** Epoch: {source.epoch}. {_sentence(source.caveat)}" for source in of)
    return f"{table}\n\n{said}{f' {DAGGER}' if '†' in table else ''} {SILENT[claim_id]} What to mind:\n\n{mind}"


def _sentence(words):
    return f"{words[0].upper()}{words[1:]}."


def span(panel, dataset=None, source=None):
    """The differences of a panel in one phrase: the smallest, the largest, how many, how many of them are small.

    Arguments: panel, of PANELS; dataset, source, as in the file, None for all. Only sparsities from COUNTING on.
    Raises: TicketError for a panel that is not known, or without any difference.
    """
    one_of("panel", panel, PANELS)
    contrasts = [c for c in CONTRASTS if c.panel == panel and source in (None, c.source)]
    found = [c for contrast in contrasts for c in cells(contrast) if dataset in (None, c.dataset)]
    found = [cell for cell in found if float(cell.sparsity) >= COUNTING]
    if not found:
        raise TicketError(f"No difference of {panel!r} on {dataset} from {source}; ask for one that was measured.")
    points, broken = [cell.points for cell in found], sum(cell.collapsed for cell in found)
    small = sum(abs(value) <= NEAR for value in points)
    which = ", ".join(filter(None, (DATASETS.get(dataset), source and SOURCES[source].label)))
    what = f"{panel} ({which})" if which else panel
    said = f"{what}: {extent(points, write=signed)} points, {small} of {len(points)} within ±{NEAR:g}"
    return said + f"; beside a collapsed network: {broken}" * bool(broken)


def summary():
    """What the page shows, as Markdown: that it judges nothing, and the range of every panel."""
    several = sum(row["n_runs"] not in ("", "1") for row in rows())
    lines = [f"**No claim is judged on this page.** The file holds {len(rows())} accuracies that others published; "
             f"{sum(used().values())} are read here. Behind {several} of the {len(rows())} there are several runs, as "
             "far as the sources say. At sparsities from about 90 % on:", ""]  # fmt: skip
    return "\n".join([*lines, *(f"- {span(panel)}" for panel in PANELS)])


def random_tickets():
    """Column titles and lines: random tickets of the paper and of the reproduction, and the difference it prints."""
    paper, again = (_side(source, ("random_ticket", "none", "one_shot")) for source in ("su2020", "epfl_random"))
    lines = []
    for key, row in paper.items():
        first, second = float(row["accuracy_percent"]), float(again[key]["accuracy_percent"])
        where = f"{NETWORKS[key[0]]}, {DATASETS[key[1]]}"
        lines.append([where, key[2], f"{first:.2f}", f"{second:.2f}", signed(second - first)])
    return ["network, data", "removed", "paper, %", "reproduction, %", "bracket"], lines


def used():
    """How many rows of each source a difference or the table of random tickets reads: dict source -> count."""
    read = {(contrast.source, side) for contrast in CONTRASTS for side in (contrast.a, contrast.b)}
    read |= {(source, ("random_ticket", "none", "one_shot")) for source in ("su2020", "epfl_random")}
    found = dict.fromkeys(SOURCES, 0)
    for row in rows():
        found[row["source"]] += (row["source"], (row["method"], row["check"], row["rounds"])) in read
    return found


def source_list():
    """Every source as a Markdown list: rows, certainty, epoch, runs behind each, caveat."""
    lines, counted = [], used()
    for name, source in SOURCES.items():
        own = [row for row in rows() if row["source"] == name]
        sure = " and ".join(sorted({row["certainty"].replace("_", "-") for row in own}))
        runs = ", ".join(sorted({row["n_runs"] or "not known" for row in own}, key=lambda text: (len(text), text)))
        lines.append(
            f"- **{source.label}**: {len(own)} rows, {counted[name]} of them read here. Certainty: {sure}. Epoch: "
            f"{source.epoch}. Runs behind a value: {runs}. {_sentence(source.caveat)}"
        )
    return "\n".join(lines)
