import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { type Account, takeAccount } from '../../src/cli/bench/account.ts';
import { formatAccount } from '../../src/cli/bench/account-report.ts';
import type { BenchJob } from '../../src/cli/bench/job.ts';
import { bench } from '../../src/cli/bench.ts';
import { resolveConfig } from '../../src/config.ts';
import { add2, gatherPoison, ident, writeRepository } from '../support/models.ts';
import { startServer } from '../support/server.ts';
import type { Scope } from '../support/service.ts';
import { recordHost } from '../unit/cli/support.ts';
import { childrenOf, waitFor } from './serving/helpers.ts';

const JOB: BenchJob = {
  model: 'ident',
  url: undefined,
  clients: 4,
  rate: undefined,
  arrivals: 'constant',
  seconds: 0.2,
  rows: 1,
  input: undefined,
  account: false,
  json: false,
};

async function run(job: Partial<BenchJob>, models?: string) {
  const host = recordHost();
  const values = { logLevel: 'silent', provider: 'cpu', port: 0, cores: 2, ...(models && { models }) } as const;
  const config = resolveConfig({ ...values, modelControlMode: 'explicit', loadModel: [job.model ?? 'ident'] });
  const code = await bench({ ...JOB, ...job }, config, host, new EventEmitter());
  return { code, host };
}

function folderOf(scope: Scope, models: Parameters<typeof writeRepository>[1]): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-bench-'));
  scope.after(async () => rmSync(folder, { recursive: true }));
  writeRepository(folder, models);
  return folder;
}

describe('shoal bench', () => {
  it('measures a running server, by clients and by a rate', async (t) => {
    const running = await startServer(t, { ident: ident('FP32'), add2: add2(), gather: gatherPoison() });
    const url = `http://127.0.0.1:${running.port}`;
    for (const job of [{}, { rate: 100, clients: 64 }, { model: 'add2' }, { model: 'gather', rows: 3 }]) {
      const { code, host } = await run({ ...job, url });
      assert.equal(code, 0, host.stderr);
      assert.match(host.stdout, /^requests {2}[1-9][\d,]* in /m);
      assert.match(host.stdout, /^failed {4}0$/m);
      assert.match(host.stdout, /^server {4}decode .* encode [\d.]+ ms {2}\(means\)$/m);
    }
    const before = (await running.metrics()).sum('shoal_requests_total', { model: 'ident', version: '1' });
    const { host } = await run({ url, json: true, rows: 2 });
    const report = JSON.parse(host.stdout);
    const after = (await running.metrics()).sum('shoal_requests_total', { model: 'ident', version: '1' });
    // Those that warm up, and the one that finds out what the model takes, are not told.
    assert.ok(report.requests > 0 && report.requests < after - before, `${report.requests} of ${after - before}`);
    assert.deepEqual(report.load, { kind: 'closed', clients: 4 });
    const { partsMs, totalMs, rowsPerRun } = report.server;
    const sum = Object.values<number>(partsMs).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - totalMs) < 1e-9 && totalMs <= report.latencyMs.mean, JSON.stringify(report));
    assert.ok(rowsPerRun >= 2 && rowsPerRun <= 8, `${rowsPerRun}`);
  });

  it('sends what a file says', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    const file = path.join(folderOf(t, {}), 'request.json');
    const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [3, 2], data: [1, 2, 3, 4, 5, 6] }] };
    writeFileSync(file, JSON.stringify(body));
    const { code, host } = await run({ url: `http://127.0.0.1:${running.port}`, input: file, clients: 1, json: true });
    assert.equal(code, 0);
    assert.equal(JSON.parse(host.stdout).server.rowsPerRun, 3);
    writeFileSync(file, '{');
    await assert.rejects(run({ url: 'http://127.0.0.1:1', input: file }), { name: 'ConfigError', message: /--input/ });
  });

  it('tells how requests failed, and fails when none was answered', async (t) => {
    const running = await startServer(t, { gather: gatherPoison() });
    const file = path.join(folderOf(t, {}), 'request.json');
    const body = { inputs: [{ name: 'ids', datatype: 'INT64', shape: [1], data: [99] }] };
    writeFileSync(file, JSON.stringify(body));
    const url = `http://127.0.0.1:${running.port}`;
    const failed = await run({ url, model: 'gather', input: file });
    assert.equal(failed.code, 1);
    assert.match(failed.host.stdout, /^failed {4}[\d,]+: 400 INVALID_REQUEST \([\d,]+\)$/m);
    const unknown = await run({ url, model: 'nope' });
    assert.equal(unknown.code, 1);
    assert.match(unknown.host.stderr, /^shoal: GET \/v2\/models\/nope: 404 .*\n$/);
    const nobody = await run({ url: 'http://127.0.0.1:1' });
    assert.equal(nobody.code, 1);
    assert.equal(nobody.host.stderr, 'shoal: ECONNREFUSED\n');
    await assert.rejects(run({ url: 'ftp://x' }), { name: 'ConfigError', message: /\[url\]/ });
  });

  it('loads a model into its own process', async (t) => {
    const folder = folderOf(t, { ident: ident('FP32') });
    const { code, host } = await run({ clients: 16, json: true }, folder);
    assert.equal(code, 0, host.stderr);
    const report = JSON.parse(host.stdout);
    assert.equal(report.target, 'this process');
    assert.equal(report.failed, 0);
    assert.ok(report.requests > 16 && report.server.rowsPerRun > 1);
    await waitFor(() => childrenOf(process.pid).length === 0, 'all processes are gone');
    await assert.rejects(run({ model: 'nope' }, folder), { name: 'ConfigError', message: /'nope'/ });
  });
});

