"""The board: claims and comparisons as tables for pages, README and tests; and the tables of a claim's own page.

Every function gives a DataFrame of text; `notebook.show` or `notebook.markdown` make it a Markdown table.
"""

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd

from ticketbook.book_rows import ledger_frame, ledger_rows, without_more_runs
from ticketbook.notebook import markdown
from ticketlib.analysis import pairs, stats, verdicts
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import percent, removed, signed, span, title
from ticketlib.errors import TicketError
from ticketlib.experiments import claims, places
from ticketlib.experiments.profiles import PROFILES

SPREADS = (0.3, 0.5, 0.75, 1.0, 1.3)  # standard deviations of paired differences, in points, that were seen
SHOWN = (*verdicts.SETTLED, verdicts.NOT_WORSE, verdicts.NOT_BETTER, verdicts.OPEN)  # words that rest on an interval


def plan_of(run, frame):
    """The plan by which a page reads its rows: the one shown for stored rows of the laptop, the run's own for others.

    Arguments: run, session.NotebookRun; frame, as ledger.frame gives. Returns: claims.Plan.
    """
    stored = run.source == "stored" and run.profile == "laptop" and not run.seeds
    return shown_plan(frame) if stored else claims.plan(run.profile, run.seeds)


def shown_plan(runs):
    """The plan that pages show: the protocol's once all its runs are there, till then version 1's."""
    fixed = claims.protocol()
    return fixed if complete(runs, fixed) else claims.EXPLORATORY


def complete(frame, plan):
    """Whether the runs that a plan judges are all there; while a seed has none, nothing needs to be judged for it."""
    begun = pairs.planned(frame, plan).seed
    return {*plan.seeds} <= {*begun} and _has_words(verdicts.board(frame, plan)[0])


def _has_words(words):
    missing = words == verdicts.SEEDS_MISSING
    return not missing.any(axis=None) and not (words == verdicts.NOT_RUN).all(axis=None)


def _above_zero(error):
    """A part of a standard error that is estimated as a remainder, and may come out as nothing."""
    return f"{error:.2f}" if error >= 0.005 else "not told from 0"


def claims_table(words, comparisons, link=""):
    """The board of the first screen: a line a claim, a column a sparsity, each cell with the number that decides.

    Arguments: words, comparisons, as verdicts.board gives; link, the address of a page with {} for its name, or "".
    """
    lines = []
    for claim in claims.CLAIMS.values():
        says = f"[{claim.sentence}]({link.format(claim.notebook)})" if link else claim.sentence
        of = comparisons[comparisons.claim == claim.id]
        cells = {removed(s): _cell(words.loc[claim.id, s], of[of.sparsity == s]) for s in words.columns}
        lines.append({"claim": f"**{claim.id}.** {says}", **cells})
    return pd.DataFrame(lines)


def _cell(word, lines):
    """One claim at one sparsity: its word, what is as claimed where only some is, the difference that decides."""
    asked = lines[lines.demanded] if len(lines) else lines
    if word == verdicts.NOT_RUN:
        return word
    left_out = asked[asked.word.isin(verdicts.LEFT_OUT)]
    read = asked.drop(left_out.index)
    if word == verdicts.SEEDS_MISSING:
        return f"{read.n.min()} of {read.asked.max()} seeds"
    said = [f"**{word}**"]
    if word == verdicts.IN_PART:
        said = [f"**{word}**, as claimed for {', '.join(style(key).label for key in read.key[read.as_claimed])}"]
    deciding = decides(read)
    if deciding is not None:
        numbers = [interval(deciding, f"{level(deciding)} interval ")] * (deciding.word in SHOWN)
        said.append(f"{deciding.label}: {', '.join([deciding.said, *numbers])}")
    if len(left_out) and len(read):
        said.append(f"left out: {', '.join(style(key).label for key in left_out.key)}")
    return "; ".join(said)


def decides(asked):
    """The demanded comparison on which a claim's word hangs: of those not as claimed, else of all, that of least slack.

    Returns: a line of `asked`, as verdicts.board gives them; None where there is none.
    """
    among = asked if asked.as_claimed.all() else asked[~asked.as_claimed]
    if among.empty:
        return None
    return among.loc[among.slack.astype(float).fillna(float("-inf")).idxmin()]


def interval(line, of=""):
    """A difference with the interval on which its word rests, "+0.64 (+0.08 to +1.21)"; "" without seeds."""
    return _interval(line["mean"], *verdicts.rests_on(line), of)


def level(line):
    """The confidence of that interval, "95 %"."""
    return f"{100 * verdicts.confidence(line):.3g} %"


