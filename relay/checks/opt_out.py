# ruff: noqa: E501 - vocabulary
"""How mail says that one can leave, in eleven languages: vocabulary for the checks of unsubscribing.

Patterns for text in lower case, each beginning at the start of a word with a plain letter (the
regular expression engine skips those at once that begin with another).  To add a language: one
entry in each table, and its sentences in tests/test_checks_message.py.
"""

from __future__ import annotations

import re

_SAYS = {
    "en": (
        r"unsub?scri", r"opt(?:ing|ed|s)?[ -]?out\b", r"remove (?:me|yourself|you|your|my)\b", r"be removed\b", r"taken? off\b",
        r"take (?:me|you|us) off\b", r"leave (?:this|the|our|my) (?:mailing )?list\b",
        r"stop (?:receiving|getting|hearing|all|future|further|these|those|this|the|any|more|e-?mails?|messages|e-?mailing)\b",
        r"stop (?:me|us) (?:from )?(?:e-?mailing|writing|contacting)\b",
        r"no (?:more|further|longer) (?:e-?mails?|messages|mails?)\b",
        *(
            rf"{no}(?: \w+){{0,3}} (?:receiv(?:e|ing)|get(?:ting)?|hear(?:ing)?|be contacted|be e-?mailed|contact|e-?mails?|follow[ -]?ups?)\b"
            for no in ("not", "never", "no longer", "don['’]?t", "didn['’]?t", "won['’]?t", "prefer not", "rather not")
        ),
        *(
            rf"{verb}(?: (?:your|my|e-?mail|mailing|communication|notification|subscription|contact)){{0,3}} (?:preferences?|subscriptions?|settings)\b"
            for verb in ("manage", "update", "change", "edit", "adjust", "set", "choose")
        ),
        r"(?:e-?mail|communication|mailing|contact|notification|subscription) (?:preferences?|settings)\b",
    ),
    "de": (
        r"abmeld", r"abzumelden", r"abgemeldet", r"newsletter-?abmeld", r"abbestell", r"abzubestellen", r"austragen", r"auszutragen", r"ausgetragen",
        r"meld\w* (?:sie sich|dich|euch) (?:\w+ ){0,4}ab\b", r"trag\w* (?:sie sich|dich|euch) (?:\w+ ){0,4}aus\b", r"widersprech", r"widerspruch",
        r"keinen? (?:weiteren? |mehr )?(?:\w+ )?(?:e-?mails?|mails?|newsletter|nachrichten)",
        r"nicht (?:mehr|länger|weiter)(?: \w+){0,6} (?:erhalten|empfangen|bekommen|kontaktier|angeschrieben|anschreiben)",
    ),
    "fr": (
        r"désabonn", r"desabonn", r"désinscri", r"desinscri", r"ne (?:\w+ )?(?:plus|pas) (?:\w+ ){0,3}(?:recevoir|être contact)",
        r"ne (?:souhaitez|voulez|désirez|veux|souhaites) plus\b", r"gérer (?:vos|mes) (?:préférences|abonnements)",
        r"arrêter de recevoir",
    ),
    "es": (
        r"baja\b", r"desuscrib", r"desinscrib", r"cancelar? (?:la |tu |su |mi )?suscripci", r"anular? (?:la |tu |su )?suscripci",
        r"dejar de recibir", r"no (?:desea|deseas|quiere|quieres|quiero|deseo)(?: \w+){0,2} recibi",
        r"(?:gestionar|administrar) (?:\w+ )?(?:preferencias|suscripci)",
    ),
    "it": (
        r"disiscri", r"disicriv", r"cancell\w* (?:la tua |la |l['’]|dall[ae]? )?(?:iscrizione|newsletter|mailing|lista)", r"cancellarti\b",
        r"cancellarsi\b", r"annulla\w* (?:la tua |l['’]|la )?iscrizione", r"non (?:desideri|desidera|vuoi|vuole)(?: \w+){0,2} ricevere",
        r"non ricevere più",
    ),
    "nl": (
        r"afmeld", r"afgemeld", r"uitschrij", r"uit te schrijven", r"(?:meld|schrijf) (?:je|u|jezelf|uzelf) (?:\w+ ){0,3}(?:af|uit)\b",
        r"geen (?:\w+ )?(?:e-?mails?|mails?|berichten|nieuwsbri\w+) meer", r"niet (?:langer|meer)(?: \w+){0,5} (?:ontvangen|krijgen)",
    ),
    "pt": (
        r"descadastr", r"cancelar? (?:a |sua |a sua |minha )?(?:inscri|subscri|assinatura)", r"deixar de receber",
        r"anular (?:a )?(?:sua )?subscri", r"n[ãa]o (?:deseja|quer|quiser|desejar|queira)(?: \w+){0,2} receber",
        r"remover (?:o )?(?:seu |meu )?(?:e-?mail|endereço)",
    ),
    "pl": (
        r"wypisa", r"wypisz", r"zrezygn", r"rezygn", r"anulowa\w* subskrypc", r"anuluj subskrypc", r"nie chce\w*(?: \w+){0,3} otrzymywa",
    ),
    "sv": (
        r"avregistrer", r"avprenumer", r"avsluta (?:din |min )?prenumeration", r"avanmäl", r"sluta få\b",
        r"inte längre (?:\w+ ){0,3}(?:få|ta emot)\b", r"(?:vill|önskar) du inte (?:\w+ ){0,3}(?:få|ta emot)\b",
    ),
    "hi": (
        r"अनसब्सक्राइब", r"सदस्यता (?:समाप्त|रद्द|छोड़|ख़त्म|खत्म)", r"सदस्यता से", r"प्राप्त (?:नहीं|न) करन", r"सूची से (?:हट|निकाल)",
        r"(?:ईमेल|मेल|संदेश) (?:\S+ ){0,3}नहीं चाह", r"sadasyata (?:samapt|radd|khatam)", r"band kar(?:ne|na|o|en)",
        r"(?:email|mail|message)s? (?:\w+ ){0,3}nahi+n? (?:chah|paana|pana)",
    ),
}  # fmt: skip

