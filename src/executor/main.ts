import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { monotonicMs } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { joinAligned } from '../tensor/rows.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkKept } from './check.ts';
import { decodeControl, decodeTensors, encodeControl, encodeTensors, type Frame, FrameError } from './frame.ts';
import { type KeptRun, KeptRuns } from './kept-runs.ts';
import type { CheckRequest, Failure, Finding, LoadReport, LoadRequest, ProbeRequest, SentTensor } from './messages.ts';
import { BlockingPipe } from './pipe.ts';
import { atLowPriority } from './priority.ts';
import { declaredSignature, probe, probeSamples, withShapes } from './probe.ts';
import { Session } from './session.ts';

/**
 * The executor: a process that owns an ONNX Runtime session and answers frames, one at a time.
 *
 * It reads blocking, for it has nothing else to do, and ends when the front's end of the pipe is closed.
 */
const pipe = new BlockingPipe(3);

/** By how much an executor's nice value is above the front's. */
const BELOW_THE_FRONT = 5;
const LOWEST_PRIORITY = 19;

const sessions = new Map<number, Session>();
/** Runs that may have to be examined, by session. */
const kept = new Map<number, KeptRuns>();

// Ctrl-C reaches the whole process group; executors live until the front has drained and closes the pipe.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});

try {
  // The front is awake for microseconds at a time and everyone waits for it; it should not have to wait for a slice.
  os.setPriority(Math.min(LOWEST_PRIORITY, os.getPriority() + BELOW_THE_FRONT));
} catch {
  // Not allowed; the server works without it.
}

try {
  // When memory runs out, the kernel shall take an executor, which can be replaced, and not the front.
  writeFileSync('/proc/self/oom_score_adj', '500');
} catch {
  // Not on Linux, or not allowed; the server works without it.
}

for (let frame = pipe.read(); frame !== undefined; frame = pipe.read()) {
  try {
    if (frame.kind === 'load') await load(frame);
    else if (frame.kind === 'probe') await probeModel(frame);
    else if (frame.kind === 'run') await run(frame);
    else if (frame.kind === 'check') await check(frame);
    else throw new FrameError(`an executor takes no '${frame.kind}' frame`);
  } catch (thrown) {
    if (thrown instanceof FrameError) throw thrown;
    const failure: Failure = { message: messageOf(thrown) };
    pipe.write([encodeControl('failed', frame.session, failure, frame.id)]);
  }
}

function load(frame: Frame): Promise<void> {
  return atLowPriority(async () => {
    const session = await Session.create(decodeControl(frame) as LoadRequest);
    sessions.set(frame.session, session);
    const { inputs, allOutputs } = session;
    const report: LoadReport = { signature: declaredSignature({ inputs, outputs: allOutputs }) };
    pipe.write([encodeControl('loaded', frame.session, report)]);
  });
}

function probeModel(frame: Frame): Promise<void> {
  return atLowPriority(async () => {
    const session = sessionOf(frame);
    const { shapes, alongFirst, samples, useKept } = decodeControl(frame) as ProbeRequest;
    const [inputs, outputs] = [withShapes(session.inputs, shapes), withShapes(session.outputs, shapes)];
    const model = { inputs, outputs, alongFirst, run: (tensors: readonly Tensor[]) => session.run(tensors) };
    let finding: Finding;
    if (useKept === true) {
      const runs = kept.get(frame.session)?.take() ?? [];
      finding = await probe(model, { rows: runs.map((one) => one.inputs), evidence: 'real' });
    } else {
      const given = samples?.map((sample) => sample.map(receiveTensor));
      finding = given === undefined ? await probe(model) : await probeSamples(model, given);
    }
    pipe.write([encodeControl('probed', frame.session, finding)]);
  });
}

function receiveTensor({ datatype, shape, bytes }: SentTensor): Tensor {
  return { datatype, shape, bytes: joinAligned([Buffer.from(bytes, 'base64')]) };
}

async function run(frame: Frame): Promise<void> {
  const session = sessionOf(frame);
  const { numbers, outputs, tensors } = decodeTensors(frame);
  const inputs = tensors.map((entry) => entry.tensor);
  const startMs = monotonicMs();
  const results = await session.run(inputs, outputs);
  const endMs = monotonicMs();
  const segmented = results.map(({ datatype, shape, bytes }, i) => ({
    index: outputs[i] ?? i,
    datatype,
    shape,
    segments: [bytes],
  }));
  pipe.write(encodeTensors('result', frame.session, frame.id, [startMs, endMs], [], segmented));
  keep(frame.session, numbers[0], { inputs, outputs: results, indices: outputs });
}

/** Holds on to a run while the front wants `count` of them, and lets all go when it does not. */
function keep(session: number, count: number, one: KeptRun): void {
  let runs = kept.get(session);
  if (runs === undefined) {
    if (count === 0) return;
    runs = new KeptRuns();
    kept.set(session, runs);
  }
  runs.add(one, count);
}

async function check(frame: Frame): Promise<void> {
  const session = sessionOf(frame);
  const runs = kept.get(frame.session)?.take() ?? [];
  const request = decodeControl(frame) as CheckRequest;
  const report = await checkKept((tensors, outputs) => session.run(tensors, outputs), session.outputs, runs, request);
  pipe.write([encodeControl('checked', frame.session, report)]);
}

function sessionOf(frame: Frame): Session {
  const session = sessions.get(frame.session);
  if (session === undefined) throw new FrameError(`session ${frame.session} was never loaded here`);
  return session;
}
