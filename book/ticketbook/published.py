"""What others measured at full scale: published accuracies, read only as differences within one source."""

import functools
from typing import NamedTuple

import pandas as pd

from ticketbook.notebook import markdown
from ticketlib.analysis import plots
from ticketlib.analysis.words import DATASETS, NETWORKS, folded, signed
from ticketlib.data import CLASSES
from ticketlib.errors import one_of
from ticketlib.experiments.claims import CLAIMS
from ticketlib.experiments.places import ROOT

FOLDER = ROOT / "book" / "reference"
BANNED = "DO NOT USE"  # how the table's notes mark a row that must not be printed
COUNTING = 0.89  # the claims are about sparsities from 0.9 on; one source removes 89.3 % instead
NUM_CLASSES = CLASSES | {"tiny-imagenet": 200, "imagenet": 1000}
TITLES = NETWORKS | DATASETS | {"conv6": "CONV-6", "mobilenetv2": "MobileNetV2", "wrn28_2": "WRN-28-2",
                                "resnet110": "ResNet-110"}  # fmt: skip
CELL = ["network", "dataset", "sparsity"]  # what the two sides of a difference share
LONG = 16  # lines of a table that a claim's page shows whole
DAGGER = "† One of the two networks is below twice chance."


class Contrast(NamedTuple):
    """One difference that one source allows: rows with `a` minus rows with `b`, each (method, check, rounds)."""

    claim: str  # the claim it bears on, "" for none
    panel: str
    style: str  # key of plots.STYLE
    label: str
    source: str
    a: tuple[str, str, str]
    b: tuple[str, str, str]


def _checks(claim, check, panel, source, methods):
    return [Contrast(claim, panel, style, label, source, (method, check, "one_shot"), (method, "none", "one_shot"))
            for method, style, label in methods]  # fmt: skip


SNIP, GRASP = ("snip", "snip", "SNIP"), ("grasp", "grasp", "GraSP")
MAGNITUDE = ("magnitude_at_init", "magnitude", "magnitude at initialisation")
SYNFLOW = ("synflow", "synflow", "SynFlow")
CORRUPTED, MOVED, AGAIN = "corrupted data − clean data", "rearranged − as found", "re-initialised − as found"
UNIFORM, ERK, HYBRID, ITERATED = "uniform random − method", "ERK − method", "hybrid − LRR", "iterative − one-shot"
CONTRASTS = (
    *_checks("A", "corrupted_data", CORRUPTED, "epfl_snip", [SNIP]),
    *_checks("A", "corrupted_data", CORRUPTED, "epfl_grasp", [GRASP]),
    *_checks("B", "rearranged", MOVED, "epfl_snip", [SNIP]),
    *_checks("B", "rearranged", MOVED, "epfl_grasp", [GRASP]),
    *_checks("B", "rearranged", MOVED, "comp6258", [SNIP, GRASP, MAGNITUDE]),
    *_checks("B", "reinitialised", AGAIN, "comp6258", [SNIP, GRASP, MAGNITUDE]),
    *_checks("D1", "reinitialised", AGAIN, "renda2020", [("weight_rewinding", "lt", "weight rewinding")]),
    *(Contrast("C", UNIFORM, style, label, "synflow2020", ("uniform_random", "none", "one_shot"),
               (method, "none", "iterative" if method == "synflow" else "one_shot"))
      for method, style, label in (SNIP, GRASP, MAGNITUDE, SYNFLOW)),
    *(Contrast("C", ERK, style, label, "mge_snn2024", ("erk", "none", ""), (method, "none", ""))
      for method, style, label in (SNIP, GRASP, SYNFLOW, ("uniform", "uniform", "uniform"))),
    Contrast("D2", HYBRID, "hybrid", "hybrid", "epfl_partial",
             ("hybrid", "none", "one_shot"), ("lr_rewinding", "none", "one_shot")),
    *(Contrast("", ITERATED, style, label, "renda2020", (method, "none", "iterative"), (method, "none", "one_shot"))
      for method, style, label in (("lr_rewinding", "lrr", "LRR"), ("weight_rewinding", "lt", "weight rewinding"),
                                   ("fine_tuning", "omp", "fine-tuning"))),
)  # fmt: skip
SILENT = {  # what a claim asks and no source here answers
    "A": "No source here checks LT on corrupted data.",
    "B": "No source here checks LT.",
    "C": "No source here has the smart ratio beside another method under one recipe. In its place stand a mask of "
         "random scores over the whole network, and random masks with the counts of another rule, ERK.",
    "D1": "No source here has LRR with half the data, shuffled weights or rearranged masks. What there is: weight "
          "rewinding, which starts from an early point of the dense training, with new initial weights in their place.",
    "D2": "No source here has a second run of any of these.",
}  # fmt: skip


