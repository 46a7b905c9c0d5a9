"""What pages of prose compute when the book is built: tables and sentences of the protocol, as Markdown."""

import csv

from ticketbook import board_1 as board
from ticketbook import checks, faults, pilot, reading, repeats
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CLAIMS, CONFIDENCE
from ticketbook.numbers import Rows
from ticketlib.analysis import evidence
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import SETTINGS, points, title
from ticketlib.experiments import campaign, grids, profiles
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import ROOT, book_ledger
from ticketlib.experiments.profiles import PROFILES

REASONS = {  # why `laptop` differs from `paper` in a field of the recipe
    "epochs": "a run takes minutes on a processor; the pilot shows what that changes",
    "batch": "fewer, larger steps are faster on a processor",
    "weight_decay": "our choice for short training; parts of a reproduction at full scale took as much",
    "precision": "faster where the processor has it; dense networks only",
    "engine": "skips the zeros; tested against the masked dense network",
    "eval_every": "saves time; the last epoch counts in both",
}


def substitutions():
    """Names that pages may write as {{ name }}: dict from name to Markdown."""
    ledger = Ledger(book_ledger("laptop"))
    rows, beside = ledger.rows(), Ledger(book_ledger("paper")).rows()
    return {
        "protocol_status": protocol_status(rows),
        "protocol_reason": protocol_reason(rows),
        "plan_sentence": plan_sentence(rows),
        "verdict_rules": verdicts.rules(),
        "comparison_table": comparison_table(),
        "recipe_table": recipe_table(),
        "cost_table": cost_table(rows),
        "control_table": control_table(),
        "protocol_versions": protocol_versions(),
        "trials_table": trials_table(),
        "recipe_differences": recipe_differences(),
        "rows": Rows(),
        **reading.substitutions(rows, beside),
        **faults.substitutions(),
        **repeats.substitutions(ledger, rows),
    }


def protocol_status(rows):
    """Whether the numbers of the protocol are fixed, and what they are."""
    fixed = board.protocol()
    if fixed is None:
        planned = grids.grid("pilot", "laptop", profiles.NO_IMAGES)
        asked = {(c.recipe, c.arm, c.seed, c.epochs) for c in planned}
        ours = [row.config for row in rows if row["kind"] == "run"]
        made = sum((c.recipe, c.arm, c.seed, c.epochs) in asked for c in ours)
        return (
            f"**Not fixed yet.** The pilot has made {made} of its {len(planned)} runs. Margin and number of seeds are "
            "fixed from it, before any run that counts."
        )
    why = "[Why these numbers](#margin-and-seeds) is told below."
    return f"**Margin: {points(fixed['margin'])}. Seeds: {fixed['seeds']}.** {why}"


def protocol_reason(rows):
    """Why the numbers are as they are, as the protocol's file says it, and what the pilot's spread asks for."""
    fixed = board.protocol()
    return "\n\n".join(filter(None, [fixed["reason"] if fixed else "", plan_sentence(rows)]))


def plan_sentence(rows):
    """How many seeds the pilot's largest spread asks for, and what those taken can show; "" without a spread."""
    asked = pilot.seeds_asked(rows)
    return f"The pilot's largest spread is that of {asked[0]}. {asked[2].sentence}" if asked else ""


def protocol_versions():
    """The versions of the protocol with their dates, as a list."""
    fixed = board.protocol()
    lines = [f"- Version {version}, {date}: {what}" for version, date, what in fixed["versions"]] if fixed else []
    return "\n".join(lines) or "No version is fixed yet."


def trials_table():
    """What one-seed trials gave before the protocol was written, from the file that keeps them."""
    with open(ROOT / "book" / "reference" / "trials.csv", encoding="utf-8", newline="") as file:
        lines = [list(line.values()) for line in csv.DictReader(file)]
    return prose.table(["epochs", "sparsity", "arm", "accuracy in percent, one seed"], lines)


