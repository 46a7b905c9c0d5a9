"""Rows drawn by lot and carried out again: equal to the last digit, or said why not; a tampered row is caught."""

import json

import pytest
import torch
from synthetic import arms, row

from ticketlib import __main__ as command_line
from ticketlib import data
from ticketlib.errors import TicketError
from ticketlib.experiments import audit, grids, journal, machine
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.run import execute

KEYS = ("dense", "lt@0.9", "lrr@0.9", "smart@0.9")


def names_of(found, rows):
    by_name = {row["name"]: row["arm"] for row in rows}
    return [by_name[name] for name in found.rows]


# which rows


def population():
    found = arms({"lt": 80.0, "lt+both": 80.0, "lrr": 81.0, "snip": 79.0, "smart": 79.0}, seeds=range(4))
    parents = {(f"dense{c}", s): row(f"dense{c}", s, 90.0)["name"] for c in ("", "+both") for s in range(4)}
    for one in found:
        ticket = one["arm"].partition("@")[0]
        if ticket.startswith(("lt", "lrr")):
            one["parent"] = parents["dense+both" if "both" in ticket else "dense", one.config.seed]
    return [*found, *(row("dense", seed, 90.0) for seed in range(4))]


def test_one_lt_one_lrr_and_another_are_drawn_and_share_a_trained_net_where_they_can():
    rows, seen = population(), set()
    by_name = {row["name"]: row for row in rows}
    for day in range(20):
        found = audit.draw(rows, "tag-1", f"2026-12-{day:02}")
        lt, lrr, other = (by_name[name] for name in found.rows)
        assert (lt.config.ticket, lrr.config.ticket) == ("lt", "lrr") and other.config.ticket not in ("lt", "lrr")
        assert lt.config.corruption == "both" or lt["parent"] == lrr["parent"]
        seen |= {row["arm"] for row in (lt, lrr, other)}
    assert {"lt@0.9", "lt+both@0.98", "lrr@0.98", "dense@0"} <= seen


def test_the_draw_follows_from_code_date_and_names_alone():
    rows = population()
    found = audit.draw(rows, "tag-1", "2026-12-01")
    assert audit.draw(rows[::-1], "tag-1", "2026-12-01") == found
    others = {audit.draw(rows, code, f"2026-12-{day:02}").rows for code in ("tag-1", "tag-2") for day in range(5)}
    assert len(others) > 5


def test_rows_of_the_pilot_are_drawn_only_where_there_are_no_others():
    pilot = arms({"lt": 80.0, "smart": 79.0}, changes={"recipe": 0, "held_out": 5000})
    drawn = {name for day in range(20) for name in audit.draw([*pilot, *population()], "c", str(day)).rows}
    assert not drawn & {row["name"] for row in pilot}
    assert names_of(audit.draw(pilot, "c", "1"), pilot)[0].startswith("lt@")


def test_nothing_to_draw_from_is_said():
    with pytest.raises(TicketError, match="has no run"):
        audit.draw([], "c", "d")
    with pytest.raises(TicketError, match="others -1"):
        audit.draw(population(), "c", "d", -1)


