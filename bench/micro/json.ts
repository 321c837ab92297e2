import assert from 'node:assert/strict';
import { decodeInferRequest, encodeInferReply } from '../../src/http/v2-codec.ts';
import { runSliced } from '../../src/protocol/sliced.ts';
import { makeTensor } from '../../src/tensor/typed.ts';
import { estimateMedian, mulberry32 } from '../statistics.ts';

/**
 * How fast tensors pass through JSON, as ratios to what a program would do with the built-in functions.
 * Run it alone: `node dist/bench/micro/json.js [pairs]`.
 */

/** An image of 224 × 224 pixels in three channels. */
const ELEMENTS = 150_528;
const WARM_UP_PAIRS = 5;
const DEFAULT_PAIRS = 25;

interface Contest {
  readonly name: string;
  /** What `rival ÷ ours` has to reach. */
  readonly floor: number;
  ours(): unknown;
  rival(): unknown;
}

const random = mulberry32(1);

/** A shortest decimal of a float, by trying. */
function shortest(x: number): string {
  for (let digits = 1; ; digits++) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === x) return String(Number(text));
  }
}

function requestOf(elements: readonly string[]): Buffer {
  return Buffer.from(
    `{"inputs":[{"name":"x","datatype":"FP32","shape":[${elements.length}],"data":[${elements.join(',')}]}]}`,
  );
}

function decodeByParse(body: Buffer): Float32Array {
  return new Float32Array(JSON.parse(body.toString()).inputs[0].data);
}

/** Drives work without pausing, since a pause of the loop is not what is measured here. */
function runThrough<T>(work: Generator<void, T, void>): T {
  for (;;) {
    const next = work.next();
    if (next.done) return next.value;
  }
}

function decoding(name: string, floor: number, elements: readonly string[]): Contest {
  const body = requestOf(elements);
  const ours = () => runThrough(decodeInferRequest(body, undefined)).inputs.get('x')!;
  assert.deepEqual(Buffer.from(ours().bytes), Buffer.from(decodeByParse(body).buffer));
  return { name, floor, ours, rival: () => decodeByParse(body) };
}

function encoding(name: string, floor: number, values: Float32Array): Contest {
  const tensor = makeTensor('FP32', [values.length], values);
  const reply = { modelName: 'm', modelVersion: '1', id: undefined, outputs: [{ name: 'y', tensor, binary: false }] };
  const ours = () => runThrough(encodeInferReply(reply)).body;
  assert.deepEqual(Float32Array.from(JSON.parse(ours().toString()).outputs[0].data), values);
  const rival = () =>
    Buffer.from(
      JSON.stringify({
        model_name: 'm',
        model_version: '1',
        outputs: [{ name: 'y', datatype: 'FP32', shape: [values.length], data: Array.from(values) }],
      }),
    );
  return { name, floor, ours, rival };
}

function small(name: string, floor: number): Contest {
  const body = Buffer.from(
    '{"id":"42","inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[5.1,3.5,1.4,0.2]}],"outputs":[{"name":"y"}]}',
  );
  const times = (act: () => unknown) => () => {
    for (let i = 0; i < 5000; i++) act();
  };
  return {
    name,
    floor,
    ours: times(() => runSliced(decodeInferRequest(body, undefined))),
    rival: times(() => decodeByParse(body)),
  };
}

function contests(): Contest[] {
  const pixels = Float32Array.from({ length: ELEMENTS }, random);
  const digits = () => Array.from({ length: 17 }, () => Math.floor(random() * 10)).join('');
  const logits = Float64Array.from({ length: ELEMENTS }, () => Math.exp(random() * 20 - 10));
  const sum = logits.reduce((a, b) => a + b, 0);
  return [
    decoding('decode FP32, shortest decimals', 3, Array.from(pixels, shortest)),
    decoding(
      'decode FP32, 17 digits',
      1.5,
      Array.from({ length: ELEMENTS }, () => `0.${digits()}`),
    ),
    encoding(
      'encode FP32, probabilities',
      1.5,
      Float32Array.from(logits, (x) => x / sum),
    ),
    small('decode a request of four numbers', 0.5),
  ];
}

function nanosecondsOf(act: () => unknown): number {
  const start = process.hrtime.bigint();
  act();
  return Number(process.hrtime.bigint() - start);
}

function main(pairs: number): void {
  let missed = 0;
  for (const { name, floor, ours, rival } of contests()) {
    const ratios: number[] = [];
    const ns: number[] = [];
    for (let pair = -WARM_UP_PAIRS; pair < pairs; pair++) {
      // Each side first in half of the pairs.
      const rivalFirst = pair % 2 === 0 ? nanosecondsOf(rival) : undefined;
      const mine = nanosecondsOf(ours);
      const theirs = rivalFirst ?? nanosecondsOf(rival);
      if (pair < 0) continue;
      ratios.push(theirs / mine);
      ns.push(mine);
    }
    const { median, low, high } = estimateMedian(ratios);
    if (median < floor) missed++;
    const milliseconds = estimateMedian(ns).median / 1e6;
    process.stdout.write(
      `${name}: ${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)}) times as fast as the built-in functions, floor ${floor}; ${milliseconds.toFixed(2)} ms\n`,
    );
  }
  if (missed > 0) process.exitCode = 1;
}

main(Number(process.argv[2] ?? DEFAULT_PAIRS));
