"""Numbers that stand for a person or for their money, found in text: what payment-data and phi look for.

Three things keep order numbers, tracking ids and telephone numbers out: the form, the check digits of
the scheme, and the words beside it.  Payment cards (ISO/IEC 7812: issuer, length, Luhn) count without
such words only where they are written in groups, split over lines or cells only right behind "card number" and its
like, and numbers that payment services publish for tests never; an IBAN (ISO 13616) does not count where the text
says that it is the sender's own; all others count only behind their name ("SSN: ...").

What comes out is the kind and the last two characters, never the number.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from relay.message import Message, passages
from relay.message.html import Visible
from relay.ports import Late


class Identifier(NamedTuple):
    """kind: as in KINDS; tail: its last two characters; key: tells two of a kind apart, in this process"""

    kind: str
    tail: str
    key: int


PAYMENT = ("card", "iban")
NATIONAL = (
    "us-ssn", "uk-nino", "de-steuer-id", "fr-nir", "es-dni", "it-codice-fiscale", "in-aadhaar", "in-pan", "br-cpf",
    "pl-pesel", "se-personnummer", "ca-sin", "nl-bsn",
)  # fmt: skip
HEALTH = ("medical-record", "health-plan", "member", "npi", "date-of-birth")
KINDS = (*PAYMENT, *NATIONAL, *HEALTH)


_SUBJECT = 500
_FEWEST = 4
"""Digits of the shortest number looked for."""
_last: tuple[Visible | None, tuple[Identifier, ...]] = (None, ())


def identifiers(visible: Visible) -> tuple[Identifier, ...]:
    """Every identifier in every form of a message, each once."""
    global _last
    if _last[0] is not visible:
        _looked.places = 0
        found = _known(_with_seams(passages.of(visible)))
        _last = (visible, tuple(dict.fromkeys(one for some in found for one in some)) if found else ())
    return _last[1]


def of_message(message: Message) -> tuple[Identifier, ...]:
    """Those of the subject too."""
    found, line = identifiers(message.visible), subject(message)
    if sum(map(line.count, "0123456789")) >= _FEWEST:
        found = tuple(dict.fromkeys((*found, *in_text(line))))
    return found


def subject(message: Message) -> str:
    """As much of it as is looked at."""
    return (message.first("subject") or "")[:_SUBJECT]


def in_text(text: str) -> tuple[Identifier, ...]:
    _looked.places = 0
    return tuple(dict.fromkeys(one for some in _known(_with_seams(passages.passages(text))) for one in some))


def of_file(text: str, late: Late) -> tuple[Identifier, ...]:
    """Those in the text of a file, in any thread.  Nothing is remembered: files differ more than campaigns do."""
    _looked.places = 0
    found: dict[Identifier, None] = {}
    for passage in passages.passages(text):
        late()
        try:
            found.update(dict.fromkeys(_scan(passage)))
        except passages.Enough:
            break
    return tuple(found)


def _with_seams(found: Sequence[str]) -> Sequence[str]:
    """With the end and the beginning of two passages where a number may begin one that is named in the other."""
    seams = [
        f"{before[-_BEFORE:]}\n{after[:_AFTER_SEAM]}"
        for before, after in pairwise(found)
        if after[:1].isdigit() and _NUMBER_OF_CARD.search(before[-_BEFORE:].lower())
    ]
    return [*found, *seams] if seams else found


_BEFORE = 60
_AFTER_SEAM = 120


# -- one passage --------------------------------------------------------------------------
_MOST = 200
"""Places of each kind that are looked at in one passage ..."""
_MOST_IN_ALL = 600
"""... and of all kinds in one message; a text that has more of them is found long before, or is none."""


class _Looked(threading.local):
    """places  that were looked at for the message, or the file, that is read now"""

    places = 0


_looked = _Looked()
# Digits and separators as people paste them from elsewhere.
_PLAIN = {"\u00a0": " ", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2212": "-"} | {
    chr(0xFF10 + digit): str(digit) for digit in range(10)
}


def _scan(passage: str) -> tuple[Identifier, ...]:
    if _looked.places >= _MOST_IN_ALL:
        raise passages.Enough
    digits = sum(map(passage.count, "0123456789"))
    if passage.isascii():
        if digits < 4:
            return ()
        lower = passage.lower()
    else:
        lower = passage.lower()
        if not lower.isascii():
            lower = passages.replaced(lower, _PLAIN)
            digits = sum(map(lower.count, "0123456789"))
    found: list[Identifier] = []
    if digits >= 14:
        found += _cards(lower)
        if any(word in lower for word in _CARD_WORDS):
            found += _split_cards(lower)
    if digits >= 8:
        found += _ibans(lower)
    if digits >= 4:
        found += _labelled(lower)
    return tuple(dict.fromkeys(found))


_known = passages.Remembered(_scan)


def _made(kind: str, value: str) -> Identifier:
    return Identifier(kind, value[-2:], hash((kind, value)))


# -- payment cards ---------------------------------------------------------------------------
_CARD = re.compile(
    r"(?<![0-9a-z/=&?#_%.+@-])"
    r"(?:[0-9]{4}(?P<a>[ .-]?)[0-9]{4}(?P=a)[0-9]{4}(?P=a)[0-9]{4}(?>(?:(?P=a)[0-9]{3})?)"
    r"|3[47][0-9]{2}(?P<b>[ .-]?)[0-9]{6}(?P=b)[0-9]{5}"
    r"|3[0689][0-9]{2}(?P<c>[ .-]?)[0-9]{6}(?P=c)[0-9]{4})"
    r"(?![0-9a-z_@%=]|[-.:][0-9a-z])"
)
_BESIDE = re.compile(
    r"(?P<other>\b(?:order|track|tracking|shipment|shipping|parcel|package|consignment|invoice|receipt|reference|ref"
    r"|ticket|serial|imei|isbn|ean|upc|gtin|sscc|barcode|gift|voucher|coupon|loyalty|rewards?|library|booking"
    r"|reservation|confirmation|case|contract|customer|client|account|article|item|sku|meter|phone|tel|fax|licen[cs]e"
    r"|bestell\w*|auftrag\w*|sendung\w*|rechnung\w*|kunden\w*|gutschein\w*|vertrag\w*|zähler\w*"
    r"|commande|colis|facture|suivi|pedido|env[ií]o|factura|seguimiento|encomenda|fatura|ordine|spedizione|fattura"
    r"|bestelling|factuur|zamówieni\w*|faktur\w*|przesyłk\w*|beställning\w*|ordernummer)\b)"
    r"|(?P<card>\b(?:cards?|visa|master ?card|maestro|amex|american express|discover|diners|jcb|unionpay|credit|debit"
    r"|creditcard|cvv2?|cvc2?|expir\w*|exp|valid thru|pan|kreditkarte\w*|karten?|kartennummer|carte|bancaire|tarjeta"
    r"|cartão|cartao|carta|pinpas|kaart|karty|kart[aeęy]|kort|kortnummer)\b)"
)


def _cards(lower: str) -> Iterator[Identifier]:
    for tries, found in enumerate(_CARD.finditer(lower)):
        if tries >= _MOST:
            return
        _looked.places += 1
        digits = re.sub(r"[^0-9]", "", found[0])
        if len(digits) == 19 and not is_card(digits):
            digits = digits[:16]  # the three behind it may be the security code
        if not is_card(digits) or _for_tests(digits):
            continue
        grouped = bool(found["a"] or found["b"] or found["c"])
        said = _card_or_not(lower, found.start(), found.end())
        if said == "card" or (said == "" and grouped):
            yield _made("card", digits)


# Cells stand two spaces or a line apart in what is seen of a table.
_APART = r"(?:[.-]|[ \t]{1,4}|[ \t]?\n(?:\* )?[ \t]?)"
_SPLIT = re.compile(
    rf"(?<![0-9a-z/=&?#_%.+@-])(?:[0-9]{{4}}(?:{_APART}[0-9]{{4}}){{3}}|3[47][0-9]{{2}}{_APART}[0-9]{{6}}{_APART}[0-9]{{5}})"
    r"(?![0-9a-z_@%=]|[-.:][0-9a-z])"
)
# Years and amounts stand in tables too: it has to be said right before that a card's number follows.
_NUMBER_OF_CARD = re.compile(
    r"\b(?:card[ -]?(?:number|num|no|nr)\b|card ?#|your (?:[a-z]{1,20} )?card\b|kartennummer|kreditkarten-?nummer"
    r"|ihre[r]? (?:[a-z]{1,20})?karte\b|num[ée]ro de (?:la |votre )?carte\b|votre carte\b"
    r"|n[úu]mero de (?:la |su )?tarjeta\b|su tarjeta\b|numero (?:di|della) carta\b|tua carta\b|kaartnummer"
    r"|uw kaart\b|n[úu]mero do cart[ãa]o\b"
    r"|seu cart[ãa]o\b|numer karty\b|kortnummer|ditt kort\b)"
)
_CARD_WORDS = ("card", "cart", "kart", "tarjeta", "kaart", "kort")
"""One of them is in each, and quick to look for."""
_BEHIND = 40
"""Characters behind these words in which the number begins."""


def _split_cards(lower: str) -> Iterator[Identifier]:
    for tries, name in enumerate(_NUMBER_OF_CARD.finditer(lower)):
        if tries >= _MOST:
            return
        _looked.places += 1
        found = _SPLIT.search(lower, name.end(), name.end() + _BEHIND + 50)
        if found is None or found.start() > name.end() + _BEHIND:
            continue
        digits = re.sub(r"[^0-9]", "", found[0])
        if is_card(digits) and not _for_tests(digits) and _card_or_not(lower, found.start(), found.end()) == "card":
            yield _made("card", digits)


# Nobody's: numbers that payment services publish for trying out a shop (docs.stripe.com/testing,
# developer.paypal.com/tools/sandbox/card-testing, Braintree's and Worldpay's pages on testing).
_PUBLISHED = frozenset(
    """
    4242424242424242 4111111111111111 4012888888881881 4000056655665556 4005519200000004 4009348888881881
    4012000033330026 4012000077777777 4217651111111119 4500600000000061 4444333322221111 4917610000000000
    5555555555554444 5105105105105100 5200828282828210 5454545454545454 2223003122003222 2223000048400011
    378282246310005 371449635398431 376680816376961 343434343434343
    6011111111111117 6011000990139424 6011981111111113 3530111333300000 3566002020360505
    30569309025904 38520000023237 36259600000004 36227206271667 6200000000000005 6304000000000000
    """.split()  # noqa: SIM905 - a list is not more readable
)
# Stripe's for declines and countries: 4000 0000 0000 0002, 4000 0027 6000 0016.
_STRIPES = "400000"


def _for_tests(digits: str) -> bool:
    return digits in _PUBLISHED or (digits.startswith(_STRIPES) and len(digits) == 16)


def _card_or_not(lower: str, start: int, end: int) -> str:
    """What the nearest word before says it is, else what is said behind it: "card", "other" or ""."""
    last = ""
    for found in _BESIDE.finditer(lower, max(0, start - 80), start):
        last = found.lastgroup or ""
    if last:
        return last
    behind = _BESIDE.search(lower, end, min(len(lower), end + 40))
    return "card" if behind and behind.lastgroup == "card" else ""


def is_card(digits: str) -> bool:
    """An issuer's prefix, its length, and Luhn (ISO/IEC 7812-1)."""
    size, two, three, four = len(digits), int(digits[:2] or 0), int(digits[:3] or 0), int(digits[:4] or 0)
    known = (
        (digits[:1] == "4" and size in (16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and size == 16)
        or (two in (34, 37) and size == 15)
        or ((four == 6011 or 644 <= three <= 649 or two == 65) and size in (16, 19))
        or (3528 <= four <= 3589 and size in (16, 19))
        or ((300 <= three <= 305 or two in (36, 38, 39)) and size == 14)
        or (two == 62 and size in (16, 19))
        or (four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763) and size in (16, 19))
    )
    return known and len(set(digits)) > 1 and luhn(digits)


