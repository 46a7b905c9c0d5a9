"""The dense path against the usual training script, where a step's time goes, and what was tried to make it faster."""

import functools
import shutil

import torch
from loops import NETS, operators, our_loop, step, ticket, usual_loop
from timing import Figure, at_once, side_by_side

from ticketlib import models, train

SPARSITY = "0.95"
EVALUATE = 500  # images at once, as in training
GOALS = {"mask upkeep": ("masks", 2), "data and augmentation": ("images", 5)}  # phase, most % of a step


def macs(model):
    """Multiplications and additions of one forward pass of one 32x32 image."""
    found = []
    handles = [
        m.register_forward_hook(lambda m, _, out: found.append(m.weight.numel() * out[0].numel() // out.shape[1]))
        for m in model.modules() if models.is_prunable(m)
    ]  # fmt: skip
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    for handle in handles:
        handle.remove()
    model.train()
    return sum(found)


def evaluation_share(net, speed):
    """Seconds of evaluating 10,000 images every second epoch, as a share of training 50,000 twice at a speed."""
    trainer = train.DenseNet(*ticket(net, SPARSITY), precision="bf16")
    images = torch.randn(EVALUATE, 3, 32, 32)
    took = side_by_side({"evaluate": lambda: trainer.evaluate(images)}, 3, 1)["evaluate"]
    return took * 10_000 / EVALUATE / (100_000 / speed)


def peak(dtype=torch.bfloat16, size=2048):
    """Matrix product speed of one thread, GFLOP/s."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    return 2 * size**3 / side_by_side({"product": lambda: a @ b}, 3, 1)["product"] / 1e9


def in_turn(net, batches, rounds=3):
    """The peak, the usual loop and ours in turn, so that a slow minute hits all; of each the round of median speed."""
    loops = [lambda loop=loop: loop(net, SPARSITY, batches) for loop in (usual_loop, our_loop)]
    turns = zip(*[[work() for work in (lambda: (peak(), None), *loops)] for _ in range(rounds)], strict=True)
    return [sorted(found, key=lambda f: f[0])[rounds // 2] for found in turns]


def one_net(net, batches):
    """Figures of one network: both loops, their phases, operators, and the shares that have a goal."""
    (top, _), (usual, usual_phases), (ours, phases) = in_turn(net, batches)
    share = ours * 6 * macs(ticket(net, SPARSITY)[0]) / 1e9 / top
    goals = {}
    if net.startswith("ResNet-32"):
        goals["65 % of the peak, or 2.2 times the usual loop"] = bool(share >= 0.65 or ours >= 2.2 * usual)
    this, batch = functools.partial(Figure, network=net, sparsity=SPARSITY, engine="dense"), NETS[net][2]
    beside = dict(yardstick="usual loop", against=usual, goals=goals)
    yield this("training", ours, "images/s", batch=batch, **beside)
    yield this("share of the peak", 100 * share, "%", yardstick="bf16 product", against=100)
    for engine, found in (("usual loop", usual_phases), ("dense", phases)):
        for phase, value in found.items():
            yield this("phase", 1000 * value, "ms a step", engine=engine, phase=phase, batch=batch)
    for kind, part in operators(net, SPARSITY).items():
        yield this("operator", 100 * part, "% of our step", phase=kind)
    for what, (phase, most) in GOALS.items():
        part = 100 * phases[phase] / sum(phases.values())
        yield this("share", part, "% of a step", phase=what, goals={f"below {most} %": part < most})
    part = 100 * evaluation_share(net, ours)
    yield this("share", part, "% of an epoch", phase="evaluation", goals={"below 5 %": part < 5})


class OneLayout(train.DenseNet):
    """Our step in torch's default memory layout."""

    def step(self, batch, labels):
        self.model.to(memory_format=torch.contiguous_format)
        return super().step(batch, labels)


class PlainSgd(train.DenseNet):
    """Our step with torch's default SGD, a loop over parameters."""

    sgd = None

    def update(self, lr, momentum, weight_decay):
        if self.sgd is None:
            self.sgd = torch.optim.SGD(self.model.parameters(), lr, momentum, weight_decay=weight_decay, foreach=False)
        self.sgd.param_groups[0]["lr"] = lr
        self.sgd.step()
        self.sgd.zero_grad()


def tried(net):
    """Images/s of our step, and of it with one thing changed: dict what -> speed. It compiles only where it can."""
    kinds = {
        "our step": train.DenseNet(*ticket(net, SPARSITY), precision="bf16"),
        "float32 instead of bf16": train.DenseNet(*ticket(net, SPARSITY)),
        "torch's default layout": OneLayout(*ticket(net, SPARSITY), precision="bf16"),
        "torch's default SGD": PlainSgd(*ticket(net, SPARSITY), precision="bf16"),
    }
    if shutil.which("g++"):
        compiled = train.DenseNet(*ticket(net, SPARSITY), precision="bf16")
        compiled.model = torch.compile(compiled.model)
        kinds["torch.compile"] = compiled
    found = side_by_side({kind: step(net, trainer) for kind, trainer in kinds.items()}, 5, 2)
    return {kind: NETS[net][2] / seconds for kind, seconds in found.items()}


def measure():
    """All figures of the dense path."""
    torch.set_num_threads(1)
    small = "laptop ResNet-20"
    yield from one_net("ResNet-32, doubled width", 4)
    yield from one_net(small, 12)
    slower = min(speed for speed, _ in at_once(our_loop, (small, "0.9", 40)))
    goals = {f"at least {least:,}": slower >= least for least in (1200, 1900)}
    this = functools.partial(Figure, unit="images/s", network=small, engine="dense")
    yield this("training", slower, sparsity="0.9", batch=NETS[small][2], processes=2, goals=goals)
    found = tried(small)
    for kind in [kind for kind in found if kind != "our step"]:
        beside = dict(yardstick="our step", against=found["our step"])
        yield this("variant", found[kind], sparsity=SPARSITY, phase=kind, **beside)
