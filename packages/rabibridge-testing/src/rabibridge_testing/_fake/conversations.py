"""Records the conversations of a fake broker, and replays them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge_core.transport import Reply
from rabibridge_testing._fake.recorder import error_headers, exchanges_of
from rabibridge_testing._fake.records import name_and_signature
from rabibridge_testing._fake.replaying import Recording, ReplayStub, upload_names
from rabibridge_testing._fake.serving import Served
from rabibridge_testing._fake.stubbing import Stubs
from rabibridge_testing._memory.threads import locked
from rabibridge_testing._recordings.file import RecordingError, read_file, write_file
from rabibridge_testing._recordings.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from rabibridge_testing._memory.consumer import ConsumerHost
    from rabibridge_testing._memory.messages import Message

__all__ = ["Conversations"]


class Conversations(Stubs):
    """The recorded conversations of a fake broker."""

    def __init__(self) -> None:
        """Start without any."""
        super().__init__()
        self._recordings: list[Recording] = []
        self._failing: dict[bytes, dict[str, Any]] = {}

    @contextmanager
    def record(
        self,
        path: str | os.PathLike[str],
        *,
        services: Collection[str] | None = None,
        redact: Collection[str] = (),
        functions: Collection[Callable[..., Any]] = (),
    ) -> Iterator[None]:
        """Write the calls that are made inside the block into a file, which :meth:`replay` answers calls with.

        The file is JSON, readable by its owner only, and holds for each call its service, its arguments and what it
        ended with: a result, the items of a stream, an error, or a refusal; and of an upload, the items. It has neither
        times nor ids, so that another recording of the same calls is the same file. If the block fails, nothing is
        written.

        What has the name of a secret, such as ``password``, ``token``, ``api_key`` or ``authorization``, is written as
        ``"<redacted>"``: arguments, keys of maps, headers; and so are passwords in URLs, and the same texts in other
        places of the recording.

        Args:
            path: the file.
            services: the services whose calls are written; ``None``: all.
            redact: further names of secrets.
            functions: functions of services, whose signatures say what positional arguments are called: those have no
                names otherwise, unless this broker serves the function.

        Raises:
            RecordingError: a call is encrypted, or has a value that cannot be written.
        """
        begin = len(self.traces)
        yield
        traces = [trace for trace in list(self.traces)[begin:] if services is None or trace.service in services]
        secrets = [
            secret
            for endpoint in (() if self._settings is None else self._settings.endpoints)
            if (secret := endpoint.password.reveal()) != endpoint.username
        ]
        names = self._argument_names(functions)
        exchanges = exchanges_of(
            traces, self._reader, self.now(), Redaction(redact, secrets), lambda service: names.get(service, ())
        )
        write_file(path, exchanges)

    def _argument_names(self, functions: Collection[Callable[..., Any]]) -> dict[str, Sequence[str]]:
        served = [service.schema.func_ptr for name, service in self._services.items() if name not in self._stubs]
        names: dict[str, Sequence[str]] = {}
        for function in (*functions, *served):
            name, signature = name_and_signature(function)
            if signature is not None:
                names[name] = [each.name for each in signature.parameters.values() if each.kind <= each.VAR_POSITIONAL]
        return names

    def replay(
        self,
        path: str | os.PathLike[str],
        *,
        redact: Collection[str] = (),
        functions: Collection[Callable[..., Any]] = (),
    ) -> Recording:
        """Answer calls as a file of :meth:`record` says.

        A call gets what the first recorded one with the same service and arguments got that was not replayed yet: calls
        may come in any order, and equal ones get one answer after another. A call that is not in the file, or is used
        up, ends with RemoteExecutionError, which shows the nearest one; a strict broker fails the test for it, and for
        recorded calls that were not made.

        Args:
            path: the file.
            redact: as for :meth:`record`.
            functions: as for :meth:`record`.

        Raises:
            RecordingError: the file holds no conversation.
            RegistrationError: the broker serves a function or a stub of one of the services.
        """
        self.needs_memory("fake_broker.replay")
        recording = Recording(os.path.basename(os.fspath(path)), read_file(path), Redaction(redact))
        for service, names in self._argument_names(functions).items():
            recording.name_arguments(service, names)
        for service in recording.services():
            self._replay(recording, service)
        self._recordings.append(recording)
        return recording

    def _replay(self, recording: Recording, service: str) -> None:
        exchanges = recording.of(service)
        kind = next((each.kind for each in exchanges if each.kind != "any"), "async")
        uploads, signature = upload_names(exchanges)
        streams = any(each.items is not None for each in exchanges)
        stub, schema, queue = self._made_of(service, kind, streams, ReplayStub)
        if signature is not None:
            handler: Any = schema.func_ptr
            handler.__signature__ = signature
            schema, queue = replace(schema, uploads=uploads), replace(queue, streams=True)
        if service in self._stubs:
            raise RecordingError(f"{service!r} has a stub, or is replayed from another file: begin anew by reset()")
        assert isinstance(stub, ReplayStub)
        stub.recording, stub.fail = recording, self._failing.__setitem__
        self._use(stub, Served(schema, queue))

    @locked
    def reply(self, message: Message, reply: Reply, worker: ConsumerHost) -> None:
        """Send a reply; a failure that is replayed has the recorded error."""
        if (error := self._failing.pop(message.request.correlation_id, None)) is not None:
            text = f"{error.get('type', '')}: {error.get('message', '')}"
            reply = Reply(*self._reader.encode([1, text]), {**(reply.headers or {}), **error_headers(error)})
        super().reply(message, reply, worker)

    def _forget_services(self) -> None:
        """Forget recordings, too."""
        self._recordings.clear()
        super()._forget_services()
