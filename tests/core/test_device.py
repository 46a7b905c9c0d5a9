"""Steps recorded once a kind and replayed; the switch of the C library."""

import contextlib
import copy
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


@pytest.mark.parametrize("layer, shape", [
    (torch.nn.Conv2d(3, 5, 3, stride=2, padding=1), (2, 3, 9, 9)),
    (torch.nn.Conv2d(4, 6, 1, groups=2, bias=False), (2, 4, 5, 5)),
    (torch.nn.Linear(7, 3), (4, 7)),
])  # fmt: skip
def test_bf16_by_float32_is_the_exact_result_rounded_once(layer, shape):
    """Factors of at most five bits: every sum is exact in float32, so only the roundings to bf16 are left."""
    stream = torch.Generator().manual_seed(0)
    whole = lambda shape: torch.randint(-15, 16, shape, generator=stream).double()  # noqa: E731
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(whole(parameter.shape) * (1 + 1 / 1024))  # which rounding to bf16 takes away
    exact = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in exact.parameters():
            parameter.round_()
    images, layer = whole(shape), layer.float()
    inputs = [images.clone().requires_grad_(), images.float().requires_grad_()]
    outputs = [exact(inputs[0])]
    with torch.autocast("cpu", torch.bfloat16), device.Bf16ByFloat32():
        outputs.append(layer(inputs[1]))
    assert outputs[1].dtype == torch.bfloat16 and outputs[1].equal(outputs[0].bfloat16())
    back = whole(outputs[0].shape)
    for output in outputs:
        output.backward(back.to(output.dtype))
    found = [[one.grad for one in (inputs[i], *net.parameters())] for i, net in enumerate((exact, layer))]
    for right, ours in zip(*found, strict=True):
        assert ours.dtype == torch.float32 and ours.equal(right.bfloat16().float())


def test_bf16_goes_by_float32_only_where_its_products_are_missing(monkeypatch):
    entered = []
    monkeypatch.setattr(device, "Bf16ByFloat32", lambda: entered.append(1) or contextlib.nullcontext())
    for missing in (False, True):
        monkeypatch.setattr(device, "lacks_bf16", lambda _: missing)  # noqa: B023
        for precision, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            with device.computing_in(precision, torch.device("cpu")):
                assert torch.nn.Linear(2, 1)(torch.ones(1, 2)).dtype == dtype
        assert entered == [1] * missing


def test_a_gpu_has_products_of_bf16():
    assert not device.lacks_bf16(torch.device("cuda"))


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
