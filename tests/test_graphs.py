"""Recorded steps, with a GPU played by hand: when a step is recorded, what is replayed, what a caller sees."""

import contextlib
import importlib

import pytest
import torch

from ticketlib import graphs


@pytest.fixture
def replays(monkeypatch):
    """Stand-ins for torch.cuda: a graph that notes its replays and computes nothing."""
    noted = []
    graph = type("Graph", (), {"replay": lambda self: noted.append(self)})
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: contextlib.nullcontext())
    stream = type("Stream", (), {"wait_stream": lambda self, other: None})
    monkeypatch.setattr(torch.cuda, "Stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", stream)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda _: None)
    return noted


def test_a_step_is_recorded_once_a_shape_and_then_replayed(replays):
    weight, seen = torch.nn.Parameter(torch.ones(1)), []

    def step(images, labels):
        seen.append(images)
        loss = (weight * images).sum() + labels.sum()
        loss.backward()
        return loss.detach()

    recorder, labels, losses = graphs.Recorder([weight]), torch.zeros(1), []
    for value in range(1, 6):
        losses.append(recorder(step, torch.full((2,), float(value)), labels))
        gradient, weight.grad = weight.grad.clone(), None
    assert len(seen) == graphs.EAGER + 1 and len(replays) == 2  # three as they come, one recorded; two replayed
    assert seen[-1].tolist() == [5.0, 5.0]  # the recording reads what it is given last
    assert (float(losses[-1]), float(gradient)) == (8.0, 8.0)  # a graph that computes nothing keeps what was recorded
    assert losses[-1].data_ptr() != losses[-2].data_ptr()  # a loss stays what it was
    recorder(step, torch.ones(3), labels)
    assert len(seen) == graphs.EAGER + 2 and len(replays) == 2  # another shape begins anew
    assert float(weight.grad) == 3.0


@pytest.mark.parametrize("name", ["on_gpu", "gpu"])
def test_what_only_a_gpu_can_run_is_at_least_sound_to_import(name):
    assert importlib.import_module(name).__doc__
