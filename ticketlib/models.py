"""Networks of the book: CIFAR ResNets and VGGs with batch norm. Of any network: what may be pruned, what it answers."""

import re
import sys
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from ticketlib.errors import TicketError, one_of

VGG_STAGES = {
    "vgg11": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "vgg16": ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
    # In the others a layer's place and its size go together. Here sizes are all equal, or fall with depth.
    "vgg16_equal": ((128, 128), (128, 128), (128,) * 3, (128,) * 3, (128,) * 3),
    "vgg16_reversed": ((512, 512), (512, 512), (512, 512, 256), (256, 256, 128), (128, 64, 64)),
}
FAMILIES = ("resnet", "vgg")  # the forms of the smart ratio
MULTIPLY = {"conv1d", "conv2d", "conv3d", "linear"}  # torch's functions of the prunable layers


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, 1x1 where the shape changes."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = None
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.bn3 = nn.BatchNorm2d(c_out)

    def forward(self, x):  # (B, c_in, H, W) -> (B, c_out, H / stride, W / stride)
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.shortcut is None else self.bn3(self.shortcut(x))))


class ResNet(nn.Module):
    """CIFAR ResNet of depth 6n + 2: a 3x3 stem, three stages of n blocks, a linear classifier."""

    family = "resnet"

    def __init__(self, depth, num_classes, in_channels, width, stem_stride):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, stem_stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        blocks, c_in = [], width
        for stage in range(3):
            for i in range((depth - 2) // 6):
                c_out = width * 2**stage
                blocks.append(Block(c_in, c_out, 2 if stage and not i else 1))
                c_in = c_out
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(c_in, num_classes)

    def forward(self, x):  # (B, C, H, W) -> (B, num_classes)
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


class VGG(nn.Module):
    """VGG with batch norm: 3x3 convolutions with bias, four max-pools, a mean over space, a linear classifier."""

    family = "vgg"

    def __init__(self, stages, num_classes, in_channels):
        super().__init__()
        layers, c_in = [], in_channels
        for stage in stages:
            for c_out in stage:
                layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
                c_in = c_out
            # Rounding up changes nothing at 32 or 64 pixels and lets an 8-pixel digit through.
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers[:-1])
        self.fc = nn.Linear(c_in, num_classes)

    def forward(self, x):  # (B, C, H, W) -> (B, num_classes)
        return self.fc(self.features(x).mean((2, 3)))


def build(name, num_classes, in_channels=3, *, generator=None, width=None, stem_stride=1):
    """Build a network with freshly drawn weights.

    Arguments:
        name: "resnet" and a depth 6n + 2 (resnet20, resnet32, ...), or a key of VGG_STAGES (vgg11, vgg16, vgg19, ...).
        num_classes, in_channels: positive integers.
        generator: torch.Generator the weights are drawn from, or a seed; None stands for 0.
        width: ResNets: channels of the first stage (default 32, the paper's doubled width). VGGs: a multiplier of
            every layer's channels (default 1).
        stem_stride: ResNets only: stride of the first convolution (default 1).
    Returns: an nn.Module on the CPU, float32, training mode, from (B, in_channels, H, W) to (B, num_classes).
    Raises: TicketError for an unknown name or an option out of range.
    Source: the paper's code (models/); initialisation in `initialise`.
    """
    for what, value in (("num_classes", num_classes), ("in_channels", in_channels), ("stem_stride", stem_stride)):
        if not isinstance(value, int) or value < 1:
            raise TicketError(f"{what} {value!r} is not allowed; it must be a positive integer.")
    depth = re.fullmatch(r"resnet([1-9]\d{0,3})", str(name))
    with torch.device("meta"):  # no weights are drawn twice
        if depth and int(depth[1]) > 2 and int(depth[1]) % 6 == 2:
            model = ResNet(int(depth[1]), num_classes, in_channels, _resnet_width(width), stem_stride)
        elif name in VGG_STAGES:
            if stem_stride != 1:
                raise TicketError(f"stem_stride {stem_stride!r} is for ResNets; {name} allows 1 only.")
            model = VGG(_vgg_stages(name, width), num_classes, in_channels)
        else:
            one_of("network", name, ["resnet8, resnet14, resnet20, ... (depth 6n + 2)", *VGG_STAGES])
    on_cpu = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in model.state_dict().items()}
    model.load_state_dict(on_cpu, assign=True)  # `to_empty` would do, and import SymPy, which takes a second
    return initialise(model, generator)


