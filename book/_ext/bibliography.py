"""Sphinx extension: the bibliography names its entries as the text does, by authors and year."""

from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as Plain
from pybtex.style.labels import BaseLabelStyle

MANY = 2  # authors; of more, the first is named


class AuthorsAndYear(BaseLabelStyle):
    """Labels such as "Frankle and Carbin, 2019"."""

    def format_labels(self, entries):
        """Yield the label of every entry."""
        for entry in entries:
            names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
            named = " and ".join(names) if len(names) <= MANY else f"{names[0]} et al."
            yield f"{named}, {entry.fields['year']}"


class Style(Plain):
    """The plain style, sorted by authors, with these labels."""

    default_sorting_style = "author_year_title"
    default_label_style = AuthorsAndYear


def setup(app):
    """Register the style under the name that _config.yml gives."""
    register_plugin("pybtex.style.formatting", "authors_and_year", Style, force=True)
    return {"parallel_read_safe": True}
