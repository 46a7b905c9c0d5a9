"""Networks of the book: CIFAR ResNets and VGGs with batch norm, and what of them may be pruned."""

import re

import torch
import torch.nn.functional as F
from torch import nn

from ticketlib.errors import TicketError, one_of

VGG_STAGES = {
    "vgg11": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "vgg16": ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
    # In the others a layer's place and its size go together. Here sizes are all equal, or fall with depth.
    "vgg16_equal": ((128, 128), (128, 128), (128,) * 3, (128,) * 3, (128,) * 3),
    "vgg16_reversed": ((512, 512), (512, 512), (512, 512, 256), (256, 256, 128), (128, 64, 64)),
}


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
        generator: torch.Generator the weights are drawn from; None stands for one seeded 0.
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
    return initialise(model.to_empty(device="cpu"), generator)


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

    Arguments: model, a ResNet or VGG of this module; generator, None for one seeded 0.
    Returns: the model.
    Source: the paper's code (models/).
    """
    generator = generator or torch.Generator().manual_seed(0)
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


def is_prunable(module):
    """Whether this module's weight may be pruned: every convolution and linear layer, nothing else."""
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)


def prunable(model):
    """The prunable weights in forward order, a shortcut after its block's convolutions, the classifier last.

    Returns: dict from parameter name to Parameter.
    Raises: TicketError if there is none.
    """
    found = {f"{name}.weight".lstrip("."): m.weight for name, m in model.named_modules() if is_prunable(m)}
    if not found:
        raise TicketError(f"{type(model).__name__} has no convolution or linear layer, so nothing to prune.")
    return found


def family(model):
    """The form of the smart ratio that fits a network: "resnet" or "vgg".

    Raises: TicketError for a network that is not one of ours; name the family explicitly there.
    """
    if isinstance(model, ResNet | VGG):
        return model.family
    raise TicketError(
        f"{type(model).__name__} has no smart-ratio family of its own; pass family='resnet' or family='vgg'."
    )
