"""Tables of the prose pages, and what pages may write as {{ name }}."""

import json
import re
import textwrap
from importlib.metadata import distribution, version

import pandas as pd
import pybtex.database

from ticketbook import audits, board, budget, more, published, speed
from ticketbook.book_rows import grid_runs, ledger_frame, ledger_rows
from ticketbook.notebook import markdown
from ticketbook.numbers import Rows, paired, runs
from ticketlib.analysis import stats
from ticketlib.analysis.words import SETTINGS, removed, signed, title
from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, claims, grids, profiles
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import PROFILES

FAULTS = ROOT / "book" / "reference" / "faults.json"  # written by `make faults`, from the tests' outcomes
TWO_NODES = ROOT / "book" / "reference" / "two_nodes.json"  # written by `make test-ray`
REASONS = {  # why `laptop` differs from `paper` in a field of the recipe
    "epochs": "a run takes minutes on a processor; the pilot shows what that changes",
    "batch": "fewer, larger steps are faster on a processor",
    "weight_decay": "our choice for short training; parts of a reproduction at full scale took as much",
    "precision": "faster where the processor has it; dense networks only",
    "engine": "skips the zeros; tested against the masked dense network",
    "eval_every": "saves time; the last epoch counts in both",
}
BASELINES = {  # what to train beside a pruner -> (what it says if it does as well, the book's pair most like it)
    "rearranged: the mask's own keep-counts, places by lot": (
        "the pruner finds how many, not which", ("snip+rearranged", "snip")),
    "random ticket with smart ratios": ("a formula that sees nothing does the same", ("smart", "snip")),
    "LT: largest weights of a trained network": ("it reaches what training first would give", ("smart", "lt")),
    "random ticket with uniform ratios": ("the set-up is too weak to tell tickets apart", ("smart", "uniform")),
}  # fmt: skip
REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)==(\S+)")


def substitutions():
    """Names that pages may write as {{ name }}: dict from name to Markdown, or to an object whose methods give it."""
    return speed.substitutions() | {
        "rows": Rows(), "audits": audits.Audits(), "boards": board.Boards(), "version": version("ticketlib"),
        "audit_table": audits.audit_table(), "spread_table": audits.spread_table(), "dense_table": audits.dense_table(),
        "recipe_differences": recipe_differences(), "grids_table": grids_table(), "levels_table": levels_table(),
        "baseline_table": baseline_table(), "more": more.More(), "more_table": more.table(),
        "league_trial": more.trial(), "changelog": changelog(), "protocol_versions": protocol_versions(),
        "recipe_versions": recipe_versions(), "fault_table": fault_table(), "two_nodes": two_nodes(),
        "licence_table": licence_table(), "references_checked": references_checked(), "outlay_table": outlay_table(),
        "outlay_gpus": outlay_gpus(),
    }  # fmt: skip


def recipe_differences():
    """Every value in which the profiles differ, and why `laptop` is no `paper`."""
    of = PROFILES.values()
    lines = [["data", *(title(profile.dataset) for profile in of), "the same data; `smoke` needs no download"],
             ["networks", *map(_networks, of), "what fits the time; the form is the same"],
             ["seeds", *(profile.seeds for profile in of), "version 2 of the protocol takes eight; the paper's number "
              "is not known to us"]]  # fmt: skip
    for what, said in SETTINGS.items():
        values = [_value(profile.training[what]) for profile in of]
        if len(set(values)) > 1:
            lines.append([said, *values, REASONS.get(what, "it does not; `smoke` does, whose digits are small")])
    scoring = [profiles.config(name, "snip", "0.9", 0, dataset=profiles.NO_IMAGES) for name in PROFILES]
    said_of = {"default": "as published", "book": "as published", "authors": "as in the paper's code"}
    for what, said in (("variant", "arithmetic of SNIP and GraSP"), ("scoring", "their scoring batch")):
        values = [said_of[getattr(config, what)] for config in scoring]
        lines.append([said, *values, "the authors' quirks are tried where the authors' scale is"])
    columns = ["setting", *(f"`{name}`" for name in PROFILES), "why `laptop` differs from `paper`"]
    return markdown(pd.DataFrame(lines, columns=columns))


