# ruff: noqa: E501 - one case a line
"""What style hides, and what it does not: a table of pages, each with the verdict, and a browser's beside it."""

import html as markup
import json
import subprocess
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.message import html, styles
from relay.message.html import Link, Reader, lowered


def read(source: str) -> html.Visible:
    reader = Reader()
    reader.html(source, None)
    return reader.visible()


DOCTYPE = "<!DOCTYPE html>"

# name, page (the text in question is MARK), why it cannot be seen: "" for what can
PAGES = [
    ("plain", "<p>MARK</p>", ""),
    ("display", "<p style='display:none'>MARK</p>", "display"),
    ("display of an ancestor", "<div style='display:none'><p style='display:block'>MARK</p></div>", "display"),
    ("the last one counts", "<p style='display:none;display:block'>MARK</p>", ""),
    ("important counts more", "<p style='display:none !important;display:block'>MARK</p>", "display"),
    ("no such display", "<p style='display:none-such'>MARK</p>", ""),
    ("escaped", r"<p style='d\69splay:no\6e e'>MARK</p>", "display"),
    ("commented", "<p style='display/**/:/**/none'>MARK</p>", "display"),
    ("in a string", "<p style='font-family:\";display:none;\"'>MARK</p>", ""),
    ("hidden", "<p hidden>MARK</p>", "display"),
    ("hidden, and shown all the same", "<p hidden style='display:block'>MARK</p>", ""),
    ("aria-hidden", "<p aria-hidden='true'>MARK</p>", ""),
    ("visibility", "<p style='visibility:hidden'>MARK</p>", "visibility"),
    ("visibility undone", "<p style='visibility:hidden'><b style='visibility:visible'>MARK</b></p>", ""),
    ("opacity", "<p style='opacity:0'>MARK</p>", "opacity"),
    ("opacity cannot be undone", "<div style='opacity:0'><p style='opacity:1'>MARK</p></div>", "opacity"),
    ("opacity in per cent", "<p style='opacity:0%'>MARK</p>", "opacity"),
    ("nearly opaque", "<p style='opacity:.999'>MARK</p>", ""),
    ("font of 0", "<p style='font-size:0'>MARK</p>", "size"),
    ("font of 1px", "<p style='font-size:1px'>MARK</p>", "size"),
    ("font shorthand", "<p style='font:0/0 a'>MARK</p>", "size"),
    ("font of 0 undone", "<td style='font-size:0'><p style='font-size:13px'>MARK</p></td>", ""),
    ("font relative to 0", "<div style='font-size:0'><p style='font-size:2em'>MARK</p></div>", "size"),
    ("font worked out", "<p style='font-size:calc( 1px )'>MARK</p>", "size"),
    ("font of a sum", "<p style='font-size:calc(12px + 1vw)'>MARK</p>", ""),
    ("height worked out", "<div style='overflow:hidden;height:calc(0px)'>MARK</div>", "size"),
    ("font in points", "<p style='font-size:9pt'>MARK</p>", ""),
    ("font in words", "<p style='font-size:0'><span style='font-size:small'>MARK</span></p>", ""),
    ("line height of 0", "<p style='line-height:0'>MARK</p>", ""),
    ("height of 0, cut off", "<div style='height:0;overflow:hidden'>MARK</div>", "size"),
    ("height of 0, not cut off", "<div style='height:0'>MARK</div>", ""),
    ("most height, cut off", "<div style='max-height:0px;overflow:hidden'>MARK</div>", "size"),
    ("most width, cut off", "<div style='max-width:0;overflow:hidden'>MARK</div>", "size"),
    ("width of 1px, cut off", "<div style='width:1px;height:1px;overflow:hidden'>MARK</div>", "size"),
    ("height of a span", "<span style='max-height:0;overflow:hidden'>MARK</span>", ""),
    ("height of a span that is a box", "<span style='display:inline-block;max-height:0;overflow:hidden'>MARK</span>", "size"),
    ("height of a cell", "<table><tr><td style='height:0;overflow:hidden'>MARK</td></tr></table>", ""),
    ("height of a cell's box", "<table><tr><td style='display:block;height:0;overflow:hidden'>MARK</td></tr></table>", "size"),
    ("ordinary box cut off", "<div style='max-width:600px;overflow:hidden'>MARK</div>", ""),
    ("to the left", "<div style='position:absolute;left:-9999px'>MARK</div>", "away"),
    ("to the left in em", "<div style='position:absolute;left:-999em'>MARK</div>", "away"),
    ("to the top", "<div style='position:fixed;top:-2000px'>MARK</div>", "away"),
    ("to the left without a position", "<div style='left:-9999px'>MARK</div>", ""),
    ("margin", "<div style='margin-left:-9999px'>MARK</div>", "away"),
    ("margin shorthand", "<div style='margin:0 0 0 -9999px'>MARK</div>", "away"),
    ("indent", "<div style='text-indent:-9999px'>MARK</div>", "away"),
    ("indent undone", "<div style='text-indent:-9999px'><p style='text-indent:0'>MARK</p></div>", ""),
    ("a hanging indent", "<p style='text-indent:-18pt;margin-left:36pt'>MARK</p>", ""),
    ("moved", "<div style='transform:translateX(-9999px)'>MARK</div>", "away"),
    ("shrunk", "<div style='transform:scale(0)'>MARK</div>", "away"),
    ("turned", "<div style='transform:rotate(1deg)'>MARK</div>", ""),
    ("shrunk to a dot", "<div style='transform:scale(.01)'>MARK</div>", "size"),
    ("squeezed", "<div style='transform:rotate(0deg) scale(1, 0.05)'>MARK</div>", "size"),
    ("shrunk a little", "<div style='font-size:24px;transform:scale(.5)'>MARK</div>", ""),
    ("mirrored", "<div style='transform:scaleX(-1)'>MARK</div>", ""),
    ("zoomed out", "<div style='zoom:.01'>MARK</div>", "size"),
    ("zoomed out in percent", "<div style='zoom:1%'><p>MARK</p></div>", "size"),
    ("an old way to make a box", "<div style='zoom:1;*zoom:1'>MARK</div>", ""),
    ("zoom of nothing", "<div style='zoom:0'>MARK</div>", ""),
    ("filter", "<div style='filter:opacity(0)'>MARK</div>", "opacity"),
    ("filter in percent", "<div style='filter:grayscale(1) opacity(5%)'>MARK</div>", "opacity"),
    ("an old filter", "<div style='filter:alpha(opacity=0)'>MARK</div>", ""),
    ("a filter undone", "<style>p{filter:opacity(0)}</style><p style='filter:none'>MARK</p>", ""),
    ("clip", "<div style='position:absolute;clip:rect(0,0,0,0)'>MARK</div>", "clip"),
    ("clip without a position", "<div style='clip:rect(0,0,0,0)'>MARK</div>", ""),
    ("clip to a dot", "<div style='position:absolute;clip:rect(1px, 1px, 1px, 1px)'>MARK</div>", "clip"),
    ("clip path", "<div style='clip-path:inset(100%)'>MARK</div>", "clip"),
    ("white on white", "<p style='color:#fff'>MARK</p>", "colour"),
    ("nearly white on white", "<p style='color:#fdfdfd'>MARK</p>", "colour"),
    ("transparent", "<p style='color:transparent'>MARK</p>", "colour"),
    ("nearly transparent", "<p style='color:rgba(0,0,0,.01)'>MARK</p>", "colour"),
    ("white on blue", "<p style='color:#fff;background:#036'>MARK</p>", ""),
    ("white on a blue cell", "<table bgcolor=003366><tr><td><font color=#ffffff>MARK</font></td></tr></table>", ""),
    ("white on a white cell in a blue table", "<table bgcolor=003366><tr><td bgcolor=white><font color=#ffffff>MARK</font></td></tr></table>", "colour"),
    ("white on a picture", "<p style='color:#fff;background:url(x.png)'>MARK</p>", ""),
    ("white on a gradient", "<p style='color:#fff;background-image:linear-gradient(#036,#369)'>MARK</p>", ""),
    ("white on a gradient from white to white", "<p style='color:#fff;background:linear-gradient(to right, #fff 0%, white)'>MARK</p>", "colour"),
    ("white on a picture of white", "<p style='color:#fff;background-image:linear-gradient(#fff,#fefefe)'>MARK</p>", "colour"),
    ("white on a gradient from black to black", "<p style='color:#fff;background-image:linear-gradient(rgb(0, 0, 0),#000)'>MARK</p>", ""),
    ("black on white before black", "<div style='background:#000'><p style='background-image:linear-gradient(#fff,#fff)'>MARK</p></div>", ""),
    ("white on a gradient that is seen through", "<p style='color:#fff;background:linear-gradient(rgba(255,255,255,0),#fff)'>MARK</p>", ""),
    ("not filled", "<p style='-webkit-text-fill-color:transparent'>MARK</p>", "colour"),
    ("not filled, in a link", "<p style='-webkit-text-fill-color:transparent'><a href=x style='color:red'>MARK</a></p>", "colour"),
    ("filled in", "<p style='color:transparent;-webkit-text-fill-color:#333'>MARK</p>", ""),
    ("filled again", "<p style='-webkit-text-fill-color:transparent'><b style='-webkit-text-fill-color:currentcolor'>MARK</b></p>", ""),
    ("filled with a gradient", "<p style='background:linear-gradient(red,blue);-webkit-background-clip:text;-webkit-text-fill-color:transparent'>MARK</p>", ""),
    ("black on black", "<div style='background-color:rgb(0, 0, 0)'>MARK</div>", "colour"),
    ("black on black, in hsl", "<div style='background-color:hsl(0 0% 0%)'>MARK</div>", "colour"),
    ("a seen-through background", "<div style='background:#000'><p style='background:rgba(255,255,255,.9)'>MARK</p></div>", ""),
    ("body", "<body bgcolor=black text=black>MARK", "colour"),
    ("an ordinary dark page", "<body bgcolor=black text=white>MARK", ""),
    ("silver on white", "<p style='color:silver'>MARK</p>", ""),
    ("colour inherited", "<div style='color:white'><p>MARK</p></div>", "colour"),
    ("colour taken over", "<div style='color:white'><p style='color:#333'>MARK</p></div>", ""),
    ("a link has its own colour", "<div style='color:white'><a href='https://x.example'>MARK</a></div>", ""),
    ("a link of no colour", "<div style='color:white'><a style='color:inherit' href='https://x.example'>MARK</a></div>", "colour"),
    ("a white link", "<a style='color:#fff' href='https://x.example'>MARK</a>", "colour"),
    ("a rule", "<style>p{display:none}</style><p>MARK</p>", "display"),
    ("a rule of a class", "<style>.Pre, .x{display:none}</style><p class='a Pre'>MARK</p>", "display"),
    ("a rule of an id", "<style>#pre{color:#fff}</style><p id=pre>MARK</p>", "colour"),
    ("a rule of another", "<style>.x{display:none}</style><p class=y>MARK</p>", ""),
    ("descendants", "<style>td .pre{display:none}</style><table><tr><td><p class=pre>MARK</p></table>", "display"),
    ("not descendants", "<style>td .pre{display:none}</style><p class=pre>MARK</p>", ""),
    ("attribute beats rule", "<style>.pre{display:none}</style><p class=pre style='display:block'>MARK</p>", ""),
    ("important rule beats attribute", "<style>.pre{display:none!important}</style><p class=pre style='display:block'>MARK</p>", "display"),
    ("id beats class", "<style>#a{display:block} .b{display:none}</style><p id=a class=b>MARK</p>", ""),
    ("the later rule", "<style>.b{display:none} .a{display:block}</style><p class='a b'>MARK</p>", ""),
    ("a state", "<style>a:hover{display:none}</style><a href=x>MARK</a>", ""),
    ("a broken rule", "<style>}}} p{{ .x{ {display:none</style><p>MARK</p>", ""),
    ("a rule in a comment", "<style>/* p{display:none} */</style><p>MARK</p>", ""),
    ("an old comment around rules", "<style><!-- p{display:none} --></style><p>MARK</p>", "display"),
    ("every screen", "<style>@media screen { p{display:none} }</style><p>MARK</p>", "display"),
    ("every width", "<style>@media (min-width:1px) { p{display:none} }</style><p>MARK</p>", "display"),
    ("no more than any width", "<style>@media only screen and (max-width: 9999px) { p{display:none} }</style><p>MARK</p>", "display"),
    ("wide screens", "<style>@media (min-width:481px) { .m{display:none} }</style><p>MARK</p>", ""),
    ("telephones only", "<style>@media only screen and (max-width:480px){ p{display:none!important} }</style><p>MARK</p>", ""),
    ("print only", "<style media=print>p{display:none}</style><p>MARK</p>", ""),
    ("shown on telephones only", "<style>@media only screen and (max-width:480px){ .m{display:block!important} }</style><p class=m style='display:none'>MARK</p>", "media"),
    ("comment", "<!-- MARK -->", None),
    ("for Outlook", "<!--[if mso]><p>MARK</p><![endif]-->", None),
    ("for all but Outlook", "<!--[if !mso]><!--><p>MARK</p><!--<![endif]-->", ""),
    ("revealed", "<![if !mso]><p>MARK</p><![endif]>", ""),
    ("script", "<script>MARK</script>", None),
    ("template", "<template>MARK</template>", "display"),
    ("dialog", "<dialog>MARK</dialog>", "display"),
    ("mso-hide", "<p style='mso-hide:all'>MARK</p>", ""),
    ("colours of a table without a doctype", "<div style='color:#fff'><table><tr><td>MARK</td></tr></table></div>", "colour"),
]  # fmt: skip


