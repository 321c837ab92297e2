import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Scope } from './server.ts';

/** The program as it is installed, beside these compiled tests. */
const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

// The variables of whoever runs the tests must not configure what is tested.
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(SHOAL_|NODE_TEST_CONTEXT$|NODE_OPTIONS$)/.test(name)),
);

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** `shoal serve` in a process of its own. */
export class ServeProcess {
  readonly url: string;
  readonly port: number;
  /** `host:port` of the gRPC door, where there is one. */
  readonly grpcAddress: string | undefined;
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, exited: Promise<Exit>, url: string, grpcAddress: string | undefined) {
    this.#child = child;
    this.exited = exited;
    this.url = url;
    this.port = Number(new URL(url).port);
    this.grpcAddress = grpcAddress;
  }

  /** Starts to serve a models folder; resolves when every model is ready or failed. */
  static start(scope: Scope, models: string, ...options: string[]): Promise<ServeProcess> {
    return ServeProcess.startWith(scope, [], models, ...options);
  }

  /** The same with options of Node's own. */
  static async startWith(
    scope: Scope,
    nodeOptions: readonly string[],
    models: string,
    ...options: string[]
  ): Promise<ServeProcess> {
    const child = spawn(process.execPath, [...nodeOptions, MAIN, 'serve', models, '--port', '0', ...options], {
      env: ENVIRONMENT,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit').then(([code, signal]): Exit => ({ code, signal }));
    scope.after(async () => {
      child.kill('SIGKILL');
      await exited;
    });
    const log = new Log(child, exited);
    const { url, grpcAddress } = await log.line('listening');
    await log.line('loaded');
    return new ServeProcess(child, exited, String(url), grpcAddress === undefined ? undefined : String(grpcAddress));
  }

  /** Sends it a signal. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The processes that it has started and that have not ended: its executors. */
  children(): number[] {
    const { pid } = this.#child;
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  }
}

/** The JSON lines that a process writes. */
class Log {
  readonly #lines: Record<string, unknown>[] = [];
  readonly #reader: Interface;
  readonly #exited: Promise<Exit>;

  constructor(child: ChildProcess, exited: Promise<Exit>) {
    this.#exited = exited;
    this.#reader = createInterface({ input: child.stdout! });
    this.#reader.on('line', (line) => this.#lines.push(JSON.parse(line)));
  }

  /** The line with this message, when it is there. */
  async line(msg: string): Promise<Record<string, unknown>> {
    for (;;) {
      const line = this.#lines.find((one) => one['msg'] === msg);
      if (line !== undefined) return line;
      await Promise.race([
        once(this.#reader, 'line'),
        this.#exited.then((exit) => assert.fail(`ended before '${msg}': ${JSON.stringify(exit)}`)),
      ]);
    }
  }
}
