"""Seconds to an accuracy: on rows worked out by hand, and on a ledger as a finished campaign leaves it."""

import matplotlib.pyplot as plt
import pytest
import synthetic
from synthetic import row
from ticketbook import seconds, speed

PILOT = dict(held_out=5000, recipe=0)
IDLE = {"dense": 1000.0, "0.9": 2000.0, "0.98": 4000.0, "0.995": 5000.0}  # images/s


def pilot(key, seed, epochs, accuracies, took, **facts):
    """A row of the pilot: a point of its curve every `epochs / len(accuracies)` epochs."""
    every = epochs / len(accuracies)
    curve = [[every * (i + 1), accuracy, 1.0] for i, accuracy in enumerate(accuracies)]
    facts = {"train_seconds": took, "images": 50_000 * epochs} | facts
    return row(key, seed, accuracies[-1], changes=PILOT | {"epochs": epochs}, curve=curve, **facts)


@pytest.fixture
def timed():
    rows = [pilot("dense", 1000, 10, [60.0, 80.0], 100.0), pilot("smart@0.9", 1000, 10, [61.0, 76.0], 40.0),
            pilot("smart@0.9", 1000, 20, [50.0, 70.0, 78.0, 81.0], 80.0, images_per_second=2500.0)]  # fmt: skip
    lt = pilot("lt@0.9", 1000, 10, [70.0, 79.0], 50.0, parent=rows[0]["name"])
    return [*rows, lt, row("smart@0.98", 1000, 60.0, changes=PILOT | {"engine": "dense"}), row("snip@0.9", 1000, 70.0)]


def test_seconds_are_those_of_the_epochs_that_reach_it(timed):
    dense, smart, _, lt = timed[:4]
    assert [seconds.seconds_to(dense, target) for target in (60, 60.1, 80.1)] == [50.0, 100.0, None]
    assert seconds.seconds_to(smart, 75) == 40.0 and seconds.seconds_to(lt, 70, dense) == 125.0


def test_plain_tickets_of_the_usual_engine_are_read(timed):
    source, of = seconds.clocked(timed, "laptop")
    assert source == "the pilot" and set(of) == {("dense", "0"), ("smart", "0.9"), ("lt", "0.9")}
    assert sorted(of["smart", "0.9"]) == [10, 20]
    assert seconds.clocked(timed[:3], "laptop") == ("", {})
    counting = [row(key, 0, 70.0, train_seconds=9.0) for key in ("dense", "smart@0.9", "lt@0.9")]
    assert seconds.clocked([*timed, *counting], "laptop")[0] == "the runs that count"


def test_runs_at_another_learning_rate_do_not_take_the_place_of_the_others(timed):
    other = pilot("smart@0.9", 1000, 10, [99.0], 1.0)
    changed = row("smart@0.9", 1000, 99.0, changes=PILOT | {"epochs": 10, "lr": 0.3})
    of = seconds.clocked([*timed, changed], "laptop")[1]
    assert of["smart", "0.9"][10][1000]["accuracy"] == 76.0 and other["name"] == timed[1]["name"]


def test_the_fastest_length_counts_and_a_ticket_pays_for_its_dense_net(timed):
    found = seconds.to_accuracy(seconds.clocked(timed, "laptop")[1])
    assert found[60][("smart", "0.9")] == (20.0, 10, 1)
    assert found[75][("smart", "0.9")] == (40.0, 10, 1)
    assert found[80] == {("dense", "0"): (100.0, 10, 1), ("lt", "0.9"): None, ("smart", "0.9"): (80.0, 20, 1)}
    assert found[75][("lt", "0.9")] == (150.0, 10, 1) and 85 not in found
    assert seconds.common_target(seconds.clocked(timed, "laptop")[1]) == 75


def test_all_seeds_must_get_there(timed):
    other = pilot("smart@0.9", 1001, 10, [50.0, 60.0], 60.0)
    of = seconds.clocked([*timed, other], "laptop")[1]
    assert seconds.to_accuracy(of)[60][("smart", "0.9")] == (pytest.approx(40.0), 10, 2)
    assert seconds.to_accuracy(of)[75][("smart", "0.9")] == (60.0, 20, 1)


def test_tables_and_sentences_of_seconds(timed):
    of = seconds.clocked(timed, "laptop")[1]
    table = seconds.table(of).splitlines()
    assert table[0] == "| accuracy | dense | random ticket, 90 % removed | LT, with its dense net, 90 % removed |"
    assert "| 80 % | 100 s (10 epochs, n = 1) | 80 s (20 epochs, n = 1) | not reached |" in table
    assert seconds.load_said(of) == "Equal work took up to **2.5 times** as long in one run as in another."
    assert seconds.load_said(of, IDLE).endswith(
        "than in the benchmark (random ticket, 90 % removed: 1,000 to 2,500 instead of 2,000; LT, 90 % removed: 1,000 "
        "instead of 2,000). So these seconds say little about speed."
    )
    assert seconds.load_said(of, dict.fromkeys(IDLE, 1000.0)) == seconds.load_said(of)
    assert seconds.table({}) == "**Not run.**" and seconds.load_said({}) == ""