def _resnet_width(width):
    width = 32 if width is None else width
    if not isinstance(width, int) or width < 1:
        raise TicketError(f"width {width!r} is not allowed for a ResNet; it must be a positive integer.")
    return width


def _vgg_stages(name, width):
    width = 1 if width is None else width
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 8:
        raise TicketError(f"width {width!r} is not allowed for a VGG; it must be a multiplier above 0, at most 8.")
    return [[max(1, round(c * width)) for c in stage] for stage in VGG_STAGES[name]]


def initialise(model, generator=None):
    """Draw all weights of one of our networks afresh, in place, and reset its batch norms.

    Convolutions are normal with variance 2 / fan_out (ResNet) or 2 / fan_in (VGG), the classifier is normal with
    deviation 0.01, biases are zero.

    Arguments: model, a ResNet or VGG of this module; generator, as in `build`.
    Returns: the model.
    Source: the paper's code (models/).
    """
    generator = random_stream(0 if generator is None else generator)
    mode = "fan_out" if family(model) == "resnet" else "fan_in"
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if getattr(module, "bias", None) is not None and not isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.bias)
    return model


def random_stream(generator):
    """Return a CPU torch.Generator: the one given, or one seeded by an integer; TicketError for anything else."""
    if isinstance(generator, int) and not isinstance(generator, bool):
        return torch.Generator().manual_seed(generator)
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise TicketError(f"generator {generator!r} is not allowed; it must be a CPU torch.Generator, or a seed.")
    return generator


def family(model):
    """The form of the smart ratio that fits a network, as its class says by `family`: "resnet" or "vgg".

    Raises: TicketError for a network that does not say it; name the family explicitly there.
    """
    if (form := getattr(unwrapped(model), "family", None)) in FAMILIES:
        return form
    raise TicketError(
        f"{type(model).__name__} has no smart-ratio family of its own; pass family='resnet' or family='vgg'."
    )


def logits(output):
    """Take the logits out of what a network returns.

    Arguments: output: a tensor; a tuple or list that begins with one; or what has them as `.logits` or ["logits"].
    Returns: tensor, as it is.
    Raises: TicketError for anything else.
    """
    tensor = output
    if isinstance(output, Mapping) and "logits" in output:
        tensor = output["logits"]
    elif hasattr(output, "logits"):
        tensor = output.logits
    elif isinstance(output, tuple | list) and output:
        tensor = output[0]
    if not isinstance(tensor, torch.Tensor):
        raise TicketError(
            f"The network returns {type(output).__name__}; allowed: logits, a tuple or list that begins with them, or "
            "an object with .logits."
        )
    return tensor


@contextmanager
def evaluating(model, except_for=()):
    """Set all modules to evaluation mode, but for those of some classes, and put every module's mode back at the end.

    Arguments: model; except_for, classes of modules, which are set to training mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = isinstance(module, except_for)
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def hooked(model, entered=None, left=None):
    """Call a function before, another after the forward pass of each module.

    Arguments: entered: (name, module, inputs); left: (name, module, inputs, output).
    """
    hooks = []
    for name, module in model.named_modules():
        if entered:
            hooks.append(module.register_forward_pre_hook(partial(entered, name)))
        if left:
            hooks.append(module.register_forward_hook(partial(left, name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def located(model):
    """Note where a forward pass is: a list of the names of the modules entered and not left, the innermost last."""
    inside = []

    def entered(name, *_):
        inside.append(name or "the network")

    def left(*_):
        inside.pop()

    with hooked(model, entered, left):
        yield inside


def unwrapped(model):
    """The network inside torch.compile, DataParallel and the like, whose names are its own."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in getattr(model, "_modules", ()):
            model = model._orig_mod
        else:
            return model


def uncompiled():
    """A context in which nothing runs compiled."""
    # torch's compiler takes seconds to import; before it is, nothing can be compiled
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def is_prunable(module):
    """Whether this module's weight may be pruned: every convolution and linear layer, nothing else."""
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)


