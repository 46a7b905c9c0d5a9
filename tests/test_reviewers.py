"""The reviewers' page: every item is there, every link resolves, and nothing is answered without rows behind it."""

import re

import pytest
from synthetic import CIFAR, arms, row
from ticketbook import answers, board, observations, pages, replies
from ticketbook import verdicts_1 as verdicts
from ticketbook.answers import Answer, Facts, Need, Pair, Piece
from ticketbook.reviewers import ITEMS, TOTAL

from ticketlib import models, ratios
from ticketlib.errors import TicketError
from ticketlib.experiments import grids
from ticketlib.experiments import probe as probes
from ticketlib.experiments.config import lineage
from ticketlib.experiments.ledger import Ledger, Row
from ticketlib.experiments.places import book_ledger
from ticketlib.experiments.profiles import PROFILES

IDS = (
    [f"R1.{k}" for k in range(1, 5)] + [f"R2.{k}" for k in range(1, 15)] + [f"R3.{k}" for k in range(1, 4)]
    + [f"R3.C{k}" for k in range(7)] + ["R3.P1", "R3.F1"]
)  # fmt: skip
BY_ID = {item.id: item for item in ITEMS}
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")
SEEDS = PROFILES["laptop"].seeds


def answer(item_id, rows=(), pages=None):
    return answers.answer(BY_ID[item_id], Facts(rows, pages))


def counts(rule, sparsity="0.98", network="resnet"):
    name, width, stride = PROFILES["laptop"].networks[network]
    return ratios.keep_counts(models.build(name, 10, width=width, stem_stride=stride), rule, sparsity)


@pytest.fixture(scope="module")
def empty():
    """What the page says while the ledger is empty: dict from name to Markdown."""
    return replies.substitutions([])


def test_all_thirty_items_are_there():
    assert [item.id for item in ITEMS] == IDS and len(IDS) == 30


def test_every_item_has_one_line_in_the_tables(empty):
    assert re.findall(r"^\| (R\d\.\w+) \|", empty["reviewers"], re.M) == IDS


def test_every_link_resolves(root, empty):
    texts = [*empty.values(), (root / "book" / "reviewers.md").read_text(encoding="utf-8")]
    links = [link for text in texts for link in LINK.findall(text)]
    assert len(links) > 10
    for link in links:
        if link.startswith("#"):
            assert f"({link[1:]})=" in (root / "book" / "reviewers.md").read_text(encoding="utf-8")
            continue
        assert replies.page_path(link.removesuffix(".md")).is_file(), link


def test_a_page_that_is_not_there_is_not_linked():
    assert replies.link(BY_ID["R1.1"], {}) == "no page yet"
    found = replies.link(BY_ID["R1.1"], {"claims/09_published": ""})
    assert found == "[published](claims/09_published)"
    assert replies.link(BY_ID["R2.1"], {"reviewers": ""}) == "[runs missing](#missing-runs)"
    both = replies.link(BY_ID["R2.7"], {"claims/03_architecture_checks": "", "claims/11_sparse_end": ""})
    assert both == "[architecture checks](claims/03_architecture_checks), [sparse end](claims/11_sparse_end)"


def test_without_rows_nothing_that_needs_runs_is_answered(empty):
    found = replies.answered(Facts([], replies.listed_pages()))
    measured = [answer for item, answer in found if item.kind == answers.MEASURED]
    assert len(measured) == 18 and {answer.word for answer in measured} == {verdicts.NOT_RUN}
    assert not any(answer.answered or answer.rows for answer in measured)
    assert "Of 18 items that need runs, none is answered in part and none in full." in empty["reviewers_summary"]


@pytest.mark.parametrize("word", answers.SETTLED)
def test_no_word_of_an_answer_without_rows(word):
    with pytest.raises(TicketError, match="R2.7 is called"):
        answers.checked(BY_ID["R2.7"], Answer(word, "All is well."), Facts([]))


def test_rows_that_are_not_in_the_ledger_are_no_rows():
    found = Answer(answers.DESCRIBED, "All is well.", frozenset({"f" * 16}), (3,))
    with pytest.raises(TicketError, match="without rows"):
        answers.checked(BY_ID["R2.7"], found, Facts([]))


