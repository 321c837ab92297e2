// The smallest network there is to train: one matrix of 2 × 3. A coroutine trains it while the server answers, and the
// result is served.
import { strict as assert } from 'node:assert';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createServer, forward, headModel, trainHead } from 'shoal';

const models = mkdtempSync(path.join(tmpdir(), 'two-by-three-'));
cpSync(new URL('../models/language-id', import.meta.url), path.join(models, 'language-id'), { recursive: true });
const server = await createServer({
  models,
  port: 0,
  modelControlMode: 'explicit',
  loadModel: ['*'],
  logLevel: 'warn',
});
const url = await server.listen();
await server.loaded();

async function infer(model, inputs) {
  const response = await fetch(`${url}/v2/models/${model}/infer`, { method: 'POST', body: JSON.stringify({ inputs }) });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()).outputs;
}

// Inputs [rows, 2] and the targets [rows, 3] of a matrix that the network does not know.
const truth = [0.5, -1, 2, 1.5, 0, -0.5];
const features = Float64Array.of(1, 0, 0, 1, 1, 1, -1, 1, 2, -1, 0.5, 0.5);
const rows = features.length / 2;
const targets = Float64Array.from({ length: rows * 3 }, (_, i) => {
  const [row, j] = [Math.floor(i / 3), i % 3];
  return features[2 * row] * truth[j] + features[2 * row + 1] * truth[3 + j];
});

const options = {
  features,
  width: 2,
  targets,
  bias: false,
  batchRows: rows,
  epochs: 100,
  optimizer: { kind: 'sgd', rate: 0.1 },
  turn: server.service.trainingTurn,
};
const losses = [];
async function train() {
  const training = trainHead(options);
  for (;;) {
    const { done, value } = await training.next();
    if (done) return value;
    losses.push(value.loss);
    if (value.step === 1 || value.step % 20 === 0) console.log(`step ${value.step}   loss ${value.loss.toFixed(6)}`);
  }
}

let answers = 0;
async function ask() {
  while (losses.length < 100) {
    await infer('language-id', [
      { name: 'text', datatype: 'BYTES', shape: [1], data: ['Guten Morgen, wie geht es dir?'] },
    ]);
    answers++;
  }
}

const [head] = await Promise.all([train(), ask()]);
console.log(`${answers} requests were answered meanwhile`);

const sample = [3, -2];
const { value: untrained } = await trainHead({ ...options, steps: 0 }).next();
const wanted = [0, 1, 2].map((j) => sample[0] * truth[j] + sample[1] * truth[3 + j]);
const [before, after] = [untrained, head].map((one) => forward(one, sample, 1).at(-1));
mkdirSync(path.join(models, 'two-by-three', '1'), { recursive: true });
const model = headModel(head, { features: 'x', output: 'y', classifies: false });
writeFileSync(path.join(models, 'two-by-three', '1', 'model.onnx'), model);
await server.service.load('two-by-three');
const [{ data: served }] = await infer('two-by-three', [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: sample }]);

const show = (numbers) => [...numbers].map((number) => number.toFixed(3)).join('  ');
console.log(`wanted ${show(wanted)}\nbefore ${show(before)}\nafter  ${show(after)}\nserved ${show(served)}`);
await server.close();
rmSync(models, { recursive: true });

assert.equal(losses.length, 100);
assert.ok(losses.at(-1) < losses[0] / 1000);
assert.ok(Math.abs(before[0] - wanted[0]) > 0.1);
assert.ok(losses.every((loss, i) => i === 0 || loss < losses[i - 1]));
assert.ok(answers > 0);
for (const [j, value] of wanted.entries()) assert.ok(Math.abs(served[j] - value) < 0.1);
