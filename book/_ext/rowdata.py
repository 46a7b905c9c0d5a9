"""Data of the interactive pages, as script files, so that they open from disk: rows, each run, and keep-ratios.

Written when the site is built, into its folder `data`, from the book's ledger and from `ticketlib.ratios`.
"""

import base64
import functools
import gzip
import json
import re
from pathlib import Path

from scipy.stats import t
from ticketbook import probes

from ticketlib import corrupt, models, ratios
from ticketlib.analysis import words as prose
from ticketlib.analysis.plots import STYLE, style
from ticketlib.data import CLASSES
from ticketlib.errors import TicketError
from ticketlib.experiments import probe
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import PROFILES
from ticketlib.tickets import CHECKS

COLUMNS = (
    "name", "ticket", "accuracy", "sparsity", "seed", "check", "corruption", "overlap", "epochs", "network", "dataset",
    "profile", "kind", "recipe", "seconds", "pages",
)  # fmt: skip
SETTINGS = ("dataset", "network", "ticket", "check", "corruption", "sparsity", "seed", "epochs", "recipe")
NETWORKS = {  # of the page on keep-ratios: title -> (profile, short name, classes)
    "the paper's ResNet-32 (10 classes)": ("paper", "resnet", 10),
    "the paper's VGG-19 (10 classes)": ("paper", "vgg", 10),
    "the paper's ResNet-32 (100 classes)": ("paper", "resnet", 100),
    "the paper's VGG-19 (100 classes)": ("paper", "vgg", 100),
    "the laptop profile's ResNet-20 (10 classes)": ("laptop", "resnet", 10),
    "the laptop profile's slim VGG-16 (10 classes)": ("laptop", "vgg", 10),
}
SPARSITIES = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.98", "0.99", "0.995", "0.999")
EXAMPLES = ("smart@0.9", "snip@0.9", "lt@0.9", "snip@0.98")  # arms that the page of one run shows first
BUNDLE = 2  # digits of a name; 256 files, each read in a moment
QUANTILES = 200  # seeds; for more, the last of the quantiles of t will do
ROW_NAME = re.compile(r"\b[0-9a-f]{16}\b")


def script(target, value):
    """A JavaScript statement that sets a property of `window.ticketbook`; safe whatever the text in the value.

    Arguments: target, the property's name; value, anything JSON can hold.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"(window.ticketbook=window.ticketbook||{{}}).{target}={text};\n"


def pages_by_row(claims):
    """Which executed pages used a row, from the names that each prints: dict from row name to a list of page names.

    Arguments: claims, the folder of the executed notebooks.
    """
    pages = {}
    for path in sorted(claims.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells if cell.get("id") == "made-from" for output in cell["outputs"]]
        text = "".join("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs)
        for name in ROW_NAME.findall(text):
            pages.setdefault(name, []).append(path.stem)
    return pages


def line(row, profile, pages):
    """One row as the cells of COLUMNS; what was not measured or does not apply is None."""
    facts = {what: row["config"].get(what) for what in SETTINGS}
    facts |= {what: row.get(what) for what in ("name", "kind", "accuracy", "overlap", "seconds")}
    if facts["overlap"] is not None:
        facts["overlap"] = round(facts["overlap"], 4)
    return [(facts | {"profile": profile, "pages": " ".join(pages)})[column] for column in COLUMNS]


@functools.cache
def _forward(network, width, stem_stride, dataset):  # layers as (name, size), in forward order
    if dataset == probe.IMAGENET:
        return [(layer.name, layer.size) for layer in probe.imagenet_layers(network)]
    channels = 1 if dataset == "digits" else 3
    model = models.build(network, CLASSES[dataset], channels, width=width, stem_stride=stem_stride)
    return [(layer.name, layer.size) for layer in ratios.layers(model)]


def layers(row):
    """Name, size and kept weights of each layer, in forward order; a ledger file has them in order of their names."""
    counts, config = row.get("keep_counts", {}), row["config"]
    try:
        table = _forward(*(config.get(what) for what in ("network", "width", "stem_stride", "dataset")))
    except TicketError:  # a network of an older ledger: its layers stay in the order of their names
        table = list(row.get("sizes", {}).items())
    return [[name, size, counts[name]] for name, size in table if name in counts]


def zipped(value):
    """Anything that JSON can hold as base64 text of its gzip, which browsers undo: rows have much in common."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def profiles():
    """The rows of the book's ledger: a list of (profile, row), profile by profile."""
    return [(profile, row) for profile in PROFILES for row in Ledger(book_ledger(profile)).rows()]


