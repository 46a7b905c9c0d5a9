"""The journal of campaigns: when to stop, how long it takes, what is remembered of failures and of other campaigns."""

import json
import time
from datetime import datetime

import pytest
from synthetic import make, row_of

from ticketlib.errors import TicketError
from ticketlib.experiments import campaign, journal, machine
from ticketlib.experiments.ledger import Ledger
from ticketlib.experiments.workers import Finished

NOW = datetime(2026, 1, 31, 22, 0, 30, 500)


@pytest.mark.parametrize(("seconds", "said"), [
    (0, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h"), (3.6e7, "10000.0 h"),
])  # fmt: skip
def test_durations(seconds, said):
    assert journal.duration(seconds) == said


@pytest.mark.parametrize(("until", "hours", "at"), [
    ("22:00", None, datetime(2026, 2, 1, 22)), ("22:01", None, datetime(2026, 1, 31, 22, 1)),
    ("9:05", None, datetime(2026, 2, 1, 9, 5)), (None, 0.5, datetime(2026, 1, 31, 22, 30, 30, 500)),
    (None, 24 * 365, datetime(2027, 1, 31, 22, 0, 30, 500)), ("23:00", 2, datetime(2026, 1, 31, 23)),
])  # fmt: skip
def test_when_to_stop(until, hours, at):
    assert journal.stop_time(until, hours, NOW) == at


def test_the_minute_that_it_is_comes_again_tomorrow():
    assert journal.stop_time("22:00", now=datetime(2026, 1, 31, 22)) == datetime(2026, 2, 1, 22)


def test_a_campaign_without_an_end_goes_on():
    assert not journal.Stop()() and not journal.Stop(datetime(2999, 1, 1))() and journal.Stop(datetime(2020, 1, 1))()


@pytest.mark.parametrize("given", [dict(hours=0), dict(hours=-1), dict(hours=24 * 365 + 0.5), dict(until="24:00")])
def test_times_that_are_none_are_refused(given):
    with pytest.raises(TicketError, match=str(next(iter(given.values())))):
        journal.stop_time(**given, now=NOW)


def test_a_run_is_given_up_after_two_failures_with_the_same_code(tmp_path, monkeypatch):
    book, config = journal.Journal(Ledger(tmp_path)), make()
    monkeypatch.setattr(machine, "code_version", lambda: "one")
    book.note(campaign.Outcome(config, reason="at first"))
    book.note(campaign.Outcome(make(seed=1), reason="once"))
    assert book.given_up() == {}
    book.note(campaign.Outcome(config, reason="again"))
    assert book.given_up() == {config.name: "again"}
    monkeypatch.setattr(machine, "code_version", lambda: "another")
    assert book.given_up() == {} and len(book.entries()) == 3


def test_a_run_whose_worker_died_is_tried_once_more():
    config = make()
    queue = campaign.Queue([], tries={config.name: 1})
    assert queue.settle(Finished(config, reason="killed", lost=True)) == [] and queue.waiting == [config]
    queue = campaign.Queue([], tries={config.name: 2})
    [outcome] = queue.settle(Finished(config, reason="killed", lost=True))
    assert outcome.state == "failed" and queue.waiting == []


def test_what_is_left_follows_from_the_pace_so_far(tmp_path):
    configs, said, status = [make(seed=seed, epochs=6) for seed in range(4)], [], journal.Status(Ledger(tmp_path))
    progress = journal.Progress(configs, status, said.append)
    assert progress.seconds_left() is None and (status.facts["done"], status.facts["total"]) == (0, 4)
    progress.began -= 6000
    progress.add(campaign.Outcome(configs[0], row_of(configs[0], 50.0)))
    assert progress.seconds_left() == pytest.approx(18_000, rel=0.02)  # three more
    assert status.facts["done"] == 1 and "[1/4]" in said[0] and "3 left" in said[0] and "5.0 h" in said[0]
    progress.add(campaign.Outcome(configs[1], reason="no luck"))
    assert progress.seconds_left() == pytest.approx(12_000, rel=0.02)  # a failure is no pace
    progress.add(campaign.Outcome(configs[2], row_of(configs[2], 0.0, diverged=True)))
    assert progress.seconds_left() == pytest.approx(3000, rel=0.02)
    assert [len(status.facts[what]) for what in ("failed", "diverged", "warnings")] == [1, 1, 0]


def test_summaries_of_campaigns_that_are_over_or_a_day_old_go(tmp_path):
    folder, now = journal.folder(Ledger(tmp_path)), time.time()
    there = {"on": {"updated": now}, "over": {"updated": now, "over": True}, "none": {},
             "old": {"updated": now - 24 * 3600 - 60}, "day": {"updated": now - 24 * 3600 + 600}}  # fmt: skip
    for name, facts in there.items():
        (folder / f"{name}.status").write_text(json.dumps({"total": 1} | facts))
    assert len(journal.campaigns(Ledger(tmp_path))) == 4  # one is no summary
    journal.Status(Ledger(tmp_path))
    assert sorted(path.stem for path in folder.glob("*.status")) == ["day", "on"]
    assert [journal.ended({"updated": time.time() - ago}) for ago in (30, 90)] == [False, True]
    silent = {"total": 1, "done": 0, "updated": now - 90}
    said = [journal.summary(facts)[0] for facts in (silent, silent | {"over": True}, silent | {"updated": time.time()})]
    assert ["killed" in line for line in said] == [True, False, False]
