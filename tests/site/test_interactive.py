"""The interactive pages from disk: the ledger filtered, sorted, downloaded; a page a run; keep-ratios; the search."""

import csv
import json
import shutil

import browser as chrome
import pytest
import rowdata
from site_build import from_script
from visits import listen

pytestmark = pytest.mark.slow
HOSTILE = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>'


@pytest.fixture
def window(chromium):
    """A window on a desk, light."""
    context = chrome.view(chromium)
    yield context
    context.close()


def with_rows(site, folder, rows):
    """A copy of the pages on the ledger that shows other rows."""
    for name in ("explore.html", "run.html"):
        shutil.copy(site / name, folder)
    (folder / "_static").symlink_to(site / "_static")
    (folder / "data" / "runs").mkdir(parents=True)
    shutil.copy(site / "data" / "labels.js", folder / "data")
    text = rowdata.script("rows", {"columns": rowdata.COLUMNS, "rows": rows, "quantiles": [12.706] * 198 + [1.972]})
    (folder / "data" / "rows.js").write_text(text, encoding="utf-8")
    return folder


def row(i, **changes):
    """The i-th of many made-up rows, as cells of COLUMNS."""
    found = dict(name=f"{i:016x}", ticket=("snip", "lt")[i % 2], accuracy=i / 50, kind="run", pages="05_budget")
    return [(dict.fromkeys(rowdata.COLUMNS) | found | changes)[column] for column in rowdata.COLUMNS]


def shown(page, column):
    """The texts of one column of the table."""
    return page.locator(f"#explore tbody [data-column={column}]").all_inner_texts()


def fragment(page):
    """What follows the # in the address, as the page itself sees it."""
    return page.evaluate("location.hash")


def test_a_thousand_rows_are_filtered_sorted_and_downloaded(site, window, tmp_path):
    page = chrome.open_page(window, with_rows(site, tmp_path, [row(i) for i in range(1000)]) / "explore.html")
    assert page.get_by_role("status").inner_text().startswith("1,000 of 1,000 rows. Accuracy: n = 1,000, mean 9.99 %")
    assert "differ in ticket" in page.get_by_role("status").inner_text() and len(shown(page, "name")) == 200
    for count in (400, 600, 800, 1000):
        page.get_by_role("button", name="Show 200 more").click()
        assert len(shown(page, "name")) == count
    assert page.get_by_role("button", name="Show").count() == 0
    page.get_by_label("ticket", exact=True).select_option("snip")
    said = page.get_by_role("status").inner_text()  # 0, 0.04, ..., 19.96
    assert said == "500 of 1,000 rows. Accuracy: n = 500, mean 9.98 %, 95 % interval 9.47 to 10.49."
    assert set(shown(page, "ticket")) == {"SNIP"}
    for order in (False, True):
        page.get_by_role("button", name="accuracy").press("Enter")
        found = [float(text) for text in shown(page, "accuracy")]
        assert found == sorted(found, reverse=order) and found[0] == (19.96 if order else 0)
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("accuracy")
    with page.expect_download() as csv_file:
        page.get_by_role("button", name="Download CSV").click()
    lines = list(csv.reader(csv_file.value.path().open(encoding="utf-8", newline="")))
    assert tuple(lines[0]) == rowdata.COLUMNS and len(lines) == 501
    with page.expect_download() as json_file:
        page.get_by_role("button", name="Download JSON").click()
    assert [line["name"] for line in json.loads(json_file.value.path().read_text())] == [line[0] for line in lines[1:]]


def test_the_address_holds_the_filters(site, window, tmp_path):
    folder = with_rows(site, tmp_path, [row(i) for i in range(10)])
    page = chrome.open_page(window, folder / "explore.html", "#ticket=lt&page=05_budget&sort=accuracy&down=1")
    assert set(shown(page, "ticket")) == {"LT"} and shown(page, "accuracy") == ["0.18", "0.14", "0.10", "0.06", "0.02"]
    page.get_by_label("contains the words").fill("0000000000000003")
    assert "text=0000000000000003" in fragment(page) and len(shown(page, "name")) == 1
    page.get_by_role("button", name="Clear filters").click()
    assert len(shown(page, "name")) == 10


def test_few_columns_are_shown_at_first_and_all_when_asked(site, window, tmp_path):
    rows = [row(0, check="none", corruption="both", overlap=0.5278, pages="")]
    rows += [row(1, accuracy=None, overlap=1.0, check="rearranged")]
    page = chrome.open_page(window, with_rows(site, tmp_path, rows) / "explore.html")
    assert page.locator("#explore thead th").count() == 10
    assert shown(page, "check") == ["random labels and pixels", "rearranged"]
    assert shown(page, "accuracy") == ["0.00", ""] and shown(page, "overlap") == []
    page.get_by_role("button", name="More columns").click()
    assert page.locator("#explore thead th").count() == len(rowdata.COLUMNS) and "more=1" in fragment(page)
    assert shown(page, "overlap") == ["0.528", "1.000"] and shown(page, "check") == ["", "rearranged"]
    assert "budget" not in shown(page, "pages")[1]
    page.get_by_role("button", name="Fewer columns").click()
    page.get_by_label("ticket", exact=True).select_option("lt")
    assert shown(page, "overlap") == ["1.000"]  # where no row has an accuracy


