"""Pictures, tables and examples beside the chapters: drawn and computed from code, and nothing left dangling."""

import doctest
import re
import sys
import tomllib
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml
from docutils import nodes
from synthetic import arms, row, row_of
from ticketbook import baselines, checks, drawings, pages, pilot, pipeline, reading, spent
from ticketbook.claims_1 import CLAIMS

from ticketlib import ratios
from ticketlib.experiments import grids, profiles
from ticketlib.experiments.places import ROOT
from ticketlib.experiments.profiles import Images

PILOT = {"recipe": 0, "held_out": 5000, "epochs": 10}


@pytest.fixture
def wording():
    """The Sphinx extension that rewrites docstrings."""
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    yield __import__("wording")
    sys.path.pop(0)


def texts(drawing):
    """All words of a drawing, which must be sound XML, on one line."""
    assert "\n" not in drawing
    return " ".join(ElementTree.fromstring(drawing).itertext())


def test_the_random_ticket_keeps_in_the_picture_what_the_rule_says():
    drawing = drawings.random_ticket()
    counts = ratios.keep_counts(drawings.TOY, "smart", drawings.TOY_SPARSITY, family="resnet")
    assert sum(counts.values()) == 18 and all(f"{count} of 24" in texts(drawing) for count in counts.values())
    cells = [float(x) for x in re.findall(r'<rect[^>]*fill-opacity="([\d.]+)"', drawing)]
    assert len(cells) == 6 * 24
    masks = [cells[48 * i + 24 : 48 * i + 48] for i in range(3)]
    assert [sum(mask) for mask in masks] == list(counts.values())
    for i, mask in enumerate(masks):  # the darkest squares on the left are those that stay
        scores = cells[48 * i : 48 * i + 24]
        stay = [score for score, kept in zip(scores, mask, strict=True) if kept]
        assert min(stay) >= max(score for score, kept in zip(scores, mask, strict=True) if not kept)
    assert "smart ratio" in ElementTree.fromstring(drawing).get("aria-label")


def test_words_in_a_drawing_cannot_be_markup():
    assert texts(drawings.svg(10, 10, [drawings.text(0, 0, "<b> & co")], 'a "quoted" alt')) == "<b> & co"


def test_every_arrow_of_the_pipeline_has_words_and_every_check_has_a_place():
    words = texts(pipeline.picture())
    assert all(a.words and all(w in words for w in a.words) and a.meaning for a in pipeline.ARROWS)
    assert {sign for a in pipeline.ARROWS for sign, _, _ in a.checks} == set(pipeline.CHECKS)
    assert {name for a in pipeline.ARROWS for name in (a.start, a.end)} == set(pipeline.NODES)
    assert {a.end for a in pipeline.ARROWS}.isdisjoint(n for n, node in pipeline.NODES.items() if node.given)


def test_the_pipeline_stays_within_its_picture_and_no_two_words_share_a_place():
    places = [a.at for a in pipeline.ARROWS] + [node.place[:2] for node in pipeline.NODES.values()]
    assert len(set(places)) == len(places)
    points = [p for a in pipeline.ARROWS for p in (*a.points, a.at, *(c[1:] for c in a.checks))]
    assert all(0 <= x <= pipeline.WIDTH and 0 <= y <= pipeline.HEIGHT for x, y in points)


def test_the_pipeline_in_words_says_what_the_picture_says():
    lines = pipeline.in_words().splitlines()
    assert len(lines) == len(pipeline.ARROWS) and "**Check 3** cuts in here." in "\n".join(lines)
    assert len(pipeline.checks_table()[1]) == len(pipeline.CHECKS)


def test_the_checks_of_the_claims_are_in_the_pipeline_with_the_tickets_they_are_asked_of():
    signs = {"both": "1", "half": "2", "rearranged": "3", "shuffled": "4"}
    for claim in CLAIMS.values():
        for c in claim.comparisons:
            for arm in (c.a, c.b):
                ticket, *checks = arm.split("+")
                for check in checks:
                    asked = pipeline.CHECKS[signs[check]][2].lower().split(", ")
                    assert ticket in asked, (arm, asked)


