"""What the claim pages share: the rows they read, the book's own beside a reader's, and differences beside a claim."""

import dataclasses

import pandas as pd

from ticketbook import board, notebook
from ticketbook.book_rows import without_more_runs
from ticketlib.analysis import pairs, stats, verdicts
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import percent, span, title
from ticketlib.experiments import campaign, claims, grids, session
from ticketlib.experiments.ledger import Ledger, frame
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import NO_IMAGES, PROFILES

WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 2}  # no line of a panel runs through words on it
DIGITS = ("0.9",)  # the sparsity at which the tiny network of `smoke` is tried; it has no room for more
OTHER_ROWS = "This page was made from other rows than the book's. Here they are, the book's beside them."
BOOK = "the book's, seeds 0 to 9, exploratory"
COLUMNS = ["key", "label", "a", "b", "sparsity", "n", "points", "mean", "low", "high", "accuracy_a", "accuracy_b",
           "why"]  # fmt: skip
OPTIONS = {f", count_table={grids.MEAN_SNIP}": "", "parent_order=order2": "its mask from a second data order",
           "order=order2": "a second data order", "linear=0.3": "30 % of its classifier",
           "linear=global": "one threshold for its classifier too", "variant=authors": "the authors' arithmetic",
           "min_per_layer=1": "a weight in every layer"}  # fmt: skip


def load(run, *claim_ids, beside=()):
    """The runs of a page's ledger and the plan that reads them; with source "run" those that lack are made first.

    Arguments: run, session.NotebookRun; claim_ids, of claims.CLAIMS; beside, further arms with sparsity.
    Returns: (DataFrame as ledger.frame gives, claims.Plan).
    """
    if run.source == "run":
        make(run, [*arms(run.profile, claim_ids), *beside])
    runs = frame(session.rows_of(run))
    plan = board.plan_of(run, runs)
    return runs, dataclasses.replace(plan, sparsities=DIGITS) if run.profile == "smoke" else plan


def arms(profile, claim_ids):
    """The arms of claims, with sparsity, as Config.arm names them; at the protocol's scale those that it runs."""
    levels = DIGITS if profile == "smoke" else claims.protocol().sparsities
    named = [f"{arm}@{s}" for name in claim_ids for s in levels if s in claims.CLAIMS[name].sparsities
             for one in claims.CLAIMS[name].comparisons for arm in (one.b, one.a)]  # fmt: skip
    planned = {config.arm for config in grids.v2("laptop", NO_IMAGES)} if profile == "laptop" else set(named)
    return [arm for arm in dict.fromkeys(named) if arm in planned]


def make(run, named):
    """Carry out the runs of some arms that a ledger lacks, at the seeds and the length of the notebook's plan."""
    dataset, plan = session.images(run), claims.plan(run.profile, run.seeds)
    wanted = [grids.arm(run.profile, arm, seed, dataset, epochs=plan.epochs) for seed in plan.seeds for arm in named]
    session.make_runs(run, campaign.missing(wanted, Ledger(run.ledger)), dataset)


def is_book(run):
    """Whether a page reads the book's own rows, all of them, of which its sentences speak."""
    own = run.ledger.resolve() == book_ledger("laptop").resolve()
    return own and (run.profile, run.source, run.seeds) == ("laptop", "stored", 0)


def exploratory(claim, key):
    """One comparison as version 1's runs have it: its lines of verdicts.board, one a sparsity, mildest first."""
    comparisons = board.judged("exploratory")[1]
    return list(comparisons[(comparisons.claim == claim) & (comparisons.key == key)].itertuples())


def beside_book(comparisons):
    """Comparisons of a reader's rows, the book's exploratory ones beside them: DataFrame of text.

    Arguments: comparisons, as verdicts.board gives them, of one page.
    """
    shown = ["difference", "removed", "word", "points (interval)", "n"]
    here, there = (board.comparisons_table(of)[shown] for of in (comparisons, board.judged("exploratory")[1]))
    there = there.assign(**{BOOK: (there["word"] + ", " + there["points (interval)"]).str.removesuffix(", ")})
    return here.merge(there[["difference", "removed", BOOK]], how="left").fillna("")


def other_rows(comparisons):
    """What a page says in place of its finding where it reads other rows than the book's: Markdown."""
    return f"{OTHER_ROWS}\n\n{notebook.markdown(beside_book(comparisons))}"


def plan_beside(run, plan):
    """The plan of what stands beside a claim: version 1's for the book's rows, since these arms were run then alone.

    Arguments: run, session.NotebookRun; plan, claims.Plan, the page's own, which it is for all other rows.
    """
    return claims.EXPLORATORY if is_book(run) else plan


def runs_beside(run, runs, plan):
    """The runs of what stands beside a claim, at every sparsity: as pairs.select.

    Arguments: run and plan, as `plan_beside` takes them; runs, as ledger.frame gives.
    """
    read = plan_beside(run, plan)
    chosen = pairs.select(runs, run.profile, epochs=read.epochs)
    return chosen[chosen.seed.isin(read.seeds)]