def test_what_is_not_run_is_in_the_table_of_runs(empty):
    listed = set(re.findall(r"^\| (R\d\.\w+) \|", empty["reviewers_runs"], re.M))
    assert listed == {item.id for item in ITEMS if item.kind == answers.MEASURED}
    assert "*Open:* 21 runs, 19.5 units (extreme sparsity)." in empty["reviewers"]  # R2.7
    assert empty["reviewers"].count("*Open:*") == 18


def sparse_end(seeds=range(3), **options):
    means = {arm: 60.0 for t in ("snip", "lt", "lrr") for arm in (t, f"{t}+rearranged")}
    return [row(f"{arm}@0.995", seed, mean, keep_counts=counts("smart", "0.995"), **options)
            for arm, mean in means.items() for seed in seeds]  # fmt: skip


def test_with_its_rows_an_item_is_answered_and_leaves_the_table_of_runs():
    rows = sparse_end()
    found = answer("R2.7", rows)
    assert found.answered and found.word == answers.DESCRIBED and found.n == (3,)
    assert found.rows == {r["name"] for r in rows}
    assert "SNIP rearranged, ResNet-20 at 0.995 0.00 (0.00 to 0.00)" in found.text
    [part] = replies.open_runs(BY_ID["R2.7"], Facts(rows))
    assert {config.ticket for config in part.to_do} == {"dense"} and (len(part.to_do), part.planned) == (3, 21)
    dense = [row("dense@0", seed, 80.0) for seed in range(3)]
    assert replies.open_runs(BY_ID["R2.7"], Facts(rows + dense)) == []
    assert replies.waiting(BY_ID["R2.7"], Facts(rows + dense)) == ""


def test_with_some_rows_it_is_described_in_part():
    found = answer("R2.7", [r for r in sparse_end() if "lrr" not in r["arm"]])
    assert found.word == answers.PARTLY and not found.answered and "not run: LRR rearranged" in found.text
    assert answer("R2.7", sparse_end(range(2))).word == answers.PARTLY


def test_pairs_of_two_machines_are_not_read():
    rows = [Row(r | {"device": "another"}) if r["arm"] == "snip@0.995" else r for r in sparse_end()]
    found = answer("R2.7", rows)
    assert "SNIP rearranged, ResNet-20 at 0.995 not read, because of device" in found.text and not found.answered


def test_a_control_that_did_nothing_is_not_read():
    found = answer("R2.7", sparse_end(control={"moved_share": 0.0}))
    assert "because of a control that did nothing" in found.text and found.word == answers.PARTLY


def test_collapsed_runs_are_counted():
    rows = [row("hybrid@0.995", 0, 60.0), row("lrr@0.995", 0, 10.0)]
    assert "hybrid over LRR at 0.995 +50.00 (one seed), collapsed runs: 1" in answer("R2.4", rows).text


def test_a_claim_gives_its_word(monkeypatch):
    rows = arms({"hybrid": 80.0, "lrr": 75.0}, seeds=range(SEEDS))
    monkeypatch.setattr(board, "protocol", lambda: None)
    assert answer("R1.1", rows).word == verdicts.NOT_RUN  # the protocol has fixed no margin
    monkeypatch.setattr(board, "protocol", lambda: {"margin": 1.0, "seeds": SEEDS})
    found = answer("R1.1", rows)
    assert found.word == "holds" and found.answered and found.n == (SEEDS,) and len(found.rows) == 4 * SEEDS
    assert answer("R1.1", arms({"hybrid": 75.0, "lrr": 75.0}, seeds=range(SEEDS))).word == "undecided"
    assert answer("R1.1", arms({"hybrid": 80.0, "lrr": 75.0}, seeds=range(2))).word == "provisional"
    assert not answer("R1.1", arms({"hybrid": 80.0, "lrr": 75.0}, seeds=range(2))).answered
    longer = {"epochs": TOTAL}
    equal = [row(f"smart@{s}", seed, 70.0, changes=longer) for s in ("0.9", "0.98") for seed in range(SEEDS)]
    part, whole = answer("R1.4", rows), answer("R1.4", rows + equal)
    assert part.word == whole.word == "holds" and not part.answered and whole.answered
    assert "hybrid over smart ratio, as many epochs in all +10" in whole.text


