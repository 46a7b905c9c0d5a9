"""Small pictures as inline SVG: made from code, coloured by the page's own text colour, so legible in dark mode."""

from html import escape

import torch

from ticketlib import masks, ratios

ACCENT = "var(--drawn-accent, #0173b2)"  # colour-blind blues, for light and dark pages in custom.css
ON_ACCENT = "var(--drawn-on-accent, #fff)"
LINE = 15  # height of a line of text
TOY = [ratios.Layer(f"layer {i}", (4, 6), 24, False) for i in (1, 2, 3)]
TOY_SPARSITY = "0.75"
CELL = 14


def svg(width, height, parts, alt, *, most=None):
    """An SVG element on one line, as Markdown wants it.

    Arguments: width, height, in user units, about pixels on a phone; parts, its elements as texts; alt, what it shows,
        for those who do not see it; most, the largest width on the page in rem, None for its own size.
    """
    width, height = width + 2, height + 2  # strokes at the edge are as wide inside as outside
    size = f'style="width:100%;max-width:{most}rem;height:auto"' if most else f'width="{width:g}" height="{height:g}"'
    return (
        f'<svg class="drawn" role="img" aria-label="{escape(alt)}" viewBox="-1 -1 {width:g} {height:g}" {size} '
        f'font-family="inherit" fill="currentColor" stroke="none">{"".join(parts)}</svg>'
    )


def text(x, y, words, *, size=12, anchor="start", bold=False, fill="currentColor"):
    """Lines of text; y is the base of the first."""
    lines = words if isinstance(words, list | tuple) else [words]
    weight = ' font-weight="700"' if bold else ""
    return "".join(
        f'<text x="{x:g}" y="{y + i * LINE:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{weight}>'
        f"{escape(line)}</text>"
        for i, line in enumerate(lines)
    )


def box(x, y, width, height, words, *, bold=True, dashed=False):
    """A rounded box with its words in the middle."""
    lines = words if isinstance(words, list | tuple) else [words]
    first = y + height / 2 - LINE * (len(lines) - 1) / 2 + 4.5
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="currentColor" '
        f'fill-opacity="0.07" stroke="currentColor" stroke-width="1.2"{dash}/>'
    ) + text(x + width / 2, first, lines, anchor="middle", bold=bold)


def arrow(*points):
    """A line through points (x, y) with a head at its end; its last stretch is upright or level."""
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    back = (x - 7 * dx, y - 7 * dy)
    wings = [(back[0] + 4 * dy, back[1] + 4 * dx), (back[0] - 4 * dy, back[1] - 4 * dx)]
    path = " ".join(f"{a:g},{b:g}" for a, b in (*points[:-1], back))
    head = " ".join(f"{a:g},{b:g}" for a, b in ((x, y), *wings))
    return f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.4"/><polygon points="{head}"/>'


def line(x0, y0, x1, y1, *, width=1, colour="currentColor"):
    """A straight line."""
    return f'<line x1="{x0:g}" y1="{y0:g}" x2="{x1:g}" y2="{y1:g}" stroke="{colour}" stroke-width="{width:g}"/>'


def band(x, y, width, height):
    """A pale rectangle behind other things, with a line at either end."""
    ground = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill-opacity="0.15"/>'
    return ground + line(x, y, x, y + height) + line(x + width, y, x + width, y + height)


def dot(x, y):
    """An estimate."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="4.5" fill="{ACCENT}"/>'


def badge(x, y, sign):
    """A filled circle with a sign in it."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="9" fill="{ACCENT}"/>' + text(
        x, y + 4.2, sign, anchor="middle", bold=True, fill=ON_ACCENT
    )


def cells(x, y, values, shape):
    """A grid of squares, each as dark as its value, 0 to 1; values, in reading order."""
    rows, columns = shape
    return "".join(
        f'<rect x="{x + CELL * (i % columns):g}" y="{y + CELL * (i // columns):g}" width="{CELL - 2}" '
        f'height="{CELL - 2}" stroke="currentColor" stroke-width="1" fill-opacity="{value:.2f}"/>'
        for i, value in enumerate(values[: rows * columns])
    )


def random_ticket(seed=3):
    """The three steps of a random ticket on three toy layers: scores by lot, keep-counts by the smart ratio, mask."""
    generator = torch.Generator().manual_seed(seed)
    scores = {layer.name: torch.rand(layer.shape, generator=generator) for layer in TOY}
    counts = ratios.keep_counts(TOY, "smart", TOY_SPARSITY, family="resnet")
    mask = masks.from_counts(scores, counts)
    heads = {0: ("1. Scores,", "by lot"), 130: ("2. How many", "stay: a rule"), 266: ("3. The best", "of each layer")}
    parts = [text(x, 14, words, bold=True) for x, words in heads.items()]
    for i, layer in enumerate(TOY):
        y = 48 + 76 * i
        parts += [cells(0, y, scores[layer.name].flatten().tolist(), layer.shape), arrow((90, y + 27), (124, y + 27))]
        parts += [text(130, y + 24, f"{counts[layer.name]} of {layer.size}", size=15, bold=True)]
        parts += [text(130, y + 41, layer.name), arrow((226, y + 27), (260, y + 27))]
        parts += [cells(266, y, mask[layer.name].flatten().float().tolist(), layer.shape)]
    shares = ", ".join(f"{counts[layer.name]} of the {layer.size} weights of {layer.name}" for layer in TOY)
    alt = (
        "A random ticket in three steps. First, each weight of three small layers gets a random score. Second, a rule, "
        f"the smart ratio, says how many weights stay: {shares}. Third, the weights with the best scores stay, exactly "
        "as many in each layer as the rule says."
    )
    return svg(352, 264, parts, alt, most=30)