def seen(source: str) -> str | None:
    visible = read(source)
    if "MARK" in visible.text:
        return ""
    return next((one.why for one in visible.hidden if "MARK" in one.text), None)


@pytest.mark.parametrize(("page", "why"), [(page, why) for _, page, why in PAGES], ids=[name for name, _, _ in PAGES])
def test_what_can_be_seen(page, why):
    assert seen(DOCTYPE + page) == why


def test_without_a_doctype_a_table_takes_no_colour_from_around_it():
    # WHATWG HTML section 15.3.10
    page = "<div style='color:#fff;font-size:0'><table><tr><td>MARK</td></tr></table></div>"
    assert (seen(page), seen(DOCTYPE + page)) == ("", "size")


_JUDGE = """
const WHITE = [255, 255, 255, 1];
const parsed = text => {
  const all = text.match(/[\\d.]+/g).map(Number);
  return all.length < 4 ? [...all, 1] : all;
};
const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
const light = c => {
  const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
function sees(doc) {
  const walk = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
  let node;
  while ((node = walk.nextNode())) {
    if (!node.data.includes('MARK')) continue;
    const holder = node.parentElement;
    if (['SCRIPT', 'STYLE', 'TEMPLATE'].includes(holder.tagName)) continue;
    const look = doc.defaultView.getComputedStyle(holder);
    if (look.visibility !== 'visible' || parseFloat(look.fontSize) < 3) return false;
    let background = WHITE, opacity = 1;
    const chain = [];
    for (let one = holder; one; one = one.parentElement) chain.unshift(doc.defaultView.getComputedStyle(one));
    for (const each of chain) {
      if (each.display === 'none') return false;
      opacity *= parseFloat(each.opacity) * parseFloat((each.filter.match(/opacity\\(([\\d.]+)/) || [0, 1])[1]);
      const stops = each.backgroundImage.startsWith('linear-gradient') ? each.backgroundImage.match(/rgba?\\([^)]*\\)/g).map(parsed) : [];
      if (stops.length && stops.every(stop => stop[3] === 1 && stop.every((part, i) => Math.abs(part - stops[0][i]) < 3)))
        background = stops[0];
      else if (each.backgroundImage !== 'none') background = null;
      else if (parsed(each.backgroundColor)[3] > 0)
        background = parsed(each.backgroundColor)[3] === 1 || !background
          ? parsed(each.backgroundColor) : over(parsed(each.backgroundColor), background);
    }
    if (opacity < 0.1) return false;
    const range = doc.createRange();
    range.selectNodeContents(node);
    // Somewhere in the middle of the word: clipped, moved away or squeezed text is not hit.
    const hit = [...range.getClientRects()].some(box => {
      const found = doc.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
      return found === holder && box.height >= 3;
    });
    if (!hit) return false;
    if (!background) return true;
    const text = over(parsed(look.webkitTextFillColor), background);
    const [a, b] = [light(text), light(background)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) >= 1.15;
  }
  return false;
}
addEventListener('load', () => {
  const verdicts = [...document.querySelectorAll('iframe')].map(frame => sees(frame.contentDocument));
  document.body.innerHTML = '<pre id=verdicts>' + JSON.stringify(verdicts) + '</pre>';
});
"""


