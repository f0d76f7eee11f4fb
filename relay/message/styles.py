"""What style sheets and style attributes say of whether text can be seen: the few properties that hide it.

Parsed by hand, since a campaign repeats a handful of style attributes for ever: each is read once and kept
by its text.  Layout is not computed, so what depends on it (overlaps, pictures behind a text) is unknown
here and never counts as hidden.

Sources: CSS Syntax 3, CSS Cascade 4 (order, specificity), CSS Color 4 (names, hsl), WCAG 2.1 section 1.4.3
(contrast), WHATWG HTML section 15 (attributes that act as styles).
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

Color = tuple[int, int, int, float]
"""Red, green and blue of 0 to 255, and how opaque it is, of 0 to 1."""
UNKNOWN: Final = "unknown"
"""A colour that cannot be known: a picture, a gradient, a variable."""
INHERIT: Final = "inherit"
CURRENT: Final = "current"
"""Letters are filled with the colour of the text."""
Paint = Color | Literal["unknown", "inherit", "current"]

BLACK: Color = (0, 0, 0, 1.0)
WHITE: Color = (255, 255, 255, 1.0)
LINK: Color = (0, 0, 238, 1.0)
"""What browsers show a link in that no style gives a colour; mail programs have their own."""

INVISIBLE_CONTRAST = 1.15
"""A text whose contrast with its background is below this cannot be read (white on #f0f0f0 is 1.14)."""
FAINT_CONTRAST = 2.0
"""Below it a text is noted as faint, for checks to look at; WCAG asks for 4.5, and 3 for large letters.
Grey footers (#999 on white, 2.8) are above it."""
INVISIBLE_FONT = 3.0
"""Pixels below which letters cannot be made out."""
TINY_FONT = 8.0
"""Pixels below which a text is noted as faint."""
INVISIBLE_OPACITY = 0.1
FAINT_OPACITY = 0.5
AWAY = -500.0
"""Pixels to the left of or above its place from which on a text is off the page."""
FLAT = 2.0
"""Pixels of width or height below which a box that cuts off what overflows shows nothing."""
FONT = 16.0

LONGEST = 4096
"""Characters of one style attribute, or of the declarations of one rule, that are read."""
MOST_KEPT = 4096
LONGEST_SHEET = 128 * 1024
MOST_RULES = 2000


class Length(NamedTuple):
    """Pixels; where `relative` a factor of what is inherited instead."""

    value: float
    relative: bool = False


class Declarations:
    """One block of declarations: what is relevant of it.

    normal, important  property -> its value, as the fields of Style want it
    hides              some of it can hide text by itself
    colors, paints     colours it gives to text, and to backgrounds
    """

    __slots__ = ("colors", "hides", "important", "normal", "paints")

    def __init__(self, normal: Mapping[str, object], important: Mapping[str, object]) -> None:
        self.normal, self.important = normal, important
        self.hides = False
        colors, paints = [], []
        for each in (normal, important):
            for name, value in each.items():
                if name in ("color", "fill"):
                    colors.append(value)
                elif name in ("paint", "picture"):
                    paints.append(value)
                elif not self.hides:
                    self.hides = _may_hide(name, value)
        self.colors: tuple[object, ...] = tuple(colors)
        self.paints: tuple[object, ...] = tuple(paints)


class Style:
    """Of one element, as the cascade gives it; what is not given is None (or False)."""

    __slots__ = ("away", "boxed", "clipped", "color", "fill", "font", "gone", "height", "indent", "opacity", "out",
                 "overflow", "paint", "picture", "scale", "shown", "width")  # fmt: skip

    def __init__(self, values: Mapping[str, object]) -> None:
        get = values.get
        self.gone: bool = get("display") == "none"
        # A span has no width to speak of unless it is made a box.
        self.boxed: bool | None = _BOXED.get(str(get("display"))) if "display" in values else None
        self.shown: bool | None = get("visibility")  # type: ignore[assignment]
        self.opacity: float | None = get("opacity")  # type: ignore[assignment]
        if (filtered := get("filter")) is not None:
            self.opacity = (1.0 if self.opacity is None else self.opacity) * filtered  # type: ignore[operator]
        self.font: Length | None = get("font")  # type: ignore[assignment]
        self.indent: Length | None = get("text-indent")  # type: ignore[assignment]
        self.overflow: bool = bool(get("overflow"))
        self.width: bool = _flat(get("width"), get("max-width"))
        self.height: bool = _flat(get("height"), get("max-height"))
        self.out: bool = get("position") in ("absolute", "fixed")
        sides = [get(side) for side in ("left", "top", "right", "bottom", "margin-left", "margin-top")]
        far = [isinstance(side, Length) and not side.relative and side.value <= AWAY for side in sides]
        moved = self.out or get("position") == "relative"
        self.away: bool = any(far[4:]) or (moved and any(far[:4])) or bool(get("transform"))
        self.clipped: bool = bool(get("clip-path")) or (self.out and bool(get("clip")))
        self.color: Paint | None = get("color")  # type: ignore[assignment]
        self.paint: Paint | None = get("paint")  # type: ignore[assignment]
        picture = get("picture")
        if isinstance(picture, tuple):
            self.paint, picture = picture, False
        self.picture: bool = bool(picture)
        self.fill: Paint | None = get("fill")  # type: ignore[assignment]
        if get("on-text"):  # letters cut out of the background
            if self.color is not None:
                self.color = UNKNOWN
            if self.fill is not None:
                self.fill = UNKNOWN
        self.scale: float = get("zoom", 1.0) * get("scale", 1.0)  # type: ignore[operator]


def _flat(size: object, most: object) -> bool:
    return any(isinstance(one, Length) and not one.relative and one.value < FLAT for one in (size, most))


_BOXED = {"inline": False, "contents": False}
_DISPLAY_NAMES = (
    "none block inline inline-block flex inline-flex grid inline-grid table inline-table table-row table-cell"
    " table-row-group table-header-group table-footer-group table-column table-column-group table-caption list-item"
    " contents flow-root run-in -webkit-box initial unset revert inherit"
)
_DISPLAYS = frozenset(_DISPLAY_NAMES.split())
_BOXED |= {
    name: True for name in _DISPLAYS if name not in ("inline", "contents", "none", "initial", "unset", "inherit")
}


def _may_hide(name: str, value: object) -> bool:
    if name == "display":
        return value == "none"
    if name == "visibility":
        return value is False
    if name in ("opacity", "filter"):
        return isinstance(value, float) and value < FAINT_OPACITY
    if name in ("zoom", "scale"):
        return isinstance(value, float) and value < 0.7
    if name == "font":
        return isinstance(value, Length) and (value.value < TINY_FONT if not value.relative else value.value < 0.7)
    if isinstance(value, Length):
        return not value.relative and (value.value <= AWAY or (value.value < FLAT and name in _SIZES))
    return bool(value) and name in ("clip", "clip-path", "transform")


_SIZES = frozenset(("width", "height", "max-width", "max-height"))

# -- values ---------------------------------------------------------------------------------
_NUMBER = re.compile(r"([+-]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9}))([a-z]{1,4}|%)?\Z")
_CALC = re.compile(r"calc\(\s*+([^\s()]{1,30})\s*+\)\Z")
"""Of one length; sums depend on layout."""
_UNITS = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "q": 0.945, "rem": FONT,
          "vw": 6.0, "vh": 8.0, "ch": 8.0, "ex": 8.0}  # fmt: skip
