# ruff: noqa: E501 - one footer a line
"""Footers as campaigns have them, in ten languages: the way out and the postal address are found, in HTML and plain text."""

import pytest
from relay.checks import opt_out, postal_address, unsubscribe_link, unsubscribe_visible
from relay.checks.contact_method import reachable
from relay.message.html import Reader, View, urls

LINK = "https://click.example/8a7f"

# language: (footer in plain text, where {link} is the address; the same as HTML)
FOOTERS = {
    "en": [
        ("You are receiving this because you signed up at acme.example.\nDon't want these e-mails any more? Unsubscribe here: {link}\nAcme Ltd, Unit 4, 12 Mill Lane, Leeds LS1 4AP",
         '<p>Want to change how you receive these emails?<br>You can <a href="{link}">update your preferences</a> or <a href="{link}">unsubscribe from this list</a>.</p><p>Acme Inc &middot; 548 Market St #35410 &middot; San Francisco, CA 94104 &middot; USA</p>'),
        ("If you'd prefer not to get these, use this page: {link}\nAcme, One Mill Way, Redmond, WA 98052", '<td>No longer interested? <a href="{link}">Click here</a> and we will take you off our list.</td><td>Level 3, 100 George Street, Sydney NSW 2000</td>'),
        ("To opt out of further mail visit {link}\n\nAcme Ltd, 5 Harbour Row, Dublin D02 AF30", '<a href="{link}">Opt out</a> | Acme, 200 Bay Street, Toronto, ON M5J 2J2'),
    ],
    "de": [
        ("Sie erhalten diese E-Mail, weil Sie sich auf acme.example angemeldet haben.\nKeine Lust mehr? Hier können Sie sich abmelden: {link}\nAcme GmbH, Hauptstraße 5, 80331 München", '<p>Wenn Sie unseren Newsletter nicht mehr erhalten möchten, klicken Sie bitte <a href="{link}">hier</a>.</p><p>Acme GmbH<br>Am Alten Graben 7<br>D-50667 Köln</p>'),
        ("Newsletter abbestellen: {link}\nAcme AG, Bahnhofplatz 3, 8001 Zürich", '<a href="{link}">Vom Verteiler abmelden</a><br>Acme GmbH, Mariahilfer Str. 10, 1070 Wien'),
        ("Sie möchten nicht mehr angeschrieben werden? Nehmen Sie sich aus dem Verteiler: {link}\nAcme KG, Postfach 12 34, 20095 Hamburg", '<a href="{link}">Newsletter-Einstellungen</a> <p>Acme GmbH, Kaiserdamm 14, 14057 Berlin</p>'),
    ],
    "fr": [
        ("Vous recevez ce message car vous êtes inscrit à notre lettre.\nPour vous désabonner : {link}\nAcme SAS, 12 rue de Rivoli, 75001 Paris", '<p>Si vous ne souhaitez plus recevoir nos e-mails, <a href="{link}">cliquez ici</a>.</p><p>Acme SARL &ndash; 3 bis, impasse des Lilas &ndash; 69003 Lyon</p>'),
        ("Se désinscrire de la liste : {link}\nAcme, BP 123, 92100 Boulogne Cedex", '<a href="{link}">Modifier vos préférences</a> ou <a href="{link}">annuler votre abonnement</a><br>Acme, 45 allée des Tilleuls, 1000 Bruxelles'),
    ],
    "es": [
        ("Has recibido este correo porque te suscribiste.\nSi quieres darte de baja, entra en {link}\nAcme S.L., Calle Mayor 5, 28013 Madrid", '<p>¿Ya no deseas recibir nuestros correos? <a href="{link}">Haz clic aquí</a></p><p>Acme, C/ Aragó, 210, 08007 Barcelona</p>'),
        ("Cancelar suscripción: {link}\nAcme S.A. de C.V., Avenida Reforma 222, 06600 Ciudad de México", '<a href="{link}">Gestiona tus preferencias</a> · Polígono Industrial Norte, nave 4, 46980 Paterna'),
    ],
    "it": [
        ("Ricevi questa e-mail perché ti sei iscritto.\nPer cancellarti: {link}\nAcme S.r.l., Via Roma 1, 20121 Milano (MI)", '<p>Se non vuoi più ricevere le nostre email <a href="{link}">clicca qui</a>.</p><p>Acme SpA, Viale Europa 33, 00144 Roma</p>'),
        ("Gestisci le tue preferenze: {link}\nAcme, Piazza Duomo 3, 50122 Firenze", '<a href="{link}">Disiscriviti</a> | Strada Statale 10, 15121 Alessandria'),
    ],
    "nl": [
        ("Je ontvangt deze mail omdat je klant bent.\nUitschrijven: {link}\nAcme BV, Kerkstraat 12, 1017 GC Amsterdam", '<p>Wil je deze nieuwsbrief niet meer ontvangen? <a href="{link}">Klik hier</a>.</p><p>Acme BV, Singel 250, 1016AB Amsterdam</p>'),
        ("Liever geen mail meer? Meld je af via {link}\nAcme, Postbus 100, 3500 AC Utrecht", '<a href="{link}">Voorkeuren wijzigen</a> of <a href="{link}">afmelden</a><br>Meir 24, 2000 Antwerpen, Kerkstraat'),
    ],
    "pt": [
        ("Recebe este e-mail porque subscreveu a nossa newsletter.\nPara cancelar a subscrição: {link}\nAcme Lda, Avenida da Liberdade 110, 1250-146 Lisboa", '<p>Não quer mais receber nossos e-mails? <a href="{link}">Clique aqui</a>.</p><p>Acme Ltda, Rua Augusta 1500, 01305-100 São Paulo</p>'),
        ("Descadastre-se: {link}\nAcme, Rodovia BR-101 km 12, 88010-400 Florianópolis", '<a href="{link}">Gerenciar preferências</a> | Praça da República 5, 4050-497 Porto'),
    ],
    "pl": [
        ("Otrzymujesz tę wiadomość, ponieważ zapisałeś się na newsletter.\nAby się wypisać, kliknij: {link}\nAcme sp. z o.o., ul. Długa 5, 00-238 Warszawa", '<p>Nie chcesz już otrzymywać naszych wiadomości? <a href="{link}">Kliknij tutaj</a>.</p><p>Acme S.A., al. Jana Pawła II 22, 00-133 Warszawa</p>'),
        ("Zrezygnuj z subskrypcji: {link}\nAcme, os. Słoneczne 4, 31-958 Kraków", '<a href="{link}">Wypisz się</a> · Acme, pl. Wolności 1, 90-007 Łódź'),
    ],
    "sv": [
        ("Du får det här mejlet för att du är kund hos oss.\nAvregistrera dig: {link}\nAcme AB, Storgatan 5, 411 24 Göteborg", '<p>Vill du inte längre få våra utskick? <a href="{link}">Klicka här</a>.</p><p>Acme AB, Sveavägen 44, 111 34 Stockholm</p>'),
        ("Avsluta prenumerationen: {link}\nAcme AB, Box 123, 111 21 Stockholm", '<a href="{link}">Hantera dina inställningar</a> · Acme AB, Södra Torget 2, 503 30 Borås'),
    ],
    "hi": [
        ("आपको यह ईमेल इसलिए मिला क्योंकि आपने साइन अप किया था।\nसदस्यता समाप्त करें: {link}\nएक्मे प्रा. लि., 42 एमजी रोड, बेंगलुरु 560001", '<p>यदि आप हमारे ईमेल प्राप्त नहीं करना चाहते, तो <a href="{link}">यहाँ क्लिक करें</a>।</p><p>एक्मे, १२ नेहरू मार्ग, नई दिल्ली ११०००१</p>'),
        ("Aap yeh email isliye pa rahe hain kyonki aapne sign up kiya tha.\nEmails band karne ke liye: {link}\nAcme Pvt Ltd, 42 MG Road, Bengaluru 560001", '<p>Yeh email nahi chahte? <a href="{link}">Yahan click karein</a> aur list se hat jaayein.</p><p>Acme, Plot 12, Sector 44, Gurugram 122003</p>'),
    ],
}  # fmt: skip

