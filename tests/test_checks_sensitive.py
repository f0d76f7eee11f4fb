# ruff: noqa: E501 - one case a line
"""What a message says of people: health, payment and special data, abuse, prohibited content - shown both ways."""

import asyncio
import inspect
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from relay import replies
from relay.address import parse
from relay.checks import CHECKS, SHOWN, abusive_language, payment_data, phi, prohibited_content, special_data
from relay.message import Message
from relay.model import Consent, Envelope, Evidence, Mail, Recipient, RecipientFacts, Session, Tenant, Then
from relay.phrases import Phrases
from relay.ports import Tools

MESSAGES = Path(__file__).parent / "messages"
PHRASES = Phrases()
ACME = Tenant("acme", "leadnest")
EXPLICIT = RecipientFacts(consents=(Consent("explicit", "all", 0.0),))
OPTED_IN = RecipientFacts(consents=(Consent("double-opt-in", "all", 0.0),))
CLINIC = Tenant("clinic", "leadnest", agreements={"hipaa": 2000.0})
NOW = 1000.0


def tools(*, tls: bool = True) -> Tools:
    return Tools(None, None, None, phrases=PHRASES, encrypted=lambda tenant: tls)  # type: ignore[arg-type]


def mail(
    text: str,
    *,
    tenant: Tenant = ACME,
    facts: tuple[RecipientFacts | None, ...] = (None,),
    subject: str = "Hello",
    html: bool = False,
) -> Mail:
    made = EmailMessage()
    made["From"] = "ann@acme.example"
    made["Subject"] = subject
    made.set_content(text)
    if html:
        made.add_alternative(f"<html><body><p>{text}</p></body></html>", subtype="html")
    return raw(made.as_bytes().replace(b"\n", b"\r\n"), tenant, facts)


def raw(octets: bytes, tenant: Tenant = ACME, facts: tuple[RecipientFacts | None, ...] = (None,)) -> Mail:
    envelope = Envelope("ref", 0.0, tenant, "marketing", parse("ann@acme.example"))
    envelope.recipients = [Recipient(parse(f"r{i}@x.example"), facts=one) for i, one in enumerate(facts)]
    return Mail(NOW, Session("0", "192.0.2.1", "l"), envelope, message=Message.parse(octets))


def run(module, it: Mail, its_tools: Tools | None = None, **settings) -> Evidence | None:
    found = module.run(it, module.CHECK.settings(**settings), its_tools or tools())
    return asyncio.run(found) if inspect.iscoroutine(found) else found


MINE = (phi, payment_data, special_data, abusive_language, prohibited_content)


@pytest.mark.parametrize("module", MINE, ids=lambda module: module.CHECK.name)
@pytest.mark.parametrize("name", sorted(path.name for path in MESSAGES.glob("*.eml")))
def test_ordinary_mail_passes(module, name):
    assert module.CHECK in CHECKS
    assert run(module, raw((MESSAGES / name).read_bytes())) is None


@pytest.mark.parametrize("module", MINE, ids=lambda module: module.CHECK.name)
@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\r\n",
        b"\x00",
        b"Content-Type: text/plain; charset=no-such\r\n\r\n\xff\xfe card 4111",
        b"Content-Type: text/html; charset=utf-7\r\nContent-Type: text/plain\r\n\r\n<p>\xed\xa0\x80 SSN: 1",
        b"Subject: =?utf-8?b?////?=\r\n\r\n" + b"\xed\xa0\x80" * 100,
        b"Content-Type: text/plain; charset=utf-16\r\n\r\n\xd8\x00\xd8\x00k\x00i",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n\r\n\u202ekill\u202c you \u2066".encode(),
    ],
    ids=range(9),
)
def test_no_message_is_too_odd_to_be_looked_at(module, octets):
    found = run(module, raw(octets))
    assert found is None or isinstance(found, Evidence)


