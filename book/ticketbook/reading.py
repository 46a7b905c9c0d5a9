"""What pages beside the chapters show: pictures, a map of the paper, data sources, how references were checked."""

from dataclasses import replace
from importlib.metadata import version

import pybtex.database

from ticketbook import baselines, checks, controls, drawings, pipeline, spent
from ticketbook import board_1 as board
from ticketbook import verdicts_1 as verdicts
from ticketlib.analysis import evidence
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import points, title
from ticketlib.data import CLASSES
from ticketlib.experiments import grids, profiles
from ticketlib.experiments.places import ROOT
from ticketlib.masks import asked_total

MAP = (  # what the reviews name of the paper, what they say of it, where this book has it
    ("Section 2.1", "the symbol for the size of a layer (R1.3)", "[Notation](notation.md)"),
    ("Figure 2", "a picture of the tickets, whose arrows want words (R2.13)", "[The pipeline](pipeline.md)"),
    ("Figure 3", "accuracy beside sparsity, as found and rearranged; thinner lines are wished for (R2.7, R3.C4)",
     "[Architecture checks](claims/03_architecture_checks)"),
    ("Table 3", "partially-trained tickets, with half of the data or shuffled weights beside them (R2.3)",
     "[Hybrid tickets](claims/04_hybrid_tickets)"),
    ("Table 4", "it is known to exist; what stands in it is not known to us", "no counterpart can be named"),
    ("Random tickets, in which table is not known", "twelve means, recovered from a reproduction",
     "[Published figures](claims/09_published)"),
    ("Data checks", "corrupted labels and pixels; how accuracy is measured then (R3.C3)",
     "[Data checks](claims/02_data_checks)"),
    ("Keep-ratios, layer by layer", "asked for, for every method (R2.12, R3.C5)",
     "[Smart ratios](claims/01_smart_ratios)"),
    ("Why data do not matter", "are the keep-ratios the same on spoilt data (R2.10)?",
     "[Corrupted ratios](claims/07_corrupted_ratios)"),
    ("The smart ratio", "tuned where it was tested; must sparsity grow with depth (R3.2)?",
     "[Depth or size](claims/08_depth_or_size)"),
    ("Extreme sparsity", "do rearranged tickets lose there (R2.7)?", "[The sparse end](claims/11_sparse_end)"),
    ("ImageNet", "does any of it hold there (R3.1)?", "[ImageNet's scale](claims/12_imagenet)"),
    ("Hybrid tickets", "does it gain more than a little (R1.1, R2.4, R3.3)?",
     "[Hybrid tickets](claims/04_hybrid_tickets)"),
)  # fmt: skip
DATA = {  # data set -> (source, what is stated of its licence, where that was read)
    "digits": (
        "Alpaydin and Kaynak {cite:p}`alpaydin1998`; comes with scikit-learn",
        "CC BY 4.0 at UCI, as several who use them quote its page",
        "needs nothing",
    ),
    "cifar10": (
        "Krizhevsky {cite:p}`krizhevsky2009`",
        "the authors' page states none, and asks that the report be cited; the copy of the University of Toronto on "
        "Hugging Face lists it as *unknown*",
        "`ticketlib.data.load(\"cifar10\", download=True)`, or the parquet files of `uoft-cs/cifar10`",
    ),
    "cifar100": (
        "Krizhevsky {cite:p}`krizhevsky2009`",
        "as CIFAR-10",
        "`ticketlib.data.load(\"cifar100\", download=True)`, or the parquet files of `uoft-cs/cifar100`",
    ),
    "tiny_imagenet": (
        "200 classes of ImageNet, made smaller for a course at Stanford",
        "ImageNet's terms of access allow non-commercial research and education; terms of the smaller set itself were "
        "not found",
        "parquet files in a folder `tiny-imagenet/data`",
    ),
}  # fmt: skip


def substitutions(rows, beside):
    """Names that pages may write as {{ name }}: dict from name to Markdown.

    Arguments: rows, of the profile `laptop`; beside, of the profile `paper`.
    """
    shown = "Left: the fuller a square, the higher its score. Right: full squares stay. Drawn from the book's own code."
    return {
        "random_ticket": figure(drawings.random_ticket(), shown),
        "pipeline": figure(pipeline.picture(), "Circles are checks, listed below. Drawn from the book's own code."),
        "pipeline_words": pipeline.in_words(),
        "pipeline_checks": prose.table(*pipeline.checks_table()),
        "paper_map": prose.table(["the paper", "what is said of it", "here"], MAP),
        "baseline_table": baselines.table(rows),
        "baseline_sentence": baselines.sentence(rows),
        "outlay_table": spent.outlay_table([*rows, *beside]),
        "outlay_assumed": outlay_assumed(),
        "outlay_gpus": spent.on_gpus([*rows, *beside]),
        "data_table": data_table(),
        "changelog": board.changelog(),
        "recipe_versions": recipe_versions(rows),
        "references_checked": references_checked(),
        "board_summary": board.summary(rows),
        "board_progress": board_progress(rows),
        "board_barred": board_barred(rows),
        "board_reading": board_reading(rows),
        "board_hidden": board.hidden(rows),
        "board_otherwise": board.without_empty(rows),
        "kept_weights": kept_weights(),
        "noise_learned": controls.noise(evidence.select(rows, "laptop"), "laptop"),
        "half_margin": board.at_half_margin(rows),
        "other_data": checks.other_data(checks.by_place(rows, "laptop")),
        "board_elsewhere": board.elsewhere(rows),
        "scope_words": evidence.scope("laptop"),
        "version": version("ticketlib"),
    }


