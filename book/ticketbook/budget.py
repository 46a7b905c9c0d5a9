"""The pilot in words and tables: every word follows from the numbers by a rule that the page states."""

import numpy as np

from ticketbook import checks, pilot, stats_1
from ticketbook import verdicts_1 as verdicts
from ticketbook.pilot import CONTRASTS, FLAT, cells, flat_from, paired
from ticketlib.analysis import evidence
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import style
from ticketlib.analysis.words import signed
from ticketlib.experiments import profiles


def verdict(run, arms):
    """The pilot's answer as Markdown: how much of it is there, and which differences have flattened by when."""
    there, planned = pilot.progress(run, arms)
    if not any(arms.values()):
        return f"**{verdicts.NOT_RUN.capitalize()}.** The pilot plans {planned} runs; this ledger has none of them."
    counting = profiles.PROFILES[run.profile].training["epochs"]
    longest = max(max(of, default=0) for of in arms.values())
    curves = {contrast.label: paired(arms, contrast) for contrast in CONTRASTS}
    flat = [label for label, curve in curves.items() if counting in curve and (flat_from(curve) or counting) < counting]
    rest = [label for label in curves if label not in flat]
    lines = [f"**{there} of {planned} runs are here.** The runs that count train for {counting} epochs."]
    lines += [f"Flat by then, by the rule below: {'; '.join(flat) or 'nothing'}."]
    lines += [f"Not flat by then, or not known: {'; '.join(rest)}."] if rest else []
    lines += [f"The pilot's longest training is {longest} epochs; twice the length that counts stands below."]
    differ = pilot.refused(arms)
    lines += [f"Pairs were left out because of {', '.join(differ)}."] if differ else []
    lines += ["Digits and a tiny network: this decides nothing."] if run.profile == "smoke" else []
    return " ".join(lines)


def sentences(arms):
    """One sentence for each difference, its words chosen by its numbers, as a Markdown list; what the words look at."""
    curves = {contrast.label: cells(paired(arms, contrast)) for contrast in CONTRASTS}
    lines = [f"- {label}: {_sentence(curve)}" for label, curve in curves.items()]
    if any(len(curve) > 1 for curve in curves.values()):
        lines += ["", "*Flat*, in the table, looks at each step. These words look at the whole way."]
    return "\n".join(lines)


def _sentence(curve):
    if not curve:
        return f"{verdicts.NOT_RUN}."
    (first, (_, before)), (last, (_, after)) = list(curve.items())[0], list(curve.items())[-1]
    if first == last:
        return f"{signed(before.point)} points after {first} epochs (n = {before.n}), the only length here."
    change = after.point - before.point
    if abs(change) < FLAT:
        word = "It hardly moves"
    elif before.point * after.point < 0:
        word = "It changes sides"
    else:
        word = "It shrinks" if abs(after.point) < abs(before.point) else "It grows"
    zero = "has no interval" if after.low is None else (
        f"has {'zero inside' if after.low <= 0 <= after.high else 'zero outside'} its interval"
    )
    return (
        f"{signed(before.point)} points after {first} epochs, {signed(after.point)} after {last}. "
        f"{word}. The last one {zero} (n = {after.n})."
    )


def accuracy_table(arms):
    """(column titles, lines): mean accuracy of each arm at each length with its spread, and from where it is flat."""
    return _table("ticket", {style(arm).label: curve for arm, curve in pilot.accuracies(arms).items()}, _accuracy)


def difference_table(arms, book):
    """(column titles, lines): each paired difference with its 95 % interval; the book's beneath where it has them."""
    curves = {}
    for contrast in CONTRASTS:
        curves[contrast.label] = paired(arms, contrast)
        of_book = paired(book, contrast)
        curves |= {f"{contrast.label}, the book's": of_book} if of_book else {}
    return _table("difference", curves, checks.effect)


def _table(first, curves, written):
    lengths = sorted({epochs for curve in curves.values() for epochs in curve})
    lines = [
        [label, *_cells(curve, lengths, written),
         flat_from(curve) or ("not shown" if curve else verdicts.NOT_RUN)]
        for label, curve in curves.items()
    ]  # fmt: skip
    return [first, *(f"{epochs} epochs" for epochs in lengths), "flat from"], lines