SAYS = re.compile(rf"\b(?:{'|'.join(p for patterns in _SAYS.values() for p in patterns)})")
"""The text says that one can leave, or for whom what follows is meant."""

ALONE = re.compile(
    r"\W*(?:opt|out|preferences|stop|leave|remove|austragen|ausschreiben|baja|cancella|wypis|afmelden|afmeldlink)\W*\Z"
)
"""The whole text of a link: a word that says enough there."""

_REPLY = {
    "en": (
        r"repl(?:y|ies|ying)\b", r"respond", r"answer\b", r"write (?:to |back)", r"e-?mail (?:me|us|back)\b", r"let (?:me|us) know\b",
        r"tell (?:me|us)\b", r"drop (?:me|us)\b", r"send (?:me|us|an?|back)\b", r"just say\b", r"text\b", r"contact (?:me|us)\b",
    ),
    "de": (
        r"antwort", r"schreib", r"schick", r"send", r"teil\w* (?:sie |es )?(?:mir|uns)", r"kurze (?:mail|nachricht|antwort)",
        r"geben sie (?:mir|uns)", r"gib (?:mir|uns)", r"sag\w* (?:sie )?(?:mir|uns)",
    ),
    "fr": (r"répon[ds]", r"repon[ds]", r"écri[vrs]", r"envoy", r"contactez", r"dites", r"faites[- ](?:le[- ])?(?:moi|nous)"),
    "es": (r"escr[ií]b", r"env[ií]", r"contest", r"av[ií]s"),
    "it": (r"rispond", r"scriv", r"invi", r"contatta"),
    "nl": (r"antwoord", r"beantwoord", r"stuur", r"laat (?:het )?(?:me|mij|ons)"),
    "pt": (r"escrev", r"contat"),
    "pl": (r"odpowied", r"odpisz", r"napisz", r"wyślij", r"daj(?:cie)? (?:mi |nam )?znać"),
    "sv": (r"svara", r"skriv", r"skicka", r"mejla", r"maila", r"säg till"),
    "hi": (r"जवाब", r"उत्तर", r"लिख", r"भेज", r"jawab", r"likh", r"bhej"),
}  # fmt: skip

REPLY = re.compile(rf"\b(?:{'|'.join(p for patterns in _REPLY.values() for p in patterns)})")
"""The reader is asked to write."""

NO_THANKS = re.compile(
    r"\b(?:no,? thank|not interested|not (?:a fit|relevant|the right)|kein interesse|pas intéress|no (?:me|te|le) interesa|non (?:mi |ti )?interess|geen interesse"
    r"|sem interesse|nie (?:jestem |są )?zainteresowan|inte intresserad|रुचि नहीं)"
)  # fmt: skip
"""What the reader may write, or may be; nothing without a request to write."""

_ORDERS = (
    "stop", "stopp", "remove", "no", "out", "end", "quit", "cancel", "unsubscribe", "pass", "nein", "abmelden", "non", "baja", "alto",
    "basta", "nee", "nie", "nej",
)  # fmt: skip
ORDER = re.compile(rf"[\"'“”‘’„«»*](?i:{'|'.join(_ORDERS)})\b|\b(?:{'|'.join(_ORDERS).upper()})\b")
"""STOP, as in `reply STOP`.  Of a text as it is written: so short a word counts in quotes or in capitals only."""

ADDRESS = re.compile(
    r"unsub|opt[-_. +]?out|preferenc|subscription|abmeld|abbestell|austragen|d[eé]sabon|d[eé]s?inscri|darse[-_]?de[-_]?baja"
    r"|[/=_-]baja\b|desuscri|suscripcion|disiscri|cancella|iscrizione|afmeld|uitschrij|descadastr|cancelar|inscricao"
    r"|assinatura|wypis|rezygn|avregistr|avprenum|avanmal|e?mail[-_]?settings|subject=(?:stop|remove|no)"
    r"|[/=_.-](?:stop|remove|leave|optin)(?:[-_/?&=.]|\Z)"
)
"""The address of a link, in lower case."""

HERE = re.compile(
    r"\b(?:here|click|link|page|hier|klick|ici|cliquer|cliquez|lien|aqu[ií]|clic|enlace|qui|clicca|klik|clique|kliknij|tutaj|tu\b"
    r"|här|klicka|länk|yahan|yes\b|let us know|let me know|this form|tell us|tell me)|यहाँ|यहां|लिंक"
)  # fmt: skip
"""The text of a link that says nothing of where it leads."""
