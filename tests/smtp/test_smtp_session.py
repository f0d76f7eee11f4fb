"""Commands in and out of order, over a real socket."""

from __future__ import annotations

MAIL = "MAIL FROM:<a@acme.test>"
RCPT = "RCPT TO:<b@there.test>"


async def test_a_message_goes_through(world):
    client = await world.connect(await world.listener())
    assert await client.says(MAIL, RCPT, "DATA") == ["250 2.1.0", "250 2.1.5", "354 End"]
    client.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
    assert await client.reply() == ["250 2.0.0 Accepted by the next hop; ref=ref00000000000000000000001"]
    assert await client.say("QUIT") == "221 2.0.0 Bye"
    assert await client.closed()
    assert world.flow.received == [b"Subject: x\r\n\r\nhello\r\n"]
    envelope = world.flow.envelopes[0]
    assert (envelope.sender.text, [r.address.text for r in envelope.recipients]) == ("a@acme.test", ["b@there.test"])


async def test_maintenance_puts_off_new_and_open_sessions(world):
    """An operator's `maintenance on`: nobody begins anything new, and nothing is refused for good."""
    listener = await world.listener()
    open_one = await world.connect(listener)
    world.directory.maintenance = "moving house"
    newcomer = await world.raw(listener)
    assert await newcomer.reply() == ["421 4.3.2 Maintenance, try again later"]
    assert await newcomer.closed()
    assert await open_one.say(MAIL) == "421 4.3.2 Maintenance, try again later"
    assert await open_one.closed()
    world.directory.maintenance = ""
    assert await (await world.connect(listener)).says(MAIL) == ["250 2.1.0"]
