"""The verdict board: one line a claim, computed from the book's ledger, for the front page and README."""

import json
import textwrap
from collections import Counter

from ticketbook import checks, drawings
from ticketbook import verdicts_1 as verdicts
from ticketbook.claims_1 import CLAIMS
from ticketlib.analysis import evidence
from ticketlib.analysis.words import points, signed, span
from ticketlib.experiments import places

PROTOCOL = places.ROOT / "book" / "protocol_1.json"  # of version 1: margin and n, written by hand once, before its runs
BADGES = {"holds": "success", "holds in part": "warning", "does not hold": "danger", "undecided": "secondary"}
NO_WORD = "no verdict"  # in the history: not run, provisional, not defined here
SEEN = 3  # margins from zero to the edge of a drawn effect; what lies beyond is drawn at the edge
HIDES = (
    "Claims are judged on a mean over two sparsities. Here the two differ, in points (each read by a 95 % interval of "
    "its own)"
)
TURNED = (
    "Elsewhere some differences come out the other way. They have few seeds and no verdict, and are read alone, each "
    "by an interval of its own; collapsed runs are counted and bar nothing"
)
MIDDLE, PER_MARGIN = 244, 20  # of a drawn effect, in its units: where zero is, and how wide a margin


def protocol():
    """The numbers the protocol fixed: version, margin in points, seeds, reason; None until the pilot is done."""
    return json.loads(PROTOCOL.read_text(encoding="utf-8")) if PROTOCOL.is_file() else None


def judged(rows, profile="laptop"):
    """All claims judged from rows: dict from claim id to verdicts.Judged; empty until the protocol is fixed."""
    fixed = protocol()
    if fixed is None:
        return {}
    return {claim: evidence.judge(rows, claim, profile, fixed["margin"], fixed["seeds"]) for claim in CLAIMS}


def said(judgements):
    """The word and the sentence of every claim, from what `judged` gives: dict from claim id to (word, sentence)."""
    return {
        claim: (judgements[claim].word, judgements[claim].sentence) if judgements else (verdicts.NOT_RUN,) * 2
        for claim in CLAIMS
    }


def drawn(rows, chapters):
    """The board of the front page, Markdown: claim and word, effects with intervals drawn small, seeds and device.

    Arguments: rows, of the ledger; chapters, names of the notebooks whose pages are there to link to.
    """
    judgements, arms = judged(rows), evidence.select(rows, "laptop")
    lines = ["| what the paper says, and the verdict | comparisons, in points | seeds, device |", "| --- | --- | --- |"]
    for name, (word, sentence) in said(judgements).items():
        claim = CLAIMS[name]
        says = f"[{claim.sentence}](claims/{claim.notebook})" if claim.notebook in chapters else claim.sentence
        badge = f"{{bdg-{BADGES.get(word, 'light')}}}`{word}`"
        effects = "–" if word == verdicts.NOT_RUN else effect_picture(judgements[name], sentence)
        seeds = count_and_device(judgements.get(name), arms)
        lost = lost_runs(judgements[name], arms) if judgements else ""
        seeds += f"; {lost}" if lost else ""
        lines.append(f"| **{name}.** {says} {badge} | {effects} | {seeds} |")
    return "\n".join([":::{table}", ":class: board", "", *lines, ":::", "", scope()])


def summary(rows):
    """How many claims have which word, as one sentence."""
    words = [word for word, _ in said(judged(rows)).values()]
    counted = [f"{words.count(word)} *{word}*" for word in (*verdicts.WORDS, *verdicts.NO_VERDICT) if word in words]
    return f"**Of {len(words)} claims: {', '.join(counted)}.**"


def barred(rows):
    """What collapsed runs rule out while seeds are still to come, in two sentences; "" where they rule out nothing."""
    still_open = [one for one in judged(rows).values() if one.word == verdicts.PROVISIONAL]
    compared = [pair for one in still_open for pair in one.compared]
    collapsed = sum(pair.collapsed > 0 for pair in compared)
    if not collapsed:
        return ""
    best = {word: [one.claim.id for one in still_open if verdicts.at_best(one) == word] for word in verdicts.WORDS[1:]}
    can_be = "; ".join(f"{', '.join(ids)} *{word}*" for word, ids in best.items() if ids)
    of = f"{collapsed} of {len(compared)} comparisons"
    text = f"Collapsed runs bar *holds* for {of}, whatever seeds are still to come."
    return f"{text} At best the words will be: {can_be}." if can_be else text


def uneven(judged_claim, arms):
    """Every comparison of which the mean over sparsities hides something, with the difference at each, as phrases."""
    claim, fixed, phrases = judged_claim.claim, protocol(), []
    for pair, one in zip(checks.minus(claim.comparisons), judged_claim.compared, strict=True):
        found = evidence.uneven(arms, pair, one.kind, fixed["margin"], claim.sparsities, fixed["seeds"])
        at = " and ".join(f"{signed(estimate.point)} at {s}" for s, estimate in found.items())
        phrases += [f"{pair.label} {at}"] if found else []
    return phrases


