"""The reviewers' page: every question with its answer from the book's rows, and the runs that are still to be made."""

import json
import re
import statistics
from collections import defaultdict
from typing import NamedTuple

from ticketbook import answers, checks, published
from ticketbook.answers import COMPUTED, EDITORIAL, MEASURED, Need, Pair
from ticketbook.claims_1 import CLAIMS
from ticketbook.observations import MASK_SEEDS, SPARSITY, TRAINED_SEEDS
from ticketbook.reviewers import ITEMS
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import title
from ticketlib.experiments import grids
from ticketlib.experiments.ledger import name_of
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.probe import IMAGENET_NETWORKS, imagenet_configuration, imagenet_wanted
from ticketlib.experiments.probe import name as probe_name
from ticketlib.experiments.profiles import PROFILES

BELOW = "[runs missing](#missing-runs)"  # a label on the page itself
REVIEWERS = {"1": "Reviewer 1", "2": "Reviewer 2", "3": "Reviewer 3"}


def listed_pages():
    """Every page of the book that is in its contents and there: dict name -> its source, white space made even."""
    contents = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")
    names = re.findall(r"(?:root|file): +(\S+)", contents)
    return {name: _source(path) for name in names if (path := page_path(name)).is_file()}


def page_path(name):
    """The file of a page that _toc.yml names: prose in book/, or a source notebook."""
    if name.startswith("claims/"):
        return ROOT / "notebooks" / f"{name.removeprefix('claims/')}.ipynb"
    return ROOT / "book" / f"{name}.md"