def beside(runs, couples):
    """Differences that stand beside a claim, at every sparsity that has both arms, each with its own 95 % interval.

    They are described, and get no word: their seeds are few, or nobody fixed beforehand how to read them.
    Arguments: runs, as `runs_beside` gives; couples, of arms without sparsity, the first minus the second.
    Returns: DataFrame with the columns of verdicts.board that `plots.differences` draws, the label among them.
    """
    lines = []
    for a, b in couples:
        for s in sorted(set(runs.sparsity), key=float):
            difference = pairs.difference(runs, f"{a}@{s}", f"{b}@{s}")
            mean = stats.t_interval(difference.points)
            lines.append({
                "key": a, "label": f"{said(a)} − {said(b)}", "a": a, "b": b, "sparsity": s, "n": mean.n,
                "points": difference.points, "mean": mean.point, "low": mean.low, "high": mean.high,
                "accuracy_a": difference.a.accuracy.mean(), "accuracy_b": difference.b.accuracy.mean(),
                "why": "; ".join((*difference.untested[:1], *difference.refused)),
            })  # fmt: skip
    return pd.DataFrame([line for line in lines if line["n"]], columns=COLUMNS)


def said(arm):
    """What tables call an arm: its ticket, and in words what was done to it."""
    words = style(arm).label
    for option, text in OPTIONS.items():
        words = words.replace(option, text)
    return words


def beside_table(differences):
    """What `beside` gives as a table of text."""
    return pd.DataFrame([
        {"difference": line["label"], "removed": percent(line["sparsity"]),
         "points (95 % interval)": f"not read: {line['why']}" if line["why"] else board.interval(line),
         "accuracies, %": f"{line['accuracy_a']:.2f} and {line['accuracy_b']:.2f}", "n": line["n"]}
        for line in differences.to_dict("records")
    ])  # fmt: skip


def behind(runs, plan, *tables):
    """The runs behind a page's differences, at every sparsity and place, and the trained nets: lines of `runs`.

    Runs of the protocol's seeds that the page's plan does not read yet are no part of it, nor are those of *More runs*.
    Arguments: runs, as ledger.frame gives; plan, claims.Plan, the page's; tables, with the columns a and b, arms
        without sparsity.
    """
    named = {arm for table in tables for arm in (*table.a, *table.b)}
    early = runs.seed.isin({*claims.protocol().seeds} - {*plan.seeds}) & (runs.epochs == claims.protocol().epochs)
    counted = without_more_runs(runs[(runs.recipe > 0) & (runs.held_out == 0) & ~early])
    return counted[counted.arm.str.split("@").str[0].isin(named) | counted.ticket.eq("dense")]


def scope(profile, plan):
    """What a page's numbers were measured on, and what they decide: DataFrame of one line."""
    of = PROFILES[profile]
    name, width, stride = of.networks["resnet"]
    decides = "nothing: it shows how things work" if profile == "smoke" else "described"
    if profile == "laptop":
        seen_first = plan.seeds == claims.EXPLORATORY.seeds
        decides = "exploratory: the rules were chosen after these rows were seen" if seen_first else "judged"
    return pd.DataFrame([{
        "network": f"{title(name)}, width {width:g}, stem stride {stride}", "data": title(of.dataset),
        "epochs": plan.epochs, "seeds": span(plan.seeds, 0), "margin, points": f"{plan.margin:g}",
        "what it decides": decides,
    }])  # fmt: skip


def said_table(comparisons):
    """The words of a page's comparisons, most important columns first: DataFrame of text."""
    return board.comparisons_table(comparisons)[["difference", "removed", "word", "points (interval)", "level", "n"]]


def finish(ax, words, differences):
    """Give a panel of differences its title, and say so where there is nothing to draw."""
    if not len(differences) or not (differences.n > 0).any():
        ax.text(0.5, 0.6, verdicts.NOT_RUN, ha="center", transform=ax.transAxes, bbox=WHITE)
    ax.set_title(words)
    return ax


def device(run, recipe):
    """The device on which a page trains a configuration in sight of its reader."""
    return session.device_of(run, [recipe])


def curves(runs, budget):
    """Accuracy of every ticket against what was spent on it, for `plots.curves`.

    Arguments: runs, a line a run; budget, the column that says what was spent.
    Returns: dict ticket -> {budget: (accuracy a seed, Estimate)}; intervals from three seeds on.
    """
    cells = {}
    for (ticket, spent), of in runs.groupby(["ticket", budget], sort=False):
        cells.setdefault(ticket, {})[spent] = stats.curve_cell(of.sort_values("seed").accuracy)
    return cells


def classifier_share(runs):
    """Per cent of their kept weights that LRR and the hybrid ticket spend on the classifier at 98 %: dict of floats."""
    chosen = pairs.select(runs, "laptop").query("arm in ('lrr@0.98', 'hybrid@0.98')")
    chosen = chosen[chosen.seed.isin(claims.EXPLORATORY.seeds)]
    return (100 * chosen.groupby("ticket").classifier_share.mean()).to_dict()