def test_costs_are_measured_or_said_not_to_be():
    need = Need((Pair("", "hybrid", "lrr"),), ("0.98",), "step1", 2)
    to_do, planned = answers.missing(need, Facts([]))
    assert [config.arm for config in planned[:3]] == ["dense@0", "hybrid@0.98", "lrr@0.98"] and len(planned) == 6
    assert answers.cost(to_do, Facts([])) == ("5", "not measured")  # two dense, and four at three quarters
    measured = Facts([row("dense@0", 7, 80.0, images_per_second=1000.0)])
    epochs = PROFILES["laptop"].training["epochs"]
    assert answers.cost(to_do, measured) == (
        "5", f"{2 * epochs * 50 / 3600:.1f} for the 2 of 6 runs of a measured kind"
    )  # fmt: skip
    assert answers.cost([], measured) == ("0", "0")


def test_tickets_that_cannot_be_made_count_as_chance_and_are_not_waited_for():
    rows = [row("dense", 0, 90.0, diverged=True), row("smart@0.9", 0, 80.0)]
    facts, need = Facts(rows), Need((Pair("smart ratio − LT", "smart", "lt"),), ("0.9",), seeds=1)
    found = answers.difference(need, need.pairs[0], facts)
    assert found.text == "smart ratio − LT +70.00 (one seed), collapsed runs: 1" and found.complete
    assert found.rows == {rows[1]["name"]} and answers.missing(need, facts)[0] == []
    assert observations.seeds(facts).rows <= set(facts.by_name) and answers.of_claim("C", facts)[1].rows <= found.rows


def test_iterative_pruning_counts_every_round():
    [config] = [grids.arm("laptop", "imp@0.9", 0, CIFAR)]
    line = lineage(config)
    assert line[0].ticket == "dense" and line[-1] == config and len(line) == 12  # 0.8 ** 10 > 0.1 > 0.8 ** 11


def test_runs_that_are_said_to_be_in_a_grid_are_in_it():
    facts = Facts([])
    seen = {name: facts.images(grids.data_of(name, "laptop")) for name in grids.GRIDS}
    planned = {
        name: {one.name for c in grids.grid(name, "laptop", seen[name]) for one in lineage(c)} for name in grids.GRIDS
    }
    for item in ITEMS:
        for need in item.needs:
            names = {c.name for c in answers.missing(need, facts)[1]}
            if need.grid:
                assert names <= planned[need.grid] | planned["step1"], item.id  # dense nets are made in step 1
            else:
                assert not any(names <= configs for configs in planned.values()), item.id


def test_advice_is_followed_where_the_page_shows_it():
    item = BY_ID["R3.C3"]
    assert answer(item.id).word == answers.NOT_FOLLOWED
    assert answer(item.id, pages={"protocol": "nothing of the kind"}).word == answers.NOT_FOLLOWED
    assert answer(item.id, pages={"protocol": f"... {item.phrase} ..."}).answered


@pytest.mark.parametrize("item", [i for i in ITEMS if i.kind == answers.EDITORIAL], ids=lambda item: item.id)
def test_advice_names_a_page_and_words_on_it(item):
    assert item.pages and item.phrase and item.text and not item.needs


def mask_rows(ticket, place, kept, seeds=range(observations.MASK_SEEDS), suffix="", **facts):
    """Rows with the mask of a ticket on one of the networks that masks are compared on."""
    profile, network = observations.PLACES[place]
    book = {"variant": "default", "scoring": "book", "network": network}
    return [row(f"{ticket}{suffix}@0.98", seed, 70.0, profile, changes=book, keep_counts=kept, **facts)
            for seed in seeds]  # fmt: skip


