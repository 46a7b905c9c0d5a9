"""Prose pages: what they compute is whole and right, what they cite exists, what they show as an example is true."""

import doctest
import re
import tomllib

import pandas as pd
import pytest
import yaml
from synthetic import row
from ticketbook import audits, board, front, numbers, speed

from ticketlib.analysis import stats
from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.experiments.audit import DIFFERS, ELSEWHERE
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import PROFILES

TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")}


def lines(table):
    """The cells of a Markdown table's lines, the titles first."""
    return [line.strip("| ").split(" | ") for line in table.splitlines() if not line.startswith("| ---")]


def test_pages_ask_for_nothing_that_is_not_computed_and_all_that_is_computed_is_asked_for():
    names = {name for text in TEXTS.values() for name in re.findall(r"\{\{ *(\w+)", text)}
    first = {"claims_board", "board_scope", "accuracy_picture", "compared_cells"}  # not of ticketbook.front
    assert first <= names <= first | set(front.substitutions())
    assert set(front.substitutions()) - set(speed.substitutions()) <= names


def test_profiles_differ_in_what_the_table_says_and_in_nothing_else():
    smoke, laptop, paper = (PROFILES[name].training for name in ("smoke", "laptop", "paper"))
    assert {what for what in laptop if laptop[what] != paper[what]} == set(front.REASONS)
    found = {line[0]: line[1:4] for line in lines(front.recipe_differences())}
    assert found["epochs"] == [str(of["epochs"]) for of in (smoke, laptop, paper)] == ["6", "20", "160"]
    assert found["random horizontal flips"] == ["no", "yes", "yes"] and "momentum" not in found


def test_every_grid_stands_in_the_table_with_its_runs_and_on_the_page():
    found = {line[0].strip("`"): line for line in lines(front.grids_table())[1:]}
    assert list(found) == list(grids.GRIDS) and all(f"`{name}`" in TEXTS["grids"] for name in grids.GRIDS)
    assert found["step1"][2:5] == ["410", "410", "405"] and found["v2"][2] == "328"
    assert all(int(line[3]) <= int(line[2]) for line in found.values())


def test_seeds_are_planned_with_the_larger_spread_of_two_sparsities():
    table = lines(front.baseline_table())
    points = numbers.paired("snip+rearranged@0.98", "snip@0.98").points
    assert table[1][2].endswith(f" and {points.std():.2f}")
    assert table[1][3].endswith(f" and {stats.seeds_needed(points.std(), 1.0)}")
    widest = numbers.paired("smart@0.98", "lt@0.98").points.std()
    assert table[3][4] == f"{100 * stats.tost_power(8, widest, 1.0):.0f} %" and len(table) == 1 + len(front.BASELINES)


def test_levels_are_compared_by_what_they_cost(monkeypatch):
    ours, theirs = lines(front.levels_table())[1:]
    assert theirs[1:] == ["−0.62", "−1.77", "−3.91"]  # 94.07, 92.92 and 90.78 beside 94.69
    assert ours[1] == "−0.72" and float(ours[3].replace("−", "-")) < -3.91
    monkeypatch.setattr(front, "runs", lambda: numbers.runs().assign(accuracy=80.0))
    with pytest.raises(TicketError, match="page on threats"):
        front.levels_table()


def test_a_words_history_lists_every_change_newest_first(monkeypatch, tmp_path):
    entries = [{"date": f"2026-01-0{day}", "protocol": day, "recipes": [1], "words": {"A": word, "B": "no"}}
               for day, word in ((1, "yes"), (2, "yes"), (3, "open"))]  # fmt: skip
    monkeypatch.setattr(board, "history", lambda: tmp_path / "verdicts.json")
    board.history().write_text(front.json.dumps(entries), encoding="utf-8")
    table = lines(front.changelog())[1:]
    assert [line[0] for line in table] == ["2026-01-03", "2026-01-01", "2026-01-01"]
    assert table[0][3:] == ["A", "yes", "open"]


def test_hours_and_energy_are_summed_by_kind_of_row_and_gpus_stand_apart(monkeypatch):
    made = [row("smart@0.9", 0, 70.0, seconds=3600.0), row("smart@0.9", 1, 70.0, seconds=7200.0, threads=2),
            row("smart@0.9", 2, 70.0, seconds=1800.0, changes={"recipe": 0, "held_out": 5000, "epochs": 10}),
            row("smart@0.9", 3, 70.0, seconds=1800.0, device="NVIDIA A100")]  # fmt: skip
    monkeypatch.setattr(front, "ledger_rows", lambda profile="laptop": made if profile == "laptop" else [])
    table = lines(front.outlay_table())[1:]
    assert [line[1:] for line in table] == [  # pilot, runs, all
        ["1", "0.5", "0.0037 to 0.011"], ["2", "5.0", "0.037 to 0.11"], ["3", "5.5", "0.041 to 0.12"]]  # fmt: skip
    assert lines(front.outlay_gpus())[1:] == [["NVIDIA A100", "1", "0.5"]]


def test_a_package_without_a_licence_is_refused(monkeypatch):
    class Nothing:
        metadata = type("Empty", (), {"get": lambda *_: None, "get_all": lambda *_: []})()

    assert front.licence("numpy").startswith("BSD")
    monkeypatch.setattr(front, "distribution", lambda name: Nothing)
    with pytest.raises(TicketError, match="numpy"):
        front.licence("numpy")


