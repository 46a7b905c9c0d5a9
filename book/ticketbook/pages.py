"""What pages of prose compute when the book is built: tables and sentences of the protocol, as Markdown."""

import csv

from ticketbook import board_1 as board
from ticketbook import checks, front, pilot, reading, speed
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CLAIMS, CONFIDENCE
from ticketlib.analysis import evidence
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import SETTINGS, points, title
from ticketlib.experiments import campaign, grids, profiles
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import ROOT, book_ledger
from ticketlib.experiments.profiles import PROFILES


def substitutions():
    """Names that pages may write as {{ name }}: dict from name to Markdown."""
    rows = Ledger(book_ledger("laptop")).rows()
    return {
        "protocol_status": protocol_status(rows),
        "protocol_reason": protocol_reason(rows),
        "verdict_rules": verdicts.rules(),
        "comparison_table": comparison_table(),
        "recipe_table": recipe_table(),
        "cost_table": cost_table(rows),
        "control_table": control_table(),
        "trials_table": trials_table(),
        **speed.substitutions(),
        **reading.substitutions(rows),
        **front.substitutions(),
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