def _accuracy(estimate):
    spread = "" if estimate.sd is None else f"SD {estimate.sd:.2f}, "
    return f"{estimate.point:.2f} ({spread}n = {estimate.n})"


def spread(run, arms):
    """How much differences vary over seeds, as Markdown: standard deviations, and how many seeds the largest asks for.

    The first sentence takes the largest at the length that counts, as the protocol does; the second, over all lengths.
    """
    found, counting = pilot.spreads(arms), profiles.PROFILES[run.profile].training["epochs"]
    if not found:
        return "No difference has two seeds yet, so there is no spread to plan with."
    lengths = sorted({epochs for _, epochs in found})
    lines = [
        [contrast.label, *(f"{found[contrast.label, e]:.2f}" if (contrast.label, e) in found else "" for e in lengths)]
        for contrast in CONTRASTS
    ]
    at = {key: sd for key, sd in found.items() if key[1] == counting}
    said = [_largest(f"At {counting} epochs, the length that counts", at)] if at else []
    said += [_largest("Over all lengths", found)]
    return "\n".join([prose.table(["difference", *(f"{e} epochs" for e in lengths)], lines), "", *said])


def _largest(where, found):
    (label, epochs), sd = max(found.items(), key=lambda item: item[1])
    length = f" ({epochs} epochs)" if len({of for _, of in found}) > 1 else ""
    return (
        f"- {where}, the largest spread is that of {label}{length}. "
        f"{stats_1.seeds_needed(sd, pilot.margin()).sentence}"
    )


def costs(arms):
    """What a run took, as Markdown: the median seconds at each length, of the dense net and of the tickets."""
    lines = []
    for name, of in (("dense", ["dense"]), ("a ticket", [arm for arm in arms if arm != "dense"])):
        lengths = sorted({epochs for arm in of for epochs in arms[arm]})
        took = {e: [row["seconds"] for arm in of for row in arms[arm].get(e, {}).values()] for e in lengths}
        said = ", ".join(f"{np.median(seconds):.3g} s for {epochs} epochs" for epochs, seconds in took.items())
        lines.append(f"- {name}: {said or verdicts.NOT_RUN}")
    return "\n".join(lines)


def longer_table(arms):
    """Accuracies and differences at the length that counts and at twice it, and the change, as Markdown.

    Arguments: arms, as `pilot.doubled` gives. The change is taken within the seeds that have both lengths.
    """
    lengths = sorted({epochs for of in arms.values() for epochs in of})
    if len(lengths) < 2:
        word = "Only the length that counts has runs so far" if lengths else verdicts.NOT_RUN.capitalize()
        return f"**{word}.**"
    contrasts = {contrast.label: paired(arms, contrast) for contrast in longer_contrasts()}
    curves = {style(arm).label: curve for arm, curve in pilot.accuracies(arms).items()}
    lines = [[label, *_cells(curve, lengths, _accuracy), _change(curve)] for label, curve in curves.items()]
    lines += [[label, *_cells(curve, lengths, checks.effect), _change(curve)] for label, curve in contrasts.items()]
    table = prose.table(["", *(f"{epochs} epochs" for epochs in lengths), "change within the same seeds"], lines)
    rows = [row for of in arms.values() for at in of.values() for row in at.values()]
    said = ["The last column is what the longer training changes, within the seeds that have both."]
    said += [f"{collapsed.capitalize()}."] if (collapsed := evidence.collapses(rows)) else []
    made = {tuple(str(row[what]) for what in evidence.SAME_IN_A_PAIR) for row in rows}
    said += ["They were not all made alike: devices and versions stand at the end."] if len(made) > 1 else []
    return f"{table}\n\n{' '.join(said)}"


def longer_contrasts():
    """The differences whose two arms are trained for twice the epochs as well."""
    return [contrast for contrast in CONTRASTS if {contrast.a, contrast.b} <= set(pilot.LONGER)]


def _cells(curve, lengths, written):
    return [written(cells(curve)[epochs][1]) if epochs in curve else verdicts.NOT_RUN for epochs in lengths]


def _change(curve):
    steps = [step for step in pilot.steps(curve).values() if step.n]
    return checks.effect(steps[-1]) if steps else verdicts.NOT_RUN
