"""Sphinx extension of the book: the verdict board, links under figures, provenance, clean sources, data of rows."""

import json
import shutil
from pathlib import Path

import figures
import nbref
import polish
import rowdata
from sphinx.errors import ExtensionError
from ticketbook import first_screen, front

BRANCH = "main"
NOT_NEEDED = ("*.map", "*.ttf")  # for the theme's own developers, and for browsers that no longer exist
PARAMETERS = "Parameters of this page"  # the title of the cell with them, open or shut
BUTTONS = ("use_repository_button", "use_source_button", "use_edit_page_button", "use_issues_button")


def substitutions(app, config):
    """Compute {{ board }}, and the tables and sentences of prose pages, from the book's code and rows now."""
    found = {**front.substitutions(), **first_screen.substitutions()}
    found["compared_cells"] = "{} of {}".format(*nbref.share(nbref.sources().values()))
    config.myst_substitutions = {**(config.myst_substitutions or {}), **found}


def source_read(app, docname, source):
    """Refuse a failed run, hide its parameters, add a box that says how the page was made."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    facts = notebook["metadata"].get("papermill") or {}
    if facts.get("exception") or not facts.get("end_time"):
        raise ExtensionError(f"{docname}: the papermill run failed or never finished.")
    for cell in notebook["cells"]:
        tags = cell["metadata"].setdefault("tags", [])
        if "parameters" in tags:  # the defaults, which those of this page replace
            tags.append("remove-cell")
        if "injected-parameters" in tags:
            tags.append("hide-input")
            cell["metadata"]["mystnb"] = dict.fromkeys(("code_prompt_show", "code_prompt_hide"), PARAMETERS)
    notebook["cells"] = figures.add(notebook["cells"], Path(docname).name, facts["parameters"])
    notebook["cells"].append({"cell_type": "markdown", "id": "provenance", "metadata": {}, "source": _box(facts)})
    notebook["metadata"].pop("widgets", None)  # progress-bar state would pull scripts from another host
    source[0] = json.dumps(notebook)


def _box(facts):
    given = " ".join(f"-p {name} {value}" for name, value in facts["parameters"].items())
    lines = {
        "Command": f"papermill {facts['input_path']} out.ipynb {given}".strip(),
        "Finished": facts["end_time"][:16] + "Z",
        "Took": f"{facts['duration']:.0f} s",
    }
    rows = "\n".join(f"{name}\n: `{value}`\n" for name, value in lines.items())
    return f":::{{admonition}} How this page was made\n:class: tip dropdown\n\n{rows}\n:::\n"


def repository(app, config):
    """Show the repository, edit, issue and launch buttons where its address is set, none of them where it is not."""
    address = config.ticketbook_repository
    options = {**config.html_theme_options, "repository_url": address, "repository_branch": BRANCH}
    options["path_to_docs"] = "book"
    options |= dict.fromkeys(BUTTONS, bool(address))
    if address:
        options["launch_buttons"] = {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        }
    config.html_theme_options = options
    config.html_context = {**config.html_context, "default_mode": "auto"}  # without it the theme reports an error


def point_at_sources(app, pagename, templatename, context, doctree):
    """Make edit and launch links open the clean notebook, not the executed copy."""
    for button in context.get("header_buttons", []):
        for link in [button, *button.get("buttons", [])]:
            if "url" in link:
                link["url"] = link["url"].replace("/book/claims/", "/notebooks/")


def clean_sources(site, notebooks):
    """Make a page's download the clean notebook, which runs; its results are on the page, and weigh much in a file."""
    for path in (site / "_sources" / "claims").glob("*.ipynb"):
        shutil.copyfile(notebooks / path.name, path)


def finish(app, failure):
    """Put the finished pages right, and write beside them the rows and keep-ratios that the interactive ones read."""
    if failure is None and app.builder.format == "html":
        polish.polish_all(app.outdir)
        clean_sources(Path(app.outdir), Path(app.srcdir).parent / "notebooks")
        rowdata.write(Path(app.outdir) / "data", Path(app.srcdir) / "claims")
        for path in [path for kind in NOT_NEEDED for path in Path(app.outdir).rglob(kind)]:
            path.unlink()


def setup(app):
    """Register the extension."""
    app.add_config_value("ticketbook_repository", "", "html")
    app.connect("config-inited", substitutions, priority=100)
    app.connect("config-inited", repository, priority=100)
    app.connect("source-read", source_read)
    app.connect("html-page-context", point_at_sources, priority=900)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