def _interval(mean, low, high, of=""):
    if pd.isna(mean):
        return ""
    return f"{signed(mean)} ({of}{signed(low)} to {signed(high)})" if not pd.isna(low) else signed(mean)


def comparisons_table(comparisons):
    """Every comparison: its word, the difference with the interval that was read, and what stands beside them.

    Arguments: comparisons, as verdicts.board gives them, or some of its lines.
    """
    columns = ["claim", "difference", "removed", "word", "as claimed", "points (interval)", "level",
               "word at half the margin", "accuracies, %", "n", "runs with an empty layer"]  # fmt: skip
    return pd.DataFrame([_compared(line) for line in comparisons.to_dict("records")], columns=columns)


def read_table(lines):
    """Differences as they were read: word, points with the interval, accuracies, seeds.

    While seeds are missing nobody reads the numbers. Arguments: lines, DataFrame of label, sparsity and what
    verdicts.line_of gives.
    """
    return _hidden(pd.DataFrame([_read(line) for line in lines.to_dict("records")]), lines.word)


def _hidden(table, words):
    """A table of differences without the numbers of those of which seeds are missing."""
    table.loc[(words == verdicts.SEEDS_MISSING).to_numpy(), ["points (interval)", "accuracies, %"]] = ""
    return table


def _read(line):
    both = ("accuracy_a", "accuracy_b")
    return {
        "difference": line["label"],
        "removed": percent(line["sparsity"]),
        "word": f"{line['said']}: {line['why']}" if line["why"] else line["said"],
        "points (interval)": interval(line) if line["word"] in SHOWN else _interval(line["mean"], None, None),
        "accuracies, %": " and ".join(f"{line[which]:.2f}" for which in both) if line["n"] else "",
        "n": line["n"],
    }


def _compared(line):
    return _read(line) | {
        "claim": line["claim"] if line["demanded"] else f"beside {line['claim']}",
        "as claimed": ("yes" if line["as_claimed"] else "no") if line["demanded"] and line["word"] in SHOWN else "",
        "level": level(line) if line["word"] in SHOWN else "",
        "word at half the margin": line["said_at_half"] if line["word"] in SHOWN else "",
        "runs with an empty layer": f"{line['empty_a']} and {line['empty_b']}" if line["n"] else "",
    }


def arms_of(comparisons):
    """The arms of some comparisons with their sparsities, each once: list of text."""
    pairs_of = comparisons.sort_values("sparsity", kind="stable")
    arms = [f"{arm}@{s}" for b, a, s in zip(pairs_of.b, pairs_of.a, pairs_of.sparsity, strict=True) for arm in (b, a)]
    return list(dict.fromkeys(arms))


def accuracy_table(runs, arms):
    """Every arm by itself: accuracy at the last epoch, each seed, the best epoch, what the masks keep.

    Arguments: runs, as pairs.select gives; arms, with sparsity, as Config.arm.
    """
    return pd.DataFrame([_arm(arm, runs[runs.arm == arm].sort_values("seed")) for arm in arms])


def _arm(arm, of):
    name, _, sparsity = arm.partition("@")
    facts = {"ticket": style(name).label, "removed": percent(sparsity), "n": len(of)}
    if of.empty:
        return facts | {"accuracy, %": verdicts.NOT_RUN}
    mean = stats.t_interval(of.accuracy)
    spread = "" if mean.sd is None else f" (SD {mean.sd:.2f})"
    effective, share = of.effective_sparsity.mean(), 100 * of.classifier_share.mean()
    return facts | {
        "accuracy, %": f"{mean.point:.2f}{spread}",
        "each seed": ", ".join(f"{value:.2f}" for value in of.accuracy),
        "best epoch, %": f"{of.best_accuracy.mean():.2f}",
        "removed in effect": "" if pd.isna(effective) else f"{100 * effective:.2f} %",
        "classifier's share": "" if pd.isna(share) else f"{share:.1f} %",
        "with an empty layer": int((of.empty_layers > 0).sum()),
        "collapsed": int(of.collapsed.sum()),
    }


def controls_table(runs, arms):
    """What the manipulation checks of arms measured, smallest and largest over seeds, and in how many they passed.

    Arguments: runs, as pairs.select gives, the trained nets among them; arms, with sparsity.
    """
    lines = []
    for arm in arms:
        for measures, of in pairs.measurements(runs, arm).groupby("measures", sort=False):
            found = of.value.dropna()
            name, _, sparsity = arm.partition("@")
            lines.append({
                "ticket": style(name).label, "removed": percent(sparsity), "measured": measures,
                "wanted": of.wanted.iloc[0], "over seeds": span(found, 3) if len(found) else "not measured",
                "passed": f"{of.sound.sum()} of {len(of)}",
            })  # fmt: skip
    return pd.DataFrame(lines, columns=["ticket", "removed", "measured", "wanted", "over seeds", "passed"])


