"""Case 89: tritonclient.http, synchronous and asyncio."""

import asyncio
import socket
import sys
import urllib.request

import gevent
import numpy as np
import tritonclient.http as http
import tritonclient.http.aio as aio
from harness import SAMPLES, Suite, arguments, contains, equal, idle_slow, raises, same_array
from triton import INVALID, A, Awaited, B, Door, add_operations, busy, slow_input
from tritonclient.utils import InferenceServerException


def add_http_operations(suite, door):
    client = door.client
    large = np.tile(np.arange(1000, dtype=np.float32), [8, 5])

    for sends in (None, "gzip", "deflate"):
        for answers in (None, "gzip", "deflate"):
            if sends is None and answers is None:
                continue
            for binary in (True, False):

                def compressed(sends=sends, answers=answers, binary=binary):
                    result = client.infer(
                        "ident_FP32",
                        [door.input("x", "FP32", large, binary)],
                        outputs=[door.output("y", binary)],
                        request_compression_algorithm=sends,
                        response_compression_algorithm=answers,
                    )
                    same_array(result.as_numpy("y"), large)

                form = "binary" if binary else "JSON"
                suite.add(f"compression: request {sends}, reply {answers}, {form}", compressed)

    @suite.operation("compression: an error is readable")
    def _():
        door.refuses(
            INVALID,
            "'b'",
            call=lambda: client.infer(
                "add2",
                door.add2()[:1],
                request_compression_algorithm="gzip",
                response_compression_algorithm="gzip",
            ),
        )

    @suite.operation("infer with binary and JSON inputs and outputs together")
    def _():
        inputs = [door.input("a", "FP32", A, True), door.input("b", "FP32", B, False)]
        result = client.infer("add2", inputs, outputs=[door.output("sum", False), door.output("diff", True)])
        same_array(result.as_numpy("sum"), A + B)
        same_array(result.as_numpy("diff"), A - B)
        contains(result.get_output("sum"), "data")
        contains(result.get_output("diff")["parameters"], "binary_data_size")

    @suite.operation("custom parameter that is a fraction")
    def _():
        client.infer("add2", door.add2(), parameters={"f": 1.5})

    @suite.operation("query parameters")
    def _():
        client.infer("add2", door.add2(), query_params={"a": "1", "b": ["x", "y z"]})
        equal(client.get_server_metadata(query_params={"a": 1})["name"], "shoal")

    @suite.operation("refused: FP16 in JSON")
    def _():
        half = SAMPLES["FP16"][:, :1]
        door.refuses(INVALID, "'x'", call=lambda: client.infer("ident_FP16", [door.input("x", "FP16", half, False)]))
        outputs = [door.output("y", False)]
        door.refuses(
            INVALID, "'y'", call=lambda: client.infer("ident_FP16", [door.input("x", "FP16", half)], outputs=outputs)
        )

    @suite.operation("unknown model is not ready")
    def _():
        equal(client.is_model_ready("nope"), False)
        equal(client.is_model_ready("add2", "9"), False)

    @suite.operation("request made and reply read apart from the client")
    def _():
        # From the client's class: the facade of the asyncio one would await what is none.
        own = client.client if isinstance(client, Awaited) else client
        body, size = own.generate_request_body(door.add2())
        headers = {"Inference-Header-Content-Length": str(size)}
        request = urllib.request.Request(f"http://{door.address}/v2/models/add2/infer", body, headers)
        with urllib.request.urlopen(request) as reply:
            size = int(reply.headers["Inference-Header-Content-Length"])
            result = own.parse_response_body(reply.read(), header_length=size)
        same_array(result.as_numpy("sum"), A + B)