@pytest.mark.server("chromium")
def test_a_browser_sees_the_same(tmp_path):
    frames = "".join(
        f'<iframe width=800 height=600 srcdoc="{markup.escape(DOCTYPE + page)}"></iframe>' for _, page, _ in PAGES
    )
    page = tmp_path / "pages.html"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8><script>{_JUDGE}</script><body>{frames}")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--window-size=1000,900",
               f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    verdicts = json.loads(out.partition('<pre id="verdicts">')[2].partition("</pre>")[0])
    assert len(verdicts) == len(PAGES)
    differ = {name: verdict for (name, _, why), verdict in zip(PAGES, verdicts, strict=True) if verdict != (why == "")}
    assert differ == {}


# -- what is kept of it ----------------------------------------------------------------------
def test_hidden_text_is_kept_with_its_links_and_is_not_in_the_text():
    visible = read(
        "<p>a</p><div style='display:none'>b <a href='https://x.example'>c</a></div><p>d <a href=e>f</a></p>"
    )
    assert visible.text.split() == ["a", "d", "f"]
    assert visible.links == (Link("e", "f"),)
    (one,) = visible.hidden
    assert (one.text, one.why, one.links) == ("b c", "display", (Link("https://x.example", "c"),))


def test_a_link_whose_text_is_hidden_is_no_link_but_a_picture_is_one():
    page = "<div style='font-size:0'><a href=a>x</a> <a href=b><img src=i alt=i></a> <a href=c style='font-size:14px'>y</a></div>"
    visible = read(DOCTYPE + page)
    assert [link.href for link in visible.links] == ["b", "c"]
    assert [link.href for one in visible.hidden for link in one.links] == ["a"]


