import os from 'node:os';
import { monotonicMs } from '../../clock.ts';
import { messageOf } from '../../errors.ts';
import { headOf, parameterCount } from '../head.ts';
import { addGradient, gather } from '../step.ts';
import type { Examples } from '../training-plan.ts';
import { BlockingPipe } from './blocking-pipe.ts';
import {
  FrameError,
  type FrameKind,
  frameHeader,
  GRADIENT_HEAD,
  HEADER_BYTES,
  type Setup,
  STEP_HEAD,
  textBody,
  writeHeader,
} from './frame.ts';
import { shardsOf } from './shards.ts';

/**
 * A worker of a data-parallel training: a process that holds the examples and answers parameters with the gradients of
 * the rows it is given. It remembers nothing from step to step, and ends when the training's end of the pipe is closed.
 */
const pipe = new BlockingPipe(3);

/** By how much its nice value is above the training's: executors, which serve, are five above it. */
const BELOW_THE_TRAINING = 10;
const LOWEST_PRIORITY = 19;

// Ctrl-C reaches the whole process group; it is the training that ends its workers.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

try {
  os.setPriority(Math.min(LOWEST_PRIORITY, os.getPriority() + BELOW_THE_TRAINING));
} catch {
  // Not allowed; training works without it.
}

try {
  const setup = JSON.parse(Buffer.from(next('setup')!).toString()) as Setup;
  const examples = receiveExamples(setup);
  pipe.writeNow(frameHeader('ready', 0));
  const size = parameterCount(setup.shape);
  // Two that take turns: one is written while the other is filled.
  const messages = [message(size), message(size)];
  for (let body = next('step'); body !== undefined; body = next('step')) await answer(body, setup, examples, messages);
} catch (thrown) {
  // The other end is gone: there is nobody to tell.
  if ((thrown as NodeJS.ErrnoException).code !== 'EPIPE') {
    const body = textBody(messageOf(thrown));
    pipe.writeNow(Buffer.concat([frameHeader('failed', body.length), body]));
  }
}

/** The body of the next frame; undefined at the end. */
function next(kind: FrameKind): Uint8Array | undefined {
  const frame = pipe.read();
  if (frame !== undefined && frame.kind !== kind)
    throw new FrameError(`expected a '${kind}' frame, not '${frame.kind}'`);
  return frame?.body;
}

function receiveExamples({ shape, count, single, labels }: Setup): Examples {
  const size = count * shape.features;
  const features = single ? new Float32Array(size) : new Float64Array(size);
  receive('features', features);
  if (labels === 'classes') {
    const classes = new Uint32Array(count);
    receive('labels', classes);
    return { features, width: shape.features, classes };
  }
  const targets = new Float64Array(count * shape.outputs);
  receive('labels', targets);
  return { features, width: shape.features, targets };
}

/** Fills an array with the bodies of frames; the last one may be padded. */
function receive(kind: FrameKind, into: Float32Array | Float64Array | Uint32Array): void {
  const bytes = new Uint8Array(into.buffer);
  for (let at = 0; at < bytes.length; ) {
    const body = next(kind);
    if (body === undefined) throw new FrameError('the examples are cut short');
    const taken = Math.min(body.length, bytes.length - at);
    bytes.set(body.subarray(0, taken), at);
    at += taken;
  }
}

async function answer(
  body: Uint8Array,
  { shape, microShards }: Setup,
  examples: Examples,
  messages: readonly Uint8Array[],
): Promise<void> {
  const size = parameterCount(shape);
  const [ofRows = 0, count = 0] = new Float64Array(body.buffer, 0, STEP_HEAD);
  const head = headOf(shape, new Float64Array(body.buffer, STEP_HEAD * 8, size));
  const rows = new Uint32Array(body.buffer, (STEP_HEAD + size) * 8, count);
  let writing: Promise<void> = Promise.resolve();
  const parts = shardsOf(rows, microShards);
  for (const [i, part] of parts.entries()) {
    const bytes = messages[i % 2]!;
    const numbers = new Float64Array(bytes.buffer, HEADER_BYTES);
    const startMs = monotonicMs();
    const share = part.length / ofRows;
    const gradient = numbers.subarray(GRADIENT_HEAD).fill(0);
    const { loss, right } = addGradient(head, gather(examples, shape, part), share, gradient);
    const toCome = parts.length - 1 - i;
    numbers.set([startMs, monotonicMs(), loss * share, right, toCome]);
    await writing;
    if (toCome === 0) pipe.writeNow(bytes);
    else writing = pipe.write(bytes);
    // An error is met at the next await; until then it shall not count as nobody's.
    writing.catch(() => {});
  }
}

function message(size: number): Uint8Array {
  const bodyBytes = (GRADIENT_HEAD + size) * 8;
  const bytes = new Uint8Array(HEADER_BYTES + bodyBytes);
  writeHeader(bytes, 'gradient', bodyBytes);
  return bytes;
}
