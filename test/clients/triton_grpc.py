"""tritonclient.grpc, synchronous and asyncio."""

import asyncio
import queue
import sys
import time

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.grpc.aio as aio
from harness import Suite, arguments, contains, equal, idle_slow, raises, same_array
from triton import A, Awaited, B, Door, add_operations, busy, slow_input

ROWS = [np.full([1, 4], i, np.float32) for i in range(64)]


def add_grpc_operations(suite, door):
    client = door.client
    large = np.tile(np.arange(1000, dtype=np.float32), [8, 5])

    def compressed(algorithm):
        result = client.infer("ident_FP32", [door.input("x", "FP32", large)], compression_algorithm=algorithm)
        same_array(result.as_numpy("y"), large)

    for algorithm in ("gzip", "deflate"):
        suite.add(f"compression: {algorithm}", compressed, algorithm)

    @suite.operation("unknown model is not ready")
    def _():
        for what in (["nope"], ["add2", "9"]):
            door.refuses(("NOT_FOUND", "404"), what[0], call=lambda what=what: client.is_model_ready(*what))

    @suite.operation("the client's own time limit")
    def _():
        idle_slow(door.address)
        late = ("DEADLINE_EXCEEDED", "504")
        door.refuses(late, call=lambda: client.infer("slow", slow_input(door), client_timeout=0.05))
        idle_slow(door.address)
        same_array(client.infer("slow", slow_input(door)).as_numpy("y"), A)

    @suite.operation("a time limit that is not reached")
    def _():
        same_array(client.infer("add2", door.add2(), client_timeout=30).as_numpy("sum"), A + B)


def add_rows(door, row):
    return [door.input("a", "FP32", row), door.input("b", "FP32", B)]


def synchronous(options):
    suite = Suite("tritonclient.grpc")
    client = grpc.InferenceServerClient(options.grpc)
    control = grpc.InferenceServerClient(options.control_grpc)
    door = Door(grpc, client, control, options.http, is_grpc=True)
    add_operations(suite, door)
    add_grpc_operations(suite, door)

    def start(model, inputs, **more):
        """Sends a request; the queue gets its result and its error."""
        done = queue.Queue()
        call = client.async_infer(model, inputs, lambda result, error: done.put((result, error)), **more)
        return call, done

    def outcome(started):
        return started[1].get(timeout=10)

    @suite.operation("async_infer: each gets its own rows")
    def _():
        pending = [start("add2", add_rows(door, row)) for row in ROWS]
        for row, one in zip(ROWS, pending):
            result, error = outcome(one)
            equal(error, None)
            same_array(result.as_numpy("sum"), row + B)

    @suite.operation("async_infer: an error is the client's own exception")
    def _():
        result, error = outcome(start("add2", door.add2()[:1]))
        equal([result, error.status()], [None, "StatusCode.INVALID_ARGUMENT"])
        contains(error.message(), "'b'")

    @suite.operation("async_infer: cancelled")
    def _():
        running = busy(door, lambda: start("slow", slow_input(door)), time.sleep)
        waiting = start("slow", slow_input(door))
        waiting[0].cancel()
        equal(outcome(waiting)[1].status(), "StatusCode.CANCELLED")
        equal(outcome(running)[1], None)
        idle_slow(door.address)

    @suite.operation("refused: time in the queue is over")
    def _():
        running = busy(door, lambda: start("slow", slow_input(door)), time.sleep)
        equal(outcome(start("slow", slow_input(door), timeout=1000))[1].status(), "StatusCode.DEADLINE_EXCEEDED")
        same_array(outcome(running)[0].as_numpy("y"), A)

    @suite.operation("refused: the queue is full")
    def _():
        running = busy(door, lambda: start("slow", slow_input(door)), time.sleep)
        outcomes = [outcome(one) for one in [start("slow", slow_input(door)) for _ in range(4)]]
        errors = [error for _, error in outcomes if error is not None]
        equal([error.status() for error in errors], ["StatusCode.RESOURCE_EXHAUSTED"] * 3)
        contains(errors[0].message(), "slow")
        same_array(outcome(running)[0].as_numpy("y"), A)

    @suite.operation("stream: replies and errors")
    def _():
        done = queue.Queue()
        client.start_stream(callback=lambda result, error: done.put((result, error)))
        for i, row in enumerate(ROWS[:8]):
            client.async_stream_infer("add2", add_rows(door, row), request_id=str(i))
        client.async_stream_infer("add2", door.add2()[:1], request_id="bad")
        found = {}
        for _ in range(9):
            result, error = done.get(timeout=10)
            if error is not None:
                contains(error.message(), "'b'")
                found["bad"] = error
            else:
                found[result.get_response().id] = result.as_numpy("sum")
        client.stop_stream()
        equal(sorted(found), sorted([*map(str, range(8)), "bad"]))
        for i, row in enumerate(ROWS[:8]):
            same_array(found[str(i)], row + B)

    with client, control:
        return suite.run(options)


def asynchronous(options):
    suite = Suite("tritonclient.grpc.aio")
    loop = asyncio.new_event_loop()

    async def connect(address):
        return aio.InferenceServerClient(address)

    own = loop.run_until_complete(connect(options.grpc))
    client = Awaited(loop, own)
    control = Awaited(loop, loop.run_until_complete(connect(options.control_grpc)))
    door = Door(aio, client, control, options.http, is_grpc=True)
    add_operations(suite, door)
    add_grpc_operations(suite, door)

    @suite.operation("gather: each gets its own rows")
    def _():
        async def all_of_them():
            return await asyncio.gather(*(own.infer("add2", add_rows(door, row)) for row in ROWS))

        for row, result in zip(ROWS, loop.run_until_complete(all_of_them())):
            same_array(result.as_numpy("sum"), row + B)

    @suite.operation("a task that is cancelled")
    def _():
        async def cancel():
            task = asyncio.ensure_future(own.infer("slow", slow_input(door)))
            await asyncio.sleep(0.05)
            task.cancel()
            await task

        idle_slow(door.address)
        raises(asyncio.CancelledError, loop.run_until_complete, cancel())
        idle_slow(door.address)
        same_array(client.infer("slow", slow_input(door)).as_numpy("y"), A)

    @suite.operation("stream: replies and errors")
    def _():
        async def requests():
            for i, row in enumerate(ROWS[:8]):
                yield {"model_name": "add2", "inputs": add_rows(door, row), "request_id": str(i)}
            yield {"model_name": "add2", "inputs": door.add2()[:1]}

        async def read():
            found, errors = {}, []
            async for result, error in own.stream_infer(requests()):
                if error is not None:
                    errors.append(error)
                else:
                    found[result.get_response().id] = result.as_numpy("sum")
            return found, errors

        found, errors = loop.run_until_complete(read())
        equal(len(errors), 1)
        contains(errors[0].message(), "'b'")
        equal(len(found), 8)
        for i, row in enumerate(ROWS[:8]):
            same_array(found[str(i)], row + B)

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
