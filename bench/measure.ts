import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Body, encodeRequest, makeRows } from './bodies.ts';
import { type BenchModel, type Case, type Encoding, placeModel } from './cases.ts';
import { startProgram, stop } from './children.ts';
import { InProcess, type InProcessRate } from './in-process.ts';
import type { LoadGenerator } from './load.ts';
import { type Contender, runServer, type ServerRun } from './round.ts';
import type { EchoSettings } from './servers/echo.ts';
import type { NaiveSettings } from './servers/naive.ts';
import { startShoal } from './servers/shoal.ts';
import { verifyAnswers, verifyEcho } from './verify.ts';

/** Measures all cases of a model: servers start, answers are checked, then rounds are interleaved case by case. */

/** One round: every contender once, one right after the other. */
export interface Round {
  readonly shoal: ServerRun;
  readonly naive: ServerRun;
  readonly echo: ServerRun;
  /** ONNX Runtime in-process, where the case compares with it. */
  readonly inProcess: InProcessRate | undefined;
  /** The most that other processes of the machine used during any of them, as a share of its cores. */
  readonly foreignShare: number;
}

/** A case with its rounds. */
export interface CaseResult {
  readonly case: Case;
  readonly rounds: readonly Round[];
  /** Rounds that were measured once more because other processes disturbed them. */
  readonly repeated: number;
}

/** A model with its cases. */
export interface ModelResult {
  readonly model: BenchModel;
  /** Every setting of ONNX Runtime in-process; empty when only a lone client was measured. */
  readonly sweep: readonly InProcessRate[];
  readonly cases: readonly CaseResult[];
}

/** What a measurement needs besides its cases. */
export interface MeasureOptions {
  readonly folder: string;
  readonly load: LoadGenerator;
  readonly pairs: number;
  readonly seconds: number;
  /** Says what goes on. */
  readonly log: (line: string) => void;
}

/** Where ONNX Runtime in-process is measured beside the servers. */
function comparesInProcess({ clients, encoding }: Case): boolean {
  return clients === 64 && encoding === 'binary';
}

/** Requests sent at once to check the answers, each with another row. */
const CHECKED_ROWS = 64;

/**
 * Not counted, before the first round of a case: each server answers so many requests or is warmed for so long. V8 compiles
 * a server's code in the background until it has met some ten thousand requests, which takes CPU time from everyone.
 */
const WARM_UP = { requests: 15_000, seconds: 10 } as const;

/** A round in which other processes took more of the machine than this is measured once more. */
const DISTURBED_SHARE = 0.06;

/** At most so many further rounds, as a share of those asked for. */
const REPEATED_SHARE = 0.5;

/** @throws {Error} when a server does not start, answers wrongly, or fails a request. */
export async function measureModel(
  model: BenchModel,
  cases: readonly Case[],
  options: MeasureOptions,
): Promise<ModelResult> {
  const { folder, log } = options;
  const { models, file } = placeModel(model, folder);
  const stops: (() => Promise<void>)[] = [];
  try {
    const inProcess = await InProcess.start(file, model);
    stops.push(() => inProcess.stop());
    const shoal = await startShoal(models);
    stops.push(() => stop(shoal.child));
    const naive = await startProgram<{ url: string }>(new URL('./servers/naive.js', import.meta.url), {
      file,
      model,
    } satisfies NaiveSettings);
    stops.push(() => stop(naive.child));

    const path = `/v2/models/${model.name}/infer`;
    const rows = makeRows(model, CHECKED_ROWS);
    const expected: Float32Array[] = [];
    for (const row of rows) expected.push(await inProcess.run(row));
    const bodies = { json: encodeRequest(model, 'json', rows[0]!), binary: encodeRequest(model, 'binary', rows[0]!) };
    const replies: Record<Encoding, Buffer> = { json: Buffer.alloc(0), binary: Buffer.alloc(0) };
    for (const encoding of ['json', 'binary'] as const) {
      await verifyAnswers('the naive handler', naive.ready.url + path, model, encoding, rows, expected);
      replies[encoding] = await verifyAnswers('Shoal', shoal.url + path, model, encoding, rows, expected);
    }

    const settings = saveReplies(folder, replies);
    const echo = await startProgram<{ url: string }>(new URL('./servers/echo.js', import.meta.url), settings);
    stops.push(() => stop(echo.child));
    const echoUrls = { json: `${echo.ready.url}/json`, binary: `${echo.ready.url}/binary` };
    for (const encoding of ['json', 'binary'] as const) {
      await verifyEcho(echoUrls[encoding], bodies[encoding], replies[encoding]);
    }
    log(`${model.name}: ${CHECKED_ROWS} answers at once are right in JSON and binary, Shoal and naive handler`);

    const sameUrl = (url: string): Record<Encoding, string> => ({ json: url + path, binary: url + path });
    const contenders: readonly Contender[] = [
      { name: 'shoal', pid: shoal.child.pid!, urls: sameUrl(shoal.url), metricsUrl: shoal.url },
      { name: 'naive', pid: naive.child.pid!, urls: sameUrl(naive.ready.url) },
      { name: 'echo', pid: echo.child.pid!, urls: echoUrls },
    ];
    const sweep = cases.some(({ clients }) => clients > 1) ? await inProcess.sweep() : [];
    const results: CaseResult[] = [];
    for (const one of cases) results.push(await measureCase(one, contenders, inProcess, bodies[one.encoding], options));
    return { model, sweep, cases: results };
  } finally {
    await Promise.all(stops.map((end) => end()));
  }
}

