"""Tickets, keep-ratios and sanity checks of neural network pruning."""
