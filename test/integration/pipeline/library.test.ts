import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { createServer, definePipeline, makeTensor, readTensor, Type, tensor } from '../../../src/index.ts';
import { Service } from '../../../src/service.ts';
import { ident, writeRepository } from '../../support/models.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { startService } from '../../support/service.ts';
import { echo, rows } from './fixtures.ts';

const MODELS = { ident_FP32: ident('FP32') };

describe('pipelines in a program', () => {
  test('a pipeline is asked as a model is, and its infers share runs with all others', async (t) => {
    const service = await startService(t, MODELS, {}, { pipelines: [echo()] });
    const answers = await Promise.all([
      service.infer('echo', { x: rows([1, 2]) }),
      service.infer('echo', { x: rows([3, 4], [5, 6]) }),
      service.infer('ident_FP32', { x: rows([7, 8]) }),
    ]);
    assert.deepEqual([...readTensor(answers[0]!.outputs['y']!)], [1, 2]);
    assert.deepEqual([...readTensor(answers[1]!.outputs['y']!)], [3, 4, 5, 6]);
    assert.deepEqual(readTensor(answers[0]!.outputs['together']!), BigInt64Array.of(4n));
    assert.equal(answers[2]!.batch.rows, 4);
    assert.equal(answers[1]!.rows, 1);
  });

  test('a name that a model has, or that is none, or comes twice, is refused at the start', async (t) => {
    const folder = writeRepository(mkdtempSync(path.join(tmpdir(), 'shoal-pipelines-')), MODELS);
    t.after(() => rmSync(folder, { recursive: true }));
    const start = (...pipelines: ReturnType<typeof echo>[]): Promise<Service> =>
      Service.create({ models: folder, logLevel: 'silent' }, { pipelines });
    const named = (name: string): ReturnType<typeof echo> => ({ ...echo(), name });
    await assert.rejects(start(named('ident_FP32')), { code: 'PIPELINE_INVALID', message: /has the name of a model/ });
    await assert.rejects(start(named('a/b')), { code: 'PIPELINE_INVALID', message: /slash/ });
    await assert.rejects(start(echo(), echo()), { code: 'PIPELINE_INVALID', message: /two pipelines 'echo'/ });
    await assert.rejects(start({ ...echo(), name: undefined }), { code: 'PIPELINE_INVALID', message: /needs a name/ });
    await assert.rejects(start({ ...echo(), models: ['nope'] }), {
      code: 'PIPELINE_INVALID',
      message: "pipeline 'echo' needs model 'nope', there is 'ident_FP32'",
    });
  });

  test('a model that is loaded later cannot take the name of a pipeline', async (t) => {
    const service = await startService(
      t,
      { echo: ident('FP32'), ident_FP32: ident('FP32') },
      { modelControlMode: 'explicit', loadModel: ['ident_FP32'] },
      { pipelines: [echo()] },
    );
    await assert.rejects(service.load('echo'), { code: 'LOAD_FAILED', message: /a pipeline has this name/ });
    await assert.rejects(service.unload('echo'), { code: 'INVALID_REQUEST', message: /is a pipeline/ });
    assert.deepEqual(
      (await service.index()).map(({ name, isReady }) => [name, isReady]),
      [
        ['echo', true],
        ['ident_FP32', true],
      ],
    );
  });

  test('one that names its models is ready when they are', async (t) => {
    const pipeline = { ...echo(), models: ['ident_FP32'] };
    const options = { modelControlMode: 'explicit' } as const;
    const service = await startService(t, MODELS, options, { pipelines: [pipeline] });
    assert.match(service.notReady()!, /pipeline 'echo' is not ready: there is no model 'ident_FP32'/);
    await assert.rejects(service.infer('echo', { x: rows([1]) }), { code: 'MODEL_NOT_READY' });
    await service.load('ident_FP32');
    assert.equal(service.notReady(), undefined);
    await service.infer('echo', { x: rows([1]) });
  });

  test('a folder is loaded: its files give the names', async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'shoal-pipelines-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const models = writeRepository(path.join(folder, 'models'), MODELS);
    const place = path.join(folder, 'pipelines');
    mkdirSync(place);
    const shoal = JSON.stringify(path.join(REPOSITORY_ROOT, 'dist/src/index.js'));
    writeFileSync(
      path.join(place, 'twice.mjs'),
      `import { definePipeline, Type } from ${shoal};
       import { factor } from './_shared.mjs';
       export default definePipeline({ input: { n: Type.Integer() }, output: { n: Type.Integer() }, run: ({ n }) => ({ n: factor * n }) });`,
    );
    writeFileSync(path.join(place, '_shared.mjs'), 'export const factor = 2;');
    writeFileSync(path.join(place, 'types.d.ts'), 'export {};');
    const server = await createServer({ models, port: 0, logLevel: 'silent' });
    t.after(() => server.close());
    const { outputs } = await server.infer('twice', { n: makeTensor('INT64', [1], BigInt64Array.of(21n)) });
    assert.deepEqual(readTensor(outputs['n']!), BigInt64Array.of(42n));

    const start = (pipelines: string): Promise<Service> => Service.create({ models, pipelines, logLevel: 'silent' });
    await assert.rejects(start(path.join(folder, 'nowhere')), {
      code: 'PIPELINE_INVALID',
      message: /nowhere cannot be read/,
    });
    writeFileSync(path.join(place, 'plain.js'), 'export default 3;');
    await assert.rejects(start('auto'), { code: 'PIPELINE_INVALID', message: /plain\.js has no pipeline/ });
    // A module is loaded once by its path, so that the next one has another.
    rmSync(path.join(place, 'plain.js'));
    writeFileSync(path.join(place, 'needs.js'), "import 'not-there';");
    await assert.rejects(start('auto'), {
      code: 'PIPELINE_INVALID',
      message: /needs\.js cannot be loaded: .*not-there/,
    });
    const off = await start('off');
    assert.deepEqual(off.pipelines.all, []);
    await off.drain();
  });

  test('TypeScript is loaded where Node.js runs it, and else refused with what to do', async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'shoal-pipelines-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const shoal = JSON.stringify(path.join(REPOSITORY_ROOT, 'dist/src/index.js'));
    const text = `import { definePipeline, Type } from ${shoal};
      const one: number = 1;
      export default definePipeline({ input: { n: Type.Integer() }, output: { n: Type.Integer() }, run: ({ n }) => ({ n: n + one }) });`;
    writeFileSync(path.join(folder, 'typed.ts'), text);
    const models = writeRepository(path.join(folder, 'models'), MODELS);
    const starting = Service.create({ models, pipelines: folder, logLevel: 'silent' });
    const features = process.features as { readonly typescript?: unknown };
    if (features.typescript) {
      const service = await starting;
      assert.deepEqual(
        service.pipelines.all.map(({ name }) => name),
        ['typed'],
      );
      await service.drain();
    } else {
      await assert.rejects(starting, {
        code: 'PIPELINE_INVALID',
        message: /typed\.ts is TypeScript, which Node\.js v.* does not run/,
      });
    }
  });

  test('what is no definition is refused when it is made', () => {
    const run = (): { n: number } => ({ n: 1 });
    const input = { n: Type.Integer() };
    assert.throws(() => tensor('FP31' as 'FP32', [1]), /no datatype 'FP31'/);
    assert.throws(() => tensor('FP32', [1.5]), /expected whole numbers from -1/);
    assert.throws(() => definePipeline({ input: {}, output: input, run }), /'input' of the pipeline has no field/);
    const proto = Object.fromEntries([['__proto__', Type.Integer()]]);
    assert.throws(
      () => definePipeline({ name: 'p', input: proto, output: input, run }),
      /'__proto__', which is no name/,
    );
  });
});