def test_a_picture_that_is_not_visible_is_no_link():
    visible = read(DOCTYPE + "<p style='visibility:hidden'><a href=a><img src=i></a></p><a href=b><img src=i></a>")
    assert [link.href for link in visible.links] == ["b"]
    assert [link.href for one in visible.hidden for link in one.links] == ["a"]


_HAS_SOMETHING = [
    "x", "»", "<b>x</b>", "<img src=i>", "<img src=i alt=x>", "<img src=i width=100% height=auto>",
    "<img src=i width=1 height=1 style='width:90px;height:auto'>", "<img src=i width=1 height=1><img src=i>",
    "<picture><img src=i></picture>", "<svg><path></svg>", "<input type=button value=x>", "<table><tr><td>x</table>",
    "<div style='height:20px;background:#eee url(i.png)'></div>", "<div class=painted></div>",
]  # fmt: skip
_HAS_NOTHING = [
    "", " ", "&nbsp;", "&#8203;&zwnj;", "<br>", "<span> </span>", "<span class=x></span>", "<img>", "<img src=i width=1 height=1>",
    "<img src=i width=0 height=0 alt=x>", "<img src=i style='width:1px;height:1px'>", "<img src=i width='1px' style='color:red'>",
    "<img src=i style='visibility:hidden'>", "<img src=i style='opacity:0'>", "<span style='background:#fff'></span>",
]  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "seen"), [(one, True) for one in _HAS_SOMETHING] + [(one, False) for one in _HAS_NOTHING]
)
def test_a_link_is_seen_by_its_text_or_its_picture(inside, seen):
    style = "<style>@import url(fonts.css); .x{color:red}"
    style += " .painted{background:url(i.png)}</style>" if "painted" in inside else "</style>"
    (link,) = read(f"{style}<div>text <a href=u>{inside}</a></div>").links
    assert link.seen is seen