def prunable(model):
    """The prunable weights in the order in which the network defines its layers.

    In the book's networks that is the forward order too: a shortcut after its block's convolutions, the classifier
    last. In a network of others it need not be, and a rule by depth takes this order for depth: see `calls`.

    A wrapper (torch.compile, DataParallel) is looked through. A weight that several layers share is there once, by its
    first name.

    Returns: dict from parameter name to Parameter.
    Raises: TicketError if there is none; naming the layer whose weight is not drawn yet, is computed from other
        parameters, or is shared with a layer that is not prunable.
    """
    if not isinstance(model, nn.Module):
        raise TicketError(f"The network is {type(model).__name__}; allowed: a torch.nn.Module.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TicketError(f"{type(model).__name__} is TorchScript and shows no layers; allowed: what it was made of.")
    weights, elsewhere = {}, {}
    for name, module in unwrapped(model).named_modules():
        for which, parameter in module._parameters.items():
            if parameter is not None and not (is_prunable(module) and which == "weight"):
                elsewhere[id(parameter)] = f"{name}.{which}".lstrip(".")
        if is_prunable(module):
            if problem := _trouble(module):
                raise TicketError(f"The weight of {name or type(module).__name__} {problem}.")
            weights[f"{name}.weight".lstrip(".")] = module.weight
    if not weights:
        raise TicketError(f"{type(model).__name__} has no convolution or linear layer, so nothing to prune.")
    once = {}
    for name, weight in weights.items():
        if id(weight) in elsewhere:
            other = elsewhere[id(weight)]
            raise TicketError(f"{name} is the same tensor as {other}, which is not prunable; allowed: its own copy.")
        once.setdefault(id(weight), (name, weight))
    for names in _overlapping(unwrapped(model)):
        if once_there := [name for name in names if name in weights]:
            raise TicketError(f"{once_there[0]} shares memory with {names[names[0] == once_there[0]]}, though they are "
                              "not one parameter; allowed: its own copy, or the same parameter in both.")  # fmt: skip
    return dict(once.values())


def calls(model, images):
    """Names of the prunable weights in the order in which a forward pass first calls their layers.

    Arguments: model; images, float32, as it takes them. Evaluation mode, no gradients; the mode is put back.
    Returns: list of all names of `prunable`; layers whose forward is never called (of attention's inside, say) last.
    """
    model, found = unwrapped(model), {}
    names = {id(weight): name for name, weight in prunable(model).items()}

    def entered(_, module, *__):
        if is_prunable(module):
            found.setdefault(names[id(module.weight)])

    with torch.no_grad(), evaluating(model), hooked(model, entered):
        model(images)
    return [*found, *(name for name in names.values() if name not in found)]


def _overlapping(model):
    """Pairs of names of parameters whose memory overlaps; a name twice where one number of it stands for several."""
    spans = []
    for name, parameter in model.named_parameters():
        known = not isinstance(parameter, nn.UninitializedParameter) and not parameter.is_meta
        if not known or parameter.layout != torch.strided or not parameter.numel():
            continue
        if any(size > 1 and not step for size, step in zip(parameter.shape, parameter.stride(), strict=True)):
            yield name, name
        reach = sum((size - 1) * step for size, step in zip(parameter.shape, parameter.stride(), strict=True))
        spans.append((parameter.data_ptr(), parameter.data_ptr() + (reach + 1) * parameter.itemsize, name))
    spans.sort()
    yield from ((name, other) for (_, end, name), (start, _, other) in pairwise(spans) if start < end)


def check_values(model):
    """Refuse a network with a tensor that has no values: one on the meta device, or one that is not drawn yet."""
    for name, tensor in (*unwrapped(model).named_parameters(), *unwrapped(model).named_buffers()):
        if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
            raise TicketError(f"{name} is not drawn yet; run the network on one batch first.")
        if tensor.is_meta:
            raise TicketError(f"{name} is on the meta device and has no values; allowed: weights that are drawn.")


def as_they_are(model, tensors, inside):
    """A context for a forward pass; it refuses a layer that multiplies by another weight than its own parameter.

    Arguments: model; tensors, what stands for its parameters, by name; inside, as `located` notes it.
    """
    modules = ((name, module) for name, module in model.named_modules() if is_prunable(module))
    unusual = [name for name, module in modules if not type(module).__module__.startswith("torch.")]
    keys = {name or "the network": f"{name}.weight".lstrip(".") for name in unusual}
    weights = {name: tensors[key] for name, key in keys.items() if key in tensors}
    return _AsTheyAre(weights, inside) if weights else nullcontext()


class _AsTheyAre(TorchFunctionMode):
    def __init__(self, weights, inside):
        super().__init__()
        self.weights, self.inside = weights, inside

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = [*args, *(kwargs or {}).values()]
        name, weight = self.inside[-1] if self.inside else "", given[1] if len(given) > 1 else None
        if name in self.weights and getattr(func, "__name__", "") in MULTIPLY and weight is not self.weights[name]:
            raise TicketError(f"{name} computes the weight it multiplies by from its own, so zeros need not stay; "
                              "allowed: layers that take their weight as it is.")  # fmt: skip
        return func(*args, **(kwargs or {}))


def _trouble(module):
    """Why the weight of a prunable layer cannot be set, in words; "" where it can."""
    weight = module._parameters.get("weight")
    if isinstance(weight, nn.UninitializedParameter):
        return "is not drawn yet; run the network on one batch first"
    if weight is not None:
        return ""
    if getattr(module, "parametrizations", None):
        return "is computed from others; call torch.nn.utils.parametrize.remove_parametrizations first"
    if "weight" in module._buffers:
        return "is a buffer; make it a torch.nn.Parameter"
    if "weight" in module._parameters:
        return "is not there"
    if "weight_orig" in module._parameters:
        return "is computed from weight_orig; call torch.nn.utils.prune.remove (or remove_spectral_norm) first"
    return "is computed from others; call torch.nn.utils.remove_weight_norm, or what made it so, first"


def report(model):
    """List every parameter of a network: what of it can be pruned, what cannot, and why.

    Returns: pandas.DataFrame, a line a parameter in the order of definition, indexed by its name: `layer` (the module's
        class), `shape`, `size` (numbers in it), `share` (of all parameters, 0 to 1), `prunable`, `why` ("" where
        prunable). The sum of `share` where `prunable` says how much of the network a sparsity speaks of. What takes no
        part in the forward pass is not seen here; `pruners.score` says it.
    """
    import pandas as pd  # slow to import, and seldom needed

    lines, seen = [], {}
    for path, module in unwrapped(model).named_modules():
        for which, parameter in module._parameters.items():
            name = f"{path}.{which}".lstrip(".")
            if parameter is None:
                continue
            drawn = not isinstance(parameter, nn.UninitializedParameter)
            first = seen.setdefault(id(parameter), name)
            why = _why_not(module, which) if first == name else f"the same tensor as {first}"
            shape, size = (tuple(parameter.shape), parameter.numel()) if drawn else (None, 0)
            lines.append((name, type(module).__name__, shape, size if first == name else 0, why == "", why))
    table = pd.DataFrame(lines, columns=["name", "layer", "shape", "size", "prunable", "why"]).set_index("name")
    table.insert(3, "share", table["size"] / max(table["size"].sum(), 1))
    return table


WHY_NOT = (  # classes of modules, why their parameters are not prunable here
    (parametrize.ParametrizationList, "a weight is computed from it; remove the parametrization first"),
    (nn.modules.conv._ConvTransposeNd, "a transposed convolution"),
    (nn.MultiheadAttention, "attention keeps the matrices of its queries, keys and values in one"),
    (nn.RNNBase | nn.RNNCellBase, "a recurrent layer"),
    (nn.Embedding | nn.EmbeddingBag, "a table of rows, not a matrix that multiplies"),
    (nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm, "the scale of a normalisation"),
)


def _why_not(module, which):
    """Why a parameter is not prunable, in words; "" where it is."""
    if is_prunable(module) and which == "weight":
        return _trouble(module)
    if "bias" in which:
        return "a bias"
    if is_prunable(module):
        return f"its layer's weight {_trouble(module)}"
    return next((why for kind, why in WHY_NOT if isinstance(module, kind)), "not of a convolution or linear layer")
