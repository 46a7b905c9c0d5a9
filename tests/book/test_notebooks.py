"""The rules source notebooks keep, that each rule bites, and that nbval compares what is stored."""

import copy
import os
import subprocess
import sys
import tomllib

import hosted
import nbformat
import pytest
import toy_notebook
import yaml

TAG = "nbval-check-output"


@pytest.fixture(scope="session")
def nbref(root):
    sys.path.insert(0, str(root / "book" / "_ext"))
    import nbref

    return nbref


def test_every_notebook_keeps_the_rules(nbref, root):
    found = {p.name: nbref.problems(nbformat.read(p, as_version=4)) for p in (root / "notebooks").glob("*.ipynb")}
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_most_of_what_notebooks_show_is_compared(nbref, capsys):
    compared, showing = nbref.share(nbref.sources().values())
    with capsys.disabled():
        print(f"nbval compares {compared} of {showing} cells that show text")
    assert 2 * compared > showing


def test_cells_that_show_text_are_told_from_those_that_draw_or_define(nbref):
    shown = {"print(2)": 1, "x": 1, "x;": 0, "x = 2": 0, "notebook.show(x)": 1, "for x in y:\n    print(x)": 1, "": 0}
    for source, shows in shown.items():
        assert nbref.prints(nbformat.v4.new_code_cell(source)) == bool(shows), source
    drawn = nbformat.v4.new_code_cell("draw(x)", metadata={"mystnb": FIGURE})
    assert not nbref.prints(drawn)
    compared, other = nbformat.v4.new_code_cell("x", metadata={"tags": [TAG]}), nbformat.v4.new_code_cell("x")
    assert nbref.share([nbformat.v4.new_notebook(cells=[other, other, drawn, compared, other])]) == (1, 2)


def test_every_notebook_has_its_place_in_the_contents(root):
    contents = yaml.safe_load((root / "book" / "_toc.yml").read_text())
    files = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    listed = [name.removeprefix("claims/") for name in files if name.startswith("claims/")]
    assert sorted(listed) == sorted(p.stem for p in (root / "notebooks").glob("*.ipynb"))
    assert len(set(files)) == len(files)


def test_the_toy_keeps_the_rules(nbref):
    assert nbref.problems(toy_notebook.toy()) == []


def stored(notebook, outputs, count=1):
    notebook.cells[3].outputs, notebook.cells[3].execution_count = outputs, count


def output(kind, **content):
    return nbformat.v4.new_output(kind, **content)


FIGURE = {"figure": {"caption": "A figure.", "name": "fig-x"}, "image": {"alt": "Three lines."}}


def drawn(notebook, **changes):
    """Make the last cell one that draws a figure, with something missing."""
    notebook.cells[3].metadata.update(mystnb=FIGURE | changes, ticketbook={"data": "runs"})


BREAKS = {
    "nothing is stored": lambda nb: stored(nb, []),
    "nothing is stored ": lambda nb: stored(nb, nb.cells[3].outputs, None),
    "nothing is stored  ": lambda nb: stored(nb, [output("stream", name="stderr", text="2")]),
    "nothing is stored   ": lambda nb: stored(nb, [output("stream", name="stdout", text=" \n")]),
    "nothing is stored    ": lambda nb: stored(nb, [output("display_data", data={"image/png": "AAAA"})]),
    "nothing is stored     ": lambda nb: stored(nb, [output("display_data", data={"text/plain": "<Figure size 1x1>"})]),
    "no cell is tagged": lambda nb: nb.cells[3].metadata.pop("tags"),
    "not tagged": lambda nb: nb.cells[3].metadata.tags.clear(),
    "only the tag": lambda nb: nb.cells[3].metadata.tags.append("nbval-ignore-output"),
    "only the tag ": lambda nb: nb.cells[3].update(source="# NBVAL_IGNORE_OUTPUT\nprint(2)"),
    "must be tagged parameters": lambda nb: nb.cells[1].metadata.tags.clear(),
    "must be tagged parameters ": lambda nb: nb.cells[3].metadata.tags.append("parameters"),
    "every line must be like": lambda nb: nb.cells[1].update(source="profile = 'smoke'"),
    "in this order": lambda nb: nb.cells[1].update(source=nb.cells[1].source + "\nsparsity: float = 0.9"),
    "defaults must be": lambda nb: nb.cells[1].update(source=nb.cells[1].source.replace("smoke", "paper")),
    "session.check(globals())": lambda nb: nb.cells[2].update(source="from ticketlib.experiments import session"),
    "longer than": lambda nb: nb.cells[3].update(source="x = 1\n" * 16),
    "relative path": lambda nb: nb.cells[3].update(source="open('../data')"),
    "shell or magic": lambda nb: nb.cells[3].update(source="!pip install x"),
    "id of its own": lambda nb: nb.cells[3].update(id="title"),
    "id of its own ": lambda nb: nb.cells[3].update(id="0f3a9c1e"),
    "words beside": lambda nb: nb.cells[3].update(source="x = 1\n" * 12),
    "needs caption": lambda nb: drawn(nb, figure={"name": "fig-x"}),
    "needs name": lambda nb: drawn(nb, figure={"caption": "A figure."}),
    "needs alt": lambda nb: drawn(nb, image={}),
    "needs ticketbook data": lambda nb: nb.cells[3].metadata.update(mystnb=FIGURE, ticketbook={"data": "guesses"}),
    "must be the title": lambda nb: nb.cells[0].update(source="Some words " * 30),
    "metadata hold more": lambda nb: nb.metadata.update(papermill={}),
}