def luhn(digits: str) -> bool:
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


# -- IBAN -----------------------------------------------------------------------------------------
_IBAN_LENGTH = {
    "ad": 24, "ae": 23, "al": 28, "at": 20, "az": 28, "ba": 20, "be": 16, "bg": 22, "bh": 22, "br": 29, "by": 28,
    "ch": 21, "cr": 22, "cy": 28, "cz": 24, "de": 22, "dk": 18, "do": 28, "ee": 20, "eg": 29, "es": 24, "fi": 18,
    "fo": 18, "fr": 27, "gb": 22, "ge": 22, "gi": 23, "gl": 18, "gr": 27, "gt": 28, "hr": 21, "hu": 28, "ie": 22,
    "il": 23, "iq": 23, "is": 26, "it": 27, "jo": 30, "kw": 30, "kz": 20, "lb": 28, "lc": 32, "li": 21, "lt": 20,
    "lu": 20, "lv": 21, "mc": 27, "md": 24, "me": 22, "mk": 19, "mr": 27, "mt": 31, "mu": 30, "nl": 18, "no": 15,
    "pk": 24, "pl": 28, "ps": 29, "pt": 25, "qa": 29, "ro": 24, "rs": 22, "sa": 24, "se": 24, "si": 19, "sk": 24,
    "sm": 27, "tn": 24, "tr": 26, "ua": 29, "va": 22, "vg": 24, "xk": 20,
}  # fmt: skip
_IBAN = re.compile(r"(?<![0-9a-z/=&?#_%@-])[a-z]{2}[0-9]{2}(?=[ -]?[0-9a-z])")
# Whose account it is: the reader's, or the sender's own, which stands in letterheads and invoices.
_READERS = re.compile(
    r"\b(?:your (?:\w+ )?(?:iban|account|bank)|ihre? iban|ihre?n? (?:konto|bankverbindung)|deine? iban|votre iban"
    r"|votre compte|tu iban|su iban|tu cuenta|su cuenta|tuo iban|suo iban|jouw iban|uw iban|seu iban|twój iban"
    r"|ditt iban|mandate|mandat\w*|debited|abgebucht|prélev\w*|customer'?s iban)\b"
)
_SENDERS = re.compile(
    r"\b(?:bic|swift|bankverbindung|bank details|banking details|beneficiary|account holder|kontoinhaber\w*|empfänger"
    r"|überweis\w*|pay(?:able)? to|payment to|transfer(?:red)? to|remit|donat\w*|spende\w*|spenden\w*|donner|dons?"
    r"|virement|transferencia|bonifico|overmaken|przelew\w*|our|unser\w*|notre|nos|nuestr\w+|nostr\w+|onze|nossa?"
    r"|vat|ust|hrb|amtsgericht|geschäftsführer\w*|handelsregister|kvk|btw|siret|siren|rcs|p\.? ?iva|nif|cif)\b"
)


