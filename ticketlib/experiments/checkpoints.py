"""Trained networks between two runs, and states of a run on its way: a cache outside the repository, never unpickled.

What is read back is checked by the digest that was stored with it.
"""

import hashlib
import json
import os
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ticketlib import tickets
from ticketlib.data import cache_folder
from ticketlib.errors import TicketError
from ticketlib.experiments.bundles import sweep, unfinished
from ticketlib.experiments.ledger import NAME


def digest(tensors):
    """SHA-256 over names, shapes and bytes of a dict of CPU tensors, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().contiguous()
        state.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        state.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _path(name, folder, kind="checkpoints"):
    if not NAME.fullmatch(name):
        raise TicketError(f"checkpoint {name!r} is not allowed; it must be a run's name, 16 hexadecimal digits.")
    return (Path(folder) if folder else cache_folder()) / kind / f"{name}.safetensors"


def save(name, model, mask, folder=None):
    """Store a trained network and its mask under a run's name; returns the digest.

    Raises: TicketError if it cannot be written, after which nothing of it is left.
    """
    tensors = tickets.pack(model, mask)
    digits = digest(tensors)
    _write(tensors, _path(name, folder), {"digest": digits})
    return digits


def _write(tensors, path, metadata):
    """Write tensors and texts under a temporary name and move the file into place."""
    try:
        sweep(path.parent)
        with unfinished(path.parent) as temporary:
            save_file(tensors, temporary, metadata=metadata)
            os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TicketError(f"{path.parent.name.removesuffix('s')} {path.name} cannot be written: {reason}.") from None


def load(name, folder=None):
    """A stored network: (state dict, Mask, digest), or None if there is none that is sound.

    A file that is truncated or altered, so that its digest is not the one stored with it, counts as absent: it is made
    again.
    """
    read = _read(_path(name, folder))
    if read is None or (digits := digest(read[0])) != read[1].get("digest"):
        return None
    return *tickets.unpack(read[0]), digits


def _read(path):
    """The tensors and texts of a file; None where there is none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError):
        return None


class Keeper:
    """States of one run on its way, so that it goes on inside itself where it was stopped.

    A state is good for the same run, made by the same code on the same kind of machine. One that is damaged or foreign
    is none, and the run begins anew. The last one is removed when the run is over.

    Arguments: name: of the run. maker: plain dict, what makes a state foreign where it differs. every: seconds between
        two states. folder: of the cache, the usual one if None.
    """

    def __init__(self, name, maker, *, every, folder=None):
        self.path, self.every, self.last = _path(name, folder, "states"), every, time.monotonic()
        self.maker = json.dumps(maker | {"run": name}, sort_keys=True)
        self.went_on = 0  # how often this run has gone on from a state

    def due(self):
        """Whether it is time for another state."""
        return time.monotonic() - self.last >= self.every

    def save(self, state):
        """Keep a state in place of the one before: (dict of tensors, dict of plain values)."""
        tensors, facts = state
        tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
        texts = {"facts": json.dumps(facts | {"went_on": self.went_on}), "maker": self.maker}
        _write(tensors, self.path, texts | {"digest": _of_state(tensors, texts)})
        self.last = time.monotonic()

    def load(self):
        """The last state that was kept, as `save` took it; None where there is none that is sound and the run's own."""
        read = _read(self.path)
        if read is None:
            return None
        tensors, texts = read
        if texts.get("maker") != self.maker or texts.get("digest") != _of_state(tensors, texts):
            return None
        facts = json.loads(texts["facts"])
        self.went_on = facts.pop("went_on") + 1
        return tensors, facts

    def over(self):
        """The run has come to its end: no state is needed any more."""
        self.path.unlink(missing_ok=True)


def _of_state(tensors, texts):
    return hashlib.sha256(f"{digest(tensors)} {texts['maker']} {texts.get('facts')}".encode()).hexdigest()
