"""Sphinx extension: docstrings in the project's own form become an API reference; glossary links explain themselves;
a number stays in one line with its sign.
"""

import re

from docutils import nodes
from sphinx import addnodes

PARTS = re.compile(r"(Arguments|Returns|Raises|Source):\s*(.*)")
ARGUMENT = re.compile(r" {4}(\w[\w, \\]*: .*)")
EMPHASIS = re.compile(r"(?<![\w*])\*[^*\s](?:[^*]*[^*\s])?\*(?![\w*])")
MARKED = re.compile(rf"(`+[^`]+`+|{EMPHASIS.pattern})")
TOGETHER = re.compile(r"\b(?:CIFAR-100?|ResNet-\d+|VGG-\d+)\b|[+-]?\d[\d,.]* %|\bn = \d+")  # never on two lines
AS_WRITTEN = (nodes.FixedTextElement, nodes.literal, nodes.math, nodes.raw, nodes.Invisible, addnodes.desc_signature)
GLOSSARY = "glossary"
FIELD_OF_TUPLE = "Alias for field number"


def rewrite(app, what, name, obj, options, lines):
    """Turn a docstring into reStructuredText, in place: its parts as a list of fields, its arguments as a list."""
    done, part = [], False
    for line in literal("\n".join(lines)).split("\n"):
        found, item = PARTS.match(line), ARGUMENT.match(line)
        if found:
            done += [""] * (not part) + [f":{found[1]}: {found[2]}"]
            part = found[1]
        elif part and item and not done[-1].removeprefix(":Arguments:").strip() or part == "list" and item:
            done += [""] * (part != "list") + [f"   * {item[1]}"]
            part = "list"
        elif part and line.strip():
            done.append(("     " if part == "list" else "   ") + line.strip())
        else:
            part = part and line.strip()
            done.append(line)
    lines[:] = done


def literal(text):
    """Text in which nothing but code in backticks, maths in `$...$` and *emphasis* means anything to reStructuredText.
    """
    return "".join(map(_piece, MARKED.split(text)))


def _piece(text):
    if text.startswith("`$"):
        return f":math:`{text.strip('`$')}`"
    if text.startswith("`"):
        return f"``{text.strip('`')}``"
    return text if EMPHASIS.fullmatch(text) else re.sub(r"([\\*|_`@])", r"\\\1", text)


def skip(app, what, name, obj, skipped, options):
    """Leave out the fields of tuples, whose docstrings say nothing."""
    return True if (getattr(obj, "__doc__", None) or "").startswith(FIELD_OF_TUPLE) else None


def explain(app, doctree, docname):
    """Give every link to a word of the glossary its explanation as a title, which is shown on hovering."""
    if docname == GLOSSARY or GLOSSARY not in app.env.all_docs:
        return
    meanings = definitions(app)
    for link in doctree.findall(nodes.reference):
        target = (link.get("refuri") or "").partition(f"{GLOSSARY}.html#")[2]
        if target in meanings:
            link["reftitle"] = meanings[target]


def definitions(app):
    """What each word of the glossary means, in its first sentences: dict from anchor to text, made once a build."""
    found = getattr(app, "ticketbook_meanings", None)
    if found is None:
        found = {}
        for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
            text = " ".join(item.children[-1].astext().split())
            for term in item.findall(nodes.term):
                found |= dict.fromkeys(term["ids"], text)
        app.ticketbook_meanings = found
    return found


def keep_together(app, doctree, docname):
    """Mark numbers and their signs, and names with a number, so that no line ends inside one (custom.css).

    Hyphens and spaces stay what they are: a reader who searches the page for CIFAR-10 finds it.
    """
    for text in list(doctree.findall(nodes.Text)):
        if TOGETHER.search(text) and not any(isinstance(node, AS_WRITTEN) for node in _above(text)):
            text.parent.replace(text, _marked(str(text)))


def _above(node):
    while node := node.parent:
        yield node


def _marked(text):
    pieces, end = [], 0
    for found in TOGETHER.finditer(text):
        pieces += [nodes.Text(text[end : found.start()]), nodes.inline("", found[0], classes=["together"])]
        end = found.end()
    return [*pieces, nodes.Text(text[end:])]


def setup(app):
    """Register the extension."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-skip-member", skip)
    app.connect("doctree-resolved", explain)
    app.connect("doctree-resolved", keep_together)
    return {"parallel_read_safe": True}
