# ruff: noqa: E501 - vocabulary
"""How mail says that one can leave: vocabulary for the checks of unsubscribing.

Ten languages (en, de, fr, es, it, nl, pt, pl, sv, hi) with all that people write there; of some thirty more the words
that stand on the link or beside it, so that nobody is refused for writing to his readers in theirs.

Patterns for text in lower case, each beginning at the start of a word with a plain letter (the
regular expression engine skips those at once that begin with another).  To add a language: one
entry in each table, and its sentences in tests/test_checks_message.py.
"""

from __future__ import annotations

import re

_SAYS = {
    "en": (
        r"unsub?scri", r"opt(?:ing|ed|s)?[ -]?out\b", r"remove (?:me|yourself|you|your|my|this (?:e-?mail )?address)\b", r"be removed\b", r"taken? off\b(?! (?:\w+ ){0,2}price)",
        r"take (?:me|you|us) off\b", r"leave (?:this|the|our|my) (?:mailing )?list\b",
        r"stop (?:receiving|getting|hearing|future|further|these|those|this|e-?mails?|messages|e-?mailing)\b",
        # "Stop the war" is no way out.
        r"stop (?:all|any|more|the)(?: \w+){0,3} (?:e-?mail|messages?|mail|newsletter|communication|notification|contact|updates?|letters?)",
        r"stop (?:me|us) (?:from )?(?:e-?mailing|writing|contacting)\b",
        r"no (?:more|further|longer) (?:e-?mails?|messages|mails?)\b",
        *(
            rf"{no}(?: \w+){{0,3}} (?:receiv(?:e|ing)(?! an? (?:response|reply|answer))|get(?:ting)?(?! (?:an?|about|how|why|what|enough)\b)|hear(?:ing)?|be contacted|be e-?mailed|contact|(?:e-?)?mails?|follow[ -]?ups?)\b"
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
        r"nicht(?: mehr| wieder)? von (?:mir|uns) (?:hören|lesen)",
        r"(?:newsletter|abo|abonnement) (?:\w+ ){0,2}(?:kündigen|beenden|abbestellen|deaktivieren)", r"abo kündigen",
        r"(?:aus|von|vom) (?:\w+ ){0,3}verteiler", r"(?:newsletter|e-?mail|mail)-?einstellungen",
        r"einstellungen (?:verwalten|ändern|anpassen)", r"einwilligung (?:\w+ ){0,3}widerruf", r"widerruf\w* (?:\w+ ){0,2}einwilligung",
    ),
    "fr": (
        r"désabonn", r"desabonn", r"désinscri", r"desinscri", r"ne (?:\w+ )?(?:plus|pas) (?:\w+ ){0,3}(?:recevoir|être contact)",
        r"ne (?:souhaitez|voulez|désirez|veux|souhaites) plus\b", r"gérer (?:vos|mes) (?:préférences|abonnements)",
        r"arrêter de recevoir", r"annuler (?:votre |mon |l['’] ?)abonnement", r"(?:modifier|mettre à jour) (?:vos|mes) (?:préférences|abonnements)",
        r"(?:être|soyez) retirée?s? de", r"retirer (?:votre|mon) (?:adresse|e-?mail|consentement)", r"vous opposer\b", r"résilier",
    ),
    "es": (
        r"baja\b", r"desuscrib", r"desinscrib", r"cancelar? (?:la |tu |su |mi )?suscripci", r"anular? (?:la |tu |su )?suscripci",
        r"dejar de recibir", r"no (?:desea|deseas|quiere|quieres|quiero|deseo)(?: \w+){0,2} recibi",
        r"(?:gestion\w+|administr\w+|modific\w+|actualiz\w+|cambi\w+) (?:\w+ )?(?:preferencias|suscripci)",
        r"borrar(?:se|te|me) de", r"eliminar(?:se|te|me) de", r"no recibir más", r"dejes? de (?:enviar|escribir)",
    ),
    "it": (
        r"disiscri", r"disicriv", r"cancell\w* (?:la tua |la |l['’]|dall[ae]? )?(?:iscrizione|newsletter|mailing|lista)", r"cancellarti\b",
        r"cancellarsi\b", r"cancellami\b", r"non voglio(?: \w+){0,2} ricevere", r"annulla\w* (?:la tua |l['’]|la )?iscrizione", r"non (?:desideri|desidera|vuoi|vuole)(?: \w+){0,2} ricevere",
        r"non ricevere più", r"cancellati\b", r"gesti(?:sci|re|one) (?:\w+ )?(?:tue |delle )?preferenze", r"revoca\w* (?:il |del |tuo )*consenso",
        r"smettere di ricevere", r"rimuov\w+ (?:\w+ ){0,3}(?:indirizzo|lista)", r"opporti\b",
    ),
    "nl": (
        r"afmeld", r"afgemeld", r"uitschrij", r"uit te schrijven", r"af te melden", r"(?:meld|schrijf) (?:je|u|jezelf|uzelf) (?:\w+ ){0,3}(?:af|uit)\b",
        r"geen (?:\w+ )?(?:e-?mails?|mails?|berichten|nieuwsbri\w+) meer", r"niet (?:langer|meer)(?: \w+){0,5} (?:ontvangen|krijgen)",
        r"opzeggen", r"opgezegd", r"voorkeuren (?:wijzigen|beheren|aanpassen|instellen)", r"(?:wijzig|beheer|pas) (?:je|uw|jouw) (?:e-?mail)?voorkeuren",
        r"stoppen met (?:\w+ ){0,3}ontvangen",
    ),
    "pt": (
        r"descadastr", r"cancelar? (?:a |sua |a sua |minha )?(?:inscri|subscri|assinatura)", r"deixar de receber",
        r"remover d[ae](?:sta|ssa)? lista", r"n[ãa]o quero(?: \w+){0,2} receber",
        r"anular (?:a )?(?:sua )?subscri", r"n[ãa]o (?:deseja|quer|quiser|desejar|queira)(?: \w+){0,2} receber",
        r"remover (?:o )?(?:seu |meu )?(?:e-?mail|endereço)", r"desinscrev", r"desinscri", r"de?s?subscrev", r"cancele (?:a |sua )?(?:sua )?(?:inscri|subscri|assinatura)",
        r"parar de receber", r"sair (?:da|desta) lista", r"(?:gerir|gerenci\w+|alterar|atualizar) (?:as )?(?:suas |minhas )?preferências", r"dar baixa",
    ),
    "pl": (
        r"wypisa", r"wypisz", r"zrezygn", r"rezygn", r"anulowa\w* subskrypc", r"anuluj subskrypc", r"nie chc[eę]\w*(?: \w+){0,3} otrzymywa",
        r"wyrejestr", r"usun\w* (?:\w+ ){0,2}(?:z listy|z bazy|adres)", r"usuń", r"(?:cofn|wycofa|odwoła)\w* (?:\w+ ){0,2}zgod",
        r"(?:zarządza\w*|zmie[nń]\w*) (?:\w+ ){0,2}(?:preferencj|ustawieni|subskrypcj)", r"nie życz\w+ sobie", r"wypis(?:u|z)",
    ),
    "sv": (
        r"avregistrer", r"avprenumer", r"avsluta (?:din |min )?prenumeration", r"avanmäl", r"sluta få\b",
        r"inte längre (?:\w+ ){0,3}(?:få|ta emot)\b", r"(?:vill|önskar) du inte (?:\w+ ){0,3}(?:få|ta emot|ha)\b",
        r"avbeställ", r"säg(?:a)? upp (?:\w+ )?prenumeration", r"(?:hantera|ändra|uppdatera) (?:dina )?(?:e-?post)?(?:inställningar|preferenser|prenumerationer)",
        r"inte vill ha (?:fler|mer)", r"vill (?:jag )?inte (?:\w+ )?(?:få|ha|ta emot) (?:fler|mer|några)", r"tacka nej",
    ),
    "hi": (
        r"अनसब्सक्राइब", r"सदस्यता (?:समाप्त|रद्द|छोड़|ख़त्म|खत्म)", r"सदस्यता से", r"प्राप्त (?:नहीं|न) करन", r"सूची से (?:हट|निकाल)",
        r"(?:ईमेल|मेल|संदेश) (?:\S+ ){0,3}नहीं चाह", r"sadasyata (?:samapt|radd|khatam)", r"band kar(?:ne|na|o|en)",
        r"(?:email|mail|message)s? (?:\w+ ){0,3}nahi+n? (?:chah|paana|pana)", r"(?:ईमेल|मेल|संदेश|न्यूज़लेटर) (?:\S+ ){0,2}बंद", r"(?:न्यूज़लेटर|सूची|लिस्ट) से",
        r"(?:list|suchi|newsletter) se (?:hat|nikal|bahar)", r"naam hata", r"email band",
    ),
}  # fmt: skip

_ELSEWHERE = {
    "da nb": (
        r"afmeld", r"frameld", r"avmeld", r"afbestil", r"meld(?:e)? (?:deg|dig|meg|mig) (?:av|fra|af|ut|ud)\b", r"stopp? (?:abonnement|nyhe[dt]sbrev)",
        r"(?:avslutt?e?|opsige?|ops[ei]ge?|si opp) (?:\w+ )?(?:abonnement|nyhe[dt]sbrev)",
        r"ikke (?:lenger |længere |lengre )?(?:\w+ )?(?:ønsker|vil)(?: \w+){0,2} (?:motta|modtage|få)", r"ønsker (?:\w+ )?ikke (?:lenger |længere )?(?:å |at )?(?:motta|modtage|få)",
    ),
    "fi": (
        r"peruut?a? (?:\w+ ){0,2}(?:tilau|uutiskirje)", r"peruuttaa (?:\w+ ){0,2}(?:tilau|uutiskirj)", r"tilau(?:s|ksen)i? (?:peru|lopet)", r"lopeta (?:\w+ ){0,2}(?:tilau|uutiskirje)", r"poistu (?:\w+ )?(?:posti|sähköposti)?listalta",
        r"(?:et|en) (?:enää )?halua (?:enää )?(?:vastaanottaa|saada)",
    ),
    "cs sk": (
        r"odhl[aá]s", r"zru[sš]\w* (?:\w+ ){0,2}od(?:b[eě]r|ober)", r"(?:si )?nep[rř][ae]j(?:ete|i)\b", r"(?:si )?neželáte\b",
        r"nechcete(?: (?:ji[zž]|u[zž]|dále|ďalej|od nás))*(?: \w+){0,2} (?:dost[aá]va|odeb[ií]r|odober)",
    ),
    "hu": (r"leiratkoz", r"leíratkoz", r"iratkoz\w+ le\b", r"nem (?:szeretn|kíván|kér)\w*(?: \w+){0,4} (?:levele|hírleve|e-?mail|kapni)"),
    "ro": (r"dez[aăâ]?bon", r"nu (?:mai )?(?:doresc|dori[tțţ]i|vre[tțţ]i|vrei|vreau)(?: \w+){0,3} prim"),
    "bg ru uk": (
        r"отпис", r"отпиш", r"відпис", r"відпиш", r"отказ(?:аться|ване)? (?:от|се от) (?:\w+ ){0,2}(?:рассыл|подпис|получ|абонам|бюлет)", r"відмов\w* від (?:\w+ ){0,2}(?:розсил|підпис|отрим)", r"прекрат\w+ (?:\w+ )?(?:абонамент|подписк|рассылк)",
        r"скасува\w* (?:\w+ )?підписк", r"отменить (?:\w+ )?подписк", r"не (?:хотите|желаете|искате|бажаєте|хочете)(?: \w+){0,2} (?:получа|отрим)",
    ),
    "el": (r"διαγραφ", r"διαγράψ", r"απεγγραφ", r"κατ[άα]ργηση (?:\w+ )?(?:ε[γν]?γραφ|συνδρομ)", r"δεν (?:επιθυμείτε|θέλετε)(?: \w+){0,4} λαμβάνετε"),
    "tr": (r"aboneli\u0307?kten (?:ç[ıi]k|ayr[ıi]l)", r"aboneliği\w* (?:iptal|sonland|durdur)", r"listeden (?:ç[ıi]k|ayr[ıi]l)", r"üyelikten (?:ç[ıi]k|ayr[ıi]l)", r"almak istemiyor", r"takipten (?:ç[ıi]k|ayr[ıi]l)"),
    "hr sl sr": (r"odjav", r"одјав", r"ne želite (?:više |več )?(?:\w+ )?(?:prima|prejema)", r"не желите"),
    "lt lv et": (
        r"atsisaky", r"nebenor\w+ gauti", r"atteik", r"atrakst", r"loobu", r"tühista (?:\w+ ){0,2}(?:tellimus|uudiskir)", r"nevēl\w+ (?:vairs )?(?:\w+ )?saņemt",
    ),
    "ca eu gl": (r"donar?(?:-se|-vos|-me|-te|['’]s)? de baixa", r"cancel·la", r"harpidetza (?:kendu|utzi|bertan)", r"darse de baixa"),
    "id ms vi tl": (r"berhenti (?:berlangganan|melanggan|menerima)", r"h(?:ủy|uỷ|uy) (?:đăng k[ýí]|dang ky)", r"ngừng nhận", r"mag-?unsubscribe"),
    "is ga cy mt": (r"afskrá", r"(?:hætta|segja upp) (?:\w+ )?áskrift", r"díliostáil", r"dad-?danysgrifio"),
}  # fmt: skip
# Where words are not apart, or begin with what they belong to, as in Arabic and Hebrew.
_WITHIN = (
    r"配信(?:の)?(?:停止|解除)|(?:購読|登録)(?:の|を)?(?:解除|停止|中止|取り?消し)|受信(?:を)?(?:拒否|停止)|メール(?:の|を)?(?:停止|解除)|退会",
    r"退订|退訂|取消(?:订阅|訂閱|訂閲)|不再(?:接收|訂閱)|不想(?:再)?(?:收到|接收)",
    r"수신 ?(?:을 ?)?(?:거부|거절|중단)|구독 ?(?:을 ?)?(?:취소|해지|해제|중단)",
    r"ยกเลิกการ(?:รับ|สมัคร|เป็น|ติดตาม)|เลิกรับ",
    r"لغاء (?:ال)?[اإ]?شتراك|لغو (?:عضویت|اشتراک)|عدم تلقي",
    r"להסרה|הסרה מ|הסר אותי|ביטול (?:ה)?(?:מנוי|הרשמה)|להסיר את",
    r"সদস্যতা|আনসাবস্ক্রাইব|குழுவிலக|సభ్యత్వా|ਗਾਹਕੀ|સબ્સ્ક્રાઇબ|सदस्यता रद्द|ان ?سبسکرائب",
)  # fmt: skip

_OTHERS = "|".join(p for patterns in _ELSEWHERE.values() for p in patterns)
SAYS = re.compile(
    rf"\b(?:{'|'.join(p for patterns in _SAYS.values() for p in patterns)}|{_OTHERS})|{'|'.join(_WITHIN)}"
)
"""The text says that one can leave, or for whom what follows is meant."""

_REMOVE_ME = (
    r"fjern (?:mig|meg|min|os|oss)\b", r"slet (?:mig|min)\b", r"slett (?:meg|min)\b", r"poista(?:kaa)? (?:minut|osoitteeni|meidät)", r"vy[rř]a[dď]te", r"vyma[zž]te", r"sma[zž]te",
    r"töröljenek", r"töröljön", r"vegyenek le", r"ne (?:küldjenek|írjanak)", r"[sșş]terge[tțţ]i", r"nu[- ]mi mai (?:trimite|scrie)",
    r"удалите", r"уберите", r"вычеркните", r"исключите меня", r"не (?:пишите|присылайте|шлите)", r"видаліть", r"не (?:пишіть|надсилайте)", r"изтрийте", r"премахнете",
    r"αφαιρέστε", r"σβήστε", r"μη(?:ν)? (?:μου |μας )?(?:ξανα)?στ[εέ]", r"listenizden", r"(?:beni|bizi) (?:\w+ )?(?:çıkar|sil)", r"göndermeyin", r"uklonite", r"obrišite", r"izbrišite", r"brišite",
    r"nemojte (?:mi |nam )?(?:više )?slati", r"уклоните", r"pašalinkite", r"ištrinkite", r"izdzēsiet", r"izņemiet", r"eemaldage", r"kustutage", r"elimineu", r"esborreu",
    r"hapus(?:kan)?\b", r"jangan kirim", r"đừng gửi", r"xóa (?:tôi|email)", r"ekki senda", r"taktu mig",
)  # fmt: skip
_REMOVE_WITHIN = r"送らないで|送信しないで|削除して|不要再(?:发|發|寄)|别再(?:发|联系)|別再(?:發|聯絡)|移除我|删除我|刪除我|보내지 ?마|삭제해|لا ترسل|احذف|תסירו|הסירו|אל תשלחו|อย่าส่ง"
ELSEWHERE = re.compile(rf"\b(?:{_OTHERS}|{'|'.join(_REMOVE_ME)})|{'|'.join(_WITHIN)}|{_REMOVE_WITHIN}")
"""A reply in one of those other languages may ask to be removed; in lower case."""

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
        r"antwort", r"schreib", r"schick", r"send", r"teil\w* (?:sie |es )?(?:mir|uns)", r"kurze (?:e-?mail|mail|nachricht|antwort|info|rückmeldung)", r"rückmeldung", r"bescheid\b",
        r"geben sie (?:mir|uns)", r"gib (?:mir|uns)", r"sag\w* (?:sie )?(?:mir|uns)",
    ),
    "fr": (r"répon[ds]", r"repon[ds]", r"écri[vrs]", r"envoy", r"contactez", r"dites", r"faites[- ](?:le[- ])?(?:moi|nous)", r"prévenez", r"signalez"),
    "es": (r"escr[ií]b", r"env[ií]", r"cont[eé]st", r"resp[oó]nd", r"av[ií]s", r"d[ií](?:me|melo|game|gamelo)\b", r"h[aá]g(?:a|á)?(?:me|melo)\b", r"hazme"),
    "it": (r"rispond", r"scriv", r"invi", r"contatta", r"dimmelo", r"(?:fammi|mi faccia|fatemi)(?:lo)? sapere", r"fammelo"),
    "nl": (r"antwoord", r"beantwoord", r"stuur", r"laat (?:het )?(?:me|mij|ons)", r"laat het (?:\w+ )?weten"),
    "pt": (r"escrev", r"contat", r"diga-?(?:me|nos)", r"me (?:avise|diga)"),
    "pl": (r"odpowied", r"odpisz", r"napisz", r"wyślij", r"daj(?:cie)? (?:mi |nam )?znać"),
    "sv": (r"svara", r"skriv", r"skicka", r"mejla", r"maila", r"säg (?:till|det)", r"hör av (?:dig|er)", r"meddela"),
    "hi": (r"जवाब", r"उत्तर", r"लिख", r"भेज", r"jawab", r"likh", r"bhej"),
}  # fmt: skip

