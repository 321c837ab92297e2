"""Case 91: perf_analyzer, which reads metadata, configuration, statistics and metrics and checks them against each other."""

import os
import re
import subprocess
import sys

from harness import Suite, arguments, contains, equal, metric

REQUESTS = 200


def analyze(options, *more):
    """Runs perf_analyzer for a number of requests and returns what it printed."""
    libraries = os.path.join(os.path.dirname(options.perf_analyzer), "lib")
    command = [options.perf_analyzer, *more]
    if "--measurement-interval" not in more:
        command += ["--request-count", str(REQUESTS)]
    done = subprocess.run(
        command,
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def number(text, name):
    found = re.search(rf"{name}: ([\d.]+)", text)
    assert found, f"there is no '{name}' in {text}"
    return float(found.group(1))


def check_statistics(text, batch, concurrencies, in_windows=False):
    """What it reads from the server's statistics must agree with what it did itself.

    In windows of time it does so roughly: the server is asked before and after each, while requests are under way.
    """
    parts = re.split(r"\nRequest concurrency: ", text)[1:]
    equal([int(part.split("\n", 1)[0]) for part in parts], concurrencies)
    for part, concurrency in zip(parts, concurrencies):
        client, server = part.split("  Server: ", 1)
        requests = number(client, "Request count")
        assert requests > 0
        assert number(client, "Throughput") > 0
        answered = number(server, "Successful request count")
        equal(number(server, "Inference count"), answered * batch)
        # Requests under way when it looked are in one count and not yet in the other.
        slack = requests / 2 if in_windows else concurrency
        assert abs(answered - requests) <= slack, f"{answered} answered, {requests} sent"
        assert 0 < number(server, "Execution count") <= answered
        parts_us = [float(one) for one in re.findall(r"(?:queue|compute input|compute infer|compute output) (\d+) usec", server)]
        equal(len(parts_us), 4)
        latency_us = number(server, "Avg request latency")
        overhead_us = float(re.search(r"overhead (\d+) usec", server).group(1))
        # Each part is rounded on its own.
        assert abs(latency_us - overhead_us - sum(parts_us)) <= 5, server
        client_us = number(client, "Avg latency")
        assert latency_us <= client_us * (1.5 if in_windows else 1), f"{latency_us} us within the server, {client_us} us outside"


def add_operations(suite, options, address, extra, formats):
    for batch in (1, 8):
        for mode in ("sync", "async"):
            for form in formats:

                def measure(batch=batch, mode=mode, form=form):
                    before = metric(options.http, "nv_inference_count", model="add2")
                    for concurrency in (1, 8):
                        text = analyze(
                            options,
                            *["-m", "add2", "-u", address, "-b", str(batch), f"--{mode}", *extra, *form_flags(form)],
                            *["--concurrency-range", str(concurrency), *metrics_flags(options)],
                        )
                        check_statistics(text, batch, [concurrency])
                        contains(text, "Server Prometheus Metrics")
                    counted = metric(options.http, "nv_inference_count", model="add2") - before
                    assert counted >= 2 * REQUESTS * batch, f"{counted} inferences in the metrics"

                suite.add(", ".join([*filter(None, [form]), mode, f"batch {batch}"]), measure)

    @suite.operation("a range of concurrencies in windows of time")
    def _():
        text = analyze(
            options,
            *["-m", "add2", "-u", address, "-b", "8", "--async", *extra, *metrics_flags(options)],
            # Whatever three windows in a row say counts as stable: this is no measurement.
            *["--concurrency-range", "1:8", "--measurement-interval", "100", "--stability-percentage", "999"],
        )
        check_statistics(text, 8, list(range(1, 9)), in_windows=True)

    def other(model, batch, *more):
        text = analyze(options, "-m", model, "-u", address, "-b", str(batch), "--concurrency-range", "4", *extra, *more)
        check_statistics(text, batch, [4])

    suite.add("a version", lambda: other("add2", 2, "-x", "1"))
    suite.add("text", lambda: other("str1", 2, "--string-length", "12"))
    suite.add("a variable dimension", lambda: other("ident_INT64", 2, "--shape", "x:16"))
    suite.add("a model without batches", lambda: other("flat0", 1))


def metrics_flags(options):
    return ["--collect-metrics", "--metrics-url", f"{options.http}/metrics", "--metrics-interval", "100"]


def form_flags(form):
    return ["--input-tensor-format", form.lower(), "--output-tensor-format", form.lower()] if form else []


def main(options):
    http = Suite("perf_analyzer, HTTP", case=91)
    add_operations(http, options, options.http, [], ["binary", "JSON"])
    grpc = Suite("perf_analyzer, gRPC", case=91)
    # gRPC has one form of tensors only.
    add_operations(grpc, options, options.grpc, ["-i", "grpc"], [None])
    results = [http.run(options), grpc.run(options)]
    return all(results)


if __name__ == "__main__":
    sys.exit(0 if main(arguments()) else 1)