def kept_weights():
    """How many weights stay at 98 % on the network of the verdicts and on the paper's two, in sentences."""
    kept = []
    for profile, network in (("laptop", "resnet"), ("paper", "resnet"), ("paper", "vgg")):
        total = sum(layer.size for layer in grids.layers(profile, network))
        name = title(profiles.PROFILES[profile].networks[network][0])
        kept.append((name, f"{asked_total(total, '0.98'):,}", f"{total:,}"))
    (ours, few, of), *theirs = kept
    larger = " and ".join(f"{many} on {name}" for name, many, _ in theirs)
    return f"With 0.98 removed, {few} of {of} weights stay on our {ours}. On the paper's networks it is {larger}."


def figure(drawing, caption):
    """A drawing with its caption, as one line of HTML."""
    return f'<figure class="drawn">{drawing}<figcaption>{caption}</figcaption></figure>'


def board_progress(rows):
    """How many runs of the grid that belongs to the claims are in the ledger, as one sentence."""
    planned = {replace(config, fingerprint="") for config in grids.grid("step1", "laptop", profiles.NO_IMAGES)}
    made = {replace(row.config, fingerprint="") for row in rows if row["kind"] == "run"}
    return f"Of the {len(planned)} runs planned for the claims, {len(planned & made)} are made."


def board_barred(rows):
    """What collapsed runs rule out, with a link to the reason; "" where they rule out nothing."""
    said = board.barred(rows)
    return f"{said} [Why such runs count as collapsed](threats.md)." if said else ""


def board_reading(rows):
    """How to read the board, in sentences: words that are no verdict, and drawings, each where the board has them."""
    fixed, judged = board.protocol(), board.judged(rows).values()
    words, said = {one.word for one in judged} or {verdicts.NOT_RUN}, []
    if verdicts.NOT_RUN in words:
        said.append("*Not run* is no verdict: the runs that would decide are not there yet.")
    if verdicts.PROVISIONAL in words:
        done = min(pair.estimate.n for one in judged if one.word == verdicts.PROVISIONAL
                   for pair in one.compared if pair.verdict.word != verdicts.NOT_DEFINED)  # fmt: skip
        said.append(f"*Provisional, {done} of {fixed['seeds']} seeds* is no verdict yet: {done} of the "
                    f"{fixed['seeds']} seeds that the protocol asks for {'is' if done == 1 else 'are'} done.")
    if any(pair.ready for one in judged for pair in one.compared):
        said.append(
            "In the drawings a dot is the mean over seeds, its line the interval that decides. The grey band is the "
            f"margin, {points(fixed['margin'])} either way, where there is one. A dot at the edge lies beyond it."
        )
    if any(verdicts.BARRED in pair.verdict.sentence for one in judged for pair in one.compared):
        said.append("*(collapse)* stands where the interval would give *holds*, and a collapsed run bars that word "
                    "([why](threats.md)).")  # fmt: skip
    return " ".join([*said, "*n* counts seeds."])


def outlay_assumed():
    """What the estimate of energy assumes, in one sentence."""
    low, high = spent.WATTS
    return (
        f"a busy core draws {low} to {high} W with its share of the machine, and a computing centre {spent.OVERHEAD:g} "
        "times what its machines draw. Both are assumptions; no meter was read"
    )


def data_table():
    """Every data set: classes, source, licence as far as it is stated, how to get it."""
    lines = [[f"`{name}`", CLASSES[name], *said] for name, said in DATA.items()]
    return prose.table(["data set", "classes", "source", "licence, as far as we could see", "how to get it"], lines)


def recipe_versions(rows):
    """How many rows of each recipe version the ledger holds, as a Markdown list."""
    made = [row.config.recipe for row in rows if row["kind"] == "run"]
    said = {0: "pilot and engine comparison, which enter no verdict"}
    lines = [
        f"- Recipe {version}: {made.count(version)} runs; {said.get(version, 'runs that count')}"
        for version in sorted({0, *(profile.training["recipe"] for profile in profiles.PROFILES.values()), *made})
    ]
    return "\n".join(lines)


def references():
    """Entries of the bibliography: dict key -> pybtex.database.Entry."""
    return dict(pybtex.database.parse_file(ROOT / "book" / "references.bib").entries)


def references_checked():
    """How each entry of the bibliography was checked, as a Markdown table."""
    lines = [[f"{{cite:t}}`{key}`", entry.fields["annote"]] for key, entry in references().items()]
    return prose.table(["entry", "checked against"], lines)