def test_an_audit_that_came_out_otherwise_fails_the_page_and_one_elsewhere_does_not_count(monkeypatch):
    frame = audits.audit_frame()
    again = frame.index[frame.kind == "again"]
    assert audits.Audits().repeated() == str(frame.loc[again].run.nunique())
    last = frame.run[again[-1]]
    elsewhere, otherwise = (
        frame.assign(outcome=frame.outcome.where(frame.run != last, of)) for of in (ELSEWHERE, DIFFERS)
    )
    monkeypatch.setattr(audits, "audit_frame", lambda: elsewhere)
    assert int(audits.Audits().repeated()) == frame.loc[again].run.nunique() - 1
    monkeypatch.setattr(audits, "audit_frame", lambda: otherwise)
    with pytest.raises(TicketError, match=last):
        audits.Audits().repeated()


def test_what_the_dense_engine_changes_is_the_difference_of_two_paired_differences(monkeypatch):
    made = [("snip@0.98", seed, 60.0 + seed, 61.0) for seed in (0, 1, 2)]
    made += [("snip+rearranged@0.98", seed, 60.0 + 2 * seed, 63.0) for seed in (0, 1, 2)]
    frame = pd.DataFrame(made, columns=["arm", "seed", "before", "after"]).assign(kind="dense", machine="here")
    monkeypatch.setattr(audits, "audit_frame", lambda: frame)
    [line] = audits.shifts().to_dict("records")
    assert (line["n"], line["before"], line["after"], line["change"]) == (3, 1.0, 2.0, 1.0)  # 0, 1, 2 become 2, 2, 2
    assert line["each"] == ["+2.00", "+1.00", "0.00"] and audits.Audits().moved(0.5, 1.5) == "1.00"
    with pytest.raises(TicketError, match="1.00"):
        audits.Audits().moved(0, 0.9)
    elsewhere = pd.concat([frame, frame.assign(machine="there", after=frame.after - 3)], ignore_index=True)
    elsewhere.loc[(elsewhere.machine == "there") & (elsewhere.seed == 2), "after"] = None  # a run that diverged
    monkeypatch.setattr(audits, "audit_frame", lambda: elsewhere)
    assert audits.shifts()[["machine", "n", "change"]].to_numpy().tolist() == [["here", 3, 1.0], ["there", 2, 1.5]]


def test_a_diverged_run_has_no_accuracy_and_a_net_that_is_not_the_one_on_record_is_refused(monkeypatch):
    facts = dict(accuracy=50.0, diverged=False, device="a", versions={"torch": "1"})
    made = dict(arm="lt@0.9", network="n", seed=0, epochs=1, engine="dense", outcome="", differs=[], elsewhere=[],
                num_test=1, config=dict(audit="x", date="d", code="c", changes={}))  # fmt: skip
    line = audits._line(made | {"recorded": facts, "again": facts | {"diverged": True}})
    assert line["before"] == 50.0 and line["after"] is None and line["kind"] == "again"
    dense = row("dense", 0, 90.0, checkpoint="a" * 64)
    good, bad = (row(key, 0, 80.0, parent=dense["name"], parent_checkpoint=digest * 64)
                 for key, digest in (("lt@0.9", "a"), ("lrr@0.9", "b")))  # fmt: skip
    monkeypatch.setattr(audits, "ledger_rows", lambda: [dense, good])
    assert audits.Audits().inherited() == "1"
    monkeypatch.setattr(audits, "ledger_rows", lambda: [dense, good, bad])
    with pytest.raises(TicketError, match="differs: bbbb"):
        audits.Audits().inherited()


def test_only_what_was_changed_stands_among_the_changes():
    assert [line[:2] for line in lines(audits.spread_table())[1:]] == [
        ["precision: float32", "dense"], ["threads: 2", "dense"], ["threads: 2", "sparse"]]  # fmt: skip
    assert audits.Audits().inherited() == str(sum(row.get("parent") in {r["name"] for r in numbers.ledger_rows()}
                                                  for row in numbers.ledger_rows()))  # fmt: skip



def test_every_reference_says_who_when_where_and_how_it_was_checked():
    for key, entry in front.references().items():
        assert entry.persons["author"] and {"title", "year", "annote"} <= set(entry.fields), key
        assert {"booktitle", "journal", "note", "institution", "howpublished"} & set(entry.fields), key
        assert entry.fields["year"] == key[-4:], key
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert len(front.references()) == text.count("\n@") + 1


def test_every_citation_is_in_the_bibliography():
    code = [*(ROOT / "ticketlib").rglob("*.py"), *(ROOT / "book" / "ticketbook").glob("*.py")]
    files = [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb"), *code]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    cited = {key for keys in re.findall(r"\{cite:[pt]\}`([^`]*)`", text) for key in keys.split(",")}
    assert cited - {"{key}"} <= set(front.references())


def test_the_citation_file_is_valid_and_of_this_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(found) and found["cff-version"] == "1.2.0"
    assert found["version"] == project["version"] and found["type"] == "software" and found["license"] == "MIT"
    assert found["authors"] == [{"name": "The ticketlib authors"}]
    [paper] = found["references"]
    assert paper["title"] == front.references()["su2020"].fields["title"] and len(paper["authors"]) == 7


def test_the_examples_of_the_api_page_are_true():
    text = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"```pycon\n(.*?)```", text, re.S))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(doctest.DocTestParser().get_doctest(examples, {}, "api.md", None, 0))
    assert runner.tries > 25 and runner.failures == 0
