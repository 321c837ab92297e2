import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { featured, ident, mlp } from '../../support/models.ts';
import { runModel } from '../../support/run-model.ts';
import {
  expectError,
  parseJson,
  parseReply,
  startServer,
  type TestClient,
  type TestServer,
} from '../../support/server.ts';
import {
  awaitTraining,
  floats,
  labelledRows,
  readEvents,
  scratchFolder,
  startTraining,
  storeRows,
  type TrainingReply,
} from '../../support/training.ts';

const ASKED = {
  model: 'three',
  features: 'features',
  epochs: 30,
  optimizer: { kind: 'adam', rate: 0.02 },
  publish: true,
  output: 'probabilities',
};

const CONFIG = `max_batch_size: 64
output [
  { name: "probabilities" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" },
  { name: "features" data_type: TYPE_FP32 dims: [24] }
]`;

function modelsFolder(t: TestContext, config?: string): string {
  const models = scratchFolder(t);
  mkdirSync(path.join(models, 'three', '1'), { recursive: true });
  writeFileSync(path.join(models, 'three', '1', 'model.onnx'), featured());
  if (config !== undefined) {
    writeFileSync(path.join(models, 'three', 'config.pbtxt'), config);
    writeFileSync(path.join(models, 'three', 'labels.txt'), 'first\nsecond\nthird\n');
  }
  return models;
}

async function start(t: TestContext, models: string = modelsFolder(t), deps = {}): Promise<TestServer> {
  return startServer(t, models, { trainingDir: scratchFolder(t), instances: 1 }, deps);
}

/** Share of rows that a version takes for what they are, by its probabilities and by what is made from these. */
async function shareRight(client: TestClient, version?: string): Promise<number> {
  const { x, labels } = labelledRows(100, 77);
  const target = `/v2/models/three${version === undefined ? '' : `/versions/${version}`}/infer`;
  const reply = parseReply(await client.send('POST', target, JSON.stringify({ inputs: [floats('x', x)] })));
  const [probabilities, best] = ['probabilities', 'best'].map(
    (name) => reply.outputs.find((output) => output.name === name)!.data as number[],
  );
  const told = labels.map((_, i) => {
    const row = probabilities!.slice(3 * i, 3 * i + 3);
    return row.indexOf(Math.max(...row));
  });
  assert.deepEqual(best, told);
  return told.filter((one, i) => one === labels[i]).length / labels.length;
}

