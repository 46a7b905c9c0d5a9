"""SparseProp, the published peer: built apart from this project's environment, used as it is, timed in the same run."""

import copy
import os
import subprocess
import sys
import venv

import torch
import torch.nn.functional as F
from parts import convolving
from timing import Figure, side_by_side

from ticketlib import data
from ticketlib.sparse.net import SparseNet

NAME, VERSION = "SparseProp", "0.1.14"
LAYERS = {  # per network: which links of the chain; two strided ones, each with its shortcut
    "laptop ResNet-20": (2, 7, 9, 13, 15),
    "ResNet-32, doubled width": (2, 14, 24),
    "slim VGG-16": (1, 3, 6, 9),
}


def build():
    """The folder of a SparseProp built from its source package, made once and kept in the cache; None if that fails."""
    home = data.cache_folder() / "peers" / f"sparseprop-{VERSION}-{sys.version_info.major}.{sys.version_info.minor}"
    try:
        if not (home / "built").is_file():
            _install(home)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
        print(f"{NAME} was not built: {said[-1] if said else error}", file=sys.stderr)
        return None
    return next(home.glob("lib/*/site-packages"))


def _install(home):
    venv.create(home, with_pip=True, clear=True)
    # Its setup.py calls pip and python3 by name: here those are this folder's own.
    paths = {**os.environ, "PATH": os.pathsep.join((str(home / "bin"), os.environ.get("PATH", "")))}
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    package = ["--no-deps", "--no-build-isolation", f"sparseprop=={VERSION}"]
    for what in (["setuptools==65.5.0", "wheel==0.48.0", "pybind11==3.1.0"], package):
        subprocess.run([*pip, *what], env=paths, capture_output=True, check=True)
    (home / "built").touch()


def compiler():
    """First line of what the C++ compiler says of itself."""
    return subprocess.run(["g++", "--version"], capture_output=True, text=True).stdout.splitlines()[0]


def replaced(model, images):
    """A copy of a masked model whose convolutions are SparseProp's, of its two forms the one it finds faster."""
    from sparseprop.modules import sparsify_conv2d_auto

    model, shapes = copy.deepcopy(model), {}
    convs = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)}
    handles = [
        m.register_forward_hook(lambda m, given, _, name=name: shapes.update({name: given[0].shape}))
        for name, m in convs.items()
    ]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    for name, conv in convs.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, sparsify_conv2d_auto(conv, shapes[name]))
    return model


class PeerNet:
    """A masked model trained with SparseProp's convolutions, the rest by torch in float32; steps as train.DenseNet."""

    def __init__(self, model, images):
        self.model = replaced(model, images).train()
        self.sgd = torch.optim.SGD(self.model.parameters(), 0.1, fused=True)

    def step(self, batch, labels):
        loss = F.cross_entropy(self.model(batch.tensor()), labels)
        loss.backward()
        return loss.item()

    def update(self, lr, momentum, weight_decay):
        self.sgd.param_groups[0].update(lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)


def layer_seconds(trainer, model, link):
    """Seconds forward and backward of one link: (ours, theirs), and its input's shape in words.

    Ours finds its input in its own layout, as it does in a step. Theirs takes and gives torch's layout, as it must, and
    turns it round where its form needs that.
    """
    from sparseprop.modules import sparsify_conv2d_auto

    layer, convs = trainer.net.layers[link], [model.get_submodule(name) for name in trainer.links[link].convs]
    channels, height, width = (int(layer["source"][name]) for name in ("channels", "height", "width"))
    images = torch.randn(trainer.batch_size, channels, height, width, requires_grad=True)
    theirs = [sparsify_conv2d_auto(conv, images.shape) for conv in convs]
    slopes = [torch.randn_like(conv(images)) for conv in theirs]

    def work():
        images.grad = None
        for conv, slope in zip(theirs, slopes, strict=True):
            conv.W_val.grad = None
            conv(images).backward(slope)

    found = side_by_side({"ours": convolving(trainer, link, link + 1), "theirs": work}, 5, 3)
    strided = ", stride 2, with its shortcut" if len(convs) > 1 else ""
    return found["ours"], found["theirs"], f"{channels} channels of {height}x{width}{strided}"


def layers(net, made, batch):
    """Figures of single layers of a network; made: sparsity -> (model, mask)."""
    for sparsity, (model, mask) in made.items():
        trainer = SparseNet(model, mask, batch, (3, 32, 32))
        for link in LAYERS[net]:
            ours, theirs, shape = layer_seconds(trainer, model, link)
            this = dict(network=net, sparsity=sparsity, engine="sparse", phase=shape, batch=batch)
            yield Figure("layer", 1000 * ours, "ms", **this, yardstick=NAME, against=1000 * theirs)