# -- phi -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "MRN: 00482913. Your biopsy results: carcinoma, see your treatment plan.",
        "Patient: John Roe, DOB: 02/29/1980. Diagnosis: E11.9, metformin 500 mg daily.",
        "SSN 123-45-6789, prescribed sertraline for depression.",
        "Medicare number 1EG4-TE5-MK73: your HIV viral load and next appointment with Dr. Poe",
        "Member ID: 12345678, NPI 1234567893: refill of lisinopril for hypertension",
        "Fecha de nacimiento: 03/04/1970. Diagnóstico: diabetes, resultados de laboratorio adjuntos.",
    ],
)
def test_health_data_of_a_person(text):
    found = run(phi, mail(text))
    assert found is not None and found.seen["lacks"] == "the agreement hipaa"
    assert not any(number in str(found.seen) for number in ("00482913", "6789", "12345678", "TE5"))
    assert run(phi, mail(text, html=True)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "Our clinic's newsletter: diabetes, hypertension and cancer screening; ask your physician about metformin.",
        "Member ID: 12345678. Your class starts on Monday.",
        "Member ID: 12345678. Eat well with diabetes: our recipes, by a physician.",
        "Dr. Poe, NPI 1234567893, cardiology: we treat hypertension and heart failure, biopsy and surgery.",
        "DOB: 02/29/1980. Happy birthday!",
        "Vitamin B12 and A4 paper, rooms E10 to E12, born on the 4th of July",
    ],
)
def test_either_alone_is_no_health_data_of_a_person(text):
    assert run(phi, mail(text)) is None


@pytest.mark.parametrize(
    ("subject", "text", "wrong"),
    [
        ("MRN 00482913: your biopsy results, carcinoma", "Please call us.", True),
        ("Patient MRN 00482913", "Your biopsy results: carcinoma, see your treatment plan.", True),
        ("Your biopsy results: carcinoma", "MRN: 00482913.", True),
        ("DOB 02/29/1980, diagnosis E11.9, E11.65", "Please call us.", True),
        (
            "Order 00482913 was sent",
            "Our newsletter: diabetes, hypertension; ask your physician about metformin.",
            False,
        ),
        ("Member ID: 12345678", "Your class starts on Monday.", False),
        ("Happy birthday, 02/29/1980", "Eat well with diabetes: our recipes, by a physician.", False),
    ],
)
def test_the_subject_counts_as_the_text_does(subject, text, wrong):
    assert (run(phi, mail(text, subject=subject)) is not None) is wrong


def test_health_data_passes_with_the_agreement_over_tls():
    text = "MRN: 00482913. Your biopsy results: carcinoma."
    assert run(phi, mail(text, tenant=CLINIC)) is None
    assert run(phi, mail(text, tenant=CLINIC), tools(tls=False)).seen["lacks"] == "TLS to the next hop"
    assert run(phi, mail(text), tools(tls=False)).seen["lacks"] == "the agreement hipaa and TLS to the next hop"
    over = replace(CLINIC, agreements={"hipaa": NOW - 1})
    assert run(phi, mail(text, tenant=over)).seen["lacks"] == "the agreement hipaa"
    assert run(phi, mail(text, tenant=replace(CLINIC, agreements={"hipaa": None}))) is None


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("cancer", 2),  # in English and in Spanish
        ("cancer, diabetes, hospital", 5),
        ("Paciente con diagnóstico de cáncer, receta médica: metformin", 10),  # names of drugs belong to no language
    ],
)
def test_a_health_term_of_two_languages_counts_once(text, score):
    it = mail(f"MRN: 00482913. {text}.")
    assert run(phi, it, terms=score) is not None and run(phi, it, terms=score + 1) is None


def test_how_much_is_health_data_is_a_setting():
    text = "Member ID: 12345678. Your biopsy results: carcinoma."
    assert run(phi, mail(text)) is None and run(phi, mail(text), identifying=1) is not None
    text = "MRN: 00482913. See your physician."
    assert run(phi, mail(text)) is None and run(phi, mail(text), terms=1) is not None