def elsewhere(frame, claim_ids, shown, profile="laptop"):
    """A claim's differences where it is not judged: at other sparsities and lengths, on other networks and data.

    They are described, each by a 95 % interval of its own, and get no word. Runs of the protocol's own plan are left
    out, so that nobody reads them before they are all there.
    Arguments: frame, as ledger.frame gives; claim_ids, of claims.CLAIMS; shown, the plan that the page's board reads.
    """
    where_made = frame[(frame.held_out == 0) & (frame.recipe > 0)][["network", "dataset", "epochs"]].drop_duplicates()
    names = {name: short for short, (name, *_) in PROFILES[profile].networks.items()}
    lines = []
    for network, dataset, epochs in where_made.sort_values(["network", "dataset", "epochs"]).itertuples(index=False):
        if network in names:
            runs = pairs.select(frame, profile, names[network], dataset=dataset, epochs=epochs)
            where = network if dataset == PROFILES[profile].dataset else f"{network} on {dataset}"
            lines += [{"where": title(where), "epochs": epochs} | line
                      for line in _described(_unjudged(runs, profile, shown), claim_ids)]  # fmt: skip
    columns = ["where", "epochs", "difference", "removed", "points (95 % interval)", "n", "seeds"]
    return pd.DataFrame(lines, columns=columns)


def _unjudged(runs, profile, shown):
    """The runs that no board and no grid's page reads: of neither the plan that is shown, nor the protocol's."""
    runs = without_more_runs(runs)
    for plan in (shown, claims.protocol()):
        names = PROFILES[profile]
        own = (runs.network == names.networks["resnet"][0]) & (runs.dataset == names.dataset)
        level = runs.sparsity.isin(plan.sparsities)
        runs = runs[~(own & level & (runs.epochs == plan.epochs) & runs.seed.isin(plan.seeds))]
    return runs


def _described(runs, claim_ids):
    """The differences of claims with two seeds or more, at every sparsity of some runs: lines of `elsewhere`."""
    arms = set(runs.arm)
    for one in (one for claim in claim_ids for one in claims.CLAIMS[claim].comparisons):
        for sparsity in sorted(runs.sparsity.unique(), key=float):
            a, b = f"{one.a}@{sparsity}", f"{one.b}@{sparsity}"
            if {a, b} <= arms and len((found := pairs.difference(runs, a, b)).points) > 1:
                yield {
                    "difference": one.label, "removed": percent(sparsity),
                    "points (95 % interval)": _alone(found), "n": len(found.points),
                    "seeds": span(found.points.index, 0),
                }  # fmt: skip


def _alone(difference):
    """A difference that no claim reads, with its own interval; where networks are dead or alive it has none."""
    against = [*difference.untested, *(f"they differ in {what}" for what in difference.refused)]
    if against:
        return f"not read: {against[0]}"
    mean = stats.t_interval(difference.points, 0.95)
    if difference.collapsed:
        return f"{signed(mean.point)}, no interval: {difference.collapsed} of {2 * mean.n} runs collapsed"
    return _interval(mean.point, mean.low, mean.high)


# the board's own page


