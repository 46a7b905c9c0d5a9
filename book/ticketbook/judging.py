"""What a chapter says of its claims before anything else: the words, where they apply, and why."""

from IPython.display import DisplayHandle, Markdown

from ticketbook import board_1 as board
from ticketbook import checks
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CLAIMS
from ticketlib.analysis import evidence, stats
from ticketlib.analysis import words as prose
from ticketlib.analysis.words import span
from ticketlib.experiments import session

ORDER = (*verdicts.WORDS, *verdicts.NO_VERDICT)


def show_verdict(run, *claim_ids):
    """Show the verdicts of claims; returns a function that shows them anew in the same place, after runs were made."""
    line = DisplayHandle()
    line.display(Markdown(verdict(run, *claim_ids)))
    return lambda: line.update(Markdown(verdict(run, *claim_ids)))


def verdict(run, *claim_ids):
    """The verdicts of claims from the rows of this ledger, as Markdown: word, scope, why, and what to hold it against.

    Arguments: run, nb.NotebookRun; claim_ids, of claims.CLAIMS, one or more that share a page.
    """
    names = f"Claim{'s' * (len(claim_ids) > 1)} {' and '.join(claim_ids)}"
    if run.profile == "smoke":
        return (
            f"**{names}: no verdict on this page.** It was made with the profile `smoke`: a tiny network and "
            "tiny images. They show how things work. They decide nothing."
        )
    fixed = board.protocol()
    if fixed is None:
        return f"**{names}: {verdicts.NOT_RUN}.** The protocol has not fixed a margin and a number of seeds."
    rows = session.rows_of(run)
    found = [evidence.judge(rows, claim, run.profile, fixed["margin"], fixed["seeds"]) for claim in claim_ids]
    arms = evidence.select(rows, run.profile)
    said = [_judged(one, arms, run.profile) for one in found]
    if any(one.word != verdicts.NOT_RUN for one in found):
        said.append(_held_against(found, rows, run.profile, fixed))
    return "\n\n".join(said)


def beside_others(run, claim_id):
    """This ledger's differences of a claim, to read beside those of others, as Markdown; "" with profile `smoke`."""
    fixed = board.protocol()
    if run.profile == "smoke" or fixed is None:
        return ""
    found = evidence.judge(session.rows_of(run), claim_id, run.profile, fixed["margin"], fixed["seeds"])
    pairs = zip(checks.minus(found.claim.comparisons), found.compared, strict=True)
    said = "; ".join(f"{pair.label}: {verdicts.effect(one.estimate)}" for pair, one in pairs)
    return (
        f"**This book's, beside them** ({evidence.scope(run.profile)}; the mean over "
        f"{' and '.join(found.claim.sparsities)} removed; intervals before Holm's method, "
        f"which are never wider than those that decide): {said}."
    )


UNJUDGED = (
    "**Where no verdict is given.** Other sparsities, the second network and other data have few seeds. Each "
    "difference is read alone here, by an interval of its own and by the margin where its test has one. Nothing is "
    "adjusted for their number. This describes, and decides nothing. Collapsed runs are counted and bar nothing: a "
    "lead over a ticket that collapsed may be a rescue."
)
LIES = {verdicts.HOLDS: "As claim {} says", verdicts.FAILS: "Against claim {}",
        verdicts.UNDECIDED: "Unsettled for claim {}"}  # fmt: skip


def elsewhere(run, found, *claim_ids):
    """How differences of claims lie where no verdict is given: at other sparsities, on other networks and data.

    Arguments: run, nb.NotebookRun; found, as `checks.rows` gives; claim_ids, of claims.CLAIMS.
    Returns: Markdown; "" with the profile `smoke`, or where nothing of the kind was measured with two seeds or more.
    """
    fixed, lines = board.protocol(), []
    if run.profile == "smoke" or fixed is None:
        return ""
    for claim in claim_ids:
        listed = checks.beside(found, CLAIMS[claim], checks.sparsities(run), fixed["margin"])
        for word, lies in LIES.items():
            of = [checks.told(one) for one in listed if one.word == word]
            lines += [f"- *{lies.format(claim)}* ({len(of)}): {'; '.join(of)}."] if of else []
    data = checks.other_data(found)
    parts = [UNJUDGED, "\n".join(lines), *([f"*The runs on other data.* {data}"] if data else [])]
    return "\n\n".join(parts) if lines else ""


