"""Case 90: KServe's REST client, with protocol V2 and V1.

In a process of its own: KServe's protobuf messages and those of tritonclient.grpc have the same names.
"""

import asyncio
import sys

import httpx
import numpy as np
from harness import SAMPLES, Suite, arguments, contains, equal, idle_slow, raises, same_array

# KServe reads the program's arguments when it is imported.
OPTIONS = arguments()
sys.argv = sys.argv[:1]

from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

A = np.array([[1, 2, 3, 4]], np.float32)
B = np.array([[1, 1, 1, 1]], np.float32)


class Client:
    """A client of one protocol whose methods are awaited."""

    def __init__(self, loop, url, protocol):
        self.loop = loop
        self.url = url
        self.client = InferenceRESTClient(RESTConfig(protocol=protocol))

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            return self.loop.run_until_complete(method(self.url, *args, **kwargs))

        return call

    def close(self):
        self.loop.run_until_complete(self.client.close())


def an_input(name, datatype, values, binary):
    given = InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def a_request(model, inputs, **more):
    return InferRequest(model, inputs, **more)


def add2(binary):
    return a_request("add2", [an_input("a", "FP32", A, binary), an_input("b", "FP32", B, binary)])


def array(response, name):
    return response.get_output_by_name(name).as_numpy()


def add_v2(suite, client, address):
    suite.add("V2: server is live", lambda: equal(client.is_server_live(), True))
    suite.add("V2: server is ready", lambda: equal(client.is_server_ready(), True))
    suite.add("V2: model is ready", lambda: equal(client.is_model_ready("add2"), True))
    suite.add("V2: unknown model is not ready", lambda: equal(client.is_model_ready("nope"), False))

    def ident(datatype, values, sends, answers):
        request = a_request(
            f"ident_{datatype}",
            [an_input("x", datatype, values, sends)],
            request_outputs=[RequestedOutput("y", {"binary_data": answers})],
        )
        same_array(array(client.infer(request, model_name=f"ident_{datatype}"), "y"), values)

    for datatype, values in SAMPLES.items():
        for sends in (True, False):
            for answers in (True, False):
                if datatype == "FP16" and not (sends and answers):
                    continue
                form = f"{'binary' if sends else 'JSON'} to {'binary' if answers else 'JSON'}"
                suite.add(f"V2: infer {datatype}, {form}", ident, datatype, values, sends, answers)
                suite.add(f"V2: infer {datatype}, empty, {form}", ident, datatype, values[:1, :0], sends, answers)

    for sends in (True, False):
        values = np.array([[np.nan, 1.5]], np.float32)
        suite.add(f"V2: infer NaN, {'binary' if sends else 'JSON'}", ident, "FP32", values, sends, False)

    def sum_and_difference(response):
        same_array(array(response, "sum"), A + B)
        same_array(array(response, "diff"), A - B)

    for binary in (True, False):
        form = "binary" if binary else "JSON"
        suite.add(
            f"V2: infer, all outputs, {form}",
            lambda binary=binary: sum_and_difference(client.infer(add2(binary), model_name="add2")),
        )

    @suite.operation("V2: infer from a dictionary")
    def _():
        inputs = [
            {"name": name, "shape": [1, 4], "datatype": "FP32", "data": values.tolist()}
            for name, values in {"a": A, "b": B}.items()
        ]
        sum_and_difference(client.infer({"id": "7", "inputs": inputs}, model_name="add2"))

    @suite.operation("V2: request id and model name of the reply")
    def _():
        request = a_request("add2", add2(True).inputs, request_id="die Nr. 7")
        response = client.infer(request, model_name="add2")
        equal([response.id, response.model_name], ["die Nr. 7", "add2"])

    @suite.operation("V2: parameters")
    def _():
        sum_and_difference(client.infer(a_request("add2", add2(True).inputs, parameters={"n": 1}), model_name="add2"))

    @suite.operation("V2: several datatypes at a time, binary outputs for all")
    def _():
        given = {"h": "FP16", "i": "INT64", "s": "BYTES"}
        inputs = [an_input(name, datatype, SAMPLES[datatype], True) for name, datatype in given.items()]
        request = a_request("mixed", inputs, parameters={"binary_data_output": True})
        response = client.infer(request, model_name="mixed")
        for name, datatype in given.items():
            same_array(array(response, f"{name}_out"), SAMPLES[datatype])

    @suite.operation("V2: headers there and back")
    def _():
        headers = {}
        client.infer(add2(True), model_name="add2", headers={"x-request-id": "k-1"}, response_headers=headers)
        equal(headers["x-request-id"], "k-1")
        contains(headers, "server-timing")

    @suite.operation("V2: concurrent requests get their own rows")
    def _():
        rows = [np.full([1, 4], i, np.float32) for i in range(32)]
        requests = [a_request("add2", [an_input("a", "FP32", row, True), an_input("b", "FP32", B, True)]) for row in rows]

        async def all_of_them():
            infer = client.client.infer
            return await asyncio.gather(*(infer(client.url, one, model_name="add2") for one in requests))

        for row, response in zip(rows, client.loop.run_until_complete(all_of_them())):
            same_array(array(response, "sum"), row + B)

    def refused(name, status, *texts, call):
        def check():
            error = raises(httpx.HTTPStatusError, call)
            equal(error.response.status_code, status)
            contains(str(error), *texts)

        suite.add(f"V2: refused: {name}", check)

    one_input = a_request("add2", add2(False).inputs[:1])
    refused("missing input", 400, "'b'", call=lambda: client.infer(one_input, model_name="add2"))
    refused("unknown model", 404, "nope", call=lambda: client.infer(add2(True), model_name="nope"))
    refused("a dictionary without inputs", 400, "inputs", call=lambda: client.infer({}, model_name="add2"))
    refused(
        "other datatype",
        400,
        "INT32",
        "FP32",
        call=lambda: client.infer(
            a_request("ident_FP32", [an_input("x", "INT32", A.astype(np.int32), True)]), model_name="ident_FP32"
        ),
    )
    refused(
        "FP16 output in JSON",
        400,
        "'y'",
        call=lambda: client.infer(
            a_request("ident_FP16", [an_input("x", "FP16", SAMPLES["FP16"], True)]), model_name="ident_FP16"
        ),
    )

    @suite.operation("V2: the client's own time limit")
    def _():
        idle_slow(address)
        request = a_request("slow", [an_input("x", "FP32", A, True)])
        raises(httpx.TimeoutException, client.infer, request, model_name="slow", timeout=0.05)
        idle_slow(address)
        same_array(array(client.infer(request, model_name="slow"), "y"), A)


