# ruff: noqa: E501 - vocabulary
"""Subjects that say that something of the reader's has happened: an account suspended, a password that expires.

Whoever sells software for invoices writes of them too, so what counts is whose thing it is:

  the reader's   a word for "your" before the thing: "Your password expires today", "Ihr Paket konnte nicht ..."
  this one       the thing with its number: "Invoice 4421 overdue", "OVERDUE: invoice 4421"
  nothing else   the words stand alone, or what follows only presses: "Facture impayée", "Payment overdue, please settle"

"Past due invoice automation" and "Facture impayée : comment relancer" offer something, and are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def alarming(subject: str) -> str:
    """The words by which a subject (lower case) begins as such a notice does; "" for none."""
    found = _ALARM.match(subject)
    return found[0].strip() if found else ""


# Of each language: your; words between the thing and what happened to it; things and what happened to them.
_HAPPENS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (  # en
        r"your", r"has|have|is|was|will|be|been|about|to|could|now|already|still|soon|almost|nearly|temporarily|permanently|quota",
        (
            (r"account", r"suspended|limited(?! (?:to|edition|time|offer|release|run|liability)\b|-)|locked(?! in)|disabled|deactivated|restricted(?! to)|on hold|terminated|compromised|closed(?!-)|blocked"),
            (r"mailbox|inbox|e-?mail storage|mail quota|storage", r"full(?! of|-)|exceeded|reached its"),
            (r"password", r"expires?|expired(?! \w+s\b)|expiring|(?:been|was) (?:reset|changed|compromised)"),
            (r"invoice|payment", r"over ?due(?! for an? )|past due|unpaid"),
            (r"payment|card", r"declined|failed|rejected"),
            (r"package|parcel|shipment|delivery", r"not (?:be(?:en)? )?delivered|\w{3,5}n['’]t (?:be(?:en)? )?delivered|undeliver(?:ed|able)|on hold"),
        ),
    ),
    (  # de
        r"ihre?|deine?", r"ist|wird|wurde|sind|war|konnte|leider|heute|bald|fast|vorübergehend|dauerhaft|seit|\d+|tagen?",
        (
            (r"(?:\w{1,20}-?)?konto|account", r"gesperrt|eingeschränkt|deaktiviert|geschlossen"),
            (r"postfach|mailbox|speicher", r"voll(?! mit)"),
            (r"passwort|kennwort", r"läuft (?:\w{1,10} ){0,3}ab|abgelaufen"),
            (r"rechnung|zahlung", r"überfällige?|unbezahlte?"),
            (r"paket|sendung|lieferung", r"nicht (?:zugestellt|ausgeliefert|geliefert)"),
        ),
    ),
    (  # fr
        r"votre|ton|ta", r"a|est|sera|va|été|être|temporairement|presque|bientôt",
        (
            (r"compte|boîte(?: mail| de réception| aux lettres)?", r"suspendue?|bloquée?|limitée?|désactivée?|pleine(?! de)"),
            (r"mot de passe", r"expire|expirera|expirer|expiré"),
            (r"facture|paiement", r"impayée?|échue|en retard"),
            (r"colis|livraison", r"n['’]a (?:pas )?pu être (?:livrée?|distribuée?)|non (?:livrée?|distribuée?)"),
        ),
    ),
    (  # es
        r"su|tu|vuestra", r"ha|está|esta|será|sido|temporalmente|casi",
        (
            (r"cuenta|buzón", r"suspendid[ao]|bloquead[ao]|limitad[ao]|desactivad[ao]|llen[ao](?! de)"),
            (r"contraseña", r"caduca(?:rá|do|da)?|expira(?:rá|do|da)?"),
            (r"factura|pago", r"vencid[ao]|impagad[ao]"),
            (r"paquete|envío", r"no (?:(?:se|pudo|puede|ha|podido|sido|ser) ){0,4}entrega(?:do|da|r|rse)|retenido"),
        ),
    ),
    (  # it
        r"(?:il |la )?(?:tu[oa]|su[oa]|vostr[oa])", r"è|verrà|sarà|stat[oa]|temporaneamente|quasi",
        (
            (r"account|conto", r"sospeso|bloccato|limitato|disattivato"),
            (r"casella(?: di posta| e-?mail)?", r"piena(?! di)"),
            (r"password", r"scade|scadrà|scaduta|in scadenza"),
            (r"fattura|pagamento", r"scadut[ao]|insolut[ao]|non pagat[ao]"),
            (r"pacco|spedizione", r"non (?:(?:è|stat[oa]|può|essere|possibile) ){0,3}consegna(?:to|ta|re)|in giacenza"),
        ),
    ),
    (  # nl
        r"uw|je|jouw", r"is|wordt|werd|kon|kan|tijdelijk|bijna|binnenkort|vandaag",
        (
            (r"account|rekening|mailbox", r"geblokkeerd|opgeschort|beperkt|vol(?! met)"),
            (r"wachtwoord", r"verloopt|verlopen|vervalt"),
            (r"factuur|betaling", r"vervallen|achterstallige?|onbetaalde?"),
            (r"pakket|zending", r"niet (?:worden )?(?:bezorgd|afgeleverd|geleverd)"),
        ),
    ),
    (  # pt
        r"(?:a |o )?(?:sua|seu|tua|teu)", r"foi|está|será|vai|temporariamente|quase",
        (
            (r"conta", r"suspensa|bloqueada|limitada|desativada"),
            (r"caixa(?: de (?:entrada|correio))?", r"cheia(?! de)"),
            (r"senha|palavra-passe", r"expira(?:rá|r|da)?|expirou"),
            (r"fatura|pagamento", r"vencid[ao]|em atraso"),
            (r"encomenda|pacote|entrega", r"não (?:(?:foi|pôde|pode|ser) ){0,3}entregue|retid[ao]"),
        ),
    ),
    (  # pl
        r"twoj[ea]|twój|państwa", r"zostało|została|został|jest|zostanie|tymczasowo|prawie",
        (
            (r"konto", r"zawieszone|zablokowane"),
            (r"skrzynka", r"pełna"),
            (r"hasło", r"wygasa|wygaśnie|wygasło"),
            (r"faktura|płatność", r"przeterminowana|nieopłacona"),
            (r"paczka|przesyłka", r"nie (?:(?:została|mogła|zostać|być) ){0,3}(?:dostarczona|doręczona)"),
        ),
    ),
    (  # sv
        r"din|ditt", r"har|är|kommer|att|tillfälligt|snart|nästan|kunde",
        (
            (r"konto", r"stängts|spärrats|avstängt|spärrat|låst"),
            (r"brevlåda|inkorg", r"full(?! av)"),
            (r"lösenord", r"går (?:snart )?ut|löper ut|gått ut"),
            (r"faktura|betalning", r"förfallen|förfallit|obetald"),
            (r"paket", r"inte (?:levereras|levererats)"),
        ),
    ),
)  # fmt: skip
# What is asked of the reader, or told of something that is only ever the reader's.
_TOLD = (
    r"(?:verify|confirm|validate|re-?validate|reactivate) your (?:account|identity|mailbox|e-?mail account|billing|payment)(?: (?:information|details))?"
    r"(?=\W*\Z|\W{2}| (?:to|now|today|immediately|before|within|or|by)\b)",
    r"security alert:? (?:(?:for|on) your|new (?:sign|log)-?in(?=\W*\Z| (?:from|on|to|in|at|attempt|activity|detected)\b))",
    r"we(?:['’]ve| have| had to)? (?:temporarily )?(?:suspend|lock|limit|restrict|block|disable)(?:ed)? your (?:\w{1,20} )?account\b",
    r"we (?:could not|couldn['’]t|were (?:not able|unable) to|cannot) (?:deliver|process) your (?:package|parcel|shipment|payment)\b",
    r"wir (?:konnten|können) (?:ihre?|deine?) (?:paket|sendung|zahlung) (?:\w{1,20} ){0,2}nicht\b",
    r"wir haben (?:ihr|dein) (?:\w{1,20}-?)?konto (?:\w{1,20} )?(?:gesperrt|eingeschränkt|deaktiviert)",
    r"nous n['’]avons pas pu livrer votre", r"no (?:hemos podido|pudimos) entregar su",
)  # fmt: skip
# The same without "your": nobody's, unless it stands alone or has a number.
_BARE = (
    r"(?:account )?(?:unusual|suspicious|new|unrecogni[sz]ed) (?:(?:sign|log)-?in|account) (?:activity|attempt)",
    r"(?:you have )?(?:a |\(?\d+\)? )?new voice ?(?:mail|message)s?",
)
_NUMBER = r"(?:(?:no|nr|n[°º]|number|nummer|numéro|número|numero)\.? ?|# ?)?[a-z]{0,4}-?\d[\w/-]{1,20}"
# A number that is no year.
_NUMBERED = r"(?:#|no\.?|nr\.?|n[°º])? ?(?!(?:19|20)\d\d\b(?!-))[a-z]{0,4}-?\d{3}"
_WHEN = r"(?:today|tomorrow|tonight|now|soon|heute|morgen|jetzt|aujourd['’]hui|demain|hoy|mañana|oggi|domani|vandaag|hoje|amanhã|dziś|dzisiaj|jutro|i ?dag|imorgon)"
_PRESSES = (
    r"please|kindly|action required|act now|pay now|pay (?:today|immediately)|settle|immediate(?:ly)?|urgent|final (?:notice|reminder)|last reminder"
    r"|(?:was |is |has been )?(?:detected|blocked|received|noticed|waiting)\W*\Z|(?:on|in|for|to|from|with|by) (?:your\b|you\b|\+?(?!(?:19|20)\d\d\b)\d|\S{1,60}@)"
    r"|bitte|sofort|handlung erforderlich|jetzt (?:be)?zahlen|letzte mahnung|\d\. mahnung|merci de|veuillez|action requise|dernier rappel|por favor|acción requerida"
    r"|último aviso|si prega|azione richiesta|ultimo avviso|gelieve|actie vereist|laatste herinnering|ação necessária|prosimy|vänligen|åtgärd krävs"
)
_ENDS = rf"(?=\W*\Z|\W{{1,3}}{_NUMBERED}|\W{{1,3}}{_WHEN}\W*\Z|\W{{1,4}}(?:{_WHEN}\W{{1,4}})?(?:{_PRESSES}))"

# "Your PayPal account", but not "Your guide to password expiry".
_OWN = r"(?:(?!(?:to|for|on|when|if|with|of|and|after|before)\b)[\w-]{1,20} ){0,2}"


def _yours() -> Iterator[str]:
    for your, between, things in _HAPPENS:
        for thing, happened in things:
            yield rf"(?:{your}) {_OWN}(?:{thing})(?: {_NUMBER})? (?:(?:{between}) ){{0,5}}(?:{happened})(?!\w)"


def _bare() -> Iterator[str]:
    for _, between, things in _HAPPENS:
        for thing, happened in things:
            said = rf"(?:(?:{between}) ){{0,5}}(?:{happened})(?!\w)"
            yield rf"(?:{thing}) (?:{_NUMBER} {said}|{said}{_ENDS})"
            yield rf"(?:{happened})\W{{1,3}}(?:{thing})(?: {_NUMBER}|{_ENDS})"
    for one in _BARE:
        yield one + _ENDS


LEADING = r"\W*+(?:(?:urgent|important|warning|attention|alert|(?:payment |final )?(?:notice|reminder|warning)|action required|wichtig|achtung|importante?|attenzione|uwaga|viktigt)\W{1,4}){0,2}"
_NAMED = r"(?:(?:[\w.-]{1,20} ){0,2}[\w.-]{1,20}, )?"
_ALARM = re.compile(
    rf"{LEADING}(?:{_NAMED}(?:{'|'.join((*_yours(), *_TOLD))})|(?:\w{{1,20}} )?(?:{'|'.join(_bare())}))"
)
