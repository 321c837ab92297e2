import { once } from 'node:events';
import { grantedCores } from '../src/granted.ts';
import type { BenchModel } from './cases.ts';
import { type Program, settles, startProgram, stop } from './children.ts';
import type { InProcessCommand, InProcessSettings, SessionSettings } from './servers/in-process.ts';

/** ONNX Runtime in a process of its own without HTTP: the most rows per second this machine can compute. */

const PROGRAM = new URL('./servers/in-process.js', import.meta.url);

const BATCH_SIZES: readonly number[] = [1, 2, 4, 8, 16, 32, 64];

/** How long one setting is measured while looking for the best. */
const SWEEP_MS = 200;

/** How long each of the best is measured again in every round. */
const AGAIN_MS = 300;

/** So many of the best settings are measured again, because the sweep may have met a bad moment. */
const FINALISTS = 3;

/** One setting and what it reached. */
export interface InProcessRate extends SessionSettings {
  readonly rows: number;
  readonly rowsPerSecond: number;
}

/** ONNX Runtime with one model, with one thread and with all of them. */
export class InProcess {
  readonly #program: Program<unknown>;
  readonly #sessions: readonly SessionSettings[];
  #finalists: readonly InProcessRate[] = [];

  private constructor(program: Program<unknown>, sessions: readonly SessionSettings[]) {
    this.#program = program;
    this.#sessions = sessions;
  }

  static async start(file: string, model: BenchModel): Promise<InProcess> {
    const cores = grantedCores();
    const sessions: SessionSettings[] = [{ threads: 1, spins: true }];
    if (cores > 1) sessions.push({ threads: cores, spins: true }, { threads: cores, spins: false });
    const settings: InProcessSettings = { file, model, sessions };
    return new InProcess(await startProgram(PROGRAM, settings), sessions);
  }

  get pid(): number {
    return this.#program.child.pid!;
  }

  /** The answer to one row alone. */
  async run(row: Float32Array): Promise<Float32Array> {
    return (await this.#ask({ kind: 'run', row })) as Float32Array;
  }

  /** Measures every batch size with every session; the best are those that {@link InProcess.best} measures again. */
  async sweep(): Promise<InProcessRate[]> {
    const rates: InProcessRate[] = [];
    for (const session of this.#sessions) {
      for (const rows of BATCH_SIZES) rates.push(await this.#measure({ ...session, rows, rowsPerSecond: 0 }, SWEEP_MS));
    }
    this.#finalists = rates.toSorted((a, b) => b.rowsPerSecond - a.rowsPerSecond).slice(0, FINALISTS);
    return rates;
  }

  /** What the best setting reaches now. */
  async best(): Promise<InProcessRate> {
    const rates: InProcessRate[] = [];
    for (const finalist of this.#finalists) rates.push(await this.#measure(finalist, AGAIN_MS));
    return rates.toSorted((a, b) => b.rowsPerSecond - a.rowsPerSecond)[0]!;
  }

  stop(): Promise<void> {
    return stop(this.#program.child);
  }

  async #measure(setting: InProcessRate, ms: number): Promise<InProcessRate> {
    const { threads, spins, rows } = setting;
    const session = this.#sessions.findIndex((one) => one.threads === threads && one.spins === spins);
    const rowsPerSecond = (await this.#ask({ kind: 'measure', session, rows, ms })) as number;
    return { threads, spins, rows, rowsPerSecond };
  }

  async #ask(command: InProcessCommand): Promise<unknown> {
    const { child } = this.#program;
    const answered = once(child, 'message');
    child.send(command);
    const [reply] = (await settles(child, answered, 'ONNX Runtime in-process did not answer')) as [unknown];
    if (typeof reply === 'object' && reply !== null && 'error' in reply) throw new Error(String(reply.error));
    return reply;
  }
}
