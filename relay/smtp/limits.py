"""How much one client may ask of this process, and what is in use now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, octets and counts; all of one process.

    connections, per_client, per_tenant   sessions at once
    commands, bad_commands, bad_recipients, errors
                     since the last accepted message (or login): a session that sends mail may last
    logins           failed logins in one session
    line, auth_line  octets of a command line, of one in AUTH
    idle             waited for the next command, or for the next octets of a body
    min_rate, grace  octets a second that a body must come with, after so many seconds
    spool            octets of a message kept in memory; beyond that it goes to a file
    in_flight, in_flight_tenant  octets of all messages being received or sent, of one tenant's
    nul              what becomes of a message with one: refused, or taken without it
    unseen           a client that leaves so soon after our 250 may not have read it
    """

    connections: int = 2000
    per_client: int = 200
    per_tenant: int = 500
    commands: int = 10_000
    bad_commands: int = 20
    bad_recipients: int = 1000
    errors: int = 2000
    logins: int = 3
    recipients: int = 1000
    message_size: int = 50 * MIB
    line: int = 2048
    auth_line: int = 12_288
    idle: float = 300.0
    handshake: float = 30.0
    min_rate: float = 500.0
    grace: float = 30.0
    spool: int = MIB
    in_flight: int = 512 * MIB
    in_flight_tenant: int = 256 * MIB
    unseen: float = 60.0
    bare_newline: Literal["normalize", "refuse"] = "normalize"
    nul: Literal["refuse", "drop"] = "refuse"


class Load:
    """Sessions and octets in use now, over all listeners of a process."""

    __slots__ = ("_clients", "_limits", "_octets", "_tenants", "connections", "octets")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.connections = 0
        self.octets = 0
        self._clients: dict[str, int] = {}
        self._tenants: dict[str, int] = {}
        self._octets: dict[str, int] = {}

    def enter(self, client: str) -> bool:
        """Count a session of this address; False if there are too many."""
        count = self._clients.get(client, 0)
        if self.connections >= self._limits.connections or count >= self._limits.per_client:
            return False
        self.connections += 1
        self._clients[client] = count + 1
        return True

    def leave(self, client: str) -> None:
        self.connections -= 1
        _less(self._clients, client, 1)

    def login(self, tenant: str) -> bool:
        """Count a session of this tenant; False if there are too many."""
        count = self._tenants.get(tenant, 0)
        if count >= self._limits.per_tenant:
            return False
        self._tenants[tenant] = count + 1
        return True

    def logout(self, tenant: str) -> None:
        _less(self._tenants, tenant, 1)

    def has_room(self, tenant: str, octets: int) -> bool:
        mine = self._octets.get(tenant, 0) + octets
        return self.octets + octets < self._limits.in_flight and mine < self._limits.in_flight_tenant

    def take(self, tenant: str, octets: int) -> bool:
        """Set octets aside for a message; False if there is no room."""
        mine = self._octets.get(tenant, 0) + octets
        if self.octets + octets > self._limits.in_flight or mine > self._limits.in_flight_tenant:
            return False
        self.octets += octets
        self._octets[tenant] = mine
        return True

    def give(self, tenant: str, octets: int) -> None:
        self.octets -= octets
        _less(self._octets, tenant, octets)


def _less(counts: dict[str, int], key: str, by: int) -> None:
    left = counts.get(key, 0) - by
    if left > 0:
        counts[key] = left
    else:
        counts.pop(key, None)
