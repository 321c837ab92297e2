import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { parseReply, useServer } from '../../../support/server.ts';
import { fixtures } from '../fixtures.ts';
import { attemptBody, attemptFraming } from './answers.ts';
import { binaryInput, jsonInput } from './bodies.ts';
import { framingInput } from './framing.ts';
import { DEFAULT_SECONDS, KEPT_SEEDS } from './seeds.ts';

/**
 * Anything at all is sent to a real server: no answer may be a fault of the server, no connection may hang, nothing may
 * crash, and nothing may be left behind. `FUZZ_SECONDS=600` tries each kind of input for so long.
 */

/** Inputs that are under way at a time. */
const TOGETHER = 32;
const GROWTH_BYTES = 24 * 2 ** 20;

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** Bytes that are held after collections; what is freed by callbacks goes with the second. */
async function heldBytes(): Promise<number> {
  collect();
  await setTimeout(50);
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** An input with its bytes as text. */
function show(input: unknown): string {
  return JSON.stringify(input, (_key, value) => {
    // Buffers have been through their own toJSON.
    return value?.type === 'Buffer' ? Buffer.from(value.data).toString('latin1') : value;
  });
}

describe('fuzz', () => {
  const running = useServer(fixtures, { bodyLimit: '256KiB' });

  /** Tries inputs from the kept seeds, and from new ones where there is more time. */
  const fuzz = async <T>(
    t: TestContext,
    seeds: readonly number[],
    arbitrary: fc.Arbitrary<T>,
    attempt: (input: T) => Promise<void>,
  ): Promise<void> => {
    const asked = Number(process.env['FUZZ_SECONDS'] ?? 0);
    const untilMs = performance.now() + 1000 * Math.max(DEFAULT_SECONDS, asked);
    let tried = 0;
    const inputs = fc.array(arbitrary, { minLength: 1, maxLength: TOGETHER, size: 'max' });
    const property = fc.asyncProperty(inputs, async (batch) => {
      tried += batch.length;
      await Promise.all(
        batch.map((input) =>
          attempt(input).catch((error) => {
            throw new Error(`${error.message}\n${show(input)}`, { cause: error });
          }),
        ),
      );
    });
    const run = async (seed: number, limitMs: number): Promise<void> => {
      const interrupt = { interruptAfterTimeLimit: limitMs, markInterruptAsFailure: false };
      await fc.assert(property, {
        seed,
        numRuns: 100_000,
        includeErrorInReport: true,
        endOnFailure: true,
        ...interrupt,
      });
    };
    const shareMs = (1000 * DEFAULT_SECONDS) / seeds.length;
    await run(seeds[0]!, shareMs);
    // By now every part that is made once has been made.
    const before = await heldBytes();
    for (const seed of seeds.slice(1)) await run(seed, shareMs);
    // A time in which not one batch could be tried counts as a failure.
    while (asked > 0 && performance.now() < untilMs - 2000) {
      await run((Math.random() * 2 ** 32) | 0, Math.min(10_000, untilMs - performance.now()));
    }
    const grown = (await heldBytes()) - before;
    assert.ok(grown < GROWTH_BYTES, `${grown} bytes more are held`);
    t.diagnostic(`${tried} inputs`);
  };

  it('JSON bodies', (t) => fuzz(t, KEPT_SEEDS.json, jsonInput, (input) => attemptBody(running(), input)));

  it('binary bodies', (t) => fuzz(t, KEPT_SEEDS.binary, binaryInput, (input) => attemptBody(running(), input)));

  it('framing', (t) => fuzz(t, KEPT_SEEDS.framing, framingInput, (input) => attemptFraming(running().port, input)));

  it('nothing is left of it', async () => {
    const x = { name: 'x', datatype: 'FP32', shape: [1, 1], data: [1] };
    assert.deepEqual(parseReply(await running().infer('ident_FP32', { inputs: [x] })).outputs[0]!.data, [1]);
    const metrics = await running().metrics();
    assert.equal(metrics.sum('shoal_inflight_requests'), 0);
    assert.equal(metrics.value('shoal_queue_bytes'), 0);
    assert.equal(metrics.sum('shoal_executor_restarts_total'), 0, 'no executor has died');
    const { app } = running().server;
    const connections = await new Promise<number>((resolve) => {
      app.server.getConnections((_error, count) => resolve(count));
    });
    assert.ok(connections <= 2 * TOGETHER, `${connections} connections are open`);
    assert.deepEqual(running().logged, []);
  });
});
