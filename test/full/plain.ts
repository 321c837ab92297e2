import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { InferenceSession, OnnxValue, Tensor as OrtTensor } from 'onnxruntime-node';
import {
  DATATYPES,
  decodeStrings,
  elementCount,
  encodeStrings,
  isDatatype,
  type Tensor,
} from '../../src/tensor/tensor.ts';
import { ARRAYS } from '../../src/tensor/typed.ts';
import type { Case, DataSet } from './cases.ts';
import { readTensorProto } from './tensor-proto.ts';

/**
 * What plain onnxruntime-node makes of the cases: the truth that served answers are compared with. It runs in a process
 * of its own, because some models may end the process they run in.
 */

/** Tensors of a run: what the files say, and what onnxruntime-node answered. */
export interface PlainRun {
  readonly inputs: readonly Tensor[];
  readonly expected: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** What became of a case. */
export type Plain =
  | {
      readonly kind: 'ran';
      readonly inputNames: readonly string[];
      readonly outputNames: readonly string[];
      readonly runs: readonly PlainRun[];
    }
  /** `step` is where it ended; `reason` is what onnxruntime-node or the reader of the files said. */
  | { readonly kind: 'failed'; readonly step: 'load' | 'types' | 'data' | 'run' | 'crash'; readonly reason: string };

/** A case that takes longer than this hangs. */
const CASE_TIMEOUT_MS = 60_000;

/** Runs each case on its data; the results are in the order of the cases. */
export async function runPlain(cases: readonly Case[]): Promise<Plain[]> {
  const results: Plain[] = [];
  while (results.length < cases.length) {
    const ended = await runInChild(cases.slice(results.length), (plain) => results.push(plain));
    if (results.length < cases.length) results.push({ kind: 'failed', step: 'crash', reason: ended });
  }
  return results;
}

/** Runs cases until they are done or the process ends; returns how it ended. */
async function runInChild(cases: readonly Case[], take: (plain: Plain) => void): Promise<string> {
  const child = fork(fileURLToPath(import.meta.url), [], {
    serialization: 'advanced',
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1', NODE_OPTIONS: '' },
    execArgv: [],
    stdio: ['ignore', 'inherit', 'ignore', 'ipc'],
  });
  let timer = watch(child);
  child.on('message', (plain: Plain) => {
    clearTimeout(timer);
    timer = watch(child);
    take(plain);
  });
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal ?? `exit ${code}`));
  });
  child.send(cases);
  try {
    return await ended;
  } finally {
    clearTimeout(timer);
  }
}

function watch(child: ChildProcess): NodeJS.Timeout {
  return setTimeout(() => child.kill('SIGKILL'), CASE_TIMEOUT_MS);
}

class StepError extends Error {
  readonly step: 'types' | 'data';

  constructor(step: 'types' | 'data', message: string) {
    super(message);
    this.step = step;
  }
}

async function runCase(ort: typeof import('onnxruntime-node'), one: Case): Promise<Plain> {
  let step: 'load' | 'run' = 'load';
  let session: InferenceSession | undefined;
  try {
    // One thread as the server gives small models: sums may differ with the number of threads.
    const options = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 4 } as const;
    session = await ort.InferenceSession.create(one.model, options);
    checkTypes(session);
    step = 'run';
    const runs: PlainRun[] = [];
    for (const dataSet of one.dataSets) runs.push(await runDataSet(session, dataSet));
    return { kind: 'ran', inputNames: session.inputNames, outputNames: session.outputNames, runs };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { kind: 'failed', step: error instanceof StepError ? error.step : step, reason };
  } finally {
    await session?.release();
  }
}

/** Sequences and optional values have no tensor, and running some of the other types ends the process. */
function checkTypes({ inputMetadata, outputMetadata }: InferenceSession): void {
  const known = new Set<string>(Object.values(DATATYPES).map(({ onnx }) => onnx));
  for (const [role, all] of Object.entries({ input: inputMetadata, output: outputMetadata })) {
    for (const meta of all) {
      if (!meta.isTensor) throw new StepError('types', `${role} '${meta.name}' is no tensor`);
      if (!known.has(meta.type)) throw new StepError('types', `${role} '${meta.name}' has type ${meta.type}`);
    }
  }
}

async function runDataSet(session: InferenceSession, { inputs, outputs }: DataSet): Promise<PlainRun> {
  const given = inputs.map(readFile);
  const expected = outputs.map(readFile);
  const feeds = Object.fromEntries(given.map((tensor, i) => [session.inputNames[i]!, toOrt(tensor)]));
  const results = await session.run(feeds);
  return { inputs: given, expected, outputs: session.outputNames.map((name) => fromOrt(results[name]!)) };
}

function readFile(file: string): Tensor {
  try {
    return readTensorProto(readFileSync(file));
  } catch (error) {
    throw new StepError('data', `${file.split('/').at(-1)}: ${error instanceof Error ? error.message : error}`);
  }
}

function toOrt({ datatype, shape, bytes }: Tensor): OnnxValue {
  const count = elementCount(shape);
  const data =
    datatype === 'BYTES'
      ? decodeStrings(bytes, count)
      : new ARRAYS[datatype](bytes.buffer as ArrayBuffer, bytes.byteOffset, count);
  // A plain object instead of ort.Tensor: its constructor breaks FP16 where Float16Array exists.
  return { type: DATATYPES[datatype].onnx, data, dims: shape, location: 'cpu' } as unknown as OnnxValue;
}

function fromOrt(value: OnnxValue): Tensor {
  const { type, data, dims } = value as OrtTensor;
  const datatype = Object.keys(DATATYPES).find((name) => isDatatype(name) && DATATYPES[name].onnx === type);
  if (datatype === undefined || !isDatatype(datatype)) throw new StepError('types', `an output has type ${type}`);
  const shape = [...dims];
  if (datatype === 'BYTES') return { datatype, shape, bytes: encodeStrings(data as string[]) };
  const view = data as unknown as ArrayBufferView;
  return { datatype, shape, bytes: Uint8Array.from(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)) };
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.send !== undefined) {
  process.once('message', (cases: readonly Case[]) => {
    void (async () => {
      const ort = await import('onnxruntime-node');
      for (const one of cases) {
        const plain = await runCase(ort, one);
        await new Promise((resolve) => process.send?.(plain, resolve));
      }
      process.disconnect();
    })();
  });
}