@functools.cache
def sources():
    """The sources: DataFrame by short name, with label, epoch, caveat, and why some rows are left out."""
    return pd.read_csv(FOLDER / "sources.csv", dtype=str, keep_default_na=False).set_index("source")


@functools.cache
def table():
    """All rows of both files: DataFrame, sparsity as text; `banned` for those that must not be printed."""
    first, second = (pd.read_csv(FOLDER / name, dtype=str, keep_default_na=False)
                     for name in ("published.csv", "published_mge.csv"))  # fmt: skip
    second = second[second.method != "er"].assign(rounds="")  # misses its density; the column `rounds` is a guess
    both = pd.concat([first, second.replace({"dataset": {"tinyimagenet": "tiny-imagenet"}})], ignore_index=True)
    accuracy = both.accuracy_percent.astype(float)
    return both.assign(accuracy=accuracy, banned=both.note.str.contains(BANNED))


def _side(source, method, check, rounds):
    of, wanted = table(), dict(source=source, method=method, check=check, rounds=rounds, banned=False)
    return of[(of[list(wanted)] == pd.Series(wanted)).all(axis=1)][[*CELL, "accuracy", "n_runs"]]


@functools.cache
def differences():
    """Every difference: DataFrame, a line a contrast and cell, with points (a minus b), runs behind each accuracy, and
    whether one of the two has collapsed, that is, lies below twice chance.
    """
    lines = []
    for one in CONTRASTS:
        both = _side(one.source, *one.a).merge(_side(one.source, *one.b), on=CELL, validate="one_to_one")
        points = (both.accuracy_x - both.accuracy_y).round(2)
        low = both[["accuracy_x", "accuracy_y"]].min(axis=1) < 200 / both.dataset.map(NUM_CLASSES)
        facts = dict(claim=one.claim, panel=one.panel, style=one.style, label=one.label, source=one.source)
        lines.append(both[CELL].assign(points=points, runs=both.n_runs_x, collapsed=low, **facts))
    return pd.concat(lines, ignore_index=True)


def panels():
    """All differences, ready to draw: dict panel -> list of (style key, label, density in percent, points)."""
    drawn = {}
    for (panel, style, label), of in differences().groupby(["panel", "style", "label"], sort=False):
        densities = (100 * (1 - of.sparsity.astype(float))).round(4)
        drawn.setdefault(panel, []).append((style, label, densities.tolist(), of.points.tolist()))
    return drawn


def difference_table(of):
    """Differences as text: a line a contrast, source, network and data, its points by sparsity."""
    lines = []
    for (panel, label, source, network, dataset), cells in of.groupby(
        ["panel", "label", "source", "network", "dataset"], sort=False
    ):
        points = [f"{signed(p)}{'†' * c} ({float(s):.3g})" for p, c, s in
                  zip(cells.points, cells.collapsed, cells.sparsity, strict=True)]  # fmt: skip
        named = panel.replace("method", label) if panel in (UNIFORM, ERK, HYBRID) else f"{label}: {panel}"
        where = f"{TITLES[network]}, {TITLES[dataset]}"
        lines.append([named, sources().label[source], where, ", ".join(points)])
    return pd.DataFrame(lines, columns=["difference", "source", "network, data", "points (fraction removed)"])