describe('trainings over HTTP', () => {
  it('learn from examples and publish a better version, which can be rolled back', async (t) => {
    const server = await start(t);
    const before = await shareRight(server);
    assert.ok(before < 0.7, `${before}`);
    await storeRows(server, 'three', 600);
    const begun = await startTraining(server, ASKED);
    assert.deepEqual([begun.id, begun.model, begun.version, begun.rows], ['1', 'three', '1', 600]);
    const events = await readEvents(server, '1');
    assert.deepEqual(
      events.filter(({ event }) => event === 'state').map(({ data }) => data['state']),
      ['collecting', 'training', 'publishing', 'finished'],
    );
    const epochs = events.filter(({ event }) => event === 'epoch');
    assert.equal(epochs.length, 30);
    assert.ok(events.every(({ id }, i) => id === i + 1));
    const done = await awaitTraining(server, '1');
    assert.equal(done.state, 'finished');
    assert.equal(done.publication!.outcome, 'published', JSON.stringify(done));
    assert.equal(done.publication!.version, '2');
    assert.ok(done.publication!.candidate!.accuracy! > 0.9 && done.publication!.serving!.accuracy! < 0.7);
    assert.equal(done.publication!.serving!.version, '1');
    assert.equal(done.held_back!.rows, 120);
    assert.ok((await shareRight(server)) > 0.9);
    assert.equal(await shareRight(server, '1'), before, 'the old version is as it was');
    assert.deepEqual(readdirSync(path.join(server.folder, 'three')).sort(), ['1', '2']);

    // Outputs keep their names and order, and the file is the one that can be fetched.
    const metadata = (await server.json('/v2/models/three')) as { outputs: { name: string }[]; versions: string[] };
    assert.deepEqual(
      metadata.outputs.map(({ name }) => name),
      ['probabilities', 'features', 'best'],
    );
    assert.deepEqual(metadata.versions, ['1', '2']);
    const fetched = await server.get('/v2/trainings/1/model');
    const file = path.join(server.folder, 'three', '2', 'model.onnx');
    assert.ok(fetched.body.equals(readFileSync(file)));
    const { loadError } = await runModel(file, []);
    assert.equal(loadError, undefined);

    // No better the second time, and nothing is published.
    await startTraining(server, ASKED);
    const again = await awaitTraining(server, '2');
    assert.equal(again.version, '2');
    assert.equal(again.publication!.outcome, 'not better', JSON.stringify(again));
    assert.deepEqual(readdirSync(path.join(server.folder, 'three')).sort(), ['1', '2']);

    const back = parseJson(await server.send('POST', '/v2/repository/models/three/rollback'), 200);
    assert.deepEqual(back, { name: 'three', removed: '2', version: '1' });
    assert.equal(await shareRight(server), before);
    expectError(
      await server.send('POST', '/v2/repository/models/three/rollback'),
      'CONFLICT',
      /version 1 .* not published/,
    );
    // A number is not given twice.
    await startTraining(server, ASKED);
    assert.equal((await awaitTraining(server, '3')).publication!.version, '3');
    assert.equal(((await server.json('/v2/trainings')) as { trainings: TrainingReply[] }).trainings.length, 3);
    const metrics = await server.metrics();
    assert.ok(metrics.value('shoal_training_steps_total', { model: 'three' }) >= 30 * 15);
    assert.equal(metrics.value('shoal_training_examples', { model: 'three' }), 600);
    assert.equal(metrics.value('shoal_training_published_total', { model: 'three' }), 2);
    assert.equal(metrics.value('shoal_training_state', { model: 'three', state: 'finished' }), 1);
  });

  it('answer every request while the new version takes the place of the old one', async (t) => {
    const server = await start(t);
    await storeRows(server, 'three', 400);
    let over = false;
    let answered = 0;
    const { x } = labelledRows(1, 5);
    const versions = new Set<string>();
    const ask = async (): Promise<void> => {
      while (!over) {
        const reply = parseReply(await server.infer('three', { inputs: [floats('x', x)] }));
        versions.add(reply.model_version);
        answered++;
      }
    };
    const asking = Promise.all(Array.from({ length: 8 }, ask));
    const { id } = await startTraining(server, { ...ASKED, epochs: 20 });
    assert.equal((await awaitTraining(server, id)).publication!.outcome, 'published');
    await shareRight(server);
    parseJson(await server.send('POST', '/v2/repository/models/three/rollback'), 200);
    over = true;
    await asking;
    assert.deepEqual([...versions].sort(), ['1', '2']);
    t.diagnostic(`${answered} requests answered`);
  });

  it('name the classes of texts as the labels of the model do, which are those of the new version, too', async (t) => {
    const server = await start(t, modelsFolder(t, CONFIG));
    await storeRows(server, 'three', 500, { names: ['first', 'second', 'third'] });
    const { id } = await startTraining(server, ASKED);
    const done = await awaitTraining(server, id);
    assert.equal(done.publication?.outcome, 'published', JSON.stringify(done));
    assert.deepEqual(done.classes, ['first', 'second', 'third']);
    const { x, labels } = labelledRows(1, 21);
    const outputs = [{ name: 'probabilities', parameters: { classification: 1 } }];
    const reply = parseReply(await server.infer('three', { inputs: [floats('x', x)], outputs }));
    assert.equal(reply.model_version, '2');
    assert.match(
      String(reply.outputs[0]!.data![0]),
      new RegExp(`:${labels[0]}:${['first', 'second', 'third'][labels[0]!]}$`),
    );
  });

  it('may keep a head for itself, or add it under a name of its own, also for numbers', async (t) => {
    const server = await start(t);
    await storeRows(server, 'three', 300);
    const { publish: _, output: __, ...alone } = ASKED;
    const first = await startTraining(server, alone);
    const kept = await awaitTraining(server, first.id);
    assert.deepEqual([kept.state, kept.publication], ['finished', null]);
    assert.ok(kept.held_back!.accuracy! > 0.85, JSON.stringify(kept));
    const file = path.join(scratchFolder(t), 'head.onnx');
    writeFileSync(file, (await server.get(`/v2/trainings/${first.id}/model`)).body);
    const zeros = { type: 'float32', dims: [2, 24], data: new Float32Array(48) };
    const { runs } = await runModel(file, [{ features: zeros }]);
    assert.ok('outputs' in runs[0]! && runs[0].outputs.get('prediction')!.dims.join() === '2,3');
    const second = await startTraining(server, { ...ASKED, output: 'more' });
    const added = await awaitTraining(server, second.id);
    assert.deepEqual([added.publication!.outcome, added.publication!.serving], ['published', null]);
    const metadata = (await server.json('/v2/models/three')) as { outputs: { name: string }[] };
    assert.deepEqual(
      metadata.outputs.map(({ name }) => name),
      ['probabilities', 'features', 'best', 'more'],
    );

    parseJson(await server.send('DELETE', '/v2/models/three/examples'), 200);
    const { x } = labelledRows(200, 3);
    const targets = {
      ...floats(
        'target',
        x.map(([a, b]) => [a! + b!, a! - b!]),
      ),
      datatype: 'FP64',
    };
    const body = JSON.stringify({ inputs: [floats('x', x), targets] });
    parseJson(await server.send('POST', '/v2/models/three/examples', body), 200);
    const third = await startTraining(server, { ...ASKED, version: '1', output: 'totals', epochs: 60 });
    const numbers = await awaitTraining(server, third.id);
    assert.equal(numbers.publication!.outcome, 'published', JSON.stringify(numbers));
    assert.ok(numbers.publication!.candidate!.loss! < 0.1 && numbers.publication!.candidate!.accuracy === null);
  });

  it('can be stopped and go on to the same result', async (t) => {
    const server = await start(t);
    await storeRows(server, 'three', 400);
    const asked = { ...ASKED, publish: false, epochs: 2000, steps: 15_000, patience: 2000 };
    const whole = await startTraining(server, asked);
    await awaitTraining(server, whole.id);
    const expected = (await server.get(`/v2/trainings/${whole.id}/model`)).body;

    const { id } = await startTraining(server, asked);
    while ((((await server.json(`/v2/trainings/${id}`)) as TrainingReply).progress?.step ?? 0) < 100) {
      await new Promise(setImmediate);
    }
    const stopped = parseJson(await server.send('DELETE', `/v2/trainings/${id}`), 200) as TrainingReply & {
      forgotten: boolean;
    };
    assert.deepEqual([stopped.state, stopped.forgotten], ['stopped', false]);
    const at = stopped.progress!.step;
    assert.ok(at >= 100 && at < 15_000, `${at}`);
    expectError(await server.get(`/v2/trainings/${id}/model`), 'CONFLICT', /stopped and has no result/);
    parseJson(await server.send('POST', `/v2/trainings/${id}/resume`), 200);
    const events = await readEvents(server, id, { 'last-event-id': '7' });
    assert.ok(events.every(({ event, data }) => event === 'state' || Number(data['step']) > at));
    assert.equal((await awaitTraining(server, id)).state, 'finished');
    assert.ok((await server.get(`/v2/trainings/${id}/model`)).body.equals(expected), 'the same bytes');
    expectError(await server.send('POST', `/v2/trainings/${id}/resume`), 'CONFLICT', /is finished/);
    const gone = parseJson(await server.send('DELETE', `/v2/trainings/${id}`), 200) as { forgotten: boolean };
    assert.equal(gone.forgotten, true);
    expectError(await server.get(`/v2/trainings/${id}`), 'NOT_FOUND', /there is no training/);
  });

  it('that the end of the server interrupts go on when it is there again', async (t) => {
    const [models, trainingDir] = [modelsFolder(t), scratchFolder(t)];
    const first = await startServer(t, models, { trainingDir });
    await storeRows(first, 'three', 400);
    const { id } = await startTraining(first, { ...ASKED, epochs: 10_000, publish: false });
    while ((((await first.json(`/v2/trainings/${id}`)) as TrainingReply).progress?.step ?? 0) < 50) {
      await new Promise(setImmediate);
    }
    const streaming = readEvents(first, id);
    await first.server.close();
    assert.equal((await streaming).at(-1)!.data['state'], 'interrupted', 'who watches is told');
    const second = await startServer(t, models, { trainingDir });
    const record = (await second.json(`/v2/trainings/${id}`)) as TrainingReply;
    assert.equal(record.state, 'interrupted');
    assert.ok(record.progress!.step >= 50);
    assert.equal((await readEvents(second, id)).at(-1)!.data['state'], 'interrupted');
    parseJson(await second.send('POST', `/v2/trainings/${id}/resume`), 200);
    while (
      (((await second.json(`/v2/trainings/${id}`)) as TrainingReply).progress?.step ?? 0) <= record.progress!.step
    ) {
      await new Promise(setImmediate);
    }
    parseJson(await second.send('DELETE', `/v2/trainings/${id}`), 200);
    parseJson(await second.send('DELETE', '/v2/models/three/examples'), 200);
    expectError(await second.send('POST', `/v2/trainings/${id}/resume`), 'CONFLICT', /examples .* deleted/);
  });

  it('are refused when they are wrong, and one at a time of a model', async (t) => {
    const models = modelsFolder(t);
    writeFileSync(path.join(models, 'short.onnx'), mlp([4, 8]));
    writeFileSync(path.join(models, 'words.onnx'), ident('BYTES'));
    const server = await start(t, models);
    const post = (request: object) => server.send('POST', '/v2/trainings', JSON.stringify({ ...ASKED, ...request }));
    expectError(await post({}), 'INVALID_REQUEST', /'three' has no examples/);
    expectError(await post({ model: 'none' }), 'MODEL_NOT_FOUND');
    expectError(await post({ model: '../three' }), 'MODEL_NOT_FOUND');
    expectError(await post({ version: '9' }), 'MODEL_NOT_FOUND');
    expectError(await post({ features: 'none' }), 'INVALID_REQUEST', /has no output 'none', only 'probabilities'/);
    expectError(await post({ features: 'best' }), 'INVALID_REQUEST', /'best' .* INT64 .* expected FP32/);
    expectError(await post({ model: 'words', features: 'y' }), 'INVALID_REQUEST', /expected FP32/);
    expectError(await post({ model: 'short', features: 'y' }), 'CONFLICT', /'short' is a single file/);
    const wrong: [object, RegExp][] = [
      [{ features: 'probabilities' }, /output and features are both/],
      [{ epochs: 0 }, /epochs is 0, expected an integer from 1/],
      [{ held_back: 1 }, /held_back is 1/],
      [{ held_back: 0 }, /publish needs examples that are held back/],
      [{ optimizer: { kind: 'adagrad' } }, /optimizer.kind is "adagrad", expected sgd or momentum or adam/],
      [{ optimizer: { kind: 'sgd', momentum: 1 } }, /optimizer.momentum is not known for sgd/],
      [{ optimizer: { kind: 'sgd', rate: -1 } }, /optimizer.rate is -1/],
      [{ epoch: 3 }, /'epoch' is no field of a training/],
      [{ hidden: 1.5 }, /hidden is 1.5/],
      [{ seed: -1 }, /seed is -1/],
      [{ classes: ['a', 'a'] }, /classes has a name twice/],
      [{ publish: 'yes' }, /publish is "yes", expected true or false/],
      [{ model: 5 }, /model is 5, expected a name/],
    ];
    for (const [request, text] of wrong) expectError(await post(request), 'INVALID_REQUEST', text);
    expectError(await server.send('POST', '/v2/trainings', '[1]'), 'INVALID_REQUEST');
    for (const id of ['0', '..%2f1', 'x'.repeat(300)]) {
      assert.equal((await server.get(`/v2/trainings/${id}`)).status, 404, id);
    }

    await storeRows(server, 'three', 200);
    const failing: [object, RegExp][] = [
      [{ classes: 2, publish: false }, /the label 2, expected one of 2 classes/],
      [{ classes: 5 }, /the head has 5 outputs, the output that it is to replace has 3/],
      [{ loss: 'squared-error' }, /loss is squared-error, expected cross-entropy/],
      [{ hidden: 4096 }, /numbers to learn, at most 100000/],
      [{ optimizer: { kind: 'sgd', rate: 1e200 }, hidden: 8 }, /loss is .* at step \d+: try a smaller rate/],
    ];
    for (const [request, text] of failing) {
      const { id } = await startTraining(server, { ...ASKED, ...request });
      const done = await awaitTraining(server, id);
      assert.equal(done.state, 'failed');
      assert.match(done.reason!, text);
    }
    const { id } = await startTraining(server, { ...ASKED, publish: false, epochs: 10_000 });
    expectError(await post({}), 'CONFLICT', new RegExp(`being trained already, by training ${id}`));
    expectError(await server.send('DELETE', '/v2/models/three/examples'), 'CONFLICT', /being trained already/);
    // Rows that come meanwhile are for the next one.
    await storeRows(server, 'three', 10, { seed: 2 });
    parseJson(await server.send('DELETE', `/v2/trainings/${id}`), 200);
    assert.equal(((await server.json(`/v2/trainings/${id}`)) as TrainingReply).rows, 200);
  });

  it('keep their result and say why when the models folder cannot be written', async (t) => {
    const readOnly = (): Promise<never> => {
      throw Object.assign(new Error("EROFS: read-only file system, mkdir '/models/three/.training-1'"), {
        code: 'EROFS',
      });
    };
    const server = await start(t, modelsFolder(t), { training: { makeFolder: readOnly } });
    await storeRows(server, 'three', 300);
    const { id } = await startTraining(server, ASKED);
    const done = await awaitTraining(server, id);
    assert.equal(done.state, 'finished');
    assert.deepEqual(done.publication, {
      outcome: 'failed',
      version: null,
      reason: 'the new version cannot be written into the models folder: EROFS: read-only file system',
      candidate: null,
      serving: null,
    });
    assert.ok((await server.get(`/v2/trainings/${id}/model`)).body.length > 1000);
    assert.deepEqual(readdirSync(path.join(server.folder, 'three')), ['1']);
    assert.equal((await server.infer('three', { inputs: [floats('x', [[1, 2, 3, 4]])] })).status, 200);
  });
});
