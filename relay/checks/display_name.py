"""The name that From shows is somebody else's.

  address    it contains an address at a domain that is neither the tenant's nor that of From itself
  brand      it is a protected name (list `brands`): alone, with words such as "Security Team", a number or the
             rest of a web address ("Microsoft 365", "www.paypal.com"), or behind "from", "at", "via", a dash, a comma
  recipient  it is the recipient's: the local part or the domain of an address the mail goes to, or the name
             of that domain with words such as "HR", "IT Support"
  system     it is that of a mail system or of the reader's own help desk: "Mail Delivery Subsystem", "IT Helpdesk"; a
             plain "Helpdesk" or "Technical Support" may be the tenant's, at a domain of its own
  reversed   it has characters that turn the direction of writing over

Names that stand in the tenant's own profile or domains are its own.  Letters that look alike count as
the same.  Reports and automatic replies (`MAIL FROM:<>`) may come from a mail system.

Reply:     554 5.7.0
Evidence:  how (one of the words above), name (as shown, shortened), like (the domain, brand or recipient part)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from relay import replies
from relay.address import BadAddress, domain_name
from relay.checks.brands import Brand, Brands, brands, load_tables
from relay.checks.check import Check, CheckSettings
from relay.message.confusable import folded
from relay.message.header import Mailbox
from relay.message.registrable import registrable
from relay.model import Evidence, Mail, Profile, Stage
from relay.ports import Tools


class Settings(CheckSettings):
    """
    recipient  names that imitate the recipient are found
    system     names of mail systems and help desks are found
    """

    recipient: bool = True
    system: bool = True

    def model_post_init(self, context: Any) -> None:
        # Whoever configures this check will need them: read at the start, not while messages wait.
        load_tables()


MOST = 10
"""Mailboxes of From that are looked at."""
MOST_RECIPIENTS = 100
_LONGEST = 300


def run(mail: Mail, settings: Settings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    for box in message.author.found[:MOST]:
        if not box.name:
            continue
        name = box.name[:_LONGEST]
        if "\u202e" in name or "\u202d" in name:
            return _evidence("reversed", name, "")
        if ("@" in name or "＠" in name) and (other := _address(name, box, mail)):
            return _evidence("address", name, other)
        read = _read(name)
        if not read.words:
            continue
        if (brand := _brand(read, brands(tools.lists))) and not _rightly(brand, box, read, mail):
            return _evidence("brand", name, brand.name)
        if settings.system and mail.envelope.sender is not None and _is_system(read, box, mail):
            return _evidence("system", name, "")
        if settings.recipient and (like := _recipient(read, box, mail)):
            return _evidence("recipient", name, like)
    return None


def _evidence(how: str, name: str, like: str) -> Evidence:
    return Evidence({"how": how, "name": name[:80].encode("utf-8", "replace").decode(), "like": like})


class _Name(NamedTuple):
    """folded  the name, words of it, and those without spaces"""

    folded: str
    words: tuple[str, ...]
    joined: str


_WORD = re.compile(r"[^\W_]+")


@lru_cache(maxsize=4096)
def _read(name: str) -> _Name:
    text = folded(name.replace("|", "/"))  # a bar between two names is no l
    words = tuple(_WORD.findall(text)[:20])
    return _Name(text, words, "".join(words))


def _folded(text: str) -> frozenset[str]:
    return frozenset(map(folded, text.split()))


# -- addresses ----------------------------------------------------------------------------
_ADDRESS = re.compile(r"@((?:[\w-]{1,63}\.){1,8}[\w-]{2,63})")


def _address(name: str, box: Mailbox, mail: Mail) -> str:
    """The domain of an address in a name, where it is somebody else's."""
    for found in _ADDRESS.findall(name.replace("＠", "@"))[:5]:
        try:
            domain = domain_name(found)
        except BadAddress:
            continue
        if mail.tenant.domain_for(domain) is None and registrable(domain) != registrable(box.domain):
            return domain
    return ""


