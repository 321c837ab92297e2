"""Operations that tritonclient's four clients have in common: HTTP and gRPC, each synchronous and asyncio."""

import json

import numpy as np
from harness import SAMPLES, contains, equal, idle_slow, metric, raises, same_array, wait_for
from tritonclient.utils import InferenceServerException

A = np.array([[1, 2, 3, 4]], np.float32)
B = np.array([[1, 1, 1, 1]], np.float32)


class Door:
    """A client with what is different from one to the next.

    `call` makes a client's method synchronous; `kinds` is its module: InferInput and InferRequestedOutput.
    """

    def __init__(self, kinds, client, control, address, is_grpc):
        self.kinds = kinds
        self.client = client
        self.control = control
        self.address = address
        self.is_grpc = is_grpc

    def input(self, name, datatype, values, binary=True):
        given = self.kinds.InferInput(name, list(values.shape), datatype)
        if self.is_grpc:
            given.set_data_from_numpy(values)
        else:
            given.set_data_from_numpy(values, binary_data=binary)
        return given

    def output(self, name, binary=True, **more):
        if self.is_grpc:
            return self.kinds.InferRequestedOutput(name, **more)
        return self.kinds.InferRequestedOutput(name, binary_data=binary, **more)

    def add2(self, binary=True):
        return [self.input("a", "FP32", A, binary), self.input("b", "FP32", B, binary)]

    def describe(self, method, *args):
        """The reply of a method as JSON has it."""
        client = getattr(self.client, method)
        return client(*args, as_json=True) if self.is_grpc else client(*args)

    def reply(self, result):
        """The reply of an inference as JSON has it."""
        return result.get_response(as_json=True) if self.is_grpc else result.get_response()

    def refuses(self, status, *texts, call):
        """A call must raise the client's own exception, with the status and our text."""
        error = raises(InferenceServerException, call)
        grpc_status, http_status = status
        wanted = f"StatusCode.{grpc_status}" if self.is_grpc else http_status
        equal(error.status(), wanted)
        contains(error.message(), *texts)
        contains(str(error), f"[{wanted}]")
        return error


class Awaited:
    """An asyncio client whose methods are awaited."""

    def __init__(self, loop, client):
        self.loop = loop
        self.client = client

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            return self.loop.run_until_complete(method(*args, **kwargs))

        return call


INVALID = ("INVALID_ARGUMENT", "400")
NOT_FOUND = ("NOT_FOUND", "404")
UNIMPLEMENTED = ("UNIMPLEMENTED", "501")


def add_operations(suite, door):
    add_descriptions(suite, door)
    add_inference(suite, door)
    add_parameters(suite, door)
    add_refusals(suite, door)
    add_settings(suite, door)
    add_control(suite, door)


def add_descriptions(suite, door):
    client = door.client

    suite.add("server is live", lambda: equal(client.is_server_live(), True))
    suite.add("server is ready", lambda: equal(client.is_server_ready(), True))
    suite.add("model is ready", lambda: equal(client.is_model_ready("add2"), True))
    suite.add("version is ready", lambda: equal(client.is_model_ready("add2", "1"), True))

    @suite.operation("server metadata")
    def _():
        reply = door.describe("get_server_metadata")
        equal(reply["name"], "shoal")
        contains(reply["extensions"], "statistics", "model_configuration", "model_repository", "classification")

    @suite.operation("model metadata")
    def _():
        reply = door.describe("get_model_metadata", "add2")
        equal([reply["name"], reply["versions"]], ["add2", ["1", "2"]])
        equal([[int(n) for n in one["shape"]] for one in reply["inputs"] + reply["outputs"]], [[-1, 4]] * 4)
        equal([one["name"] for one in reply["outputs"]], ["sum", "diff"])
        equal({one["datatype"] for one in reply["inputs"]}, {"FP32"})

    @suite.operation("model metadata of a version")
    def _():
        equal(door.describe("get_model_metadata", "add2", "1")["versions"], ["1"])

    @suite.operation("model configuration")
    def _():
        reply = door.describe("get_model_config", "add2")
        config = reply["config"] if door.is_grpc else reply
        equal([config["name"], config["max_batch_size"]], ["add2", 8])
        equal([int(n) for one in config["input"] for n in one["dims"]], [4, 4])
        equal([one["data_type"] for one in config["output"]], ["TYPE_FP32"] * 2)

    @suite.operation("statistics of a model count what was inferred")
    def _():
        def counts():
            # What is zero is left out of JSON made from a protobuf message.
            one = door.describe("get_inference_statistics", "mat2")["model_stats"][0]
            stats = one["inference_stats"]
            return [int(one.get("inference_count", 0)), int(stats["success"].get("count", 0))]

        before = counts()
        x = np.zeros([3, 2, 2], np.float32)
        client.infer("mat2", [door.input("x", "FP32", x)])
        # They are counted when the reply has been sent, which may be after it was read.
        wait_for("counted", lambda: counts() == [before[0] + 3, before[1] + 1])

    @suite.operation("statistics of all models")
    def _():
        names = [one["name"] for one in door.describe("get_inference_statistics")["model_stats"]]
        contains(names, "add2", "ident_FP32")
        equal(names.count("add2"), 2)

    @suite.operation("repository index")
    def _():
        index = door.describe("get_model_repository_index")
        models = index["models"] if door.is_grpc else index
        contains([(one["name"], one["version"], one["state"]) for one in models], ("add2", "2", "READY"))


