# ruff: noqa: E501 - the page is as tools write it
"""A campaign before and after its footer, as Chromium shows it: docs/images/footer-{before,after}.png.

    python -m tests.footer_pictures

The message is made here; its page has what newsletters have: tables, a hidden preheader, conditional comments, a
style sheet.  Nothing in it is fetched.
"""

from __future__ import annotations

import subprocess
import tempfile
from email import message_from_bytes, policy
from pathlib import Path

from relay.footers import ADDRESS, CONTACT, NAME, UNSUBSCRIBE, Footers, footer
from relay.message import Message
from relay.message.edit import footer_edits, splice
from relay.model import Profile, Tenant

IMAGES = Path(__file__).parent.parent / "docs" / "images"
LINK = "https://mail.acme.example/u/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
PROFILE = Profile(
    "Acme Outreach Ltd", "", "1 Main Street\nSpringfield, IL 62701\nUSA", "+1 217 555 0100", verified=True
)

PAGE = """\
<!DOCTYPE html>
<html lang="en" xmlns:v="urn:schemas-microsoft-com:vml">
<head>
<meta charset="utf-8"><title>Spring at Acme</title>
<!--[if mso]><style>table{border-collapse:collapse}</style><![endif]-->
<style>
  body{margin:0;background:#eef1f4} a{color:#0b6e4f} td{font-family:Georgia,serif}
  @media only screen and (max-width:480px){ .half{display:block!important;width:100%!important} }
</style>
</head>
<body bgcolor="#eef1f4">
<div style="display:none;max-height:0;overflow:hidden">Four new blends, and free shipping until Sunday.</div>
<!--[if mso]><table width="600" align="center"><tr><td><![endif]-->
<table role="presentation" width="600" align="center" cellpadding="0" cellspacing="0" style="background:#ffffff;margin-top:24px">
<tr><td style="background:#0b6e4f;color:#ffffff;padding:28px 32px;font-size:28px">Acme Tea<br><span style="font-size:14px;color:#cfe8dd">Spring 2026</span></td></tr>
<tr><td style="padding:28px 32px;font-size:16px;line-height:1.5;color:#222222">
<p style="margin:0 0 16px">Dear Bob,</p>
<p style="margin:0 0 16px">the first flush has arrived. Four blends, picked in March and packed in Springfield, wait for you in the shop.</p>
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr>
<td class="half" width="50%" style="background:#f6e7c1;padding:20px;font-size:15px;color:#5a4300"><b>Golden Hill</b><br>Malty, with a hint of honey.<br>100 g, $14</td>
<td class="half" width="50%" style="background:#dcebf7;padding:20px;font-size:15px;color:#123a5a"><b>Blue Morning</b><br>Bergamot and cornflower.<br>100 g, $12</td>
</tr></table>
<p style="margin:24px 0 0"><a href="https://shop.acme.example/spring" style="background:#0b6e4f;color:#ffffff;padding:12px 24px;text-decoration:none">See all four</a></p>
</td></tr>
</table>
<!--[if mso]></td></tr></table><![endif]-->
</body>
</html>
"""


def campaign() -> bytes:
    message = message_from_bytes(b"From: Acme Tea <news@acme.example>\nSubject: Spring\n", policy=policy.SMTP)
    message.set_content("Dear Bob,\n\nthe first flush has arrived: https://shop.acme.example/spring\n")
    message.add_alternative(PAGE, subtype="html", cte="quoted-printable")
    return message.as_bytes()


def page(raw: bytes) -> str:
    body = message_from_bytes(raw, policy=policy.SMTP).get_body(("html",))
    return str(body.get_content())


def shoot(source: str, picture: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(source)
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=680,640",
                   f"--user-data-dir={folder}/profile", f"--screenshot={picture}", file.as_uri()]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    raw = campaign()
    template = Footers().template(Tenant("acme", "Acme"), ["en"])
    edits = footer_edits(
        Message.parse(raw), footer(template, PROFILE, frozenset({NAME, ADDRESS, CONTACT, UNSUBSCRIBE}), LINK)
    )
    assert edits
    shoot(page(raw), IMAGES / "footer-before.png")
    shoot(page(b"".join(splice(Message.parse(raw), b"", (), edits))), IMAGES / "footer-after.png")
