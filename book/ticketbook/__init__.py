"""What the pages of the book compute from rows."""
