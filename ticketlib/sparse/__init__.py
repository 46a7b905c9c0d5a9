"""The engine that skips zeros: training and classifying on a processor, in float32."""

from ticketlib.sparse.net import SparseNet

__all__ = ["SparseNet"]
