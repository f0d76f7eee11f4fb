# ruff: noqa: E501 - vocabulary
"""Bulk or promotional mail on the transactional stream, where consent and opt-outs weigh differently.

It takes two signs that do not depend on one another (three where the subject is that of a receipt, a code, a
shipment ...):

  list        List-Unsubscribe or List-Id: it goes to a list
  bulk        Precedence: bulk or junk; trackers and wikis write it on each notice so that no robot answers,
              together with Auto-Submitted (RFC 3834), and then it is none
  campaign    a field that campaign tools write (X-Campaign..., X-Mailchimp..., Feedback-ID that names a campaign)
  promotion   promotional wording in subject or text, together with a way to unsubscribe in the text

Looked at on the stream `transactional` only.

Reply:     554 5.7.0
Evidence:  signs (the words above, with commas)
"""

from __future__ import annotations

import re

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.unsubscribe_link import has_opt_out
from relay.message import Message
from relay.model import TRANSACTIONAL, Evidence, Mail, Stage
from relay.ports import Tools

_CAMPAIGN_FIELDS = (
    "x-campaign", "x-campaign-id", "x-campaignid", "x-campaign_id", "x-mc-user", "x-mailchimp-campaign-id", "x-cid",
    "x-mailer-campaign", "x-mailgun-campaign-id", "x-job", "x-newsletter", "x-mailing-id", "x-mailingid", "x-mailjet-campaign",
    "x-klaviyo-message-id", "x-hs-campaign-id", "x-listmonk-campaign",
)  # fmt: skip
_PRECEDENCE = frozenset({"bulk", "junk"})

_WORDS = (
    r"\d{1,2} ?% (?:off|discount|rabatt|de descuento|de réduction|di sconto|korting|de desconto|zniżki)", r"limited[ -]time",
    r"(?:shop|buy|order|book|save) now\b", r"special offer", r"exclusive (?:offer|deal|discount)", r"(?:black friday|cyber monday)",
    r"(?:flash|clearance|summer|winter|spring|holiday|mega) sale", r"sale ends", r"ends (?:tonight|today|soon|sunday|monday|midnight)",
    r"last chance", r"don['’]t miss", r"free (?:shipping|trial|gift|webinar)", r"(?:promo|coupon|discount|voucher) code", r"use code\b",
    r"(?:this|our) (?:week|month)['’]?s? (?:newsletter|deals?|offers?)", r"newsletter\b", r"new (?:arrivals|collection|in store)", r"best[ -]?sellers?\b",
    r"jetzt (?:kaufen|bestellen|sichern|sparen|shoppen)", r"nur (?:für kurze zeit|heute|noch)", r"sonderangebot", r"rabatt(?:code|aktion)", r"gutschein(?:code)?\b",
    r"offre (?:spéciale|exclusive|limitée)", r"profitez[- ]en", r"soldes\b", r"code promo", r"livraison gratuite", r"dernière chance",
    r"oferta (?:especial|exclusiva|limitada)", r"compra ahora", r"(?:última|ultima) (?:oportunidad|chance)", r"envío gratis", r"rebajas\b",
    r"offerta (?:speciale|esclusiva|limitata)", r"acquista (?:ora|subito)", r"spedizione gratuita", r"saldi\b", r"speciale aanbieding", r"koop nu", r"uitverkoop",
    r"gratis verzending", r"compre (?:agora|já)", r"frete grátis", r"promoção", r"promocja", r"kup teraz", r"darmowa dostawa", r"wyprzedaż",
    r"köp nu", r"fri frakt", r"rea\b", r"erbjudande", r"सीमित समय", r"विशेष ऑफ़र", r"छूट", r"abhi khariden", r"simit samay",
)  # fmt: skip
_PROMOTION = re.compile(rf"\b(?:{'|'.join(_WORDS)})")
_OF_SERVICE = re.compile(
    r"\b(?:receipts?|invoice|order (?:\S{1,20} )?(?:confirm|#|no|number|update|status)|your order|order confirmation|shipp(?:ed|ing|ment)|deliver(?:y|ed)|tracking"
    r"|password|verification|verify|security code|login code|one[- ]time|otp|confirm your|booking confirm|reservation|appointment|ticket #|statement"
    r"|rechnung|bestell(?:ung|bestätigung)|versand|passwort|bestätigungscode|facture|reçu|commande|mot de passe|factura|recibo|pedido|contraseña"
    r"|fattura|ricevuta|ordine|factuur|bestelling|wachtwoord|fatura|senha|faktura|zamówieni|hasło|kvitto|lösenord|beställning|चालान|ऑर्डर|पासवर्ड)"
)
_LOOKED_AT = 32 * 1024


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    if mail.envelope.stream != TRANSACTIONAL:
        return None
    message = mail.message
    assert message is not None
    signs = []
    if message.count("list-unsubscribe") or message.count("list-id"):
        signs.append("list")
    if message.count("precedence") and _bulk(message):
        signs.append("bulk")
    if _campaign(message):
        signs.append("campaign")
    if not signs:
        return None  # wording alone is never enough
    subject = (message.first("subject") or "")[:500].lower()
    needed = 3 if _OF_SERVICE.search(subject) else 2
    if len(signs) < needed and len(signs) >= needed - 1 and _promotes(message, subject):
        signs.append("promotion")
    return Evidence({"signs": ", ".join(signs)}) if len(signs) >= needed else None


def _bulk(message: Message) -> bool:
    if (message.first("precedence") or "").strip().lower() not in _PRECEDENCE:
        return False
    automatic = (message.first("auto-submitted") or "no").partition(";")[0].strip().lower()
    return automatic in ("no", "")


def _campaign(message: Message) -> bool:
    if any(message.count(name) for name in _CAMPAIGN_FIELDS):
        return True
    if not message.count("feedback-id"):
        return False
    # Gmail's Feedback-ID is CampaignID:CustomerID:MailType:SenderId; tools for single messages send it too.
    parts = (message.first("feedback-id") or "").lower()[:200].split(":")
    return any(part.strip().startswith(("campaign", "newsletter", "marketing", "promo", "bulk")) for part in parts)


def _promotes(message: Message, subject: str) -> bool:
    main = message.visible.main
    if main is None:
        return False
    text = main.lower
    if len(text) > 2 * _LOOKED_AT:
        text = text[:_LOOKED_AT] + "\n" + text[-_LOOKED_AT:]
    found = {one[0] for one in (*_PROMOTION.finditer(subject), *_PROMOTION.finditer(text))}
    return (len(found) >= 2 or _PROMOTION.search(subject) is not None) and has_opt_out(main)


CHECK = Check(
    name="stream-mismatch",
    stages=(Stage.MESSAGE,),
    reply=replies.STREAM_MISMATCH,
    run=run,
    remedy="Send campaigns and newsletters with a credential of a marketing stream; this one is for single messages.",
)
