"""The tools people really use, against the real process under `prospektr`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest


async def test_aiosmtplib(relay: Any, hop: Any, good: Callable[..., EmailMessage]) -> None:
    errors, answer = await aiosmtplib.send(
        good(), hostname="127.0.0.1", port=relay.ports[0], recipients=["bob@customer.example"]
    )
    assert errors == {}
    assert "ref=" in answer or "queued" in answer.lower() or "2.0.0" in answer
    assert len(hop.messages()) == 1


@pytest.mark.server("swaks")
def test_swaks_logs_in_over_tls(
    relay: Any, hop: Any, good: Callable[..., EmailMessage], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "good.eml"
    file.write_bytes(good().as_bytes())
    common = [
        "swaks",
        "--server",
        f"127.0.0.1:{relay.ports[1]}",
        "--from",
        "news@acme.example",
        "--helo",
        "swaks.example",
    ]
    login = ["-tls", "--auth", "LOGIN", "--auth-user", "acme-campaigns", "--auth-password", "secret"]
    done = subprocess.run(
        [*common, *login, "--to", "bob@customer.example", "--data", f"@{file}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bad = subprocess.run(
        [*common, *login, "--to", "bob@customer.example", "--h-From", "ann@stranger.example", "--body", "buy now"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.search(r"<~\* +554 5\.7\.0 \[", bad.stdout), bad.stdout
    assert len(hop.messages()) == 1


@pytest.mark.server("curl")
def test_curl(
    relay: Any, hop: Any, good: Callable[..., EmailMessage], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    file = tmp_path / "good.eml"
    # curl sends the file as it is; line ends in LF are normalised here, not refused.
    file.write_bytes(good().as_bytes())
    done = subprocess.run(
        [
            "curl", "-sS", "--ssl-reqd", "--cacert", str(certificate[0]), "--user", "acme-campaigns:secret",
            "--mail-from", "news@acme.example", "--mail-rcpt", "bob@customer.example",
            "--upload-file", str(file), f"smtp://localhost:{relay.ports[1]}/client.example",
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [arrived] = hop.messages()
    assert b"\n" not in arrived.replace(b"\r\n", b"")


def nodemailer() -> str | None:
    """Where nodemailer is: NODE_PATH names the folder it was installed into."""
    for folder in os.environ.get("NODE_PATH", "").split(":"):
        if folder and (Path(folder) / "nodemailer").is_dir():
            return folder
    return None


@pytest.mark.server("node")
def test_nodemailer_pools_connections(relay: Any, hop: Any, good: Callable[..., EmailMessage]) -> None:
    if nodemailer() is None:
        if os.environ.get("AUP_RELAY_REQUIRE") == "all":
            pytest.fail("nodemailer is required here: NODE_PATH names no folder that has it")
        pytest.skip("nodemailer is not installed (npm install nodemailer, NODE_PATH)")
    script = """
    const transport = require("nodemailer").createTransport({
      host: "127.0.0.1", port: +process.argv[2], secure: false, pool: true, maxConnections: 3,
      auth: {user: "acme-campaigns", pass: "secret"}, tls: {rejectUnauthorized: false},
    });
    const raws = JSON.parse(require("fs").readFileSync(0, "utf8"));
    Promise.allSettled(raws.map(raw => transport.sendMail(
      {envelope: {from: "news@acme.example", to: ["bob@customer.example"]}, raw},
    ))).then(all => {
      console.log(JSON.stringify(all.map(one => one.value ? one.value.response : one.reason.response)));
      transport.close();
    });
    """
    raws = [good(number).as_string() for number in range(6)] + ["From: ann@stranger.example\n\nbuy now\n"]
    done = subprocess.run(
        ["node", "-e", script, "x", str(relay.ports[1])],
        input=json.dumps(raws),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer[:3] for answer in answers] == ["250"] * 6 + ["554"]
    assert len(hop.messages()) == 6


@pytest.mark.server("postfix")
def test_a_real_postfix_as_the_next_hop(
    start: Callable[..., Any], good: Callable[..., EmailMessage], postfix_of: Callable[..., Any]
) -> None:
    postfix = postfix_of()
    relay = start(postfix.port)
    with relay.smtp() as client:
        for number in range(3):
            client.sendmail(
                "news@acme.example", ["bob@customer.example", "eve@customer.example"], good(number).as_bytes()
            )
        client.ehlo()
        assert {"dsn", "smtputf8", "8bitmime", "size"} <= set(client.esmtp_features)
        client.mail("news@acme.example", ["RET=HDRS", "ENVID=Case+2BKept"])
        client.rcpt("bob@customer.example", ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;Bob@Customer.example"])
        assert client.data(good(9).as_bytes())[0] == 250
    log = postfix.wait_for("status=sent", 7)
    assert "nrcpt=2" in log
    # Postfix refuses what it must not relay; its own words come back, and no contact is blamed.
    assert relay.get("/readyz")[0] == 200


@pytest.mark.server("postfix")
def test_a_real_postfix_as_the_client(
    start: Callable[..., Any], hop: Any, good: Callable[..., EmailMessage], postfix_of: Callable[..., Any]
) -> None:
    """Its queue is the client's queue: what is refused bounces there, what is 451 stays and goes later."""
    relay = start(hop.port)
    postfix = postfix_of(
        {"default_transport": "smtp:", "relayhost": f"[127.0.0.1]:{relay.ports[0]}", "minimal_backoff_time": "1s",
         "maximal_backoff_time": "2s", "queue_run_delay": "1s"},
    )  # fmt: skip
    import smtplib

    with smtplib.SMTP("127.0.0.1", postfix.port) as client:
        for number in range(5):
            client.sendmail("news@acme.example", f"bob{number}@customer.example", good(number).as_bytes())
        client.sendmail("news@acme.example", "bob@customer.example", b"From: ann@stranger.example\r\n\r\nbuy now\r\n")
    log = postfix.wait_for("status=sent", 5)
    log = postfix.wait_for("status=bounced")
    assert "554 5.7.0 [" in log
    assert len(hop.messages()) >= 5
    hop.stop()
    with smtplib.SMTP("127.0.0.1", postfix.port) as client:
        client.sendmail("news@acme.example", "late@customer.example", good(7).as_bytes())
    postfix.wait_for("status=deferred")
    hop.start(hop.port)
    postfix.run("flush")
    postfix.wait_for("status=sent", 6)
    arrived = [m for m in hop.messages() if b"no. 7" in m]
    assert len(arrived) == 1