def test_the_picture_of_a_link_may_be_that_of_its_cell():
    (link,) = read("<table><tr><td background=i.png><a href=u style='display:block;height:20px'></a></table>").links
    assert link.seen


@pytest.mark.parametrize(
    ("page", "faint"),
    [
        ("<p style='font-size:4px'>x</p>", ("size", 4)),
        ("<p style='font-size:8px'>x</p>", None),
        ("<p style='color:#ccc'>x</p>", ("contrast", 1.61)),
        ("<p style='color:#999'>x</p>", None),
        ("<p style='opacity:.3'>x</p>", ("opacity", 0.3)),
        ("<p style='color:#ccc'><b style='color:#000'>x</b></p>", None),
        ("<p style='font-size:4px'> </p>", None),
    ],
)
def test_what_can_hardly_be_seen_is_seen_and_noted(page, faint):
    visible = read(DOCTYPE + page)
    assert visible.text.strip() == page[page.index("x</")] if "x</" in page else True
    assert [(one.why, one.value) for one in visible.faint] == ([faint] if faint else [])


def test_a_preheader_padded_with_spaces_of_no_width_is_short():
    pad = "&zwnj;&nbsp;" * 150 + "&#847; &#8199;&#65279;&shy;" * 50
    (one,) = read(f"<div style='display:none;max-height:0;overflow:hidden'>Only today{pad}</div><p>x</p>").hidden
    assert one.text.split() == ["Only", "today"]


