import type { Host } from '../../../src/cli/host.ts';
import { type Config, resolveConfig } from '../../../src/config.ts';
import type { ModelSummary } from '../../../src/server.ts';
import type { TensorSpec } from '../../../src/tensor/signature.ts';

/** A host that keeps what was printed. */
export interface RecordedHost extends Host {
  stdout: string;
  stderr: string;
}

export function recordHost(overrides: Partial<Pick<Host, 'env' | 'cwd' | 'isTerminal'>> = {}): RecordedHost {
  const host: RecordedHost = {
    env: {},
    cwd: process.cwd(),
    isTerminal: false,
    ...overrides,
    stdout: '',
    stderr: '',
    out: (text) => {
      host.stdout += text;
    },
    err: (text) => {
      host.stderr += text;
    },
  };
  return host;
}

export function tensor(
  name: string,
  datatype: TensorSpec['datatype'],
  shape: readonly number[],
  batchAxis: number | null = 0,
): TensorSpec {
  return { name, datatype, shape, batchAxis };
}

export function summary(overrides: Partial<ModelSummary> = {}): ModelSummary {
  return {
    name: 'tiny',
    version: '1',
    state: 'ready',
    reason: undefined,
    provider: 'cpu',
    providerReason: 'as configured',
    instances: 1,
    maxInstances: 2,
    threads: 1,
    batching: 'batched along axis 0',
    maxBatchSize: 128,
    configuration: undefined,
    signature: { inputs: [tensor('x', 'FP32', [-1, 4])], outputs: [tensor('y', 'FP32', [-1, 3])], batched: true },
    file: 'models/tiny.onnx',
    fileBytes: 1234,
    loadMs: 12.3,
    ...overrides,
  };
}

export function config(): Config {
  return resolveConfig({ cores: 2, drainTimeout: '1s' });
}
