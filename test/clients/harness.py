"""Runs the operations of a client against a server, one after another, and counts those that passed.

A client's program makes a Suite, adds its operations and calls `run`. Each operation is a function that raises when
something is not as it should be. The counts go, one line of JSON a suite, to the file named by --results.
"""

import argparse
import json
import sys
import time
import traceback
import urllib.request

import numpy as np


def arguments():
    """What the runner says: where the servers are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", required=True, help="host:port of a server that serves everything")
    parser.add_argument("--grpc", help="the same server's gRPC door")
    parser.add_argument("--control", help="host:port of a server with --model-control-mode explicit")
    parser.add_argument("--control-grpc", help="its gRPC door")
    parser.add_argument("--perf-analyzer", help="the program")
    parser.add_argument("--results", required=True, help="file to which the counts are appended")
    parser.add_argument("--only", default="", help="part of an operation's name")
    return parser.parse_args()


class Suite:
    """`case` is the number of the protocol's conformance case that it makes up, where it does."""

    def __init__(self, client, case=None):
        self.client = client
        self._label = client if case is None else f"case {case}: {client}"
        self._operations = []

    def operation(self, name):
        """Decorates a function: it is an operation of this name."""

        def add(function):
            self.add(name, function)
            return function

        return add

    def add(self, name, function, *args):
        self._operations.append((name, lambda: function(*args)))

    def run(self, options):
        """Runs the operations; whether all of them passed."""
        passed = tried = 0
        for name, function in self._operations:
            if options.only not in name:
                continue
            tried += 1
            try:
                function()
            except Exception:
                print(f"not ok - {self._label}: {name}")
                print("".join(f"    {line}\n" for line in traceback.format_exc().splitlines()), end="")
            else:
                passed += 1
                print(f"ok - {self._label}: {name}")
            sys.stdout.flush()
        with open(options.results, "a", encoding="utf-8") as results:
            results.write(json.dumps({"client": self.client, "tried": tried, "passed": passed}) + "\n")
        return passed == tried


def raises(kind, function, *args, **kwargs):
    """The exception of this kind that a call must raise."""
    try:
        result = function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised; the result is {result!r}")


def equal(got, wanted):
    assert got == wanted, f"{got!r} instead of {wanted!r}"


def contains(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


def same_array(got, wanted):
    """Equal in shape, type and every bit; strings by their text."""
    assert got is not None, "there is no such output"
    equal(tuple(got.shape), tuple(wanted.shape))
    if wanted.dtype == np.object_:
        equal([as_text(one) for one in got.flatten()], [as_text(one) for one in wanted.flatten()])
        return
    equal(got.dtype, wanted.dtype)
    if got.tobytes() != wanted.tobytes():
        # NaN has many patterns, and JSON keeps none of them.
        np.testing.assert_array_equal(got, wanted)
        equal(np.signbit(got[~np.isnan(got)]).tolist(), np.signbit(wanted[~np.isnan(wanted)]).tolist())


def as_text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


# Values that are easily lost: the ends of each range, signs of zero, what is not finite, text beyond ASCII.
SAMPLES = {
    "BOOL": np.array([[True, False, True], [False, False, True]]),
    "UINT8": np.array([[0, 1, 255], [127, 128, 2]], np.uint8),
    "UINT16": np.array([[0, 1, 65535], [32767, 32768, 2]], np.uint16),
    "UINT32": np.array([[0, 1, 2**32 - 1], [2**31 - 1, 2**31, 2]], np.uint32),
    "UINT64": np.array([[0, 1, 2**64 - 1], [2**63, 2**53 + 1, 2]], np.uint64),
    "INT8": np.array([[0, -1, 127], [-128, 5, 2]], np.int8),
    "INT16": np.array([[0, -1, 2**15 - 1], [-(2**15), 5, 2]], np.int16),
    "INT32": np.array([[0, -1, 2**31 - 1], [-(2**31), 5, 2]], np.int32),
    "INT64": np.array([[0, -1, 2**63 - 1], [-(2**63), 2**53 + 1, 2]], np.int64),
    "FP16": np.array([[0.1, -0.0, 65504], [np.inf, np.nan, 6e-8]], np.float16),
    "FP32": np.array([[0.1, -0.0, 3.4028235e38], [1e-45, 16777217, -2.5]], np.float32),
    "FP64": np.array([[0.1, -0.0, 1.7976931348623157e308], [5e-324, 2**53 + 1, -1 / 3]], np.float64),
    "BYTES": np.array([["é", "", "naïve 日本語"], ["🐟", 'a"\\\n', "plain"]], np.object_),
}


def wait_for(what, probe, timeout_s=10, pause=time.sleep):
    """Asks until `probe` says yes; `pause` lets what runs beside it go on."""
    give_up_at = time.monotonic() + timeout_s
    while not probe():
        assert time.monotonic() < give_up_at, f"{what}: not within {timeout_s} s"
        pause(0.01)


def metric(address, name, **labels):
    """The sum of a metric's series with these labels."""
    with urllib.request.urlopen(f"http://{address}/metrics") as reply:
        lines = reply.read().decode().splitlines()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    values = [
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith((f"{name}{{", f"{name} ")) and all(one in line for one in wanted)
    ]
    assert values, f"there is no metric {name} with {labels}"
    return sum(values)


def idle_slow(address):
    """Waits until the model `slow` has nothing to do."""
    wait_for("slow is idle", lambda: metric(address, "shoal_inflight_requests", model="slow") == 0)