def test_a_style_sheet_that_is_hidden_is_no_text():
    assert read("<style style='display:none'>p{color:red}</style><p>x</p>").hidden == ()


def test_what_nothing_hides_costs_nothing():
    visible = read(
        "<body bgcolor=white><p style='color:#333;background:#fff;font-size:14px'>x <font color=red>y</font></p>"
    )
    assert (visible.text.split(), visible.hidden, visible.faint) == (["x", "y"], (), ())


@pytest.mark.parametrize(
    ("value", "color"),
    [
        ("#f00", (255, 0, 0, 1.0)), ("#ff0000", (255, 0, 0, 1.0)), ("#ff000000", (255, 0, 0, 0.0)), ("red", (255, 0, 0, 1.0)),
        ("rgb(255,0,0)", (255, 0, 0, 1.0)), ("rgb(100% 0% 0% / 50%)", (255, 0, 0, 0.5)), ("rgba(255, 0, 0, .5)", (255, 0, 0, 0.5)),
        ("hsl(0, 100%, 50%)", (255, 0, 0, 1.0)), ("hsl(120deg 100% 25%)", (0, 128, 0, 1.0)), ("transparent", (0, 0, 0, 0.0)),
        ("#ff", None), ("#ggg", None), ("reddish", None), ("", None), ("rgb(1,2)", None), ("rgb(a,b,c)", "unknown"), ("var(--x)", "unknown"),
        ("rgb(1e999,0,0)", "unknown"), ("inherit", "inherit"),
    ],
)  # fmt: skip
def test_colours(value, color):
    assert styles.color(value) == color


