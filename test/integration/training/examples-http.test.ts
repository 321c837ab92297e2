import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { ident, mlp, multiInput, writeRepository } from '../../support/models.ts';
import { ServeProcess } from '../../support/serve-process.ts';
import { expectError, parseJson, startServer, TestClient, type TestServer } from '../../support/server.ts';

const WIDTH = 4;

function folder(t: TestContext): string {
  const made = mkdtempSync(path.join(tmpdir(), 'shoal-training-'));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

const start = (t: TestContext, deps = {}): Promise<TestServer> =>
  startServer(
    t,
    { base: mlp([WIDTH, 8]), words: ident('BYTES'), multi: multiInput() },
    { trainingDir: folder(t) },
    deps,
  );

const inputs = (rows: number, value = 0.5) => ({
  name: 'x',
  datatype: 'FP32',
  shape: [rows, WIDTH],
  data: Array.from({ length: rows * WIDTH }, () => value),
});
const labels = (data: unknown[], datatype = 'INT64') => ({ name: 'label', datatype, shape: [data.length], data });

const post = (client: TestClient, body: unknown, model = 'base') =>
  client.send('POST', `/v2/models/${model}/examples`, typeof body === 'string' ? body : JSON.stringify(body));

async function count(client: TestClient, model = 'base') {
  return (await client.json(`/v2/models/${model}/examples`)) as {
    rows: number;
    kind?: string;
    classes: Record<string, number>;
    width?: number;
  };
}

describe('examples over HTTP', () => {
  it('are stored, counted by class, and deleted', async (t) => {
    const server = await start(t);
    assert.equal((await count(server)).rows, 0);
    const reply = parseJson(await post(server, { inputs: [inputs(3), labels([2, 0, 2])] }), 200);
    assert.deepEqual(reply, { model: 'base', stored: 3, rows: 3, duplicate: false });
    await post(server, { inputs: [inputs(1), { ...labels([10], 'UINT8'), shape: [1, 1] }] });
    const { rows, kind, classes } = await count(server);
    assert.deepEqual([rows, kind, classes], [4, 'classes', { 0: 1, 2: 2, 10: 1 }]);
    assert.deepEqual(parseJson(await server.send('DELETE', '/v2/models/base/examples'), 200), {
      model: 'base',
      deleted: 4,
    });
    assert.deepEqual([(await count(server)).rows, (await count(server)).classes], [0, {}]);
    // Another kind is welcome now.
    await post(server, {
      inputs: [inputs(2), { name: 'target', datatype: 'FP64', shape: [2, 2], data: [1, 2, 3, 4] }],
    });
    assert.deepEqual([(await count(server)).kind, (await count(server)).width], ['targets', 2]);
  });

  it('may be binary, have named classes, and texts as inputs', async (t) => {
    const server = await start(t);
    const texts = { name: 'x', datatype: 'BYTES', shape: [2, 1], data: ['Hund', 'chat'] };
    await post(server, { inputs: [texts, labels(['de', 'fr'], 'BYTES')] }, 'words');
    assert.deepEqual((await count(server, 'words')).classes, { de: 1, fr: 1 });
    const data = Float32Array.from({ length: 2 * WIDTH }, (_, i) => i);
    const body = JSON.stringify({
      inputs: [
        { name: 'x', datatype: 'FP32', shape: [2, WIDTH], parameters: { binary_data_size: data.byteLength } },
        { name: 'label', datatype: 'INT32', shape: [2], parameters: { binary_data_size: 8 } },
      ],
    });
    const bytes = Buffer.concat([Buffer.from(body), Buffer.from(data.buffer), Buffer.from(Int32Array.of(1, 0).buffer)]);
    const answer = await server.send('POST', '/v2/models/base/examples', bytes, {
      'inference-header-content-length': String(Buffer.byteLength(body)),
    });
    assert.equal(answer.status, 200, answer.body.toString());
    const store = server.server.service.trainings!;
    const read = [];
    for await (const example of store.readExamples('base')) read.push(example);
    assert.deepEqual(
      read.map(({ rows, labels: found }) => [rows, found]),
      [[2, { kind: 'classes', classes: [1, 0] }]],
    );
    assert.deepEqual(Buffer.from(read[0]!.inputs.get('x')!.bytes), Buffer.from(data.buffer));
  });

  it('that are sent again with the same id are stored once', async (t) => {
    const server = await start(t);
    const body = { id: 'a', inputs: [inputs(2), labels([0, 1])] };
    const [one, other] = await Promise.all([post(server, body), post(server, body)]);
    const duplicates = [one, other].map((answer) => (parseJson(answer!, 200) as { duplicate: boolean }).duplicate);
    assert.deepEqual(duplicates.sort(), [false, true]);
    const third = parseJson(await post(server, body), 200) as object;
    assert.deepEqual(third, { model: 'base', stored: 2, rows: 2, duplicate: true });
  });

  it('that are wrong are refused by name, and nothing of them is stored', async (t) => {
    const server = await start(t);
    const cases: [unknown, RegExp][] = [
      ['{', /JSON/],
      [{ inputs: [inputs(1)] }, /neither: expected a tensor 'label' .* or 'target'/],
      [{ inputs: [inputs(1), labels([0]), { ...labels([0.5], 'FP32'), name: 'target' }] }, /has both/],
      [{ inputs: [labels([0])] }, /needs input 'x'/],
      [{ inputs: [inputs(2), labels([0])] }, /'label' has shape \[1\], expected \[2\] or \[2,1\]/],
      [{ inputs: [inputs(1), labels([-1])] }, /the label of row 0 is -1, expected an integer from 0 to 9999/],
      [{ inputs: [inputs(1), labels([10_000])] }, /the label of row 0 is 10000/],
      [{ inputs: [inputs(1), labels([0.5], 'FP32')] }, /'label' is FP32 \[1\], expected integers or BYTES/],
      [{ inputs: [inputs(1), labels([''], 'BYTES')] }, /label of row 0 has 0 characters/],
      [{ inputs: [{ ...inputs(1), data: [1, 2, null, 4] }, labels([0])] }, /element 2 of input 'x' is not a finite/],
      [
        { inputs: [inputs(1), { name: 'target', datatype: 'FP32', shape: [1], data: [null] }] },
        /'target' is not a finite/,
      ],
      [{ inputs: [{ ...inputs(1), datatype: 'FP64' }, labels([0])] }, /is FP32, the request has FP64/],
      [{ inputs: [{ ...inputs(1), shape: [1, 2, 2] }, labels([0])] }, /has shape/],
      [{ inputs: [inputs(1), labels([0]), { ...inputs(1), name: 'more' }] }, /no input 'more'/],
      [{ inputs: [inputs(4097), labels(Array.from({ length: 4097 }, () => 0))] }, /4097 rows.* at most 4096/],
      [{ id: 'x'.repeat(129), inputs: [inputs(1), labels([0])] }, /id of the request has 129 characters/],
    ];
    for (const [body, text] of cases) expectError(await post(server, body), 'INVALID_REQUEST', text);
    expectError(await post(server, { inputs: [] }, 'none'), 'MODEL_NOT_FOUND');
    for (const name of ['..', '%2e%2e%2f%2e%2e', 'base%2f..%2fbase', '%00']) {
      const answer = await post(server, { inputs: [inputs(1), labels([0])] }, name);
      assert.ok(answer.status === 404 || answer.status === 400, `${name}: ${answer.status}`);
    }
    assert.equal((await count(server)).rows, 0);
    await post(server, { inputs: [inputs(1), labels([0])] });
    expectError(
      await post(server, { inputs: [inputs(1), labels(['a'], 'BYTES')] }),
      'INVALID_REQUEST',
      /has names, .* have classes/,
    );
    assert.equal((await count(server)).rows, 1);
  });

  it('are refused when the model has as many as it may have', async (t) => {
    const server = await start(t, { training: { limits: { rows: 5, bytes: 1 << 20 } } });
    assert.equal((await post(server, { inputs: [inputs(3), labels([0, 1, 2])] })).status, 200);
    expectError(await post(server, { inputs: [inputs(3), labels([0, 1, 2])] }), 'STORAGE_FAILED', /has 3 of at most 5/);
    assert.equal((await post(server, { inputs: [inputs(2), labels([0, 1])] })).status, 200);
  });

  it('need the flag, whose name the answer says', async (t) => {
    const server = await startServer(t, { base: mlp([WIDTH, 8]) });
    for (const method of ['GET', 'POST', 'DELETE']) {
      expectError(await server.send(method, '/v2/models/base/examples'), 'UNIMPLEMENTED', /--training-dir/);
    }
    const put = await server.send('PUT', '/v2/models/base/examples');
    assert.deepEqual([put.status, put.headers['allow']], [405, 'POST, GET, HEAD, DELETE']);
  });
});

describe('examples and a killed server', () => {
  it('every acknowledged row is there afterwards, and none twice', async (t) => {
    const work = folder(t);
    const models = writeRepository(path.join(work, 'models'), { base: mlp([WIDTH, 8]) });
    const training = path.join(work, 'training');
    const acknowledged = new Set<number>();
    let sent = 0;
    for (let round = 0; round < 3; round++) {
      const served = await ServeProcess.start(t, models, '--training-dir', training, '--log-level', 'info');
      const client = new TestClient(served.url);
      const want = acknowledged.size + 40;
      let killed = false;
      const sender = async (): Promise<void> => {
        while (!killed) {
          const n = sent++;
          try {
            // Each request has two rows, whose numbers say which they are.
            const x = { ...inputs(2), data: [n, 0, 0, 0, n, 1, 0, 0] };
            const answer = await post(client, { id: `r${n}`, inputs: [x, labels([n % 7, n % 7])] });
            assert.equal(answer.status, 200, answer.body.toString());
            acknowledged.add(n);
          } catch (error) {
            if (!killed) throw error;
          }
          if (acknowledged.size >= want && !killed) {
            killed = true;
            served.signal('SIGKILL');
          }
        }
      };
      await Promise.all(Array.from({ length: 16 }, sender));
      await served.exited;
      await client.close();
    }
    const server = await startServer(t, models, { trainingDir: training });
    const found: number[] = [];
    for await (const { rows, inputs: tensors, labels: stored } of server.server.service.trainings!.readExamples(
      'base',
    )) {
      assert.equal(rows, 2);
      const values = new Float32Array(Uint8Array.from(tensors.get('x')!.bytes).buffer);
      assert.deepEqual([values[0], values[1], values[5]], [values[4], 0, 1]);
      assert.deepEqual(stored, { kind: 'classes', classes: [values[0]! % 7, values[0]! % 7] });
      found.push(values[0]!);
    }
    assert.equal(new Set(found).size, found.length, 'no request is there twice');
    for (const n of acknowledged) assert.ok(found.includes(n), `request ${n} was acknowledged`);
    assert.ok(acknowledged.size >= 120 && found.length <= sent);
    t.diagnostic(`${acknowledged.size} acknowledged, ${found.length} found, ${sent} sent`);
    // A caller who got no answer sends again.
    const lost = found[0]!;
    const x = { ...inputs(2), data: [lost, 0, 0, 0, lost, 1, 0, 0] };
    const again = parseJson(await post(server, { id: `r${lost}`, inputs: [x, labels([lost % 7, lost % 7])] }), 200);
    assert.deepEqual(again, { model: 'base', stored: 2, rows: found.length * 2, duplicate: true });
  });

  it('a second server keeps out of a folder that is used', async (t) => {
    const work = folder(t);
    const models = writeRepository(path.join(work, 'models'), { base: mlp([WIDTH, 8]) });
    await ServeProcess.start(t, models, '--training-dir', path.join(work, 'training'));
    await assert.rejects(startServer(t, models, { trainingDir: path.join(work, 'training') }), {
      name: 'ServeError',
      code: 'TRAINING_DIR',
      message: /process \d+ uses it/,
    });
  });
});
