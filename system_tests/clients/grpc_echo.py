"""A gRPC server, and a client that calls it through the load balancer: HTTP/2 on both sides.

Usage: grpc_echo.py BALANCER_PORT BACKEND_PORT
"""

import sys
from concurrent import futures

import grpc

BALANCER, BACKEND = sys.argv[1], sys.argv[2]


def unary(request, context):
    context.set_trailing_metadata([("x-length", str(len(request)))])
    return request


def stream(requests, context):
    for request in requests:
        yield request


def missing(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Stream": grpc.stream_stream_rpc_method_handler(stream),
    "Missing": grpc.unary_unary_rpc_method_handler(missing),
}
server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
assert server.add_insecure_port(f"127.0.0.1:{BACKEND}") != 0
server.start()

with grpc.insecure_channel(f"127.0.0.1:{BALANCER}") as channel:
    call = channel.unary_unary("/test.Echo/Unary")
    # The balancer may still take the backend, which is new, for down.
    answer, status = call.with_call(b"hello", timeout=30, wait_for_ready=True), None
    answer, status = call.with_call(b"x" * 100_000, timeout=10)
    assert answer == b"x" * 100_000
    assert ("x-length", "100000") in [tuple(pair) for pair in status.trailing_metadata()]

    messages = [str(number).encode() * 100 for number in range(500)]
    echoed = list(channel.stream_stream("/test.Echo/Stream")(iter(messages), timeout=10))
    assert echoed == messages

    try:
        channel.unary_unary("/test.Echo/Missing")(b"", timeout=10)
        raise AssertionError("it was found")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "no such thing", error

    calls = [call.future(str(number).encode(), timeout=10) for number in range(200)]
    assert [one.result() for one in calls] == [str(number).encode() for number in range(200)]

server.stop(0)
