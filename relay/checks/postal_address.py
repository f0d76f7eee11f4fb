"""The reader finds the sender's postal address (CAN-SPAM, 15 USC 7704(a)(5); CASL section 6(2)).

mode profile: the address of the tenant's profile stands in the text that most readers see, which is
the HTML, or the plain text where there is no HTML.  One place is enough, since the law wants it in
the message, not in each of its forms.  Case, spaces, line breaks, punctuation, accents and the usual
abbreviations make no difference; the country may be left out, and the last four digits of a ZIP+4; of
two lines the town may stand first; a suite may be `Suite 4`, `Ste 4` or `#4`.

mode any: something that looks like a postal address stands there.

Reply:     554 5.7.0
Evidence:  mode, part (where it was looked for: html, plain, none), not_repaired (why the relay cannot mend it)
Repair:    a footer with the address of the verified profile
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.mending import missing
from relay.checks.wording import Phrase, Spelling, has, phrase, words
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    mode: Literal["profile", "any"] = "profile"


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    assert mail.message is not None
    main = mail.message.visible.main
    if settings.mode == "any":
        found = main is not None and looks_like_one(main.text)
    else:
        wanted = _forms(mail.tenant.profile.postal_address)
        # Without an address in the profile there is nothing to compare with: tenant-profile says so.
        found = not wanted or (main is not None and has(main, wanted, _SPELLING))
    if found:
        return None
    hindrance = ""
    if settings.mode == "any" and not looks_like_one(mail.tenant.profile.postal_address):
        hindrance = "the address of the profile does not look like one"
    seen = {"mode": settings.mode, "part": main.kind if main is not None else "none"}
    return missing(CHECK.name, mail, tools, seen, hindrance=hindrance)


# -- the address of the profile ---------------------------------------------------------
_SHORT = {
    short: long.split()
    for short, long in {
        # One form for each word of an address; where two words share a short one ("st" for street and
        # saint), they are taken for the same.
        "st": "street saint sankt", "str": "strasse straat", "ave": "avenue av avenida aven avda avd",
        "blvd": "boulevard boul bd bvd",
        "rd": "road", "dr": "drive", "ln": "lane", "ct": "court", "sq": "square", "hwy": "highway",
        "pkwy": "parkway", "ter": "terrace", "cir": "circle", "cres": "crescent", "gdns": "gardens", "est": "estate",
        "ste": "suite", "apt": "apartment", "fl": "floor flr", "rm": "room", "bldg": "building", "dept": "department",
        "n": "north", "s": "south", "e": "east", "w": "west", "ne": "northeast", "nw": "northwest", "se": "southeast",
        "sw": "southwest", "mt": "mount", "ft": "fort", "nr": "no num numero nummer number",
        "c": "calle cl", "pl": "place plaza piazza pza plza pzza plac placa platz", "v": "via", "vle": "viale",
        "cso": "corso", "lgo": "largo", "ple": "piazzale", "po": "paseo", "ctra": "carretera", "r": "rua",
        "fbg": "faubourg faub fg", "chem": "chemin", "imp": "impasse", "o": "ouest oeste", "al": "aleja", "pk": "park",
        "ind": "industrial", "hse": "house", "ctr": "center centre", "rte": "route",
    }.items()
}  # fmt: skip
_STATES = {
    "al": "alabama", "ak": "alaska", "az": "arizona", "ar": "arkansas", "ca": "california", "co": "colorado",
    "ct": "connecticut", "de": "delaware", "fl": "florida", "ga": "georgia", "hi": "hawaii", "id": "idaho",
    "il": "illinois",
    "in": "indiana", "ia": "iowa", "ks": "kansas", "ky": "kentucky", "la": "louisiana", "me": "maine", "md": "maryland",
    "ma": "massachusetts", "mi": "michigan", "mn": "minnesota", "ms": "mississippi", "mo": "missouri", "mt": "montana",
    "ne": "nebraska", "nv": "nevada", "oh": "ohio", "ok": "oklahoma", "or": "oregon", "pa": "pennsylvania",
    "tn": "tennessee", "tx": "texas", "ut": "utah", "vt": "vermont", "va": "virginia", "wa": "washington",
    "wi": "wisconsin", "wy": "wyoming", "on": "ontario", "qc": "quebec", "ab": "alberta", "mb": "manitoba",
    "sk": "saskatchewan", "qld": "queensland", "vic": "victoria", "tas": "tasmania",
}  # fmt: skip
_PAIRS = {
    ("new", "hampshire"): "nh", ("new", "jersey"): "nj", ("new", "mexico"): "nm", ("new", "york"): "ny",
    ("north", "carolina"): "nc", ("north", "dakota"): "nd", ("rhode", "island"): "ri", ("south", "carolina"): "sc",
    ("south", "dakota"): "sd", ("west", "virginia"): "wv", ("british", "columbia"): "bc", ("nova", "scotia"): "ns",
    ("new", "brunswick"): "nb", ("post", "office"): "po", ("p", "o"): "po", ("p", "zza"): "pl", ("n", "o"): "nr",
    ("c", "p"): "cp",
}  # fmt: skip
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
    " sixteenth seventeenth eighteenth nineteenth twentieth"
)
_NTH = {word: f"{n}{('th', 'st', 'nd', 'rd')[n] if n < 4 else 'th'}" for n, word in enumerate(_ORDINALS.split(), 1)}
_NUMBERED = re.compile(r"(\d{1,2})(?:st|nd|rd|th)\Z")
_COUNTRY_NAMES = (
    "usa|us|united states|united states of america|uk|united kingdom|great britain|england|scotland|wales|"
    "northern ireland|ireland|canada|australia|new zealand|india|bharat|germany|deutschland|austria|"
    "osterreich|switzerland|schweiz|suisse|france|belgium|belgie|belgique|netherlands|the netherlands|"
    "nederland|luxembourg|spain|espana|portugal|brazil|brasil|italy|italia|poland|polska|sweden|sverige|"
    "norway|norge|denmark|danmark|finland|suomi|mexico|argentina|chile|colombia|singapore|south africa|"
    "israel|united arab emirates|uae|japan|czech republic|czechia|romania|hungary|greece|estonia|latvia|"
    "lithuania|bulgaria|croatia|slovenia|slovakia|ukraine|turkey|turkiye|philippines|malaysia|indonesia"
)
_COUNTRIES = frozenset(_COUNTRY_NAMES.split("|"))
_SAYS_NOTHING = (*sorted(_COUNTRIES), "ul", "ulica", "cedex")
"""A country may stand before the code too (Toronto, Ontario, Canada M5X 1A9), and many a Polish address does without
`ul.`."""
_FORM = (
    {long: short for short, longs in _SHORT.items() for long in longs}
    | {long: short for short, long in _STATES.items()}
    | _NTH
    | dict.fromkeys(_SAYS_NOTHING, "")
)
_BEFORE_NUMBER = frozenset(("ste", "apt", "unit", "nr", "cp", "cep", "plz", "zip"))
"""What comes of words that may be left out, or be a sign, where a number follows: Suite 4, #4; C.P. 28014."""
_REGIONS = frozenset(_STATES) | {short for short in _PAIRS.values() if short not in ("po", "pl", "nr", "cp")}
_FORM |= {word: word for word in _BEFORE_NUMBER | _REGIONS}
_BEFORE_CODE = frozenset(("d", "a", "ch", "f", "b", "i"))
_BEFORE_ANY_CODE = frozenset(("de", "at", "fr", "be", "it", "es", "nl", "se", "pl", "pt", "dk", "fi"))
"""Of countries whose codes may be in two parts.  Delaware and a place have the same short forms: so they go too."""
_PAIR_FIRST = frozenset(first for first, _ in _PAIRS)
# Compounds: Hauptstraße, Kerkstraat.
_ENDINGS = (("strasse", 4), ("straat", 3), ("platz", 3))