def _value(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else value


def _networks(profile):
    return ", ".join(f"{title(name)} (width {width:g}, stem stride {stride})"
                     for name, width, stride in profile.networks.values())  # fmt: skip


def grids_table():
    """Every grid of the laptop profile: its runs, its cost, how many of them are made."""
    speeds, made, lines = campaign.speeds(ledger_rows()), set(ledger_frame().name), []
    for name in grids.GRIDS:
        configs = grid_runs(name)
        seconds = [campaign.estimate(config, speeds) or 0 for config in configs]
        lines.append({
            "grid": f"`{name}`", "what it is": grids.TITLES[name], "runs": len(configs),
            "made": sum(config.name in made for config in configs), "units": f"{grids.units(configs, 'laptop'):g}",
            "core-hours": f"{sum(seconds) / 3600:.1f}" if all(seconds) else "not measured",
        })  # fmt: skip
    return markdown(pd.DataFrame(lines))


def levels_table():
    """What LRR loses from its dense network at each sparsity, here and in a reproduction of the paper's ResNet-32.

    Raises: TicketError where their 98 % no longer lies between our 90 and 98 %, as the page says.
    """
    here = runs().groupby("arm").accuracy.mean()
    others = published.table().query("source == 'epfl_partial' and network == 'resnet32' and dataset == 'cifar10'")
    at = others.set_index(["method", "sparsity"]).accuracy
    ours = {s: here[f"lrr@{s}"] - here["dense@0"] for s in ("0.9", "0.98")}
    theirs = {s: at["lr_rewinding", s] - at["dense"].iloc[0] for s in ("0.9", "0.95", "0.98")}
    if not ours["0.9"] > theirs["0.98"] > ours["0.98"] or abs(ours["0.9"] - theirs["0.9"]) > 0.5:
        raise TicketError(f"LRR loses {ours} here and {theirs} there; the page on threats says otherwise.")
    lines = {"ResNet-20, ours, 20 epochs": ours, "ResNet-32, EPFL reproduction, one run": theirs}
    table = pd.DataFrame(lines).T[["0.9", "0.95", "0.98"]].rename(columns=removed)
    return markdown(table.map(signed, na_action="ignore").reset_index(names="network"))


def baseline_table():
    """Baselines beside a new pruner: what each tells, how much its difference varies, and how many seeds it takes."""
    margin, n, lines = claims.protocol().margin, len(claims.protocol().seeds), []
    for name, (says, (a, b)) in BASELINES.items():
        spreads = [paired(f"{a}@{s}", f"{b}@{s}").points.std() for s in claims.EXPLORATORY.sparsities]
        asked, widest = [stats.seeds_needed(sd, margin) for sd in spreads], max(spreads)
        lines.append({
            "train beside it": name, "if it does as well": says,
            "spread over seeds at 90 and 98 %, points": " and ".join(f"{sd:.2f}" for sd in spreads),
            "seeds asked for": " and ".join(map(str, asked)),
            f"power with {n} seeds": f"{100 * stats.tost_power(n, widest, margin):.0f} %",
        })  # fmt: skip
    lines[-1] |= {"seeds asked for": "as the others", f"power with {n} seeds": "it must differ"}
    return markdown(pd.DataFrame(lines))


def changelog():
    """Every change of a claim's word, newest first."""
    lines, before = [], {}
    for entry in json.loads(board.history().read_text(encoding="utf-8")):
        for claim, word in entry["words"].items():
            if word != before.get(claim):
                recipes = ", ".join(map(str, entry["recipes"]))
                lines.append([entry["date"], entry["protocol"], recipes, claim, before.get(claim, ""), word])
        before = entry["words"]
    columns = ["date", "protocol", "recipe", "claim", "before", "then"]
    return markdown(pd.DataFrame(lines[::-1], columns=columns))


def protocol_versions():
    """The versions of the protocol with their dates."""
    fixed = json.loads(claims.PROTOCOL.read_text(encoding="utf-8"))
    return markdown(pd.DataFrame(fixed["versions"], columns=["version", "date", "what changed"]))


def recipe_versions():
    """How many runs of each version of the recipe the ledger holds."""
    said = {0: "pilot and engine comparison, which are in no claim", 1: "all others"}
    made = ledger_frame().groupby("recipe").size()
    return markdown(pd.DataFrame([[v, n, said[v]] for v, n in made.items()], columns=["recipe", "runs", "what"]))


def outlay():
    """Hours of all rows, made on processors and elsewhere: DataFrame with kind of row, processor, device, hours."""
    rows = [*ledger_rows(), *ledger_rows("paper")]
    kinds = ["probes: masks only" if row["kind"] == "probe" else
             "pilot and engine comparison" if row.config.recipe == 0 else "runs" for row in rows]  # fmt: skip
    return pd.DataFrame({
        "kind": kinds, "processor": [campaign.on_processor(row) for row in rows],
        "device": [row["device"] for row in rows], "hours": [row["seconds"] * row["threads"] / 3600 for row in rows],
    })  # fmt: skip


def outlay_table():
    """Core-hours and a range of energy for each kind of row made on processors, and in all."""
    of = outlay().query("processor").groupby("kind").hours.agg(["size", "sum"])
    of.loc["**all**"] = of.sum()
    return markdown(pd.DataFrame({
        "rows in the ledger": of.index, "rows": of["size"].astype(int), "core-hours": of["sum"].map("{:.1f}".format),
        "kWh, estimated": of["sum"].map(budget.energy),
    }))  # fmt: skip


def outlay_gpus():
    """What was made on GPUs, and is in no table of core-hours."""
    of = outlay().query("not processor").groupby("device").hours.agg(["size", "sum"]).reset_index()
    return markdown(of.assign(sum=of["sum"].map("{:.1f}".format)).set_axis(["device", "rows", "hours"], axis=1))


def fault_table():
    """Each fault that was tried, how often, what had to come of it, whether it did."""
    faults = pd.DataFrame(json.loads(FAULTS.read_text(encoding="utf-8")))
    return markdown(pd.DataFrame({
        "fault": faults.fault, "times": faults.tried.map("{:,}".format), "what must come of it": faults.promise,
        "held": faults.held.map({True: "yes", False: "**no**"}),
    }))  # fmt: skip


def two_nodes():
    """The run on two Ray nodes, one of which was removed."""
    log = json.loads(TWO_NODES.read_text(encoding="utf-8"))
    facts = {
        "Ray": log["ray"], "short runs": log["runs"], "one node removed after": log["removed_after"],
        "runs begun twice": log["again"], "runs that failed": log["failed"],
        "rows made on each node": " and ".join(map(str, log["on_each"])), "seconds in all": log["seconds"],
    }  # fmt: skip
    return markdown(pd.DataFrame([facts]))


def requirements(name="requirements.txt"):
    """Pinned packages of a requirements file: dict from name to version."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return {pin[1]: pin[2] for line in lines if (pin := REQUIREMENT.fullmatch(line))}


def licence(name):
    """What an installed package states as its licence: its expression, its classifiers, or its field.

    Raises: TicketError for a package that states none.
    """
    metadata = distribution(name).metadata
    licences = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    for text in (metadata.get("License-Expression"), ", ".join(licences), metadata.get("License")):
        if text and text.strip() not in ("", "UNKNOWN"):
            return textwrap.shorten(text.strip().splitlines()[0], 60, placeholder=" ...")
    raise TicketError(f"package {name!r} states no licence; it must not be used until that is clear.")


def licence_table():
    """Every direct dependency, its pinned version, its licence."""
    lines = [[name, pin, licence(name)] for name, pin in requirements().items()]
    return markdown(pd.DataFrame(lines, columns=["package", "version", "licence"]))


def references():
    """Entries of the bibliography: dict key -> pybtex.database.Entry."""
    return dict(pybtex.database.parse_file(ROOT / "book" / "references.bib").entries)


def references_checked():
    """How each entry of the bibliography was checked."""
    lines = [[f"{{cite:t}}`{key}`", entry.fields["annote"]] for key, entry in references().items()]
    return markdown(pd.DataFrame(lines, columns=["entry", "checked against"]))