def _ibans(lower: str) -> Iterator[Identifier]:
    for tries, found in enumerate(_IBAN.finditer(lower)):
        if tries >= _MOST:
            return
        _looked.places += 1
        size = _IBAN_LENGTH.get(found[0][:2])
        if size is None:
            continue
        written = lower[found.start() : found.start() + 2 * size]
        value, end = _compact(written, size)
        if len(value) < size or written[end : end + 1].isalnum() or not is_iban(value):
            continue
        around = lower[max(0, found.start() - 160) : found.start() + end + 120]
        if _READERS.search(around) or not _SENDERS.search(around):
            yield _made("iban", value.upper())


def _compact(written: str, size: int) -> tuple[str, int]:
    """The first `size` letters and digits, with single spaces or hyphens between; and where they end."""
    kept: list[str] = []
    for at, character in enumerate(written):
        if "0" <= character <= "9" or "a" <= character <= "z":
            kept.append(character)
            if len(kept) == size:
                return "".join(kept), at + 1
        elif character not in " -" or written[at - 1] in " -":
            break
    return "", 0


def is_iban(value: str) -> bool:
    """ISO 7064 MOD 97-10 over the rearranged letters and digits (lower case)."""
    return int("".join(str(int(c, 36)) for c in value[4:] + value[:4])) % 97 == 1