def canonical(found: list[str]) -> list[str]:
    """Words of an address, each in its one form."""
    out: list[str] = []
    skip = False
    last = len(found) - 1
    for index, word in enumerate(found):
        if skip:
            skip = False
            continue
        if index < last and found[index + 1].isdigit():
            digits = len(found[index + 1])
            if word in _BEFORE_CODE and 4 <= digits <= 5:
                continue  # D-79541
            if _FORM.get(word, word) in _BEFORE_ANY_CODE and 2 <= digits <= 5:
                continue  # SE-111 23, DE-79541
        if word in _PAIR_FIRST and index < last:
            pair = _PAIRS.get((word, found[index + 1]))
            if pair:
                skip = True
                if pair in _BEFORE_NUMBER and found[index + 2 : index + 3] and found[index + 2][0].isdigit():
                    continue  # n.º 12, C.P. 28014
                if pair not in out[-1:]:
                    out.append(pair)
                continue
        short = _FORM.get(word)
        if short is not None:
            if not short or (short in _BEFORE_NUMBER and index < last and found[index + 1][0].isdigit()):
                continue
            if short == "fl" and out and (number := _NUMBERED.match(out[-1])):
                out[-1:] = [short, number[1]]  # 2nd floor: floor 2
                continue
            if short in _REGIONS and short in out[-1:]:
                continue  # New York, NY; Québec (QC)
        else:
            for ending, cut in _ENDINGS:
                if word.endswith(ending):
                    word = word[:-cut]
                    break
            # Müller and Mueller: the accent is gone by now, so the e goes too.
            if "e" in word:
                word = word.replace("ae", "a").replace("oe", "o").replace("ue", "u")
            short = word
        out.append(short)
    return out


