import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { add2, externalMlp, flat0, kubernetesMount, MLP_WIDTHS, mlp, writeRepository } from '../../support/models.ts';
import { feed, runModel } from '../../support/run-model.ts';

let root: string;
before(() => {
  root = mkdtempSync(path.join(tmpdir(), 'shoal-models-'));
});
after(() => rmSync(root, { recursive: true }));

const x = feed('FP32', [2, 4], [1, 2, 3, 4, -1, 0, 1, 2]);

describe('generated perceptrons', () => {
  it('compute what their weights say, in one file and with external data', async () => {
    const dir = writeRepository(path.join(root, 'mlps'), { one: mlp([4, 5, 3]), two: { 1: externalMlp([4, 5, 3]) } });
    const [one, two] = await Promise.all([
      runModel(path.join(dir, 'one.onnx'), [{ x }]),
      runModel(path.join(dir, 'two/1/model.onnx'), [{ x }]),
    ]);
    assert.ok(one.runs[0] && 'outputs' in one.runs[0], one.loadError);
    assert.ok(two.runs[0] && 'outputs' in two.runs[0], two.loadError);
    assert.deepEqual(one.runs[0].outputs, two.runs[0].outputs);
    const bin = readFileSync(path.join(dir, 'two/1/model.bin'));
    const weights = new Float32Array(bin.buffer.slice(bin.byteOffset, bin.byteOffset + bin.byteLength));
    const layer = (input: number[], from: number, outputs: number): number[] =>
      Array.from({ length: outputs }, (_, o) =>
        input.reduce(
          (sum, v, i) => sum + v * weights[from + o * input.length + i]!,
          weights[from + outputs * input.length + o]!,
        ),
      );
    const hidden = layer([1, 2, 3, 4], 0, 5).map((v) => Math.max(0, v));
    const { data } = one.runs[0].outputs.get('y')!;
    for (const [i, value] of layer(hidden, 25, 3).entries()) assert.ok(Math.abs(Number(data[i]) - value) < 1e-5);
  });

  it('are the same bytes each time, and others with another seed', () => {
    const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
    assert.equal(digest(mlp(MLP_WIDTHS.mlp)), digest(mlp(MLP_WIDTHS.mlp)));
    assert.notEqual(digest(mlp(MLP_WIDTHS.mlp)), digest(mlp(MLP_WIDTHS.mlp, 2)));
  });
});

describe('model folders', () => {
  it('have a file or a folder of versions for each name', () => {
    const dir = writeRepository(path.join(root, 'plain'), {
      a: add2(),
      b: { 1: add2(), 12: flat0(), 'config.pbtxt': Buffer.from('name: "b"') },
    });
    assert.deepEqual(readFileSync(path.join(dir, 'a.onnx')), add2());
    assert.deepEqual(readdirSync(path.join(dir, 'b')).sort(), ['1', '12', 'config.pbtxt']);
    assert.equal(readFileSync(path.join(dir, 'b/config.pbtxt'), 'utf8'), 'name: "b"');
    assert.deepEqual(readFileSync(path.join(dir, 'b/12/model.onnx')), flat0());
  });

  it('are mounted as Kubernetes does, and swapped at once', async () => {
    const dir = path.join(root, 'mount');
    kubernetesMount(dir, { a: add2(), two: { 1: externalMlp([4, 5, 3]) } });
    const first = readlinkSync(path.join(dir, '..data'));
    assert.equal(readlinkSync(path.join(dir, 'a.onnx')), '..data/a.onnx');
    assert.equal(readlinkSync(path.join(dir, 'two')), '..data/two');
    const { loadError, runs } = await runModel(path.join(dir, 'two/1/model.onnx'), [{ x }]);
    assert.equal(loadError, undefined);
    assert.ok(runs[0] && 'outputs' in runs[0]);

    kubernetesMount(dir, { two: { 2: flat0() } });
    assert.notEqual(readlinkSync(path.join(dir, '..data')), first);
    assert.deepEqual(readdirSync(path.join(dir, 'two')), ['2']);
    assert.deepEqual(readdirSync(dir).sort(), [readlinkSync(path.join(dir, '..data')), '..data', 'two'].sort());
    assert.equal(existsSync(path.join(dir, 'a.onnx')), false);
  });
});