def _judged(found, arms, profile):
    """One judged claim: its word, where it applies, every comparison, seeds and device, collapsed runs."""
    where = f"{evidence.scope(profile)}; the mean over {' and '.join(found.claim.sparsities)} of the weights removed"
    text = f"**Claim {found.claim.id}: {found.word}.** {_by_word(found)}Where it applies: {where}."
    if found.word == verdicts.NOT_RUN:
        return f"{text} The runs that would decide it are not in this ledger."
    lines = [(pair.label, told(one.verdict, one.estimate))
             for pair, one in zip(checks.minus(found.claim.comparisons), found.compared, strict=True)]  # fmt: skip
    made = f"Made with {board.count_and_device(found, arms)}. {_collapsed(board.behind(found, arms))}".strip()
    if found.word == verdicts.PROVISIONAL and len(lines) > 1:
        made += " The intervals shown so far are those before Holm's method, which only ever widens them."
    if hidden := board.uneven(found, arms):
        made += f" **The two sparsities differ**, in points: {'; '.join(hidden)}."
    return f"{text}\n\n{prose.table(('difference', 'what we found'), lines)}\n\n{made}"


def told(verdict, estimate):
    """A verdict's sentence with its numbers; before there is a verdict, the numbers so far."""
    so_far = verdict.word == verdicts.PROVISIONAL
    return f"{verdict.sentence}; so far {verdicts.effect(estimate)}" if so_far else verdict.sentence


def _by_word(found):
    """Which comparisons have which word, where they differ; "" where they do not, or where there is no word yet."""
    words = sorted({one.verdict.word for one in found.compared}, key=ORDER.index)
    if found.word not in verdicts.WORDS or len(words) == 1:
        return ""
    of = {word: [one.comparison.label for one in found.compared if one.verdict.word == word] for word in words}
    return " ".join(f"*{word.capitalize()}*: {', '.join(labels)}." for word, labels in of.items()) + " "


def _collapsed(rows):
    """How many runs collapsed and how; what it means that some have an empty layer and are accurate all the same."""
    said = evidence.collapses(rows)
    thin = [evidence.accuracy(row) for row in rows if evidence.collapse(row) == evidence.EMPTY]
    text = f"{said.capitalize()}, of {len(rows)} in all. " if said else ""
    if thin:
        text += (
            "A run with an empty layer counts as collapsed, whatever its accuracy, and bars the word *holds*. "
            f"The runs with an empty layer ended at {span(thin)} %."
        )
    return text


def _held_against(found, rows, profile, fixed):
    """The margin, where a claim has one, and the positive control, where no comparison of a claim is that anyway."""
    claims = [one.claim for one in found]
    said = []
    if any(part.kind != "superiority" for claim in claims for part in claim.parts):
        said.append(f"The margin is ±{prose.points(fixed['margin'])}.")
    if not any((c.a, c.b) == ("smart", "uniform") for claim in claims for c in claim.comparisons):
        said.append(positive_control(rows, profile, fixed["seeds"]))
    return " ".join(said)


def positive_control(rows, profile, seeds):
    """What a difference that matters looks like here, in one sentence: smart ratio minus uniform.

    Arguments: rows, of a ledger; profile; seeds, how many of them count.
    """
    points, flags = evidence.compare(evidence.select(rows, profile), "smart", "uniform", CLAIMS["C"].sparsities, seeds)
    if not len(points) or flags.refused or flags.not_defined:
        return "For comparison, smart ratio minus uniform is not known here yet."
    effect = verdicts.effect(stats.t_interval(points))
    return f"For comparison, smart ratio minus uniform (only the keep-counts differ) is {effect}."
