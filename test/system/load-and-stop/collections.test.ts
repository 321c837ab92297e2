import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { idents, writeRepository } from '../../support/models.ts';
import { ServeProcess } from '../../support/serve-process.ts';
import { type Scope, TestClient } from '../../support/server.ts';

const CLIENTS = 64;
const REQUESTS_PER_CLIENT = 150;

/** Full garbage collections of a front while it answers some thousand requests of 8 KB. */
async function fullCollections(scope: Scope, ...nodeOptions: string[]): Promise<number> {
  const models = writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-heap-')), { ident: idents()['ident_FP32']! });
  const client = new TestClient((await ServeProcess.startWith(scope, nodeOptions, models)).url);
  scope.after(async () => {
    await client.close();
    rmSync(models, { recursive: true });
  });
  const row = Buffer.alloc(8192);
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, 2048], parameters: { binary_data_size: row.length } }];
  const load = async (requests: number): Promise<void> => {
    for (let i = 0; i < requests; i++) {
      const { status } = await client.inferBinary('ident', { inputs }, [row]);
      assert.equal(status, 200);
    }
  };
  const all = (requests: number) => Promise.all(Array.from({ length: CLIENTS }, () => load(requests)));
  const count = async (): Promise<number> =>
    (await client.metrics()).sum('nodejs_gc_duration_seconds_count', { kind: 'major' });

  await all(20);
  const before = await count();
  await all(REQUESTS_PER_CLIENT);
  return (await count()) - before;
}

it('buffers that come and go do not start one full garbage collection after the other', async (t) => {
  const kept = await fullCollections(t);
  // What the operator says stays; it is also how the server would do with a heap that is kept close.
  const close = await fullCollections(t, '--heap-growing-percent=20');
  t.diagnostic(`${kept} full collections, ${close} with a heap kept close`);
  assert.ok(close >= 6, `${close} with a heap kept close`);
  assert.ok(kept <= close / 3, `${kept}, ${close} with a heap kept close`);
});
