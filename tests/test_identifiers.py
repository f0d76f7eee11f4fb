"""Numbers of people and of their money in text, told from order numbers, tracking ids and letterheads."""

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay.checks import identifiers
from relay.checks.identifiers import in_text, is_card, is_iban, luhn, verhoeff


def kinds(text: str) -> list[str]:
    return sorted(one.kind for one in in_text(text))


@pytest.mark.parametrize(
    "text",
    [
        "4929 1234 5670 0111",
        "4929-1234-5670-0111",
        "4929.1234.5670.0111",
        "4929\u00a01234\u00a05670\u00a00111",
        "４９２９ １２３４ ５６７０ ０１１１",
        "Visa: 4929123456700111",
        "Your card 5412753456700744 expires soon",
        "5412 7534 5670 0744",
        "2223 4567 8901 0007",
        "3742 190563 41005",
        "amex 374219056341005",
        "6011 2345 6780 0817",
        "3534 5678 9012 0006",
        "3056 123456 0006",
        "Kreditkarte: 4016573829800481",
        "Numéro de carte 4016573829800481",
        "Tarjeta: 4016573829800481",
        "Order 7781234 was paid with card 4016573829800481",
        "4929 1234 5670 0111 123 12/27",
        "4016573829800481 (Visa), exp 12/27",
        "<4016 5738 2980 0481>",
    ],
)
def test_a_payment_card(text):
    assert kinds(text) == ["card"]
    assert kinds(f"Dear reader,\n\nsome lines.\n\n{text}\n\nBye") == ["card"]


@pytest.mark.parametrize(
    "text",
    [
        "4929 1234 5670 0112",  # Luhn
        "1234 5678 9012 3452",  # no issuer
        "4929123456700111",  # no word says that it is a card
        "Order number: 4929 1234 5670 0111",
        "Tracking ID 4016 5738 2980 0481",
        "Bestellnummer 4016573829800481",
        "Gift card number is not it, but voucher 4016 5738 2980 0481 is",
        "Your card was charged for order 4016573829800481",
        "https://x.example/c/4016573829800481?u=4016573829800481",
        "https://x.example/?id=4016-5738-2980-0481",
        "IMEI 4901 5420 3237 5180",
        "card ending in 1881",
        "card **** **** **** 1881",
        "card 4012 88XX XXXX 1881",
        "0000 0000 0000 0000",
        "4444 4444 4444 4444",
        "4016 5738 2980 0481 0000 1111",  # longer than any
        "20240101 20240102 20240103",
        "978-3-16-148410-0",
        "a4016573829800481 and 4016573829800481b are ids of a card",
    ],
)
def test_what_is_no_payment_card(text):
    assert kinds(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "DE89 3704 0044 0532 0130 00",
        "DE89370400440532013000",
        "de89 3704 0044 0532 0130 00",
        "GB29-NWBK-6016-1331-9268-19",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NL91ABNA0417164300 is what we have on file",
        "Your IBAN: DE89 3704 0044 0532 0130 00, BIC COBADEFFXXX",
        "Ihre IBAN DE89 3704 0044 0532 0130 00 wird belastet, BIC: COBADEFF",
    ],
)
def test_an_iban(text):
    assert kinds(text) == ["iban"]


@pytest.mark.parametrize(
    "text",
    [
        "DE89 3704 0044 0532 0130 01",  # check digits
        "DE89 3704 0044 0532 0130",  # too short
        "DE89 3704 0044 0532 0130 0012",  # too long
        "XX89 3704 0044 0532 0130 00",
        "Bankverbindung: IBAN DE89 3704 0044 0532 0130 00, BIC COBADEFF",
        "Please transfer to DE89 3704 0044 0532 0130 00",
        "Acme GmbH, HRB 12345, USt-IdNr. DE123456789, IBAN DE89 3704 0044 0532 0130 00",
        "Spenden: DE89 3704 0044 0532 0130 00",
    ],
)
def test_what_is_no_iban_of_the_reader(text):
    assert kinds(text) == []