def add_inference(suite, door):
    client = door.client
    forms = [True] if door.is_grpc else [True, False]

    def ident(datatype, values, sends, answers):
        # The outputs are listed, because a client that lists none asks for binary ones.
        result = client.infer(
            f"ident_{datatype}", [door.input("x", datatype, values, sends)], outputs=[door.output("y", answers)]
        )
        same_array(result.as_numpy("y"), values)

    for datatype, values in SAMPLES.items():
        for sends in forms:
            for answers in forms:
                if datatype == "FP16" and not (sends and answers):
                    continue
                form = "" if door.is_grpc else f", {'binary' if sends else 'JSON'} to {'binary' if answers else 'JSON'}"
                suite.add(f"infer {datatype}{form}", ident, datatype, values, sends, answers)
                suite.add(f"infer {datatype}, empty{form}", ident, datatype, values[:1, :0], sends, answers)

    for sends in forms:
        form = "binary" if sends else "JSON"
        values = np.array([[np.nan, np.inf, -np.inf, 1.5]], np.float32)
        suite.add(f"infer NaN and infinities, {form}", ident, "FP32", values, sends, True)

    def sum_and_difference(result):
        same_array(result.as_numpy("sum"), A + B)
        same_array(result.as_numpy("diff"), A - B)

    suite.add("infer without a list of outputs", lambda: sum_and_difference(client.infer("add2", door.add2())))

    @suite.operation("infer with listed outputs, in another order")
    def _():
        result = client.infer("add2", door.add2(), outputs=[door.output("diff"), door.output("sum")])
        sum_and_difference(result)
        equal([one["name"] for one in door.reply(result)["outputs"]], ["diff", "sum"])

    @suite.operation("infer with one of the outputs")
    def _():
        result = client.infer("add2", door.add2(), outputs=[door.output("diff")])
        same_array(result.as_numpy("diff"), A - B)
        equal(result.as_numpy("sum"), None)

    @suite.operation("infer several datatypes at a time")
    def _():
        given = {"h": "FP16", "i": "INT64", "s": "BYTES"}
        inputs = [door.input(name, datatype, SAMPLES[datatype]) for name, datatype in given.items()]
        result = client.infer("mixed", inputs)
        for name, datatype in given.items():
            same_array(result.as_numpy(f"{name}_out"), SAMPLES[datatype])

    @suite.operation("infer a scalar and a model without a batch")
    def _():
        # tritonclient has no other way to send what has no dimension.
        result = client.infer("scalar0", [door.input("x", "FP32", np.array(3, np.float32))])
        same_array(result.as_numpy("y"), np.array(3, np.float32))
        square = np.array([[1, 2], [3, 4]], np.float32)
        same_array(client.infer("flat0", [door.input("x", "FP32", square)]).as_numpy("y"), square)

    @suite.operation("infer a full batch")
    def _():
        rows = np.arange(32, dtype=np.float32).reshape(8, 4)
        inputs = [door.input("a", "FP32", rows), door.input("b", "FP32", rows)]
        same_array(client.infer("add2", inputs).as_numpy("sum"), rows + rows)

    @suite.operation("infer with a large body")
    def _():
        values = np.random.default_rng(1).standard_normal([1, 1_000_000], np.float32)
        same_array(client.infer("ident_FP32", [door.input("x", "FP32", values)]).as_numpy("y"), values)

    @suite.operation("infer with a version")
    def _():
        result = client.infer("add2", door.add2(), model_version="1")
        sum_and_difference(result)
        equal(door.reply(result)["model_version"], "1")
        equal(door.reply(client.infer("add2", door.add2()))["model_version"], "2")

    @suite.operation("infer from bytes as text")
    def _():
        values = np.array([["Zürich".encode()], [b""]], np.object_)
        same_array(client.infer("str1", [door.input("x", "BYTES", values)]).as_numpy("y"), values)