# -- payment-data -------------------------------------------------------------------------------
def test_payment_data_is_found_and_the_number_is_not_kept():
    found = run(payment_data, mail("Your card 4929 1234 5670 0111\nand SSN: 123-45-6789", html=True))
    assert found.seen == {"found": "card ..11, us-ssn ..89", "count": 2, "lacks": "explicit consent of every recipient"}
    assert run(payment_data, mail("Nothing here, order 4929123456700111")) is None


def test_payment_data_in_the_subject():
    found = run(payment_data, mail("Hello", subject="Your card 4929 1234 5670 0111"))
    assert found.seen == {"found": "card ..11", "count": 1, "lacks": "explicit consent of every recipient"}
    assert (
        run(payment_data, mail("Your card 4929 1234 5670 0111", subject="Card 4929-1234-5670-0111")).seen["count"] == 1
    )
    for subject in (
        "Your order 4929 1234 5670 0111", "Your card ending in 0111", "Call +44 20 7946 0958 1234", "Offers of 2026", "Invoice 4929123456700111",
        "Pay with test card 4242 4242 4242 4242",
    ):  # fmt: skip
        assert run(payment_data, mail("Hello", subject=subject)) is None


def test_payment_data_in_the_cells_of_a_table():
    it = mail(
        "</p><p>Your card number</p><table><tr><td>4929</td><td>1234</td><td>5670</td><td>0111</td></tr></table><p>",
        html=True,
    )
    assert run(payment_data, it).seen["found"] == "card ..11"
    it = mail(
        "</p><p>Units</p><table><tr><td>4929</td><td>1234</td><td>5670</td><td>0111</td></tr></table><p>", html=True
    )
    assert run(payment_data, it) is None


def test_kinds_and_number_are_settings():
    text = "SSN: 123-45-6789"
    assert run(payment_data, mail(text), kinds=("card",)) is None
    assert run(payment_data, mail(text), least=2) is None
    assert run(payment_data, mail("MRN: 00482913, DOB: 02/29/1980")) is None  # phi's


@pytest.mark.parametrize("module", [payment_data, special_data], ids=lambda module: module.CHECK.name)
def test_explicit_consent_of_everybody_over_tls_lets_it_pass(module):
    text = "Your card 4929 1234 5670 0111 and your HIV test results are here"
    assert run(module, mail(text, facts=(EXPLICIT, EXPLICIT))) is None
    for facts in ((EXPLICIT, OPTED_IN), (None,), (), (RecipientFacts(),)):
        assert run(module, mail(text, facts=facts)).seen["lacks"] == "explicit consent of every recipient"
    for spoilt in (Consent("explicit", "all", 0.0, withdrawn=5.0), Consent("explicit", "all", 0.0, until=NOW - 1)):
        assert run(module, mail(text, facts=(RecipientFacts(consents=(spoilt,)),))) is not None
    found = run(module, mail(text, facts=(EXPLICIT,)), tools(tls=False))
    assert found.seen["lacks"] == "TLS to the next hop"


# -- special-data ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("Dear Ann, your HIV test result is ready", "health"),
        ("Your blood test results show that all is well", "health"),
        ("Your test results from the clinic are ready", "health"),
        ("Your test results show an infection", "health"),
        ("Ihr Befund liegt in unserer Praxis", "health"),
        ("Vos résultats d'analyse de sang sont disponibles", "health"),
        ("Because you have diabetes, we picked these", "health"),
        ("You were recently diagnosed with depression", "health"),
        ("Since you are gay, you will like this", "sex-life"),
        ("Because you are a Muslim, we thought of Ramadan", "religion"),
        ("Because of your asthma book your appointment now", "health"),
        ("We write about your diabetes medication", "health"),
        ("Since you are Catholic, church tax is due", "religion"),
        ("Because you are a gay man we wrote to you", "sex-life"),
        ("Wegen Ihrer Depression und Ihrer Forschung", "health"),
        ("As a Labour Party member you will have voted", "politics"),
        ("Your political views are on file", "politics"),
        ("As a trade union member you get ten percent", "union"),
        ("Because you are Latino, read this", "ethnic-origin"),
        ("Your fingerprint scan has been stored", "biometric"),
        ("Your DNA results show a match", "biometric"),
        ("Wegen Ihrer Depression schreiben wir Ihnen", "health"),
        ("Ihr HIV-Test ist negativ", "health"),
        ("Votre orientation sexuelle nous est connue", "sex-life"),
        ("Debido a su discapacidad le escribimos", "health"),
        ("La sua iscrizione al sindacato è scaduta", "union"),
        ("Wegens uw ziekte schrijven wij u", "health"),
        ("Sua opinião política está registrada", "politics"),
        ("Twoje poglądy polityczne są nam znane", "politics"),
        ("Dina politiska åsikter är kända", "politics"),
        ("आपकी एचआईवी टेस्ट रिपोर्ट तैयार है", "health"),
    ],
)
def test_an_assertion_about_the_reader(text, category):
    found = run(special_data, mail(text))
    assert found is not None and category in found.seen["categories"]
    assert "HIV" not in str(found.seen)