async function measureCase(
  one: Case,
  contenders: readonly Contender[],
  inProcess: InProcess,
  body: Body,
  { folder, load, pairs, seconds, log }: MeasureOptions,
): Promise<CaseResult> {
  const bodyFile = join(folder, 'body');
  writeFileSync(bodyFile, body.bytes);
  const request = { bodyFile, headers: body.headers, clients: one.clients, seconds: seconds * one.model.stretch };
  for (const contender of contenders) {
    for (let second = 0, answered = 0; second < WARM_UP.seconds && answered < WARM_UP.requests; second++) {
      answered += (await runServer(contender, load, { ...request, seconds: 1 }, one.encoding)).requestsPerSecond;
    }
  }

  const rounds: Round[] = [];
  let quiet = 0;
  for (let n = 0; quiet < pairs && n < pairs * (1 + REPEATED_SHARE); n++) {
    const runs = new Map<Contender['name'], ServerRun>();
    let best: InProcessRate | undefined;
    const turns = contenders.map((contender) => async () => {
      runs.set(contender.name, await runServer(contender, load, request, one.encoding));
    });
    if (comparesInProcess(one)) {
      turns.push(async () => {
        best = await inProcess.best();
      });
    }
    // Whoever comes after whom changes from round to round.
    for (const turn of n % 2 === 0 ? turns : turns.toReversed()) await turn();
    const foreignShare = Math.max(...[...runs.values()].map((run) => run.foreignShare));
    if (foreignShare <= DISTURBED_SHARE) quiet++;
    rounds.push({
      shoal: runs.get('shoal')!,
      naive: runs.get('naive')!,
      echo: runs.get('echo')!,
      inProcess: best,
      foreignShare,
    });
    log(`${one.id}: ${describeRound(rounds.at(-1)!)}`);
  }
  // What was disturbed least; the choice knows nothing of who was how fast.
  const kept = rounds.toSorted((a, b) => a.foreignShare - b.foreignShare).slice(0, pairs);
  return { case: one, rounds: rounds.filter((round) => kept.includes(round)), repeated: rounds.length - kept.length };
}

function describeRound({ shoal, naive, echo, inProcess, foreignShare }: Round): string {
  const rate = (value: number): string => Math.round(value).toString();
  const ceiling = inProcess === undefined ? '' : `, in-process ${rate(inProcess.rowsPerSecond)} rows/s`;
  const rates = `Shoal ${rate(shoal.requestsPerSecond)}, naive ${rate(naive.requestsPerSecond)}, echo ${rate(echo.requestsPerSecond)} requests/s`;
  return `${rates}${ceiling}; others used ${(foreignShare * 100).toFixed(0)} % of the machine`;
}

function saveReplies(folder: string, replies: Readonly<Record<Encoding, Buffer>>): EchoSettings {
  const json = join(folder, 'reply-json');
  const binary = join(folder, 'reply-binary');
  writeFileSync(json, replies.json);
  writeFileSync(binary, replies.binary);
  return { json, binary };
}