PLAIN = [(language, one) for language, some in FOOTERS.items() for one, _ in some]
HTML = [(language, one) for language, some in FOOTERS.items() for _, one in some]


def plain(text: str) -> View:
    return View("plain", text, urls(text))


def page(source: str) -> View:
    reader = Reader()
    reader.html("<!DOCTYPE html><html><body><h1>News</h1><p>Lorem ipsum.</p>" + source, None)
    (view,) = reader.visible().views
    return view


@pytest.mark.parametrize(("language", "footer"), PLAIN)
def test_plain_footers(language, footer):
    view = plain("Lorem ipsum dolor.\n\n" + footer.replace("{link}", LINK))
    assert unsubscribe_link.has_opt_out(view)
    assert postal_address.looks_like_one(view.text)
    assert unsubscribe_visible._look(view, unsubscribe_visible.Settings()) is None


@pytest.mark.parametrize(("language", "footer"), HTML)
def test_html_footers(language, footer):
    view = page(footer.replace("{link}", LINK))
    assert unsubscribe_link.has_opt_out(view)
    assert postal_address.looks_like_one(view.text)
    assert unsubscribe_visible._look(view, unsubscribe_visible.Settings()) is None


@pytest.mark.parametrize(("language", "footer"), PLAIN)
def test_the_same_footers_without_the_link_have_no_way_out(language, footer):
    footer = footer.replace("{link}", "").replace("entra en", "").replace("acme.example", "acme")
    assert not unsubscribe_link.has_opt_out(plain("Lorem ipsum dolor.\n\n" + footer))


