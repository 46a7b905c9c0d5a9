"""Probes: ledger rows of masks that nothing is trained with: keep counts, overlaps; also at ImageNet's scale."""

import functools
import time
from dataclasses import replace

import torch

from ticketlib import masks, pruners, ratios, tickets
from ticketlib.effective import effective_sparsity
from ticketlib.errors import TicketError, one_of
from ticketlib.experiments import checkpoints, machine
from ticketlib.experiments.config import DEFAULTS, RECIPE, name_of, parent, streams
from ticketlib.experiments.grids import SHAPES, SPARSE_END
from ticketlib.experiments.journal import duration
from ticketlib.experiments.ledger import Row
from ticketlib.experiments.run import build, find_batch
from ticketlib.models import prunable
from ticketlib.tickets import TICKETS

FIELDS = (
    "recipe", "dataset", "fingerprint", "network", "width", "stem_stride", "ticket", "sparsity", "seed", "corruption",
    "linear", "variant", "min_per_layer", "per_class",
)  # fmt: skip
PLAIN = {"linear": "own", "variant": "default", "min_per_layer": 0, "recipe": RECIPE}
SECOND_ORDER = "order2"  # the stream of the dense net from which the ceiling of LT's overlap comes
IMAGENET = "imagenet"  # a data set of which no image is looked at
IMAGENET_NETWORKS = {"resnet50": "resnet", "vgg16": "vgg"}  # torchvision's name -> family, the form of the smart ratio
IMAGENET_SPARSITIES = ("0.9", "0.98", "0.99", "0.999")
IMAGENET_METHODS = ("random", "magnitude", "synflow", *ratios.RULES)
IMAGENET_SHAPE, IMAGENET_SEED = (3, 224, 224), 0


def configuration(config):
    """What names the probe of a run's mask: the fields of its Config that decide the mask, and its parent's name."""
    values, before = config.as_dict(), parent(config)
    naming = {"probe": "mask"} | {what: values[what] for what in FIELDS}
    if config.scoring != DEFAULTS["scoring"]:  # a later field: at its default it stays out of the name
        naming["scoring"] = config.scoring
    return naming | ({"parent": before.name} if before else {})


def name(config):
    """The name of the probe row of a run's mask."""
    return name_of(configuration(config))


def is_plain(row):
    """Whether a row is a probe of this recipe and of the book's own scores, with no option."""
    own = row["kind"] == "probe" and all(row["config"][what] == value for what, value in PLAIN.items())
    return own and "scoring" not in row["config"]


def grid_of(row):
    """The name of the grid that a probe belongs to, which is the file that it is gathered into: text."""
    config = row["config"]
    if config["dataset"] == IMAGENET:
        return IMAGENET
    if "parent" in config:
        return "trained"
    if config["network"] in SHAPES:
        return "shapes"
    return "sparse" if config["ticket"] in ratios.RULES or config["sparsity"] in SPARSE_END else "masks"


