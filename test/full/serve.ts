import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { formatShape, type Tensor } from '../../src/tensor/tensor.ts';
import { GrpcClient } from '../support/grpc.ts';
import { TestServer } from '../support/server.ts';
import type { Case } from './cases.ts';
import { type Doors, ENCODINGS, type Encoding } from './encodings.ts';
import type { Listed } from './listed.ts';
import type { Plain, PlainRun } from './plain.ts';

/** A case with what plain onnxruntime-node made of it. */
export interface Task {
  readonly one: Case;
  readonly plain: Plain;
  readonly listed: Listed | undefined;
}

/** What a server made of a case: for each encoding that carries its datatypes, what was wrong. */
export interface Served {
  readonly problems: ReadonlyMap<string, string | undefined>;
  /** What was wrong about how a model that cannot be served was refused. */
  readonly refusal: string | undefined;
}

/** Models a server has at a time: each is a process of about 60 MB. */
const MODELS_PER_SERVER = 40;

/** Serves the cases, some at a time, and sends every run in each encoding. Results are in the order of the tasks. */
export async function serveAll(tasks: readonly Task[], say: (line: string) => void): Promise<Served[]> {
  const results: Served[] = [];
  for (let at = 0; at < tasks.length; at += MODELS_PER_SERVER) {
    results.push(...(await servePart(tasks.slice(at, at + MODELS_PER_SERVER))));
    say(`${results.length} of ${tasks.length}`);
  }
  return results;
}

async function servePart(tasks: readonly Task[]): Promise<Served[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'shoal-full-'));
  for (const { one } of tasks) {
    mkdirSync(path.join(folder, one.name));
    symlinkSync(path.dirname(one.model), path.join(folder, one.name, '1'));
  }
  // Models that cannot be loaded are part of it, and say so at *warn*.
  const http = await TestServer.start(folder, { strictReadiness: false, instances: 1, grpcPort: 0 });
  const grpc = new GrpcClient(String(http.server.grpcAddress));
  try {
    const results: Served[] = [];
    for (const task of tasks) results.push(await serveCase({ http, grpc }, task));
    return results;
  } finally {
    grpc.close();
    await http.close();
    rmSync(folder, { recursive: true });
  }
}

async function serveCase(doors: Doors, { one, plain, listed }: Task): Promise<Served> {
  const problems = new Map<string, string | undefined>();
  if (plain.kind === 'failed') return { problems, refusal: await checkRefusal(doors, one, listed) };
  for (const [name, encoding] of Object.entries(ENCODINGS)) {
    const datatypes = plain.runs.flatMap(({ inputs, outputs }) => [...inputs, ...outputs].map((t) => t.datatype));
    if (!encoding.carries(new Set(datatypes))) continue;
    problems.set(name, await runAll(doors, one, plain, encoding, listed?.kind === 'random'));
  }
  return { problems, refusal: undefined };
}

/** What is wrong about the answers to a case's runs; undefined when nothing is. */
async function runAll(
  doors: Doors,
  { name }: Case,
  { inputNames, outputNames, runs }: Extract<Plain, { kind: 'ran' }>,
  encoding: Encoding,
  isRandom: boolean,
): Promise<string | undefined> {
  for (const { inputs, outputs } of runs) {
    try {
      const got = await encoding.infer(doors, { model: name, inputNames, outputNames, inputs });
      const difference = isRandom ? differenceInForm(got, outputs) : encoding.difference(got, outputs);
      if (difference !== undefined) return difference;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
  return undefined;
}

/** Datatypes and shapes, for answers that are other ones each time. */
function differenceInForm(got: readonly Tensor[], wanted: PlainRun['outputs']): string | undefined {
  const [own, other] = [got, wanted].map((all) => all.map((t) => `${t.datatype}${formatShape(t.shape)}`).join());
  return own === other ? undefined : `${own} instead of ${other}`;
}

/** A model that plain onnxruntime-node does not load or feed is failed, and says the same reason. */
async function checkRefusal({ http }: Doors, { name }: Case, listed: Listed | undefined): Promise<string | undefined> {
  const { status, body } = await http.infer(name, { inputs: [] });
  const text = body.toString();
  if (status !== 503) return `${status} instead of 503: ${text}`;
  // What is no tensor has words of our own; what ONNX Runtime said is handed on.
  const said = listed?.kind === 'types' ? 'only tensors can be served' : listed?.message;
  return said === undefined || text.includes(said) ? undefined : `'${text}' does not say '${said}'`;
}