_FONT_WORDS = {"xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0, "x-large": 24.0,
               "xx-large": 32.0, "xxx-large": 48.0, "initial": 16.0}  # fmt: skip


def length(value: str) -> Length | None:
    """`12px`, `1.5em`, `80%`; None for what is no length.  A number without a unit is one if it is 0 only."""
    found = _NUMBER.match(value)
    if found is None:
        within = _CALC.match(value)
        found = _NUMBER.match(within[1]) if within else None
        if found is None or found[2] is None:
            return None
    number, unit = float(found[1]), found[2]
    if unit is None:
        return Length(0.0) if number == 0 else None
    if unit == "em":
        return Length(number, True)
    if unit == "%":
        return Length(number / 100, True)
    if unit in _UNITS:
        return Length(number * _UNITS[unit])
    return None


def _size(value: str) -> Length | None:
    """Of a box: a factor of 0 is 0."""
    found = length(value)
    if found is not None and found.relative and found.value == 0:
        return Length(0.0)
    return found


def _side(value: str) -> Length | None:
    """`-9999px`; -100em and -100% are as far away as that."""
    found = length(value)
    if found is not None and found.relative:
        return Length(found.value * FONT) if not value.endswith("%") else Length(AWAY) if found.value <= -1 else found
    return found


_COLOR_NAMES = (
    "aliceblue:f0f8ff antiquewhite:faebd7 aqua:00ffff aquamarine:7fffd4 azure:f0ffff beige:f5f5dc bisque:ffe4c4"
    " black:000000 blanchedalmond:ffebcd blue:0000ff blueviolet:8a2be2 brown:a52a2a burlywood:deb887"
    " cadetblue:5f9ea0 chartreuse:7fff00 chocolate:d2691e coral:ff7f50 cornflowerblue:6495ed cornsilk:fff8dc"
    " crimson:dc143c cyan:00ffff darkblue:00008b darkcyan:008b8b darkgoldenrod:b8860b darkgray:a9a9a9"
    " darkgreen:006400 darkgrey:a9a9a9 darkkhaki:bdb76b darkmagenta:8b008b darkolivegreen:556b2f"
    " darkorange:ff8c00 darkorchid:9932cc darkred:8b0000 darksalmon:e9967a darkseagreen:8fbc8f"
    " darkslateblue:483d8b darkslategray:2f4f4f darkslategrey:2f4f4f darkturquoise:00ced1 darkviolet:9400d3"
    " deeppink:ff1493 deepskyblue:00bfff dimgray:696969 dimgrey:696969 dodgerblue:1e90ff firebrick:b22222"
    " floralwhite:fffaf0 forestgreen:228b22 fuchsia:ff00ff gainsboro:dcdcdc ghostwhite:f8f8ff gold:ffd700"
    " goldenrod:daa520 gray:808080 green:008000 greenyellow:adff2f grey:808080 honeydew:f0fff0 hotpink:ff69b4"
    " indianred:cd5c5c indigo:4b0082 ivory:fffff0 khaki:f0e68c lavender:e6e6fa lavenderblush:fff0f5"
    " lawngreen:7cfc00 lemonchiffon:fffacd lightblue:add8e6 lightcoral:f08080 lightcyan:e0ffff"
    " lightgoldenrodyellow:fafad2 lightgray:d3d3d3 lightgreen:90ee90 lightgrey:d3d3d3 lightpink:ffb6c1"
    " lightsalmon:ffa07a lightseagreen:20b2aa lightskyblue:87cefa lightslategray:778899 lightslategrey:778899"
    " lightsteelblue:b0c4de lightyellow:ffffe0 lime:00ff00 limegreen:32cd32 linen:faf0e6 magenta:ff00ff"
    " maroon:800000 mediumaquamarine:66cdaa mediumblue:0000cd mediumorchid:ba55d3 mediumpurple:9370db"
    " mediumseagreen:3cb371 mediumslateblue:7b68ee mediumspringgreen:00fa9a mediumturquoise:48d1cc"
    " mediumvioletred:c71585 midnightblue:191970 mintcream:f5fffa mistyrose:ffe4e1 moccasin:ffe4b5"
    " navajowhite:ffdead navy:000080 oldlace:fdf5e6 olive:808000 olivedrab:6b8e23 orange:ffa500"
    " orangered:ff4500 orchid:da70d6 palegoldenrod:eee8aa palegreen:98fb98 paleturquoise:afeeee"
    " palevioletred:db7093 papayawhip:ffefd5 peachpuff:ffdab9 peru:cd853f pink:ffc0cb plum:dda0dd"
    " powderblue:b0e0e6 purple:800080 rebeccapurple:663399 red:ff0000 rosybrown:bc8f8f royalblue:4169e1"
    " saddlebrown:8b4513 salmon:fa8072 sandybrown:f4a460 seagreen:2e8b57 seashell:fff5ee sienna:a0522d"
    " silver:c0c0c0 skyblue:87ceeb slateblue:6a5acd slategray:708090 slategrey:708090 snow:fffafa"
    " springgreen:00ff7f steelblue:4682b4 tan:d2b48c teal:008080 thistle:d8bfd8 tomato:ff6347 turquoise:40e0d0"
    " violet:ee82ee wheat:f5deb3 white:ffffff whitesmoke:f5f5f5 yellow:ffff00 yellowgreen:9acd32"
)
_NAMES = {name: int(code, 16) for name, code in (pair.split(":") for pair in _COLOR_NAMES.split())}
_HEX = re.compile(r"[0-9a-f]{3,8}\Z")
_FUNCTION = re.compile(r"(rgb|hsl)a?\(([^()]{0,100})\)\Z")


