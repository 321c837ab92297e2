import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { request } from 'undici';
import { add2, gatherPoison, idents, writeRepository } from '../../support/models.ts';
import { ServeProcess } from '../../support/serve-process.ts';
import { expectError, parseReply, type Scope, TestClient } from '../../support/server.ts';

/** Bodies made to cost much: they take their own time, not that of others, and are never the server's fault. */

const MB = 2 ** 20;

/** A request whose `data` is this text. */
function withData(datatype: string, count: number, data: string): string {
  return `{"inputs":[{"name":"x","datatype":"${datatype}","shape":[1,${count}],"data":${data}}]}`;
}

/** `[item,item,…]` of about so many bytes. */
function list(item: string, bytes: number): { readonly count: number; readonly text: string } {
  const count = Math.floor(bytes / (item.length + 1));
  return { count, text: `[${`${item},`.repeat(count - 1)}${item}]` };
}

function valid(datatype: string, item: string, bytes: number): [string, string, number] {
  const { count, text } = list(item, bytes);
  return [datatype, withData(datatype, count, text), 200];
}

/** Model's datatype, body, expected status. */
function hostileBodies(bytes: number): [string, string, number][] {
  const digits = '1234567890'.repeat(bytes / 10);
  return [
    valid('FP32', '-0.12345679', bytes),
    valid(
      'FP32',
      '1.17549421069244107548702944484928734882705242874589333385717453057158887047561890426550235133e-38',
      bytes,
    ),
    valid('FP64', '2.2250738585072011e-308', bytes),
    valid('INT64', '-9223372036854775808', bytes),
    valid('BOOL', 'true', bytes),
    valid('BYTES', '"\\u00e9\\n\\ud83d\\ude00"', bytes),
    ['BYTES', withData('BYTES', 1, `["${'\\u00e9'.repeat(bytes / 6)}"]`), 200],
    ['FP32', withData('FP32', 2, `[1,${' '.repeat(bytes)}2]`), 200],
    ['FP64', withData('FP64', 1, `[0.${digits}]`), 400],
    ['FP64', withData('FP64', 1, `[${digits}]`), 400],
    ['FP64', withData('FP64', 1, `[1e${digits}]`), 400],
    ['INT64', withData('INT64', 1, `[${digits}]`), 400],
    ['FP32', withData('FP32', 1, list('1', bytes).text), 400],
    ['FP32', withData('FP32', 1, '['.repeat(bytes)), 400],
    ['FP32', withData('FP32', bytes, `${'[1,'.repeat(bytes / 3)}1`), 400],
    ['FP32', withData('FP32', 1, `{"a":${'{"a":'.repeat(bytes / 5)}`), 400],
    ['FP32', `{"id":"${'x'.repeat(bytes)}","inputs":[]}`, 400],
    ['FP32', `{"inputs":[${'{},'.repeat(bytes / 3)}{}]}`, 400],
    ['FP32', `{"parameters":{${'"a":1,'.repeat(bytes / 6)}"b":2},"inputs":[]}`, 400],
    ['FP32', `{"inputs":[{"name":"x","datatype":"FP32","shape":${list('1', bytes).text},"data":[1]}]}`, 400],
    ['FP32', `${' '.repeat(bytes)}{`, 400],
    ['FP32', '"'.repeat(bytes), 400],
    ['FP32', '\\'.repeat(bytes), 400],
  ];
}

async function serve(scope: Scope, ...options: string[]): Promise<TestClient> {
  const models = writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-hostile-')), {
    add2: add2(),
    gather: gatherPoison(),
    ident_FP32: idents()['ident_FP32']!,
    ident_FP64: idents()['ident_FP64']!,
    ident_INT64: idents()['ident_INT64']!,
    ident_BOOL: idents()['ident_BOOL']!,
    ident_BYTES: idents()['ident_BYTES']!,
  });
  const served = await ServeProcess.start(scope, models, ...options);
  const client = new TestClient(served.url);
  scope.after(async () => {
    await client.close();
    rmSync(models, { recursive: true });
  });
  return client;
}

const small = JSON.stringify({
  inputs: ['a', 'b'].map((name) => ({ name, datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] })),
});

/** Sends small requests one after the other until told to stop; how long each took. */
function probe(client: TestClient): { readonly stop: () => Promise<number[]> } {
  let over = false;
  const times: number[] = [];
  const done = (async () => {
    while (!over) {
      const start = performance.now();
      const answer = await client.infer('add2', small);
      times.push(performance.now() - start);
      assert.equal(answer.status, 200);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  return {
    async stop() {
      over = true;
      await done;
      return times.sort((a, b) => a - b);
    },
  };
}

const quantile = (sorted: readonly number[], q: number): number => sorted[Math.floor(q * (sorted.length - 1))]!;

describe('hostile input', () => {
  it('is answered or refused, whatever it is and however large, and never as a fault of the server', async (t) => {
    const client = await serve(t);
    for (const bytes of [64 * 1024, MB, 4 * MB]) {
      for (const [i, [datatype, body, status]] of hostileBodies(bytes).entries()) {
        const answer = await client.infer(`ident_${datatype}`, body);
        const what = `body ${i} of ${bytes} bytes`;
        assert.equal(
          answer.status === 200 ? 200 : 400,
          status,
          `${what}: ${answer.status} ${answer.body.subarray(0, 200)}`,
        );
        if (status === 400) {
          const text = expectError(answer, 'INVALID_REQUEST');
          assert.ok(text.length < 500, `${what}: a message of ${text.length} characters`);
        }
      }
    }
    assert.deepEqual(parseReply(await client.infer('add2', small)).outputs[0]!.data, [2, 4, 6, 8]);
    const metrics = await client.metrics();
    assert.equal(metrics.sum('shoal_executor_restarts_total'), 0);
    assert.equal(metrics.sum('shoal_requests_total', { outcome: 'failed' }), 0);
  });

  it('does not keep others waiting', async (t) => {
    const client = await serve(t);
    for (let i = 0; i < 50; i++) await client.infer('add2', small);
    const quiet = probe(client);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const alone = await quiet.stop();

    const bodies = hostileBodies(8 * MB);
    const chosen = [0, 1, 3, 5, 7, 12]
      .map((i) => bodies[i]!)
      .map(([datatype, body, status]) => {
        return { url: `${client.url}/v2/models/ident_${datatype}/infer`, body: Buffer.from(body), status };
      });
    const large: number[] = [];
    const watched = probe(client);
    for (let round = 0; round < 2; round++) {
      await Promise.all(
        chosen.map(async ({ url, body, status }) => {
          const start = performance.now();
          const response = await request(url, { method: 'POST', body });
          // Not kept: this process must not stall itself while it watches the other.
          await response.body.dump({ limit: Number.POSITIVE_INFINITY });
          large.push(performance.now() - start);
          assert.equal(response.statusCode, status);
        }),
      );
    }
    const beside = await watched.stop();
    large.sort((a, b) => a - b);
    const figures = {
      alone: quantile(alone, 0.5),
      median: quantile(beside, 0.5),
      p95: quantile(beside, 0.95),
      worst: beside.at(-1)!,
      large: quantile(large, 0.5),
    };
    t.diagnostic(
      Object.entries(figures)
        .map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`)
        .join(', '),
    );
    assert.ok(figures.median < figures.large / 10, JSON.stringify(figures));
    assert.ok(figures.p95 < figures.large / 4, JSON.stringify(figures));
  });
});
