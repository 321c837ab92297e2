import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { InferenceSession } from 'onnxruntime-node';
import { DATATYPES, type Datatype } from '../../src/tensor/tensor.ts';
import { slow } from './models.ts';

/**
 * Runs models on bare ONNX Runtime in a process of their own: the truth that answers are compared with, and a place
 * where dangerous models may crash or hang. The child's side is at the end of this file.
 */

/** The elements of a tensor as ONNX Runtime for Node has them (FP16 as bits). */
export type Elements =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigInt64Array
  | BigUint64Array
  | Float32Array
  | Float64Array
  | string[];

/** A tensor as ONNX Runtime takes and gives it; `type` is its own name, such as `float32`. */
export interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: Elements;
}

/** Inputs by name. */
export type Feeds = Readonly<Record<string, OrtTensor>>;

/** What became of one run, and how long the call took. */
export type RunOutcome =
  | { readonly outputs: ReadonlyMap<string, OrtTensor>; readonly elapsedMs: number }
  | { readonly error: string };

/** What became of the process: `runs` has one entry for each run that ended. */
export interface Outcome {
  /** Set when the model did not load. */
  readonly loadError: string | undefined;
  /** The signal that ended the process before its work was done; SIGKILL after `timeoutMs`. */
  readonly signal: string | undefined;
  readonly runs: readonly RunOutcome[];
}

type Message = { readonly loadError: string } | RunOutcome;

/** Makes a tensor: `feed('FP32', [1, 2], [0.5, 1])`. */
export function feed(
  datatype: Datatype,
  dims: readonly number[],
  values: readonly (number | bigint | string)[],
): OrtTensor {
  return { type: DATATYPES[datatype].onnx, dims, data: elements(datatype, values) };
}

/**
 * Loads a model in a new process and runs it on each of `feeds` in turn.
 *
 * @param model the file's bytes, or its path.
 * @param timeoutMs after which the process is killed, default 20 s.
 */
export async function runModel(
  model: Uint8Array | string,
  feeds: readonly Feeds[],
  timeoutMs = 20_000,
): Promise<Outcome> {
  const child = fork(fileURLToPath(import.meta.url), [], {
    serialization: 'advanced',
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1', NODE_OPTIONS: '' },
    execArgv: [],
    stdio: ['ignore', 'inherit', 'ignore', 'ipc'],
  });
  const runs: RunOutcome[] = [];
  let loadError: string | undefined;
  child.on('message', (message: Message) => {
    if ('loadError' in message) loadError = message.loadError;
    else runs.push(message);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const signal = await new Promise<string | undefined>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, by) => resolve(by ?? (code === 0 ? undefined : `exit ${code}`)));
    child.send({ model, feeds });
  });
  clearTimeout(timer);
  return { loadError, signal, runs };
}

/** The `iterations` with which the model `slow` takes about `ms` a run on this machine, as it is now. */
export async function iterationsFor(ms: number): Promise<number> {
  const trial = 2_000;
  const row = { x: feed('FP32', [1, 4], [0, 0, 0, 0]) };
  const { runs } = await runModel(slow(trial), [row, row, row]);
  const times = runs.flatMap((run) => ('elapsedMs' in run ? [run.elapsedMs] : []));
  if (times.length < 3) throw new Error('the model slow did not run');
  return Math.max(1, Math.round((ms * trial) / Math.min(...times)));
}

function elements(datatype: Datatype, values: readonly (number | bigint | string)[]): Elements {
  if (datatype === 'BYTES') return values.map(String);
  if (datatype === 'INT64') return BigInt64Array.from(values, (v) => BigInt(v));
  if (datatype === 'UINT64') return BigUint64Array.from(values, (v) => BigInt(v));
  const numbers = values.map(Number);
  switch (datatype) {
    case 'BOOL':
    case 'UINT8':
      return Uint8Array.from(numbers);
    case 'INT8':
      return Int8Array.from(numbers);
    case 'UINT16':
    case 'FP16':
      return Uint16Array.from(numbers);
    case 'INT16':
      return Int16Array.from(numbers);
    case 'UINT32':
      return Uint32Array.from(numbers);
    case 'INT32':
      return Int32Array.from(numbers);
    case 'FP32':
      return Float32Array.from(numbers);
    case 'FP64':
      return Float64Array.from(numbers);
  }
}

async function serveParent({ model, feeds }: { model: Uint8Array | string; feeds: readonly Feeds[] }): Promise<void> {
  // Imported here, so that the parent never loads the native library.
  const ort = await import('onnxruntime-node');
  const options = {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 4,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  } as const;
  let session: InferenceSession;
  try {
    session =
      typeof model === 'string'
        ? await ort.InferenceSession.create(model, options)
        : await ort.InferenceSession.create(model, options);
  } catch (error) {
    await send({ loadError: text(error) });
    return;
  }
  for (const one of feeds) await send(await runOnce(session, one));
}

async function runOnce(session: InferenceSession, feeds: Feeds): Promise<RunOutcome> {
  const startMs = performance.now();
  try {
    // Plain objects instead of ort.Tensor: its constructor breaks FP16 where Float16Array exists.
    const inputs = Object.entries(feeds).map(([name, t]) => [name, { ...t, location: 'cpu' }]);
    const results = await session.run(Object.fromEntries(inputs));
    const elapsedMs = performance.now() - startMs;
    const outputs = new Map<string, OrtTensor>();
    for (const [name, t] of Object.entries(results)) {
      outputs.set(name, { type: t.type, dims: [...t.dims], data: bits(t.type, t.data) });
    }
    return { outputs, elapsedMs };
  } catch (error) {
    return { error: text(error) };
  }
}

/** Where Float16Array exists, FP16 outputs come as that; their bits are the same everywhere. */
function bits(type: string, data: Elements): Elements {
  if (type !== 'float16' || Array.isArray(data)) return data;
  return new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Waits until the message is on its way, because the next run may end the process. */
function send(message: Message): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.send !== undefined) {
  process.once('message', (job: { model: Uint8Array | string; feeds: readonly Feeds[] }) => {
    void serveParent(job).finally(() => process.disconnect());
  });
}