REPLY = re.compile(rf"\b(?:{'|'.join(p for patterns in _REPLY.values() for p in patterns)})")
"""The reader is asked to write."""

_AGAIN = r"(?:again|any ?more|any further|in (?:the )?future)\b"
_NO_THANKS = {
    "en": (
        r"no,? thank", r"not interested", r"(?:not|isn['’]?t) (?:a fit|a good fit|relevant|the right|of interest)",
        # "No longer interested in paper forms?" is about what is sold.
        r"no longer interested(?! in (?!(?:this|these|our|my|such|hearing|receiving|getting|being)\b))",
        r"(?:won['’]?t|will (?:not|never)|never|not|didn['’]?t|don['’]?t)(?: \w+){0,3}? (?:reach out|bother you|writ(?:e|ing)|contact|e-?mail|message|follow[ -]?up|disturb|chase|ping)(?: \w+){0,2}? "
        + _AGAIN,
        r"stop (?:bothering|reaching out|following up|chasing|pinging|messaging)\b", r"close (?:out )?your file", r"leave you (?:alone|in peace)",
    ),
    "de": (
        r"kein interesse", r"nicht (?:mehr )?(?:interessiert|relevant)", r"nicht (?:der|die) richtige", r"kein bedarf",
        r"(?:melde|schreibe|kontaktiere|störe|belästige)n? (?:\w+ ){0,3}nicht (?:mehr|wieder|weiter)\b",
    ),
    "fr": (
        r"(?:pas|plus) intéress", r"pas (?:la bonne personne|le bon (?:moment|interlocuteur)|pertinent)",
        r"ne (?:vous|te) (?:relancer|écrir|contacter|recontacter|dérang|embêt|sollicit|importun)\w* (?:plus|pas)\b",
    ),
    "es": (
        r"no (?:me|te|le|os|les) interesa", r"no (?:estás?|est[aá] usted) interesad", r"no (?:te|le|os|les) (?:vuelv\w+ a (?:escrib|contact|molest)|(?:escrib|contact|molest)\w* más\b)",
        r"no es relevante",
    ),
    "it": (
        r"non (?:mi |ti |le |vi )?interess", r"non (?:sei|è|siete) (?:più )?interessat", r"non (?:ti|la|vi) (?:scriv|contatt|ricontatt|disturb)\w* più\b",
        r"non è rilevante",
    ),
    "nl": (
        r"geen interesse", r"niet (?:meer |langer )?geïnteresseerd", r"niet relevant", r"(?:mail|schrijf|benader|stoor|contacteer) (?:ik )?(?:je|u|jou) niet (?:meer|verder|opnieuw)\b",
        r"val (?:ik )?(?:je|u|jou) niet (?:meer|verder)\b",
    ),
    "pt": (
        r"sem interesse", r"não (?:tem|há|tenho|tiver) (?:mais )?interesse", r"não est\w+ (?:mais )?interessad", r"não (?:é|for) relevante",
        r"não (?:te|lhe|o|a) (?:escrev|contat|contact|incomod|perturb)\w* mais\b", r"não (?:entrarei|vou entrar|voltarei a entrar) (?:mais )?em contat",
    ),
    "pl": (
        r"nie (?:jestem |są |jesteś |jest (?:pan|pani) )?(?:państwo )?zainteresowan", r"brak zainteresowania",
        r"nie będę (?:(?:więcej|już|ponownie) )?(?:\w+ )?(?:pisa|przeszkadza|kontaktowa|niepokoi)",
    ),
    "sv": (
        r"(?:inte|ej) (?:längre )?intresserad", r"inget intresse", r"inte relevant",
        r"(?:ska|kommer) (?:jag )?inte (?:att )?(?:störa|kontakta|skriva|höra av|mejla)",
    ),
    "hi": (r"रुचि नहीं", r"interest nahi"),
}  # fmt: skip
NO_THANKS = re.compile(rf"\b(?:{'|'.join(p for patterns in _NO_THANKS.values() for p in patterns)})")
"""What the reader may write, or may be, or what the writer promises then; nothing without a request to write."""