def test_text_in_rows_is_never_markup(site, window, tmp_path):
    folder = with_rows(site, tmp_path, [row(0, ticket=HOSTILE), row(1, ticket='=1+HYPERLINK("x")')])
    whole = {"row": {"name": "0" * 16, "kind": "run", "arm": HOSTILE, "config": {"seed": HOSTILE}, "device": HOSTILE},
             "label": HOSTILE, "profile": HOSTILE, "layers": [[HOSTILE, 4, 1]], "pages": []}  # fmt: skip
    bundle = rowdata.script("runs_00", rowdata.zipped({"0" * 16: whole}))
    (folder / "data" / "runs" / "00.js").write_text(bundle, encoding="utf-8")
    page = chrome.open_page(window, folder / "explore.html")
    assert shown(page, "ticket") == [HOSTILE, '=1+HYPERLINK("x")'] and page.title() not in ("1", "2")
    with page.expect_download() as found:
        page.get_by_role("button", name="Download CSV").click()
    assert "\"'=1+HYPERLINK" in found.value.path().read_text()
    page.locator("#explore tbody a").first.click()
    page.get_by_text("was measured").first.wait_for()
    assert page.title() not in ("1", "2") and page.locator("#run img, #run script").count() == 0


def test_an_empty_ledger_says_so(site, window, tmp_path):
    page = chrome.open_page(window, with_rows(site, tmp_path, []) / "explore.html")
    assert page.get_by_role("status").inner_text() == "0 of 0 rows." and shown(page, "name") == []


def test_every_kind_of_row_has_its_page(site, window):
    rows = from_script(site / "data" / "rows.js")
    kind = rows["columns"].index("kind")
    page = window.new_page()
    visit = listen(page)
    for name in {line[kind]: line[0] for line in rows["rows"]}.values():
        page.goto((site / "run.html").as_uri() + f"#{name}")
        page.get_by_text("Configuration; its hash").wait_for()
        whole = from_script(site / "data" / "runs" / f"{rowdata.bundle(name)}.js")[name]
        assert name in page.title() and whole["label"] in page.locator("#run h3").first.inner_text()
        assert page.locator(".tb-layers tbody tr").count() == len(whole["layers"])
        with page.expect_download() as found:
            page.get_by_role("button", name="Download this row").click()
        saved = json.loads(found.value.path().read_text(encoding="utf-8"))
        assert saved == whole["row"]
        assert all(saved["keep_counts"][layer] == kept for layer, _, kept in whole["layers"])
        assert page.locator("svg.tb-curve circle").count() == len(whole["row"].get("curve", []))
        assert page.locator("svg.tb-curve .tb-grid").count() == 5 * ("curve" in whole["row"])
        page.goto("about:blank")
    assert visit.errors + visit.failed == []


def test_a_run_that_is_not_there_is_said_to_be_missing(site, window):
    page = chrome.open_page(window, site / "run.html", "#" + "0" * 16)
    page.get_by_text("This book has no run").wait_for()
    page.goto((site / "run.html").as_uri() + "#../../x")
    page.get_by_text("The address names no run").wait_for()
    page.locator("#run li a").first.click()
    page.get_by_text("Configuration; its hash").wait_for()


def test_an_answer_that_comes_late_does_not_take_the_place_of_a_later_choice(site, window):
    first, *others = [line[0] for line in from_script(site / "data" / "rows.js")["rows"]]
    second = next(name for name in others if rowdata.bundle(name) != rowdata.bundle(first))
    page = window.new_page()
    held = []
    page.route(f"**/{rowdata.bundle(first)}.js", lambda route: held.append(route))
    page.goto((site / "run.html").as_uri() + f"#{first}", wait_until="commit")
    page.locator(f"script[src*='/{rowdata.bundle(first)}.js']").wait_for(state="attached")
    page.evaluate(f"location.hash = '{second}'")
    page.get_by_text("Configuration; its hash").wait_for()
    (late,) = held
    with page.expect_event("requestfinished", lambda request: request.url.endswith(f"{rowdata.bundle(first)}.js")):
        late.continue_()
    page.wait_for_function(f"window.ticketbook.runs_{rowdata.bundle(first)}")
    assert page.locator("#run code").first.inner_text() == second and second in page.title()


def test_ratios_follow_what_is_chosen(site, window):
    data = from_script(site / "data" / "ratios.js")
    network = data["networks"][0]
    page = chrome.open_page(window, site / "ratios.html", "#rule=uniform&sparsity=0.98")
    kept = network["counts"]["uniform"]["0.98"]
    assert page.locator(".tb-layers td:nth-child(3)").all_inner_texts() == [f"{count:,}" for count in kept]
    page.get_by_label("rule", exact=True).select_option("smart")
    page.get_by_label("sparsity", exact=True).press("ArrowLeft")
    kept = network["counts"]["smart"]["0.95"]
    assert page.locator(".tb-layers td:nth-child(3)").all_inner_texts() == [f"{count:,}" for count in kept]
    assert "rule=smart" in fragment(page) and "sparsity=0.95" in fragment(page)
    page.get_by_label("beside it").select_option("erk")
    assert page.locator(".tb-beside").count() == len(kept)


def test_a_cell_without_counts_says_why(site, window):
    data = from_script(site / "data" / "ratios.js")
    cells = [(n["name"], rule, s, why) for n in data["networks"] for rule, of in n["counts"].items()
             for s, why in of.items() if isinstance(why, str)]  # fmt: skip
    name, rule, sparsity, why = cells[0]
    page = chrome.open_page(window, site / "ratios.html")
    page.get_by_label("network").select_option(name)
    page.get_by_label("rule", exact=True).select_option(rule)
    page.get_by_label("sparsity", exact=True).fill(str(data["sparsities"].index(sparsity)))
    assert why in page.locator("#ratios > p[role=status]").inner_text() and why.startswith("not defined here")
    assert page.locator(".tb-layers").count() == 0


def test_search_finds_the_smart_ratio(site, window):
    page = chrome.open_page(window, site / "search.html", "?q=smart+ratio")
    page.locator("#search-results ul.search li a").first.wait_for()
    assert page.locator("#search-results li a[href*='01_smart_ratios']").count() > 0
