"""How fast a CUDA GPU trains: network, precision, runs at once and how they share it; and where a step's time goes.

`make gpu-bench` adds a set to book/reference/gpu.json, from which pages compute what the claims cost. It needs no image
data. With `--device cpu` it goes through every cell as far as a processor can, for a few steps, and stores nothing.
"""

import argparse
import contextlib
import dataclasses
import datetime
import itertools
import json
import multiprocessing
import queue
import threading
import time

import numpy as np
import torch

from ticketlib import data, masks, models, ratios, train
from ticketlib.errors import TicketError
from ticketlib.experiments import machine, profiles, workers
from ticketlib.experiments.config import streams
from ticketlib.experiments.places import GPU_PACES

NETWORKS = {"ResNet-32": ("paper", "resnet"), "VGG-19": ("paper", "vgg"), "laptop ResNet-20": ("laptop", "resnet")}
PRECISIONS, AT_ONCE, SHARES = ("float32", "tf32", "bf16"), (1, 8, 16), ("mps", "threads", "processes")
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
    cells = [(*cell, share) for cell in cells for share in (SHARES if cell[-1] > 1 else ("processes",))]
    found = {"date": datetime.date.today().isoformat(), "machine": machine.facts(options.device), "paces": []}
    for network, precision, number, share in cells:
        cell = network, precision, options.device, 0.2 if rehearsed else options.seconds
        try:
            with served(share):
                paces = together(number, cell, share == "threads")
        except TicketError as error:
            print(f"left out: {error}", flush=True)
            continue
        one = dict(network=network, precision=precision, at_once=number, share=share, images_per_second=sum(paces))
        found["paces"].append(one | dict(slowest=min(paces), fastest=max(paces)))
        print(found["paces"][-1], flush=True)
    found["kernels"] = [kernels(network, precision, options.device) for network in NETWORKS for precision in precisions]
    if rehearsed:
        return print(f"rehearsed {len(cells)} cells; nothing is stored")
    stored = json.loads(GPU_PACES.read_text(encoding="utf-8"))
    stored.setdefault("sets", []).append(found)
    GPU_PACES.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@contextlib.contextmanager
def served(share):
    """The daemon that processes share a GPU by, for "mps". Raises: TicketError where it cannot be started."""
    with contextlib.closing(workers.Mps(1, ("",))) if share == "mps" else contextlib.nullcontext():
        yield


def together(number, cell, threads=False):
    """Images a second of each of so many processes or threads, all counting in the same seconds: list of float."""
    context = multiprocessing.get_context("spawn")
    kinds = (threading.Barrier, queue.Queue, threading.Thread)
    barrier, line, worker = kinds if threads else (context.Barrier, context.Queue, context.Process)
    begin, paces = barrier(number), line()
    all_of_them = [worker(target=_count, args=(begin, paces, *cell)) for _ in range(number)]
    for one in all_of_them:
        one.start()
    found = [paces.get() for _ in all_of_them]
    for one in all_of_them:
        one.join()
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
    on_gpu = trainer.device.type == "cuda"
    wait = (lambda: torch.cuda.current_stream().synchronize()) if on_gpu else lambda: None  # of this thread alone
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