def hidden(rows):
    """What means over sparsities hide, as sentences; "" where they hide nothing."""
    arms = evidence.select(rows, "laptop")
    found = [f"{claim}, {phrase}" for claim, one in judged(rows).items() for phrase in uneven(one, arms)]
    return f"{HIDES}: {'; '.join(found)}. Single sparsities are described, not judged." if found else ""


def elsewhere(rows):
    """Where few seeds at another sparsity, on another network or other data come out the other way than a verdict.

    Named are differences that read against a comparison that did not fail, and as claimed for one that failed.
    Returns: sentences; "" where there are none, or no verdict yet.
    """
    found, phrases = checks.by_place(rows, "laptop"), []
    for claim, one in judged(rows).items():
        words = {pair.comparison.key: pair.verdict.word for pair in one.compared}
        for other in checks.beside(found, one.claim, checks.SPARSITIES, protocol()["margin"]):
            own = words[other.pair.key]
            turned = verdicts.HOLDS if own == verdicts.FAILS else verdicts.FAILS
            if own in verdicts.WORDS and other.word == turned:
                phrases.append(f"{claim}, {checks.told(other)}")
    return f"{TURNED}: {'; '.join(phrases)}." if phrases else ""


def otherwise(rows, **how):
    """Every claim judged as the protocol does, and otherwise: dict claim -> (Judged, Judged); {} until all have a word.

    Arguments: rows, of the ledger; how, arguments of evidence.judge that change.
    """
    fixed, usual = protocol(), judged(rows)
    if not usual or any(one.word not in verdicts.WORDS for one in usual.values()):
        return {}
    how = dict(margin=fixed["margin"], n_required=fixed["seeds"]) | how
    return {claim: (one, evidence.judge(rows, claim, "laptop", **how)) for claim, one in usual.items()}


def _words(both):
    """Which words of claims change, and which stay, in words; both, as `otherwise` gives."""
    moved = [f"{claim} would be *{new.word}*" for claim, (old, new) in both.items() if new.word != old.word]
    kept = [claim for claim, (old, new) in both.items() if new.word == old.word]
    stay = f"{', '.join(kept)} would keep {'their words' if len(kept) > 1 else 'its word'}"
    return "; ".join([*moved, *([stay] if kept else [])])


def without_empty(rows):
    """What the words would be if an empty layer alone were no collapse, as sentences; "" until all claims have one."""
    both, arms = otherwise(rows, bars=evidence.collapsed_in_training), evidence.select(rows, "laptop")
    if not both:
        return ""
    used = {row["name"]: row for one, _ in both.values() for row in behind(one, arms)}.values()
    lost = sum(map(evidence.collapsed_in_training, used)) or "none"
    return (f"If an empty layer alone were no collapse: {_words(both)}. Of the {len(used)} runs behind the words, "
            f"{lost} diverged or ended below twice guessing.")  # fmt: skip


def at_half_margin(rows):
    """What the words of claims and of comparisons would be at half the margin, as sentences; "" until all have one."""
    both = otherwise(rows, margin=protocol()["margin"] / 2) if protocol() else {}
    moved = [f"{new.comparison.label} (claim {claim}) *{new.verdict.word}*" for claim, pair in both.items()
             for old, new in zip(*(one.compared for one in pair), strict=True)
             if old.verdict.word != new.verdict.word]  # fmt: skip
    single = f" Single comparisons would be: {', '.join(moved)}." if moved else ""
    return f"At half the margin: {_words(both)}.{single}" if both else ""


def behind(judged_claim, arms):
    """The rows that a verdict reads, each once: those of its comparisons' whole seeds, up to the protocol's n."""
    claim, found = judged_claim.claim, {}
    for c in claim.comparisons:
        of = [arms.get(key, {}) for arm in (c.a, c.b) for key in claim.keys(arm)]
        whole = [seed for seed in set.intersection(*map(set, of)) if seed < protocol()["seeds"]]
        found |= {by_seed[seed]["name"]: by_seed[seed] for by_seed in of for seed in sorted(whole)}
    return list(found.values())


def lost_runs(judged_claim, arms):
    """How many of a claim's runs collapsed and how; that comparisons share some, where their counts add up to more."""
    rows = behind(judged_claim, arms)
    times = Counter(arm for c in judged_claim.claim.comparisons for arm in (c.a, c.b))
    shared = any(times[row["arm"].partition("@")[0]] > 1 for row in rows if evidence.collapsed(row))
    counted = evidence.collapses(rows)
    return f"{counted.replace(' (', ' in all (', 1)}; comparisons share runs" if shared else counted


def count_and_device(judged_claim, arms):
    """How many seeds a claim's rows have, and on what they were made; says so where there are none."""
    seeds = [one.estimate.n for one in judged_claim.compared] if judged_claim else []
    if not any(seeds):
        return "no runs"
    made = sorted({f"{row['device']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
                   for row in behind(judged_claim, arms)})  # fmt: skip
    return f"n = {span(seeds, 0)}, {'; '.join(made)}"