def add_parameters(suite, door):
    client = door.client

    @suite.operation("request id comes back")
    def _():
        result = client.infer("add2", door.add2(), request_id="größe 42")
        equal(door.reply(result)["id"], "größe 42")
        assert not door.reply(client.infer("add2", door.add2())).get("id"), "an id that nobody gave"

    suite.add("priority", lambda: client.infer("add2", door.add2(), priority=2))
    suite.add("timeout that is not reached", lambda: client.infer("add2", door.add2(), timeout=5_000_000))
    suite.add("custom parameters", lambda: client.infer("add2", door.add2(), parameters={"s": "x", "n": 3, "b": True}))
    suite.add("request headers", lambda: client.infer("add2", door.add2(), headers={"x-request-id": "a-1"}))

    @suite.operation("sequence parameters of a model without state")
    def _():
        for sequence in (5, "five"):
            client.infer("add2", door.add2(), sequence_id=sequence, sequence_start=True)
            client.infer("add2", door.add2(), sequence_id=sequence, sequence_end=True)

    def classes(model, wanted, binary=True):
        scores = np.array([[1.1, 3.3, 0.5, 2.4], [4, 3, 2, 1]], np.float32)
        outputs = [door.output("y", binary, class_count=2)]
        got = client.infer(model, [door.input("x", "FP32", scores)], outputs=outputs).as_numpy("y")
        same_array(got, np.array(wanted, np.object_))

    plain = [["3.300000:1", "2.400000:3"], ["4.000000:0", "3.000000:1"]]
    labelled = [["3.300000:1:pike", "2.400000:3:cod"], ["4.000000:0:eel", "3.000000:1:pike"]]
    suite.add("classification", classes, "ident_FP32", plain)
    suite.add("classification with labels", classes, "labelled", labelled)
    if not door.is_grpc:
        suite.add("classification with labels, JSON", classes, "labelled", labelled, False)


def add_refusals(suite, door):
    client = door.client

    def refused(name, status, *texts):
        def add(call):
            suite.add(f"refused: {name}", lambda: door.refuses(status, *texts, call=call))
            return call

        return add

    def x(datatype, values):
        return [door.input("x", datatype, values)]

    one = np.zeros([1, 4], np.float32)
    refused("unknown model", NOT_FOUND, "nope")(lambda: client.infer("nope", door.add2()))
    refused("unknown version", NOT_FOUND, "add2", "9")(lambda: client.infer("add2", door.add2(), model_version="9"))
    refused("metadata of an unknown model", NOT_FOUND, "nope")(lambda: client.get_model_metadata("nope"))
    refused("configuration of an unknown model", NOT_FOUND, "nope")(lambda: client.get_model_config("nope"))
    refused("statistics of an unknown model", NOT_FOUND, "nope")(lambda: client.get_inference_statistics("nope"))
    refused("missing input", INVALID, "'b'")(lambda: client.infer("add2", door.add2()[:1]))
    refused("unknown input", INVALID, "'x'")(lambda: client.infer("add2", [*door.add2(), *x("FP32", A)]))
    refused("input twice", INVALID, "'a'")(lambda: client.infer("add2", [*door.add2(), door.add2()[0]]))
    refused("other datatype", INVALID, "'x'", "INT32", "FP32")(
        lambda: client.infer("ident_FP32", x("INT32", one.astype(np.int32)))
    )
    refused("other shape", INVALID, "'a'", "[1,3]")(
        lambda: client.infer("add2", [door.input("a", "FP32", one[:, :3]), door.input("b", "FP32", one)])
    )
    refused("no batch dimension", INVALID, "'a'", "[4]")(
        lambda: client.infer("add2", [door.input("a", "FP32", one[0]), door.input("b", "FP32", one[0])])
    )
    refused("batch above the largest", INVALID, "9", "8")(
        lambda: client.infer("mat2", x("FP32", np.zeros([9, 1, 1], np.float32)))
    )
    refused("unknown output", INVALID, "'nope'")(
        lambda: client.infer("add2", door.add2(), outputs=[door.output("nope")])
    )
    refused("text that is not UTF-8", INVALID, "'x'", "UTF-8")(
        lambda: client.infer("str1", x("BYTES", np.array([[b"\xff\xfe"]], np.object_)))
    )
    refused("classification of text", INVALID, "BYTES")(
        lambda: client.infer("str1", x("BYTES", np.array([["a"]], np.object_)), outputs=[door.output("y", class_count=1)])
    )

    @refused("input in shared memory", INVALID, "shared")
    def _():
        inputs = door.add2()
        inputs[0].set_shared_memory("region", 16)
        client.infer("add2", inputs)

    @refused("output in shared memory", INVALID, "shared")
    def _():
        output = door.output("sum")
        output.set_shared_memory("region", 16)
        client.infer("add2", door.add2(), outputs=[output])

    for what, call in {
        "status of system shared memory": client.get_system_shared_memory_status,
        "registering system shared memory": lambda: client.register_system_shared_memory("n", "/k", 16),
        "unregistering system shared memory": client.unregister_system_shared_memory,
        "status of CUDA shared memory": client.get_cuda_shared_memory_status,
        "registering CUDA shared memory": lambda: client.register_cuda_shared_memory("n", b"aGFuZGxl", 0, 16),
        "unregistering CUDA shared memory": client.unregister_cuda_shared_memory,
        "trace settings": client.get_trace_settings,
        "changing trace settings": lambda: client.update_trace_settings("add2", {"trace_rate": "1"}),
    }.items():
        refused(what, UNIMPLEMENTED, "implement")(call)

    suite.add("serves on after all refusals", lambda: client.infer("add2", door.add2()))


