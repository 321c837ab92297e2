import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BUSY_LABELS, holdExecutors, numbers } from '../../support/busy.ts';
import { ident } from '../../support/models.ts';
import {
  type Answer,
  expectError,
  parseReply,
  type Scope,
  startServer,
  type TestServer,
} from '../../support/server.ts';

/** The schedule policy extension: `priority` and `timeout`, at a server whose executor is held in the middle of a run. */

type Sending = readonly [name: string, parameters: object];

interface Held {
  readonly server: TestServer;
  /** Sends requests of one row each; resolves when they are accepted, one after the other. */
  readonly send: (...requests: readonly Sending[]) => Promise<void>;
  /** By name, in the order in which they were answered. */
  readonly answers: Map<string, Answer>;
  /** Lets the executor go on; resolves when all are answered. */
  readonly release: () => Promise<void>;
}

async function startHeld(scope: Scope, batching: string): Promise<Held> {
  const config = `max_batch_size: 1 dynamic_batching { ${batching} }`;
  const models = { ident: { 1: ident('FP32'), 'config.pbtxt': Buffer.from(config) } };
  let goOn = (): void => {};
  scope.after(async () => goOn());
  const server = await startServer(scope, models, { instances: 1 });
  goOn = holdExecutors();
  const answers = new Map<string, Answer>();
  const calls: Promise<void>[] = [];
  const send = async (...requests: readonly Sending[]): Promise<void> => {
    for (const [name, parameters] of requests) {
      const call = server.infer('ident', numbers([0], parameters)).then((answer) => void answers.set(name, answer));
      calls.push(call);
      while (answers.size < calls.length) {
        const inflight = (await server.metrics()).value('shoal_inflight_requests', BUSY_LABELS);
        if (inflight + answers.size >= calls.length) break;
      }
    }
  };
  await send(['runs', {}]);
  const release = async (): Promise<void> => {
    goOn();
    await Promise.all(calls);
  };
  return { server, send, answers, release };
}

const MIXED: readonly Sending[] = [
  ['first 3', { priority: 3 }],
  ['default', {}],
  ['first 1', { priority: 1 }],
  ['zero', { priority: 0 }],
  ['second 1', { priority: 1 }],
  ['too large', { priority: 4 }],
  ['first 2', { priority: 2 }],
];

describe('priority', () => {
  it('has urgent requests run first where the configuration has levels', async (t) => {
    const { send, answers, release } = await startHeld(t, 'priority_levels: 3 default_priority_level: 2');
    await send(...MIXED);
    await release();
    for (const answer of answers.values()) parseReply(answer);
    const middle = ['default', 'zero', 'too large', 'first 2'];
    assert.deepEqual([...answers.keys()], ['runs', 'first 1', 'second 1', ...middle, 'first 3']);
  });

  it('changes nothing where it has none', async (t) => {
    const { send, answers, release } = await startHeld(t, '');
    await send(...MIXED);
    await release();
    assert.deepEqual([...answers.keys()], ['runs', ...MIXED.map(([name]) => name)]);
  });

  it('has a queue of its own, with its own limits, at each level', async (t) => {
    const { server, send, answers, release } = await startHeld(
      t,
      `priority_levels: 3 default_priority_level: 1 default_queue_policy { max_queue_size: 2 }
       priority_queue_policy { key: 2 value { max_queue_size: 1 } }
       priority_queue_policy { key: 3 value { default_timeout_microseconds: 30000 } }`,
    );
    await send(['a', { priority: 1 }], ['b', { priority: 1 }], ['c', { priority: 1 }]);
    expectError(
      answers.get('c')!,
      'QUEUE_FULL',
      /^the queue of model 'ident' for priority 1 is full: 2 requests may wait$/,
    );
    await send(['d', { priority: 2 }], ['e', { priority: 2 }]);
    expectError(answers.get('e')!, 'QUEUE_FULL', /for priority 2 is full: 1 requests may wait/);
    // It may ask for less time than its level gives, not for more.
    await send(['f', { priority: 3, timeout: 60_000_000 }]);
    while (!answers.has('f')) await server.metrics();
    expectError(answers.get('f')!, 'DEADLINE_EXCEEDED');
    await release();
    for (const name of ['runs', 'a', 'b', 'd']) parseReply(answers.get(name)!);
    assert.equal((await server.statistics('ident')).execution_count, 4);
  });
});