# -- what only counts behind its name ------------------------------------------------------------
_NAMES = re.compile(
    r"(?P<us_ssn>\bsocial security\b|\bssn\b|\bss ?#)"
    r"|(?P<uk_nino>\bnational insurance\b|\bnino\b|\bni (?:number|no\b))"
    r"|(?P<de_steuer_id>\bsteuer-?[ ]?id\b|\bsteuer(?:liche )?[- ]?identifikation\w*|\bidnr\b)"
    r"|(?P<fr_nir>\bs[ée]curit[ée] sociale\b|\bnir\b|\bnum[ée]ro de s[ée]cu\b)"
    r"|(?P<es_dni>\bdni\b|\bnie\b|\bdocumento nacional\b)"
    r"|(?P<it_codice_fiscale>\bcodice fiscale\b|\bc\.?f\.)"
    r"|(?P<in_aadhaar>\baadha+r\b|आधार)"
    r"|(?P<in_pan>\bpan\b|\bpermanent account\b)"
    r"|(?P<br_cpf>\bcpf\b)"
    r"|(?P<pl_pesel>\bpesel\b)"
    r"|(?P<se_personnummer>\bpersonnummer\b|\bpersonnr\b|\bsamordningsnummer\b)"
    r"|(?P<ca_sin>\bsocial insurance\b|\bsin\b(?= ?(?:#|:|no|number|is)))"
    r"|(?P<nl_bsn>\bbsn\b|\bburgerservicenummer\b|\bsofi-?nummer\b)"
    r"|(?P<medical_record>\bmrn\b|\bmedical record\b|\bpatient (?:id|number|no\b|#)|\bchart (?:id|number|no\b|#))"
    r"|(?P<health_plan>\b(?:health ?(?:plan|insurance)|insurance|medicare|medicaid|subscriber|beneficiary|enrollee)"
    r"(?: \w{1,12})? ?(?:id|number|no\b|#)|\bmbi\b)"
    r"|(?P<member>\bmember(?:ship)? ?(?:id|number|no\b|#)|\bgroup ?(?:id|number|no\b|#)|\bpolicy ?(?:id|number|no\b|#))"
    r"|(?P<npi>\bnpi\b)"
    r"|(?P<date_of_birth>\bdob\b|\bd\.o\.b\b|\bdate of birth\b|\bborn on\b|\bfecha de nacimiento\b)"
)
# One of these words begins every name above: looking for them is a hundred times as fast.  Where a name begins
# otherwise than its word reads without signs and accents, it is said how.
_FIRST: dict[str, tuple[str, ...]] = {
    word: (word,)
    for word in """social ssn ss national nino ni steuer steuerid steueridentifikation steueridentifikationsnummer
    steuerliche idnr nir dni nie documento codice aadhaar aadhar aadhaaar आधार pan permanent cpf pesel personnummer
    personnr samordningsnummer sin bsn burgerservicenummer sofi sofinummer mrn medical patient chart health healthplan
    healthinsurance insurance medicare medicaid subscriber beneficiary enrollee mbi member membership memberid group
    groupid policy policyid npi dob date born fecha""".split()  # noqa: SIM905 - a list is not more readable
} | {
    "securite": ("sécurité", "securite"), "numero": ("numéro", "numero"), "c": ("c.f.",), "cf": ("cf.",),
    "d": ("d.o.b",),
}  # fmt: skip
_AFTER = 48
"""Characters behind a name in which its number begins."""