def test_baselines_are_planned_with_the_spread_at_the_longest_training_that_has_two_seeds():
    rows = [row(key, seed, value, changes=PILOT) for seed, value in ((1000, 70.0), (1001, 71.0))
            for key in ("snip@0.9", "snip+rearranged@0.9")]  # fmt: skip
    rows += [row("smart@0.9", 1000, 70.0, changes=PILOT), row("smart@0.9", 1001, 73.0, changes=PILOT)]
    found = baselines.spreads(rows)
    assert found["SNIP − SNIP rearranged"] == (10, 0.0) and found["smart ratio − SNIP"][1] == pytest.approx(2**0.5)
    table = baselines.table(rows)
    assert "1.41 points, 10 epochs | 19 | 10, power" in table and table.count("not measured") == 8
    assert baselines.sentence(rows).startswith("**Plan 19 seeds** for a power of 80 %, with a margin of ")
    assert "no number of seeds" in baselines.sentence([]) and baselines.table([]).count("not measured") == 16


def test_every_baseline_is_like_a_difference_of_the_pilot():
    assert {b.like for b in baselines.BASELINES} <= {contrast.label for contrast in pilot.CONTRASTS}


def test_core_hours_are_summed_by_kind_and_energy_follows():
    rows = [row("smart@0.9", 0, 70.0, seconds=3600.0), row("smart@0.9", 1, 70.0, seconds=7200.0, threads=2)]
    rows += [row("smart@0.9", 1000, 70.0, seconds=1800.0, changes=PILOT)]
    rows += [row("smart@0.9", 2, 70.0, device="NVIDIA A100")]
    assert spent.core_hours(rows) == {"pilot and engine comparison": (1, 0.5), "runs": (2, 5.0)}
    assert spent.energy(1000, 10) == 15.0
    assert "| **all** | 3 | 5.5 |" in spent.outlay_table(rows) and "**all** | 0 | 0.0" in spent.outlay_table([])


def test_rows_of_a_gpu_are_said_to_be_in_no_table_of_core_hours():
    rows = [row("smart@0.9", seed, 70.0, device="NVIDIA A100", seconds=1800.0) for seed in range(4)]
    said = spent.on_gpus([*rows, row("smart@0.9", 5, 70.0)])
    assert said.startswith("Not in the table: 4 rows made on NVIDIA A100. Their hours add up to 2.0")
    assert spent.on_gpus([row("smart@0.9", 5, 70.0)]) == ""


def test_what_was_spent_lists_seeds_in_their_order():
    of = {seed: row("smart@0.9", seed, 70.0 + seed) for seed in (2, 0, 1)}
    assert spent.spent({"smart@0.9": of}, ("smart",), "0.9")["smart"][20][0] == [70.0, 71.0, 72.0]


def test_profiles_differ_in_what_the_table_says_and_in_nothing_else():
    a, b = (profiles.PROFILES[name].training for name in ("laptop", "paper"))
    assert {what for what in a if a[what] != b[what]} == set(pages.REASONS)
    table = pages.recipe_differences()
    smoke = profiles.PROFILES["smoke"].training
    assert f"| epochs | {smoke['epochs']} | {a['epochs']} | {b['epochs']} |" in table and "| momentum |" not in table
    assert "| random horizontal flips | no | yes | yes | it does not; `smoke` does" in table


def test_all_that_the_pages_compute_is_there():
    found = reading.substitutions([], [])
    assert {name for name, said in found.items() if not said} == {
        "board_barred", "board_hidden", "board_otherwise", "half_margin", "noise_learned",
        "other_data", "board_elsewhere", "outlay_gpus",
    }  # fmt: skip
    assert found["kept_weights"].startswith("With 0.98 removed, 5,418 of 270,896 weights stay on our ResNet-20.")
    assert found["kept_weights"].endswith("it is 37,112 on ResNet-32 and 400,480 on VGG-19.")
    assert reading.recipe_versions(arms({"smart": 80.0})).endswith("- Recipe 1: 12 runs; runs that count")


def test_other_data_are_described_by_their_rows():
    config = grids.arm("laptop", "smart@0.9", 2, Images("cifar100"), **grids.other_recipe("laptop"))
    rows = [row_of(config, 37.0, images=50 * 20_000, device="a GPU"), *arms({"smart": 80.0})]
    said = checks.other_data(checks.by_place(rows, "laptop"))
    assert said == (
        "They trained on 20,000 images of CIFAR-100 for 50 epochs, about as many steps as the runs on CIFAR-10, in the "
        "dense engine, on a GPU, with 0.9 removed and 1 seed."
    )