NEEDS_LOGIN = [
    'To unsubscribe, <a href="{link}">log in to your account</a> and change your settings.',
    '<a href="{link}">Log in to manage your email preferences</a>',
    "Please <a href='{link}'>sign in</a> to unsubscribe.",
    'You can <a href="{link}">change your email settings</a> after logging in.',
    "You must be logged in to <a href='{link}'>unsubscribe</a>.",
    'Um sich abzumelden, loggen Sie sich bitte in <a href="{link}">Ihr Konto</a> ein.',
    '<a href="{link}">Melden Sie sich in Ihrem Konto an, um den Newsletter abzubestellen</a>',
    'Connectez-vous à <a href="{link}">votre compte</a> pour vous désabonner.',
    'Inicie sesión en <a href="{link}">su cuenta</a> para darse de baja.',
    'Accedi al <a href="{link}">tuo account</a> per cancellarti dalla newsletter.',
    'Log in op <a href="{link}">je account</a> om je uit te schrijven.',
    'Faça login <a href="{link}">na sua conta</a> para cancelar a inscrição.',
    'Zaloguj się <a href="{link}">na swoje konto</a>, aby wypisać się z listy.',
    'Logga in på <a href="{link}">ditt konto</a> för att avregistrera dig.',
    'सदस्यता समाप्त करने के लिए <a href="{link}">लॉग इन करें</a>',
]  # fmt: skip
NEEDS_NONE = [
    '<a href="{link}">Log in</a> | <a href="{link}">Help</a> | <a href="{link}">Unsubscribe</a>',
    'You get this because you signed in to our shop. <a href="{link}">Unsubscribe</a>',
    'Log in to manage your settings, or <a href="{link}">unsubscribe here</a> with one click.',
    'Log in to manage your account.  To unsubscribe <a href="{link}">click here</a>.',
    'To unsubscribe you need no login: <a href="{link}">unsubscribe</a>.',
    '<a href="{link}">Sign in</a> to see your points! Reply STOP to opt out.',
    'Sie sind auf acme.example angemeldet. <a href="{link}">Abmelden</a>',
    '<a href="{link}">Anmelden</a> · <a href="{link}">Abmelden</a>',
    'Connectez-vous pour voir vos points. <a href="{link}">Se désabonner</a>',
]  # fmt: skip


@pytest.mark.parametrize("footer", NEEDS_LOGIN)
def test_a_way_out_behind_a_login(footer):
    view = page("<p>" + footer.replace("{link}", LINK) + "</p>")
    assert unsubscribe_visible._look(view, unsubscribe_visible.Settings())[0] == "login"
    assert unsubscribe_visible._look(view, unsubscribe_visible.Settings(login=False)) is None


@pytest.mark.parametrize("footer", NEEDS_NONE)
def test_a_way_out_that_needs_no_login(footer):
    view = page("<p>" + footer.replace("{link}", LINK) + "</p>")
    assert unsubscribe_visible._look(view, unsubscribe_visible.Settings()) is None


@pytest.mark.parametrize("footer", NEEDS_LOGIN)
def test_each_wording_of_a_login_has_its_stem(footer):
    text = page(footer).lower
    assert opt_out.LOGIN.search(text)
    assert any(stem in text for stem in opt_out.LOGIN_STEMS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Acme, 1 Main Street", False),
        ("Call +1 555 010 0199", True),
        ("Tel. 089/123456-0", True),
        ("T: (020) 7946 0018", True),
        ("0800 123 4567", True),
        ("ann@acme.example", True),
        ("acme.com", True),
        ("visit www.acme.example", True),
        ("फ़ोन: 080-12345678", True),
        ("Unsubscribe: https://x.example/unsubscribe/1", False),
        ("Unsubscribe: leave@acme.example\nmailto:leave@acme.example?subject=unsubscribe", False),
        ("1 Main Street, Springfield, IL 62701-1234", False),
        ("Order 62701 of 2026-11-21 for 1.299,00 EUR", False),
        ("e.g. this, i.e. that", False),
    ],
)
def test_contact_methods(text, found):
    assert reachable(plain(text)) == found


def test_the_link_to_unsubscribe_is_no_contact_and_another_one_is():
    assert not reachable(page('<a href="https://x.example/u">Unsubscribe</a>'))
    assert reachable(page('<a href="https://x.example/u">Unsubscribe</a> <a href="https://x.example">Acme</a>'))
    assert reachable(page('<a href="tel:+15550100199">Call us</a>'))
    assert not reachable(page('<a href="#top">Top</a>'))
