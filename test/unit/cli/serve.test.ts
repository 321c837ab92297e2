import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { describe, it } from 'node:test';
import { explainStartFailure } from '../../../src/cli/explain.ts';
import { type Servable, type ServeParts, serve } from '../../../src/cli/serve.ts';
import { type Config, resolveConfig } from '../../../src/config.ts';
import { ServeError, type ServeErrorCode } from '../../../src/errors.ts';
import { createLogger } from '../../../src/logging.ts';
import type { ModelSummary } from '../../../src/server.ts';
import { config, type RecordedHost, recordHost, summary } from './support.ts';

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly err?: { readonly message: string; readonly stack: string };
}

interface Run {
  readonly host: RecordedHost;
  readonly process: EventEmitter;
  /** Lines of the log. */
  readonly log: LogLine[];
  readonly exits: number[];
  /** Emits what the server was asked to do: created, listen, loaded, close. */
  readonly server: EventEmitter;
  readonly asked: string[];
  readonly code: Promise<number>;
}

interface Behaviour {
  readonly models?: ModelSummary[];
  readonly create?: () => Promise<void>;
  readonly listen?: () => Promise<string>;
  readonly loaded?: () => Promise<void>;
  readonly close?: () => Promise<void>;
  readonly isTerminal?: boolean;
  readonly config?: Config;
}

function start(behaviour: Behaviour = {}): Run {
  const host = recordHost({ isTerminal: behaviour.isTerminal ?? false });
  const server = new EventEmitter();
  const asked: string[] = [];
  const note = (what: string): void => {
    asked.push(what);
    server.emit(what);
  };
  const fake: Servable = {
    metricsUrl: undefined,
    grpcAddress: undefined,
    async listen() {
      note('listen');
      return behaviour.listen === undefined ? 'http://127.0.0.1:8000' : behaviour.listen();
    },
    async loaded() {
      await behaviour.loaded?.();
      // Heard after whoever awaits this has gone on.
      setImmediate(note, 'loaded');
    },
    summary: () => behaviour.models ?? [summary()],
    async close() {
      note('close');
      await behaviour.close?.();
    },
  };
  const log: LogLine[] = [];
  const exits: number[] = [];
  const parts: ServeParts = {
    version: '1.2.3',
    async createServer() {
      await behaviour.create?.();
      note('created');
      return fake;
    },
    process: new EventEmitter(),
    exit: (code) => {
      exits.push(code);
      parts.process.emit('exit', code);
    },
    logger: createLogger({ logLevel: 'info' }, { destination: { write: (line) => void log.push(JSON.parse(line)) } }),
  };
  const code = serve(behaviour.config ?? config(), host, parts);
  return { host, process: parts.process, log, exits, server, asked, code };
}

const never = (): Promise<never> => new Promise(() => {});

