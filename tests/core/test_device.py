"""Steps recorded once a kind and replayed; the switch of the C library."""

import contextlib
import importlib
import sys

import pytest
import torch

from ticketlib import device


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


@pytest.mark.parametrize("conv, channels", [
    ((4, 8, 1, 2), 4), ((8, 16, 1, 2), 8), ((15, 30, 1, (1, 2)), 15), ((32, 64, 1, 2, 0, 1, 8), 4),
])  # fmt: skip
def test_channels_come_first_where_oneDNN_would_write_past_its_workspace(monkeypatch, conv, channels):
    net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv2d(*conv))
    for processor, vector in (("AVX2", 8), ("AVX512", 16)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)  # noqa: B023
        first = device.image_layout(net, torch.device("cpu")) is torch.contiguous_format
        assert first == (channels < vector)
        assert device.image_layout(net, torch.device("cuda")) is torch.channels_last


@pytest.mark.parametrize("conv", [(4, 8, 1, 1), (4, 8, 3, 2), (16, 32, 1, 2)])
def test_channels_come_last_elsewhere(conv):
    assert device.image_layout(torch.nn.Conv2d(*conv), torch.device("cpu")) is torch.channels_last


def test_a_step_is_recorded_once_a_kind_and_then_replayed(replays):
    taken, losses = [], []

    def step():
        taken.append(len(taken))
        return torch.tensor(float(len(taken)))

    recorder = device.Recorder()
    losses = [recorder("first", step) for _ in range(device.EAGER + 2)]
    assert len(taken) == device.EAGER + 1 and len(replays) == 2  # three as they come, one recorded; two replayed
    assert list(map(float, losses)) == [1, 2, 3, 4, 4]  # a graph that computes nothing keeps what was recorded
    assert losses[-1].data_ptr() != losses[-2].data_ptr()  # a loss stays what it was
    recorder("second", step)
    assert len(taken) == device.EAGER + 2 and len(replays) == 2  # another kind begins anew


@pytest.mark.parametrize("name", ["on_gpu", "gpu"])
def test_what_only_a_gpu_can_run_is_at_least_sound_to_import(name):
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize(("platform", "libc"), [("linux", "musl"), ("win32", "glibc"), ("darwin", "")])
def test_the_switch_is_there_on_linux_and_harmless_twice(platform, libc, monkeypatch):
    assert device.keep_memory() == device.keep_memory() == sys.platform.startswith("linux")
    monkeypatch.setattr(device.sys, "platform", platform)
    monkeypatch.setattr(device.platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: pytest.fail("another library was asked"))
    assert not device.keep_memory.__wrapped__()


@pytest.fixture
def switches():
    """The switches of the process that `use_gpu` turns, put back afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.deterministic = False
    yield cudnn, matmul
    cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.mark.parametrize(("name", "chosen"), [("cuda", []), ("cuda:1", [torch.device("cuda:1")])])
def test_a_gpu_repeats_itself_and_rounds_to_tf32_on_request_alone(name, chosen, switches, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    for tf32 in (True, False):
        device.use_gpu(torch.device(name), tf32)
        assert [which.allow_tf32 for which in switches] == [tf32] * 2 and torch.backends.cudnn.deterministic
    assert seen == 2 * chosen