def test_the_figure_has_both_clocks(timed):
    figure, axes = plt.subplots(1, 2)
    of = seconds.clocked(timed, "laptop")[1]
    seconds.draw(axes, of, IDLE)
    for ax, expected in zip(axes, ((40, 150, 100), (250, 750, 500)), strict=True):  # 10 epochs of 50,000 images
        smart, lt, dense = ax.lines
        assert (smart.get_ydata()[0], lt.get_ydata()[0], dense.get_ydata()[0]) == expected
        assert ax.get_ylabel().startswith("seconds to 75 %")
    seconds.draw(axes, of, {})
    plt.close(figure)


@pytest.fixture(scope="module")
def whole():
    """A finished campaign: accuracy rises in even steps; seconds differ by ticket, and dense nets take 500 a run."""
    rows = synthetic.book()
    for found in rows:
        epochs, last = found.config.epochs, found["accuracy"]
        found["curve"] = [[e, round(last * e / epochs, 4), 1.0] for e in range(2, epochs + 1, 2)] or found["curve"]
        found["curve"][-1][0], found["curve"][-1][1] = epochs, last
        found["train_seconds"] = {"dense": 25.0}.get(found.config.ticket, 5.0) * epochs
        found["images"] = 50_000 * epochs
    return seconds.clocked(rows, "laptop")


def test_a_finished_campaign_shows_both_tickets_at_each_sparsity(whole):
    source, of = whole
    assert source == "the runs that count"
    assert set(of) >= {("dense", "0"), *((t, s) for t in ("smart", "lt") for s in ("0.9", "0.98"))}
    titles, _, *lines = seconds.table(of).splitlines()
    for sparsity in ("90 %", "98 %"):
        said = f"| random ticket, {sparsity} removed | LT, with its dense net, {sparsity} removed |"
        assert said in titles
    assert lines and all(line.count("|") == titles.count("|") for line in lines)


@pytest.mark.parametrize(("speeds", "dense_net", "an_epoch"), [
    (None, 25.0 * 20, {"0.9": 5.0, "0.98": 5.0}), (IDLE, 50.0 * 20, {"0.9": 25.0, "0.98": 12.5})
])  # fmt: skip
def test_lt_costs_what_a_random_ticket_does_and_its_dense_net(whole, speeds, dense_net, an_epoch):
    """To 50 % both need as many epochs, so LT's seconds are larger by the dense net's 20 epochs and nothing else."""
    _, of = whole
    for sparsity in ("0.9", "0.98"):
        at = {epochs: seeds for epochs, seeds in of["smart", sparsity].items() if epochs == 20}
        trained = {r["name"]: r for seeds in of["dense", "0"].values() for r in seeds.values()}
        lt = {20: of["lt", sparsity][20]}
        (smart, _, n), (found, _, m) = (seconds.fastest(o, 50, trained, speeds) for o in (at, lt))
        assert n == m == 10
        assert smart % an_epoch[sparsity] == 0 and found - smart == pytest.approx(dense_net)


def test_the_sentence_takes_the_highest_accuracy_that_both_reached(whole):
    _, of = whole
    clock, _, *said = seconds.verdict(of, IDLE).splitlines()
    assert clock == "On an idle machine, as estimated:"
    assert [line.split(" removed")[0] for line in said] == ["- 90 %", "- 98 %", "- 99.5 %"]
    assert all("times as long" in line for line in said)
    assert seconds.verdict({}) == "**Not run.**"


def test_the_sentence_names_the_seconds_of_all_three(timed):
    assert seconds.verdict(seconds.clocked(timed, "laptop")[1]) == (
        "By the seconds that the runs took:\n\n"
        "- 90 % removed, to 75 %: 40 s for a random ticket, 150 s for LT with its dense net, 3.8 times as long. The "
        "dense net by itself gets there in 100 s."
    )


def test_every_ticket_of_the_figure_reached_its_accuracy(whole):
    _, of = whole
    target = seconds.common_target(of)
    assert all(seconds.to_accuracy(of)[target].values()) and seconds.common_target({}) is None


def test_speeds_of_an_idle_machine_are_those_of_the_profiles_network():
    figures = [{"group": "sparse", "what": f"{net}, training, 0.9 removed", "value": value, "against": 10.0}
               for net, value in (("laptop ResNet-20", 20.0), ("slim VGG-16", 30.0))]  # fmt: skip
    stored = {"sparse": {"figures": figures}}
    assert seconds.idle(stored, "laptop") == {"dense": 10.0, "0.9": 20.0}
    assert seconds.idle(stored, "laptop", "vgg") == {"dense": 10.0, "0.9": 30.0}
    assert seconds.idle(stored, "smoke") == seconds.idle({}, "laptop") == {}
    assert set(seconds.idle(speed.load(), "laptop")) >= {"dense", "0.9", "0.98"}
