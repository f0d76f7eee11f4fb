"""The reader is told which business writes: the tenant's legal or trading name stands in the display
name of From, or in the text that most readers see (the HTML, where there is one).

Case, accents, punctuation and the legal form (Ltd, Inc, GmbH ...) make no difference.

Reply:     554 5.7.0
Evidence:  part (where the text was looked at: html, plain, none), not_repaired (why the relay cannot mend it)
Repair:    a footer with the legal name and the contact of the verified profile
"""

from __future__ import annotations

from functools import lru_cache

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.mending import missing
from relay.checks.wording import Phrase, Spelling, has, has_in, phrase
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools

_FORMS_OF_BUSINESS = (
    " ltd limited inc incorporated llc llp lp plc corp corporation co company pty pvt private gmbh mbh ag"
    " kg kgaa ug ohg gbr ev eg se sa sas sasu sarl eurl snc sci srl srls spa sl slu sau bv nv vof cv oy"
    " oyj ab hb as asa aps ivs is lda ltda eireli me sp z o oo spz zoo spolka sro doo kft zrt nyrt ooo bhd"
    " sdn kk and und et y e i og haftungsbeschrankt ou ek spk aktiebolag aktiengesellschaft"
)
_LEGAL_FORMS = frozenset(_FORMS_OF_BUSINESS.split())


def _core(found: list[str]) -> list[str]:
    """A name's words less the legal form behind it, also where it is spelt `S. p. A.`"""
    end = len(found)
    cut = True
    while cut:
        cut = False
        for size in (1, 2, 3, 4):
            last = found[end - size : end] if end > size else []
            if last and (size == 1 or all(len(word) == 1 for word in last)) and "".join(last) in _LEGAL_FORMS:
                end -= size
                cut = True
                break
    # What is left must still be a name: "Co-Op Ltd" stays whole.
    return _same(found[:end] if sum(map(len, found[:end])) > 2 else found)


_AND = frozenset(("and", "und", "et", "och", "og"))
"""`Smith & Jones` is `Smith and Jones`; the sign is no word already."""


def _same(found: list[str]) -> list[str]:
    return [word for word in found if word not in _AND] if not _AND.isdisjoint(found) else found


_CORE, _SAME = Spelling(_core), Spelling(_same)


@lru_cache(maxsize=4096)
def _names(legal: str, trading: str) -> tuple[Phrase, ...]:
    found = (phrase(legal, _CORE), phrase(trading, _CORE))
    return tuple({one.joined: one for one in found if one}.values())


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    profile = mail.tenant.profile
    names = _names(profile.legal_name, profile.trading_name)
    if not names:
        return None  # tenant-profile says so
    if any(has_in(shown[:1000], names, _SAME) for shown in message.from_names[:10]):
        return None
    main = message.visible.main
    if main is not None and has(main, names, _SAME):
        return None
    return missing(CHECK.name, mail, tools, {"part": main.kind if main is not None else "none"})


CHECK = Check(
    name="sender-identity",
    stages=(Stage.MESSAGE,),
    reply=replies.NO_IDENTITY,
    run=run,
    remedy="Name your business, as it stands in your profile here, in the sender's name or in the text of the message.",
    needs=frozenset({"tenant", "profile"}),
    repairs=True,
)
