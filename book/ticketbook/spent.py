"""What was spent: on a ticket, the dense net it needs included, beside its accuracy; and on all rows of the ledger."""

from collections import defaultdict

from ticketlib.analysis import words as prose
from ticketlib.experiments import campaign

WATTS = (5, 15)  # of one busy core of a server, its share of memory and power supply included; assumed, not measured
OVERHEAD = 1.5  # a computing centre's draw over that of its machines; assumed


def core_hours(rows):
    """Core-hours of all rows made on processors, by kind of row: dict kind -> (rows, hours)."""
    found = defaultdict(lambda: [0, 0.0])
    for row in rows:
        if campaign.on_processor(row):
            kind = "probes: masks only" if row["kind"] == "probe" else "runs"
            kind = "pilot and engine comparison" if kind == "runs" and row.config.recipe == 0 else kind
            found[kind][0] += 1
            found[kind][1] += row["seconds"] * row["threads"] / 3600
    return {kind: tuple(values) for kind, values in sorted(found.items())}


def outlay_table(rows):
    """Core-hours and a range of energy for each kind of row, and in all, as a Markdown table."""
    found = core_hours(rows)
    total = sum(count for count, _ in found.values()), sum(hours for _, hours in found.values())
    lines = [
        [kind, count, f"{hours:.1f}", " to ".join(f"{energy(hours, watts):.2g}" for watts in WATTS)]
        for kind, (count, hours) in [*found.items(), ("**all**", total)]
    ]
    return prose.table(["rows in the ledger", "rows", "core-hours", "kWh, estimated"], lines)


def on_gpus(rows):
    """What was made on GPUs and is in no table of core-hours, in a sentence; "" where nothing was."""
    made = [row for row in rows if not campaign.on_processor(row)]
    devices = " and ".join(sorted({row["device"] for row in made}))
    hours = sum(row["seconds"] for row in made) / 3600
    return (f"Not in the table: {len(made)} rows made on {devices}. Their hours add up to {hours:.1f}, of runs that "
            "shared the GPU.") if made else ""  # fmt: skip


def energy(hours, watts):
    """Kilowatt-hours of core-hours at a draw for each core, the computing centre's overhead included."""
    return hours * watts * OVERHEAD / 1000