_MAILS = r"(?:e-?mails?|messages?|mails?|newsletters?|updates?)"
_ASKS = {
    "en": (
        r"(?:(?:are )?you(?:['’]re| are)? )?(?:no longer|not|not at all) interested(?: any ?more| in (?:hearing from (?:me|us)|this|it|(?:(?:receiving|getting) )?(?:these|our|my|such|more)(?: \w+)? " + _MAILS + r"))?",
        r"(?:don['’]?t|do not|no longer) want (?:these|this|any more|(?:these|this|our|my|such|any more|more)(?: \w+)? " + _MAILS + r")(?: any ?more)?",
        r"(?:want|like to get|wish to get) out", r"(?:had )?enough of (?:us|me|(?:these|our|my)(?: \w+)? " + _MAILS + r")",
        r"too many (?:of (?:these|our|my) )?" + _MAILS + r" from (?:us|me)", r"want to leave(?: us| (?:this|the|our) (?:mailing )?list)?",
    ),
    "de": (
        r"(?:(?:sie haben|haben sie|du hast|hast du) )?kein(?:erlei)? interesse(?: mehr)?(?: an (?:diesen|unseren|meinen|weiteren) (?:e-?)?(?:mails|nachrichten|newslettern|informationen))?",
        r"nicht (?:mehr |länger )?interessiert", r"(?:genug|zu viele?)(?: von)? (?:diesen?|unseren?|meinen?) (?:e-?)?(?:mails|nachrichten|newslettern?)",
        r"(?:nicht|nichts) mehr (?:von (?:uns|mir) (?:hören|lesen)|gewünscht)",
    ),
    "fr": (
        r"(?:(?:vous n['’]êtes|tu n['’]es) )?(?:plus|pas) (?:du tout )?intéressée?s?(?:\(e?s?\))?", r"assez de (?:nos|mes|ces) (?:e-?mails|courriels|messages|mails)",
        r"plus envie de (?:nous|me) lire",
    ),
    "es": (
        r"(?:ya )?no (?:te|le|os|les) interesan?(?: más)?(?: (?:estos|nuestros|mis) (?:correos|mensajes|e-?mails))?", r"(?:ya )?no (?:estás?|está usted) interesad[oa]",
        r"sin interés",
    ),
    "it": (r"non (?:ti |le |vi )?interess[ao]n?o?(?: più)?(?: (?:queste|le nostre|le mie) (?:e-?mail|mail))?", r"non (?:sei |è )?(?:più )?interessat[oa]"),
    "nl": (r"geen interesse(?: meer)?", r"niet (?:meer |langer )?geïnteresseerd", r"genoeg van (?:deze|onze|mijn) (?:e-?)?(?:mails|berichten)"),
    "pt": (r"(?:já )?(?:sem|não tem|não tens) (?:mais )?interesse", r"(?:já )?não est(?:á|ás) (?:mais )?interessad[oa]", r"não (?:te |lhe )?interessa(?: mais)?"),
    "pl": (r"nie (?:jesteś|są państwo|jest pani?) (?:już )?zainteresowan\w+", r"brak zainteresowania", r"(?:to )?(?:już )?(?:cię |państwa |pana )?nie interesuje"),
    "sv": (r"(?:inte|ej) (?:längre )?intresserad", r"inget intresse", r"trött på (?:våra|mina|dessa) (?:mejl|mail)"),
    "hi": (r"(?:अब )?रुचि नहीं(?: है)?", r"(?:ab )?interest nahi(?: hai)?"),
}  # fmt: skip
ASKS = re.compile("|".join(p for patterns in _ASKS.values() for p in patterns))
"""All of a question, for whom what follows is meant: "No longer interested?"  It counts only where nothing follows but
where to click, since "No longer interested in ..., click here to see ..." is how things are sold."""

