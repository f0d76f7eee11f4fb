"""Whether what is put below a page is seen there.

The parser answers: the page is read with the footer in it, and the footer looked for.  Where the page was read
before, and no style in it can hide anything, it is enough to see that its end is nothing but end tags.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import turbohtml

from relay.message import html, styles
from relay.message.html import Open
from relay.message.styles import Declarations, Length, Rule, Sheet

_TAGS = (
    "html body div p center table tbody thead tfoot tr td th caption section article main header footer aside nav"
    " address figure blockquote ul ol li dl dt dd pre h1 h2 h3 h4 h5 h6 form fieldset label span a b i em strong font"
    " u s small big sub sup code cite q"
)
_ORDINARY = frozenset(_TAGS.split())
"""What a reader looks into; not so a menu, a drawing, a folded list."""
_PLAIN = _ORDINARY - {"ul", "ol", "dl"}
_EMPTY = frozenset(("img", "br", "hr"))


def is_seen(page: str, start: int, end: int) -> bool:
    """Whether all the text of the `<div>` that stands at page[start:end] is seen; a line begins with it."""
    tags = page.count("<")
    if len(page) > html.MOST_HTML or tags > html.MOST_TAGS:
        return False
    if len(page) > html.FEW_ATTRIBUTES and html._crowded(page):
        return False
    document = turbohtml.parse(page, positions=True)
    if tags > html.DEEPEST and html._deep(document, tags):
        return False
    line = page.count("\n", 0, start) + 1
    footer = _begins_at(document, line)
    if footer is None and (old := page.count("\r", 0, start) - page.count("\r\n", 0, start)):
        footer = _begins_at(document, line + old)  # line ends of one CR count too
    if footer is None:
        return False  # swallowed: by a comment, an attribute, a script
    text = footer.text
    named = html._named(document)
    if not _in_the_open(footer) or _shut_in(footer, html._acting(document, named)[0]):
        return False
    if html._concealed(document, page, tags, named) is None:
        return False
    if footer.text != text or not _in_the_open(footer):
        return False
    # What checks read of the page: text of a list outside of its items, for one, is not in it.
    return " ".join(footer.to_text().split()) in " ".join(document.to_text().split())


def _begins_at(document: Any, line: int) -> Any:
    for element in reversed(document.select("div")):
        if element.source_line == line and element.source_col == 0:
            return element
    return None


def _in_the_open(element: Any, tags: frozenset[str] = _ORDINARY) -> bool:
    above = element.parent
    while above is not None:
        tag = getattr(above, "tag", None)
        if tag == "html":
            return True
        if tag not in tags:
            return False
        above = above.parent
    return False  # it was taken out, with what it stands in


_MOST_TRIES = 20_000
"""Times that a rule is tried on an element, 1 us each."""


def _shut_in(element: Any, sheet: Sheet) -> bool:
    """Whether it, or a box around it, waits to be opened (`popover`) or shows nothing of what is longer than it.

    How much fits into a box is not known, but what stands last in it is the first to go.
    """
    around = []
    while (tag := getattr(element, "tag", None)) is not None:
        if element.attr("popover") is not None:
            return True
        around.append((element, tag, styles.declarations(element.attr("style") or "")))
        element = element.parent
    boxes = _boxes(sheet)
    if not boxes.cut and not any(block is not None and _cuts(block) for _, _, block in around):
        return False
    if len(boxes.rules) * len(around) > _MOST_TRIES:
        return True
    for one, tag, own in around:
        blocks = [rule.block for rule in boxes.rules if _matches(one, rule.selector)]
        if own is not None:
            blocks.append(own)
        if _cuts_at(tag, tuple(blocks)):
            return True
    return False


def cuts_off(page: str) -> bool:
    """Whether some box of a page without style sheets has a height of its own and cuts off what is longer."""
    return any(
        (own := styles.declarations(element.attr("style") or "")) is not None and _cuts_at(element.tag, (own,))
        for element in turbohtml.parse(page, positions=False).select("[style]")
    )


def _matches(element: Any, selector: str) -> bool:
    try:
        return bool(element.matches(selector))
    except ValueError:
        return False


class _Boxes(NamedTuple):
    """rules  those with a say in what a box shows, in the order of the cascade
    cut    some of them lets it cut off what is longer"""

    rules: tuple[Rule, ...]
    cut: bool


_SAYS = frozenset(("overflow", "height", "max-height", "display", "position"))


@lru_cache(maxsize=256)
def _boxes(sheet: Sheet) -> _Boxes:
    rules = [rule for rule in sheet.rules if not _SAYS.isdisjoint((*rule.block.normal, *rule.block.important))]
    rules.sort(key=lambda rule: rule.rank)
    return _Boxes(tuple(rules), any(_cuts(rule.block) for rule in rules))


def _cuts(block: Declarations) -> bool:
    return bool(block.normal.get("overflow") or block.important.get("overflow"))


def _cuts_at(tag: str, blocks: tuple[Declarations, ...]) -> bool:
    style = styles.style(blocks)
    boxed = style.boxed if style.boxed is not None else tag not in html._INLINE or style.out
    if not style.overflow or not boxed or (tag in html._CELLS and not style.boxed):
        return False
    sizes: dict[str, object] = {}
    for block in blocks:
        sizes.update(block.normal)
    for block in blocks:
        sizes.update(block.important)
    return any(_is_fixed(sizes.get(name)) for name in ("height", "max-height"))


def _is_fixed(size: object) -> bool:
    """Not 100% of a box that grows."""
    return isinstance(size, Length) and (not size.relative or size.value > 1)


# -- without reading it once more ------------------------------------------------------------
_NAME = r"[A-Za-z][A-Za-z0-9:-]*+"
_VALUE = r"(?:\"[^\"]*+\"|'[^']*+'|[^\s\"'<>=`/]++)"
_LAST = re.compile(
    rf"<({_NAME})(?>(?:\s++[A-Za-z_][A-Za-z0-9_:.-]*+(?>(?:\s*+=\s*+{_VALUE})?))*)\s*+/?+>"
    rf"(?>(?:[^<]++|</{_NAME}\s*+>)*)\Z",
    re.ASCII,
)
"""A start tag that every reader takes for the same, and end tags and text behind it."""
_FAR = 4096


def is_seen_at_end(was: Open, page: str, at: int, footer: str) -> bool:
    """Whether a footer at character `at` is seen; False also where that is not plain.

    The last tag before that place is, to the parser, where the last element of the page begins: so it is no text,
    attribute or comment, and behind it are end tags only.  So the footer comes to stand in this element or one
    around it, all of them ordinary; and no style can hide it.
    """
    start = at
    while True:
        start = page.rfind("<", max(0, at - _FAR), start)
        if start < 0:
            return False
        if page[start + 1 : start + 2] != "/":
            break
    found = _LAST.match(page[start:at])
    if found is None:
        return False
    element = _last(was.document)
    if element is None or element.tag != found[1].lower() or not (element.tag in _EMPTY or element.tag in _PLAIN):
        return False
    if element.source_col != start - page.rfind("\n", 0, start) - 1:
        return False
    if element.source_line != page.count("\n", 0, start) + 1 or not _in_the_open(element, _PLAIN):
        return False
    if _shut_in(element, was.sheet):
        return False
    own = _styles(without_links(footer))
    return own is not None and not html._suspicious(was.distinct | own, was.sheet)


def _last(document: Any) -> Any:
    """The last element of the page, not looking into what it holds beside elements."""
    node = document.select_one("body")
    while node is not None:
        for child in reversed(node.children):
            if isinstance(child, turbohtml.Element):
                node = child
                break
        else:
            return node
    return None


_LINK = re.compile(r"https://[^\s\"<>]++")


def without_links(footer: str) -> str:
    """Each recipient has his own; the rest is the same for a campaign."""
    return _LINK.sub("", footer)


@lru_cache(maxsize=256)
def _styles(footer: str) -> frozenset[Declarations] | None:
    """What styles a footer has itself; None where one can hide something."""
    concealed = html._concealed(turbohtml.parse(footer, positions=False), footer, footer.count("<"))
    return concealed[3].distinct if concealed is not None and concealed[3] is not None else None
