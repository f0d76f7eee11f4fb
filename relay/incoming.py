"""The wiring of feedback: the intake and its doors, built from the configuration (docs/feedback.md)."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from relay.config import Config, first_line, read_public_key
from relay.events import Emit, ListenerOpened
from relay.jobs.amazon import Sns
from relay.jobs.intake import Intake
from relay.jobs.visit import Visitor
from relay.keys import Keys
from relay.ports import Dns
from relay.serve import Refused
from relay.smtp.listener import Listener, ListenerSettings
from relay.smtp.reports import LIMITS, Here, Reports
from relay.smtp.tls import Certificate
from relay.stores.chain import Terms
from relay.stores.database import Database
from relay.stores.feedback import Feedback
from relay.stores.leave import OptOut
from relay.stores.recipients import Recipients
from relay.web.feedback import Providers
from relay.wiring import Reader, traces, unsubscribe_links


def open_intake(
    config: Config,
    database: Database,
    keys: Keys,
    feedback: Feedback,
    leave: OptOut,
    owner: Callable[[str], str | None],
    emit: Emit,
) -> Intake:
    suppression = config.suppression
    plain = suppression.plaintext
    return Intake(
        database,
        feedback,
        # A mailbox that is gone says nothing of its owner's other spellings.
        recipients=Recipients(database, keys.address, plaintext=plain, folding=False),
        everybody=Recipients(database, keys.address, plaintext=plain, folding=suppression.folding),
        leave=leave,
        trace=Reader(config, keys, traces),
        unsubscribe=Reader(config, keys, unsubscribe_links),
        terms=Terms(keys.ledger),
        owner=owner,
        emit=emit,
        abuse=[config.operator.abuse],
        bounce=suppression.bounce,
        abuse_within=config.feedback.abuse_within,
    )


async def open_doors(config: Config, intake: Intake, emit: Emit, random: Callable[[int], bytes]) -> list[Listener]:
    """The listeners for mail about mail, open.  Raises Refused."""
    feedback = config.feedback
    flow: Any = Reports(
        intake, feedback.domain or "", [config.operator.abuse, *feedback.addresses], emit, random, time.time
    )
    here: Any = Here()
    opened: list[Listener] = []
    for door in feedback.listen:
        tls = config.tls if door.tls == "starttls" else None
        listener = Listener(
            ListenerSettings(
                host=door.host or "",
                port=door.port,
                name=str(door.socket) if door.socket else "",
                tls=door.tls,
                tenant="feedback",
                stream="transactional",
                networks=door.networks,
                tls_required=False,
                lmtp=door.protocol == "lmtp",
            ),
            flow=flow,
            directory=here,
            login=None,  # type: ignore[arg-type]  # nobody logs in here
            next_hops=here,
            emit=emit,
            hostname=config.hostname,
            certificate=await asyncio.to_thread(Certificate, tls.cert, tls.key) if tls else None,
            limits=LIMITS,
        )
        try:
            await listener.start(sock=_unix(str(door.socket)) if door.socket else None)
        except OSError as error:
            close_doors(opened)
            raise Refused(f"cannot listen for reports on {listener.name}: {error.strerror or error}") from None
        opened.append(listener)
    for listener in opened:
        emit(ListenerOpened(listener.name, "reports"))
    return opened


def close_doors(doors: Sequence[Listener]) -> None:
    for door in doors:
        door.close()


def _unix(path: str) -> socket.socket:
    """A socket of this machine at `path`, for its owner and group.  Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        if os.path.exists(path):  # noqa: PTH110 - what an earlier process left behind
            probe = socket.socket(socket.AF_UNIX)
            try:
                probe.connect(path)
            except OSError:
                os.unlink(path)  # noqa: PTH108
            finally:
                probe.close()
        before = os.umask(0o117)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
    except OSError:
        sock.close()
        raise
    return sock


def providers(config: Config, dns: Dns) -> Providers:
    """Raises ConfigError for a secret that cannot be read."""
    feedback = config.feedback
    sns = None
    if feedback.ses is not None:
        agent = f"aup-relay feedback ({config.operator.abuse})"
        sns = Sns(Visitor(dns, agent, ports=(443,)), feedback.ses.certificates)
    return Providers(
        topics=feedback.ses.topics if feedback.ses else (),
        certificate=sns.certificate if sns else None,
        confirm=sns.confirm if sns else None,
        sendgrid_key=read_public_key(feedback.sendgrid.public_key_file) if feedback.sendgrid else None,
        mailgun_key=first_line(feedback.mailgun.signing_key_file).encode() if feedback.mailgun else b"",
        postmark_secret=first_line(feedback.postmark.secret_file).encode() if feedback.postmark else b"",
    )