@pytest.fixture(scope="module")
def smart():
    """The smart ratio's keep-counts: dict from the name of a network to its counts."""
    found = {}
    for place, (profile, network) in observations.PLACES.items():
        name, width, stride = PROFILES[profile].networks[network]
        found[place] = ratios.keep_counts(models.build(name, 10, width=width, stem_stride=stride), "smart", "0.98")
    return found


def test_masks_are_compared_with_the_smart_ratio(smart):
    other = counts("uniform")
    rows = mask_rows("snip", "ResNet-32", smart["ResNet-32"]) + mask_rows("lt", "ResNet-20", other, range(2))
    found = answer("R2.12", rows)
    assert "0.00 (SNIP on ResNet-32) to 0." in found.text and "(LT on ResNet-20), over 2 masks" in found.text
    assert found.word == answers.PARTLY and found.n == (2, observations.MASK_SEEDS)
    assert answer("R3.C5", rows).word == answers.PARTLY
    wanted = [(method, place) for place, methods in observations.REQUIRED.items() for method in methods]
    whole = [r for method, place in wanted for r in mask_rows(method, place, smart[place])]
    assert answer("R2.12", whole).answered and answer("R3.C5", whole).answered
    said = answer("R2.6", whole).text  # the smart ratio falls from layer to layer
    assert "fall with depth in 9 of 9: " in said and "−1.00 (SNIP on ResNet-32)" in said


def test_masks_of_other_scores_or_recipes_are_not_mixed_in(smart):
    facts = Facts(mask_rows("snip", "ResNet-32", smart["ResNet-32"]))
    assert len(observations.masks_of(facts, "snip", "ResNet-32")) == observations.MASK_SEEDS
    for what, value in (("variant", "authors"), ("recipe", 0), ("check", "rearranged"), ("held_out", 5000)):
        rows = [Row(r | {"config": r["config"] | {what: value}}) for r in facts.rows]
        assert observations.masks_of(Facts(rows), "snip", "ResNet-32") == {}


def test_corrupted_scores_are_compared_with_clean_ones(smart):
    places = [(t, place) for t, of in observations.SPOILT.items() for place in of]
    clean, bad = [], []
    for ticket, place in places:  # a quarter of what two clean masks share beyond chance
        kept, sizes = smart[place], {layer.name: layer.size for layer in grids.layers(*observations.PLACES[place])}
        chance = sum(k * k / sizes[name] for name, k in kept.items()) / sum(kept.values())
        shared = {"overlap": chance + 0.05, "chance": chance, "ceiling": chance + 0.2, "second_keep_counts": kept}
        clean += mask_rows(ticket, place, kept)
        bad += mask_rows(ticket, place, kept, suffix="+both", **shared)
    found = answer("R2.10", clean + bad)
    both = "on ResNet-32 and VGG-19 0 % and 25 %"
    assert f"SNIP {both}; GraSP {both}; LT on ResNet-20 0 % and 25 %; " in found.text
    assert observations.corruption(Facts(clean + bad)).complete
    scored = Facts([r for r in clean + bad if not r["arm"].startswith("lt")])
    assert not observations.corruption(scored).complete and "LT" not in observations.corruption(scored).text
    assert found.word == answers.PARTLY and "not run: LT on corrupted data, twice the epochs" in found.text
    assert answer("R2.10", clean).word == verdicts.NOT_RUN


def test_what_the_masks_of_nets_trained_on_noise_need_is_said(smart):
    parts = {part.which: part for part in replies.open_runs(BY_ID["R2.10"], Facts([]))}
    nets = parts["dense, random labels and pixels; dense; dense, a second data order; at 0, seeds 0 to 2"]
    masks = parts["masks of LT from these networks, clean and spoilt, no training"]
    assert (len(nets.to_do), nets.grid, len(masks.to_do), masks.probe) == (9, "step2", 6, True)
    images = Facts([]).images()
    of = {"recipe": 1, "dataset": images.name, "fingerprint": images.fingerprint, "network": "x", "ticket": "lt"}
    made = [Row(kind="probe", name=probes.name(config), config=of, seconds=1.0)
            for config in (grids.arm("laptop", f"{t}@0.98", s, images) for t in ("lt", "lt+both") for s in range(3))]
    assert not [part for part in replies.open_runs(BY_ID["R2.10"], Facts(made)) if part.which == masks.which]


