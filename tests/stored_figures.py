"""Stored benchmarks as `make bench` would leave them, in round numbers: for tests of what is read from them."""

import timing

FACTS = {"device": "cpu: toy", "threads": 1, "versions": {"torch": "2"}, "code": "abc"}
PEER = "SparseProp"
PHASES = (("usual loop", "forward", 30.0), ("usual loop", "backward", 70.0), ("our loop", "forward", 15.0),
          ("our loop", "update", 5.0))  # fmt: skip


def roofline(net):
    """Figures of a bound whose time is arithmetic for three quarters."""
    counted = (("0 removed, arithmetic", 40.0, "MFLOP an image"), ("0.9 removed, arithmetic", 4.0, "MFLOP an image"),
               ("0.9 removed, memory traffic", 3.0, "MB an image"), ("0.9 removed, time for arithmetic", 75.0, "%"),
               ("0.9 removed, multiply-adds in layers that stay dense", 20.0, "%"),
               ("0.9 removed, layers that stay dense", 2, "of 20 layers"))  # fmt: skip
    yield timing.Figure("roofline", "reading from memory", 20.0, "GB/s")
    yield from (timing.Figure("roofline", f"{net}, {what}", value, unit) for what, value, unit in counted)
    yield timing.Figure("roofline", f"{net}, 0.9 removed, measured", 2000.0, "images/s", "bound", 2500.0)


def stored_figures():
    """Figures of a machine on which a ResNet-20 is faster at both sparsities that were measured."""
    net, figure = "laptop ResNet-20", timing.Figure
    speeds = (("0.9", 2000.0, "1.5 times", True), ("0.98", 4000.0, "5 times", False))
    groups = {
        "dense": [
            *(figure("phases", f"{net}, {loop}, {phase}", value, "ms a step") for loop, phase, value in PHASES),
            figure("operators", f"{net}, batch norm", 12.34, "% of our step"),
            figure("tried", f"{net}, one thing", 900.0, "images/s", "our step", 1000.0),
            figure("tried", f"{net}, another", 1100.0, "images/s", "our step", 1000.0),
        ],
        "scores": [figure("scores", "snip", 1.2, "passes", "goal", 1.3, "within 1.3", True)],
        "upkeep": [
            figure("shared", "grid step1", 200, "epochs", "a script a cell", 250),
            figure("shared", "all grids that count", 300, "epochs", "a script a cell", 450),
            *(figure("pages", page, took, "s") for page, took in (("01_smart_ratios", 9.6), ("the site", 30.2))),
        ],
        "sparse": [
            *(figure("sparse", f"{net}, training, {s} removed", v, "images/s", "dense bf16", 1000.0, goal, reached)
              for s, v, goal, reached in speeds),
            figure("sparse", f"{net}, training, 0.9 removed, each of two processes", 1500.0, "images/s", "d", 900.0),
            *roofline(net),
            figure("sparse", f"{net}, 0.9 removed, batch norm, ReLU and sums, fused", 5.0, "ms a step", "torch", 20.0),
            *(figure(f"{net}, 0.9 removed, by phase", phase, value, "ms a step")
              for phase, value in (("convolutions forward", 3.0), ("update", 1.0))),
            figure("sparse", "a layer", 2.0, "ms", PEER, 6.0),
            figure("sparse", f"{net}, training beside {PEER}, 0.9 removed", 500.0, "images/s", PEER, 1000.0),
        ],
    }  # fmt: skip
    return {
        name: {"date": "2026-11-22", "busy": 0.0, "machine": FACTS, "figures": [f.row() for f in figures]}
        for name, figures in groups.items()
    }