class Prober:
    """Finds masks and describes them; keeps the last scores, so that other sparsities cost next to nothing."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.scores = {}  # (configuration without sparsity, stream of the scoring batch) -> (scores, controls)

    def measure(self, config):
        """Find a ticket's mask and describe it beside the clean one; nothing is trained.

        Arguments: config, Config of the data set.
        Returns: ledger.Row with keep_counts, sizes, empty_layers, effective_sparsity, movable_share, classifier_share;
            for masks of scores the effective sparsity once rearranged; and, where the ticket looks at data, `overlap`
            and `chance` with the clean mask and `ceiling`, the overlap of the clean masks of two scoring batches, and
            on clean data the keep counts of the second of these. For a corrupted ticket of a trained net these are the
            masks of the clean net and of one trained in a second data order, where the cache has both; the keep counts
            of the latter stand with it.
        Raises: TicketError if a trained net is needed and the cache does not have it.
        """
        if TICKETS[config.ticket].rounds:
            raise TicketError(f"ticket {config.ticket!r} is not allowed in a probe; its mask takes rounds of training.")
        began, model = time.perf_counter(), build(config, self.dataset)
        mask, control = self._mask(config, model)
        values = configuration(config)
        row = _described(values, config.arm, mask, [list(mask)[-1]])
        row |= {"effective_sparsity": self._effective(model, mask), "control": control}
        if TICKETS[config.ticket].rule == "global":  # the masks of rules are drawn by lot anyway
            moved = masks.rearrange(mask, streams(config)("rearrange"))
            row["rearranged_effective_sparsity"] = self._effective(model, moved)
        others = self._others(config)
        if TICKETS[config.ticket].needs_batch or (others and all(map(self.trained, others))):
            row |= self._against_clean(config, model, mask)
        return row | machine.facts("cpu") | {"seconds": round(time.perf_counter() - began, 2)}

    def _effective(self, model, mask):
        return effective_sparsity(model, mask, self.dataset.train.images.shape[1:])

    def _mask(self, config, model, batch_stream="batch"):
        trained = self.trained(config)
        if trained is None and parent(config):
            raise TicketError(f"checkpoint {parent(config).name} is not in the cache; carry out {config.arm} first.")
        ticket, stream = config.ticket, streams(config)
        key = (replace(config, sparsity=config.sparsity if ticket == "synflow" else "0.5"), batch_stream)
        if key not in self.scores:
            while len(self.scores) > 3:  # a clean batch, another clean one, a corrupted one, and room for the next
                self.scores.pop(next(iter(self.scores)))
            batch, control = find_batch(config, self.dataset, batch_stream)
            scores = tickets.find_scores(
                ticket, model, config.sparsity, stream,
                trained=trained and trained[0], batch=batch, variant=config.variant,
                redraw=config.scoring == "authors",
            )  # fmt: skip
            self.scores[key] = scores, control
        scores, control = self.scores[key]
        options = {"linear": config.linear, "min_per_layer": config.min_per_layer}
        return tickets.mask_of(ticket, scores, model, config.sparsity, stream, **options), control

    def trained(self, config):
        """The trained net a ticket scores, as checkpoints.load gives it; None if there is none in the cache."""
        before = parent(config)
        return checkpoints.load(before.name) if before else None

    def ready(self, config):
        """Whether the cache has every trained net that a ticket's probe is made from, those it is held against too."""
        return all(map(self.trained, [config, *self._others(config)]))

    def _others(self, config):
        """What the mask of a net trained on noise is held against: the clean net's, and that of a second data order."""
        clean = replace(config, corruption="none")
        return [clean, replace(clean, order=SECOND_ORDER)] if config.corruption in ("labels", "pixels", "both") else []

    def _against_clean(self, config, model, mask):
        clean = replace(config, corruption="none")
        first, _ = self._mask(clean, model)
        if TICKETS[config.ticket].needs_batch:
            second, _ = self._mask(clean, model, "second batch")
        else:
            second, _ = self._mask(replace(clean, order=SECOND_ORDER), model)
        agreement = {
            "overlap": masks.overlap(mask, first),
            "chance": masks.chance_overlap(mask, first),
            "ceiling": masks.overlap(second, first),
        }
        seen = config == clean or not TICKETS[config.ticket].needs_batch  # scores of a batch: once, with the clean mask
        return agreement | ({"second_keep_counts": second.counts} if seen else {})


def _described(configuration, arm, mask, classifier):
    """A probe's row with what the mask itself says.

    Arguments: configuration, which names it; arm, text; mask, Mask; classifier, names of its layers.
    """
    return Row(
        kind="probe", name=name_of(configuration), config=configuration, arm=arm, keep_counts=mask.counts,
        sizes=mask.sizes, empty_layers=mask.empty_layers, movable_share=masks.movable_share(mask),
        classifier_share=sum(mask.counts[name] for name in classifier) / mask.kept, mask_digest=mask.digest(),
    )  # fmt: skip


