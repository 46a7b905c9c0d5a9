"""What a device asks for beside the arithmetic: its precisions, steps recorded on a GPU, memory that is kept."""

import ctypes
import functools
import platform
import sys
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from ticketlib.errors import TicketError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
ONE_GIBIBYTE = 1 << 30
EAGER = 3  # steps of a shape that are carried out as they come, so that libraries are loaded before one is recorded
CAPTURE = threading.Lock()  # one recording at a time, where several runs share a process


def check_precision(precision, device):
    """Refuse a precision that a device does not have, so that none falls back to another unseen."""
    allowed = ["float32", "bf16"]
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        allowed = ["float32", "bf16", "tf32"] if major >= 8 else ["float32"]
    if precision not in allowed:
        raise TicketError(f"precision {precision!r} is not there on {device}; allowed: {', '.join(allowed)}.")


class Bf16ByFloat32(TorchFunctionMode):
    """Computes the convolutions and linear layers of bf16 by float32, on processors that have no products of bf16.

    Factors, sums and gradients are rounded to bf16; the products, which float32 holds exactly, are added up in float32.
    That is what processors with such products do, in another order of sums. torch's own way, where they are missing,
    takes seventeen times as long.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function not in (F.conv2d, F.linear):
            return function(*args, **kwargs)
        rounded = lambda x: x.bfloat16().float() if isinstance(x, torch.Tensor) else x  # noqa: E731
        with torch.autocast("cpu", enabled=False):
            exact = function(*map(rounded, args), **{name: rounded(value) for name, value in kwargs.items()})
            return exact.bfloat16()


def lacks_bf16(device):
    """Whether a device has no products of bf16, so that torch would emulate them one by one."""
    has_onednn = torch.backends.mkldnn.is_available()
    return device.type == "cpu" and not (has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def computing_in(precision, device):
    """Compute a network in a precision that `check_precision` let pass: "float32", "tf32", or "bf16" by autocast."""
    in_bf16 = precision == "bf16"
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=in_bf16),
        Bf16ByFloat32() if in_bf16 and lacks_bf16(device) else nullcontext(),
    ):
        yield


def image_layout(model, device):
    """The memory layout in which a network computes: channels last, in which torch convolves fastest.

    On a processor it is channels first where a 1x1 convolution of a stride has fewer input channels than a vector has
    numbers: channels last, oneDNN writes past the workspace of that convolution's gradient. torch 2.14.1 then crashes
    or, in several threads, may give a wrong gradient.
    Source: https://github.com/uxlfoundation/oneDNN/issues/6035, open.
    """
    lanes = 8 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 16  # float32 in a vector; AVX-512 has the most
    convolutions = (layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    overrun = any(layer.kernel_size == (1, 1) and max(layer.stride) > 1 and layer.in_channels // layer.groups < lanes
                  for layer in convolutions)  # fmt: skip
    return torch.contiguous_format if overrun and device.type == "cpu" else torch.channels_last


class Recorder:
    """Carries out steps of training; from the fourth of a kind on it replays a recording of the step.

    A small network keeps a GPU waiting for its launches. The same kernels run in the same order either way, so results
    are the same to the last digit. Work goes to a stream of its own, as recording needs, and so that runs in several
    threads go on side by side.

    Source: torch.cuda.graphs.
    """

    def __init__(self):
        self.seen, self.recordings = Counter(), {}
        self.stream = torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.set_stream(self.stream)

    def __call__(self, kind, step):
        """One step. Arguments: kind, what a recording is good for, hashable; step, a function without arguments, the
        same work in every call of a kind, all of it on the GPU. Returns: its loss.
        """
        self.seen[kind] += 1
        if self.seen[kind] <= EAGER:
            return step()
        if kind not in self.recordings:
            graph = torch.cuda.CUDAGraph()
            with CAPTURE, torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                loss = step()
            self.recordings[kind] = graph, loss
        graph, loss = self.recordings[kind]
        graph.replay()
        return loss.clone()  # the next replay writes over its own


@functools.cache
def keep_memory():
    """Tell glibc to keep the memory it has been given back, once a process; elsewhere nothing happens.

    A training step frees and takes the same large blocks again and again. By default each goes back to the system and
    comes as fresh pages, cleared one by one. No result depends on it; `make bench` shows what it saves.

    Returns: whether the C library has the switch.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(M_MMAP_THRESHOLD, ONE_GIBIBYTE) and set_option(M_TRIM_THRESHOLD, ONE_GIBIBYTE))


def use_gpu(device, tf32=False):
    """Compute on a CUDA device from now on; let cuDNN repeat itself to the last digit, and float32 be float32.

    Without this it adds in another order each time, and rounds the factors of a convolution to ten bits (TF32), which
    is to be asked for by name.
    """
    if device.index is not None:
        torch.cuda.set_device(device)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