AT_ANY_TIME = re.compile(r"(?:you (?:can|may) |feel free to )?leave(?: us| the list| this list)?(?: at)? any ?time\b")
"""The same, and no question."""

_BARE = (
    "please just simply then you can may here click tap press on this the link below button go visit use follow at by clicking with"
    " one a single tell us me let know so anytime"
    " bitte einfach dann hier klick klicken klicke sie du auf den diesen link unten folgenden genügt ein"
    " cliquez cliquer ici sur ce lien svp s'il vous plaît le suivant il suffit de"
    " haga haz clic clique pulse pulsa aquí aqui en este enlace clicca clicchi qui su questo"
    " klik klikt je u dan op deze neste kliknij tutaj tu w ten klicka här på länken länk"
    " yahan par karein यहाँ यहां पर क्लिक करें लिंक"
)
BARE = frozenset(_BARE.split())
"""Words that say where to click, and nothing else."""
GOES_ON = frozenset(("to", "for", "and", "um", "zu", "pour", "afin", "para", "per", "om", "aby", "żeby", "för", "att"))
"""With these a line goes on with the sentence before it."""

_ORDERS = (
    "stop", "stopp", "remove", "no", "out", "end", "quit", "cancel", "unsubscribe", "pass", "nein", "abmelden", "non", "baja", "alto",
    "basta", "nee", "nie", "nej",
)  # fmt: skip
ORDER = re.compile(
    rf"[\"'“”‘’„«»*](?i:{'|'.join(_ORDERS)})\b|(?<!CHECK )(?<!CHECKING )(?<!SOLD )(?<!FIND )\b(?:{'|'.join(_ORDERS).upper()})\b"
)
"""STOP, as in `reply STOP`.  Of a text as it is written: so short a word counts in quotes or in capitals only."""