def synchronous(options):
    suite = Suite("tritonclient.http", case=89)
    # The larger number of connections is for async_infer.
    client = http.InferenceServerClient(options.http, concurrency=16)
    control = http.InferenceServerClient(options.control)
    door = Door(http, client, control, options.http, is_grpc=False)
    add_operations(suite, door)
    add_http_operations(suite, door)

    @suite.operation("async_infer: each gets its own rows")
    def _():
        rows = [np.full([1, 4], i, np.float32) for i in range(64)]
        inputs = [[door.input("a", "FP32", row), door.input("b", "FP32", B)] for row in rows]
        pending = [client.async_infer("add2", one, request_id=str(i)) for i, one in enumerate(inputs)]
        for i, one in enumerate(pending):
            result = one.get_result()
            equal(result.get_response()["id"], str(i))
            same_array(result.as_numpy("sum"), rows[i] + B)

    @suite.operation("async_infer: an error is the client's own exception")
    def _():
        pending = client.async_infer("add2", door.add2()[:1])
        contains(raises(InferenceServerException, pending.get_result).message(), "'b'")

    @suite.operation("refused: time in the queue is over")
    def _():
        running = busy(door, lambda: client.async_infer("slow", slow_input(door)), gevent.sleep)
        late = client.async_infer("slow", slow_input(door), timeout=1000)
        error = raises(InferenceServerException, late.get_result)
        equal(error.status(), "504")
        same_array(running.get_result().as_numpy("y"), A)

    @suite.operation("refused: the queue is full")
    def _():
        running = busy(door, lambda: client.async_infer("slow", slow_input(door)), gevent.sleep)
        pending = [client.async_infer("slow", slow_input(door)) for _ in range(4)]
        answered, refused = [], []
        for one in pending:
            try:
                answered.append(one.get_result())
            except InferenceServerException as error:
                refused.append(error)
        equal([len(answered), [error.status() for error in refused]], [1, ["429"] * 3])
        contains(refused[0].message(), "slow")
        same_array(running.get_result().as_numpy("y"), A)

    @suite.operation("the client's own time limit")
    def _():
        idle_slow(door.address)
        with http.InferenceServerClient(options.http, network_timeout=0.05) as hasty:
            raises((socket.timeout, InferenceServerException), hasty.infer, "slow", slow_input(door))
        idle_slow(door.address)
        same_array(client.infer("slow", slow_input(door)).as_numpy("y"), A)

    try:
        return suite.run(options)
    finally:
        client.close()
        control.close()


def asynchronous(options):
    suite = Suite("tritonclient.http.aio", case=89)
    loop = asyncio.new_event_loop()

    async def connect(address, **more):
        return aio.InferenceServerClient(address, **more)

    own = loop.run_until_complete(connect(options.http))
    client = Awaited(loop, own)
    control = Awaited(loop, loop.run_until_complete(connect(options.control)))
    door = Door(aio, client, control, options.http, is_grpc=False)
    add_operations(suite, door)
    add_http_operations(suite, door)

    @suite.operation("gather: each gets its own rows")
    def _():
        rows = [np.full([1, 4], i, np.float32) for i in range(64)]
        inputs = [[door.input("a", "FP32", row), door.input("b", "FP32", B)] for row in rows]

        async def all_of_them():
            return await asyncio.gather(*(own.infer("add2", one) for one in inputs))

        for row, result in zip(rows, loop.run_until_complete(all_of_them())):
            same_array(result.as_numpy("sum"), row + B)

    @suite.operation("the client's own time limit, and a task that is cancelled")
    def _():
        async def hurry():
            async with aio.InferenceServerClient(options.http, conn_timeout=0.05) as hasty:
                await hasty.infer("slow", slow_input(door))

        async def cancel():
            task = asyncio.ensure_future(own.infer("slow", slow_input(door)))
            await asyncio.sleep(0.05)
            task.cancel()
            await task

        idle_slow(door.address)
        raises(asyncio.TimeoutError, loop.run_until_complete, hurry())
        idle_slow(door.address)
        raises(asyncio.CancelledError, loop.run_until_complete, cancel())
        idle_slow(door.address)
        same_array(client.infer("slow", slow_input(door)).as_numpy("y"), A)

    try:
        return suite.run(options)
    finally:
        client.close()
        control.close()
        loop.close()


if __name__ == "__main__":
    given = arguments()
    results = [synchronous(given), asynchronous(given)]
    sys.exit(0 if all(results) else 1)