@lru_cache(maxsize=1024)
def color(value: str) -> Paint | None:
    """A colour in lower case; None for what is none, UNKNOWN for what may be one."""
    named = _NAMES.get(value)
    if named is not None:
        return (named >> 16, named >> 8 & 255, named & 255, 1.0)
    if value[:1] == "#":
        return _hex(value[1:])
    if value == "transparent":
        return (0, 0, 0, 0.0)
    if value in ("inherit", "currentcolor"):
        return INHERIT
    found = _FUNCTION.match(value)
    if found:
        return _function(found[1], found[2].replace(",", " ").replace("/", " ").split())
    return UNKNOWN if "(" in value or value in ("initial", "unset", "revert", "canvas", "canvastext") else None


def _hex(digits: str) -> Color | None:
    if not _HEX.match(digits) or len(digits) in (5, 7):
        return None
    if len(digits) < 6:
        digits = "".join([digit * 2 for digit in digits])
    red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
    return (red, green, blue, int(digits[6:], 16) / 255 if len(digits) == 8 else 1.0)


def _function(name: str, given: Sequence[str]) -> Paint | None:
    if not 3 <= len(given) <= 4:
        return None
    try:
        opaque = 1.0
        if len(given) == 4:
            opaque = float(given[3][:-1]) / 100 if given[3].endswith("%") else float(given[3])
        opaque = min(1.0, max(0.0, opaque))
        if name == "rgb":
            red, green, blue = (
                min(255, max(0, round(float(one[:-1]) * 2.55 if one.endswith("%") else float(one))))
                for one in given[:3]
            )
            return (red, green, blue, opaque)
        hue = float(given[0].removesuffix("deg")) % 360 / 360
        fill, light = (min(1.0, max(0.0, float(one.removesuffix("%")) / 100)) for one in given[1:3])
        red, green, blue = (round(one * 255) for one in colorsys.hls_to_rgb(hue, light, fill))
        return (red, green, blue, opaque)
    except (ValueError, OverflowError):
        return UNKNOWN


