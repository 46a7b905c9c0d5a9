"""The pilot's rows and numbers: accuracies and paired differences at each length of training."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

from ticketbook import board_1 as board
from ticketbook import checks, stats_1
from ticketbook.claims_1 import Comparison
from ticketlib.analysis import evidence, stats
from ticketlib.experiments import campaign, grids, profiles, session
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger

FLAT = 1.0  # points: a smaller step to a longer training counts as flat; the margin from which the protocol started
NOT_IN_THE_RECIPE = ("recipe", "epochs", "engine", "eval_every")  # fields of a profile that pilot rows may differ in
ARMS = {key.partition("@")[0]: key if "@" in key else f"{key}@0" for key in grids.PILOT_ARMS}


AS_FOUND = (  # what claim B calls no difference; keys are styles in `plots`
    Comparison("lt", "LT − LT rearranged", "lt", "lt+rearranged"),
    Comparison("snip", "SNIP − SNIP rearranged", "snip", "snip+rearranged"),
)
SMART = (  # what claim C compares
    Comparison("lt", "smart ratio − LT", "smart", "lt"),
    Comparison("snip", "smart ratio − SNIP", "smart", "snip"),
    Comparison("uniform", "smart ratio − uniform", "smart", "uniform"),
)
CONTRASTS = AS_FOUND + SMART
LONGER = ("dense", "lt", "lt+rearranged", "smart")  # arms of ARMS that are trained for twice the epochs as well


def pilot_rows(run):
    """The pilot's rows of a profile; with source "run" those that are missing are carried out first.

    Rows of any length of training are taken, so that a longer pilot shows by itself.

    Returns: dict arm without sparsity -> {epochs: {seed: Row}}, arms in the pilot's order.
    """
    if run.source == "run":
        dataset = session.images(run)
        session.make_runs(run, campaign.missing(configs(run, dataset), Ledger(run.ledger)), dataset)
    return select(session.rows_of(run), run)


def select(rows, run):
    """The pilot's rows among others, as `pilot_rows` returns them."""
    allowed, found = _seeds(run), {arm: defaultdict(dict) for arm in ARMS}
    for row in rows:
        if row["kind"] == "run" and _is_pilot(row.config, run.profile) and row.config.seed in allowed:
            for arm in [arm for arm, key in ARMS.items() if row.config.arm == key]:
                found[arm][row.config.epochs][row.config.seed] = row
    return {arm: {epochs: dict(sorted(at.items())) for epochs, at in sorted(of.items())} for arm, of in found.items()}


def doubled(run):
    """Rows that count, at the length that counts and at twice it; the pilot's are not among them.

    Returns: dict arm without sparsity -> {epochs: {seed: Row}}, as `pilot_rows`.
    """
    rows, usual, found = session.rows_of(run), profiles.PROFILES[run.profile].training["epochs"], {}
    for arm in LONGER:
        lengths = {e: checks.at_length(rows, run.profile, e).get(ARMS[arm], {}) for e in (usual, 2 * usual)}
        few = {e: {seed: row for seed, row in of.items() if not run.seeds or seed < run.seeds}
               for e, of in lengths.items()}  # fmt: skip
        found[arm] = {e: of for e, of in few.items() if of}
    return found


def of_profile(rows, profile="laptop"):
    """The pilot's rows among others, with the seeds that the profile plans, as `pilot_rows` returns them."""
    return select(rows, session.NotebookRun(profile, "stored", book_ledger(profile), 0, "cpu", ""))


def configs(run, dataset):
    """The pilot's configurations with a notebook's number of seeds, in order."""
    first, planned = _seeds(run)[0], grids.pilot(run.profile, dataset)
    return [replace(config, seed=seed) for seed in _seeds(run) for config in planned if config.seed == first]


def _seeds(run):
    planned = profiles.PROFILES[run.profile].pilot["seeds"]
    return tuple(range(planned[0], planned[0] + run.seeds)) if run.seeds else planned


def _is_pilot(config, profile):
    """Whether a row is of the pilot and of the profile's network and recipe as it is now."""
    chosen = profiles.PROFILES[profile]
    wanted = profiles.fields(profile, but=NOT_IN_THE_RECIPE) | {"recipe": 0, "held_out": chosen.pilot["held_out"]}
    engine = config.ticket == "dense" or config.engine == chosen.training["engine"]
    return engine and all(getattr(config, what) == value for what, value in wanted.items())