@pytest.mark.parametrize(
    "text",
    [
        "This week in politics: Labour and the Conservatives clash over the union bill",
        "Living with diabetes: five recipes, and news of cancer research",
        "Know your HIV status: free tests at our clinic on Friday",
        "If you have been diagnosed with depression, call us",
        "The church bazaar: Christian and Muslim families bake together",
        "We never discriminate on the basis of your race, religion or sexual orientation",
        "Unlock your phone with a fingerprint",
        "Pride month: stories of gay and lesbian founders",
        "Trade union law: a webinar for employers",
        "Register for your race on Sunday",
        "Unabhängig von Ihrer Herkunft: bewerben Sie sich",
        "Your test results are ready in the portal.",
        "Ihr Testergebnis ist da: Website-Check",
        "Ihr Befund liegt vor",
        "Vos résultats d'analyse sont disponibles",
        # Of what an organisation is, has or does.
        "I read about your cancer research at the university",
        "I'm writing about your diabetes programme",
        "Regarding your HIV clinic in Leeds: rapid tests",
        "Given your ADHD coaching business, you may need a booking tool",
        "More about your dementia care homes, please",
        "Concerning your epilepsy device portfolio, we make parts",
        "Your cancer diagnosis platform impressed us",
        "Your HIV test results reporting system needs an interface",
        "Because of your depression-era building you need insulation",
        "Since you are a Christian charity, you pay half",
        "Because you are a Catholic school, you need DBS checks",
        "Since you are a gay-owned bar, list with us",
        "Since you are a Latino family business, join us",
        "Because you are a Labour Party office you pay less",
        "Your sexual orientation policy, as a template for HR",
        "Wegen Ihrer Diabetes-Forschung melde ich mich",
        "Ihre Krebs-Diagnose-Software hat uns beeindruckt",
    ],
)
def test_a_topic_is_no_assertion(text):
    assert run(special_data, mail(text)) is None


