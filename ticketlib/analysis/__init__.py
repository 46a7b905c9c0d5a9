"""From rows to words with intervals, and the same for a pruner from outside."""