def progress(run, arms):
    """How many of the pilot's runs are there, and how many it plans: (int, int); longer budgets do not count."""
    budgets = profiles.PROFILES[run.profile].pilot["epochs"]
    there = sum(len(arms[arm].get(epochs, ())) for arm in arms for epochs in budgets)
    return there, len(ARMS) * len(budgets) * len(_seeds(run))


def accuracies(arms):
    """Accuracy of each arm: dict arm -> {epochs: {seed: percent}}."""
    return {
        arm: {epochs: {seed: evidence.accuracy(row) for seed, row in at.items()} for epochs, at in of.items()}
        for arm, of in arms.items()
    }


def paired(arms, contrast):
    """One difference, paired within seeds: dict epochs -> {seed: points}; pairs that may not be compared are left out.

    Arguments: arms, as `pilot_rows` gives; contrast, a Contrast.
    """
    a, b = arms[contrast.a], arms[contrast.b]
    found = {epochs: _pairs(a[epochs], b[epochs]) for epochs in a if epochs in b}
    return {epochs: points for epochs, points in found.items() if points}


def _pairs(a, b):
    return {
        seed: evidence.accuracy(a[seed]) - evidence.accuracy(b[seed])
        for seed in a
        if seed in b and not _against(a[seed], b[seed])
    }


def _against(a, b):
    """What stands against reading a pair: fields in which the two differ, and a control that did nothing."""
    idle = any(map(evidence.control_did_nothing, (a, b)))
    return [*evidence.differing(a, b), *["a control that did nothing"] * idle]


def refused(arms):
    """Why pairs were left out: names of fields in which they differ, or a control; empty where every pair counts."""
    pairs = [(of_a, arms[c.b].get(e, {})) for c in CONTRASTS for e, of_a in arms[c.a].items()]
    found = [_against(a[seed], b[seed]) for a, b in pairs for seed in a if seed in b]
    return sorted({what for fields in found for what in fields})


def cells(curve):
    """Each length's values and their mean: dict epochs -> (values a seed, Estimate with a 95 % interval)."""
    return {epochs: (list(at.values()), stats.t_interval(list(at.values()))) for epochs, at in curve.items()}


def drawn(curve):
    """As `cells`, for `plots.curves`: without the intervals of two seeds, which are wider than any figure."""
    return {epochs: (values, checks.without_wide(found)) for epochs, (values, found) in cells(curve).items()}


def steps(curve):
    """What each step to the next longer training changes, paired within seeds: dict (from, to) -> Estimate."""
    return {
        (a, b): stats.t_interval([curve[b][seed] - curve[a][seed] for seed in curve[a] if seed in curve[b]])
        for a, b in pairwise(curve)
    }


def flat_from(curve):
    """The shortest training from which every later step moves the mean by less than FLAT, over two seeds or more.

    The longest training that was measured cannot be vouched for, since no longer one is there to compare.

    Arguments: curve, dict epochs -> {seed: value}, epochs ascending. Returns: epochs, or None.
    """
    found = None
    for (a, _), step in reversed(steps(curve).items()):
        if step.n < 2 or abs(step.point) >= FLAT:
            break
        found = a
    return found


def spreads(arms):
    """Standard deviation over seeds of each paired difference: dict (label, epochs) -> points; two seeds needed."""
    found = {
        (contrast.label, epochs): stats.t_interval(list(at.values())).sd
        for contrast in CONTRASTS
        for epochs, at in paired(arms, contrast).items()
    }
    return {key: sd for key, sd in found.items() if sd is not None}


def seeds_asked(rows, profile="laptop"):
    """What the largest spread at the length that counts asks for: (label of its difference, points, stats_1.Plan).

    Arguments: rows, of a ledger; profile, a name of profiles.PROFILES. Returns: None where no difference has two seeds.
    """
    counting = profiles.PROFILES[profile].training["epochs"]
    found = {label: sd for (label, epochs), sd in spreads(of_profile(rows, profile)).items() if epochs == counting}
    if not found:
        return None
    label = max(found, key=found.get)
    return label, found[label], stats_1.seeds_needed(found[label], margin())


def margin():
    """The margin in points: the protocol's, or the one it started from while there is none."""
    fixed = board.protocol()
    return FLAT if fixed is None else fixed["margin"]