ADDRESS = re.compile(
    r"unsub|opt[-_. +]?out|preferenc|subscription|abmeld|abbestell|austragen|d[eé]sabon|d[eé]s?inscri|darse[-_]?de[-_]?baja"
    r"|[/=_-]baja\b|desuscri|suscripcion|disiscri|cancella|iscrizione|afmeld|uitschrij|descadastr|cancelar|inscricao"
    r"|assinatura|wypis|rezygn|avregistr|avprenum|avanmal|e?mail[-_]?settings|subject=(?:stop|remove|no)"
    r"|[/=_.](?:stop|remove|leave|optin)(?:[_/?&=.]|-(?:e?-?mail|list|news|me\b)|\Z)|list-(?:remove|leave)"
)
"""The address of a link, in lower case."""

ADDRESS_LETTERS = (
    "unsub", "scri", "optout", "opt-out", "opt_out", "opt.out", "opt out", "opt+out", "optin", "preferenc", "meld", "abbestell",
    "austragen", "sabon", "baja", "cancel", "uitschrij", "descadastr", "assinatura", "wypis", "rezygn", "avregistr", "avprenum",
    "avanmal", "settings", "subject=", "stop", "remove", "leave",
)  # fmt: skip
"""One of these stands in every address that ADDRESS finds."""

