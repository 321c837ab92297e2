import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { ShoalClient, ShoalClientError } from '../../src/client/index.ts';
import { REPOSITORY_ROOT } from '../support/root.ts';
import { type InferTensorCase, SAMPLES } from '../support/samples.ts';

/**
 * The other way round: our own client against a server that is not ours, KServe's. Run by `run.ts`, which says where
 * the Python is that has it.
 */

/** Starting Python with all that KServe imports takes seconds. */
const START_MS = 60_000;

const { values } = parseArgs({
  strict: false,
  options: { python: { type: 'string' }, results: { type: 'string' }, only: { type: 'string', default: '' } },
});

const port = await freePort();
const program = path.join(REPOSITORY_ROOT, 'test/clients/kserve_server.py');
const server = spawn(String(values.python), [program, String(port)], {
  env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
  stdio: 'ignore',
});
const ended = once(server, 'exit');
const client = new ShoalClient(`http://127.0.0.1:${port}`);
try {
  await untilLive();
  process.exitCode = await runOperations();
} finally {
  await client.close();
  server.kill();
  await ended;
}

async function runOperations(): Promise<number> {
  let tried = 0;
  let passed = 0;
  for (const [name, operation] of operations()) {
    if (!name.includes(String(values.only))) continue;
    tried++;
    try {
      await operation();
      passed++;
    } catch (error) {
      console.log(`not ok - shoal/client, KServe's server: ${name}\n    ${String(error).replaceAll('\n', '\n    ')}`);
    }
  }
  console.log(`shoal/client, KServe's server: ${passed} of ${tried} operations passed`);
  const count = { client: "shoal/client, KServe's server", tried, passed };
  appendFileSync(String(values.results), `${JSON.stringify(count)}\n`);
  return passed === tried ? 0 : 1;
}

function operations(): [string, () => Promise<void>][] {
  const list: [string, () => Promise<void>][] = [
    ['live', async () => assert.equal(await client.isLive(), true)],
    ['ready', async () => assert.equal(await client.isReady(), true)],
    ['model ready', async () => assert.equal(await client.isModelReady('echo'), true)],
    ['unknown model not ready', async () => assert.equal(await client.isModelReady('nope'), false)],
    ['server metadata', async () => assert.equal((await client.serverMetadata()).name, 'kserve')],
    [
      'model metadata',
      async () =>
        assert.deepEqual((await client.modelMetadata('echo')).inputs, [
          { name: 'x', datatype: 'FP32', shape: [-1, 2] },
        ]),
    ],
    [
      'error of an unknown model',
      () =>
        expectError(client.infer('nope', { x: SAMPLES['FP32']!.input }), 404, /^Model with name nope does not exist/),
    ],
    ['error of a route that is not there', () => expectError(client.statistics('echo'), 404, /Not Found/)],
    [
      'outputs asked for',
      async () => {
        const input = SAMPLES['INT32']!.input;
        const { outputs, id } = await client.infer('echo', { a: input, b: input }, { outputs: ['b'], id: '7' });
        assert.deepEqual([Object.keys(outputs), id], [['b'], '7']);
      },
    ],
    [
      'several tensors, sections that are not aligned',
      async () => {
        const { input: bytes } = SAMPLES['BYTES']!;
        const { input: doubles } = SAMPLES['FP64']!;
        const { outputs } = await client.infer('echo', { bytes, doubles });
        assert.deepEqual([outputs['bytes']!.data, outputs['doubles']!.data], [bytes.data, doubles.data]);
      },
    ],
    [
      'empty tensor',
      async () => {
        const x = { data: new Float32Array(0), shape: [2, 0] };
        assert.deepEqual((await client.infer('echo', { x })).outputs['x']!.data, x.data);
      },
    ],
  ];
  for (const format of ['binary', 'json'] as const) {
    for (const [datatype, sample] of Object.entries(SAMPLES)) {
      // JSON carries no FP16.
      if (format === 'binary' || datatype !== 'FP16') {
        list.push([`infer ${datatype}, ${format}`, () => roundTrip(datatype, sample, format)]);
      }
    }
  }
  return list;
}

async function roundTrip(
  datatype: string,
  { input, back = input.data }: InferTensorCase,
  format: 'binary' | 'json',
): Promise<void> {
  const { outputs } = await client.infer('echo', { x: input }, { format });
  assert.deepEqual(outputs['x'], { datatype, shape: input.shape, data: back });
}

async function expectError(call: Promise<unknown>, status: number, text: RegExp): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    assert.ok(error instanceof ShoalClientError);
    assert.equal(error.code, `HTTP_${status}`);
    assert.match(String(error.serverText), text);
    return true;
  });
}

async function untilLive(): Promise<void> {
  const giveUpAtMs = performance.now() + START_MS;
  for (;;) {
    if (await client.isLive().catch(() => false)) return;
    assert.equal(server.exitCode, null, "KServe's server ended");
    assert.ok(performance.now() < giveUpAtMs, "KServe's server did not start");
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  assert.ok(typeof address === 'object' && address !== null);
  probe.close();
  await once(probe, 'close');
  return address.port;
}