# carried out again


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four real runs on the digits, an epoch each, as a campaign would have made them: list of rows."""
    cache, digits = tmp_path_factory.mktemp("cache"), data.load("digits")
    configs = [grids.arm("smoke", key, 0, digits, epochs=1) for key in KEYS]
    with machine.threads(1):
        return [execute(config, digits, cache=cache, progress=False) for config in configs]


@pytest.fixture
def ledger(tmp_path, made, monkeypatch):
    monkeypatch.setenv("TICKETLIB_CACHE", str(tmp_path / "cache"))
    return Ledger(tmp_path / "rows")


def fill(ledger, rows):
    for one in rows:
        ledger.add(Row(one))
    return ledger


def call(ledger, *options):
    return command_line.main(["audit", "--profile", "smoke", "--ledger", str(ledger.folder), *options])


def test_rows_come_out_equal_to_the_last_digit_with_the_nets_they_start_from(ledger, made, tmp_path, capsys):
    fill(ledger, made)
    assert call(ledger) == 0
    found = audit.folder(ledger).rows()
    assert {row["arm"] for row in found} >= {"dense@0", "lt@0.9", "lrr@0.9"}
    assert {row["outcome"] for row in found} == {audit.EQUAL} and all(row["answers"] == 0 for row in found)
    assert "equal to the last digit" in capsys.readouterr().out
    assert not (tmp_path / "cache" / "audits").exists() or not list((tmp_path / "cache" / "audits").iterdir())
    assert ledger.names() == sorted(row["name"] for row in made)  # audits are no rows


def test_a_row_from_before_a_field_was_added_is_the_same_run(ledger, made):
    """Its configuration lacks a field that stands at its default now, and has the same name."""
    later = {"count_table", "parent_order"}
    fill(ledger, [row | {"config": {k: v for k, v in row["config"].items() if k not in later}} for row in made])
    assert call(ledger, "--others", "0") == 0
    assert {row["outcome"] for row in audit.folder(ledger).rows()} == {audit.EQUAL}


def test_rows_of_other_images_than_the_profiles_own_are_audited_on_request(ledger, made, capsys):
    fill(ledger, made)
    options = ["audit", "--ledger", str(ledger.folder), "--others", "0", "--allow-dirty", "--dataset"]
    assert command_line.main([*options, "digits"]) == 0
    assert {row["outcome"] for row in audit.folder(ledger).rows()} == {audit.EQUAL}
    assert command_line.main([*options, "cifar101"]) == 2 and "'cifar101' is not known" in capsys.readouterr().err


@pytest.mark.parametrize(("arm", "tampered"), [
    ("lt@0.9", {"images": 1}), ("lrr@0.9", {"effective_sparsity": 1.0}), ("dense@0", {"checkpoint": "0" * 64}),
    ("lt@0.9", {"mask_digest": "0" * 64}), ("lrr@0.9", {"parent_checkpoint": "0" * 64}),
])  # fmt: skip
def test_a_tampered_row_is_caught(ledger, made, arm, tampered, capsys):
    fill(ledger, [Row(row | tampered) if row["arm"] == arm else row for row in made])
    assert call(ledger, "--others", "0") == 1
    found = {row["arm"]: row for row in audit.folder(ledger).rows()}
    assert found[arm]["outcome"] == audit.DIFFERS and found[arm]["differs"] == list(tampered)
    assert {row["outcome"] for name, row in found.items() if name != arm} == {audit.EQUAL}
    assert f"differs ({next(iter(tampered))})" in capsys.readouterr().out


@pytest.mark.parametrize("machine_of_row", [{"device": "cpu: another"}, {"versions": {"torch": "1"}}])
def test_a_row_of_another_machine_is_neither_equal_nor_wrong(ledger, made, machine_of_row):
    fill(ledger, [Row(row | machine_of_row | {"images": 12}) for row in made])
    assert call(ledger, "--others", "0") == 0
    found = audit.folder(ledger).rows()
    assert {row["outcome"] for row in found} == {audit.ELSEWHERE}
    assert all(row["elsewhere"] == list(machine_of_row) and row["differs"] == ["images"] for row in found)


def test_an_audit_goes_on_where_it_was_stopped(ledger, made, monkeypatch):
    fill(ledger, made)
    execute, asked = audit.execute, []

    def stopped(config, *given, **options):
        asked.append(config.arm)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return execute(config, *given, **options)

    monkeypatch.setattr(audit, "execute", stopped)
    assert call(ledger) == 130 and len(audit.folder(ledger).names()) == 2
    noted = json.loads((journal.folder(ledger) / "audit.json").read_text())
    fill(ledger, [row("lt@0.9", 7, 50.0, "smoke")])  # a campaign goes on meanwhile
    assert call(ledger) == 0 and asked[3] == asked[2] and not (journal.folder(ledger) / "audit.json").exists()
    assert len(audit.folder(ledger).names()) == len(set(asked)) and "dense@0" in asked
    assert {row["config"]["date"] for row in audit.folder(ledger).rows()} == {noted["date"]}


def test_rows_of_one_grid_and_this_kind_of_machine_are_drawn(ledger, made, capsys, monkeypatch):
    short = lambda profile, dataset: [grids.arm(profile, key, 0, dataset, epochs=1) for key in KEYS[:3]]  # noqa: E731
    monkeypatch.setitem(grids.GRIDS, "step1", short)
    away = [Row(row | {"device": "cpu: another"}) if row["arm"] == "lrr@0.9" else row for row in made]
    fill(ledger, away)
    near = {row["name"] for row in away if row["arm"] in ("dense@0", "lt@0.9")}
    assert call(ledger, "--grid", "step1", "--runs", "2") == 0
    assert {row["config"]["audit"] for row in audit.folder(ledger).rows()} == near
    assert {row["outcome"] for row in audit.folder(ledger).rows()} == {audit.EQUAL}
    assert call(ledger, "--grid", "step1", "--runs", "3") == 2
    assert "at most 2" in capsys.readouterr().err


def test_what_is_to_be_changed_is_changed_and_nothing_else(ledger, made, monkeypatch):
    fill(ledger, made)
    smart, seen = made[3], []
    monkeypatch.setattr(audit, "execute", lambda config, *_, **options: seen.append(
        (config.precision, torch.get_num_threads(), options["cache"].name)) or smart)  # fmt: skip
    again = audit.Again(ledger, data.load("digits"), audit.Draw("code", "day", ()))
    found = [again.row(smart.config, changes) for changes in (None, {"threads": 2}, {"precision": "bf16"})]
    assert seen == [("float32", 1, "same"), ("float32", 2, "changed"), ("bf16", 1, "changed")]
    assert [row["config"]["changes"] for row in found] == [{}, {"threads": 2}, {"precision": "bf16"}]
    assert [row["outcome"] for row in found] == [audit.EQUAL, audit.SPREAD, audit.SPREAD]


def test_other_code_draws_anew(ledger, monkeypatch):
    rows = fill(ledger, population()).rows()
    first = audit.begin(ledger, rows, "tag-1")
    assert audit.begin(ledger, rows, "tag-1") == first
    assert audit.begin(ledger, rows, "tag-2").code == "tag-2"
    assert len(audit.begin(ledger, rows, "tag-2", others=0).rows) < len(first.rows)  # fewer are asked for


def test_rows_that_may_not_be_drawn_are_not_gone_on_with(ledger):
    rows = fill(ledger, population()).rows()
    first = audit.begin(ledger, rows, "tag-1")
    others = [row for row in rows if row["name"] not in first.rows]
    second = audit.begin(ledger, others, "tag-1")
    assert not set(first.rows) & set(second.rows)
    audit.end(ledger, audit.draw_any(rows, "tag-1", "day", 2))  # another draw's end
    assert audit.begin(ledger, others, "tag-1") == second
    audit.end(ledger, second)
    assert not (journal.folder(ledger) / "audit.json").exists()


def test_runs_alone_are_drawn(ledger):
    rows = fill(ledger, population()).rows()
    probes = [Row(kind="probe", name=f"{place:016x}", config={}) for place in range(100)]
    assert {*audit.draw_any([*rows, *probes], "code", "day", len(rows)).rows} == {row["name"] for row in rows}
    with pytest.raises(TicketError, match=f"at most {len(rows)}"):
        audit.draw_any([*rows, *probes], "code", "day", len(rows) + 1)


def test_an_audit_on_another_device_is_one_of_its_own(ledger, monkeypatch):
    [smart, *_] = fill(ledger, arms({"smart": 80.0}, seeds=[0])).rows()
    executed = []
    monkeypatch.setattr(audit, "execute", lambda config, dataset, **_: executed.append(config) or smart)
    monkeypatch.setattr(machine, "facts", lambda device: {"device": device})
    drawn = audit.Draw("code", "day", ())
    for device in ("cpu", "cpu", "cuda"):
        audit.Again(ledger, None, drawn, device).row(smart.config)
    assert len(executed) == 2 and {row["config"]["device"] for row in audit.folder(ledger).rows()} == {"cpu", "cuda"}


def test_notes_cut_short_are_no_notes(ledger):
    rows = fill(ledger, population()).rows()
    first = audit.begin(ledger, rows, "tag-1")
    notes = journal.folder(ledger) / "audit.json"
    for text in (notes.read_text()[:20], "[]", "{}"):
        notes.write_text(text)
        assert audit.begin(ledger, rows, "tag-1").rows == first.rows


@pytest.mark.slow
def test_the_spread_is_measured_once(ledger, made, capsys):
    digits = data.load("digits")
    half = grids.arm("smoke", "smart@0.9", 0, digits, epochs=1, precision="bf16")
    with machine.threads(1):
        fill(ledger, [*made, execute(half, digits, progress=False)])
    assert call(ledger, "--spread") == 0
    found = audit.folder(ledger).rows()
    assert [row["config"]["changes"] for row in found] in (
        [{"threads": 2}, {"precision": "float32"}], [{"precision": "float32"}, {"threads": 2}]
    )  # fmt: skip
    assert {row["outcome"] for row in found} == {audit.SPREAD}
    assert {row["arm"] for row in found} <= {"dense@0", "smart@0.9"}
    assert all(row["elsewhere"] == [] for row in found)
    assert half.name in [row["config"]["audit"] for row in found if "precision" in row["config"]["changes"]]
    capsys.readouterr()
    assert call(ledger, "--spread") == 0 and capsys.readouterr().out.startswith("0 runs")


def test_a_change_must_change_something(ledger):
    slow, fast = (row("smart@0.98", 0, 60.0, changes={"engine": "dense", "precision": p, "epochs": e})
                  for p, e in (("float32", 5), ("bf16", 10)))  # fmt: skip
    fill(ledger, [slow, fast])
    jobs = audit.spread_jobs(ledger, ledger.rows())
    assert [(c.epochs, changes) for c, changes in jobs] == [(5, {"threads": 2}), (10, {"precision": "float32"})]
    void = {"audit": slow["name"], "code": "c", "date": "d", "changes": {"precision": "float32"}}
    found = audit.compared(slow, slow, void["changes"])
    audit.folder(ledger).add(Row(kind="audit", name=audit.name_of(void), config=void) | found)
    assert audit.spread_jobs(ledger, ledger.rows()) == jobs


def made_again(ledger, accuracies, where="a GPU"):
    """Audits of tickets made again in the dense engine: {arm: accuracy there}, on record 60 %; None diverges."""
    for arm, accuracy in accuracies.items():
        for seed in audit.DENSE_SEEDS:
            made = row(f"{arm}@0.98", seed, 60.0, mask_digest="a" * 64, changes={"engine": "sparse"})
            ledger.add(made)
            again = Row(made | {"device": where, "versions": {"torch": "3"}, "diverged": accuracy is None})
            again |= {"accuracy": (accuracy or 0) + seed}
            facts = {"audit": made["name"], "code": where, "date": "d", "changes": audit.DENSE}
            found = audit.compared(made, again, audit.DENSE) | {"answers": 100 * (seed + 1), "num_test": 1000}
            audit.folder(ledger).add(Row(kind="audit", name=audit.name_of(facts), config=facts) | found)


def arms_of(ledger):
    return [(c.arm, c.seed) for c, _ in audit.dense_jobs(ledger, ledger.rows(), "laptop", "cpu")]


def test_a_few_tickets_are_made_again_in_the_dense_engine_once_a_device(ledger):
    fill(ledger, [row("snip@0.98", seed, 60.0, changes={"engine": "sparse"}) for seed in range(4)])
    fill(ledger, [row("smart@0.9", 0, 60.0), row("smart@0.98", 0, 60.0, changes={"engine": "dense"})])
    fill(ledger, [row("uniform@0.98", 0, 60.0, diverged=True)])
    assert arms_of(ledger) == [("snip@0.98", seed) for seed in range(3)]
    made_again(ledger, {"snip": 61.0})
    assert len(arms_of(ledger)) == 3  # what a GPU has made, this device has not
    made_again(ledger, {"snip": 61.0}, machine.processor())
    assert arms_of(ledger) == []


def test_a_device_that_is_not_there_is_refused(ledger, capsys):
    fill(ledger, population())
    assert call(ledger, "--dense", "--device", "tpu") and "'tpu'" in capsys.readouterr().err
