import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { ShoalError } from '../../../src/errors.ts';
import type { InferResult, Service } from '../../../src/service.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';

/** Waits for something that announces itself by no event. */
export async function waitFor(condition: () => boolean, what: string, timeoutMs = 20_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    assert.ok(performance.now() < endMs, `waited ${timeoutMs} ms in vain: ${what}`);
    await setTimeout(10);
  }
}

/** The processes that a process has started and that are still there; those that have ended and not been waited for not. */
export function childrenOf(pid: number): number[] {
  const children: number[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const fields = statOf(Number(entry));
    // State and parent follow the name.
    if (fields !== undefined && Number(fields[1]) === pid && fields[0] !== 'Z') children.push(Number(entry));
  }
  return children;
}

/** Whether a process is there and has not ended. */
export function isAlive(pid: number): boolean {
  const fields = statOf(pid);
  return fields !== undefined && fields[0] !== 'Z';
}

function statOf(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** A tensor of one dimension. */
export function vector(datatype: 'INT32' | 'INT64' | 'FP32', ...values: number[]): Tensor {
  const shape = [values.length];
  if (datatype === 'INT32') return makeTensor(datatype, shape, Int32Array.from(values));
  if (datatype === 'INT64') return makeTensor(datatype, shape, BigInt64Array.from(values, BigInt));
  return makeTensor(datatype, shape, Float32Array.from(values));
}

/** One row of four FP32 values, as most test models take it. */
export function row(value: number): Tensor {
  return makeTensor('FP32', [1, 4], Float32Array.of(value, 0, 0, 0));
}

/** The error of a call that must not be answered. */
export async function errorOf(call: Promise<InferResult>): Promise<ShoalError> {
  const outcome = await call.catch((thrown: unknown) => thrown);
  assert.ok(outcome instanceof ShoalError, `expected an error, got ${JSON.stringify(outcome)}`);
  return outcome;
}

/** What a model's only version counts. */
export function metersOf(service: Service, model: string): ReturnType<Service['metrics']['metersOf']> {
  return service.metrics.metersOf(service.registry.get(model, undefined));
}