def add_v1(suite, client):
    suite.add("V1: server is live", lambda: equal(client.is_server_live(), True))
    suite.add("V1: model is ready", lambda: equal(client.is_model_ready("add2"), True))

    @suite.operation("V1: unknown model is an error")
    def _():
        error = raises(httpx.HTTPStatusError, client.is_model_ready, "nope")
        equal(error.response.status_code, 404)
        contains(str(error), "nope")

    @suite.operation("V1: predict rows")
    def _():
        rows = {"instances": [{"a": [1, 2, 3, 4], "b": [1, 1, 1, 1]}, {"a": [4, 3, 2, 1], "b": [1, 1, 1, 1]}]}
        wanted = [{"sum": [2, 3, 4, 5], "diff": [0, 1, 2, 3]}, {"sum": [5, 4, 3, 2], "diff": [3, 2, 1, 0]}]
        equal(client.infer(rows, model_name="add2"), {"predictions": wanted})

    @suite.operation("V1: predict rows of a model with one input")
    def _():
        equal(client.infer({"instances": [[1, 2], [3, 4]]}, model_name="ident_FP32"), {"predictions": [[1, 2], [3, 4]]})

    @suite.operation("V1: predict columns")
    def _():
        columns = {"inputs": {"a": [[1, 2, 3, 4]], "b": [[1, 1, 1, 1]]}}
        equal(client.infer(columns, model_name="add2"), {"outputs": {"sum": [[2, 3, 4, 5]], "diff": [[0, 1, 2, 3]]}})

    @suite.operation("V1: predict bytes in base64")
    def _():
        rows = {"instances": [[{"b64": "Z3LDvMOfZQ=="}]]}
        equal(client.infer(rows, model_name="str1"), {"predictions": [["grüße"]]})

    @suite.operation("V1: refused with our text")
    def _():
        for body, text in (({"instances": []}, "instances"), ({"instances": [{"a": [1, 2, 3, 4]}]}, "'b'")):
            error = raises(httpx.HTTPStatusError, client.infer, body, model_name="add2")
            equal(error.response.status_code, 400)
            contains(str(error), text)


def main(options):
    suite = Suite("kserve REST", case=90)
    loop = asyncio.new_event_loop()
    v2 = Client(loop, f"http://{options.http}", "v2")
    v1 = Client(loop, f"http://{options.http}", "v1")
    add_v2(suite, v2, options.http)
    add_v1(suite, v1)
    try:
        return suite.run(options)
    finally:
        v2.close()
        v1.close()
        loop.close()


if __name__ == "__main__":
    sys.exit(0 if main(OPTIONS) else 1)