def _source(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return " ".join(text.split())


def link(item, listed):
    """Markdown links to an item's pages that are there, to the first alone for advice; where none is, to its runs."""
    names = [name for name in item.pages if name in listed]
    shown = names if item.kind == MEASURED else names[:1]
    none = BELOW if item.kind == MEASURED and "reviewers" in listed else "no page yet"
    return ", ".join(map(_link, shown)) or none


def _link(name):
    words = re.sub(r"^\d+_", "", name.rpartition("/")[2]).replace("_", " ").replace("index", "front page")
    return f"[{words}]({name if name.startswith('claims/') else name + '.md'})"


def answered(facts):
    """Every item with its answer: list of (Item, Answer)."""
    return [(item, answers.answer(item, facts)) for item in ITEMS]


def table_of(found, facts):
    """The items as Markdown: a table for each reviewer, a line for each item."""
    parts = []
    for number, name in REVIEWERS.items():
        lines = [_line(item, answer, facts) for item, answer in found if item.id[1] == number]
        parts += [f"**{name}**", prose.table(["item", "asked", "answer", "word", "n", "shown in"], lines)]
    return "\n\n".join(parts)


def _line(item, answer, facts):
    text = answer.text[:1].upper() + answer.text[1:]
    others = "; ".join(published.span(*arguments) for arguments in item.others)
    open_part = waiting(item, facts)
    sentences = [
        f"{text.rstrip('.')}." if text else "",
        f"*Open:* {open_part}." if open_part else "",
        f"*Others, at full scale:* {others}." if others else "",
    ]
    seeds = " to ".join(map(str, dict.fromkeys((answer.n[0], answer.n[-1])))) if answer.n else ""
    said = " ".join(filter(None, sentences))
    return [item.id, item.question, said, answer.word, seeds, link(item, facts.pages)]


def summary(found):
    """How many items are answered, by rows, by code and on the page, in sentences."""
    kinds = {kind: [answer.answered for item, answer in found if item.kind == kind] for kind in answers.KINDS}
    part = sum(bool(answer.rows) and answer.open for _, answer in found)
    (full, runs), (followed, advice), (code, _) = (
        (sum(kinds[kind]), len(kinds[kind])) for kind in (MEASURED, EDITORIAL, COMPUTED)
    )
    pieces = f"All {advice} pieces of advice on the text are" if followed == advice else (
        f"Of {advice} pieces of advice on the text, {_counted(followed)}"
    )
    by_code = "One item is" if code == 1 else f"{code} items are"
    return (
        f"There are {len(found)} items. Of {runs} items that need runs, {_counted(part)} answered in part and "
        f"{full or 'none'} in full. {pieces} followed. {by_code} answered by the code."
    )


def _counted(number):
    return {0: "none is", 1: "one is"}.get(number, f"{number} are")


class Open(NamedTuple):
    """Runs, or probes, that an item still waits for."""

    which: str
    grid: str
    to_do: list  # of Config, or of what imagenet_wanted gives
    planned: int
    probe: bool = False  # masks only: nothing is trained


def runs_table(facts):
    """Which runs would settle what is open, as a Markdown table: how many, which and in which grid, and their cost."""
    lines = [
        [item.id, f"{len(part.to_do)} of {part.planned}", _in_grid(part), *_cost(part, facts)]
        for item in ITEMS
        for part in open_runs(item, facts)
    ]
    return prose.table(["item", "runs missing", "which, and their grid", "units", "core-hours"], lines)


def _in_grid(part):
    return f"{part.which}; {grids.titled(part.grid)}"


def _cost(part, facts):
    if not part.probe:
        return answers.cost(part.to_do, facts)
    took = defaultdict(list)
    for row in facts.rows:
        if row["kind"] == "probe":
            took[row["config"]["network"], row["config"]["ticket"]].append(row["seconds"])
    kinds = [one[:2] if isinstance(one, tuple) else (one.network, one.ticket) for one in part.to_do]
    if not all(kind in took for kind in kinds):
        return "0", "not measured"
    return "0", f"{sum(statistics.mean(took[kind]) for kind in kinds) / 3600:.1f}"


def waiting(item, facts):
    """What an item still waits for, in one phrase; "" if it waits for nothing."""
    parts = list(open_runs(item, facts))
    runs = {config.name: config for part in parts if not part.probe for config in part.to_do}
    masks = sum(len(part.to_do) for part in parts if part.probe)
    said = [f"{len(runs)} runs, {grids.units(list(runs.values()), facts.profile):g} units"] if runs else []
    said += [f"{masks} probes"] if masks else []
    grid = dict.fromkeys(grids.TITLES.get(part.grid, part.grid) for part in parts)
    return f"{' and '.join(said)} ({', '.join(grid)})" if said else ""


def open_runs(item, facts):
    """Everything that an item still waits for: list of Open."""
    parts = [_need(need, facts) for need in (*_claimed(item), *item.needs)]
    if item.grid:
        planned = grids.grid(item.grid, facts.profile, facts.images())
        parts.append(Open("all", item.grid, _missing(planned, facts), len(planned)))
    if "lt" in item.probed:  # its masks need trained nets, so they come with the runs
        parts.append(_need(Need((Pair("", "lt", "lt"),), (SPARSITY,), "step1", MASK_SEEDS), facts))
    if "lt+both" in item.probed:
        parts += _of_nets(facts)
    parts.append(_probes(item, facts))
    if item.at_scale:
        parts.append(_at_scale(facts))
    return [part for part in parts if part.to_do]


def _missing(planned, facts):
    return [config for config in planned if config.name not in facts.by_name]


def _claimed(item):
    if not item.claim:
        return ()
    claim = CLAIMS[item.claim]
    return (Need(tuple(Pair(c.label, c.a, c.b) for c in claim.comparisons), claim.sparsities, "step1"),)


def _need(need, facts):
    to_do, planned = answers.missing(need, facts)
    return Open(_which(need), need.grid or "in no grid yet", to_do, len(planned))


def _which(need):
    arms = dict.fromkeys(_named(arm, extra) for p in need.pairs for arm, extra in ((p.a, ()), (p.b, p.b_changes)))
    where = [title(need.dataset.replace("_", "-")), "slim VGG" if need.network == "vgg" else ""]
    changed = [_changed(what, value) for what, value in need.changes]
    last = (need.seeds or PROFILES["laptop"].seeds) - 1
    texts = ["; ".join(arms), *filter(None, where), *changed, f"at {' and '.join(need.sparsities)}, seeds 0 to {last}"]
    return "; ".join(texts)


def _named(arm, changes):
    return checks.label(arm) + "".join(f" ({_changed(what, value)})" for what, value in changes)


def _changed(what, value):
    return f"{prose.SETTINGS.get(what, what)} {value}"


def _probes(item, facts):
    planned = [config for config in grids.probes("paper", facts.images(), MASK_SEEDS)
               if config.ticket in item.probed and config.sparsity == SPARSITY]  # fmt: skip
    to_do = [config for config in planned if probe_name(config) not in facts.by_name]
    which = ", ".join(style(ticket).label for ticket in dict.fromkeys(config.ticket for config in to_do))
    return Open(f"masks of {which} on the paper's networks, no training", "probes", to_do, len(planned), probe=True)


def _of_nets(facts):
    """LT's masks from networks trained on noise, beside those of a second data order; and these networks."""
    nets = Pair("", "dense+both", "dense"), Pair("", "dense+order=order2", "dense")
    planned = [grids.arm(facts.profile, f"{ticket}@{SPARSITY}", seed, facts.images())
               for seed in range(TRAINED_SEEDS) for ticket in ("lt", "lt+both")]  # fmt: skip
    to_do = [config for config in planned if probe_name(config) not in facts.by_name]
    which = "masks of LT from these networks, clean and spoilt, no training"
    masks = Open(which, "step2", to_do, len(planned), probe=True)
    return [_need(Need(nets, ("0",), "step2", TRAINED_SEEDS), facts), masks]


def _at_scale(facts):
    planned = [key for network in IMAGENET_NETWORKS for key in imagenet_wanted(network)]
    to_do = [key for key in planned if name_of(imagenet_configuration(*key)) not in facts.by_name]
    which = ", ".join(style(method).label for method in dict.fromkeys(method for _, method, _ in to_do))
    which = f"masks of {which} at ImageNet's scale, no training"
    return Open(which, "`benchmarks/imagenet.py`", to_do, len(planned), probe=True)


def substitutions(rows, beside=()):
    """Names that the page writes as {{ name }}: dict from name to Markdown.

    Arguments: rows, of the profile `laptop`; beside, probes of the paper's networks.
    """
    facts = answers.Facts([*rows, *beside], listed_pages())
    found = answered(facts)
    return {
        "reviewers_summary": summary(found),
        "reviewers": table_of(found, facts),
        "reviewers_runs": runs_table(facts),
    }