def networks():
    """Every network, rule and sparsity of the page on keep-ratios: kept weights a layer, or why a rule is not defined.

    Returns: list of {"name", "layers": [[name, size]], "counts": {rule: {sparsity: [int] or text}}}.
    """
    listed = []
    for title, (profile, short, classes) in NETWORKS.items():
        name, width, stem_stride = PROFILES[profile].networks[short]
        model = models.build(name, classes, width=width, stem_stride=stem_stride)
        table, form = ratios.layers(model), models.family(model)
        counts = {rule: {s: _counts(table, rule, s, form) for s in SPARSITIES} for rule in ratios.RULES}
        listed.append({"name": title, "layers": [[layer.name, layer.size] for layer in table], "counts": counts})
    return listed


def _counts(table, rule, sparsity, form):
    try:
        return list(ratios.keep_counts(table, rule, sparsity, family=form).values())
    except TicketError as error:
        return str(error)


def in_order(rows):
    """Rows as the table shows them at first: runs before probes, the pilot last, then by what was run.

    Arguments: rows, a list of (profile, row).
    """
    def place(pair):
        profile, row = pair
        config = row["config"]
        what = (config[name] for name in ("dataset", "network", "ticket", "sparsity"))
        checked = (config.get("check") or "none", config["corruption"] or "none")
        return (row["kind"] != "run", config["recipe"] == 0, profile, *what, *checked, config["seed"], row["name"])

    return sorted(rows, key=place)


def arm_label(row):
    """An arm as prose names it: "SNIP, random labels and pixels, at sparsity 0.9"."""
    return f"{style(row['arm']).label}, at sparsity {row['config']['sparsity']}"


def labels(rows, claims):
    """What the pages call tickets, checks, networks, data and chapters, by the names that rows hold: dict of dicts.

    Arguments: rows, a list of (profile, row); claims, the folder of the executed notebooks.
    """
    names = {what: {row["config"].get(what) for _, row in rows} for what in ("network", "dataset")}
    chapters = {path.stem: json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
                for path in sorted(claims.glob("*.ipynb"))}  # fmt: skip
    return {
        **{what: {name: _title(name) for name in sorted(filter(None, known))} for what, known in names.items()},
        "ticket": {name: look.label for name, look in STYLE.items()},
        "check": {name: style(name).label for name in CHECKS if name in STYLE},
        "corruption": {name: style(name).label for name in corrupt.KINDS if name in STYLE},
        "pages": {name: "".join(text).partition("\n")[0].removeprefix("# ") for name, text in chapters.items()},
    }


def _title(name):  # of a network, of one with layers of another size, or of a data set
    stem = name.partition("_")[0]
    known = prose.NETWORKS.get(stem) or prose.title(stem)  # rows of ImageNet's VGG-16 as well
    return f"{known}, {probes.SHAPED[name]}" if "_" in name else known


def examples(rows):
    """Rows to look at first: the name and the label of the first run of each arm of EXAMPLES that was run."""
    runs = {}
    for _, row in rows:
        if row["kind"] == "run" and row["arm"] in EXAMPLES:
            runs.setdefault(row["arm"], [row["name"], f"{arm_label(row)}, seed {row['config']['seed']}"])
    return [runs[arm] for arm in EXAMPLES if arm in runs]


def bundle(name):
    """The bundle in which a run's page finds it: the first digits of its name."""
    return name[:BUNDLE]


def write(folder, claims):
    """Write all data: rows.js, the runs in bundles in runs/, labels.js with the examples, ratios.js.

    Arguments: folder, the site's folder `data`, made if it is not there; claims, the executed notebooks.
    """
    folder, used, of_profiles = Path(folder), pages_by_row(claims), in_order(profiles())
    bundles = {}
    for profile, row in of_profiles:
        shown = {"row": row, "profile": profile, "layers": layers(row), "label": arm_label(row)}
        bundles.setdefault(bundle(row["name"]), {})[row["name"]] = shown | {"pages": used.get(row["name"], [])}
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for name, runs in bundles.items():
        (folder / "runs" / f"{name}.js").write_text(script(f"runs_{name}", zipped(runs)), encoding="utf-8")
    rows = [line(row, profile, used.get(row["name"], [])) for profile, row in of_profiles]
    quantiles = [round(float(t.ppf(0.975, n - 1)), 4) for n in range(2, QUANTILES)]
    whole = {"columns": COLUMNS, "rows": rows, "quantiles": quantiles}
    (folder / "rows.js").write_text(script("rows", whole), encoding="utf-8")
    named = script("labels", labels(of_profiles, Path(claims))) + script("examples", examples(of_profiles))
    (folder / "labels.js").write_text(named, encoding="utf-8")
    rules = {rule: style(rule).label for rule in ratios.RULES}
    whole = {"networks": networks(), "rules": rules, "sparsities": SPARSITIES}
    (folder / "ratios.js").write_text(script("ratios", whole), encoding="utf-8")
