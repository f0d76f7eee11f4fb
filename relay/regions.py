"""Where a recipient is: regions, what a top-level domain says of them, terms of law, and clocks.

A region is a country (ISO 3166-1, `CA`), a part of one (ISO 3166-2, `CA-QC`), or `EU` where no more is
known.  `EU`, `EEA` and `*` (everywhere) also stand for all that lies in them.  Data and arithmetic only;
time zones are read from the system's zoneinfo when they are asked for first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EVERYWHERE = "*"
STRICTEST = "EU"
"""What a recipient of unknown region is taken for where the strictest law is to hold: no other ties transfers
to a third country to as much as GDPR chapter V."""

# Zones of the IANA database (zone.tab, public domain) by country: one of each different clock in use.
_ZONES_BY_COUNTRY = (
    "AD Europe/Andorra; AE Asia/Dubai; AF Asia/Kabul; AG America/Antigua; AI America/Anguilla; AL Europe/Tirane; "
    "AM Asia/Yerevan; AO Africa/Luanda; AQ Antarctica/McMurdo; AR America/Argentina/Buenos_Aires; AS "
    "Pacific/Pago_Pago; AT Europe/Vienna; AU Australia/Sydney Australia/Brisbane Australia/Adelaide "
    "Australia/Darwin Australia/Perth; AW America/Aruba; AX Europe/Mariehamn; AZ Asia/Baku; BA Europe/Sarajevo; BB "
    "America/Barbados; BD Asia/Dhaka; BE Europe/Brussels; BF Africa/Ouagadougou; BG Europe/Sofia; BH Asia/Bahrain; "
    "BI Africa/Bujumbura; BJ Africa/Porto-Novo; BL America/St_Barthelemy; BM Atlantic/Bermuda; BN Asia/Brunei; BO "
    "America/La_Paz; BQ America/Kralendijk; BR America/Noronha America/Belem America/Campo_Grande "
    "America/Eirunepe; BS America/Nassau; BT Asia/Thimphu; BV Europe/Oslo; BW Africa/Gaborone; BY Europe/Minsk; BZ "
    "America/Belize; CA America/St_Johns America/Halifax America/Toronto America/Winnipeg America/Regina "
    "America/Edmonton America/Vancouver; CC Indian/Cocos; CD Africa/Kinshasa Africa/Lubumbashi; CF Africa/Bangui; "
    "CG Africa/Brazzaville; CH Europe/Zurich; CI Africa/Abidjan; CK Pacific/Rarotonga; CL America/Santiago "
    "America/Coyhaique Pacific/Easter; CM Africa/Douala; CN Asia/Shanghai; CO America/Bogota; CR "
    "America/Costa_Rica; CU America/Havana; CV Atlantic/Cape_Verde; CW America/Curacao; CX Indian/Christmas; CY "
    "Asia/Nicosia; CZ Europe/Prague; DE Europe/Berlin; DJ Africa/Djibouti; DK Europe/Copenhagen; DM "
    "America/Dominica; DO America/Santo_Domingo; DZ Africa/Algiers; EC America/Guayaquil Pacific/Galapagos; EE "
    "Europe/Tallinn; EG Africa/Cairo; EH Africa/El_Aaiun; ER Africa/Asmara; ES Europe/Madrid Atlantic/Canary; ET "
    "Africa/Addis_Ababa; FI Europe/Helsinki; FJ Pacific/Fiji; FK Atlantic/Stanley; FM Pacific/Chuuk "
    "Pacific/Pohnpei; FO Atlantic/Faroe; FR Europe/Paris; GA Africa/Libreville; GB Europe/London; GD "
    "America/Grenada; GE Asia/Tbilisi; GF America/Cayenne; GG Europe/Guernsey; GH Africa/Accra; GI "
    "Europe/Gibraltar; GL America/Nuuk America/Danmarkshavn America/Thule; GM Africa/Banjul; GN Africa/Conakry; GP "
    "America/Guadeloupe; GQ Africa/Malabo; GR Europe/Athens; GS Atlantic/South_Georgia; GT America/Guatemala; GU "
    "Pacific/Guam; GW Africa/Bissau; GY America/Guyana; HK Asia/Hong_Kong; HM Indian/Kerguelen; HN "
    "America/Tegucigalpa; HR Europe/Zagreb; HT America/Port-au-Prince; HU Europe/Budapest; ID Asia/Jakarta "
    "Asia/Makassar Asia/Jayapura; IE Europe/Dublin; IL Asia/Jerusalem; IM Europe/Isle_of_Man; IN Asia/Kolkata; IO "
    "Indian/Chagos; IQ Asia/Baghdad; IR Asia/Tehran; IS Atlantic/Reykjavik; IT Europe/Rome; JE Europe/Jersey; JM "
    "America/Jamaica; JO Asia/Amman; JP Asia/Tokyo; KE Africa/Nairobi; KG Asia/Bishkek; KH Asia/Phnom_Penh; KI "
    "Pacific/Tarawa Pacific/Kanton Pacific/Kiritimati; KM Indian/Comoro; KN America/St_Kitts; KP Asia/Pyongyang; "
    "KR Asia/Seoul; KW Asia/Kuwait; KY America/Cayman; KZ Asia/Almaty; LA Asia/Vientiane; LB Asia/Beirut; LC "
    "America/St_Lucia; LI Europe/Vaduz; LK Asia/Colombo; LR Africa/Monrovia; LS Africa/Maseru; LT Europe/Vilnius; "
    "LU Europe/Luxembourg; LV Europe/Riga; LY Africa/Tripoli; MA Africa/Casablanca; MC Europe/Monaco; MD "
    "Europe/Chisinau; ME Europe/Podgorica; MF America/Marigot; MG Indian/Antananarivo; MH Pacific/Majuro; MK "
    "Europe/Skopje; ML Africa/Bamako; MM Asia/Yangon; MN Asia/Ulaanbaatar Asia/Hovd; MO Asia/Macau; MP "
    "Pacific/Saipan; MQ America/Martinique; MR Africa/Nouakchott; MS America/Montserrat; MT Europe/Malta; MU "
    "Indian/Mauritius; MV Indian/Maldives; MW Africa/Blantyre; MX America/Mexico_City America/Cancun "
    "America/Matamoros America/Ciudad_Juarez America/Mazatlan America/Tijuana; MY Asia/Kuala_Lumpur; MZ "
    "Africa/Maputo; NA Africa/Windhoek; NC Pacific/Noumea; NE Africa/Niamey; NF Pacific/Norfolk; NG Africa/Lagos; "
    "NI America/Managua; NL Europe/Amsterdam; NO Europe/Oslo; NP Asia/Kathmandu; NR Pacific/Nauru; NU "
    "Pacific/Niue; NZ Pacific/Auckland Pacific/Chatham; OM Asia/Muscat; PA America/Panama; PE America/Lima; PF "
    "Pacific/Tahiti Pacific/Marquesas Pacific/Gambier; PG Pacific/Port_Moresby Pacific/Bougainville; PH "
    "Asia/Manila; PK Asia/Karachi; PL Europe/Warsaw; PM America/Miquelon; PN Pacific/Pitcairn; PR "
    "America/Puerto_Rico; PS Asia/Gaza; PT Europe/Lisbon Atlantic/Azores; PW Pacific/Palau; PY America/Asuncion; "
    "QA Asia/Qatar; RE Indian/Reunion; RO Europe/Bucharest; RS Europe/Belgrade; RU Europe/Kaliningrad "
    "Europe/Moscow Europe/Astrakhan Asia/Yekaterinburg Asia/Omsk Asia/Novosibirsk Asia/Irkutsk Asia/Chita "
    "Asia/Vladivostok Asia/Magadan Asia/Kamchatka; RW Africa/Kigali; SA Asia/Riyadh; SB Pacific/Guadalcanal; SC "
    "Indian/Mahe; SD Africa/Khartoum; SE Europe/Stockholm; SG Asia/Singapore; SH Atlantic/St_Helena; SI "
    "Europe/Ljubljana; SJ Arctic/Longyearbyen; SK Europe/Bratislava; SL Africa/Freetown; SM Europe/San_Marino; SN "
    "Africa/Dakar; SO Africa/Mogadishu; SR America/Paramaribo; SS Africa/Juba; ST Africa/Sao_Tome; SV "
    "America/El_Salvador; SX America/Lower_Princes; SY Asia/Damascus; SZ Africa/Mbabane; TC America/Grand_Turk; TD "
    "Africa/Ndjamena; TF Indian/Kerguelen; TG Africa/Lome; TH Asia/Bangkok; TJ Asia/Dushanbe; TK Pacific/Fakaofo; "
    "TL Asia/Dili; TM Asia/Ashgabat; TN Africa/Tunis; TO Pacific/Tongatapu; TR Europe/Istanbul; TT "
    "America/Port_of_Spain; TV Pacific/Funafuti; TW Asia/Taipei; TZ Africa/Dar_es_Salaam; UA Europe/Kyiv; UG "
    "Africa/Kampala; UM Pacific/Midway Pacific/Wake; US America/New_York America/Chicago America/Denver "
    "America/Phoenix America/Los_Angeles America/Anchorage America/Adak Pacific/Honolulu; UY America/Montevideo; "
    "UZ Asia/Samarkand; VA Europe/Vatican; VC America/St_Vincent; VE America/Caracas; VG America/Tortola; VI "
    "America/St_Thomas; VN Asia/Ho_Chi_Minh; VU Pacific/Efate; WF Pacific/Wallis; WS Pacific/Apia; XK "
    "Europe/Belgrade; YE Asia/Aden; YT Indian/Mayotte; ZA Africa/Johannesburg; ZM Africa/Lusaka; ZW Africa/Harare"
)
_ZONES: dict[str, tuple[str, ...]] = {item.split()[0]: tuple(item.split()[1:]) for item in _ZONES_BY_COUNTRY.split(";")}
COUNTRIES = frozenset(_ZONES)
"""ISO 3166-1 alpha-2, and XK for Kosovo."""

_MEMBERS = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
# Their parts that have codes of their own and are in the Union: outermost regions (TFEU articles 349, 355(1)), Aland.
_PARTS = "AX GF GP MF MQ RE YT"
EU = frozenset(f"{_MEMBERS} {_PARTS}".split())
_WITHIN = dict.fromkeys(["AS", "GU", "MP", "PR", "UM", "VI"], "US")
"""Countries of ISO 3166-1 that are parts of another one (and stand in ISO 3166-2 as such)."""
GROUPS = {"EU": EU, "EEA": EU | {"IS", "LI", "NO"}, EVERYWHERE: COUNTRIES}

_ALIASES = {"UK": "GB", "EL": "GR", "WORLD": EVERYWHERE}
_PART = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}\Z")


def region(text: str) -> str:
    """`de`, `CA-QC`, `EU`, `EEA`, `*` in their one form.  Raises ValueError."""
    name = text.strip().upper()
    name = _ALIASES.get(name, name)
    if name in COUNTRIES or name in GROUPS:
        return name
    if (part := _PART.match(name)) and part[1] in COUNTRIES:
        return name
    raise ValueError("not a region: a country code such as CA, a part of one such as CA-QC, or EU, EEA or *")


def place(text: str) -> str:
    """As `region`, of somebody who is in one place: neither EEA nor everywhere.  Raises ValueError."""
    name = region(text)
    if name in ("EEA", EVERYWHERE):
        raise ValueError(f"{name} is no place to be in; name a country, or EU")
    return name


def covers(regions: Iterable[str], place: str) -> bool:
    """Whether one of the regions is the place or has it in it.  A place that is only known to be in the EU is
    covered by EU and EEA, not by one of its members."""
    country = place[:2]
    within = _WITHIN.get(country, country)
    for name in regions:
        if name in (place, country, within):
            return True
        members = GROUPS.get(name)
        if members is not None and (country in members or (place == "EU" and members >= EU)):
            return True
    return False


# -- by the domain of an address ------------------------------------------------------------
# Country codes that are sold and used all over the world: they say nothing of where somebody is.
_SOLD = (
    "ac ad ag ai am as bz cc cd cf co cx dj fm ga gd gg gl gq gs im io la ly me ml mn ms mu nr nu pn pw sc sh so sr"
    " st su sx tc tk to tv vc vg vu ws"
)
GENERIC = frozenset(_SOLD.split())
_OTHER_NAMES = {"uk": "GB", "eu": "EU"}
# Country code names in other scripts, as A-labels.
_IDN = (
    "xn--p1ai RU xn--90ae BG xn--90ais BY xn--d1alf MK xn--j1amh UA xn--l1acc MN xn--80ao21a KZ xn--90a3ac RS"
    " xn--e1a4c EU xn--qxa6a EU xn--qxam GR xn--y9a3aq AM xn--node GE xn--fiqs8s CN xn--fiqz9s CN xn--j6w193g HK"
    " xn--mix891f MO xn--kprw13d TW xn--kpry57d TW xn--yfro4i67o SG xn--clchc0ea0b2g2a9gcd SG xn--3e0b707e KR"
    " xn--o3cw4h TH xn--fzc2c9e2c LK xn--xkc2al3hye2a LK xn--54b7fta0cc BD xn--h2brj9c IN xn--mgbbh1a71e IN"
    " xn--fpcrj9c3d IN xn--gecrj9c IN xn--s9brj9c IN xn--xkc2dl3a5ee0h IN xn--45brj9c IN xn--h2breg3eve IN"
    " xn--h2brj9c8c IN xn--45br5cyl IN xn--2scrj9c IN xn--3hcrj9c IN xn--mgbgu82a IN xn--rvc1e0am3e IN"
    " xn--mgbaam7a8h AE xn--mgberp4a5d4ar SA xn--wgbh1c EG xn--wgbl6a QA xn--mgbayh7gpa JO xn--mgbc0a9azcg MA"
    " xn--pgbs0dh TN xn--ygbi2ammx PS xn--lgbbat1ad8j DZ xn--mgb9awbf OM xn--mgba3a4f16a IR xn--mgbai9azgqp6j PK"
    " xn--mgbtx2b IQ xn--ogbpf8fl SY xn--mgbpl2fh SD xn--mgbx4cd0ab MY xn--mgbah1a3hjkrd MR xn--q7ce6a LA"
    " xn--4dbrk0ce IL"
)
_TLD = (
    {country.lower(): country for country in COUNTRIES - {"GB", "XK"} if country.lower() not in GENERIC}
    | {"gb": "GB"}
    | _OTHER_NAMES
    | dict(zip(_IDN.split()[::2], _IDN.split()[1::2], strict=True))
)


def of_domain(domain: str) -> str:
    """The region that a mail domain (lower case, A-labels) lets guess, "" for none: its country code unless
    that is used as a generic one."""
    return _TLD.get(domain[domain.rfind(".") + 1 :], "")


# -- terms ------------------------------------------------------------------------------------
_TERM = re.compile(r"([1-9]\d{0,3}) (day|month|year)s?\Z")


@lru_cache(maxsize=256)
def term(text: str) -> tuple[int, int]:
    """`2 years`, `6 months`, `90 days` -> (months, days).  Raises ValueError."""
    found = _TERM.match(text)
    if not found:
        raise ValueError("not a term: write 90 days, 6 months or 2 years")
    number = int(found[1])
    return (0, number) if found[2] == "day" else (number * (12 if found[2] == "year" else 1), 0)


@lru_cache(maxsize=4096)
def ends(at: float, text: str) -> float:
    """When the term that began at `at` is over, seconds since the epoch.  A month ends on the same day of the
    month, or on its last (31 August and 6 months: the end of February)."""
    months, days = term(text)
    start = datetime.fromtimestamp(at, UTC)
    if months:
        count = start.year * 12 + start.month - 1 + months
        year, month = min(count // 12, 9998), count % 12 + 1
        last = (datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(days=1)).day
        return start.replace(year=year, month=month, day=min(start.day, last)).timestamp()
    return at + days * 86400.0


# -- clocks ------------------------------------------------------------------------------------
def zones(place: str) -> tuple[ZoneInfo, ...]:
    """Every clock that may be the recipient's; none where only EU is known, or nothing.
    Raises zoneinfo.ZoneInfoNotFoundError where the system has no time zones."""
    return _clocks(place[:2]) if place else ()


@lru_cache(maxsize=512)
def _clocks(country: str) -> tuple[ZoneInfo, ...]:
    found, lacking = [], None
    for name in _ZONES.get(country, ()):
        try:
            found.append(ZoneInfo(name))
        except ZoneInfoNotFoundError as error:  # a system's zones may be older than these: Coyhaique is of 2025
            lacking = error
    if lacking is not None and not found:
        raise lacking
    return tuple(found)
