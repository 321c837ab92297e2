"""What schemathesis has to know beyond the document: see docs/openapi.md, what JSON Schema cannot say."""

import base64
import itertools
import json
import math

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

HEADER_LENGTH = "Inference-Header-Content-Length"
MICROSECONDS = 10_000_000
LARGEST_DIMENSION = 8
SIZES = {"BOOL": 1, "FP16": 2, "FP32": 4, "FP64": 8} | {
    f"{sign}INT{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64)
}

# By path: by name of the input, its datatype and the schemas of its dimensions.
inputs_by_path = {}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    schemas = raw_schema["components"]["schemas"]
    for path, item in raw_schema["paths"].items():
        if path.endswith("/infer"):
            content = item["post"]["requestBody"]["content"]
            reference = content.get("application/json", {}).get("schema") or content["application/octet-stream"]["x-json"]
            items = schemas[reference["$ref"].rpartition("/")[2]]["properties"]["inputs"]["items"]
            tensors = [one["properties"] for one in items.get("anyOf", [items])]
            inputs = {one["name"]["const"]: (one["datatype"]["const"], one["shape"].get("prefixItems", [])) for one in tensors}
            inputs_by_path[path] = inputs
            inputs_by_path[path.replace("/v2/", "/v1/").replace("/infer", ":predict")] = inputs
    # schemathesis 4.32 turns the prefixItems of replies into something that it then refuses itself. The repository's
    # own tests check replies against the whole of these schemas.
    for name, schema in schemas.items():
        if name.startswith("Reply."):
            schemas[name] = without_prefix_items(schema)


def without_prefix_items(schema):
    if isinstance(schema, dict):
        return {key: without_prefix_items(value) for key, value in schema.items() if key != "prefixItems"}
    return [without_prefix_items(value) for value in schema] if isinstance(schema, list) else schema


@schemathesis.hook
def before_call(context, case, kwargs):
    inputs = inputs_by_path.get(case.operation.path)
    if inputs is None or case.method != "POST":
        return
    if isinstance(case.body, dict):
        lengthen_timeout(case.body)
    if not is_positive(case, ParameterLocation.HEADER):
        return
    if case.media_type == "application/octet-stream":
        # The document says of such a body only that it has bytes.
        if is_right(case):
            case.body, length = binary_body(inputs, case.body)
            set_header_length(case, length)
        return
    # The whole body is JSON: there is no length to be said.
    set_header_length(case, None)
    if is_right(case):
        if case.operation.path.endswith(":predict"):
            fit_predict(case.body, inputs)
        else:
            fit_infer(case.body, inputs)


def is_positive(case, location):
    component = None if case.meta is None else case.meta.components.get(location)
    return component is None or component.mode == GenerationMode.POSITIVE


def is_right(case):
    is_meant_so = case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE
    return is_meant_so and is_positive(case, ParameterLocation.BODY)


def set_header_length(case, length):
    headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != HEADER_LENGTH.lower()}
    case.headers = headers if length is None else headers | {HEADER_LENGTH: length}


def lengthen_timeout(body):
    """Some microseconds are over before anything can run: that is answered with 504, as it should be."""
    parameters = body.get("parameters")
    timeout = parameters.get("timeout") if isinstance(parameters, dict) else None
    if isinstance(timeout, (int, float)) and 0 < timeout < MICROSECONDS:
        parameters["timeout"] = MICROSECONDS


def fit_infer(body, inputs):
    """Gives all inputs the same number of rows, and each as many elements as its shape says."""
    rows = None
    # What has no elements has no classes.
    least = 1 if "classification" in json.dumps(body.get("outputs")) else 0
    for tensor in body["inputs"]:
        datatype, dimensions = inputs[tensor["name"]]
        for axis, schema in enumerate(dimensions):
            size = max(least, min(tensor["shape"][axis], schema.get("const", LARGEST_DIMENSION)))
            if "maximum" in schema:
                size = rows = size if rows is None else rows
            tensor["shape"][axis] = size
        # Sizes may have been generated as 1.0.
        count = int(math.prod(tensor["shape"]))
        tensor["data"] = fill(list(flatten(tensor["data"])), count, datatype)


def fit_predict(body, inputs):
    """The same for nested data, whose shape is that of its nesting."""
    only = next(iter(inputs)) if len(inputs) == 1 else None
    if "instances" in body:
        items = body["instances"][:LARGEST_DIMENSION]
        rows = len(items)
    else:
        items = [body["inputs"]]
        rows = 1 + len(str(items)) % LARGEST_DIMENSION
    is_named = all(isinstance(item, dict) and set(item) == set(inputs) for item in items)
    nested = {}
    for name, (datatype, dimensions) in inputs.items():
        elements = list(flatten([item[name] if is_named else item for item in items]))
        shape = [
            rows if "maximum" in one else one.get("const", 1 + (len(elements) + axis) % 4)
            for axis, one in enumerate(dimensions)
        ]
        if "instances" in body:
            shape[0] = rows
        nested[name] = nest(fill(elements, math.prod(shape), datatype), shape)
    if "instances" in body:
        body["instances"] = [
            {name: nested[name][row] for name in inputs} if is_named else nested[only][row] for row in range(rows)
        ]
    else:
        body["inputs"] = nested if is_named else nested[only]


def fill(elements, count, datatype):
    filler = elements[0] if elements else "" if datatype == "BYTES" else 0
    return (elements + [filler] * count)[:count]


def flatten(data):
    for value in data if isinstance(data, list) else [data]:
        if isinstance(value, list):
            yield from flatten(value)
        elif isinstance(value, dict):
            # Bytes that are no text do not reach ONNX Runtime.
            yield {"b64": base64.b64encode(value["b64"].encode()).decode()}
        else:
            yield value


def nest(elements, shape):
    if not shape:
        return elements[0]
    size = len(elements) // shape[0] if shape[0] else 0
    return [nest(elements[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]


def binary_body(inputs, generated):
    """A request with binary inputs of some rows, and the length of its JSON; the bytes are those that were generated."""
    source = generated if isinstance(generated, bytes) else repr(generated).encode("utf-8", "replace")
    source = itertools.cycle(source or b"\0")
    rows = 1 + next(source) % LARGEST_DIMENSION
    tensors, sections = [], []
    for name, (datatype, dimensions) in inputs.items():
        shape = [rows if "maximum" in one else one.get("const", 1 + next(source) % 4) for one in dimensions]
        count = math.prod(shape)
        if datatype == "BYTES":
            texts = ["".join(chr(1 + next(source) % 127) for _ in range(next(source) % 9)).encode() for _ in range(count)]
            section = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        else:
            section = bytes(itertools.islice(source, count * SIZES[datatype]))
        tensors.append(
            {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(section)}}
        )
        sections.append(section)
    text = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return b"".join([text, *sections]), str(len(text))
