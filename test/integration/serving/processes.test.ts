import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../../src/clock.ts';
import { chooseProvider } from '../../../src/serving/provider.ts';
import { add2, mlp, slow, writeRepository } from '../../support/models.ts';
import { iterationsFor } from '../../support/run-model.ts';
import { type Scope, startService } from '../../support/service.ts';
import { childrenOf, errorOf, isAlive, row, waitFor } from './helpers.ts';

interface Front {
  readonly child: ChildProcess;
  readonly executors: readonly number[];
  /** Waits for a line of its output. */
  readonly says: (line: string) => Promise<void>;
  readonly lines: readonly string[];
}

/** Starts a front with one model in a process group of its own, as a terminal does. */
async function startFront(scope: Scope, model: Buffer): Promise<Front> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shoal-front-'));
  writeRepository(folder, { m: model });
  const front = fileURLToPath(new URL('./front.js', import.meta.url));
  const child = spawn(process.execPath, [front, folder, 'm'], { detached: true, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines: string[] = [];
  createInterface({ input: child.stdout! }).on('line', (line) => lines.push(line));
  let executors: number[] = [];
  scope.after(async () => {
    child.kill('SIGKILL');
    await waitFor(() => !isAlive(child.pid!), 'the front has ended');
    for (const pid of executors) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true });
  });
  const says = (line: string) => waitFor(() => lines.includes(line), `'${line}', not only '${lines.join(', ')}'`);
  await says('ready');
  executors = childrenOf(child.pid!);
  assert.equal(executors.length, 1);
  return { child, executors, says, lines };
}

describe('executor processes', () => {
  let long: Buffer;
  before(async () => {
    long = slow(await iterationsFor(150));
  });

  it('survive the Ctrl-C that their whole process group gets, and answer until the front has drained', async (t) => {
    const { child, executors, says, lines } = await startFront(t, long);
    const exit = once(child, 'exit');
    child.stdin!.write('run\n');
    await says('started');
    process.kill(-child.pid!, 'SIGINT');
    assert.deepEqual(await exit, [0, null]);
    assert.deepEqual(lines, ['ready', 'started', 'interrupted', 'answered', 'drained']);
    await waitFor(() => !executors.some(isAlive), 'the executors have ended');
  });

  it('end when their front is killed while they are idle', async (t) => {
    const { child, executors } = await startFront(t, mlp([4, 8, 2]));
    child.kill('SIGKILL');
    await waitFor(() => !executors.some(isAlive), 'the executors have ended', 5000);
  });

  it('end after their run when their front is killed meanwhile', async (t) => {
    const { child, executors, says } = await startFront(t, long);
    child.stdin!.write('run\n');
    await says('started');
    child.kill('SIGKILL');
    await waitFor(() => !executors.some(isAlive), 'the executors have ended', 10_000);
  });

  it('have none of the front’s Node options, and no telemetry', async (t) => {
    const set = process.env['NODE_OPTIONS'];
    process.env['NODE_OPTIONS'] = '--max-old-space-size=512 --no-warnings';
    t.after(() => {
      if (set === undefined) delete process.env['NODE_OPTIONS'];
      else process.env['NODE_OPTIONS'] = set;
    });
    const service = await startService(t, { add2: add2() }, { instances: 1 });
    const [pid] = childrenOf(process.pid);
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    assert.ok(environment.includes('ORT_DISABLE_TELEMETRY=1'));
    assert.ok(!environment.some((one) => /^NODE_(OPTIONS|CHANNEL_FD)=/.test(one)));
    assert.doesNotMatch(readFileSync(`/proc/${pid}/cmdline`, 'utf8'), /max-old-space-size/);
    assert.equal(Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8')), 500);
    await service.infer('add2', { a: row(1), b: row(1) });
  });

  it('serve a little below the front’s priority after they have loaded at a low one', async (t) => {
    await startService(t, { add2: add2() }, { instances: 1 });
    const [pid] = childrenOf(process.pid);
    const isBack = (): boolean =>
      readdirSync(`/proc/${pid}/task`).every((thread) => os.getPriority(Number(thread)) === os.getPriority() + 5);
    // It comes back after it has said that it is ready.
    await waitFor(isBack, 'all its threads are back');
  });

  it('are let go one and all when the service is drained', async (t) => {
    const service = await startService(t, { a: add2(), b: mlp([4, 8, 2]) });
    assert.equal(childrenOf(process.pid).length, 2);
    await service.drain();
    await waitFor(() => childrenOf(process.pid).length === 0, 'the executors have ended');
    await service.drain();
  });
});

const NO_CUDA = 'CUDA is not available: ONNX Runtime is installed without its CUDA library';
const { reason: autoReason } = await chooseProvider('auto', systemClock);

describe('execution provider', { skip: autoReason === NO_CUDA ? false : 'CUDA libraries are installed' }, () => {
  it('is the CPU by itself where CUDA’s libraries are not, and says so', async (t) => {
    const service = await startService(t, { add2: add2() }, { provider: 'auto' });
    const { state, provider, providerReason } = service.summary()[0]!;
    assert.deepEqual([state, provider], ['ready', 'cpu']);
    assert.equal(providerReason, NO_CUDA);
  });

  it('is never the CPU when CUDA is asked for; the model is failed with what is missing', async (t) => {
    const service = await startService(t, { add2: add2() }, { provider: 'cuda:1' });
    const { state, reason, provider } = service.summary()[0]!;
    assert.deepEqual([state, provider], ['failed', 'cuda:1']);
    assert.match(reason!, /^CUDA does not work here: .*libonnxruntime_providers_\w+\.so/);
    assert.doesNotMatch(reason!, /onnxruntime_src|\n/);
    const error = await errorOf(service.infer('add2', { a: row(1), b: row(1) }));
    assert.equal(error.code, 'MODEL_NOT_READY');
    assert.match(error.message, /libonnxruntime_providers_\w+\.so/);
    await waitFor(() => childrenOf(process.pid).length === 0, 'the process it was tried in has ended');
  });

  it('names the library every time, though it is told on another pipe', async () => {
    for (let i = 0; i < 5; i++) {
      const { problem } = await chooseProvider('cuda', systemClock);
      assert.match(problem!, /libonnxruntime_providers_\w+\.so/);
    }
  });
});