function errorWith(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

describe('serve', () => {
  it('listens, announces, drains on SIGTERM and is fine', async () => {
    const run = start();
    await once(run.server, 'loaded');
    run.process.emit('SIGTERM');
    assert.equal(await run.code, 0);
    assert.deepEqual(run.asked, ['created', 'listen', 'loaded', 'close']);
    assert.deepEqual(
      run.log.map(({ level, msg }) => `${level} ${msg}`),
      ['info listening', 'info loaded', 'info draining', 'info stopped'],
    );
    assert.equal(run.host.stdout, '', 'text for people only on a terminal');
    assert.deepEqual(run.exits, []);
  });

  it('prints the summary on a terminal', async () => {
    const run = start({ isTerminal: true });
    await once(run.server, 'loaded');
    assert.match(run.host.stdout, /^Shoal 1\.2\.3 listens on http:\/\/127\.0\.0\.1:8000\n1 model ready; /);
    run.process.emit('SIGINT');
    assert.equal(await run.code, 0);
    assert.match(run.host.stdout, /\nFinishing what was accepted; Ctrl-C again ends at once\n$/);
  });

  it('says how to add a model when there is none', async () => {
    const run = start({ models: [] });
    await once(run.server, 'loaded');
    assert.match(run.log[1]?.msg ?? '', /^No models in \.\/models yet: add one as /);
    run.process.emit('SIGTERM');
    await run.code;
  });

  it('announces nothing once it is told to stop', async () => {
    let finish: () => void = () => {};
    const run = start({
      isTerminal: true,
      loaded: () =>
        new Promise((resolve) => {
          finish = resolve;
        }),
      close: async () => {
        finish();
        await once(run.server, 'loaded');
      },
    });
    await once(run.server, 'listen');
    run.process.emit('SIGTERM');
    assert.equal(await run.code, 0);
    assert.doesNotMatch(run.host.stdout, /models? ready/);
  });

  it('drains when the signal comes before the port is open', async () => {
    let open: (url: string) => void = () => {};
    const run = start({
      listen: () =>
        new Promise((resolve) => {
          open = resolve;
        }),
    });
    await once(run.server, 'listen');
    run.process.emit('SIGTERM');
    open('http://127.0.0.1:1');
    assert.equal(await run.code, 0);
    assert.equal(run.asked.at(-1), 'close');
  });

  for (const [first, second, code] of [
    ['SIGTERM', 'SIGTERM', 143],
    ['SIGTERM', 'SIGINT', 130],
    ['SIGINT', 'SIGTERM', 143],
  ] as const) {
    it(`ends at once with ${code} on ${second} after ${first}`, async (t) => {
      t.mock.timers.enable({ apis: ['setTimeout'] });
      const run = start({ close: never });
      await once(run.server, 'loaded');
      const closing = once(run.server, 'close');
      run.process.emit(first);
      await closing;
      run.process.emit(second);
      assert.deepEqual(run.exits, [code]);
    });
  }

  it('takes the SIGINT that npm sends along with the terminal for the same key press', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let nowMs = 1000;
    t.mock.method(performance, 'now', () => nowMs);
    const run = start({ close: never });
    await once(run.server, 'loaded');
    run.process.emit('SIGINT');
    nowMs += 5;
    run.process.emit('SIGINT');
    assert.deepEqual(run.exits, []);
    nowMs += 1000;
    run.process.emit('SIGINT');
    assert.deepEqual(run.exits, [130]);
  });

  it('gives up on a server that does not close, with exit code 1', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const run = start({ close: never });
    await once(run.server, 'loaded');
    const closing = once(run.server, 'close');
    run.process.emit('SIGTERM');
    await closing;
    // Drain of one second, and ten of grace.
    t.mock.timers.tick(10_999);
    assert.equal(run.log.at(-1)?.msg, 'draining');
    t.mock.timers.tick(1);
    assert.equal(await run.code, 1);
    assert.match(run.log.at(-1)?.msg ?? '', /still open after 11000 ms/);
  });

  it('fails when closing does', async () => {
    const run = start({ close: async () => Promise.reject(new Error('stuck')) });
    run.process.emit('SIGTERM');
    assert.equal(await run.code, 1);
    assert.equal(run.log.at(-1)?.level, 'fatal');
  });

  for (const event of ['uncaughtException', 'unhandledRejection']) {
    it(`logs an ${event} and ends with 1`, async () => {
      const run = start();
      await once(run.server, 'loaded');
      run.process.emit(event, new Error('bug'));
      assert.deepEqual(run.exits, [1]);
      const line = run.log.at(-1);
      assert.equal(line?.level, 'fatal');
      assert.equal(line?.err?.message, 'bug');
      assert.match(line?.err?.stack ?? '', /serve\.test/);
    });
  }

  it('explains on one line why it cannot serve, with exit code 3', async () => {
    const missing = start({
      create: () => Promise.reject(new ServeError('MODELS_MISSING', 'there is no folder ./models')),
    });
    assert.equal(await missing.code, 3);
    assert.equal(
      missing.host.stderr,
      'shoal: there is no folder ./models; create it or name another one: shoal serve <folder>\n',
    );

    const taken = start({ listen: () => Promise.reject(errorWith('EADDRINUSE', 'listen EADDRINUSE')) });
    assert.equal(await taken.code, 3);
    assert.match(taken.host.stderr, /^shoal: port 8000 on 127\.0\.0\.1 is in use; stop the other program or .*--port/);
    assert.equal(taken.asked.at(-1), 'close', 'what was started for nothing is ended');
  });

  it('lets an unexpected failure through', async () => {
    await assert.rejects(start({ create: () => Promise.reject(new Error('bug')) }).code, /bug/);
    await assert.rejects(start({ loaded: () => Promise.reject(new Error('bug')) }).code, /bug/);
  });
});

describe('explainStartFailure', () => {
  const options = resolveConfig({ cores: 1, host: 'no.such.host', port: 80, metricsPort: 81, grpcPort: 82 });

  const served: [ServeErrorCode, RegExp][] = [
    ['MODELS_MISSING', /^said; create it or name another one: shoal serve <folder>$/],
    ['NAME_TWICE', /^said; rename or remove one of the two$/],
    ['NAME_INVALID', /^said$/],
    ['TRAINING_DIR', /^said$/],
  ];
  for (const [code, text] of served) {
    it(code, () => assert.match(explainStartFailure(new ServeError(code, 'said'), options) ?? '', text));
  }

  const listened: [string, number, RegExp][] = [
    ['EADDRINUSE', 80, /^port 80 on no\.such\.host is in use; .* --port /],
    ['EADDRINUSE', 81, /^port 81 on no\.such\.host is in use; .* --metrics-port /],
    ['EADDRINUSE', 82, /^port 82 on no\.such\.host is in use; .* --grpc-port /],
    ['EACCES', 80, /^port 80 on no\.such\.host is not allowed for this user; .* --port$/],
    ['EADDRNOTAVAIL', 80, /^no\.such\.host is not an address of this machine; .*--host/],
  ];
  for (const [code, port, text] of listened) {
    const error = Object.assign(errorWith(code, 'x'), { port });
    it(`${code} of port ${port}`, () => assert.match(explainStartFailure(error, options) ?? '', text));
  }

  it('a host name that means nothing', () => {
    assert.match(explainStartFailure(errorWith('ENOTFOUND', 'x'), options) ?? '', /is not an address of this machine/);
  });

  it('knows nothing of other errors', () => {
    assert.equal(explainStartFailure(errorWith('EPERM', 'x'), options), undefined);
    assert.equal(explainStartFailure('text', options), undefined);
  });
});