HERE = re.compile(
    r"\b(?:here|click|link|page|hier|klick|ici|cliquer|cliquez|lien|aqu[ií]|clic|enlace|qui|clicca|klik|clique|kliknij|tutaj|tu\b"
    r"|här|klicka|länk|yahan|yes\b|let us know|let me know|this form|tell us|tell me"
    r"|her\b|klikk|trykk|tästä|täältä|napsauta|zde\b|tady\b|sem\b|ide\b|itt\b|kattints|aici\b|тук\b|здесь|тут\b|сюда|ссылк|посиланн|натисніть|εδ[ώω]"
    r"|bura(?:ya|dan|da)\b|tıkla|tikla|ovdje|ovde|tukaj|овде|čia\b|paspausk|šeit|siin\b|siia\b|tại đây|vào đây|di ?sini|hér\b)|यहाँ|यहां|लिंक"
    r"|こちら|ここ|クリック|点击|點擊|此处|此處|这里|這裡|按此|여기|클릭|คลิก|ที่นี่|هنا|اضغط|اینجا|כאן|לחצו|לחץ"
)  # fmt: skip
"""The text of a link that says nothing of where it leads."""

_LEAVE = {
    "en": r"unsubscrib\w*|opt(?:ing)?[ -]?out|stop (?:receiving|getting|these)|(?:manage|change|update|edit|adjust|set) (?:\w+ ){0,3}(?:preferences?|subscriptions?|settings)",
    "de": r"abmeld\w*|abzumelden|abbestell\w*|abzubestellen|auszutragen|einstellungen",
    "fr": r"désabonn\w*|désinscri\w*|ne plus recevoir|préférences|abonnements",
    "es": r"baja\b|cancelar|desuscrib\w*|dejar de recibir|preferencias",
    "it": r"disiscri\w*|cancella\w*|non ricevere più|preferenze",
    "nl": r"af te melden|afmelden|uit te schrijven|uitschrijven|voorkeuren",
    "pt": r"cancelar|descadastr\w*|deixar de receber|preferências",
    "pl": r"wypis\w*|zrezygn\w*|rezygn\w*|preferencj\w*|ustawieni\w*",
    "sv": r"avregistrer\w*|avprenumerer\w*|avsluta|inställningar",
    "hi": r"अनसब्सक्राइब|सदस्यता|unsubscribe|sadasyata",
}  # fmt: skip
_ENTER = {
    "en": r"(?:log|sign)(?:ging|ning)?[ -]?in(?:to)?\b|login\b|logged in|signed in",
    "de": r"log(?:ge|gen)? (?:sie sich|dich) (?:\w+ ){0,4}ein\b|eingeloggt|einzuloggen|einloggen|meld\w* (?:sie sich|dich) (?:\w+ ){0,4}an\b|angemeldet sein",
    "fr": r"connect(?:ez-vous|er|é|ée)\b|identifi(?:ez-vous|er)\b",
    "es": r"inici(?:e|a|ar|ando) sesión|inici(?:e|a|ar) su sesión|conéct(?:ese|ate)\b|entr(?:e|a|ar) en (?:su|tu) cuenta|acced(?:a|e|er) a (?:su|tu) cuenta",
    "it": r"acced(?:i|ere|a) (?:al|alla|a) (?:tuo |tua |proprio )?(?:account|area|profilo)|effettu\w+ (?:l['’]accesso|il login)|login\b",
    "nl": r"log (?:je |u )?(?:\w+ ){0,3}in\b|inloggen|in te loggen|ingelogd",
    "pt": r"faça (?:o )?login|fazer login|entre (?:na|em) (?:sua|a sua) conta|inici(?:e|ar) sessão|acess(?:e|ar) (?:a )?sua conta",
    "pl": r"zalog(?:uj|ować|owa)\w*",
    "sv": r"logga(?:r|t)? in\b|inloggad",
    "hi": r"लॉग ?इन|login\b|log in\b",
}  # fmt: skip

