"""How fast a CUDA GPU trains: precision by runs at once by network, and where a step's time goes: `make gpu-bench`.

Adds a set to book/reference/gpu.json, from which pages compute what the claims cost. It needs no image data. With
`--device cpu` it goes through every cell as far as a processor can, for a few steps, and stores nothing.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import multiprocessing
import time

import numpy as np
import torch
from ticketbook.speed import PACES

from ticketlib import data, masks, models, ratios, train
from ticketlib.experiments import machine, profiles
from ticketlib.experiments.config import streams

NETWORKS = {"ResNet-32": ("paper", "resnet"), "VGG-19": ("paper", "vgg"), "laptop ResNet-20": ("laptop", "resnet")}
PRECISIONS, AT_ONCE = ("float32", "tf32", "bf16"), (1, 8, 16)
TWICE = (("ResNet-32", "bf16", 8), ("ResNet-32", "float32", 1))  # measured a second time, at the end, for the spread
WARM, COUNTED = 30, 8.0  # steps before counting, seconds of it
LONGEST, PROFILED = 15, 20  # kernels that are listed, steps that are profiled
IMAGES = 6400


def main():
    """Measure every cell and store the set. Raises: TicketError where the device or a precision is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=COUNTED, help="of counting, a cell")
    options = parser.parse_args()
    rehearsed = options.device == "cpu"
    precisions, at_once = (("float32",), (1, 2)) if rehearsed else (PRECISIONS, AT_ONCE)
    cells = [*itertools.product(NETWORKS, precisions, at_once), *([] if rehearsed else TWICE)]
    found = {"date": datetime.date.today().isoformat(), "machine": machine.facts(options.device), "paces": []}
    for network, precision, number in cells:
        paces = together(number, (network, precision, options.device, 0.2 if rehearsed else options.seconds))
        one = dict(network=network, precision=precision, at_once=number, images_per_second=sum(paces))
        found["paces"].append(one | dict(slowest=min(paces), fastest=max(paces)))
        print(found["paces"][-1], flush=True)
    found["kernels"] = [kernels(network, precision, options.device) for network in NETWORKS for precision in precisions]
    if rehearsed:
        return print(f"rehearsed {len(cells)} cells; nothing is stored")
    stored = json.loads(PACES.read_text(encoding="utf-8"))
    stored.setdefault("sets", []).append(found)
    PACES.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def together(number, cell):
    """Images a second of each of so many processes, all counting in the same seconds: list of float."""
    context = multiprocessing.get_context("spawn")
    begin, paces = context.Barrier(number), context.Queue()
    processes = [context.Process(target=_count, args=(begin, paces, *cell)) for _ in range(number)]
    for process in processes:
        process.start()
    found = [paces.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def _count(begin, paces, network, precision, device, seconds):
    torch.set_num_threads(1)
    step, wait, batch = stepper(network, precision, device)
    for _ in range(WARM if device != "cpu" else 2):  # libraries are loaded, and the step is recorded
        step()
    wait()
    begin.wait()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
        if steps % 50 == 0:
            wait()  # the host must not run ahead of what is counted
    wait()
    paces.put(steps * batch / (time.perf_counter() - began))


def stepper(network, precision, device):
    """(A function that makes one training step, one that waits for the device, images a step)."""
    profile, short = NETWORKS[network]
    config = profiles.config(profile, "uniform", "0.9", 0, dataset=profiles.NO_IMAGES, network=short)
    config = dataclasses.replace(config, engine="dense", precision=precision)
    draw = np.random.default_rng(0)
    split = data.Split(draw.integers(0, 256, (IMAGES, 3, 32, 32), np.uint8), np.arange(IMAGES) % 10)
    images = data.Dataset("cifar10", tuple("abcdefghij"), split, split, (0.5,) * 3, (0.25,) * 3, "0" * 16, "noise")
    net = models.build(config.network, 10, width=config.width, stem_stride=config.stem_stride)
    counts = ratios.keep_counts(net, "uniform", "0.98")
    mask = masks.random_mask(models.prunable(net), counts, generator=torch.Generator().manual_seed(0))
    trainer = train.DenseNet(net, mask, device=device, precision=precision, resident=True)
    feed = trainer.feed(images, config, streams(config)("order"), streams(config)("augment"))
    wait = torch.cuda.synchronize if trainer.device.type == "cuda" else lambda: None
    return lambda: trainer.learn(feed, feed.next(), config.lr, config), wait, config.batch


def kernels(network, precision, device):
    """The longest kernels of a step and their share of its time: dict."""
    step, wait, _ = stepper(network, precision, device)
    for _ in range(WARM if device != "cpu" else 1):
        step()
    wait()
    activity = torch.profiler.ProfilerActivity.CUDA if device != "cpu" else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profile:
        for _ in range(PROFILED if device != "cpu" else 1):
            step()
        wait()
    spent = "self_device_time_total" if device != "cpu" else "self_cpu_time_total"
    times = sorted(((getattr(event, spent), event.key, event.count) for event in profile.key_averages()), reverse=True)
    total = sum(time for time, *_ in times)
    longest = [dict(kernel=key[:80], share=time / total, calls=count) for time, key, count in times[:LONGEST]]
    return dict(network=network, precision=precision, longest=longest)


if __name__ == "__main__":
    main()
