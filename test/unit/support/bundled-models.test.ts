import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { Datatype } from '../../../src/tensor/tensor.ts';
import { DIGIT_PIXELS, type Digit, digits, sentences } from '../../support/data.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { type Feeds, feed, type OrtTensor, runModel } from '../../support/run-model.ts';

const execute = promisify(execFile);
const models = path.join(REPOSITORY_ROOT, 'models');
const modelPath = (name: string): string => path.join(models, name, '1/model.onnx');

let scratch: string;
before(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'shoal-bundled-'));
});
after(() => rmSync(scratch, { recursive: true }));

async function outputsOf(model: string, ...feeds: Feeds[]): Promise<ReadonlyMap<string, OrtTensor>[]> {
  const { loadError, runs } = await runModel(model, feeds);
  assert.equal(loadError, undefined);
  return runs.map((run) => {
    assert.ok('outputs' in run, 'error' in run ? run.error : '');
    return run.outputs;
  });
}

/** Runs a model on digits: how many it takes for what they are. */
async function countRight(model: string, all: readonly Digit[]): Promise<number> {
  const pixels = new Float32Array(all.length * DIGIT_PIXELS);
  for (const [i, digit] of all.entries()) pixels.set(digit.pixels, i * DIGIT_PIXELS);
  const [out] = await outputsOf(model, { image: { type: 'float32', dims: [all.length, 1, 28, 28], data: pixels } });
  const probabilities = [...out!.get('probabilities')!.data].map(Number);
  return all.filter(({ label }, i) => {
    const own = probabilities.slice(10 * i, 10 * i + 10);
    return own.indexOf(Math.max(...own)) === label;
  }).length;
}

/** What the READMEs' requests and answers hold, as far as it matters here. */
interface Example {
  readonly request: {
    readonly inputs: readonly { name: string; datatype: Datatype; shape: number[]; data: unknown[] }[];
    readonly outputs?: readonly { name: string }[];
  };
  readonly answer: { readonly outputs: readonly { name: string; shape: number[]; data: (number | string)[] }[] };
}

function readmeExample(name: string): Example {
  const readme = readFileSync(path.join(models, name, 'README.md'), 'utf8');
  const inline = /-d '(\{.+?\})'/s.exec(readme)?.[1];
  const file = /-d @(\S+)/.exec(readme)?.[1];
  const answer = /```json\n(.+?)```/s.exec(readme)?.[1];
  const request = inline ?? readFileSync(path.join(REPOSITORY_ROOT, file ?? ''), 'utf8');
  return { request: JSON.parse(request), answer: JSON.parse(answer ?? '') };
}

describe('language-id', () => {
  it('is made by its recipe byte for byte', async () => {
    const file = path.join(scratch, 'language-id.onnx');
    await execute(process.execPath, [path.join(REPOSITORY_ROOT, 'scripts/make-language-id.mjs'), file]);
    const bytes = readFileSync(file);
    const digest = createHash('sha256').update(bytes).digest('hex');
    assert.equal(digest, '295a0b13add8ab032ab21a758c251de11b80a29b305f363c03a2cd1fda03271d');
    assert.ok(bytes.equals(readFileSync(modelPath('language-id'))));
  });

  it('names the language of every sentence, alone and among the others with the same bits', async () => {
    const all = sentences();
    assert.equal(all.length, 45);
    const [together, ...alone] = await outputsOf(
      modelPath('language-id'),
      {
        text: feed(
          'BYTES',
          [all.length],
          all.map(({ text }) => text),
        ),
      },
      ...all.map(({ text }) => ({ text: feed('BYTES', [1], [text]) })),
    );
    assert.deepEqual(
      together!.get('language')!.data,
      all.map(({ language }) => language),
    );
    for (const name of ['language', 'confidence', 'probabilities']) {
      const rows = alone.flatMap((out) => [...out.get(name)!.data]);
      assert.deepEqual(rows, [...together!.get(name)!.data], name);
    }
  });
});

describe('mnist-cnn', () => {
  it('reads at least 97 of 100 digits', async () => {
    const all = digits(30);
    assert.deepEqual([all.length, all[0]!.label, all.at(-1)!.label], [300, 0, 9]);
    const right = await countRight(modelPath('mnist-cnn'), all);
    assert.ok(right >= 291, `${right} of 300 are right`);
  });

  it('can be trained again: after one epoch the written file reads 9 of 10 digits', async () => {
    const file = path.join(scratch, 'mnist-cnn.onnx');
    const script = path.join(REPOSITORY_ROOT, 'scripts/train-mnist-cnn.mjs');
    const { stdout } = await execute(process.execPath, [script, file, '1']);
    assert.match(stdout, /^epoch 1: 9\d\.\d\d % of 2000 held-out digits right\n$/);
    const right = await countRight(file, digits(30));
    assert.ok(right >= 270, `${right} of 300 are right`);
  });
});

describe('the READMEs of the bundled models', () => {
  for (const name of ['language-id', 'mnist-cnn']) {
    it(`${name}: the example's answer is the model's`, async () => {
      const { request, answer } = readmeExample(name);
      const feeds = request.inputs.map((input) => {
        const values = input.data.flat(3).map((value) => (typeof value === 'number' ? value : String(value)));
        return [input.name, feed(input.datatype, input.shape, values)];
      });
      const [out] = await outputsOf(modelPath(name), Object.fromEntries(feeds));
      assert.deepEqual(
        answer.outputs.map((output) => output.name),
        (request.outputs ?? [...out!.keys()].map((key) => ({ name: key }))).map((output) => output.name),
      );
      for (const output of answer.outputs) {
        const actual = out!.get(output.name)!;
        assert.deepEqual([...actual.dims], output.shape);
        for (const [i, expected] of output.data.entries()) {
          const value = actual.data[i]!;
          if (typeof expected === 'string') assert.equal(value, expected);
          else
            assert.ok(Math.abs(Number(value) - expected) <= 1e-4 * Math.abs(expected), `${value} is not ${expected}`);
        }
      }
    });
  }
});
