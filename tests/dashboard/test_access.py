from __future__ import annotations

import json
import re

import pytest

from rabibridge.dashboard import Dashboard
from rabibridge_core.errors import ConfigurationError
from tests.dashboard.server import Letters, application, exchange, serving

TOKEN = "a-token-of-some-length"
DATA = ["/", "/static/dashboard.js", "/api/state", "/api/events", "/api/dead"]


OTHERS = [
    "evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "evil.test:80", "xlocalhost", "localhost.", "", "[::1",
    "localhost@evil.test", "evil.test/localhost", "localhost:x", "127.0.0.11", "[::2]",
]  # fmt: skip


async def test_loopback_names_are_answered() -> None:
    hosts = ["localhost", "localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST"]
    async with serving(application()) as port:
        statuses = {
            host: (await exchange(port, f"GET /api/state HTTP/1.1\nHost: {host.format(port=port)}\n\n"))[0]
            for host in hosts
        }

    assert statuses == dict.fromkeys(hosts, 200)


async def test_a_name_that_somebody_pointed_at_this_machine_gets_no_data() -> None:
    async with serving(application()) as port:
        for host in OTHERS:
            for path in DATA:
                status, headers, body = await exchange(port, f"GET {path} HTTP/1.1\nHost: {host}\n\n")
                assert status in {400, 421}, (host, path)
                assert "services" not in body
                assert "script" not in headers.get("content-type", "")


async def test_a_name_that_is_allowed_is_compared_whole() -> None:
    app = application(hosts=["ops.example.com"])
    statuses = []
    async with serving(app) as port:
        for host in ["ops.example.com", "OPS.example.com:8080", "ops.example.com.evil", "xops.example.com"]:
            statuses.append((await exchange(port, f"GET /api/state HTTP/1.1\nHost: {host}\n\n"))[0])

    assert statuses == [200, 200, 421, 421]


async def test_every_response_forbids_frames_guessing_and_foreign_scripts() -> None:
    lines = ["GET /", "GET /nothing", "GET /static/nothing.js", "POST /api/state", "PUT /"]
    rest = "HTTP/1.1\nHost: localhost\nContent-Length: 0\nX-Rabibridge-Action: x\n\n"
    async with serving(application()) as port:
        answers = [(await exchange(port, f"{line} {rest}"))[1] for line in lines]
        answers.append((await exchange(port, "GET / HTTP/1.1\nHost: evil.test\n\n"))[1])

    for found in answers:
        policy = found["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert found["x-frame-options"] == "deny"
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "no-referrer"
        assert found["cache-control"] == "no-store"


async def test_without_the_token_nothing_is_shown() -> None:
    wrong = [
        "",
        f"Authorization: Bearer {TOKEN}x\n",
        f"Authorization: Basic {TOKEN}\n",
        "Authorization: Bearer \n",
        "Cookie: rabibridge_dashboard=\n",
        f"Cookie: rabibridge_dashboard={TOKEN}\n",
    ]
    async with serving(application(token=TOKEN)) as port:
        for path in DATA:
            for given in wrong:
                status, _, body = await exchange(port, f"GET {path} HTTP/1.1\nHost: localhost\n{given}\n")
                assert status == 401, (path, given)
                assert "services" not in body


async def test_the_token_moves_from_the_address_into_a_cookie() -> None:
    async with serving(application(token=TOKEN)) as port:
        status, headers, _ = await exchange(port, f"GET /?token={TOKEN} HTTP/1.1\nHost: localhost\n\n")
        assert status == 303
        assert headers["location"] == "/"
        attributes = headers["set-cookie"]
        assert "httponly" in attributes
        assert "samesite=strict" in attributes
        cookie = re.match(r"[^;]+", attributes)
        assert cookie
        assert TOKEN not in attributes
        status, _, _ = await exchange(port, f"GET /api/state HTTP/1.1\nHost: localhost\nCookie: {cookie[0]}\n\n")

    assert status == 200


async def test_a_program_sends_the_token_as_a_header() -> None:
    async with serving(application(token=TOKEN)) as port:
        status, _, _ = await exchange(
            port, f"GET /api/state HTTP/1.1\nHost: localhost\nAuthorization: Bearer {TOKEN}\n\n"
        )

    assert status == 200


async def test_a_browser_without_the_token_is_asked_for_it() -> None:
    async with serving(application(token=TOKEN)) as port:
        status, headers, body = await exchange(port, "GET / HTTP/1.1\nHost: localhost\nAccept: text/html\n\n")

    assert status == 401
    assert "text/html" in headers["content-type"]
    assert '<input type="password" name="token"' in body


def action(port: int, *, body: str = '{"letters": ["1"]}', headers: str = "X-Rabibridge-Action: requeue\n") -> str:
    return (
        f"POST /api/dead/requeue HTTP/1.1\nHost: localhost:{port}\nContent-Type: application/json\n{headers}"
        f"Content-Length: {len(body)}\n\n{body}"
    )


async def test_a_dashboard_that_only_shows_refuses_actions() -> None:
    letters = Letters()
    async with serving(application(letters=letters)) as port:
        status, _, body = await exchange(port, action(port))

    assert status == 403
    assert "--allow-actions" in body
    assert not letters.requeued


async def test_actions_run_where_they_are_allowed() -> None:
    letters = Letters()
    async with serving(application(letters=letters, allow_actions=True)) as port:
        ours = f"X-Rabibridge-Action: requeue\nOrigin: http://localhost:{port}\nSec-Fetch-Site: same-origin\n"
        status, _, body = await exchange(port, action(port, headers=ours))

    assert status == 200
    assert json.loads(body)["said"] == "1 requeued"
    assert letters.requeued == ["1"]


OTHER_SITES = [
    "",
    "Origin: http://localhost:{port}\n",
    "X-Rabibridge-Action: requeue\nOrigin: http://evil.test\n",
    "X-Rabibridge-Action: requeue\nOrigin: null\n",
    "X-Rabibridge-Action: requeue\nOrigin: http://localhost:1\n",
    "X-Rabibridge-Action: requeue\nSec-Fetch-Site: cross-site\n",
    "X-Rabibridge-Action: requeue\nSec-Fetch-Site: same-site\n",
]


async def test_another_site_cannot_make_the_browser_act() -> None:
    letters = Letters()
    async with serving(application(letters=letters, allow_actions=True)) as port:
        for headers in OTHER_SITES:
            status, _, _ = await exchange(port, action(port, headers=headers.format(port=port)))
            assert status == 403, headers

    assert not letters.requeued


BODIES = [
    "", "[]", "{}", '{"letters": "1"}', '{"letters": []}', '{"letters": [1]}', "[" * 60_000,
    json.dumps({"letters": ["1"] * 501}), '{"letters": ["' + "x" * 70_000 + '"]}',
    *(f'{{"letters": ["1"], "timeout": {timeout}}}' for timeout in ("-1", "true", "1e9", "NaN", '"5"', "[]")),
]  # fmt: skip


async def test_an_action_with_a_wrong_body_is_refused() -> None:
    letters = Letters()
    async with serving(application(letters=letters, allow_actions=True)) as port:
        for body in BODIES:
            status, _, _ = await exchange(port, action(port, body=body))
            assert status in {400, 413}, body[:40]

    assert not letters.requeued


QUERIES = [
    "limit=1000000000000", "limit=-1", "limit=0", "limit=501", "limit=1e3", "limit=%D9%A1", "page=-1",
    "limit=1&limit=2", "limit=" + "9" * 2000, "x=" + "y" * 20_000,
]  # fmt: skip


async def test_odd_queries_are_refused() -> None:
    async with serving(application()) as port:
        for query in QUERIES:
            status, _, _ = await exchange(port, f"GET /api/dead?{query} HTTP/1.1\nHost: localhost\n\n")
            assert status == 400, query


async def test_many_headers_are_refused() -> None:
    headers = "".join(f"X-{n}: y\n" for n in range(2000))
    async with serving(application()) as port:
        status, _, _ = await exchange(port, f"GET /api/state HTTP/1.1\nHost: localhost\n{headers}\n")

    assert status in {400, 431}


async def test_two_hosts_are_refused() -> None:
    async with serving(application()) as port:
        status, _, _ = await exchange(port, "GET /api/state HTTP/1.1\nHost: localhost\nHost: evil.test\n\n")

    assert status in {400, 421}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hosts": ["ops.example.com"]}, "ops.example.com without a token"),
        ({"token": "short"}, "at least 16 characters"),
        ({"hosts": "ops.example.com"}, "must be a list"),
    ],
)
def test_a_dashboard_that_would_be_open_to_others_is_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Dashboard(**options)  # type: ignore[arg-type]
