"""The way from weights and images to a trained ticket, as one picture and as text: every arrow says what it means."""

from typing import NamedTuple

from ticketbook.drawings import arrow, badge, box, svg, text
from ticketlib.tickets import REWIND_TO

WIDTH, HEIGHT = 360, 960
REST = f"{100 * (1 - float(REWIND_TO)):g} %"  # of a full schedule, in which tickets of trained weights train


class Node(NamedTuple):
    """A box of the picture."""

    words: tuple[str, ...]
    place: tuple[float, float, float, float]  # x, y, width, height
    given: bool = False  # nothing leads to it, since it is a start or is drawn a second time: a broken edge


class Arrow(NamedTuple):
    """One arrow, what it says in the picture and in a sentence, and the checks that cut in there."""

    start: str
    end: str
    points: tuple[tuple[float, float], ...]
    words: tuple[str, ...]
    at: tuple[float, float]  # where its words begin, the base of the first line
    meaning: str
    anchor: str = "start"
    checks: tuple[tuple[str, float, float], ...] = ()  # sign, and where it is drawn


CHECKS = {  # sign -> (name, what is done, which tickets)
    "1": ("corrupted data", "the method that finds the mask is shown random labels, shuffled pixels, or both",
          "SNIP, GraSP, LT"),
    "2": ("half of the data", "the dense network is trained on half of the images", "LRR"),
    "3": ("rearranged", "places are drawn by lot in each layer, as many as before", "SNIP, GraSP, LT, LRR"),
    "4": ("weights shuffled", "the kept values change places within their layer", "SNIP, GraSP, LT, LRR"),
    "5": ("re-initialised", "the kept weights start from a fresh draw", "SNIP, GraSP, LT"),
}  # fmt: skip
NODES = {
    "initial": Node(("Initial weights",), (0, 0, 130, 40), True),
    "images": Node(("Training images",), (230, 0, 130, 40), True),
    "trained": Node(("Trained weights",), (120, 150, 120, 40)),
    "dice": Node(("Dice",), (126, 222, 56, 34), True),
    "scores": Node(("Scores", "which weights matter?"), (0, 330, 360, 48)),
    "rule": Node(("A rule",), (246, 398, 96, 34), True),
    "counts": Node(("Keep-counts", "how many stay in each layer?"), (0, 500, 360, 48)),
    "mask": Node(("Mask", "which weights stay?"), (0, 625, 360, 48)),
    "initial again": Node(("Initial weights",), (0, 700, 112, 34), True),
    "trained again": Node(("Trained weights",), (248, 700, 112, 34), True),
    "ticket": Node(("Ticket", "mask and starting values"), (0, 810, 360, 48)),
    "result": Node(("Trained ticket, tested on clean images",), (0, 920, 360, 40)),
}
ARROWS = (
    Arrow("initial", "trained", ((100, 40), (100, 170), (120, 170)), ("train all", "weights"), (106, 72),
          "all weights are trained: the dense network"),
    Arrow("images", "trained", ((260, 40), (260, 170), (240, 170)), ("on all of", "them"), (254, 116),
          "it is trained on all of the images", "end", (("1", 260, 66), ("2", 260, 90))),
    Arrow("initial", "scores", ((22, 40), (22, 330)), ("initial", "values:", "SNIP,", "GraSP,", "SynFlow"), (28, 222),
          "SNIP, GraSP and SynFlow score the initial values"),
    Arrow("dice", "scores", ((154, 256), (154, 330)), ("random", "ticket"), (148, 292),
          "a random ticket draws its scores by lot", "end"),
    Arrow("trained", "scores", ((214, 190), (214, 330)), ("size:", "LT, LRR,", "hybrid"), (220, 286),
          "LT, LRR and hybrid tickets take the size of the trained weights"),
    Arrow("images", "scores", ((338, 40), (338, 330)), ("a few of", "each class:", "SNIP, GraSP"), (332, 212),
          "SNIP and GraSP look at a few images of each class", "end", (("1", 338, 110),)),
    Arrow("scores", "counts", ((22, 378), (22, 500)),
          ("one threshold for", "all layers: SNIP,", "GraSP, SynFlow,", "LT, LRR"), (28, 420),
          "SNIP, GraSP, SynFlow, LT and LRR set one threshold for all layers"),
    Arrow("rule", "counts", ((294, 432), (294, 500)), ("smart ratio:", "random, hybrid"), (288, 462),
          "random and hybrid tickets take the smart ratio; other rules are compared with it", "end"),
    Arrow("counts", "mask", ((22, 548), (22, 625)), ("the best-scored of each layer,", "exactly as many as counted"),
          (38, 580), "the best-scored weights of each layer stay, exactly as many as counted", "start",
          (("3", 22, 583),)),
    Arrow("mask", "ticket", ((180, 673), (180, 810)), ("what", "stays"), (174, 700), "the mask says what stays", "end"),
    Arrow("initial again", "ticket", ((22, 734), (22, 810)), ("SNIP, GraSP,", "SynFlow, LT,", "random"), (38, 753),
          "initial tickets (SNIP, GraSP, SynFlow, LT) and random tickets start from the initial values", "start",
          (("4", 22, 753), ("5", 22, 777))),
    Arrow("trained again", "ticket", ((338, 734), (338, 810)), ("LRR, hybrid",), (322, 768),
          "partially-trained tickets (LRR) and hybrid tickets start from the trained values", "end",
          (("4", 338, 764),)),
    Arrow("ticket", "result", ((22, 858), (22, 920)), ("whole schedule:", "initial, random"), (28, 886),
          "initial and random tickets train along the whole schedule, on clean images"),
    Arrow("ticket", "result", ((338, 858), (338, 920)), ("rewound rate, last " + REST + ":", "LRR, hybrid"), (332, 886),
          f"the learning rate is rewound: LRR and hybrid tickets train along the last {REST} of the schedule, on clean "
          "images", "end"),
)  # fmt: skip


def picture():
    """The pipeline as inline SVG."""
    parts = [_node(node) for node in NODES.values()]
    for a in ARROWS:
        parts += [arrow(*a.points), text(*a.at, a.words, anchor=a.anchor)]
        parts += [badge(x, y, sign) for sign, x, y in a.checks]
    alt = "The pipeline of all tickets, from weights and images to the trained ticket. The list below says the same."
    return svg(WIDTH, HEIGHT, parts, alt, most=32)


def _node(node):
    title, *rest = node.words
    x, y, width, height = node.place
    drawn = box(x, y, width, height, "" if rest else title, dashed=node.given)
    if rest:
        drawn += text(x + width / 2, y + 20, title, anchor="middle", bold=True)
        drawn += text(x + width / 2, y + 37, rest, anchor="middle")
    return drawn


def in_words():
    """Every arrow as a line of a Markdown list, with the checks that cut in there."""
    lines = []
    for a in ARROWS:
        start, end = (NODES[name].words[0] for name in (a.start, a.end))
        cuts = "".join(f" **Check {sign}** cuts in here." for sign, _, _ in a.checks)
        lines.append(f"- {start} → {end}: {a.meaning}.{cuts}")
    return "\n".join(lines)


def checks_table():
    """(column titles, lines): the checks by their signs."""
    return ["", "check", "what is done", "asked of"], [[f"**{sign}**", *what] for sign, what in CHECKS.items()]