# -- brands ---------------------------------------------------------------------------------
# Words that say nothing of whose name it is, in the languages campaigns are written in.
_GENERIC = _folded(
    "team support security service services customer care help helpdesk desk center centre account accounts billing"
    " alert alerts notification notifications notice notices info information news newsletter update updates official"
    " online no reply noreply donotreply admin administrator department dept inc llc ltd gmbh corp com the of and for"
    " verification verify payment payments payroll order orders shipping delivery store rewards bonus gift prize fraud"
    " paket pakket package parcel courier gutschein voucher card airdrop token wallet giveaway protection safety trust"
    " recovery login signin password access mail email webmail id user users member members"
    " kundenservice kundendienst konto sicherheit sicherheitsteam benachrichtigung der die das"
    " sécurité compte équipe assistance client clients le la les de du des"
    " seguridad cuenta equipo soporte atención al cliente el los servicio sicurezza supporto assistenza clienti"
    " servizio"
    " beveiliging klantenservice rekening segurança conta suporte equipe atendimento bezpieczeństwo"
    " obsługa klienta"
    " säkerhet kundtjänst konto suraksha seva"
    # what brands call their products, and the rest of a web address
    " express business cloud drive docs office teams workspace prime pay ads app apps web"
    " www http https net org eu co uk de fr it es nl at ch us in br"
)
_FROM = _folded("from at via of by von bei vom de chez da von del dal van od från på se")


@lru_cache(maxsize=4096)
def _brand(read: _Name, known: Brands) -> Brand | None:
    words = read.words
    if (brand := known.names.get(read.joined)) is not None:
        return brand
    for size in (1, 2, 3):
        for start in range(len(words) - size + 1):
            brand = known.names.get("".join(words[start : start + size]))
            if brand is None:
                continue
            before, after = words[:start], words[start + size :]
            if all(word in _GENERIC or not word.isalpha() for word in (*before, *after)):
                return brand
            if before and not after and (before[-1] in _FROM or _set_apart(read.folded, words[start])):
                return brand
    return None


def _set_apart(text: str, word: str) -> bool:
    """Before the last `word` stands a dash, comma, bar or bracket, not just a space."""
    before = text[: text.rfind(word)].rstrip()
    return before[-1:] in tuple("-–—|,:·•@(/[")


def _rightly(brand: Brand, box: Mailbox, read: _Name, mail: Mail) -> bool:
    """The tenant is this brand, or has it in its own name."""
    if any(box.domain == domain or box.domain.endswith("." + domain) for domain in brand.domains):
        return True
    if brand.owned_by(mail.tenant):
        return True
    own = _own_names(mail.tenant.profile)
    name = "".join(_WORD.findall(folded(brand.name)))
    return any(name in one for one in own)


@lru_cache(maxsize=4096)
def _own_names(profile: Profile) -> tuple[str, ...]:
    if not profile.verified:
        return ()
    names = ("".join(_WORD.findall(folded(name[:_LONGEST]))) for name in (profile.legal_name, profile.trading_name))
    return tuple(name for name in names if name)


def _own(read: _Name, mail: Mail) -> bool:
    """The name is part of the tenant's own: a business may be called IT Support Ltd."""
    return any(read.joined in name for name in _own_names(mail.tenant.profile))


# -- mail systems ------------------------------------------------------------------------------
_SYSTEM = frozenset(
    "".join(_WORD.findall(folded(name)))
    for name in (
        "Mail Delivery Subsystem", "Mail Delivery System", "Mail Delivery Service", "Mailer-Daemon", "Mailer Daemon",
        "Mail Delivery", "Delivery Status Notification", "Delivery Subsystem", "Postmaster", "Mail Administrator",
        "Mail Admin", "Email Administrator", "Email Admin", "Mailbox Administrator", "Webmail Administrator",
        "Webmail Admin", "Webmail Support", "System Administrator", "System Admin", "Sysadmin", "Root",
        "Server Administrator", "Server Admin", "Server Notification", "Mail Server", "Email Server", "Mail Support",
        "IT Helpdesk", "IT Help Desk", "IT Support", "IT Service Desk", "IT Department",
        "IT Admin", "IT Administrator", "IT Security", "IT Team", "Network Administrator",
        "Account Security", "Security Alert", "Security Alerts", "Security Notification", "Account Notification",
        "Email Security", "Mail Security", "Mailbox Security", "Email Quarantine", "Quarantine", "Spam Quarantine",
        "Undelivered Mail", "Voicemail", "Voice Mail", "Voicemail Service", "Fax Service", "eFax", "Message Center",
        "Account Team", "Account Support", "Account Verification", "Email Verification", "Password Reset",
        "Mailzustellung", "Mailsystem", "Systemadministrator", "IT-Abteilung", "IT-Support", "EDV-Abteilung",
        "Administrateur système", "Service informatique", "Support informatique", "Administrador del sistema",
        "Amministratore di sistema", "Systeembeheerder", "ICT-helpdesk", "Administrador do sistema",
        "Administrator systemu", "Dział IT", "Systemadministratör",
        "IT-avdelningen",
    )
)  # fmt: skip
# What a firm calls its own support for customers, and somebody else's only at a domain that is not its own.
_DESK = frozenset(
    "".join(_WORD.findall(folded(name)))
    for name in (
        "Helpdesk", "Help Desk", "Technical Support", "Technischer Support", "Support technique", "Soporte técnico",
        "Supporto tecnico", "Technische ondersteuning", "Suporte técnico", "Teknisk support", "Pomoc techniczna",
    )
)  # fmt: skip


