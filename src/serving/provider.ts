import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { Executor } from '../executor/executor.ts';
import type { ModelSettings } from './model-settings.ts';

/** Where the models of this server run, and why there. */
export interface ProviderChoice {
  readonly provider: 'cpu' | 'cuda';
  readonly device: number;
  /** For people: how the choice came about. */
  readonly reason: string;
  /** Set when what was asked for does not work; models are failed with it. */
  readonly problem: string | undefined;
}

/** A model of one Identity node, to try a provider with. */
const TINY_MODEL =
  'CAkSC3Nob2FsLXRlc3RzOjsKEAoBeBIBeSIISWRlbnRpdHkSBWdyYXBoWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQFA==';

/** A driver that does not answer must not keep the server from starting. */
const PROBE_TIMEOUT_MS = 30_000;

/**
 * Chooses the execution provider. Whether CUDA works can only be found out by trying: ONNX Runtime lists what was
 * compiled in, not what the machine has, and does not fall back by itself. So a session is created in a throw-away
 * process, with a time limit.
 *
 * @param setting `auto`, `cpu`, `cuda` or `cuda:<device>`.
 */
export async function chooseProvider(setting: string, clock: Clock, entry?: string): Promise<ProviderChoice> {
  if (setting === 'cpu') return { provider: 'cpu', device: 0, reason: 'as configured', problem: undefined };
  const device = Number(/:(\d+)$/.exec(setting)?.[1] ?? 0);
  const auto = setting === 'auto';
  if (auto && !hasCudaLibrary()) {
    // Without it creating a session cannot succeed, so that the process to try it in is saved.
    const reason = 'CUDA is not available: ONNX Runtime is installed without its CUDA library';
    return { provider: 'cpu', device: 0, reason, problem: undefined };
  }
  const problem = await tryCuda(device, clock, entry);
  if (problem === undefined) {
    return { provider: 'cuda', device, reason: auto ? 'a session on the GPU works' : 'as configured', problem };
  }
  if (auto) return { provider: 'cpu', device: 0, reason: `CUDA is not available: ${problem}`, problem: undefined };
  return { provider: 'cuda', device, reason: 'as configured', problem: `CUDA does not work here: ${problem}` };
}

/**
 * Where one model runs: where all do, unless its configuration says otherwise (`instance_group`).
 *
 * @param server settles to the choice for all models; not asked by a model that is for the CPU.
 */
export async function chooseForModel(
  { file, instances }: Pick<ModelSettings, 'file' | 'instances'>,
  server: () => Promise<ProviderChoice>,
): Promise<ProviderChoice> {
  if (instances.provider === 'cpu') {
    return { provider: 'cpu', device: 0, reason: `KIND_CPU in ${file}`, problem: undefined };
  }
  const choice = await server();
  if (choice.problem !== undefined) return choice;
  if (choice.provider === 'cuda') return { ...choice, device: instances.device ?? choice.device };
  if (instances.provider === undefined) return choice;
  const problem = `${file} has an instance_group of KIND_GPU, but models of this server run on the CPU (${choice.reason})`;
  return { ...choice, problem };
}

/** @returns why a session cannot be created on the device; undefined when it can. */
async function tryCuda(device: number, clock: Clock, entry: string | undefined): Promise<string | undefined> {
  try {
    const { executor } = await Executor.start({
      clock,
      name: 'provider probe',
      load: { file: '', inline: TINY_MODEL, provider: 'cuda', device, intraOpThreads: 1 },
      loadTimeoutMs: PROBE_TIMEOUT_MS,
      hangLimits: () => ({ cpuMs: PROBE_TIMEOUT_MS, wallMs: PROBE_TIMEOUT_MS }),
      entry,
      onExit: () => {},
    });
    executor.close();
    return undefined;
  } catch (thrown) {
    return messageOf(thrown);
  }
}

function hasCudaLibrary(): boolean {
  const root = path.dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  const library = 'libonnxruntime_providers_cuda.so';
  return existsSync(path.join(root, 'bin', 'napi-v6', process.platform, process.arch, library));
}