NATIONAL = [
    ("us-ssn", "SSN: 123-45-6789"),
    ("us-ssn", "Social Security number 123 45 6789"),
    ("uk-nino", "National Insurance number AB 12 34 56 C"),
    ("uk-nino", "NINO: AB123456C"),
    ("de-steuer-id", "Ihre Steuer-ID: 86 095 742 719"),
    ("de-steuer-id", "Steuerliche Identifikationsnummer: 86095742719"),
    ("fr-nir", "Numéro de sécurité sociale : 1 85 05 78 006 084 91"),
    ("es-dni", "DNI: 12345678Z"),
    ("es-dni", "NIE X-1234567-L"),
    ("it-codice-fiscale", "Codice fiscale: RSSMRA85T10A562S"),
    ("in-aadhaar", "Aadhaar: 2341 2341 2346"),
    ("in-aadhaar", "आधार संख्या 2341 2341 2346"),
    ("in-pan", "PAN: ABCPE1234F"),
    ("br-cpf", "CPF 529.982.247-25"),
    ("pl-pesel", "PESEL: 44051401359"),
    ("se-personnummer", "Personnummer: 811228-9874"),
    ("ca-sin", "Social Insurance Number: 130 692 544"),
    ("ca-sin", "SIN: 130-692-544"),
    ("nl-bsn", "BSN: 111222333"),
    ("medical-record", "MRN: 00482913"),
    ("medical-record", "Patient ID A-448-2913"),
    ("health-plan", "Medicare number 1EG4-TE5-MK73"),
    ("health-plan", "Health plan member ID: XYZ123456789"),
    ("npi", "NPI 1234567893"),
    ("date-of-birth", "DOB: 02/29/1980"),
    ("date-of-birth", "Date of birth: March 3, 1975"),
    ("member", "Member ID: 12345678"),
]


@pytest.mark.parametrize(("kind", "text"), NATIONAL)
def test_a_number_behind_its_name(kind, text):
    assert kinds(text) == [kind]
    assert kinds(f"Hello.\n{text}\nBye.") == [kind]


@pytest.mark.parametrize(
    "text",
    [
        # the number without its name, the name without its number
        "123-45-6789", "12345678Z", "811228-9874", "111222333", "Call 529.982.247-25",
        "Never send us your SSN by mail", "What is a DNI? Ask at 900 123 456", "The NPI is a number of ten digits",
        # check digits or ranges that do not hold
        "SSN: 000-12-3456", "SSN: 666-12-3456", "SSN: 912-12-3456", "SSN: 123-00-4567", "SSN: 123-45-0000",
        "NINO: BG123456C", "Steuer-ID: 86 095 742 718", "Numéro de sécurité sociale : 1 85 05 78 006 084 92",
        "DNI: 12345678A", "Codice fiscale: RSSMRA85T10A562T", "Aadhaar: 2341 2341 2347", "PAN: ABCCE1234F",
        "CPF 529.982.247-26", "CPF 111.111.111-11", "PESEL: 44051401358", "Personnummer: 811228-9875",
        "SIN: 130 692 545", "BSN: 111222334", "NPI 1234567890",
        # words of other languages, and other things by that name
        "Trabajamos sin 130692544 problemas", "a pan of 28 cm", "Codice fiscale e partita IVA 01234567890",
        "Patient stories: 12 people", "Group of 12345 people", "Date of birth of the company: spring",
    ],
)  # fmt: skip
def test_what_is_none(text):
    assert kinds(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Your card number\n4929 1234\n5670 0111",
        "Card number:\n\n4929  1234  5670  0111",
        "Your card  4929  1234  5670  0111",
        "Card no.\n4929\n1234\n5670\n0111",
        "Card number\n* 4929\n* 1234\n* 5670\n* 0111",
        "Your Visa card\t4929\t1234\t5670\t0111",
        "Ihre Kreditkarte\n4929 1234\n5670 0111",
        "Kartennummer: 4929 1234\n5670 0111",
        "Numéro de carte\n3742\n190563\n41005",
        "Su tarjeta\n4929 1234\n5670 0111",
    ],
)
def test_a_card_number_over_lines_or_cells(text):
    assert kinds(text) == ["card"]
    assert kinds(f"Dear reader,\n\nsome lines.\n\n{text}\n\nBye") == ["card"]


