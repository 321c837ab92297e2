import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inspect } from '../../../src/cli/inspect.ts';
import { ServeError } from '../../../src/errors.ts';
import type { ModelSummary } from '../../../src/server.ts';
import { config, type RecordedHost, recordHost, summary, tensor } from './support.ts';

const folder = import.meta.dirname;

async function run(
  models: readonly ModelSummary[] | Error,
  options: { json?: boolean; path?: string } = {},
): Promise<{ code: number; host: RecordedHost }> {
  const host = recordHost();
  const inspectModels = async (): Promise<readonly ModelSummary[]> => {
    if (models instanceof Error) throw models;
    return models;
  };
  const code = await inspect(options.path ?? folder, config(), { json: options.json === true }, inspectModels, host);
  return { code, host };
}

describe('inspect', () => {
  it('reports file, state, batching, tensors and a curl', async () => {
    const model = summary({
      signature: {
        inputs: [tensor('input', 'FP32', [-1, 4]), tensor('sr', 'INT64', [], null)],
        outputs: [tensor('out', 'FP32', [2, -1, 3], 1)],
        batched: true,
      },
    });
    const { code, host } = await run([model]);
    assert.equal(
      host.stdout,
      `tiny version 1
  file      models/tiny.onnx (1.2 kB)
  state     ready, loaded and probed in 12 ms
  provider  cpu: as configured
  batching  batched along axis 0
  rows      at most 128 in one request

          name   datatype  shape     batch axis
  input   input  FP32      [-1,4]    0
  input   sr     INT64     []        none
  output  out    FP32      [2,-1,3]  1

  curl -s http://127.0.0.1:8000/v2/models/tiny/infer -d '{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[0,0,0,0]},{"name":"sr","shape":[],"datatype":"INT64","data":[0]}]}'
`,
    );
    assert.equal(code, 0);
    assert.equal(host.stderr, '');
  });

  it('says what a configuration sets', async () => {
    const { host } = await run([summary({ configuration: 'config.pbtxt: max_batch_size 8, version_policy latest 1' })]);
    assert.match(host.stdout, /\n {2}configuration {2}config.pbtxt: max_batch_size 8, version_policy latest 1\n/);
  });

  it('reports a failed model with its reason and fails', async () => {
    const failed = summary({
      name: 'bad',
      state: 'failed',
      reason: 'not an ONNX file',
      signature: undefined,
      loadMs: undefined,
    });
    const { code, host } = await run([summary(), failed]);
    assert.equal(code, 1);
    assert.match(host.stdout, /\n\nbad version 1\n {2}file .*\n {2}state {2}failed: not an ONNX file\n$/);
  });

  it('names the version in the curl of all but the highest one', async () => {
    const versions = ['9', '10'].map((version) => summary({ version }));
    const { host } = await run([...versions, summary({ name: 'other', version: '3' })]);
    assert.deepEqual(host.stdout.match(/models\/[^ ]*\/infer/g), [
      'models/tiny/versions/9/infer',
      'models/tiny/infer',
      'models/other/infer',
    ]);
  });

  it('prints the same as JSON', async () => {
    const { code, host } = await run([summary()], { json: true });
    const [report] = JSON.parse(host.stdout);
    assert.equal(code, 0);
    assert.equal(report.name, 'tiny');
    assert.deepEqual(report.signature, summary().signature);
    assert.match(report.example.command, /^curl /);
  });

  it('fails on a folder without models, as valid JSON too', async () => {
    const { code, host } = await run([], { json: true });
    assert.equal(code, 1);
    assert.deepEqual(JSON.parse(host.stdout), []);
    assert.match(host.stderr, /^shoal: no models in .*, expected <name>\.onnx or/);
  });

  it('knows the folder of one model when it sees it', async () => {
    const model = mkdtempSync(join(tmpdir(), 'shoal-inspect-'));
    mkdirSync(join(model, '1'));
    const { code, host } = await run([], { path: model });
    rmSync(model, { recursive: true });
    assert.equal(code, 1);
    assert.ok(host.stderr.endsWith(`; this looks like the folder of one model, name ${tmpdir()} instead\n`));
  });

  it('refuses a path where nothing is', async () => {
    await assert.rejects(run([], { path: `${folder}/nothing-here` }), {
      name: 'ConfigError',
      message: /^argument <file\|folder> is '.*nothing-here', expected the path of an \.onnx file/,
    });
  });

  it('explains a name used twice and lets other errors through', async () => {
    const twice = new ServeError('NAME_TWICE', "model 'a' is there twice: a.onnx and a/");
    const { code, host } = await run(twice);
    assert.equal(code, 3);
    assert.equal(host.stderr, "shoal: model 'a' is there twice: a.onnx and a/; rename or remove one of the two\n");
    await assert.rejects(run(new Error('boom')), /boom/);
  });
});