def test_contrast():
    assert styles.contrast(styles.BLACK, styles.WHITE) == pytest.approx(21)
    assert styles.contrast(styles.WHITE, styles.WHITE) == 1
    assert styles.contrast((119, 119, 119, 1.0), styles.WHITE) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(
    ("text", "lower"),
    [("ABC", "abc"), ("ÀÉß×Þ", "àéß×þ"), ("ABC “É”", "abc “é”"), ("ΑΒΓ", "αβγ"), ("\ud800A", "\ud800a"), ("µÿ", "µÿ")],
)
def test_lower_case(text, lower):
    assert lowered(text) == lower == text.lower()


def test_the_lower_case_of_a_view_is_made_once():
    (view,) = read("<p>ABC</p>").views
    assert view.lower.strip() == "abc"
    assert view.lower is view.lower


HOSTILE = {
    "declarations": "<p style='" + "color:red;" * 40_000 + "'>x",
    "styles that differ": "".join(f"<p style='color:#{n:06x};font-size:{n}px'>x" for n in range(9_000)),
    "hidden": "<p style='display:none'>x</p>" * 4_500,
    "hidden in hidden": "<div style='font-size:0'>x" * 250 + "<p style='color:#fff'>x" * 9_000,
    "colours": "<font color=#fff>" * 200 + "<b style='color:#fff'>x</b>" * 4_500,
    "rules": "<style>" + "p b i{color:#fff}" * 2_000 + "</style>" + "<p><b><i>x</i></b></p>" * 3_000,
    "rules that differ": "<style>"
    + "".join(f".c{n} b, p>b.d{n}{{display:none}}" for n in range(1_900))
    + "</style>"
    + "<div>" * 200
    + "<b class=c1>x</b>" * 4_500,
    "braces": "<style>" + "{" * 120_000 + "</style>x",
    "at rules": "<style>" + "@media screen{" * 9_000 + "</style>x",
    "selectors": "<style>" + "a," * 60_000 + "b{display:none}</style>x",
    "backslashes": "<p style='" + "\\" * 200_000 + "'>x",
    "comments": "<p style='" + "/*" * 200_000 + "'>x",
    "quotes": "<p style='" + '"' * 200_000 + "'>x",
    "brackets": "<p style='background:" + "(" * 4_000 + "'>x",
    "spaces": "<p style='clip:rect(" + " " * 4_000 + "'>x",
    "deep": "<div style='color:#fff'>" * 250 + "x",
    "links": "<div style='font-size:0'>" + "<a href=x>y</a>" * 4_900,
    "attributes": "<td bgcolor=white><font color=white size=1>x" * 4_900,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_styles_take_no_more_time_than_their_size(name):
    start = process_time()
    read(HOSTILE[name][: html.MOST_HTML])
    assert process_time() - start < 1  # some milliseconds each; what is quadratic here takes many seconds


def test_too_many_styles_are_found():
    reader = Reader()
    reader.html("".join(f"<p style='width:{n}px'>x" for n in range(html.MOST_STYLES + 1)), None)
    assert (reader.visible().too_complex, reader.visible().text) == ("styles", "")


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        alphabet=st.sampled_from(list(":;(){}'\"\\/*!#,.% -0123456789abcdefhilmnoprstuvxyz\u0130\ud800")), max_size=80
    )
)
def test_any_text_can_be_read_as_a_style(text):
    styles.declarations("color:red;" + text)
    styles.sheet("p{" + text + "}" + text)
    read(f"<style>{text}</style><p style='{text}'>x</p>").text.encode(errors="surrogatepass")
