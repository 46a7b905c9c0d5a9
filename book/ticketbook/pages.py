"""What pages of prose compute when the book is built: tables and sentences of the protocol, as Markdown."""

from ticketbook import front, speed


def substitutions():
    """Names that pages may write as {{ name }}: dict from name to Markdown."""
    return {**speed.substitutions(), **front.substitutions()}