STRONG = re.compile(
    r"unsub?scri|opt(?:ing|ed)?[ -]?out\b|reply (?:with )?[\"'“]?stop|abmeld|abzumelden|abbestell|abzubestellen|désabonn|désinscri|darse de baja|darte de baja"
    r"|desuscrib|disiscri|cancellart|cancellati|uitschrij|afmeld|descadastr|cancelar|wypis|zrezygn|rezygn|avregistrer|avprenumer"
    r"|अनसब्सक्राइब|सदस्यता|sadasyata"
)
"""Words that are hardly used for anything else."""

# Within one clause: a list of links ("Log in | Help | Unsubscribe") is no sentence.
_BETWEEN = r"[^.!?|·•\n<>]{0,80}?"

LOGIN = re.compile(
    "|".join(
        rf"(?:{_ENTER[language]}){between}(?:{_LEAVE[language]})|(?:{_LEAVE[language]}){back}(?:{_ENTER[language]})"
        for language, between, back in (
            (
                "en",
                rf"{_BETWEEN}\b(?:to|and|then|before)\b (?:\w+ ){{0,3}}?",
                rf"(?:{_BETWEEN}\b(?:must|need|have to|required|please|by|after|first|when|once)\b{_BETWEEN}|[^.!?|·•\n<>]{{0,40}}, (?:\w+ )?)",
            ),
            ("de", rf"{_BETWEEN}\b(?:um|und)\b{_BETWEEN}", rf"{_BETWEEN}(?:,|\b(?:müssen|muss|bitte|nach|indem)\b){_BETWEEN}"),
            ("fr", rf"{_BETWEEN}\b(?:pour|et|afin)\b{_BETWEEN}", rf"{_BETWEEN}(?:,|\b(?:devez|veuillez|après|en)\b){_BETWEEN}"),
            ("es", rf"{_BETWEEN}\b(?:para|y)\b{_BETWEEN}", rf"{_BETWEEN}(?:,|\b(?:debe|debes|tiene|tienes|por favor)\b){_BETWEEN}"),
            ("it", rf"{_BETWEEN}\b(?:per|e)\b{_BETWEEN}", rf"{_BETWEEN}(?:,|\b(?:devi|deve|necessario)\b){_BETWEEN}"),
            ("nl", rf"{_BETWEEN}\b(?:om|en)\b{_BETWEEN}", rf"{_BETWEEN}\b(?:moet|dient|eerst|door)\b{_BETWEEN}"),
            ("pt", rf"{_BETWEEN}\b(?:para|e)\b{_BETWEEN}", rf"{_BETWEEN}(?:,|\b(?:deve|precisa|é necessário)\b){_BETWEEN}"),
            ("pl", rf"{_BETWEEN}\b(?:aby|żeby|i)\b{_BETWEEN}", rf"{_BETWEEN}(?:,|\b(?:musisz|należy|trzeba)\b){_BETWEEN}"),
            ("sv", rf"{_BETWEEN}\b(?:för att|och)\b{_BETWEEN}", rf"{_BETWEEN}\b(?:måste|behöver|genom)\b{_BETWEEN}"),
            ("hi", _BETWEEN, rf"{_BETWEEN}(?:के लिए|ke liye)[^.!?|·•\n<>]{{0,20}}?"),
        )
    )
)  # fmt: skip
"""The reader is told to log in for it, in lower case."""