def test_pages_ask_for_nothing_that_is_not_computed_and_all_that_is_computed_is_asked_for():
    names = {name for path in (ROOT / "book").glob("*.md") for name in re.findall(r"\{\{ (\w+) \}\}", path.read_text())}
    assert names - {"board", "mask_answers"} <= set(pages.substitutions())  # these two know what pages there are
    assert set(reading.substitutions([], [])) <= names


def test_the_map_leads_to_pages_that_are_in_the_contents():
    listed = re.findall(r"(?:root|file): +(\S+)", (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    places = {of_paper: re.search(r"\((.*?)(\.md)?\)", here) for of_paper, _, here in reading.MAP}
    assert [name for name, place in places.items() if not place] == ["Table 4"]  # of which nothing is known
    assert {place[1] for place in places.values() if place} <= set(listed)


def test_every_data_set_has_its_source_and_licence():
    assert "uoft-cs/cifar10" in reading.data_table() and reading.data_table().count("\n") == 1 + len(reading.CLASSES)


def test_every_reference_says_who_when_where_and_how_it_was_checked():
    for key, entry in reading.references().items():
        assert entry.persons["author"] and {"title", "year", "annote"} <= set(entry.fields), key
        assert {"booktitle", "journal", "note", "institution", "howpublished"} & set(entry.fields), key
        assert entry.fields["year"] == key[-4:], key
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert len(reading.references()) == text.count("\n@") + 1


def test_every_citation_is_in_the_bibliography_and_every_entry_is_cited():
    code = [*(ROOT / "ticketlib").rglob("*.py"), *(ROOT / "book" / "ticketbook").glob("*.py")]
    files = [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb"), *code]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    cited = {key for keys in re.findall(r"\{cite:[pt]\}`([^`]*)`", text) for key in keys.split(",")}
    assert cited - {"{key}"} == set(reading.references())


def test_the_citation_file_is_valid_and_of_this_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(found) and found["cff-version"] == "1.2.0"
    assert found["version"] == project["version"] and found["type"] == "software" and found["license"] == "MIT"
    assert found["authors"] == [{"name": "The ticketlib authors"}]
    [paper] = found["references"]
    assert paper["title"] == reading.references()["su2020"].fields["title"] and len(paper["authors"]) == 7


def test_the_examples_of_the_api_page_are_true():
    text = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    examples = "\n".join(re.findall(r"```pycon\n(.*?)```", text, re.S))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(doctest.DocTestParser().get_doctest(examples, {}, "api.md", None, 0))
    assert runner.tries > 25 and runner.failures == 0


def test_docstrings_become_fields_and_keep_their_text(wording):
    lines = ["Do *this* with `x_y`: a|b_, lt@0.9.", "", "Arguments:", "    x_y: first,", "        still first."]
    lines += ["    z: second.", "Returns: nothing.", "", "More."]
    wording.rewrite(None, None, None, None, None, lines)
    assert lines == [r"Do *this* with ``x_y``: a\|b\_, lt\@0.9.", "", "", ":Arguments: ", "", r"   * x\_y: first,",
                     "     still first.", "   * z: second.", ":Returns: nothing.", "", "More."]  # fmt: skip


def test_maths_in_docstrings_becomes_maths(wording):
    assert wording.literal("ratio `$(L-i+1)^2$`, a^2") == "ratio :math:`(L-i+1)^2`, a^2"


def test_links_to_the_glossary_carry_its_words_and_others_do_not(wording):
    term, meaning = nodes.term("", "mask", ids=["term-mask"]), nodes.definition("", nodes.paragraph("", "Which stay."))
    words = nodes.bullet_list("", nodes.definition_list("", nodes.definition_list_item("", term, meaning)))
    env = SimpleNamespace(all_docs={"glossary": 0}, get_doctree=lambda name: words)
    links = [nodes.reference(refuri=f"../glossary.html#{anchor}") for anchor in ("term-mask", "training")]
    page = nodes.paragraph("", "", *links)
    wording.explain(SimpleNamespace(env=env), page, "claims/02")
    assert links[0]["reftitle"] == "Which stay." and "reftitle" not in links[1]


def test_arguments_in_one_line_stay_a_sentence(wording):
    lines = ["Say.", "", "Arguments: a, one; b,", "    two.", "Raises: never."]
    wording.rewrite(None, None, None, None, None, lines)
    assert lines[2:] == ["", ":Arguments: a, one; b,", "   two.", ":Raises: never."]
