"""The reader is told which business writes: the tenant's legal or trading name stands in the display
name of From, or in the text that most readers see (the HTML, where there is one).

Case, accents, punctuation and the legal form (Ltd, Inc, GmbH ...) make no difference.

Reply:     554 5.7.0
Evidence:  part (where the text was looked at: html, plain, none), not_repaired (why the relay cannot mend it)
Repair:    a footer with the legal name and the contact of the verified profile
"""

from __future__ import annotations

import re
from functools import lru_cache

from relay import replies
from relay.checks.check import Check, CheckSettings
from relay.checks.mending import missing
from relay.checks.wording import Phrase, Spelling, has, has_in, phrase, words
from relay.model import Evidence, Mail, Stage
from relay.ports import Tools

_FORMS = (
    "ltd limited inc incorporated llc lllp llp lp pllc plc corp corporation co company pty pvt pte private"
    " proprietary unlimited cic dac clg ulc pbc ltee limitee gmbh ggmbh gesmbh mbh ag gag aktiengesellschaft kg"
    " kgaa ug ohg gbr ev eg se ek partg partgmbb mbb kommanditgesellschaft unternehmergesellschaft"
    " haftungsbeschrankt sa sas sasu sarl selarl eurl snc sci scop sprl srl srls scarl spa sagl sl slu sll slp sau"
    " sca cia cv bv bvba cvba nv vof lda ltda eireli epp me unipessoal oy oyj ab hb kb asa as aps ivs is ans ehf"
    " publ aktiebolag sp spzoo spj spk spzook ska zoo spolka spol sro vos doo jdoo dooel kft zrt nyrt kkt ou uab"
    " sia eood ead sti kk gk sdn bhd berhad tbk fze fzco fzllc dmcc wll jsc ojsc cjsc pjsc ooo zao oao pao"
    " ооо оао зао пао ао тов тоо"
)
_LONG = (
    "gesellschaft mit beschränkter haftung|gesellschaft bürgerlichen rechts|eingetragener kaufmann"
    "|eingetragene kauffrau|eingetragene genossenschaft|limited liability company|limited liability partnership"
    "|public limited company|limited partnership|community interest company|société à responsabilité limitée"
    "|société par actions simplifiée|société anonyme|sociedad limitada|sociedad anónima"
    "|sociedad de responsabilidad limitada|società a responsabilità limitata|società per azioni|sociedade limitada"
    "|sociedade anónima|sociedade anônima|besloten vennootschap|naamloze vennootschap"
    "|spółka z ograniczoną odpowiedzialnością|spółka akcyjna|spółka komandytowa|spółka jawna|prosta spółka akcyjna"
    "|प्राइवेट लिमिटेड|लिमिटेड|एलएलपी"
)
_SPELT = frozenset(("pc", "pa", "dd", "ad", "na", "bt", "ks", "da", "sc", "cb", "jv"))
"""Only with signs between the letters (`d. d.`): so short a word may well be part of a name."""
_LEGAL_FORMS = frozenset(_FORMS.split()) | {"".join(words(form)) for form in _LONG.split("|")}
_LONGEST = max(len(words(form)) for form in _LONG.split("|"))
_BETWEEN = frozenset(("and", "und", "et", "y", "e", "i", "og", "och", "de", "z"))
"""Goes with the form behind it: & Co., y Cía, de C.V."""
_BEGIN = "the sa sarl sas sasu eurl sci snc srl nv bv ab oy oyj kb hb as ou uab sia pt cv ooo ооо зао пао ао тов тоо"
_BEFORE = frozenset(_BEGIN.split())
"""Words of a form, or of no weight, that names begin with: AB Volvo, ООО, PT."""


def _core(found: list[str], least: int = 3) -> list[str]:
    """A name's words less its legal form, also where it is spelt `S. p. A.`"""
    end = len(found)
    while (size := _form(found, end)) > 0:
        end -= size
    # What is left must still be a name: "Co-Op Ltd" stays whole.
    for begin in (1, 0) if end > 1 and found[0] in _BEFORE else (0,):
        if sum(map(len, found[begin:end])) >= least:
            return _same(found[begin:end])
    return _same(found)


def _short(found: list[str]) -> list[str]:
    return _core(found, 2)


def _form(found: list[str], end: int) -> int:
    """How many words before `end` are a legal form."""
    for size in range(min(_LONGEST, end - 1), 0, -1):
        last = found[end - size : end]
        joined = "".join(last)
        if joined in _LEGAL_FORMS or (size > 1 and size == len(joined) and joined in _SPELT):
            return size
    # Once something was cut.
    return 1 if 1 < end < len(found) and found[end - 1] in _BETWEEN else 0


_AND = frozenset(("and", "und", "et", "och", "og"))
"""`Smith & Jones` is `Smith and Jones`; the sign is no word already."""


def _same(found: list[str]) -> list[str]:
    """Words of a text; Müller and Mueller are the same."""
    if not _AND.isdisjoint(found):
        found = [word for word in found if word not in _AND]
    return " ".join(found).replace("ae", "a").replace("oe", "o").replace("ue", "u").split()


_CORE, _SHORT_CORE, _SAME = Spelling(_core), Spelling(_short), Spelling(_same)


# Legal forms that stand in one word with the name.
_WITHIN = re.compile(
    "株式会社|有限会社|合同会社|合資会社|合名会社|一般社団法人|股份有限公司|有限责任公司|有限責任公司|有限公司|股份公司|集团|集團"
    "|주식회사|유한회사|㈜|㈱|\\((?:주|유|株|有)\\)|（(?:株|有|주|유)）|บริษัท|จำกัด|\\(มหาชน\\)|ห้างหุ้นส่วน"
)


@lru_cache(maxsize=4096)
def _names(legal: str, trading: str, spelling: Spelling = _CORE) -> tuple[Phrase, ...]:
    found = (phrase(legal, spelling), phrase(trading, spelling), phrase(_WITHIN.sub(" ", legal), spelling))
    return tuple({one.joined: one for one in found if one}.values())


def run(mail: Mail, settings: CheckSettings, tools: Tools) -> Evidence | None:
    message = mail.message
    assert message is not None
    profile = mail.tenant.profile
    names = _names(profile.legal_name, profile.trading_name)
    if not names:
        return None  # tenant-profile says so
    # Two letters are a name there, and a word in a text: HP, AI.
    shortest = _names(profile.legal_name, profile.trading_name, _SHORT_CORE)
    if any(has_in(shown[:1000], shortest, _SAME) for shown in message.from_names[:10]):
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