_WRITTEN_OUT = frozenset(long for long, short in _FORM.items() if short in _BEFORE_ANY_CODE)
_SPELLING = Spelling(
    canonical,
    _BEFORE_CODE
    | _BEFORE_ANY_CODE
    | _WRITTEN_OUT
    | _PAIR_FIRST
    | {word for word, short in _FORM.items() if short in _BEFORE_NUMBER}
    | {word for nth in _NTH.items() for word in nth}
    | {"york", "ny", "quebec", "qc"},
)


@lru_cache(maxsize=4096)
def _forms(address: str) -> tuple[Phrase, ...]:
    """The address, the address without its country, and with its town before the street; a house number's letter before
    a code in each way to write it, since `12 a, 79541` reads like A-79541."""
    forms: list[Phrase | None] = []
    address = _ZIP_4.sub(r"\1", address)
    for spelt in dict.fromkeys((address, _LETTERED.sub(r"\1\2", address), _LETTERED.sub(r"\1", address))):
        lines = [line for line in re.split(r"[,;\r\n|]+", spelt) if line.strip()]
        inland = lines[:-1] if len(lines) > 2 and " ".join(words(lines[-1])) in _COUNTRIES else lines
        if inland is not lines:
            forms.append(phrase(" ".join(inland), _SPELLING))
        forms.append(phrase(spelt, _SPELLING))
        if len(inland) == 2:
            forms.append(phrase(" ".join(reversed(inland)), _SPELLING))
    return tuple({form.joined: form for form in forms if form}.values())


_ZIP_4 = re.compile(r"\b(\d{5})-\d{4}\b")
_LETTERED = re.compile(r"(\d+[ºª°]?) ?([abdfi])(?=[\s,;|]+\d{4,5}\b)", re.IGNORECASE)


