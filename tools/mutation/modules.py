"""The modules that are changed, and the tests that look at them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CORE", "MODULES", "ROOT", "TEST_FILES"]

ROOT = Path(__file__).parents[2]
CORE = ROOT / "packages/rabibridge-core/src/rabibridge_core"
MODULES: tuple[str, ...] = (
    # The client: how calls are sent, kept and ended.
    "_client.call_table", "_client.pending", "_client.resend", "_client.refusals", "_client.retry",
    "_client.retry_budget", "_client.admission", "_client.timeouts", "_client.client", "_concurrency.deadlines",
    # The server: how requests are started, bounded, settled and answered.
    "_server.settlement", "_server.processor", "_server.concurrency", "_server.active_request", "_server.stopping",
    "_server.drain", "_server.cancelled_calls", "_server.deduplication", "_server.outstanding", "_server.outlasting",
    "_server.run_limit", "_server.wait_limit", "_server.service", "_server.admission", "_server.repeated_calls",
    "_server.cleanup",
    # Streams: credit, order, ends.
    "_client.send_window", "_client.stream_state", "_client.stream_run", "_server.streams", "_server.streaming",
    "_server.stream_settlement", "_server.stream_sessions", "_server.uploads", "_client.streaming",
    # The rest of both.
    "_server.class_limiter", "_server.fair_queue", "_server.fair_limiter", "_server.classed_service",
    "_client.hedged_call", "_client.hedge", "_client.bulk", "_client.broadcasting", "_client.broadcast_state",
    "_client.idempotency", "_client.circuit", "_client.silence", "_client.notify", "_client.preparation",
    "_client.uploading", "_client.upload_messages", "_client.progress", "_client.routes", "_client.throttle",
    "_concurrency.background", "_server.running_services", "_server.service_set", "_server.broadcasts",
    "_server.call_scope", "_server.upload_iterators", "_server.rate_limiter", "_server.run_times",
)  # fmt: skip
"""Within ``rabibridge_core``, the most important ones first."""
TEST_FILES: tuple[str, ...] = (
    "tests/conformance/test_fake.py", "tests/unit/test_acknowledgements.py", "tests/unit/test_broadcast*.py",
    "tests/unit/test_bulk*.py", "tests/unit/test_call_*.py", "tests/unit/test_circuit*.py",
    "tests/unit/test_class*.py", "tests/unit/test_client_*.py", "tests/unit/test_control_*.py",
    "tests/unit/test_deadline*.py", "tests/unit/test_deduplication.py", "tests/unit/test_drain.py",
    "tests/unit/test_fair_*.py", "tests/unit/test_outstanding.py",
    "tests/unit/test_fast_path.py", "tests/unit/test_hedge*.py", "tests/unit/test_hostile_peer.py",
    "tests/unit/test_max_wait.py", "tests/unit/test_mixed_deadlines.py", "tests/unit/test_notify.py",
    "tests/unit/test_outlasting.py", "tests/unit/test_progress.py", "tests/unit/test_rate*.py",
    "tests/unit/test_request_*.py", "tests/unit/test_retry*.py", "tests/unit/test_rpc.py", "tests/unit/test_run_*.py",
    "tests/unit/test_running_calls.py", "tests/unit/test_server_*.py", "tests/unit/test_service_*.py",
    "tests/unit/test_stream*.py", "tests/unit/test_throttle.py", "tests/unit/test_unsendable_answers.py",
    "tests/unit/test_upload*.py", "tests/unit/test_fake_faults.py", "tests/unit/test_fake_lost_channels.py",
    "tests/unit/test_opening_services.py", "tests/unit/test_eager_tasks.py",
)  # fmt: skip
"""Those of the engines on the in-memory broker and on scripted transports."""
