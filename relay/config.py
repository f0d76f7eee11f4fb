"""The one configuration file (config/relay.yaml shows every setting at its default).

`load()` gives typed values or a ConfigError with every problem at once, one a line:
`file:line:column: path: what (got value)`.  Relative paths start at the file's folder; times are
seconds (or `20s`, `4h`, `2d`), sizes octets (or `50MiB`).  Secrets lie in files of their own and
are never shown.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from relay import model, regions
from relay.address import BadAddress, domain_name
from relay.address import parse as parse_address
from relay.checks.catalogue import NAMES
from relay.domain_state import KINDS
from relay.footers import Footers, wrong_reason
from relay.footers import problems as footer_problems
from relay.lists import BadList, Lists
from relay.phrases import Phrases
from relay.phrases import problems as phrase_problems
from relay.policy_file import Policies, override_problems
from relay.repair import wrong_list_id
from relay.yaml_marks import Document, FileError, Path_, near


class ConfigError(FileError):
    """The file cannot be used; str() is every problem, a line each."""


# -- kinds of value --------------------------------------------------------------------
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|d)\Z")
_SIZE = re.compile(r"(\d+) ?(KiB|MiB|GiB)\Z")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")
_STREAM = Literal["marketing", "transactional"]


def seconds(value: Any) -> Any:
    if isinstance(value, str):
        if match := _TIME.match(value):
            return float(match[1]) * _UNITS[match[2]]
        raise ValueError("must be a time: seconds, or a number with ms, s, m, h or d")
    return value


def octets(value: Any) -> Any:
    if isinstance(value, str):
        if match := _SIZE.match(value):
            return int(match[1]) * _SIZES[match[2]]
        raise ValueError("must be a size: octets, or a whole number with KiB, MiB or GiB")
    return value


def _from_folder(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a path")
    return Path((info.context or {}).get("folder", ".")) / value


def _store(value: Any, info: ValidationInfo) -> Path:
    scheme, found, path = value.partition(":///") if isinstance(value, str) else ("", "", "")
    if scheme.startswith("postgres"):
        raise ValueError("PostgreSQL is not in this version; sqlite:///FILE is")
    if not found or scheme != "sqlite" or not path:
        raise ValueError("must be sqlite:///FILE")
    return _from_folder(path, info)


def network(value: Any) -> Any:
    """An address or CIDR in its one form: 192.0.2.10 -> 192.0.2.10/32."""
    if not isinstance(value, str):
        return value
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    try:
        loose = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an IP address or network, such as 192.0.2.0/24") from None
    raise ValueError(f"has bits of a host; did you mean {str(loose)!r}?")


def _host(value: Any) -> Any:
    if isinstance(value, str):
        bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        try:
            return str(ipaddress.ip_address(bare))
        except ValueError:
            pass
        if not _HOST.match(value) or value.replace(".", "").isdigit() or len(value) > 253:
            raise ValueError("must be a host name or an IP address")
    return value


def _domain(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return domain_name(value)
        except BadAddress as error:
            raise ValueError(str(error)) from None
    return value


def _address(value: Any) -> Any:
    if isinstance(value, str):
        try:
            parse_address(value)
        except BadAddress as error:
            raise ValueError(str(error)) from None
    return value


def _name(value: Any) -> Any:
    if isinstance(value, str) and not _NAME.match(value):
        raise ValueError("a name has letters, digits and . _ @ + - only, 64 at most")
    return value


def _base_url(value: Any) -> Any:
    if isinstance(value, str) and value:
        if not re.match(r"https?://[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]*(/[A-Za-z0-9._~/-]*)?\Z", value):
            raise ValueError("must be an address such as https://mail.platform.example")
        return value.rstrip("/")
    return value


def _scanner_url(value: Any) -> Any:
    if isinstance(value, str):
        if not re.match(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?\Z", value):
            raise ValueError("must be an address such as http://127.0.0.1:11333")
        return value.rstrip("/")
    return value


def _region(value: Any) -> Any:
    return regions.region(value) if isinstance(value, str) else value


def _language(value: Any) -> Any:
    if isinstance(value, str) and not re.match(r"(?:[a-z]{2,3})?\Z", value):
        raise ValueError("must be two or three letters, such as de")
    return value


def _reason(value: Any) -> Any:
    if isinstance(value, str) and (why := wrong_reason(value)):
        raise ValueError(why)
    return value


def _list_id(value: Any) -> Any:
    if isinstance(value, str) and (why := wrong_list_id(value)):
        raise ValueError(why)
    return value


def _nameserver(value: Any) -> Any:
    if isinstance(value, str):
        try:
            split_nameserver(value)
        except ValueError:
            raise ValueError("must be an IP address, with :port if it is not 53") from None
    return value


def split_nameserver(text: str) -> tuple[str, int]:
    """127.0.0.1:5353, [::1]:5353, 192.0.2.53, 2001:db8::53 -> (address, port).  Raises ValueError."""
    if match := re.match(r"\[([^\]]+)\](?::(\d+))?\Z", text):
        host, port = match[1], int(match[2] or 53)
    elif text.count(":") == 1:
        host, _, digits = text.partition(":")
        port = int(digits)
    else:
        host, port = text, 53
    if not 0 < port < 65536:
        raise ValueError(text)
    return str(ipaddress.ip_address(host)), port


def _until(value: Any) -> Any:
    """2026-12-31 is the end of that day (UTC); with a time it is that moment."""
    if isinstance(value, str):
        try:
            if len(value) == 10:
                day = datetime.combine(date.fromisoformat(value), time(), UTC)
                return (day + timedelta(days=1)).timestamp()
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ValueError("must be a date, such as 2026-12-31") from None
    raise ValueError("must be a date, such as 2026-12-31")


def _hostname(value: Any) -> Any:
    return _host(value) if value else socket.gethostname()


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, le=10 * 366 * 86400, allow_inf_nan=False)]
Octets = Annotated[int, BeforeValidator(octets), Field(ge=0)]
File = Annotated[Path, PlainValidator(_from_folder)]
Network = Annotated[str, BeforeValidator(network)]
Host = Annotated[str, BeforeValidator(_host)]
DomainName = Annotated[str, BeforeValidator(_domain)]
EMail = Annotated[str, BeforeValidator(_address)]
Name = Annotated[str, BeforeValidator(_name)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False, ser_json_inf_nan="null")


# -- the models: the only description of the file ------------------------------------------
class Listener(Settings):
    """One port that clients connect to.

    networks  who may connect to an `auth: none` listener (needed off loopback), empty: anybody
    proxy     load balancers that send PROXY v1/v2 first
    xclient   hosts that may say XCLIENT
    """

    host: Host
    port: int = Field(ge=0, le=65535)
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    auth: Literal["required", "none"] = "required"
    tenant: str = ""
    stream: _STREAM = "marketing"
    networks: tuple[Network, ...] = ()
    proxy: tuple[Network, ...] = ()
    xclient: tuple[Network, ...] = ()

    @field_validator("proxy", "xclient", mode="before")
    @classmethod
    def _only_from_networks(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` means: from `networks`."""
        if isinstance(value, bool):
            if not value:
                return ()
            if not info.data.get("networks"):
                raise ValueError(f"{info.field_name} is believed only from listed networks; name them")
            return info.data["networks"]
        return tuple(value) if isinstance(value, list) else value

    @property
    def name(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


class Tls(Settings):
    """PEM files: the certificate with its chain, the key without a pass phrase."""

    cert: File
    key: File


class HopConfig(Settings):
    """An MTA that we forward to.

    verify           the certificate must be good, by `ca_file` or else the system's authorities
    envelope_domain  the domain of the envelope, if the next hop writes its own (SPF is judged for it)
    server_name      the name that the certificate must be good for, if it is not `host`
    chunking         messages go by BDAT where it is offered; false: always by DATA
    pool             connections of one worker
    idle, max_age    seconds that an unused, any connection is kept; idle: 30, of SES 5
    max_messages     sent over one connection: 1000, of SES 100
    wait, waiting    seconds a message waits for a connection, and how many of one tenant may
    feedback         how bounces and complaints of what it sends come back to us
    """

    host: Host
    port: int = Field(default=25, ge=1, le=65535)
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    verify: bool = True
    ca_file: File | None = None
    user: str = ""
    password_file: File | None = None
    profile: Literal["mta", "ses"] = "mta"
    envelope_domain: DomainName | None = None
    server_name: Host | None = None
    chunking: bool = True
    pool: Count = Field(default=20, le=10_000)
    idle: Seconds | None = None
    max_messages: Count | None = None
    max_age: Seconds = 600.0
    wait: Seconds = 20.0
    waiting: Count = 1000
    feedback: Literal["verp", "forwarded", "ses-sns", "sendgrid", "mailgun", "postmark", "none"] = "none"

    def password(self) -> str:
        """Raises ConfigError if the file cannot be read."""
        return first_line(self.password_file) if self.password_file else ""


class DkimKey(Settings):
    """One key of several: the selector that publishes it, and the file it lies in."""

    selector: str = Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?$")
    key_file: File


class Dkim(Settings):
    """Who signs for a domain: `relay` (selector and key_file, or keys), `client`, or `next-hop` (selectors)."""

    by: Literal["relay", "client", "next-hop"]
    selector: str = Field(default="", pattern=r"^([A-Za-z0-9_]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?)?$")
    key_file: File | None = None
    keys: tuple[DkimKey, ...] = Field(default=(), max_length=4)
    selectors: tuple[str, ...] = ()

    def ours(self) -> tuple[tuple[str, Path], ...]:
        """Selector and file of each key that the relay signs with."""
        if self.keys:
            return tuple((key.selector, key.key_file) for key in self.keys)
        return ((self.selector, self.key_file),) if self.key_file is not None else ()

    def key_places(self) -> Iterator[tuple[Path_, Path]]:
        """Where each key file stands in the settings, and which it is."""
        if self.key_file is not None:
            yield ("key_file",), self.key_file
        for number, key in enumerate(self.keys):
            yield ("keys", number, "key_file"), key.key_file

    def signers(self) -> tuple[model.Signer, ...]:
        """The keys, read, RSA before Ed25519.  Raises ConfigError if a file is not a key."""
        return model.in_order([model.Signer(selector, read_key(file)) for selector, file in self.ours()])


class Operator(Settings):
    """Who runs the relay; signs notices and reports.

    dkim  the key that signs mail from `from`: selector and key_file; else that of a tenant's domain which covers it
    """

    name: Text
    from_address: EMail = Field(alias="from")
    abuse: EMail
    dkim: Dkim | None = None


class DomainConfig(Settings):
    verified: bool = False
    dkim: Dkim | None = None


class CredentialConfig(Settings):
    password_file: File | None = None
    stream: _STREAM = "marketing"
    networks: tuple[Network, ...] = ()


class OverrideConfig(BaseModel):
    """A tenant's own setting of one check; what is not named here is a setting of that check."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    then: Literal["record", "repair", "hold", "defer", "refuse"] | None = None
    shadow: bool | None = None
    reason: str = Field(default="", max_length=1000)
    by: str = Field(default="", max_length=200)
    until: Annotated[float, BeforeValidator(_until)] | None = None


class StreamConfig(Settings):
    """
    recipients  one: a message has one recipient, so that it can be given a link of theirs
    reason      why people get its mail, for footers
    list_id     of its List-Id (RFC 2919), without brackets, for mail that is given list fields
    """

    recipients: Literal["one", "many"] = "many"
    reason: Annotated[str, BeforeValidator(_reason)] = ""
    list_id: Annotated[str, BeforeValidator(_list_id)] = ""


_SCOPES = ("tenant", "credential", "domain", "destination")
_WINDOWS = [f"{scope}.{window}" for scope in _SCOPES for window in ("second", "hour", "day", "month")]


class TenantConfig(Settings):
    policy: str = "baseline"
    legal_name: str = Field(default="", max_length=300)
    trading_name: str = Field(default="", max_length=300)
    postal_address: str = Field(default="", max_length=600)
    contact: str = Field(default="", max_length=300)
    privacy_policy: str = Field(default="", max_length=600)
    client: Literal["standard", "postal", "no-queue"] = "standard"
    next_hop: str = ""
    shadow: bool = False
    domains: dict[DomainName, DomainConfig] = {}
    credentials: dict[Name, CredentialConfig] = {}
    overrides: dict[str, OverrideConfig] = {}
    quota: dict[str, Annotated[int, Field(ge=0)]] = {}
    transfers: tuple[Annotated[str, BeforeValidator(_region)], ...] = ()
    agreements: dict[Literal["hipaa"], Annotated[float, BeforeValidator(_until)] | None] = {}
    opt_out: Literal["hosted", "synced", "both"] = "hosted"
    language: Annotated[str, BeforeValidator(_language)] = ""
    streams: dict[_STREAM, StreamConfig] = {}
    feedback_id: bool = True
    verp: bool = True

    def profile(self) -> model.Profile:
        """What the operator's own file says counts as verified."""
        return model.Profile(
            legal_name=self.legal_name,
            trading_name=self.trading_name,
            postal_address=self.postal_address,
            contact=self.contact,
            privacy_policy=self.privacy_policy,
            verified=True,
        )


class WatchConfig(Settings):
    """How the DNS of tenants' domains is watched (relay/domain_state.py).

    every  seconds between two looks at a domain
    ownership, spf, dkim, dmarc, mx
           seconds from the day on which such a record is gone until mail is refused: half of them it goes out and the
           tenant is told, half it is put off.  0: refused at once
    """

    every: Seconds = Field(default=3600.0, ge=300.0, le=86400.0)
    ownership: Seconds = 7 * 86400.0
    spf: Seconds = 3 * 86400.0
    dkim: Seconds = 86400.0
    dmarc: Seconds = 7 * 86400.0
    mx: Seconds = 3 * 86400.0

    @model_validator(mode="after")
    def _long_enough(self) -> WatchConfig:
        for kind, grace in self.graces().items():
            if 0 < grace < 4 * self.every:
                raise ValueError(f"{kind} must be 0 or at least four times `every`: a break is seen in a look")
        return self

    def graces(self) -> dict[str, float]:
        return {kind: getattr(self, kind) for kind in KINDS}


class Dns(Settings):
    """
    nameservers  empty: those of /etc/resolv.conf
    timeout      seconds for one try of a question; each name server is tried, and one again
    grace        seconds that an answer which was good is used on while the DNS is down
    watch        how often tenants' domains are looked at, and what follows from a record that is gone
    """

    nameservers: tuple[Annotated[str, BeforeValidator(_nameserver)], ...] = ()
    timeout: Seconds = 2.0
    grace: Seconds = 14400.0
    cache: Count = 50_000
    watch: WatchConfig = WatchConfig()


class Web(Settings):
    host: Host
    port: int = Field(ge=0, le=65535)


class Http(Settings):
    public: Web | None = None
    admin: Web | None = None
    base_url: Annotated[str, BeforeValidator(_base_url)] = ""


class ClamdConfig(Settings):
    """
    socket       a unix socket; or host and port
    timeout      seconds for one message, the wait for a free connection included
    max_size     a larger message is not scanned; clamd's own StreamMaxLength should not be smaller
    on_oversize  skip: it passes and the decision says so; defer: 451
    connections  at once, of one worker; clamd's MaxThreads is a good number
    """

    socket: File | None = None
    host: Host = "127.0.0.1"
    port: int = Field(default=3310, ge=1, le=65535)
    timeout: Seconds = 10.0
    max_size: Annotated[Octets, Field(ge=1024)] = 25 << 20
    on_oversize: Literal["skip", "defer"] = "skip"
    connections: Count = Field(default=10, le=1000)


class RspamdConfig(Settings):
    """
    url            of a normal or proxy worker
    password_file  its first line goes along in the Password header
    timeout, max_size, on_oversize, connections  as of clamd
    """

    url: Annotated[str, BeforeValidator(_scanner_url)] = "http://127.0.0.1:11333"
    password_file: File | None = None
    timeout: Seconds = 8.0
    max_size: Annotated[Octets, Field(ge=1024)] = 10 << 20
    on_oversize: Literal["skip", "defer"] = "skip"
    connections: Count = Field(default=10, le=1000)

    def password(self) -> str:
        """Raises ConfigError if the file cannot be read."""
        return first_line(self.password_file) if self.password_file else ""


class Scanners(Settings):
    """Programs of others that look at messages; what is not named is not asked, and coverage says so."""

    clamd: ClamdConfig | None = None
    rspamd: RspamdConfig | None = None


class Limits(Settings):
    """Of one worker; sizes in octets, times in seconds.  What each bounds stands in config/relay.yaml."""

    message_size: Annotated[Octets, Field(ge=1024)] = 50 << 20
    recipients: Count = 1000
    spool: Octets = 1 << 20
    in_flight: Octets = 512 << 20
    in_flight_tenant: Octets = 256 << 20
    connections: Count = 2000
    per_client: Count = 200
    per_tenant: Count = 500
    commands: Count = 10_000
    bad_commands: Count = 20
    bad_recipients: Count = 1000
    errors: Count = 2000
    logins: Count = 3
    login_failures: Count = 10
    login_window: Seconds = 900.0
    handshake: Seconds = 30.0
    idle: Seconds = 300.0
    min_rate: Octets = 500
    grace: Seconds = 30.0
    bare_newline: Literal["normalize", "refuse"] = "normalize"
    verdict_time: Seconds = 20.0
    check_time: Seconds = 2.0
    pace: Seconds = 10.0
    pace_no_queue: Seconds = 30.0
    pacing_sessions: Annotated[int, Field(ge=0)] = 200
    guard: Seconds = 3600.0
    unseen: Seconds = 60.0
    mend: Seconds = 14400.0
    drain: Seconds = 330.0


class Log(Settings):
    """
    addresses  mail and IP addresses may be in the log
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"
    addresses: bool = False


class LedgerConfig(Settings):
    """
    retention   seconds that decisions are kept (removed only below a signed checkpoint)
    personal    seconds after which addresses, subjects and evidence are erased from them
    checkpoint  seconds between two signed checkpoints
    """

    retention: Seconds = 400 * 86400.0
    personal: Seconds = 90 * 86400.0
    checkpoint: Seconds = 60.0


class SuppressionConfig(Settings):
    """
    plaintext  keep addresses readable; without it listings, exports and folding of stored rows stop working
    folding    an entry binds every spelling of its mailbox (tags, dots); what was stored with it keeps it
    bounce     seconds for which a hard bounce is believed
    """

    plaintext: bool = True
    folding: bool = True
    bounce: Seconds = 90 * 86400.0


def _keys_beside_the_store(data: dict[str, Any]) -> Path:
    return Path(f"{data.get('store', 'relay.db')}.keys")


class LinksConfig(Settings):
    """probe  visit ways to unsubscribe in the background: this machine then talks to hosts that messages name"""

    probe: bool = False


class DoorConfig(Settings):
    """A port, or a socket of this machine, where mail about mail comes in.

    host, port  of SMTP or LMTP; networks: who may connect, empty: anybody on loopback, and nobody else
    socket      a path, for LMTP; instead of host and port
    tls         starttls offers it and takes mail without it, as an MX must
    """

    host: Host | None = None
    port: int = Field(default=0, ge=0, le=65535)
    socket: File | None = None
    protocol: Literal["smtp", "lmtp"] = "smtp"
    networks: tuple[Network, ...] = ()
    tls: Literal["none", "starttls"] = "none"

    @model_validator(mode="after")
    def _one_place(self) -> DoorConfig:
        if (self.host is None) == (self.socket is None):
            raise ValueError("give host and port, or socket")
        if self.socket is not None and self.protocol != "lmtp":
            raise ValueError("a socket speaks LMTP: protocol: lmtp")
        return self


class SesConfig(Settings):
    """topics  ARNs of the SNS topics that may report; certificates: a folder with Amazon's signing certificates, where
    they shall not be fetched"""

    topics: Annotated[tuple[str, ...], Field(min_length=1)]
    certificates: File | None = None


class SendGridConfig(Settings):
    """public_key_file  the verification key of the signed Event Webhook, as SendGrid shows it"""

    public_key_file: File


class MailgunConfig(Settings):
    """signing_key_file  the HTTP webhook signing key"""

    signing_key_file: File


class PostmarkConfig(Settings):
    """secret_file  the password in the webhook's address: https://relay:PASSWORD@host/feedback/postmark"""

    secret_file: File


class FeedbackConfig(Settings):
    """How bounces, complaints and replies come back.

    domain        its MX leads to `listen`: return paths (verp), unsubscribe@, abuse@
    addresses     more mailboxes that are forwarded to `listen`
    abuse_within  seconds in which an abuse report is to be answered
    retention     seconds for which reports are kept
    """

    domain: DomainName | None = None
    listen: tuple[DoorConfig, ...] = ()
    addresses: tuple[EMail, ...] = ()
    ses: SesConfig | None = None
    sendgrid: SendGridConfig | None = None
    mailgun: MailgunConfig | None = None
    postmark: PostmarkConfig | None = None
    abuse_within: Seconds = 2 * 86400.0
    retention: Seconds = 180 * 86400.0


class WebhooksConfig(Settings):
    """private  networks that the operator's own webhooks may be on; a tenant's must be at a public address"""

    private: tuple[Network, ...] = ()


ListName = Literal[
    "business-domains", "personal-domains", "personal-mx", "role-names", "links", "shorteners", "brands", "attachments"
]
"""As in relay/lists.py, which says what stands in each."""


class Config(Settings):
    listen: tuple[Listener, ...] = Field(min_length=1)
    tls: Tls | None = None
    next_hop: HopConfig
    next_hops: dict[Name, HopConfig] = {}
    store: Annotated[Path, PlainValidator(_store)] = Field(default="sqlite:///relay.db", validate_default=True)
    keys: File = Field(default_factory=_keys_beside_the_store)
    counters: str = "store"
    operator: Operator
    egress: tuple[Network, ...] = ()
    tenants: dict[Name, TenantConfig] = {}
    policies: File | None = None
    hostname: Annotated[str, BeforeValidator(_hostname)] = Field(default="", validate_default=True)
    dns: Dns = Dns()
    http: Http = Http()
    limits: Limits = Limits()
    log: Log = Log()
    workers: Count = Field(default=1, le=64)
    ledger: LedgerConfig = LedgerConfig()
    trace: Literal["full", "private"] = "full"
    suppression: SuppressionConfig = SuppressionConfig()
    lists: dict[ListName, tuple[File, ...]] = {}
    links: LinksConfig = LinksConfig()
    webhooks: WebhooksConfig = WebhooksConfig()
    scanners: Scanners = Scanners()
    phrases: File | None = None
    footers: File | None = None
    feedback: FeedbackConfig = FeedbackConfig()

    _file: Path = PrivateAttr(default=Path())

    @property
    def file(self) -> Path:
        return self._file

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self._file.parent

    def hops(self) -> dict[str, HopConfig]:
        """Every next hop by the name that a tenant has in `next_hop`; "" is the common one."""
        return {"": self.next_hop, **self.next_hops}

    def load_policies(self) -> Policies:
        """The shipped policies and those of the folder `policies`.  Raises policy_file.PolicyError."""
        return Policies(self.policies, phrases=self.phrases)

    def list_files(self) -> dict[str, tuple[Path, ...]]:
        return {str(name): files for name, files in self.lists.items()}

    def load_lists(self) -> Lists:
        """Raises lists.BadList."""
        return Lists(self.list_files())

    def load_phrases(self) -> Phrases:
        """The shipped phrase sets and those of the folder `phrases`.  Raises phrases.PhraseError."""
        return Phrases(self.phrases)

    def load_footers(self) -> Footers:
        """The shipped footers and those of the folder `footers`.  Raises footers.FooterError."""
        return Footers(self.footers)

    def encrypted(self, tenant: model.Tenant) -> bool:
        """The way to this tenant's next hop is TLS, which is never given up where it is asked for."""
        return self._hop(tenant).tls != "none"

    def feedback_source(self, tenant: model.Tenant) -> str:
        """How bounces and complaints of this tenant's mail come back; "none" where they do not."""
        return self._hop(tenant).feedback

    def verp(self, tenant: model.Tenant) -> bool:
        """Its mail leaves with a return path of ours."""
        return tenant.verp and self._hop(tenant).feedback == "verp"

    def envelope_domain(self, tenant: model.Tenant) -> str:
        """The domain in the envelope behind the next hop, where it is not the sender's: SPF is judged for that."""
        return self._hop(tenant).envelope_domain or (self.feedback.domain or "" if self.verp(tenant) else "")

    def _hop(self, tenant: model.Tenant) -> HopConfig:
        return self.next_hops.get(tenant.next_hop, self.next_hop)

    def file_tenants(self, *, keys: bool = True) -> list[model.Tenant]:
        """The tenants that this file declares.

        keys  read the DKIM key files (else Domain.key is None).  Raises ConfigError if one is not a key.
        """
        return [self._tenant(id, tenant, keys) for id, tenant in self.tenants.items()]

    def _tenant(self, id: str, tenant: TenantConfig, keys: bool) -> model.Tenant:
        domains = []
        for name, domain in tenant.domains.items():
            dkim = domain.dkim
            ours = tuple(selector for selector, _ in dkim.ours()) if dkim else ()
            domains.append(
                model.Domain(
                    name=name,
                    tenant=id,
                    verified=domain.verified,
                    dkim_by=dkim.by if dkim else None,
                    selector=ours[0] if ours else "",
                    selectors=(dkim.selectors or ours) if dkim else (),
                    signers=dkim.signers() if dkim and dkim.by == "relay" and keys else (),
                )
            )
        return model.Tenant(
            id=id,
            policy=tenant.policy,
            profile=tenant.profile(),
            client=tenant.client,
            domains=tuple(domains),
            overrides=tuple(_override(check, override) for check, override in tenant.overrides.items()),
            shadow=tenant.shadow,
            quota=dict(tenant.quota),
            next_hop=tenant.next_hop,
            agreements={str(name): until for name, until in tenant.agreements.items()},
            opt_out=tenant.opt_out,
            transfers=tenant.transfers,
            language=tenant.language,
            single=frozenset(name for name, stream in tenant.streams.items() if stream.recipients == "one"),
            reasons={name: stream.reason for name, stream in tenant.streams.items() if stream.reason},
            list_ids={name: stream.list_id for name, stream in tenant.streams.items() if stream.list_id},
            feedback_id=tenant.feedback_id,
            verp=tenant.verp,
            from_file=True,
        )

    def file_credentials(self) -> list[model.Credential]:
        """The credentials that this file declares.  Reads the password files; raises ConfigError."""
        return [
            model.Credential(
                name=name,
                tenant=id,
                stream=credential.stream,
                password_hash=_hash(first_line(credential.password_file)) if credential.password_file else None,
                networks=credential.networks,
            )
            for id, tenant in self.tenants.items()
            for name, credential in tenant.credentials.items()
        ]


# -- reading it --------------------------------------------------------------------------
def load(path: Path | str, *, secrets: bool = False) -> Config:
    """The configuration in `path`, or ConfigError with every problem at once.

    secrets  also open what serving needs: certificate and key, password files, DKIM keys
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    return parse(text, str(path), folder=path.absolute().parent, secrets=secrets)


def parse(text: bytes, name: str, *, folder: Path, secrets: bool = False) -> Config:
    """`load` of octets; `name` stands in messages, relative paths start at `folder`."""
    document = Document.read(text, name)
    unread = document.data is None and document.problems
    config = None
    if not unread:
        instead = {
            "listen": [{"host": "127.0.0.1", "port": 0, "tls": "none"}],
            "next_hop": {"host": "next-hop.invalid"},
            "operator": {"name": "-", "from": "a@example.invalid", "abuse": "a@example.invalid"},
        }
        config = document.check_partly(Config, instead, {"folder": folder})
    lines: list[str] = []
    if config is not None:
        wrong = {problem.path for problem in document.problems}
        checks = [*_refusals(config), *(_unreadable(config) if secrets else ())]
        policies, lines = Policies.partly(
            config.policies if config.policies and config.policies.is_dir() else None,
            config.phrases if config.phrases and config.phrases.is_dir() else None,
        )
        checks += _tenant_refusals(config, policies)
        if config.phrases is not None and config.phrases.is_dir():
            lines = [*lines, *phrase_problems(config.phrases)]
        if config.footers is not None and config.footers.is_dir():
            lines = [*lines, *footer_problems(config.footers)]
        for place, what in checks:
            if not any(_near(place, other) for other in wrong):
                document.problem(place, what, key=what.startswith(("already", "unknown")))
    lines = [*document.lines(), *lines]
    if lines or config is None:
        raise ConfigError(lines or [f"{name}:1:1: cannot be read"])
    config._file = folder / Path(name).name
    return config


def _near(place: Path_, wrong: Path_) -> bool:
    """A rule across settings is not asked where one of them is wrong already."""
    depth = {"listen": 2, "next_hops": 2, "tenants": 4}.get(str(place[0]), 1)
    return bool(wrong) and (place[:depth] == wrong[:depth] or wrong == place[: len(wrong)])


_SOURCES: dict[str, Callable[[FeedbackConfig], Any]] = {
    "verp": lambda feedback: feedback.domain and feedback.listen,
    "forwarded": lambda feedback: feedback.listen and (feedback.addresses or feedback.domain),
    "ses-sns": lambda feedback: feedback.ses,
    "sendgrid": lambda feedback: feedback.sendgrid,
    "mailgun": lambda feedback: feedback.mailgun,
    "postmark": lambda feedback: feedback.postmark,
}
_SOURCE_NEEDS = {
    "verp": "feedback.domain, whose MX leads to feedback.listen",
    "forwarded": "feedback.listen, and the mailboxes that are forwarded there in feedback.addresses",
    "ses-sns": "feedback.ses: {topics: [ARN]}",
    "sendgrid": "feedback.sendgrid: {public_key_file: FILE}",
    "mailgun": "feedback.mailgun: {signing_key_file: FILE}",
    "postmark": "feedback.postmark: {secret_file: FILE}",
}


def _refusals(config: Config) -> Iterator[tuple[Path_, str]]:
    """What no single setting can tell."""
    taken: dict[tuple[str, int], str] = {}
    for i, listener in enumerate(config.listen):
        at: Path_ = ("listen", i)
        if listener.auth == "none":
            if not listener.loopback and not listener.networks:
                yield (*at, "auth"), "auth: none off loopback needs networks: anybody could send"
            if not listener.tenant:
                yield (*at, "auth"), "auth: none needs tenant: whose mail is it?"
        else:
            if listener.tls == "none" and not listener.loopback:
                yield (*at, "tls"), "auth: required with tls: none off loopback would show passwords to the network"
            if listener.tenant:
                yield (*at, "tenant"), "tenant is for auth: none; a login brings its own"
            if listener.stream != "marketing":
                yield (*at, "stream"), "stream is for auth: none; a login brings its own"
        if listener.tls != "none" and config.tls is None:
            yield (*at, "tls"), f"tls: {listener.tls} needs a certificate: tls: {{cert: FILE, key: FILE}}"
        yield from _port(taken, at, listener.host, listener.port)
    for name in ("public", "admin"):
        if web := getattr(config.http, name):
            yield from _port(taken, ("http", name), web.host, web.port)
    for name, hop in config.hops().items():
        at = ("next_hops", name) if name else ("next_hop",)
        for listener in config.listen:
            if hop.port == listener.port and _same_host(hop.host, listener.host, config.hostname):
                yield (*at, "port"), f"the next hop is our own listener {listener.name}: mail would go in circles"
        if bool(hop.user) != bool(hop.password_file):
            missing = "password_file" if hop.user else "user"
            yield (*at, "user" if hop.user else "password_file"), f"needs {missing} beside it"
        if hop.tls == "none":
            for name_ in ("ca_file", "server_name"):
                if getattr(hop, name_) is not None:
                    yield (*at, name_), f"{name_} has no meaning with tls: none"
        source = _SOURCES.get(hop.feedback)
        if source is not None and not source(config.feedback):
            yield (*at, "feedback"), f"feedback: {hop.feedback} needs {_SOURCE_NEEDS[hop.feedback]}"
    for i, door in enumerate(config.feedback.listen):
        at = ("feedback", "listen", i)
        if door.host is not None:
            if not is_loopback(door.host) and not door.networks:
                yield (*at, "networks"), 'who may connect? an MX takes mail from everywhere: [0.0.0.0/0, "::/0"]'
            yield from _port(taken, at, door.host, door.port)
        if door.tls == "starttls" and config.tls is None:
            yield (*at, "tls"), "tls: starttls needs a certificate: tls: {cert: FILE, key: FILE}"
    clamd = config.scanners.clamd
    if clamd is not None and clamd.socket is not None and clamd.model_fields_set & {"host", "port"}:
        yield ("scanners", "clamd", "socket"), "socket, or host and port; not both"
    if config.counters != "store":
        if config.counters.startswith(("valkey:", "redis:")):
            yield ("counters",), "Valkey is not in this version; store is"
        else:
            yield ("counters",), f"must be store{near(config.counters, ['store'])}"
    if config.policies is not None and not config.policies.is_dir():
        yield ("policies",), "not a folder"
    if config.phrases is not None and not config.phrases.is_dir():
        yield ("phrases",), "not a folder"
    if config.footers is not None and not config.footers.is_dir():
        yield ("footers",), "not a folder"
    for name, files in config.lists.items():
        for i, file in enumerate(files):
            try:
                Lists({name: (file,)})
            except BadList as error:
                yield ("lists", name, i), str(error)


def _port(taken: dict[tuple[str, int], str], at: Path_, host: str, port: int) -> Iterator[tuple[Path_, str]]:
    if not port:
        return
    for (other, used), name in taken.items():
        if used == port and (other == host or {other, host} & {"0.0.0.0", "::"}):
            yield (*at, "port"), f"this port is taken by {name}"
            break
    taken[host, port] = ".".join(map(str, at))


def _same_host(hop: str, listener: str, hostname: str) -> bool:
    local = {"localhost", "127.0.0.1", "::1", hostname.lower()}
    if listener in ("0.0.0.0", "::"):
        return hop.lower() in local or is_loopback(hop)
    if listener.lower() in ("localhost",) or is_loopback(listener):
        return hop == listener or hop.lower() == "localhost" or (listener == "localhost" and is_loopback(hop))
    return hop.lower() == listener.lower()


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _tenant_refusals(config: Config, policies: Policies) -> Iterator[tuple[Path_, str]]:
    verified: dict[str, str] = {}
    logins: dict[str, str] = {}
    alone: dict[str, str] = {}
    for id, tenant in config.tenants.items():
        at: Path_ = ("tenants", id)
        policy = policies.get(tenant.policy) if tenant.policy in policies.names() else None
        if policy is None and tenant.policy not in policies.broken:
            yield (*at, "policy"), f"no such policy{near(tenant.policy, policies.names())} (got {tenant.policy!r})"
        if tenant.next_hop and tenant.next_hop not in config.next_hops:
            yield (*at, "next_hop"), f"no such name in next_hops{near(tenant.next_hop, config.next_hops)}"
        for name, domain in tenant.domains.items():
            here: Path_ = (*at, "domains", name)
            if domain.verified:
                if name in verified:
                    yield here, f"already a verified domain of tenant {verified[name]!r}"
                verified.setdefault(name, id)
            if domain.dkim is not None:
                yield from (((*here, "dkim"), what) for what in _dkim_refusals(domain.dkim))
        for name, credential in tenant.credentials.items():
            here = (*at, "credentials", name)
            if name in logins:
                yield here, f"already a credential of tenant {logins[name]!r}; names are unique over all tenants"
            logins.setdefault(name, id)
            if credential.password_file is None:
                if not credential.networks:
                    yield here, "needs password_file, networks, or both"
                for net in credential.networks:
                    if net in alone:
                        yield (*here, "networks"), f"{net} is already the login of credential {alone[net]!r}"
                    alone.setdefault(net, name)
        for key in tenant.quota:
            if key not in _WINDOWS:
                yield (*at, "quota", key), f"unknown quota{near(key, _WINDOWS)}"
        for check, override in tenant.overrides.items():
            here = (*at, "overrides", check)
            if check not in NAMES:
                yield here, f"unknown check{near(check, NAMES)}"
            elif policy is not None:
                for step, what in override_problems(policy, _override(check, override)):
                    yield (*here, *step), what
    if (dkim := config.operator.dkim) is not None:
        problems = _dkim_refusals(dkim) if dkim.by == "relay" else ("the relay itself signs its notices: by: relay",)
        yield from ((("operator", "dkim"), what) for what in problems)
    lacks = "" if config.http.base_url.startswith("https://") else "an https base_url"
    if lacks or config.http.public is None:
        for name in policies.names():
            if check := policies.needs_base_url(name):
                what = f"policy {name!r} repairs {check} and has no else: that needs {lacks or 'pages'}"
                yield ("http", "base_url" if lacks else "public"), what


def _dkim_refusals(dkim: Dkim) -> Iterator[str]:
    if dkim.by == "relay":
        if dkim.keys and (dkim.selector or dkim.key_file):
            yield "one key is selector and key_file, several are keys: not both"
        elif not dkim.keys and not (dkim.selector and dkim.key_file):
            yield "by: relay needs selector and key_file, or keys"
        names = [key.selector for key in dkim.keys]
        if twice := [name for number, name in enumerate(names) if name in names[:number]]:
            yield f"two keys of the selector {twice[0]!r}; each is published under its own"
    elif dkim.by == "next-hop" and not dkim.selectors:
        yield "by: next-hop needs selectors, so that the published key can be looked up"
    elif dkim.by == "client" and (dkim.selector or dkim.key_file or dkim.keys):
        yield "by: client needs no selector and no key_file; ours would not be used"


def _override(check: str, override: OverrideConfig) -> model.Override:
    return model.Override(
        check=check,
        then=model.Then(override.then) if override.then else None,
        settings=dict(override.model_extra or {}),
        shadow=override.shadow,
        reason=override.reason,
        by=override.by,
        until=override.until,
    )


# -- what lies in files of its own ---------------------------------------------------------
def _unreadable(config: Config) -> Iterator[tuple[Path_, str]]:
    if config.tls is not None:
        yield from ((("tls", name), what) for name, what in _tls_problem(config.tls))
    for name, hop in config.hops().items():
        at: Path_ = ("next_hops", name) if name else ("next_hop",)
        if hop.password_file is not None and (what := _said(first_line, hop.password_file)):
            yield (*at, "password_file"), what
        if hop.ca_file is not None:
            try:
                ssl.create_default_context(cafile=str(hop.ca_file))
            except (OSError, ssl.SSLError) as error:
                yield (*at, "ca_file"), f"not certificates in PEM form: {_why(error)}"
    rspamd = config.scanners.rspamd
    if rspamd is not None and rspamd.password_file is not None and (what := _said(first_line, rspamd.password_file)):
        yield ("scanners", "rspamd", "password_file"), what
    feedback = config.feedback
    if feedback.sendgrid is not None and (what := _said(read_public_key, feedback.sendgrid.public_key_file)):
        yield ("feedback", "sendgrid", "public_key_file"), what
    if feedback.mailgun is not None and (what := _said(first_line, feedback.mailgun.signing_key_file)):
        yield ("feedback", "mailgun", "signing_key_file"), what
    if feedback.postmark is not None and (what := _said(first_line, feedback.postmark.secret_file)):
        yield ("feedback", "postmark", "secret_file"), what
    if own := config.operator.dkim:
        for at, file in own.key_places():
            if what := _said(read_key, file):
                yield ("operator", "dkim", *at), what
    for id, tenant in config.tenants.items():
        for name, domain in tenant.domains.items():
            for at, file in domain.dkim.key_places() if domain.dkim else ():
                if what := _said(read_key, file):
                    yield ("tenants", id, "domains", name, "dkim", *at), what
        for name, credential in tenant.credentials.items():
            if credential.password_file and (what := _said(first_line, credential.password_file)):
                yield ("tenants", id, "credentials", name, "password_file"), what


def _tls_problem(tls: Tls) -> Iterator[tuple[str, str]]:
    for name in ("cert", "key"):
        try:
            getattr(tls, name).read_bytes()
        except OSError as error:
            yield name, f"cannot be read: {error.strerror}"
            return
    try:
        # A pass phrase that is asked for would hang the start; an empty one fails instead.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield "key", "the key does not belong to the certificate"
        else:
            yield "cert", f"certificate and key cannot be used: {error.reason or 'not PEM'}"
    except (OSError, ValueError) as error:
        yield "cert", f"certificate and key cannot be used: {_why(error)}"


def _said(read: Any, file: Path) -> str:
    try:
        read(file)
    except ConfigError as error:
        return str(error)
    return ""


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0][:100]


def first_line(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            line = opened.readline(4096)
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"]) from None
    try:
        password = line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(["the first line is not UTF-8 text"]) from None
    if not password:
        raise ConfigError(["the first line is empty"])
    if password.startswith("$argon2") and not password.startswith("$argon2id$v=19$"):
        raise ConfigError(["only $argon2id$v=19$ hashes are taken"])
    return password


_hashed: dict[bytes, str] = {}
_pepper = os.urandom(32)


def read_public_key(file: Path) -> Any:
    """An elliptic-curve key that verifies: in PEM form, or as SendGrid shows it (base64).  Raises ConfigError."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    try:
        text = file.read_text(encoding="utf-8").strip()
        pem = text.startswith("-----")
        key = load_pem_public_key(text.encode()) if pem else load_der_public_key(base64.b64decode(text, validate=True))
    except OSError as error:
        raise ConfigError([_why(error)]) from None
    except (ValueError, TypeError):
        raise ConfigError(["not a public key: give the verification key as it is shown"]) from None
    if not isinstance(key, EllipticCurvePublicKey):
        raise ConfigError(["not an elliptic-curve key"])
    return key


def _hash(password: str) -> str:
    """argon2id of a plain password, once a process: what has not changed keeps its hash over a reload."""
    if password.startswith("$argon2id$"):
        return password
    key = hashlib.blake2b(password.encode(), key=_pepper, digest_size=32).digest()
    if key not in _hashed:
        from argon2 import PasswordHasher

        _hashed[key] = PasswordHasher().hash(password)
    return _hashed[key]


def read_key(file: Path) -> Any:
    """A DKIM private key (PEM, RSA of 1024 bits or more, or Ed25519) as an object of `cryptography`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"]) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(["not a private key in PEM form without a pass phrase"]) from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < 1024:
            raise ConfigError([f"an RSA key of {key.key_size} bits; RFC 8301 wants 1024 at least, better 2048"])
    elif not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(["DKIM knows RSA and Ed25519 keys only"])
    return key
