"""A WebSocket server, and a client that speaks to it through the load balancer.

Usage: websocket.py BALANCER_PORT BACKEND_PORT
"""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

BALANCER, BACKEND = int(sys.argv[1]), int(sys.argv[2])


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def talk():
    uri = f"ws://127.0.0.1:{BALANCER}/socket"
    async with connect(uri, max_size=None, compression=None) as socket:
        for message in ["hello", b"\x00\xff" * 1000, "x" * (1 << 20)]:
            await socket.send(message)
            assert await socket.recv() == message
        pong = await socket.ping()
        await asyncio.wait_for(pong, 5)
        await socket.close(code=1000, reason="done")
        assert socket.close_code == 1000, socket.close_code


async def main():
    async with serve(echo, "127.0.0.1", BACKEND, max_size=None, compression=None):
        # The balancer may still take the backend, which is new, for down.
        for attempt in range(200):
            try:
                await talk()
                break
            except Exception:
                if attempt == 199:
                    raise
                await asyncio.sleep(0.05)
        # Many at a time.
        await asyncio.gather(*(talk() for _ in range(20)))


asyncio.run(asyncio.wait_for(main(), 60))