def add_settings(suite, door):
    client = door.client

    def settings():
        reply = door.describe("get_log_settings")
        if not door.is_grpc:
            return reply
        # One message a setting, one field of it set: {"log_info": {"bool_param": true}}; false is left out.
        return {name: next(iter(one.values()), None) for name, one in reply["settings"].items()}

    @suite.operation("logging settings")
    def _():
        before = settings()
        contains(before, "log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format")
        client.update_log_settings({"log_verbose_level": 1})
        equal(int(settings()["log_verbose_level"]), 1)
        client.update_log_settings({"log_verbose_level": 0})
        equal(int(settings()["log_verbose_level"] or 0), int(before["log_verbose_level"] or 0))

    suite.add(
        "refused: log file",
        lambda: door.refuses(UNIMPLEMENTED, "log_file", call=lambda: client.update_log_settings({"log_file": "x"})),
    )


def add_control(suite, door):
    """Loading and unloading, against a server whose models are loaded on request."""
    control = door.control

    def state(name):
        index = control.get_model_repository_index(**({"as_json": True} if door.is_grpc else {}))
        models = index.get("models", []) if door.is_grpc else index
        return [(one.get("state"), one.get("reason", "")) for one in models if one["name"] == name]

    def infer_later():
        x = np.array([[1, 2]], np.float32)
        same_array(control.infer("later", [door.input("x", "FP32", x)]).as_numpy("y"), x)

    def is_ready(name):
        # gRPC has an error for a model that is not there.
        try:
            return control.is_model_ready(name)
        except InferenceServerException:
            return False

    @suite.operation("load, infer, load again, unload")
    def _():
        equal(is_ready("later"), False)
        control.load_model("later")
        equal(is_ready("later"), True)
        equal(state("later")[0][0], "READY")
        infer_later()
        control.load_model("later")
        infer_later()
        control.unload_model("later")
        wait_for("unloaded", lambda: state("later") == [("UNAVAILABLE", "unloaded")])
        equal(is_ready("later"), False)
        raises(InferenceServerException, infer_later)

    @suite.operation("load with a configuration")
    def _():
        control.load_model("later", config=json.dumps({"max_batch_size": 4}))
        config = control.get_model_config("later", **({"as_json": True} if door.is_grpc else {}))
        equal((config["config"] if door.is_grpc else config)["max_batch_size"], 4)
        control.unload_model("later")

    @suite.operation("refused: load of an unknown model")
    def _():
        door.refuses(NOT_FOUND, "nope", call=lambda: control.load_model("nope"))

    @suite.operation("refused: load of a model that does not load")
    def _():
        error = door.refuses(INVALID, "broken", call=lambda: control.load_model("broken"))
        ((found, reason),) = state("broken")
        equal(found, "UNAVAILABLE")
        assert reason and reason in error.message(), f"{reason!r} is not in {error.message()!r}"

    @suite.operation("refused: load of files that come with the request")
    def _():
        files = {"file:1/model.onnx": b"x"}
        door.refuses(UNIMPLEMENTED, "file:", call=lambda: control.load_model("later", config="{}", files=files))

    @suite.operation("refused: load where the models are fixed")
    def _():
        door.refuses(("UNAVAILABLE", "503"), "model-control-mode", call=lambda: door.client.load_model("add2"))


def busy(door, start, pause):
    """Starts a run of `slow`, waits until it is at work, and gives what `start` gave."""
    idle_slow(door.address)
    started = start()
    wait_for("slow is at work", lambda: is_running(door), pause=pause)
    return started


def is_running(door):
    waiting = metric(door.address, "shoal_queue_rows", model="slow")
    return waiting == 0 and metric(door.address, "shoal_inflight_requests", model="slow") == 1


def slow_input(door):
    return [door.input("x", "FP32", A)]
