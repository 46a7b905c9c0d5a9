"""Tickets, keep-ratios and sanity checks of neural network pruning.

The modules, in the order in which to read them:

- a ticket: models, pruners, flow, ranking, ratios, quotas, masks, tickets, corrupt, paths
- its images: data, batches, store, images, archives
- its training: train, graphs, sparse (and below it plans, layout, kernels, convolutions, tiles, norms, pools, heads,
  vectors)
- its use: inference, flat
- its row: runs, profiles, ledger, experiment, checkpoints, machine, probes, imagenet
- many runs: grids, campaign, backends, journal, progress, audit, commands
- what rows say: claims, evidence, stats, verdicts, board
- a pruner of your own: sanity, scorers, identity, findings
- what pages share: nb, pages, prose, plots, drawings, chapters, checks, errors
- pages on claims: judging, controls, pilot, budget, spent, learning, seconds, speed, timings
- pages on masks: shares, overlaps, drifts, shapes, limits
- other pages: pipeline, reading, sources, published, reviewers, replies, answers, observations, baselines, repeats,
  arithmetic, faults, gpus
"""


def __getattr__(name):
    """Import `sanity_check` when it is first asked for: it brings torch and the plots, which `import` should not."""
    if name == "sanity_check":
        from ticketlib.sanity import sanity_check

        return sanity_check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
