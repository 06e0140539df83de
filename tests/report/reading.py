"""Reads a page as a browser does."""

from html.parser import HTMLParser

__all__ = ["Read", "read"]

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Read(HTMLParser):
    """Text, tags and attributes of a page whose tags must match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.styles: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []  # tag, name, value
        self.cells: list[list[str]] = []  # of every row of every table

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag, f"</{tag}> does not end what was opened last"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.styles.append(data)
            return
        self.texts.append(data)
        if "tr" in self.open and ("td" in self.open or "th" in self.open):
            self.cells[-1][-1] += data

    @property
    def text(self) -> str:
        """Everything that can be read, with single spaces."""
        return " ".join(" ".join(self.texts).replace("\u202f", " ").split())

    def row(self, name: str) -> list[str]:
        """The first row that begins so, as single-spaced texts."""
        rows = [[" ".join(c.replace("\u202f", " ").split()) for c in row] for row in self.cells]
        return next(row for row in rows if row and row[0] == name)


def read(page: str) -> Read:
    """Parse a whole page."""
    found = Read()
    found.feed(page)
    found.close()
    assert found.open == [], f"{found.open} are never ended"
    return found
