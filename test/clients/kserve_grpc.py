"""KServe's gRPC client, which sends typed contents where tritonclient always sends raw ones."""

import asyncio
import sys

import numpy as np
from harness import SAMPLES, Suite, arguments, contains, equal, idle_slow, raises, same_array

# KServe reads the program's arguments when it is imported.
OPTIONS = arguments()
sys.argv = sys.argv[:1]

import grpc
from kserve import InferenceGRPCClient, InferInput, InferRequest

A = np.array([[1, 2, 3, 4]], np.float32)
B = np.array([[1, 1, 1, 1]], np.float32)


def an_input(name, datatype, values, binary=True):
    given = InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def add2(binary, **more):
    return InferRequest("add2", [an_input("a", "FP32", A, binary), an_input("b", "FP32", B, binary)], **more)


def array(response, name):
    return response.get_output_by_name(name).as_numpy()


def add_operations(suite, loop, client, address):
    def call(method, *args, **kwargs):
        return loop.run_until_complete(getattr(client, method)(*args, **kwargs))

    suite.add("server is live", lambda: equal(call("is_server_live"), True))
    suite.add("server is ready", lambda: equal(call("is_server_ready"), True))
    suite.add("model is ready", lambda: equal(call("is_model_ready", "add2"), True))

    def ident(datatype, values, binary):
        request = InferRequest(f"ident_{datatype}", [an_input("x", datatype, values, binary)])
        same_array(array(call("infer", request), "y"), values)

    for datatype, values in SAMPLES.items():
        for binary in (True, False):
            # FP16 has no typed contents.
            if binary or datatype != "FP16":
                form = "raw contents" if binary else "typed contents"
                suite.add(f"infer {datatype}, {form}", ident, datatype, values, binary)
                suite.add(f"infer {datatype}, empty, {form}", ident, datatype, values[:1, :0], binary)

    for binary in (True, False):

        def sum_and_difference(binary=binary):
            response = call("infer", add2(binary, request_id="die Nr. 7", parameters={"n": 1}))
            same_array(array(response, "sum"), A + B)
            same_array(array(response, "diff"), A - B)
            equal([response.id, response.model_name, response.model_version], ["die Nr. 7", "add2", "2"])

        suite.add(f"infer, id and parameters, {'raw' if binary else 'typed'} contents", sum_and_difference)

    @suite.operation("concurrent requests get their own rows")
    def _():
        rows = [np.full([1, 4], i, np.float32) for i in range(32)]

        async def all_of_them():
            inputs = [[an_input("a", "FP32", row), an_input("b", "FP32", B)] for row in rows]
            return await asyncio.gather(*(client.infer(InferRequest("add2", one)) for one in inputs))

        for row, response in zip(rows, loop.run_until_complete(all_of_them())):
            same_array(array(response, "sum"), row + B)

    def refused(name, code, *texts, method="infer", argument):
        def check():
            error = raises(grpc.RpcError, call, method, argument)
            equal(error.code(), code)
            contains(error.details(), *texts)

        suite.add(f"refused: {name}", check)

    invalid = grpc.StatusCode.INVALID_ARGUMENT
    refused("missing input", invalid, "'b'", argument=InferRequest("add2", add2(True).inputs[:1]))
    refused("unknown model", grpc.StatusCode.NOT_FOUND, "nope", argument=InferRequest("nope", add2(True).inputs))
    refused("other datatype", invalid, "INT32", "FP32", argument=InferRequest(
        "ident_FP32", [an_input("x", "INT32", A.astype(np.int32))]
    ))
    refused("unknown model's readiness", grpc.StatusCode.NOT_FOUND, "nope", method="is_model_ready", argument="nope")

    @suite.operation("the client's own time limit")
    def _():
        idle_slow(address)
        request = InferRequest("slow", [an_input("x", "FP32", A)])
        error = raises(grpc.RpcError, call, "infer", request, timeout=0.05)
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        idle_slow(address)
        same_array(array(call("infer", request), "y"), A)


def main(options):
    suite = Suite("kserve gRPC")
    loop = asyncio.new_event_loop()

    async def connect():
        return InferenceGRPCClient(options.grpc)

    client = loop.run_until_complete(connect())
    add_operations(suite, loop, client, options.http)
    try:
        return suite.run(options)
    finally:
        loop.run_until_complete(client.close())
        loop.close()


if __name__ == "__main__":
    sys.exit(0 if main(OPTIONS) else 1)
