import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Reply, Stamps } from '../../../../src/batching/request.ts';
import type { Account } from '../../../../src/cli/bench/account.ts';
import { accountNotes, accountTable, formatAccount } from '../../../../src/cli/bench/account-report.ts';
import { LatencyHistogram } from '../../../../src/cli/bench/latency-histogram.ts';
import { formatMs, formatRate, formatReport, formatShare, reportOf } from '../../../../src/cli/bench/report.ts';
import { parseTimes, TimesTally } from '../../../../src/cli/bench/request-times.ts';
import { serverTiming } from '../../../../src/protocol/server-timing.ts';
import { seededRandom } from '../../../../src/random.ts';

describe('latencies', () => {
  it('have quantiles that are at most 2 % above the exact ones', () => {
    const random = seededRandom(3);
    const values = Array.from({ length: 5000 }, () => 0.02 * Math.exp(9 * random()));
    const histogram = new LatencyHistogram();
    for (const value of values) histogram.add(value);
    const sorted = values.toSorted((a, b) => a - b);
    for (const q of [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = sorted[Math.ceil(q * sorted.length) - 1]!;
      const found = histogram.quantileMs(q);
      assert.ok(found >= exact * (1 - 1e-9) && found <= 1.02 * exact, `${q}: ${found}, ${exact}`);
    }
    assert.equal(histogram.quantileMs(1), sorted.at(-1));
    assert.ok(Math.abs(histogram.meanMs - values.reduce((a, b) => a + b) / 5000) < 1e-9);
  });

  it('may be none, nothing at all, or beyond all bounds', () => {
    const histogram = new LatencyHistogram();
    assert.ok(Number.isNaN(histogram.quantileMs(0.5)) && Number.isNaN(histogram.meanMs));
    for (const ms of [0, 1e12]) histogram.add(ms);
    assert.equal(histogram.count, 2);
    assert.ok(histogram.quantileMs(0.5) < 0.002 && histogram.quantileMs(1) > 1e6);
  });
});

const STAMPS: Stamps = {
  receivedMs: 100,
  fetchMs: 0,
  enqueuedMs: 101,
  dispatchedMs: 103,
  computeStartMs: 106,
  computeEndMs: 110,
  settledMs: 115,
};
const reply = (rows: number, costMs: number): Reply => ({
  outputs: [],
  stamps: STAMPS,
  batch: { rows, requests: 2, reason: 'freed' },
  costMs,
});

describe('the times of a request', () => {
  it('are read from what the server writes', () => {
    assert.deepEqual(parseTimes(serverTiming(reply(4, 1), 121, 21)), {
      decode: 1,
      queue: 2,
      handover: 3,
      compute: 4,
      handback: 5,
      encode: 6,
      runRows: 4,
      share: 1,
      switch: 1 + 6 + (3 + 5) / 4,
    });
    assert.equal(parseTimes('decode;dur=1.000, run;dur=2.000, total;dur=3.000'), undefined);
    assert.equal(parseTimes(''), undefined);
  });

  it('are shared out by rows: what all requests of a run have is the run', () => {
    const tally = new TimesTally();
    // One run of four rows: a request of one row and one of three.
    for (const costMs of [1, 3]) tally.add(parseTimes(serverTiming(reply(4, costMs), 121, 21))!);
    assert.equal(tally.runs, 1);
    assert.equal(tally.rowsPerRun, 4);
    assert.equal(tally.sums.share, 4);
    assert.equal(tally.sums.switch, 2 * (1 + 6) + 3 + 5);
    assert.equal(tally.switchRatio, 22 / 26);
    assert.equal(tally.mean('queue'), 2);
  });
});

describe('a report', () => {
  it('says what came of a load, for people and for programs', () => {
    const [latency, times] = [new LatencyHistogram(), new TimesTally()];
    for (let i = 0; i < 100; i++) latency.add(2);
    times.add(parseTimes(serverTiming(reply(4, 1), 121, 21))!);
    const failures = new Map([
      ['429 QUEUE_FULL', 7],
      ['ECONNRESET', 1],
    ]);
    const report = reportOf({ elapsedMs: 2000, latency, times, failures, unsent: 3 });
    assert.equal(report.requestsPerSecond, 50);
    assert.equal(report.failed, 8);
    assert.deepEqual(Object.keys(report.latencyMs), ['mean', 'p50', 'p90', 'p99', 'p99.9', 'max']);
    assert.equal(report.server!.totalMs, 21);
    const text = formatReport(report);
    assert.match(text, /^requests {2}100 in 2\.0 s, 50\.0\/s$/m);
    assert.match(text, /^failed {4}8: 429 QUEUE_FULL \(7\), ECONNRESET \(1\)$/m);
    assert.match(text, /^not sent {2}3: /m);
    assert.match(text, /^latency {3}mean 2\.00 ms {2}p50 2\.00 ms/m);
    assert.match(text, /^server {4}decode 1\.00 ms {2}queue 2\.00 ms .*\(means\)$/m);
  });

  it('has no numbers where there are none', () => {
    const none = { elapsedMs: 10, latency: new LatencyHistogram(), times: new TimesTally(), unsent: 0 };
    const report = reportOf({ ...none, failures: new Map() });
    assert.equal(report.server, undefined);
    assert.equal(formatReport(report), 'requests  0 in 0.0 s, 0.0/s\nfailed    0\n');
    assert.deepEqual([formatMs(Number.NaN), formatRate(Number.NaN), formatShare(Number.NaN)], ['–', '–', '–']);
    assert.deepEqual([formatMs(0.1234), formatMs(12.34), formatMs(1234)], ['0.123 ms', '12.3 ms', '1.2 s']);
  });
});

describe('the account', () => {
  const counted = { front: { voluntary: 2, involuntary: 0.5, cpuMs: 0.2 }, residentBytes: 1e8 };
  const account: Account = {
    model: 'm',
    seconds: 5,
    cores: 2,
    node: '20.0.0',
    coroutines: [],
    threads: [
      {
        kind: 'threads',
        callers: 64,
        threads: 10,
        requests: 100,
        requestsPerSecond: 20,
        latencyMs: { mean: 1, p50: 1, p99: 2, max: 3 },
        startMs: 40,
        bytesPerThread: 10e6,
        loopTurns: undefined,
        executors: undefined,
        ...counted,
      },
    ],
  };

  it('says plainly what was not tried, and why there are fewer threads', () => {
    const [head, ...lines] = accountTable(account);
    assert.deepEqual(head, ['', '10 threads']);
    assert.ok(lines.some(([name, cell]) => name === 'memory of each thread' && cell === '10.0 MB'));
    const notes = accountNotes(account);
    assert.ok(notes.includes('Only 10 threads were started, for lack of memory.'));
    assert.match(notes.at(-1)!, /^10,000 threads were not tried: at 10\.0 MB and 40\.0 ms each.* 100 GB and 400\.0 s/);
    assert.match(formatAccount(account), /^requests +20\.0\/s$/m);
  });
});
