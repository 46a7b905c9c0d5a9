"""How fast one CUDA GPU trains the networks at the paper's scale, alone and shared: `make gpu-bench`.

Writes book/reference/gpu.json, from which a page computes what the claims cost. It needs a GPU and no image data.
"""

import datetime
import itertools
import json
import multiprocessing
import time
from types import SimpleNamespace

import numpy as np
import torch
from ticketbook import speed

from ticketlib import masks, models, ratios, train
from ticketlib.experiments import machine, profiles, workers

IMAGES = SimpleNamespace(mean=(0.5,) * 3, std=(0.25,) * 3)
PAPER = profiles.PROFILES["paper"]
SHARED = (1, 8)  # runs at once
WARM, COUNTED = 3.5, 3.5  # seconds


def main():
    """Measure each network, and store the images a second. Raises: TicketError where there is no GPU."""
    workers.gpu_slots(1)
    facts = {"date": datetime.date.today().isoformat(), "machine": machine.facts("cuda"), "paces": []}
    with multiprocessing.get_context("spawn").Pool(max(SHARED), _one_thread) as pool:
        pool.map(_wake, range(max(SHARED)), chunksize=1)
        for network, at_once in itertools.product(PAPER.networks, SHARED):
            found = pool.starmap(pace, [(network, time.time())] * at_once, chunksize=1)
            one = dict(network=network, at_once=at_once, images_per_second=sum(found))
            facts["paces"].append(one)
            print(one, flush=True)
    speed.PACES.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def pace(network, began):
    """Images a second that one of several runs trains with, counted in the same seconds in all of them."""
    stream = torch.Generator().manual_seed(0)
    name, width, stem_stride = PAPER.networks[network]
    net = models.build(name, 10, width=width, stem_stride=stem_stride)
    counts = ratios.keep_counts(net, "uniform", "0.98")
    mask = masks.random_mask(models.prunable(net), counts, generator=stream)
    trainer = train.DenseNet(net, mask, device="cuda", precision=PAPER.training["precision"])
    batch = PAPER.training["batch"]
    pixels = np.random.default_rng(0).integers(0, 256, (50 * batch, 3, 32, 32), np.uint8)
    labels, steps = torch.arange(batch) % 10, 0
    while time.time() < began + WARM + COUNTED:
        index = torch.randint(len(pixels), (batch,), generator=stream)
        seen = train.augment(pixels[index.numpy()], IMAGES, stream, padding=4)
        trainer.step(seen, labels)
        trainer.update(0.1, 0.9, 5e-4)
        steps += began + WARM <= time.time() < began + WARM + COUNTED
    return steps * batch / COUNTED


def _one_thread():
    torch.set_num_threads(1)


def _wake(_):
    """Take the GPU, so that the first measurement does not wait for it."""
    torch.zeros(1, device="cuda")
    time.sleep(1)


if __name__ == "__main__":
    main()