def comparison_table():
    """Every comparison of every claim: what minus what, and the kind of test."""
    said = {"equivalence": "no difference (equivalence)", "noninferiority": "not worse (non-inferiority)",
            "superiority": "better (superiority)"}  # fmt: skip
    lines = [
        [claim.id, claim.sentence, c.label, said[part.kind], f"{100 * CONFIDENCE[part.kind]:g} %"]
        for claim in CLAIMS.values()
        for part in claim.parts
        for c in checks.minus(part.comparisons)
    ]
    return prose.table(["claim", "in words", "difference", "asked", "interval before Holm"], lines)


TITLES = ("setting", *(f"`{name}`" for name in PROFILES))  # of the two tables of recipes


def recipe_table():
    """Every value of every profile's recipe."""
    of = PROFILES.values()
    lines = [[said, *(_value(profile.training[what]) for profile in of)] for what, said in SETTINGS.items()]
    return prose.table(TITLES, [["networks", *map(_networks, of)], *lines])


def recipe_differences():
    """Every value in which the profiles differ, and why `laptop` is no `paper`, as a Markdown table."""
    of = PROFILES.values()
    lines = [["data", *(title(profile.dataset) for profile in of), "the same data; `smoke` needs no download"],
             ["networks", *map(_networks, of), "what fits the time; the form is the same"],
             ["seeds", *(profile.seeds for profile in of),
              "planned from the pilot's spread; the paper's number is not known to us"]]  # fmt: skip
    for what, said in SETTINGS.items():
        values = [_value(profile.training[what]) for profile in of]
        if len(set(values)) > 1:
            lines.append([said, *values, REASONS.get(what, "it does not; `smoke` does, whose digits are small")])
    scoring = [profiles.config(name, "snip", "0.9", 0, dataset=profiles.NO_IMAGES) for name in PROFILES]
    said_of = {"default": "as published", "book": "as published", "authors": "as in the paper's code"}
    for what, said in (("variant", "arithmetic of SNIP and GraSP"), ("scoring", "their scoring batch")):
        why = "the authors' quirks are tried where the authors' scale is"
        lines.append([said, *(said_of[getattr(config, what)] for config in scoring), why])
    return prose.table([*TITLES, "why `laptop` differs from `paper`"], lines)


def _value(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else value


def _networks(profile):
    found = profile.networks.values()
    return ", ".join(f"{title(name)} (width {width:g}, stem stride {stride})" for name, width, stride in found)


def control_table():
    """What each control must have done before its pairs are read."""
    floor = f"at least {100 * evidence.MOVED_FLOOR:g} % of the kept"
    lines = [
        ["mask rearranged", f"{floor} places change, and every layer keeps as many weights"],
        ["weights shuffled or drawn again", f"{floor} values change"],
        ["labels at random", f"they agree with the true ones at 1 / classes, give or take {evidence.LABELS_SLACK:g}"],
        ["pixels shuffled", f"mean correlation with the true image at most {evidence.PIXELS_CEILING:g}"],
        ["half of the data, as many updates", f"half of the images, give or take {evidence.LABELS_SLACK:g}"],
    ]
    return prose.table(["control", "what must hold"], lines)


def cost_table(rows):
    """Runs, units and core-hours of every grid on the profile's own data, at the median speeds of rows made so far."""
    speeds, lines = campaign.speeds(rows), []
    for name in grids.GRIDS:
        if (name, "laptop") in grids.OTHER_DATA:
            continue
        configs = grids.grid(name, "laptop", profiles.NO_IMAGES)
        seconds = [campaign.estimate(c, speeds) for c in configs]
        known = [s for s in seconds if s is not None]
        hours = f"{sum(known) / 3600:.1f}" if known else "not measured"
        hours += f" ({len(known)} of {len(configs)} runs of a measured kind)" if 0 < len(known) < len(configs) else ""
        lines.append([grids.titled(name), len(configs), f"{grids.units(configs, 'laptop'):g}", hours])
    return prose.table(["grid", "runs", "units of one full run", "core-hours"], lines)