def attribute_color(value: str) -> Paint | None:
    """As `color`, for bgcolor and <font color>, which do without the hash too (WHATWG HTML section 2.3.6)."""
    value = value.strip().lower()
    return color(value) or _hex(value) or (UNKNOWN if value else None)


def over(above: Color, below: Color) -> Color:
    """A colour that is seen through in front of one that is not."""
    opaque = above[3]
    if opaque >= 1:
        return above
    rest = 1 - opaque
    return (
        round(above[0] * opaque + below[0] * rest), round(above[1] * opaque + below[1] * rest),
        round(above[2] * opaque + below[2] * rest), 1.0,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def contrast(text: Color, background: Color) -> float:
    """1 (the same) to 21 (black and white), after WCAG 2.1; `background` is opaque."""
    one, two = _luminance(over(text, background)), _luminance(background)
    return (max(one, two) + 0.05) / (min(one, two) + 0.05)


def _luminance(of: Color) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in of[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# -- declarations ------------------------------------------------------------------------------
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_STRING = re.compile(r"\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)")
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})[ \t\r\n\f]?|\\(.)", re.DOTALL)
_IMPORTANT = re.compile(r"!\s*+important\s*+\Z")
_RELEVANT = re.compile(
    r"display|visibility|opacity|font|color|background|(?:^|[;\s])(?:max-)?(?:width|height)|overflow|text-indent|position|margin"
    r"|left|top|right|bottom|clip|transform|zoom|filter"
)
_TOKEN = re.compile(r"[^\s()]+(?:\([^()]*+(?>(?:\([^()]*+\)[^()]*+)*)\))?|\(")
_CLIP = re.compile(r"rect\(" + r"[\s,]*+([^\s,()]++)" * 4 + r"\s*+\)")
_INSET = re.compile(
    r"inset\(\s*+(?:100|[5-9]\d)(?:\.\d++)?%|(?:circle|ellipse)\(\s*+0(?:px|%)?(?:[\s)]|\Z)|polygon\(0 0\)"
)
_MOVED = re.compile(
    r"scale[xy]?\(\s*+0(?:\.0\d*+)?\s*+[,)]|translate(?:[xy3]d?)?\([^()]{0,40}?-\d{3,6}(?:\.\d++)?(?:px|em|rem|vw|vh|pt|%)"
)
_SCALED = re.compile(r"scale(?:[xy]|3d)?\(\s*+-?([\d.]{1,9})(?:\s*+,\s*+-?([\d.]{1,9}))?")
_FILTERED = re.compile(r"opacity\(\s*+([\d.]{1,9}%?)\s*+\)")
_TINT = re.compile(r"#[0-9a-f]{3,8}\b|(?:rgb|hsl)a?\([^()]{0,100}\)|\b[a-z]{3,20}\b(?!\()")