# -- any address --------------------------------------------------------------------------
# What a postal code or box looks like; each only counts with a number and a street beside it, or a box.
_CODE = re.compile(
    r"\b[A-Z][A-Za-z][A-Z]?[\s,.]{1,4}\d{5}(?:-\d{4})?\b"  # US: IL 62701, Wa 98117; NRW 46446
    r"|\bD\.\s?C\.[\s,]{1,4}\d{5}(?:-\d{4})?\b"
    r"|\b[A-Z][a-z]{3,12}[\s,]{1,4}\d{5}(?:-\d{4})?\b"  # Texas 78701
    r"|\b[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b"  # UK: SW1A 2AA
    r"|\b[A-Z]\d[A-Z][ -]?\d[A-Z]\d\b"  # Canada: K1A 0B1
    r"|\b[A-Z]\d[\dW] [A-Z\d]{4}\b"  # Ireland: D02 AF30
    r"|\b(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),? \d{4}\b"  # Australia
    r"|\b\d{4} ?[A-Z]{2}\b"  # Netherlands: 1012 AB
    r"|\b(?:[A-Z]{1,2}-)?\d{4,5}[ ,]{1,2}[^\W\d_]{3}"  # most of Europe: 80331 München
    r"|\b\d{2}-\d{3}\b"  # Poland
    r"|\b\d{3} \d{2}\b"  # Sweden
    r"|\b\d{5}-\d{3}\b"  # Brazil
    r"|\b\d{4}-\d{3}\b"  # Portugal
    r"|\b[1-9\u0967-\u096f]\d{2}[ -]?\d{3}\b"  # India, in digits of Devanagari too
    r"|\bSingapore \d{6}\b"
)
_STREET = re.compile(
    r"\b(?:street|st|road|rd|avenue|ave|boulevard|blvd|drive|dr|lane|ln|way|court|ct|place|square|highway|hwy|freeway|fwy|expressway|parkway|pkwy"
    r"|suite|ste|floor|house|building|park|close|crescent|terrace|broadway|plaza|circle|cir|loop|row|mews|walk|wharf|quay"
    r"|route|rte|trail|pike|turnpike|gardens|grove|hill|gate|yard|unit|towers?|centre|center|campus|estate|level"
    r"|rue|quai|all[ée]es?|chemin|cours|impasse|bd|cedex|lieu-dit"
    r"|calle|avenida|avda|av|paseo|ctra|carretera|pol[íi]gono|ronda|traves[íi]a|camino"
    r"|via|viale|piazza|corso|largo|strada|vicolo|localit[àa]|loc"
    r"|rua|travessa|pra[çc]a|estrada|alameda|rodovia|sala|andar|lote"
    r"|ulica|ul|aleja|aleje|al|plac|pl|osiedle|os|rondo"
    r"|nagar|marg|sector|plot|complex|colony|vihar|bhavan|bhawan|chowk|gali|sadak|phase|enclave|layout|block"
    r"|weg|platz|allee|ring|gasse|damm|ufer|chaussee|markt|graben|laan|plein|gracht|kade|singel|dijk|dreef"
    r"|v[äa]gen|gatan|gr[äa]nd|torget?|stigen|leden|box|postboks)\b"
    r"|\b(?:p\.z?za|c\.so|v\.le|l\.go|p\.?º|pza)"
    r"|stra(?:ß|ss)e\b|str\.|[a-z]{3}ring \d{1,3}\b|straat\b|\bc/ ?[^\W\d_]"
    r"|(?:weg|platz|allee|gasse|markt|ufer|damm|laan|plein|gracht|kade|singel|dijk|gatan|v[äa]gen|gr[äa]nd|torget?|stigen"
    r"|all[ée]n|leden|vej|gade|gata|katu)\b"
    r"|रोड|मार्ग|नगर|सड़क|गली|सेक्टर|भवन|पथ|चौक|कॉलोनी|विहार",
)
_BOX = re.compile(
    r"\b(?:p\.? ?o\.? ?(?:box|drawer)|post office box|postfach|postbus|bo[îi]te postale|b\.?p\.?"
    r"|apartado(?: de correos)?|casella postale|c\.p\.|caixa postal|skrytka pocztowa|postbox)"
    r"[ .:#]{0,3}\d",
)
# "One Microsoft Way": a house number in words.
_IN_WORDS = re.compile(r"\b(?:One|Two|Three|Four|Five|Six|Seven|Eight|Nine|Ten) [A-Z]")
# `Am Hof 3, 1010 Wien`: a name and a number by themselves, then a code and a town by themselves.  A year and a round
# number are no codes there: `Halle 5, 10000 Besucher`.
_BREAK = r"[\n,;·|•–]"
_PLACED = re.compile(
    rf"(?:\A|{_BREAK})[ \t]*+[^\W\d_a-z][^\n,;·|•–\d]{{1,40}}[ \t]\d{{1,4}}(?: ?[a-zA-Z])?"
    rf"(?:/\d{{1,4}})?[ \t\r]*+{_BREAK}[ \t]*+"
    r"(?:[A-Z]{1,2}-)?(?!19\d\d |20\d\d |[1-9]\d{1,2}00 )(?:\d{4,5}|\d{2}-\d{3}|\d{3} \d{2})[ \t]"
    rf"[^\W\d_a-z][^\n,;·|•–\d]{{1,30}}(?:\d{{1,2}})?[ \t\r]*+(?:{_BREAK}|\Z)"
)
_NUMBER = re.compile(r"\d++")
_READ = 8 * 1024
_MOST = 50
_NEAR = 120


def looks_like_one(text: str) -> bool:
    """A box with a number, or a postal code with a street and a house number close by."""
    if len(text) > 2 * _READ:
        text = text[:_READ] + "\n" + text[-_READ:]
    numbers = [found.span() for found in _NUMBER.finditer(text)]
    # From the end, where it nearly always stands.
    for start, end in [*reversed(numbers[-_MOST:]), *numbers[: max(0, min(_MOST, len(numbers) - _MOST))]]:
        around = max(0, start - 24)
        if _BOX.search(text[around : end + 1].lower()):
            return True
        for code in _CODE.finditer(text, around, end + 24):
            if code.start() > end or code.end() < start:
                continue
            near = text[max(0, code.start() - _NEAR) : code.end() + _NEAR // 2]
            numbered = sum(map(str.isdigit, near)) > sum(map(str.isdigit, code[0])) or _IN_WORDS.search(near)
            if numbered and (_STREET.search(near.lower()) or _PLACED.search(near)):
                return True
    return False


CHECK = Check(
    name="postal-address",
    stages=(Stage.MESSAGE,),
    reply=replies.NO_POSTAL_ADDRESS,
    run=run,
    remedy="Put your postal address, as it stands in your profile here, into the footer of the template, as text.",
    settings=Settings,
    needs=frozenset({"tenant", "profile"}),
    repairs=True,
)
