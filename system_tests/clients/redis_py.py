"""What an ordinary redis-py user does, against the cache at the port given."""

import sys

import redis


def exercise(client):
    assert client.ping()
    assert client.set("py:a", "1", ex=60)
    assert client.get("py:a") == "1"
    assert 0 < client.ttl("py:a") <= 60
    assert client.set("py:a", "2", nx=True) is None
    assert client.set("py:a", "2", xx=True, get=True, ex=60) == "1"
    assert client.set("py:a", "3", keepttl=True)
    assert 0 < client.pttl("py:a") <= 60_000
    assert client.mset({"py:b": "b", "py:c": "c"})
    assert client.mget("py:a", "py:b", "py:none") == ["3", "b", None]
    assert client.exists("py:a", "py:b", "py:none") == 2
    assert client.incr("py:n") == 1 and client.incrby("py:n", 4) == 5 and client.decr("py:n") == 4
    assert client.expire("py:b", 10)
    assert sorted(client.scan_iter(match="py:*", count=2)) == ["py:a", "py:b", "py:c", "py:n"]
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.set(f"py:pipe:{number}", number)
        assert all(pipe.execute())
    assert client.delete("py:a", "py:b") == 2 and client.unlink("py:c") == 1
    try:
        client.lpush("py:list", 1)
        raise AssertionError("LPUSH is not served")
    except redis.ResponseError as error:
        assert "unknown command" in str(error), error
    try:
        client.set("py:n", "text")
        client.incr("py:n")
        raise AssertionError("text cannot be counted up")
    except redis.ResponseError as error:
        assert "not an integer" in str(error), error
    assert client.info()["redis_version"]
    client.flushdb()
    assert client.dbsize() == 0


port = int(sys.argv[1])
for protocol in (2, 3):
    exercise(redis.Redis(port=port, protocol=protocol, decode_responses=True))