def _labelled(lower: str) -> Iterable[Identifier]:
    made: dict[int, Identifier] = {}
    for found in _names(lower):
        kind = (found.lastgroup or "").replace("_", "-")
        form, valid = _FORMS[kind]
        at = found.end()
        value = form.search(lower, at, min(len(lower), at + _AFTER + 24))
        if value is None or value.start() > at + _AFTER:
            continue
        compact = re.sub(r"[^0-9a-z]", "", value[0])
        # "Health plan member ID" is both; the other kinds exclude each other by their form.
        if valid(compact) and (kind != "member" or value.start() not in made):
            made[value.start()] = _made(kind, compact.upper())
    return made.values()


def _names(lower: str) -> Iterator[re.Match[str]]:
    tries = 0
    for word in _FIRST.keys() & set(passages.words(lower)):
        for written in _FIRST[word]:
            at = lower.find(written)
            while at >= 0 and tries < _MOST:
                tries += 1
                _looked.places += 1
                if found := _NAMES.match(lower, at):
                    yield found
                at = lower.find(written, at + 1)


def _sum(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def _ssn(value: str) -> bool:
    """Area, group and serial that were never given out (SSA, since 2011); 078-05-1120 was an advertisement's."""
    area = value[:3]
    return area not in ("000", "666") and area < "900" and value[3:5] != "00" and value[5:] not in ("0000",) and (
        value not in ("078051120", "219099999")
    )  # fmt: skip


def _nino(value: str) -> bool:
    return value[:2] not in ("bg", "gb", "nk", "kn", "tn", "nt", "zz")


def _steuer_id(value: str) -> bool:
    """ISO 7064 MOD 11,10; among the first ten digits one or two stand more than once."""
    product = 10
    for digit in value[:10]:
        product = (int(digit) + product) % 10 or 10
        product = product * 2 % 11
    return value[0] != "0" and len(set(value[:10])) in (8, 9) and (11 - product) % 10 == int(value[10])


def _nir(value: str) -> bool:
    """97 less the number modulo 97; Corsican departments have a letter."""
    body = value[:13].replace("2a", "19").replace("2b", "18") if value[5:7] in ("2a", "2b") else value[:13]
    return body.isdigit() and value[13:].isdigit() and 97 - int(body) % 97 == int(value[13:])


def _dni(value: str) -> bool:
    number = {"x": "0", "y": "1", "z": "2"}.get(value[0], value[0]) + value[1:-1]
    return "trwagmyfpdxbnjzsqvhlcke"[int(number) % 23] == value[-1]


_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _codice_fiscale(value: str) -> bool:
    """The control character of DM 23/12/1976: odd places by a table, even ones by their rank."""
    ranks = [int(c) if c.isdigit() else ord(c) - 97 for c in value[:15]]
    return chr(97 + (sum(_ODD[r] for r in ranks[::2]) + sum(ranks[1::2])) % 26) == value[15]


def _times(a: int, b: int) -> int:
    """The dihedral group of order ten: turns 0 to 4, mirrored ones 5 to 9."""
    turn = (a + b) % 5 if a < 5 else (a - b) % 5
    return turn if (a < 5) == (b < 5) else turn + 5


_PRODUCT = tuple(tuple(_times(a, b) for b in range(10)) for a in range(10))


def verhoeff(digits: str) -> bool:
    order = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    check, places = 0, tuple(range(10))
    for digit in reversed(digits):
        check = _PRODUCT[check][places[int(digit)]]
        places = tuple(places[i] for i in order)
    return check == 0


def _cpf(value: str) -> bool:
    if len(set(value)) == 1:
        return False
    for size in (9, 10):
        total = _sum(value[:size], tuple(range(size + 1, 1, -1)))
        if total * 10 % 11 % 10 != int(value[size]):
            return False
    return True


def _pesel(value: str) -> bool:
    return -_sum(value, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10 == int(value[10]) and 1 <= int(value[2:4]) % 20 <= 12


def _personnummer(value: str) -> bool:
    value = value[-10:]
    return 1 <= int(value[2:4]) <= 12 and 1 <= int(value[4:6]) % 60 <= 31 and luhn(value)


def _bsn(value: str) -> bool:
    total = _sum(value, (9, 8, 7, 6, 5, 4, 3, 2, -1))
    return total % 11 == 0 and len(set(value)) > 1


def _npi(value: str) -> bool:
    """Luhn over the number behind the prefix 80840 (45 CFR 162.406)."""
    return value[0] in "12" and luhn("80840" + value)


def _digits(least: int) -> Callable[[str], bool]:
    return lambda value: sum(c.isdigit() for c in value) >= least


def _date(value: str) -> bool:
    return True


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![0-9a-z]){pattern}(?![0-9a-z])")


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|ene|abr|ago|dic)[a-z]{0,7}"
_FORMS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "us-ssn": (_form(r"[0-9]{3}([- ]?)[0-9]{2}\1[0-9]{4}"), _ssn),
    "uk-nino": (_form(r"[abceghj-prstw-z][abceghj-nprstw-z] ?(?:[0-9]{2} ?){3}[a-d]"), _nino),
    "de-steuer-id": (_form(r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}"), _steuer_id),
    "fr-nir": (
        _form(r"[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[ab]) ?[0-9]{3} ?[0-9]{3} ?(?:/ ?)?[0-9]{2}"),
        _nir,
    ),
    "es-dni": (_form(r"(?:[0-9]{2}\.?[0-9]{3}\.?[0-9]{3}|[xyz][ -]?[0-9]{7})[ -]?[a-z]"), _dni),
    "it-codice-fiscale": (
        _form(r"[a-z]{6} ?[0-9l-v]{2}[a-ehlmprst][0-9l-v]{2} ?[a-z][0-9l-v]{3}[a-z]"),
        lambda value: _codice_fiscale(value),
    ),
    "in-aadhaar": (_form(r"[2-9][0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}"), verhoeff),
    "in-pan": (_form(r"[a-z]{3}p[a-z][0-9]{4}[a-z]"), lambda value: True),
    "br-cpf": (_form(r"[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}"), _cpf),
    "pl-pesel": (_form(r"[0-9]{11}"), _pesel),
    "se-personnummer": (_form(r"(?:[0-9]{2})?[0-9]{6}[-+]?[0-9]{4}"), _personnummer),
    "ca-sin": (_form(r"[1-79][0-9]{2}([- ]?)[0-9]{3}\1[0-9]{3}"), luhn),
    "nl-bsn": (_form(r"[0-9]{4}\.?[0-9]{2}\.?[0-9]{3}"), _bsn),
    "medical-record": (_form(r"[a-z]{0,4}-?[0-9][0-9-]{3,12}[0-9]"), _digits(5)),
    "health-plan": (_form(r"[a-z0-9][a-z0-9-]{5,16}"), _digits(5)),
    "member": (_form(r"[a-z0-9][a-z0-9-]{5,16}"), _digits(5)),
    "npi": (_form(r"[12][0-9]{9}"), _npi),
    "date-of-birth": (
        _form(
            r"(?:[0-9]{1,2}[./-][0-9]{1,2}[./-](?:19|20)?[0-9]{2}|(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}"
            rf"|{_MONTH}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)[0-9]{{2}}"
            rf"|[0-9]{{1,2}}(?:st|nd|rd|th)? {_MONTH},? (?:19|20)[0-9]{{2}})"
        ),
        _date,
    ),
}
