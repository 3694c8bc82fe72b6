"""Which test shows each limit of docs/limits.md, in the order of its table."""

from __future__ import annotations

__all__ = ["EXACT", "TESTS"]

UNIT, BROKER = "tests/unit/test_", "tests/rabbitmq/test_"
CONFORMANCE = "packages/rabibridge-testing/src/rabibridge_testing/conformance/"
HERE = "tests/security/test_limits.py::test_"
EXACT = f"{HERE}at_the_limit_and_one_above"
TESTS = {
    "calls in the queue of a service": f"{BROKER}limits.py::test_a_full_queue_refuses_and_what_it_refused_never_runs",
    "time in the queue": f"{BROKER}limits.py::test_the_queue_timeout_drops_what_waited_too_long",
    "time that a call waits until it starts": f"{UNIT}max_wait.py::"
    "test_the_wait_stays_below_the_limit_whatever_the_workers_manage",
    "calls that a worker runs at a time": f"{BROKER}limits.py::test_fetch_size_bounds_the_calls_in_flight_exactly",
    'the same with `fetch_size="auto"`': f"{UNIT}adaptive_limit.py::test_the_bounds_are_kept_whatever_happens",
    "calls that start in a time, on all workers together": f"{BROKER}rates.py::"
    "test_it_holds_over_four_workers_of_which_one_is_killed_and_one_is_added",
    "time that a call runs": f"{UNIT}run_timeout.py::test_a_call_without_a_timeout_ends_and_gives_back_its_place",
    "time of a call that names none": f"{UNIT}client_timeouts.py::test_the_default_ends_a_call",
    "calls in a [chain](guarantees.md#a-service-that-calls-itself)": f"{UNIT}call_chains.py::"
    "test_a_chain_loses_its_oldest_links_where_it_grows_too_long",
    "pending calls of a client": f"{UNIT}client_admission.py::test_more_wait_in_their_order",
    "redeliveries of a call": f"{BROKER}dead_letters.py::"
    "test_a_call_that_kills_its_workers_ends_there_once_and_its_caller_is_told",
    "connections": f"{HERE}connections_are_limited_by_the_broker",
    "channels of a connection": f"{HERE}a_client_or_server_names_the_limit_of_channels",
    "channels of a user, in all connections": f"{BROKER}broker_limits.py::"
    "test_a_server_whose_user_may_open_too_few_channels",
    "queues of a virtual host": f"{BROKER}broker_limits.py::test_more_queues_than_the_virtual_host_may_have",
    "body on the wire": EXACT,
    "body decompressed": EXACT,
    "memory of a decoded body": f"{UNIT}decoding_limits.py::test_the_limit_is_a_setting_of_the_codec",
    "nesting of a value": f"{UNIT}nesting.py::test_what_may_be_sent_may_be_received_however_deep_it_is",
    "digits of a number in JSON, or of a `Decimal`": EXACT,
    "dimensions of an array": EXACT,
    "name of a service": EXACT,
    "name of a namespace": EXACT,
    "classes of criticality of a service": f"{UNIT}classes.py::"
    "test_what_no_class_can_be_is_refused_with_the_name_of_the_service",
    "name of a connection": EXACT,
    "idempotency key": EXACT,
    "name of a header of yours": EXACT,
    "text of a header of yours": EXACT,
    "file that holds a secret": EXACT,
    "message of an error in a reply": f"{HERE}what_is_cut",
    "traceback in a reply": f"{HERE}what_is_cut",
    "fields of a declared error": f"{HERE}fields_of_an_error",
    "what a stream may have on its way": f"{HERE}the_window_that_a_caller_may_ask_for",
    "items gathered in one message": f"{HERE}items_gathered_in_one_message",
    "replies in one [bundle](protocol.md#bundles-of-replies)": f"{UNIT}bundles.py::"
    "test_replies_of_several_callers_stay_apart_and_a_full_bundle_leaves_early",
    "text of a progress report": f"{HERE}what_is_cut",
    "arguments of a broadcast": f"{CONFORMANCE}broadcasts.py::test_one_that_is_too_large_is_not_sent",
    "broadcasts that wait in a worker": f"{UNIT}broadcast_lane.py::test_one_runs_and_sixty_four_wait",
    "second copies of calls ([hedges](tails.md))": f"{UNIT}hedge.py::test_at_most_one_copy_more_than_five_percent",
    "services whose latency a client measures for hedges": f"{UNIT}hedge.py::"
    "test_each_service_has_a_budget_and_few_are_kept",
    "circuits that a client keeps for its [breakers](errors.md#when-a-service-fails)": f"{UNIT}circuit.py::"
    "test_few_circuits_are_kept",
    "cancellations that wait for a worker": f"{BROKER}one_message.py::test_cancellations_are_bounded_in_bytes",
    "cancelled calls that a worker remembers": f"{UNIT}service_cancellation.py::"
    "test_remembered_cancellations_are_bounded_and_the_oldest_are_dropped",
    "signed requests that a worker remembers": f"{UNIT}replay_memory.py::"
    "test_when_it_is_full_new_ones_are_refused_and_the_first_stays_remembered",
    "control requests that wait in a worker": f"{UNIT}control_responder.py::"
    "test_a_flood_is_answered_in_turns_and_bounded",
    "answer to a control request": EXACT,
    "kinds of failures in the statistics of a service": f"{UNIT}service_statistics.py::"
    "test_failures_stay_few_and_short",
    "replies kept for idempotency keys": f"{UNIT}deduplication.py::test_nobody_evicts_the_answers_of_another",
    "dead letters in `rpc.dead`": f"{BROKER}dead_letters.py::test_what_a_dead_letter_carries",
    "dead letters of one sender to one service, by one worker": f"{UNIT}letter_shares.py::"
    "test_a_user_gets_its_share_and_takes_nothing_from_others",
    "lines about calls that fail alike": f"{UNIT}failure_log.py::"
    "test_a_thousand_requests_that_are_given_up_are_one_line_and_a_count",
}
