import { Batcher, type BatcherOptions } from '../../../src/batching/batcher.ts';
import { byteBudget } from '../../../src/batching/byte-budget.ts';
import { CoreTokens } from '../../../src/batching/core-tokens.ts';
import { CostEstimate } from '../../../src/batching/cost.ts';
import type { PendingRequest } from '../../../src/batching/request.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { type Compute, FakeRunner } from '../../support/fake-runner.ts';
import { signatureOf, submissionOf } from '../../support/make-request.ts';

/** A batcher in a test rig: a fake clock, fake runners, and notes of what it reports. */
export interface Rig {
  readonly clock: FakeClock;
  readonly batcher: Batcher;
  readonly tokens: CoreTokens;
  readonly cost: CostEstimate;
  readonly budget: { heldBytes: number; readonly limitBytes: number };
  readonly runners: FakeRunner[];
  readonly settled: { readonly request: PendingRequest; readonly code: ErrorCode | undefined }[];
  readonly refused: ErrorCode[];
  readonly unbatchable: string[];
  /** Adds a runner. */
  add(options?: { threads?: number; compute?: Compute }): FakeRunner;
  /** Submits a tensor `x`; the promise of a request that nobody looks at does not fail the test. */
  send(x: Tensor, options?: Parameters<typeof submissionOf>[1]): PendingRequest;
}

/** Sets up a batcher with so many runners, one by default. */
export function setUp(
  options: Partial<Omit<BatcherOptions, 'tokens' | 'cost' | 'clock' | 'events' | 'budget'>> & {
    cores?: number;
    runners?: number;
    limitBytes?: number;
    compute?: Compute;
    tokens?: CoreTokens;
    clock?: FakeClock;
    /** Called at each event, with its name, to see what comes first. */
    onEvent?: (name: 'batchEnded' | 'settled') => void;
  } = {},
): Rig {
  const { cores = 4, runners = 1, limitBytes = 1e9, compute, onEvent = () => {}, ...rest } = options;
  const clock = options.clock ?? new FakeClock();
  const tokens = options.tokens ?? new CoreTokens(cores, clock);
  const cost = new CostEstimate();
  const budget = byteBudget(limitBytes);
  const settled: Rig['settled'] = [];
  const refused: ErrorCode[] = [];
  const unbatchable: string[] = [];
  const batcher = new Batcher({
    name: 'fake',
    signature: signatureOf(),
    shares: true,
    maxBatchRows: 8,
    maxQueueRows: 1000,
    maxQueueRequests: Number.POSITIVE_INFINITY,
    maxLevelRequests: undefined,
    preferredRows: [],
    windowMs: 0,
    preservesOrder: false,
    ...rest,
    budget,
    tokens,
    cost,
    clock,
    events: {
      batchEnded: () => onEvent('batchEnded'),
      settled: (request, code) => {
        settled.push({ request, code });
        onEvent('settled');
      },
      refused: (code) => refused.push(code),
      unbatchable: (reason) => unbatchable.push(reason),
    },
  });
  const rig: Rig = {
    clock,
    batcher,
    tokens,
    cost,
    budget,
    runners: [],
    settled,
    refused,
    unbatchable,
    add: (one = {}) => {
      const runner = new FakeRunner(clock, { ...(compute === undefined ? {} : { compute }), ...one });
      rig.runners.push(runner);
      batcher.addRunner(runner);
      return runner;
    },
    send: (x, one = {}) => {
      const signature = one.signature ?? batcher.signature;
      const request = batcher.submit(submissionOf(x, { ...one, signature }));
      request.promise.catch(() => {});
      return request;
    },
  };
  for (let i = 0; i < runners; i++) rig.add();
  return rig;
}