describe('shoal bench --account', () => {
  it('shows where the time goes with coroutines and with threads', async (t) => {
    const folder = folderOf(t, { ident: ident('FP32') });
    const config = resolveConfig({ models: folder, logLevel: 'silent', provider: 'cpu', port: 0, cores: 2 });
    const callers = { coroutines: [1, 50], threads: [1, 3] };
    const account: Account = await takeAccount(JOB, config, undefined, new AbortController().signal, callers);
    assert.deepEqual(
      account.coroutines.map((one) => [one.callers, one.failed]),
      [
        [1, 0],
        [50, 0],
      ],
    );
    for (const {
      server,
      latencyMs,
      requests,
      callers,
      loopTurns,
      front,
      executors,
      residentBytes,
    } of account.coroutines) {
      assert.ok(requests >= callers);
      // The parts are those of the same requests, so that they add up to the latency, but for the caller's own steps.
      assert.ok(Math.abs(server!.totalMs - latencyMs['mean']!) < 0.1 * latencyMs['mean']! + 0.05, `${server!.totalMs}`);
      assert.ok(server!.computeMs > 0 && server!.switchMs > 0 && server!.switchRatio < 1);
      assert.ok(loopTurns! > 0 && front.voluntary > 0 && executors!.voluntary > 0);
      assert.ok(front.cpuMs > 0 && residentBytes > 50e6);
    }
    const [few, many] = account.coroutines;
    assert.ok(many!.server!.rowsPerRun > few!.server!.rowsPerRun);
    assert.ok(many!.loopTurns! < few!.loopTurns!, 'many coroutines go on in one turn');
    assert.deepEqual(
      account.threads.map((one) => one.threads),
      [1, 3],
    );
    for (const { requests, startMs, front, latencyMs } of account.threads) {
      assert.ok(requests > 0 && startMs > 1 && front.cpuMs > 0 && latencyMs['p50']! > 0);
    }
    const text = formatAccount(account);
    assert.match(text, /^ +1 coroutine +50 coroutines +1 thread +3 threads$/m);
    assert.match(text, /^ {2}queue +\d/m);
    await waitFor(() => childrenOf(process.pid).length === 0, 'all processes are gone');
  });

  it('is of a model in this process alone', async () => {
    await assert.rejects(run({ account: true, url: 'http://127.0.0.1:1' }), {
      name: 'ConfigError',
      message: /--account/,
    });
  });
});
