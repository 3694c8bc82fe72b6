"""The settings that every client and server has.

All that concerns a setting is declared here: what it accepts, its default and what it means. Its variable, its key in
the file and its row in docs/configuration.md follow from that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from rabibridge_core._codec.signing import MIN_KEY_SIZE
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import parsers
from rabibridge_core.settings.fields import (
    boolean_setting,
    choice_setting,
    integer_setting,
    seconds_setting,
    setting,
)
from rabibridge_core.settings.observability import ObservabilitySettings
from rabibridge_core.settings.transports import TransportSettings

if TYPE_CHECKING:
    from rabibridge_core.settings.endpoints import Endpoint, Secret
    from rabibridge_core.transport import QueueType

__all__ = ["Settings"]

_T = TypeVar("_T", bound=TransportSettings)

_RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ObservabilitySettings):
    """All settings of one client or server. Every value is checked, however the object is made.

    Durations are in seconds, sizes in bytes. docs/configuration.md has a table of all settings.

    Attributes:
        endpoints: the brokers, in the order in which to try them; empty if the transport needs none.
        transport: the settings that the transport adds; :meth:`transport_as` returns them with their type.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    endpoints: tuple[Endpoint, ...] = ()
    transport: TransportSettings = field(default_factory=TransportSettings)
    serializer: str = setting(
        default="msgpack",
        parse=parsers.parse_name,
        allowed="the name of a serializer, such as msgpack or json",
        aliases=["SERIALISER"],
        meaning="how calls are encoded: `msgpack`, `json`, `pickle`, `cloudpickle`, or a serializer from a plug-in; "
        "also the argument `serializer=` of clients and servers. `SERIALISER` is another name of it",
    )
    namespace: str = setting(
        default="",
        parse=parsers.parse_namespace,
        allowed="1 to 32 letters, digits, '_' and '-', not beginning with rpc or amq, or none",
        shown_default="none",
        meaning="puts everything that has a name on the broker under this one, apart from all other namespaces: see "
        "[namespaces](permissions.md#namespaces). Clients and servers meet in the same one only. Also the argument "
        "`namespace=` of clients and servers",
    )
    call_timeout: float | None = setting(
        default=3600.0,
        parse=parsers.parse_limit,
        allowed="more than 0 seconds, or none",
        meaning="the timeout of calls that specify none, so that every call ends; `timeout=math.inf` lifts it for one "
        "call",
    )
    max_pending: int = integer_setting(
        1,
        2**31 - 1,
        default=65_536,
        unit="calls",
        meaning="most calls pending at once in one client; further calls wait for a free slot, within their timeout",
    )
    queue_type: QueueType = choice_setting(  # noqa: RUF009 - this is field() with metadata
        "classic",
        "quorum",
        default="classic",
        meaning="queue type of services that do not specify one; see [guarantees](guarantees.md#which-queue)",
    )
    fetch_size: int | str | None = setting(
        default=None,
        parse=parsers.parse_fetch_size,
        allowed="1 to 65,535 calls, auto, auto(min, max), or none",
        shown_default="none: 256, 32 for functions in threads, the number of CPUs for child processes",
        meaning="how many calls of a service one worker runs at a time, for services that do not say it by "
        "`fetch_size=`; with `auto` it finds out, except for child processes; see "
        "[limits that find themselves](overload.md#limits-that-find-themselves)",
    )
    run_timeout: float | None = setting(
        default=None,
        parse=parsers.parse_limit,
        allowed="more than 0 seconds, or none",
        meaning="how long a call may run on a worker, whatever its caller allows, for services that do not say it by "
        "`run_timeout=`; see [limits](limits.md#run-time)",
    )
    slow_call: float | None = setting(
        default=None,
        parse=parsers.parse_limit,
        allowed="more than 0 seconds, or none",
        meaning="after how long the stack of a call that still runs is logged, for services that do not say it by "
        "`slow_call=`; see [stuck handlers](stuck.md#slow-calls)",
    )
    deadline_admission: bool = boolean_setting(
        default=True,
        meaning="whether workers refuse calls that cannot end in the time that they have left, instead of running them "
        "for nothing, for services that do not say it by `deadline_admission=`; see "
        "[overload](overload.md#calls-that-cannot-end-in-time)",
    )
    remote_traceback: Literal["full", "user", "message", "none"] = choice_setting(
        "full",
        "user",
        "message",
        "none",
        default="full",
        meaning="what callers are told of an exception on a worker, for services that do not say it by "
        "`remote_traceback=`; see [limits](limits.md#error-replies)",
    )
    control: bool = boolean_setting(
        default=True,
        meaning="whether a server answers what `client.workers()`, `client.services()` and `client.ping()` ask",
    )
    identify: bool = boolean_setting(
        default=True,
        meaning="whether requests name the user that sends them, as RabbitMQ has checked: services with `allow=` or a "
        "policy go by it; see [identity](identity.md)",
    )
    connect_timeout: float = seconds_setting(
        0.01,
        3600,
        default=10.0,
        meaning="timeout for connecting to one broker, and again for logging in. The first `connect()` fails once this "
        "time has passed and every broker has been tried; RabbitMQ itself takes about ten seconds to start",
    )
    drain_timeout: float = seconds_setting(
        0,
        86400,
        default=30.0,
        meaning="how long running calls get to finish when a server stops or closes; a client that closes ends its "
        "pending calls at once",
    )
    compress_threshold: int = integer_setting(
        0,
        2**63 - 1,
        default=1024,
        unit="bytes",
        meaning="longer bodies are compressed with zstd if that makes them smaller; from 32 KiB on, samples of the "
        "body decide whether it is tried",
    )
    max_body: int = integer_setting(
        1024,
        512 * 2**20,
        default=8 * 2**20,
        unit="bytes",
        meaning="largest body sent or accepted, as encoded on the wire; see also "
        "[the broker's own limit](protocol.md#sizes)",
    )
    max_decompressed: int = integer_setting(
        1024, 2**34, default=64 * 2**20, unit="bytes", meaning="largest body accepted after decompression"
    )
    max_decoded: int = integer_setting(
        2**20,
        2**40,
        default=256 * 2**20,
        unit="bytes",
        meaning="memory that decoding one body of msgpack or json may take, by an estimate that is rather too high; "
        "larger bodies are refused before any value is made, and those that may take long are decoded in a thread. "
        "Bodies of up to 256 KiB, decompressed, are not measured: they take 32 MiB at most",
    )
    any_map_keys: bool = boolean_setting(
        default=False,
        meaning="lets msgpack send and accept map keys other than str and bytes: numbers, None, datetimes, and tuples, "
        "which stay tuples. All sides need it. Python's hashes of numbers can be predicted: with it, whoever sends can "
        "make the reader compute for minutes",
    )
    signing_key: Secret | None = setting(  # noqa: RUF009 - this is field() with metadata
        default=None,
        parse=parsers.parse_key,
        allowed=f"a text of at least {MIN_KEY_SIZE} bytes",
        secret=True,
        meaning="key that signs the bodies of `pickle` and `cloudpickle`, the same on both sides; these two need it, "
        "or `RABIBRIDGE_TRUST_BROKER`, or a [key ring](signing.md), which signs all formats. See [secrets](#secrets)",
    )
    trust_broker: bool = boolean_setting(
        default=False,
        decides="whose code runs here",
        meaning="declares that everyone who can publish to the broker may run code here: allows `pickle` and "
        "`cloudpickle` without a signature",
    )
    cid_max: int = integer_setting(
        1024,
        2**63 - 1,
        default=2**30,
        unit="ids",
        meaning="without effect, accepted from settings of RabiBridge 0.1: correlation ids are random",
    )
    log_level: str | None = setting(
        default=None,
        parse=parsers.parse_level,
        allowed="DEBUG, INFO, WARNING, ERROR or CRITICAL",
        shown_default="INFO",
        group=_RUN,
        meaning="log level of `rabibridge run`; clients and servers leave logging to the program that contains them",
    )
    log_format: Literal["text", "json"] = choice_setting(
        "text", "json", default="text", group=_RUN, meaning="form of the log: lines of text, or one JSON object a line"
    )
    log_config: str | None = setting(
        default=None,
        parse=parsers.parse_path,
        allowed="the name of a file",
        group=_RUN,
        decides="whose code runs here",
        meaning="file with the configuration of the log, in place of `log_level` and `log_format`",
    )
    workers: int | Literal["auto"] | None = setting(
        default=None,
        parse=parsers.parse_workers,
        allowed="a whole number from 1 to 1024, auto, or none",
        group=_RUN,
        meaning="number of worker processes, under a supervisor that replaces those that die; `auto`: one for each CPU "
        "that the process may use; `none`: the process itself serves",
    )
    start_timeout: float = seconds_setting(
        0.1, 86400, default=60.0, group=_RUN, meaning="how long a worker process may take until it serves"
    )
    wait_for_broker: bool = boolean_setting(
        default=False,
        group=_RUN,
        meaning="keeps trying at the start for as long as no broker can be reached, where otherwise the process ends "
        "after `connect_timeout`",
    )
    bind_core: bool = boolean_setting(default=False, group=_RUN, meaning="binds each worker process to one CPU")
    loop: Literal["auto", "asyncio", "uvloop"] = choice_setting(
        "auto", "asyncio", "uvloop", default="auto", group=_RUN, meaning="event loop; `auto`: uvloop if it is installed"
    )
    max_calls_per_worker: int | None = integer_setting(
        0,
        2**63 - 1,
        default=None,
        unit="calls",
        group=_RUN,
        meaning="a worker that has answered this many calls is replaced, without a failed call; 0: never",
    )
    max_memory_per_worker: int | None = integer_setting(
        0,
        2**63 - 1,
        default=None,
        unit="bytes",
        group=_RUN,
        meaning="a worker whose resident memory exceeds this is replaced, without a failed call; 0: never",
    )
    metrics_port: int | None = integer_setting(
        0,
        65535,
        default=None,
        unit="a port",
        group=_RUN,
        meaning="port for `/metrics`, `/healthz` and `/readyz`, of all workers together; `0`: any that is free; "
        "`none`: they are not served",
    )
    metrics_host: str = setting(
        default="127.0.0.1",
        parse=parsers.parse_host,
        allowed="an IP address or a host name",
        group=_RUN,
        meaning="address that the metrics port listens on; `0.0.0.0`: all of them",
    )

    def transport_as(self, kind: type[_T]) -> _T:
        """Return the settings that the transport adds.

        Args:
            kind: their class, which the transport's declaration names. If these settings are for no transport in
                particular, the result has the default of every setting.

        Raises:
            ConfigurationError: the settings are for another transport.
        """
        if isinstance(self.transport, kind):
            return self.transport
        if type(self.transport) is TransportSettings:
            return kind()
        raise ConfigurationError(
            f"these settings are for another transport: they hold {type(self.transport).__name__}, not "
            f"{kind.__name__}; load them with a URL of the transport, or with its name as transport_name="
        )