def test_seeds_and_stability_are_read_from_the_rows():
    found = answer("R2.11", arms({"snip": 70.0, "lt": 70.0}, seeds=range(3)))
    assert found.word == answers.PARTLY and found.text.startswith("0 to 3 seeds behind each of the")
    rates = answer("R1.2", [row("snip@0.9", 0, 70.0), row("snip@0.9", 1, 72.0), row("lt@0.9", 0, 9.0)])
    assert rates.text.startswith(
        "of the 3 runs that claims compare, at the recipe's rate, 0 diverged and 1 ended below twice chance (empty "
        "layers alone are not counted); SNIP at 0.9 varies most over seeds"
    )
    assert "(SD 1.41 points)" in rates.text and "slim" not in rates.text


def test_what_fails_where_no_verdict_is_given_is_part_of_the_answers():
    slim = dict(changes={"network": "vgg"})
    rows = [row("lrr@0.98", seed, by, **slim) for seed, by in enumerate((10.0, 12.0, 70.0))]
    rows += [row("snip@0.98", 0, 60.0, **slim), row("lt@0.995", 0, 40.0)]
    rows += [row("lrr@0.98", 0, 72.0), row("lrr@0.98", 1, 73.0)]
    ends = observations.emptied(Facts(rows)).text
    assert ends.endswith("; on slim VGG-16 2 of 3 did, and none of these have an empty layer")
    said = observations.stability(Facts(rows)).text
    assert "; ResNet-20 at 0.995: none of 1 runs diverged or" in said and "; slim VGG-16 at 0.98: 2 of 4 runs" in said
    assert "LRR varies most (SD 34.08 points)" in said


def test_where_runs_with_an_empty_layer_end_is_told():
    thin = [row("lrr@0.98", seed, 70.0 + seed, empty_layers=["conv.weight"]) for seed in range(2)]
    found = answer("R2.4", [*thin, row("lrr@0.98", 2, 73.0)])
    assert found.text.startswith(
        "LRR at 0.98 has an empty layer in 2 of 3 runs, which end at 70.00 to 71.00 %; none of its runs diverged or "
        "ended below twice chance; "
    )
    low = observations.emptied(Facts([row("lrr@0.98", 0, 12.0, empty_layers=["conv.weight"])])).text
    assert "in 1 of 1 runs, which end at 12.00 %; 1 of its runs diverged" in low
    assert observations.emptied(Facts([])).text == ""


def test_what_the_code_alone_says():
    assert observations.weight_of_initial_tickets(Facts([])).text.startswith("10 of the 14 comparisons")
    text = observations.confounded(Facts([])).text
    assert re.search(r"place with its size: 0\.\d\d in ResNet-20, 0\.\d\d in slim VGG-16$", text)
    assert answer("R3.2").text == text and answer("R3.2").word == verdicts.NOT_RUN
    assert answer("R3.F1").answered


def test_probes_answer_a_part_without_training():
    facts = Facts(Ledger(book_ledger("paper")).rows())
    for measure, said in ((observations.confounded, "where the two part, keep-ratios follow: SNIP "),
                          (observations.movable, "at 0.999, share of kept weights on a live path")):  # fmt: skip
        piece = measure(facts)
        assert said in piece.text and piece.rows and piece.n and piece.rows <= set(facts.by_name)
    found = answer("R2.7", facts.rows)
    assert found.word == answers.PARTLY and "not run: SNIP rearranged" in found.text


def test_pieces_without_rows_do_not_make_an_answer():
    item = BY_ID["R3.2"]
    found = answers.measured(item, Facts([]))
    assert found.word == verdicts.NOT_RUN and found.open and Piece("x").rows == frozenset()


def test_the_page_writes_what_the_build_fills_in(root, empty):
    names = re.findall(r"\{\{ (\w+) \}\}", (root / "book" / "reviewers.md").read_text(encoding="utf-8"))
    assert set(names) == set(empty) <= set(pages.substitutions())