def _is_system(read: _Name, box: Mailbox, mail: Mail) -> bool:
    if read.joined in _DESK:
        return mail.tenant.domain_for(box.domain) is None and not _own(read, mail)
    return read.joined in _SYSTEM and not _own(read, mail)


# -- the recipient -------------------------------------------------------------------------------
# Local parts that many have, and names that a sender may well have too.
_COMMON = _folded(
    "info sales office contact support marketing hello hi mail team admin help service accounts billing finance hr jobs"
    " careers press news newsletter events kontakt vertrieb buero office service contacto ventas commercial accueil"
    " direction info me post recruiting legal privacy security it dev ops all everyone staff owner ceo cfo cto founder"
)
_DEPARTMENTS = _folded(
    "hr it helpdesk help desk support payroll security admin administrator administration team service accounts finance"
    " department internal management office mail email webmail server system notification notifications alerts"
    " personal personalabteilung informatique rh direction administracion administración nomina"
)


def _recipient(read: _Name, box: Mailbox, mail: Mail) -> str:
    words, joined = read.words, read.joined
    for recipient in mail.envelope.recipients[:MOST_RECIPIENTS]:
        address = recipient.address
        # Nearly always the two have no word in common.
        near = folded(address.domain)
        if address.local[:1].lower() != joined[0] and not any(word in near for word in words):
            continue
        local, host, label = _forms(address.local, address.domain)
        if host in read.folded and _is_word(host, read.folded) and mail.tenant.domain_for(host) is None:
            return address.domain
        if joined == local:
            own = folded(box.address.rpartition("@")[0])
            # A namesake is no imitation: Ann <ann@acme.example> may write to ann@client.example.
            if local not in _COMMON and local != "".join(_WORD.findall(own)) and not own.startswith(local):
                return "local part"
        elif label in words and joined != label and len(label) > 2:
            rest = [word for word in words if word != label]
            if rest and all(word in _DEPARTMENTS for word in rest) and not _ours(label, mail):
                return address.domain
        elif joined == label and len(label) > 3 and label not in _COMMON and not _ours(label, mail):
            return address.domain
    return ""


@lru_cache(maxsize=4096)
def _forms(local: str, domain: str) -> tuple[str, str, str]:
    """(local part, domain, first label of the registrable domain), folded; a NUL is like nothing."""
    words = "".join(_WORD.findall(folded(local.partition("+")[0])))
    return (
        words if len(words) > 2 else "\0",
        folded(domain),
        folded(registrable(domain).partition(".")[0]) or "\0",
    )


def _is_word(part: str, text: str) -> bool:
    at = text.find(part)
    end = at + len(part)
    return not text[at - 1 : at].isalnum() and not text[end : end + 1].isalnum()


def _ours(label: str, mail: Mail) -> bool:
    tenant = mail.tenant
    labels: Sequence[str] = [folded(domain.name.partition(".")[0]) for domain in tenant.domains if domain.verified]
    return label in labels or any(name.startswith(label) for name in _own_names(tenant.profile))


CHECK = Check(
    name="display-name",
    stages=(Stage.MESSAGE,),
    reply=replies.DISPLAY_NAME,
    run=run,
    remedy=(
        "Let From show your own name or your business's, without addresses, other companies' names, the recipient's"
        " name, or the look of a mail system."
    ),
    settings=Settings,
)
