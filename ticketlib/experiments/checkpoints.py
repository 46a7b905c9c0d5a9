"""Trained networks between two runs: a cache outside the repository, checked by digest, never unpickled."""

import hashlib
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ticketlib import tickets
from ticketlib.data import cache_folder
from ticketlib.errors import TicketError
from ticketlib.experiments.ledger import NAME, sweep


def digest(tensors):
    """SHA-256 over names, shapes and bytes of a dict of CPU tensors, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().contiguous()
        state.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        state.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _path(name, folder):
    if not NAME.fullmatch(name):
        raise TicketError(f"checkpoint {name!r} is not allowed; it must be a run's name, 16 hexadecimal digits.")
    return (Path(folder) if folder else cache_folder()) / "checkpoints" / f"{name}.safetensors"


def save(name, model, mask, folder=None):
    """Store a trained network and its mask under a run's name; returns the digest.

    Raises: TicketError if it cannot be written, after which nothing of it is left.
    """
    tensors = tickets.pack(model, mask)
    path, found = _path(name, folder), digest(tensors)
    try:
        _write(tensors, path, found)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TicketError(f"checkpoint {path.name} cannot be written: {reason}.") from None
    return found


def _write(tensors, path, found):
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata={"digest": found})
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def load(name, folder=None):
    """A stored network: (state dict, Mask, digest), or None if there is none that is sound.

    A file that is truncated or altered, so that its digest is not the one stored with it, counts as absent: it is made
    again.
    """
    path = _path(name, folder)
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError):
        return None
    found = digest(tensors)
    if found != _stored_digest(path):
        return None
    return *tickets.unpack(tensors), found


def _stored_digest(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("digest")
