"""HTML from a tree of calls, in which text is always escaped.

`element("p", "a < b")` gives `<p>a &lt; b</p>`. Only a `Markup` is taken as it is, and only this module makes one from
text. There are no attributes that hold scripts or styles: the page's policy would refuse them.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, final

from attrs import frozen

from confsec.cli.printable import printable

__all__ = ["Content", "Markup", "document", "element", "together"]

_VOID: Final = frozenset({"meta", "path", "circle"})
"""Elements that hold nothing; those of SVG are closed in the tag."""

_ALLOWED: Final = frozenset(
    {"aria-hidden", "aria-label", "charset", "class", "content", "cx", "cy", "d", "http-equiv", "lang", "name", "open",
     "r", "role", "viewBox"}
)  # fmt: skip
"""The attributes that the page uses. None of them loads, links or runs anything."""


@final
@frozen
class Markup:
    """A piece of HTML that is ready."""

    html: str


Content = str | Markup
"""Text, to be escaped, or what is ready."""


def element(tag: str, *content: Content, **attributes: str) -> Markup:
    """Make an element. `kind` is its class; other attributes have `_` for `-`. An empty attribute is left out."""
    named = {"class" if name == "kind" else name.replace("_", "-"): value for name, value in attributes.items()}
    if unknown := set(named) - _ALLOWED:
        raise ValueError(f"attributes that no page of ours has: {sorted(unknown)}")
    written = "".join(f' {name}="{escape(printable(value))}"' for name, value in named.items() if value)
    if tag in _VOID:
        return Markup(f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{together(*content).html}</{tag}>")


def together(*content: Content) -> Markup:
    """Put pieces beside each other."""
    return Markup("".join(part.html if isinstance(part, Markup) else escape(printable(part)) for part in content))


def document(head: Iterable[Markup], body: Markup, *, style: str) -> str:
    """Make the whole page around its style sheet, a constant of ours that is not escaped."""
    sheet = Markup(f"<style>{style}</style>")
    end = Markup("\n")
    page = element("html", end, element("head", *head, sheet), end, body, end, lang="en")
    return f"<!DOCTYPE html>\n{page.html}\n"
