"""What signatures and encryption cost without a broker: ``python -m benchmarks.signing``.

Client and server share a process and the broker in memory, so that only computing counts: the processor time of a call,
of both sides together. The settings take turns; the least of all turns is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import secrets
import sys
import time
from contextlib import AsyncExitStack

from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings

_CALLS = 500


def _keys() -> str:
    algorithms = ("hmac-sha256", "ed25519", "aes-256-gcm", "chacha20-poly1305")
    return ";".join(f"{name} {name} {base64.b64encode(secrets.token_bytes(32)).decode()}" for name in algorithms)


_WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "HMAC-SHA256": {"signing_key_id": "hmac-sha256", "require_signature": True},
    "Ed25519": {"signing_key_id": "ed25519", "require_signature": True},
    "HMAC-SHA256, AES-256-GCM": {
        "signing_key_id": "hmac-sha256", "encryption_key_id": "aes-256-gcm", "require_encryption": True,
    },
    "HMAC-SHA256, ChaCha20": {
        "signing_key_id": "hmac-sha256", "encryption_key_id": "chacha20-poly1305", "require_encryption": True,
    },
}  # fmt: skip


async def echo(value: bytes) -> bytes:
    """Return its argument."""
    return value


async def measure(turns: int, size: int, calls: int = _CALLS) -> dict[str, float]:
    """Return the processor seconds of a call with an argument of ``size`` bytes, for each way."""
    ring, value, best = _keys(), secrets.token_bytes(size), dict.fromkeys(_WAYS, float("inf"))
    async with AsyncExitStack() as stack:
        clients: dict[str, RpcClient] = {}
        for number, (way, given) in enumerate(_WAYS.items()):
            options = {**given, **({"signing_keys": ring} if given else {})}
            settings = load_settings(url=f"memory://signing-{number}", options=options)
            server = RpcServer(settings=settings)
            server.add_service(echo)
            await stack.enter_async_context(server.serving())
            clients[way] = await stack.enter_async_context(RpcClient(settings=settings))
        for _ in range(turns):
            for way, client in clients.items():
                began = time.process_time()
                for _ in range(calls):
                    await client.remote_call("echo", (value,), timeout=60)
                best[way] = min(best[way], (time.process_time() - began) / calls)
    return best


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signing", description=__doc__)
    parser.add_argument("--turns", type=int, default=10, help="turns of each way")
    options = parser.parse_args()
    for size in (16, 64 * 1024):
        best = asyncio.run(measure(options.turns, size))
        for way, seconds in best.items():
            print(f"{size:6} bytes  {way:<26} {seconds * 1e6:8.1f} us a call, {seconds / best['plain']:5.2f} x plain")
    return 0


if __name__ == "__main__":
    sys.exit(main())