@pytest.mark.parametrize("broken", BREAKS, ids=str.strip)
def test_each_rule_bites(nbref, broken):
    notebook = toy_notebook.toy()
    BREAKS[broken](notebook)
    assert any(broken.strip() in problem for problem in nbref.problems(notebook))


def test_a_cell_that_draws_and_says_all_about_it_keeps_the_rules(nbref):
    notebook = toy_notebook.toy()
    drawn(notebook)
    assert nbref.problems(notebook) == []


def test_every_notebook_has_the_cell_for_hosted_services_just_while_an_address_is_set(root):
    for path in (root / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        assert hosted.put(copy.deepcopy(notebook), hosted.address(root)) == notebook, f"{path.name}: run hosted.py"


def test_the_cell_for_hosted_services_keeps_the_rules_and_can_be_taken_out(nbref):
    notebook = toy_notebook.toy()
    plain = copy.deepcopy(notebook)
    hosted.put(hosted.put(notebook, "https://one.example/x"), "https://two.example/y")
    assert nbref.problems(notebook) == [] and notebook.cells[1].source.count("two.example/y") == 1
    assert "one.example" not in notebook.cells[1].source and hosted.put(notebook, "") == plain


def test_a_hosted_notebook_gets_what_it_lacks(root, tmp_path):
    source = tmp_path / "source"  # stands for the repository; no host is asked
    (source / "ticketlib").mkdir(parents=True)
    (source / "ticketlib" / "__init__.py").write_text("fetched = True\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", "-C", str(source), *words], check=True)
    cell = hosted.put(toy_notebook.toy(), source.as_uri()).cells[1].source
    # -I and -S leave out the installed ticketlib; what else the cell looks for is then not there, and pip is not asked
    watched = "lambda a, **k: run(a, **k) if a[0] == 'git' else print(a[-1])"
    program = f"import subprocess as s\nrun = s.run\ns.run = {watched}\n{cell}\n"
    program += "import ticketlib\nprint(ticketlib.fetched)\n"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*hosted.PACKAGES.values(), "True"]
    again = subprocess.run([sys.executable, "-I", "-S", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr  # after a restart


@pytest.mark.slow
def test_refresh_stores_what_is_checked_and_nothing_else(nbref, tmp_path):
    path = toy_notebook.write(tmp_path / "toy.ipynb", "print(1 + 2)")
    nbref.refresh(path)
    first = path.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    assert nbref.problems(notebook) == [] and notebook.cells[3].outputs[0].text == "3\n"
    assert notebook.cells[2].outputs == [] and notebook.cells[2].execution_count is None
    nbref.refresh(path)
    assert path.read_bytes() == first


def test_nbval_compares_what_is_stored(root, tmp_path):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    options = [option.replace("tests/", f"{root}/tests/") for option in settings.split()]  # a folder may have spaces
    (tmp_path / "conftest.py").write_text((root / "conftest.py").read_text())
    toy_notebook.write(tmp_path / "right.ipynb")
    toy_notebook.write(tmp_path / "wrong.ipynb", "print(1 + 2)")
    command = [sys.executable, "-m", "pytest", "-c", "empty.ini", "--rootdir", ".", "-p", "no:cacheprovider", *options]
    (tmp_path / "empty.ini").write_text("[pytest]\n")
    there = {**os.environ, "PYTHONPATH": str(root / "book" / "_ext")}
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed, 5 passed" in done.stdout and "FAILED wrong" in done.stdout, done.stdout


@pytest.mark.slow
def test_every_notebook_runs_from_any_folder(root, tmp_path):
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        command = [sys.executable, "-m", "papermill", str(path), "out.ipynb", "-k", "python3", "--no-progress-bar"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{path.name}: {done.stderr}"