# -- abusive-language ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Pay or I will kill you.", "en"),
        ("I'm going to break your legs", "en"),
        ("You all deserve to die", "en"),
        ("Death to all Muslims!", "en"),
        ("Fuck you, you are a worthless piece of trash, nobody likes you", "en"),
        ("I will shoot you. We will murder your kids", "en"),
        ("I'll kill you. Reply with the money.", "en"),
        ("We will shoot your family over this", "en"),
        ("I will beat you to death", "en"),
        ("Ich bringe dich um", "de"),
        ("Wir bringen Sie um! Uhr abgelaufen", "de"),
        ("Je vais te tuer", "fr"),
        ("Te voy a matar", "es"),
        ("Te voy a matar de un tiro", "es"),
        ("Ti ammazzo", "it"),
        ("Ti uccido con le mie mani", "it"),
        ("Ik ga je vermoorden", "nl"),
        ("Vou matar você", "pt"),
        ("Zabiję cię", "pl"),
        ("Jag ska döda dig", "sv"),
        ("Main tujhe jaan se maar dunga", "hi"),
        ("I w\u200bill k\u200bill you", "en"),
        ("I wіll kіll you", "en"),
    ],
)
def test_threats_and_slurs_are_held(text, language):
    found = run(abusive_language, mail(text))
    assert found is not None and found.seen["language"] == language
    assert found.seen["score"] >= found.seen["threshold"] == 10
    assert abusive_language.CHECK.then is Then.HOLD
    assert run(abusive_language, mail("Nothing", subject=text)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "This deal is damn good, stupid cheap, no bullshit",
        "Killer prices! Our offers will slay. Murder mystery dinner on Friday",
        "Don't be an idiot like me: read the manual",
        "The court heard that he had told her: I will kill you. He was sentenced to six years.",
        "If you are being threatened, call our helpline: somebody said I will hurt you? Tell us.",
        "Support ticket 5: the process dies, kill the parent and its children",
        "A chink in the armour; spic and span",
        "Fireworks: die Rakete, mit Stern",
        "Flame retardant fabrics",
        "New thriller: 'I Know Where You Live', a novel of a stalker; the film is out",
        "Skin care that kills bacteria, and you will love it",
        "I'll shoot you an email with two dates.",
        "We will shoot you the link, and I'm going to shoot you over a quick video",
        "We will beat you any quote by 10%",
        "We'll beat you to it",
        "We will kill you with kindness",
        "Wir bringen Sie um 9 Uhr mit dem Shuttle zur Messe",
        "Ich bringe Sie um 14:30 Uhr auf den neuesten Stand; wir bringen euch um acht zurück",
        "Te voy a matar de risa",
        "On va vous tuer de rire avec ce spectacle",
        "Ti uccido con la gentilezza",
    ],
)
def test_mild_words_news_and_advice_pass(text):
    assert run(abusive_language, mail(text)) is None


def test_categories_languages_and_threshold_are_settings():
    text = "Ich bringe dich um"
    assert run(abusive_language, mail(text), categories=("insult",)) is None
    assert run(abusive_language, mail(text), languages=("en",)) is None
    assert run(abusive_language, mail(text), threshold=15) is None
    assert run(abusive_language, mail("This is stupid"), threshold=1) is not None


# -- prohibited-content ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "category"),
    [
        (
            "Dear Beneficiary, I am barrister Poe. My late client died with his entire family; I seek to present you"
            " as the next of kin to the deceased. The sum of 10.5 million US dollars will be transferred into your account.",
            "advance-fee",
        ),
        (
            "Dear customer, your account has been suspended. Verify your account information within 24 hours."
            " Failure to comply will close it. Click here to restore your access.",
            "phishing",
        ),
        (
            "I installed malware on your device and I recorded you. Send $900 in bitcoin to my wallet, or I will send"
            " the video to all your contacts.",
            "extortion",
        ),
        ("Send 0.1 BTC and receive double back! Official Ethereum giveaway", "crypto-scam"),
        ("Send 0.1 BTC and we send 0.2 BTC back", "crypto-scam"),
        ("Buy real passports online", "fraud"),
        ("We sell you stolen credit cards", "fraud"),
        ("Cloned cards for sale", "fraud"),
        ("Young girls nude", "child-abuse"),
        ("Little boys in sex videos", "child-abuse"),
        ("I need you to buy some gift cards, scratch them and send me the codes", "fraud"),
        (
            "Your email address has won 1,500,000 USD in our draw. Contact the claims agent today.",
            "advance-fee",
        ),
        ("Replica Rolex, AAA quality watches", "counterfeit"),
        ("Buy Glock guns online, no background check, discreet shipping", "weapons"),
        ("Buy Xanax online, no prescription needed", "drugs"),
        ("Play at our online casino: 100 free spins, no deposit bonus", "gambling"),
        ("cp links for sale", "child-abuse"),
        ("Ihr Konto wurde gesperrt. Bestätigen Sie Ihre Daten innerhalb von 24 Stunden.", "phishing"),
        ("Viagra ohne Rezept kaufen: Potenzmittel günstig, rezeptfrei bestellen", "drugs"),
        ("Votre compte a été suspendu. Confirmez vos informations bancaires sous 24 heures.", "phishing"),
        ("Su cuenta ha sido bloqueada. Verifique sus datos en 24 horas.", "phishing"),
        ("Casinò online: giri gratis e bonus di benvenuto, slot machine", "gambling"),
        ("Uw account is geblokkeerd. Bevestig uw gegevens binnen 24 uur.", "phishing"),
        ("Sua conta foi bloqueada. Atualize seus dados em 24 horas.", "phishing"),
        ("Twoje konto zostało zablokowane. Potwierdź swoje dane w ciągu 24 godzin.", "phishing"),
        ("Ditt konto har spärrats. Bekräfta dina uppgifter inom 24 timmar.", "phishing"),
        ("Ditt konto har spärrats. Bekräfta ditt lösenord inom 24 timmar.", "phishing"),
    ],
)
def test_what_is_typical_of_prohibited_content_is_held(text, category):
    found = run(prohibited_content, mail(text))
    assert found is not None and found.seen["category"] == category
    assert prohibited_content.CHECK.then is Then.HOLD
    assert category + "/" in found.seen["phrases"]