@pytest.mark.parametrize(
    "text",
    [
        "Units sold\n4929  1234  5670  0111",
        "Cards issued  4929  1234  5670  0111",
        "Report cards by year\n4929\n1234\n5670\n0111",
        "Your card has been with us since then. Your orders\n4929  1234  5670  0111",
        "Card number is asked for at the till.\nOrder numbers:\n4929\n1234\n5670\n0111",
        "Your card number\n4929  1234  5670  0112",
        "Your card number ends in\n0111\n\n4929\n",
        "Card number\n\nInvoice 4929 1234\n5670 0111",
        "Your card:\n2023  2024  2025  2026",
        "Rooms\n4929 1234\n5670 0111",
    ],
)
def test_figures_in_a_table_are_no_card_number(text):
    assert kinds(text) == []


@pytest.mark.parametrize(
    "number",
    [
        "4242 4242 4242 4242", "4111 1111 1111 1111", "4012 8888 8888 1881", "5555 5555 5555 4444", "3782 822463 10005",
        "6011 1111 1111 1117", "4000 0000 0000 0002", "4000 0027 6000 0016", "3530 1113 3330 0000", "4242424242424242",
        "4242\n4242\n4242\n4242", "3056 930902 5904",
    ],
)  # fmt: skip
def test_a_card_number_published_for_tests_is_nobodys(number):
    assert kinds(f"In test mode pay with card number {number}, any date, any CVC") == []
    assert kinds(f"Not {number} but card 4929 1234 5670 0111") == ["card"]


def test_the_number_itself_never_comes_out():
    found = in_text("card 4929 1234 5670 0111, SSN: 123-45-6789")
    assert [(one.kind, one.tail) for one in found] == [("card", "11"), ("us-ssn", "89")]
    assert "4929" not in repr(found) and "6789" not in repr(found)


def test_a_number_counts_once_however_it_is_written():
    assert kinds("4929 1234 5670 0111 and card 4929-1234-5670-0111") == ["card"]
    assert kinds("4929 1234 5670 0111 and 5412 7534 5670 0744") == ["card", "card"]


@pytest.mark.parametrize(
    ("digits", "good"),
    [("79927398713", True), ("79927398710", False), ("0", True), ("18", True)],
)
def test_luhn(digits, good):
    assert luhn(digits) is good


def test_every_changed_digit_is_seen():
    for text, valid in (("4929123456700111", luhn), ("234123412346", verhoeff)):
        assert valid(text)
        for at in range(len(text)):
            for digit in "0123456789":
                if digit != text[at]:
                    assert not valid(text[:at] + digit + text[at + 1 :])


def test_lengths_are_those_of_the_issuer():
    assert is_card("374219056341005") and not is_card("3742190563410050")
    assert is_iban("gb29nwbk60161331926819")


@pytest.mark.parametrize(
    "text",
    [
        "1" * 250_000,
        "4111 " * 50_000,
        "4 1 " * 60_000,
        "ssn " * 60_000,
        "ssn: 1-" * 40_000,
        "de89 " * 50_000,
        "de89" + " 3704" * 50_000,
        "medical record " * 16_000 + "1",
        "insurance " * 25_000,
        "date of birth jan" * 15_000,
        "\u0661\u0662\u0663" * 80_000,
        "card " * 10_000 + "4929 1234 5670 0111 " * 10_000,
        "card number " * 20_000 + "4111\n" * 50,
        "card number\n1 " * 20_000,
        "card number\n\n1\n\n" * 20_000,
    ],
    ids=range(15),
)
def test_no_text_takes_long(text):
    before = process_time()
    in_text(text)
    assert process_time() - before < 1.5  # tens of milliseconds; far below what a square would take


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300) | st.text("0123456789 -./:deibanssncard\u00a0\ud800", max_size=200))
def test_any_text_can_be_read(text):
    for one in in_text(text):
        assert one.kind in identifiers.KINDS and len(one.tail) <= 2