AND_THERE = re.compile(
    r"[^.!?;|·•\n<>]{0,60}?(?:https?://[^\s<>]{1,300})?[^.!?;|·•\n<>]{0,20}? (?:and|und|et|y|e|en|i|och) [^.!?;,|·•\n<>]{0,40}?"
    r"\b(?:preferences?|settings|subscriptions?|einstellungen|préférences|abonnements|preferencias|preferenze|voorkeuren"
    r"|preferências|preferencj\w*|ustawieni\w*|inställningar)"
)
"""What is then to be done there, behind LOGIN: `to your account at https://... and change your preferences`."""

LOGIN_ROOTS = ("log", "sign", "meld", "connect", "identifi", "sesi", "sess", "acce", "aces", "conéct", "entr", "लॉग")
"""One of these stands in every text that has one of the following."""
LOGIN_STEMS = (
    "log in", "login", "log-in", "logging in", "logged in", "log into", "logge", "einlog", "einzulog", "eingelogg", "inlog", "in te log",
    "ingelogd", "log je ", "log u ", "zalog", "logga ", "loggar in", "sign in", "sign-in", "signin", "signing in", "sign into", "signed in", "melden sie sich",
    "melde dich", "angemeldet sein", "connecte", "connecté", "identifie", "sesión", "sessão", "conéct", "entre en", "entra en", "entrar en",
    "acceda a", "accede a", "acceder a", "accedi a", "accedere a", "accesso", "entre na", "entre em", "acesse", "acessar", "लॉग",
)  # fmt: skip
"""One of these stands in every text that LOGIN finds."""