def effect_picture(judged_claim, sentence):
    """The comparisons of a claim as a small picture: estimate, Holm-adjusted interval, the margin as a grey band.

    A comparison that is not ready for its interval shows its words instead; where none is, there is no line at zero.
    Superiority has no margin, so no band.
    """
    margin, height = protocol()["margin"], 30 * len(judged_claim.compared)
    ready = any(one.ready for one in judged_claim.compared)
    parts = [drawings.line(MIDDLE, 0, MIDDLE, height, width=0.8)] if ready else []
    for i, one in enumerate(judged_claim.compared):
        parts += [drawings.text(0, 30 * i + 12, one.comparison.label), *_effect(one, 30 * i, margin)]
    return drawings.svg(MIDDLE + SEEN * PER_MARGIN + 6, height, parts, sentence.replace("|", "/"))


def _effect(one, y, margin):
    """The drawing of one comparison, its words beneath its label."""
    if not one.ready:
        _, _, more = one.verdict.sentence.partition("; ")  # the seeds stand beside the picture
        text = more or "no collapsed runs" if one.verdict.word == verdicts.PROVISIONAL else one.verdict.sentence
        return [drawings.text(0, y + 25, textwrap.shorten(text, 50, placeholder=" ..."), size=11)]
    low, point, high = (_x(value, margin) for value in (one.adjusted.low, one.adjusted.point, one.adjusted.high))
    ends = f"{signed(one.adjusted.low)} to {signed(one.adjusted.high)}"
    barred = " (collapse)" * (verdicts.BARRED in one.verdict.sentence)
    words = f"{one.verdict.word}{barred}: {signed(one.adjusted.point)} ({ends})"
    band = [drawings.band(_x(-margin, margin), y, 2 * PER_MARGIN, 16)] if one.kind != "superiority" else []
    bar = drawings.line(low, y + 8, high, y + 8, width=3, colour=drawings.ACCENT)
    return [*band, bar, drawings.dot(point, y + 8), drawings.text(0, y + 25, words, size=11)]


def _x(value, margin):
    """Where a difference in points stands in the drawing; beyond the edge, at the edge."""
    return MIDDLE + PER_MARGIN * max(-SEEN, min(SEEN, value / margin))


def table(rows):
    """The board as a Markdown table for README: claim, verdict with effect, interval and n; then what to know of it."""
    lines = ["| claim | what the paper says | what we found |", "| --- | --- | --- |"]
    words = said(judged(rows))
    for claim, (_, sentence) in words.items():
        lines.append("| " + " | ".join([claim, CLAIMS[claim].sentence, sentence.replace("|", "/")]) + " |")
    unworded = no_words(word for word, _ in words.values())
    told = [scope(), unworded, barred(rows), hidden(rows), elsewhere(rows), without_empty(rows)]
    return "\n".join([*lines, *(line for text in told if text for line in ("", text))])


def no_words(words):
    """The line under README's board that explains words which are no verdict; "" where there are none."""
    words = set(words)
    there = [f"*{word.capitalize()}*" for word in (verdicts.NOT_RUN, verdicts.PROVISIONAL) if word in words]
    are = "are no verdicts" if len(there) > 1 else "is no verdict"
    return f"{' and '.join(there)} {are}: runs that would decide are not there yet." if there else ""


def scope():
    """The line under the board that says where its verdicts apply, and the margin; "" until both are fixed."""
    fixed = protocol()
    if fixed is None:
        return ""
    return f"Scope of every verdict: {evidence.scope('laptop')}. The margin is {points(fixed['margin'])}."


def history():
    """The file that keeps every change of a verdict with its date; it is there from the first verdict on."""
    return places.book_ledger().parent / "verdicts.json"


def record(rows, date):
    """Append today's words to the history where one has changed; nothing until the protocol is fixed.

    Arguments: rows, of the ledger; date, year-month-day. Returns: whether something was added.
    """
    words = {claim: word if word in verdicts.WORDS else NO_WORD for claim, (word, _) in said(judged(rows)).items()}
    fixed, entries = protocol(), changes()
    if fixed is None or words == (entries[-1]["words"] if entries else dict.fromkeys(CLAIMS, NO_WORD)):
        return False
    recipes = sorted({row.config.recipe for of in evidence.select(rows, "laptop").values() for row in of.values()})
    entries.append({"date": date, "protocol": fixed["versions"][-1][0], "recipes": recipes, "words": words})
    history().write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return True


def changes():
    """The history: list of dicts with date, protocol (version), recipes (versions) and words (claim -> word)."""
    return json.loads(history().read_text(encoding="utf-8")) if history().is_file() else []


def changelog():
    """Every change of a verdict as a Markdown list, newest first."""
    lines, before = [], dict.fromkeys(CLAIMS, NO_WORD)
    for entry in changes():
        changed = [f"{c}: *{before[c]}* → *{word}*" for c, word in entry["words"].items() if word != before[c]]
        versions = f"protocol {entry['protocol']}, recipe {', '.join(map(str, entry['recipes']))}"
        lines.append(f"- {entry['date']} ({versions}): {'; '.join(changed)}")
        before = entry["words"]
    return "\n".join(reversed(lines)) or "No claim has a verdict yet."