def measure_all(prober, configs, ledger, say):
    """Measure probes, add their rows to a ledger, and say a line on each: list of what could not be made, in words."""
    failed, began = [], time.monotonic()
    for done, config in enumerate(configs, 1):
        what = f"{config.arm} ({config.network}, seed {config.seed})"
        try:
            row = prober.measure(config)
            ledger.add(row)
            said = f"{row['seconds']:.0f} s"
        except TicketError as error:
            failed.append(f"{what}: {error}")
            said = str(error)
        left = duration((time.monotonic() - began) / done * (len(configs) - done))
        say(f"[{done}/{len(configs)}] {what}: {said}; about {left} left")
    return failed


# at ImageNet's scale: what rules and data-free pruners keep of torchvision's networks


def imagenet_configuration(network, method, sparsity):
    """What names the probe row of one mask.

    Arguments: network, of IMAGENET_NETWORKS; method, of IMAGENET_METHODS; sparsity, decimal text.
    """
    return PLAIN | {
        "probe": "mask", "dataset": IMAGENET, "fingerprint": "no images", "input": list(IMAGENET_SHAPE),
        "seed": IMAGENET_SEED, "corruption": "none", "network": network, "ticket": method, "sparsity": sparsity,
    }  # fmt: skip


def imagenet_network(network):
    """A network with the initial weights that torchvision draws, in evaluation mode; always the same ones.

    Arguments: network, of IMAGENET_NETWORKS. Torch's global generator, which torchvision reads, is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(IMAGENET_SEED)
        return _torchvision(network).eval()


def _torchvision(network):
    import torchvision  # slow to import, and wanted here alone

    return getattr(torchvision.models, one_of("network", network, IMAGENET_NETWORKS))(weights=None)


@functools.cache
def imagenet_layers(network):
    """The prunable layers of a network, without its weights: list of ratios.Layer."""
    with torch.device("meta"):
        return ratios.layers(_torchvision(network))


@functools.cache
def imagenet_reason(network, method, sparsity):
    """Why a method is not defined on a network at a sparsity; "" where it is."""
    if method not in ratios.RULES:
        return ""
    return ratios.why_not(imagenet_layers(network), method, sparsity, family=IMAGENET_NETWORKS[network])


def imagenet_wanted(network, methods=IMAGENET_METHODS):
    """The masks to be found on a network: list of (network, method, sparsity), fast methods first."""
    ordered = [method for method in reversed(IMAGENET_METHODS) if method in methods]
    keys = [(network, method, sparsity) for method in ordered for sparsity in IMAGENET_SPARSITIES]
    return [key for key in keys if not imagenet_reason(*key)]


def measure_imagenet(network, model, method, sparsity):
    """Find one mask, clock it, and describe it.

    Arguments: network, a key of IMAGENET_NETWORKS; model, as `imagenet_network` gives it; method, of IMAGENET_METHODS;
        sparsity, decimal text.
    Returns: ledger.Row of a probe; `mask_seconds` is processor time for the mask alone, `seconds` wall time for all.
    Raises: TicketError where the method is not defined.
    """
    began, clock = time.perf_counter(), time.process_time()
    mask = _imagenet_mask(model, method, sparsity, IMAGENET_NETWORKS[network])
    took, values = time.process_time() - clock, imagenet_configuration(network, method, sparsity)
    linear = [layer.name for layer in imagenet_layers(network) if layer.linear]
    row = _described(values, f"{method}@{sparsity}", mask, linear)
    row |= {"effective_sparsity": effective_sparsity(model, mask, IMAGENET_SHAPE), "mask_seconds": round(took, 2)}
    return row | machine.facts("cpu") | {"seconds": round(time.perf_counter() - began, 2)}


def _imagenet_mask(model, method, sparsity, family):
    generator = torch.Generator().manual_seed(IMAGENET_SEED)
    if method in ratios.RULES:
        counts = ratios.keep_counts(model, method, sparsity, family=family)
        return masks.random_mask(prunable(model), counts, generator=generator)
    images = torch.ones(1, *IMAGENET_SHAPE) if method == "synflow" else None
    scores = pruners.score(model, method, images, sparsity=sparsity, generator=generator)
    return masks.global_mask(scores, sparsity)