@pytest.mark.parametrize(
    "text",
    [
        "Please confirm your email address by clicking the link within 24 hours.",
        "Your account has been created. Update your billing information any time.",
        "How to spot a phishing mail: 'Your account has been suspended, verify your account within 24 hours, or it will"
        " be closed'. We will never ask for your password.",
        "Police said on Monday that fake passports and counterfeit banknotes were found",
        "Help us fight child sexual abuse: report CSAM to the Internet Watch Foundation",
        "Our pharmacy blog: xanax, tramadol and what to ask your doctor",
        "Bitcoin fell by 5 % this week; our analysts explain",
        "The raffle winner will be told by mail",
        "Casino Royale is back in cinemas",
        "Gun violence: what the new laws change",
        "Warnung: So erkennen Sie Phishing. 'Ihr Konto wurde gesperrt' schreibt keine Bank.",
        "Your payment could not be processed. Update your payment method to keep your subscription.",
        "For online casino operators: our tool finds bonus abuse, free spins and no deposit bonus fraud included",
        "Für Online-Casinos: Einsatzlimits, Freispiele und Willkommensbonus im Griff",
        "Buy gift cards in bulk for your team; we send the codes by email",
        "Please buy your gift cards early: scratch cards with codes sell out",
        "Our client has won 3 million euros of new contracts",
        "Send USDT to suppliers and get your bitcoin invoices reconciled",
        "Visa services: get your passport renewed in five days, without a queue",
        "Buy passport covers wholesale; driving licence checks by API",
        "Chargebacks from stolen cards cost shops one percent of their revenue",
        "Stolen credit cards are tested in small shops first",
        "Dark web monitoring: we tell you when your cards stand in a CVV shop",
        "Children's ballet tights in nude, black and white",
        "Kids' nude-tone leggings for dance schools",
        "Get 20% off watches, free delivery, order online within 48 hours",
        "We protect luxury brands from counterfeits: fake Louis Vuitton bags and replica watches vanish from marketplaces",
    ],
)
def test_ordinary_notices_news_and_advice_pass(text):
    found = run(prohibited_content, mail(text))
    assert found is None, found.seen


def test_categories_do_not_add_up_and_have_thresholds_of_their_own():
    text = "Western Union. Free spins!"
    assert run(prohibited_content, mail(text)) is None
    assert run(prohibited_content, mail(text), thresholds={"gambling": 5}).seen["category"] == "gambling"
    assert run(prohibited_content, mail(text), thresholds={"gambling": 5}, categories=("advance-fee",)) is None


# -- the words on the wire ---------------------------------------------------------------------------------
def test_replies_are_of_the_message_and_never_blame_the_recipient():
    for module in MINE:
        assert str(module.CHECK.reply).startswith("554 5.7.0 ")
    assert SHOWN["copy-across-tenants"] == "review"
    assert "tenant" not in replies.NEEDS_REVIEW.text