class Boards:
    """What the board's page calls `boards`: every method returns a table of the book's rows as Markdown.

    Arguments of all: plan, a name of PLANS.
    """

    def claims(self, plan):
        """The claims by sparsity."""
        return markdown(claims_table(*judged(plan)[:2], link="claims/{}"))

    def comparisons(self, plan):
        """Every comparison; while seeds are missing nobody reads its numbers."""
        _, comparisons, _ = judged(plan)
        return markdown(_hidden(comparisons_table(comparisons), comparisons.word))

    def otherwise(self, plan):
        """What the claims' words would be with the accuracy of the best epoch, and at half the margin."""
        fixed, runs = PLANS[plan](), ledger_frame()
        best = runs.assign(accuracy=runs.accuracy.where(runs.diverged, runs.best_accuracy))
        words = {"word": judged(plan)[0], "by the best epoch": verdicts.board(best, fixed)[0],
                 "at half the margin": verdicts.board(runs, replace(fixed, margin=fixed.margin / 2))[0]}  # fmt: skip
        table = pd.DataFrame({what: of.stack() for what, of in words.items()}).rename_axis(["claim", "removed"])
        return markdown(table.reset_index().assign(removed=lambda t: t.removed.map(percent)))

    def images(self, plan):
        """Standard errors of every difference over seeds and over test images, in points."""
        correct = {row["name"]: row.correct for row in ledger_rows() if row["kind"] == "run" and "correct" in row}
        _, comparisons, runs = judged(plan)
        lines = []
        for one in comparisons[comparisons.n > 1].itertuples():
            a, b = (runs[runs.arm == f"{arm}@{one.sparsity}"].set_index("seed").name for arm in (one.a, one.b))
            table = [100.0 * correct[a[seed]] - 100.0 * correct[b[seed]] for seed in one.points.index]
            over = stats.standard_errors(np.array(table))
            facts = dict(claim=one.claim, difference=one.label, removed=percent(one.sparsity))
            lines.append(facts | {"over seeds": f"{over[0]:.2f}", "over test images": _above_zero(over[1]),
                                  "both": f"{np.hypot(*over):.2f}"})  # fmt: skip
        return markdown(pd.DataFrame(lines))

    def kinds(self, plan):
        """Which kinds of machine made which seeds."""
        runs = judged(plan)[2]
        kinds = verdicts.kinds_by_seed(runs, runs.name).rename("kind of machine").reset_index()
        counted = kinds.assign(runs=kinds.seed.map(runs.groupby("seed").size()))
        table = counted.groupby("kind of machine", as_index=False).agg(
            seeds=("seed", lambda seeds: ", ".join(map(str, seeds))), runs=("runs", "sum")
        )
        return markdown(table)

    def outside(self, plan):
        """How many runs of the ledger a plan leaves out."""
        table = verdicts.outside(ledger_frame(), PLANS[plan]())
        grouped = table.groupby(["network", "dataset", "epochs"], as_index=False)
        return markdown(grouped.agg(
            removed=("sparsity", lambda of: ", ".join(map(percent, sorted(of, key=float)))), runs=("runs", "sum"),
            first=("first_seed", "min"), last=("last_seed", "max")
        ).rename(columns={"first": "first seed", "last": "last seed"}))  # fmt: skip

    def spread(self, plan, sparsity, claim="", key="", above=0.0):
        """Standard deviation over seeds of a comparison's differences, in points; the median of all without a claim.

        Raises: TicketError where it is not above what the page says.
        """
        of = judged(plan)[1].query("sparsity == @sparsity and n > 1")
        of = of.query("claim == @claim and key == @key") if claim else of
        found = np.median([points.std() for points in of.points])
        if not found > above:
            raise TicketError(f"the spread of {claim} {key} at {sparsity} is {found}; a sentence says above {above}.")
        return f"{found:.2f}"

    def power(self, plan):
        """What so many seeds can show, for spreads of paired differences that were seen."""
        fixed, lines = PLANS[plan](), []
        n = len(fixed.seeds)
        for sd in SPREADS:
            alone, first = stats.ALPHA, stats.ALPHA / 4
            reach = [f"±{stats.half_width(n, sd, 1 - 2 * alpha):.2f}" for alpha in (alone, first)]
            power = [f"{100 * stats.tost_power(n, sd, fixed.margin, alpha):.0f} %" for alpha in (alone, first)]
            lines.append([f"{sd:g}", reach[0], power[0], reach[1], power[1]])
        columns = ["spread of the differences, points", "90 % interval", "chance of *same*",
                   "at Holm's first step of four", "chance of *same* there"]  # fmt: skip
        return markdown(pd.DataFrame(lines, columns=columns))


@functools.cache
def judged_by(plan):
    """The book's rows judged by a claims.Plan: (words, comparisons, the runs that were read)."""
    return *verdicts.board(ledger_frame(), plan), pairs.planned(ledger_frame(), plan)


@functools.cache
def _own_plan():
    return shown_plan(ledger_frame())


PLANS = {"protocol": claims.protocol, "exploratory": lambda: claims.EXPLORATORY, "shown": _own_plan}


def judged(plan):
    """The book's rows judged by a plan of PLANS: as `judged_by`."""
    return judged_by(PLANS[plan]())


def history():
    """The file that keeps every change of a word, with its date."""
    return places.book_ledger().parent / "verdicts.json"


def record(frame, date):
    """Add today's words to the history, where they are all there and one has changed; whether it was added.

    Arguments: frame, as ledger.frame gives; date, year-month-day.
    """
    fixed = claims.protocol()
    words, _ = verdicts.board(frame, fixed)
    if not _has_words(words):
        return False
    said = {f"{claim} at {percent(s)}": words.loc[claim, s]
            for claim in words.index for s in claims.CLAIMS[claim].sparsities}  # fmt: skip
    entries = json.loads(history().read_text(encoding="utf-8"))
    if said == entries[-1]["words"]:
        return False
    recipes = sorted(map(int, pairs.planned(frame, fixed).recipe.unique()))
    entries.append({"date": date, "protocol": claims.VERSION, "recipes": recipes, "words": said})
    history().write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return True