def _unescaped(found: re.Match[str]) -> str:
    if found[2]:
        return found[2]
    code = int(found[1], 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _opacity(value: str) -> float | None:
    found = _NUMBER.match(value)
    if found is None or found[2] not in (None, "%"):
        return None
    return float(found[1]) / (100 if found[2] else 1)


def _scale(value: str) -> float:
    """What is left of the smaller side of a letter."""
    scale = 1.0
    for sides in _SCALED.findall(value)[:8]:
        numbers = [length(side + "px") for side in sides if side]
        scale *= min([number.value for number in numbers if number is not None], default=1.0)
    return scale


def _flat_gradient(value: str) -> Color | None:
    """The colour of a gradient from one to the same (such ones keep a colour from being turned round for the night)."""
    if "gradient(" not in value or "url(" in value or "var(" in value:
        return None
    stops = [found for one in _TINT.findall(value)[:20] if (found := color(one)) is not None]
    first = stops[0] if stops else None
    if not isinstance(first, tuple):
        return None
    for stop in stops:
        if not isinstance(stop, tuple) or stop[3] < 1 or contrast(stop, first) >= INVISIBLE_CONTRAST:
            return None
    return first


def _clip(value: str) -> bool:
    """`rect(0,0,0,0)`, `rect(1px,1px,1px,1px)`: nothing is left between the sides."""
    found = _CLIP.match(value)
    sides = [length(side) for side in found.groups()] if found else []
    if len(sides) != 4 or any(side is None or side.relative for side in sides):
        return False
    top, right, bottom, left = [side.value for side in sides if side]
    return bottom - top < FLAT or right - left < FLAT


def _font(value: str) -> Length | None:
    """The size in `font: bold 12px/1.5 Arial`."""
    for token in value.split()[:8]:
        size = token.partition("/")[0]
        found = length(size) or (Length(_FONT_WORDS[size]) if size in _FONT_WORDS else None)
        if found is not None:
            return found
    return None


def _background(value: str, into: dict[str, object]) -> None:
    """`background: #fff url(x) no-repeat`; a shorthand sets again what it does not name."""
    if value in ("inherit", "unset", "revert"):
        return
    picture = "url(" in value or "gradient(" in value or "image" in value or "var(" in value
    if (flat := _flat_gradient(value)) is not None:
        into["paint"], into["picture"] = (0, 0, 0, 0.0), flat
        return
    paint: Paint | None = None
    for token in _TOKEN.findall(value)[:20]:
        found = color(token)
        if found is not None and not (found == UNKNOWN and picture):
            paint = found
    if paint is None and not picture and value not in ("none", "transparent", "initial", "0", "0 0"):
        return  # not to be understood; a browser drops it
    into["paint"], into["picture"] = paint or (0, 0, 0, 0.0), picture


def _read(name: str, value: str, into: dict[str, object]) -> None:
    """One declaration; what is not valid changes nothing."""
    if name == "display":
        if value in _DISPLAYS:
            into[name] = value
    elif name == "visibility":
        if value in ("hidden", "collapse", "visible", "initial"):
            into[name] = value in ("visible", "initial")
    elif name == "opacity":
        number = _opacity(value)
        if number is not None:
            into[name] = number
    elif name == "color":
        text = BLACK if value == "initial" else color(value)
        if text is not None:
            into[name] = text
    elif name == "background-color":
        paint = (0, 0, 0, 0.0) if value in ("initial", "unset") else color(value)
        if paint is not None:
            into["paint"] = paint
    elif name == "background":
        _background(value, into)
        if value.endswith(" text"):
            into["on-text"] = True
    elif name == "background-image":
        into["picture"] = _flat_gradient(value) or value not in ("none", "initial", "unset")
    elif name in ("background-clip", "-webkit-background-clip"):
        into["on-text"] = value == "text"
    elif name == "font-size":
        if value in _FONT_WORDS:
            into["font"] = Length(_FONT_WORDS[value])
        elif value in ("smaller", "larger"):
            into["font"] = Length(0.83 if value == "smaller" else 1.2, True)
        elif (size := length(value)) is not None and size.value >= 0:
            into["font"] = size
    elif name == "font":
        if (size := _font(value)) is not None:
            into["font"] = size
    elif name in _SIZES:
        into[name] = _size(value)
    elif name in ("overflow", "overflow-x", "overflow-y"):
        into["overflow"] = value.split(" ")[0] in ("hidden", "clip")
    elif name == "position":
        into[name] = value
    elif name in _SIDES or name == "text-indent":
        into[name] = _side(value)
    elif name == "margin":
        sides = value.split()
        if "-" in value or "margin-left" in into or "margin-top" in into:
            into["margin-top"] = _side(sides[0])
            into["margin-left"] = _side(sides[3] if len(sides) == 4 else sides[min(1, len(sides) - 1)])
    elif name == "clip":
        into[name] = _clip(value)
    elif name == "clip-path":
        into[name] = _INSET.match(value) is not None
    elif name in ("transform", "-webkit-transform", "-ms-transform"):
        into["transform"], into["scale"] = _MOVED.search(value) is not None, _scale(value)
    elif name == "zoom":
        number = 1.0 if value == "normal" else _opacity(value)
        if number is not None and number >= 0:
            into[name] = number or 1.0  # as browsers do
    elif name in ("filter", "-webkit-filter"):
        number = _opacity(filtered[1]) if (filtered := _FILTERED.search(value)) else None
        into["filter"] = 1.0 if number is None else number
    elif name == "-webkit-text-fill-color":
        text = CURRENT if value in ("currentcolor", "initial") else color(value)
        if text is not None and text != INHERIT:
            into["fill"] = text


_SIDES = frozenset(("left", "top", "right", "bottom", "margin-left", "margin-top"))

_kept: dict[str, Declarations | None] = {}
"""Blocks by their text.  Bounded, since strangers fill it."""


def declarations(text: str) -> Declarations | None:
    """The declarations of a style attribute or a rule; None where nothing in them is relevant."""
    try:
        return _kept[text]
    except KeyError:
        pass
    found = _declarations(text[:LONGEST])
    if len(text) <= 1024:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        _kept[text] = found
    return found


def _declarations(text: str) -> Declarations | None:
    if "/*" in text:
        text = _COMMENT.sub(" ", text)
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    text = text.lower()
    if not _RELEVANT.search(text):
        return None
    if '"' in text or "'" in text:
        text = _STRING.sub("x", text)
    normal: dict[str, object] = {}
    important: dict[str, object] = {}
    for one in text.split(";"):
        name, colon, value = one.partition(":")
        if not colon:
            continue
        value = value.strip()
        if value.endswith("important"):
            cut = _IMPORTANT.sub("", value).rstrip()
            into = important if cut != value else normal
            _read(name.strip(), cut, into)
        else:
            _read(name.strip(), value, normal)
    return Declarations(normal, important) if normal or important else None


def attributes(
    bgcolor: str | None = None, text: str | None = None, background: str | None = None, size: str | None = None
) -> Declarations | None:
    """What attributes of the page's own say (bgcolor, <body text>, <font color size>, background)."""
    return _attributes(bgcolor, text, background, size)


@lru_cache(maxsize=1024)
def _attributes(bgcolor: str | None, text: str | None, background: str | None, size: str | None) -> Declarations | None:
    normal: dict[str, object] = {}
    if bgcolor and (paint := attribute_color(bgcolor[:100])) is not None:
        normal["paint"] = paint
    if background:
        normal["picture"] = True
    if text and (given := attribute_color(text[:100])) is not None:
        normal["color"] = given
    if size:
        normal["font"] = Length(10.0 if size.strip() in ("1", "-2", "-3", "-4", "-5", "-6") else 13.0)
    return Declarations(normal, {}) if normal else None


@lru_cache(maxsize=4096)
def style(blocks: tuple[Declarations, ...]) -> Style:
    """What applies to one element: `blocks` in the order of the cascade, the strongest last."""
    values: dict[str, object] = {}
    for block in blocks:
        values.update(block.normal)
    for block in blocks:
        values.update(block.important)
    return Style(values)


def shows(block: Declarations) -> bool:
    """A picture with this style alone can be seen."""
    given = style((block,))
    if given.gone or given.shown is False or given.width or given.height:
        return False
    return given.opacity is None or given.opacity >= INVISIBLE_OPACITY


# -- style sheets --------------------------------------------------------------------------------
class Rule(NamedTuple):
    """selector     one, without commas
    rank         its specificity
    block        what it declares
    """

    selector: str
    rank: int
    block: Declarations


class Sheet:
    """
    rules      in their order
    revealing  selectors of what only some screens show: there a reader may see it
    """

    __slots__ = ("revealing", "rules")

    def __init__(self, rules: Sequence[Rule] = (), revealing: Sequence[str] = ()) -> None:
        self.rules, self.revealing = tuple(rules), tuple(revealing)


NO_SHEET = Sheet()


_BRACES = re.compile(r"[{};]")
_STATES = re.compile(
    r":(?:hover|active|focus|visited|target|checked|disabled|before|after|placeholder|selection|first-l|:)|::|@|\\|[<>]\s*+\Z",
    re.IGNORECASE,
)
_SIMPLE = re.compile(r"\s*[*#.\w-]")
_EVERYWHERE = re.compile(
    r"@media\s++(?:(?:only\s++)?(?:all|screen|screen\s*+,\s*+print)(?:\s++and\s++(?=\()|\s*+\Z))?"
    # Narrower or wider than any screen.
    r"(?:\(\s*+(?:min(?:-device)?-width\s*+:\s*+[01]?\d{1,2}(?:px)?|max(?:-device)?-width\s*+:\s*+(?:[3-9]\d{3}|\d{5,9})px)\s*+\)\s*+)?\Z"
)
_SCREENS = re.compile(
    r"max(?:-device)?-width\s*+:\s*+(?:[3-9]\d\d|\d{4})|min(?:-device)?-width\s*+:\s*+(?:\d{1,3}|1\d{3})\D"
    r"|prefers-color-scheme|orientation|-webkit-min-device-pixel-ratio|max-device-aspect-ratio"
)


@lru_cache(maxsize=256)
def sheet(text: str) -> Sheet:
    """The rules of a style sheet that have to do with what is seen.

    Rules of `@media` with a condition are kept apart: they cannot hide (a text that is hidden on
    telephones is read elsewhere), only show.  @supports, @import and the like are not read: Gmail and Outlook
    drop them, so what they hide is read there.
    """
    text = _COMMENT.sub(" ", text[:LONGEST_SHEET]).replace("<!--", " ").replace("-->", " ")
    rules: list[Rule] = []
    revealing: list[str] = []
    at, head, where = 0, 0, ["plain"]
    count = 0  # of rules for some screens
    while len(rules) + count < MOST_RULES:
        found = _BRACES.search(text, at)
        if found is None:
            break
        place, sign = found.start(), found[0]
        at = place + 1
        if sign == "}":
            if len(where) > 1:
                where.pop()
            head = at
        elif sign == ";":
            head = at
        else:
            prelude = text[head:place].strip()
            head = at
            if prelude.startswith("@"):
                if len(where) < 8:
                    where.append(_context(prelude.lower(), where[-1]))
                continue
            end = text.find("}", at)
            end = len(text) if end < 0 else end
            if where[-1] != "skip":
                block = declarations(text[at:end])
                if block is not None:
                    for selector in _selectors(prelude):
                        if where[-1] == "plain":
                            rules.append(Rule(selector, rank(selector), block))
                            continue
                        count += 1
                        if reveals(block):
                            revealing.append(selector)
            at = head = end + 1
    return Sheet(rules, revealing)


def _context(prelude: str, outside: str) -> str:
    if outside != "plain" or not prelude.startswith("@media"):
        return "skip"
    if _EVERYWHERE.match(prelude):
        return "plain"
    return "media" if _SCREENS.search(prelude) else "skip"


def _selectors(prelude: str) -> Iterator[str]:
    if len(prelude) > 2000 or "{" in prelude:
        return
    for selector in prelude.split(","):
        selector = selector.strip()
        # States (:hover) and generated content are not what is seen at first.
        if selector and len(selector) <= 200 and _SIMPLE.match(selector) and not _STATES.search(selector):
            yield selector


_IDS, _CLASSES, _TAGS = re.compile(r"#[\w-]"), re.compile(r"\.[\w-]|\[|:(?!:)"), re.compile(r"(?:^|[\s>+~])[A-Za-z]")


def rank(selector: str) -> int:
    """Specificity as one number (Selectors 4, section 17)."""
    return len(_IDS.findall(selector)) * 10_000 + len(_CLASSES.findall(selector)) * 100 + len(_TAGS.findall(selector))


def reveals(block: Declarations) -> bool:
    """It undoes something that hides."""
    return any(
        (name == "display" and value != "none")
        or (name == "visibility" and value is True)
        or (name == "opacity" and isinstance(value, float) and value >= FAINT_OPACITY)
        or (name in ("max-height", "height", "max-width", "width") and not _flat(value, None))
        or (name == "font" and isinstance(value, Length) and value.value >= TINY_FONT)
        for each in (block.normal, block.important)
        for name, value in each.items()
    )
