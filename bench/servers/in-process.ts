import * as ort from 'onnxruntime-node';
import type { BenchModel } from '../cases.ts';
import { announce, readSettings } from './program.ts';

/** ONNX Runtime without a server: runs batches in a loop when it is asked to. */

/** Settings of this program: one session for each of `sessions`. */
export interface InProcessSettings {
  readonly file: string;
  readonly model: BenchModel;
  readonly sessions: readonly SessionSettings[];
}

/** How a session is made; the rest is ONNX Runtime's default. */
export interface SessionSettings {
  readonly threads: number;
  /** Whether idle threads spin, which is ONNX Runtime's default. */
  readonly spins: boolean;
}

/** What it can be asked; it answers with a number, or with the outputs. */
export type InProcessCommand =
  | { readonly kind: 'measure'; readonly session: number; readonly rows: number; readonly ms: number }
  | { readonly kind: 'run'; readonly row: Float32Array };

const { file, model, sessions } = readSettings<InProcessSettings>();
const opened: ort.InferenceSession[] = [];
for (const { threads, spins } of sessions) {
  opened.push(
    await ort.InferenceSession.create(file, {
      intraOpNumThreads: threads,
      ...(spins ? {} : { extra: { session: { intra_op: { allow_spinning: '0' } } } }),
    }),
  );
}

process.on('message', (command: InProcessCommand) => {
  void answer(command).then(
    (reply) => process.send?.(reply),
    (error: Error) => process.send?.({ error: error.message }),
  );
});
announce({});

async function answer(command: InProcessCommand): Promise<number | Float32Array> {
  if (command.kind === 'measure') return rowsPerSecond(opened[command.session]!, command.rows, command.ms);
  const results = await opened[0]!.run({ [model.input]: tensor(command.row, 1) });
  return results[model.output]!.data as Float32Array;
}

async function rowsPerSecond(session: ort.InferenceSession, rows: number, ms: number): Promise<number> {
  const size = model.dims.reduce((product, dim) => product * dim, 1);
  const feeds = { [model.input]: tensor(new Float32Array(rows * size).fill(0.5), rows) };
  // Not counted: memory of a new size is allocated, sleeping threads wake up.
  await session.run(feeds);
  const startMs = performance.now();
  let runs = 0;
  let elapsedMs = 0;
  do {
    await session.run(feeds);
    runs++;
    elapsedMs = performance.now() - startMs;
  } while (elapsedMs < ms);
  return (runs * rows * 1e3) / elapsedMs;
}

function tensor(data: Float32Array, rows: number): ort.Tensor {
  return new ort.Tensor('float32', data, [rows, ...model.dims]);
}