def counting(of):
    """The differences from about 90 % removed on, where the claims are made."""
    return of[of.sparsity.astype(float) >= COUNTING]


def span_table(of):
    """How each kind of difference comes out: smallest, median, largest, how many lie where."""
    lines = []
    for (panel, label), cells in of.groupby(["panel", "label"], sort=False):
        points = cells.points
        lines.append([panel, label, len(points), *map(signed, (points.min(), points.median(), points.max())),
                      int((points.abs() <= 1).sum()), int((points > 1).sum()), int((points < -1).sum()),
                      int(cells.collapsed.sum())])  # fmt: skip
    columns = ["difference", "method", "cells", "smallest", "median", "largest", "within 1 point", "above", "below",
               "beside a collapse"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def full_scale(claim_id):
    """Independent full-scale evidence for a claim, as Markdown: a table, and what to mind of it.

    Raises: TicketError for a claim that is not known.
    """
    of = counting(differences())
    of = of[of.claim == one_of("claim", claim_id, CLAIMS)]
    runs = " or ".join(sorted(set(of.runs)))
    said = f"Differences within one source; runs behind each accuracy: {runs}; described, not judged."
    dagger = f" {DAGGER}" if of.collapsed.any() else ""
    mind = [f"- **{one.label}.** Epoch: {one.epoch}. {one.caveat[0].upper()}{one.caveat[1:]}."
            for one in sources().loc[list(dict.fromkeys(of.source))].itertuples()]  # fmt: skip
    said = f"{said}{dagger} {SILENT[claim_id]} What to mind:"
    shown = markdown(difference_table(of))
    if len(shown.splitlines()) > LONG:
        shown = f"{markdown(span_table(of))}\n\n{folded('Every difference', shown)}"
    return "\n\n".join([shown, said, "\n".join(mind)])


def random_tickets():
    """Random tickets of the paper and of the reproduction, and the difference that the reproduction prints."""
    paper, again = (_side(source, "random_ticket", "none", "one_shot") for source in ("su2020", "epfl_random"))
    both = paper.merge(again, on=CELL, validate="one_to_one")
    return pd.DataFrame({
        "network, data": both.network.map(TITLES) + ", " + both.dataset.map(TITLES), "removed": both.sparsity,
        "paper, %": both.accuracy_x.map("{:.2f}".format), "reproduction, %": both.accuracy_y.map("{:.2f}".format),
        "bracket": (both.accuracy_y - both.accuracy_x).map(signed),
    })  # fmt: skip


def source_table():
    """Every source: how many rows, how sure, which epoch, how many runs, what to mind."""
    of = table().query("not banned").groupby("source", sort=False)
    facts = of.agg(rows=("accuracy", "size"), certainty=("certainty", lambda c: " and ".join(sorted(set(c)))),
                   runs=("n_runs", lambda n: ", ".join(sorted({x or "not known" for x in n}))))  # fmt: skip
    both = sources().join(facts)
    return pd.DataFrame({
        "source": both.label, "rows": both.rows, "certainty": both.certainty.str.replace("_", "-"), "epoch": both.epoch,
        "runs behind a value": both.runs, "what to mind": both.caveat,
    })  # fmt: skip


def left_out_table():
    """The rows of the file that must not be printed, without their accuracies, and why."""
    of = table().query("banned").groupby(["source", "method", "network"], sort=False).sparsity.agg(list).reset_index()
    return pd.DataFrame({
        "source": of.source.map(sources().label), "method": [plots.style(name).label for name in of.method],
        "network": of.network.map(TITLES),
        "removed": of.sparsity.map(", ".join), "why": of.source.map(sources().left_out),
    })  # fmt: skip
