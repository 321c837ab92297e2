import { DATATYPE_NAMES } from '../../../src/tensor/tensor.ts';
import { add2, broken, flat0, ident, type RepositoryContent, scalar0, slow, str1 } from '../../support/models.ts';
import { encodeModel, node, tensor } from '../../support/onnx-builder.ts';
import { iterationsFor } from '../../support/run-model.ts';

/** The models that the protocol's conformance list speaks of, each in a folder with its configuration. */

/** Most rows in one request to a batching fixture, as their configurations say. */
export const MAX_BATCH_SIZE = 8;

type ModelFolder = Exclude<RepositoryContent[string], Uint8Array>;

/**
 * The fixtures that load and are quick:
 *
 * | model | inputs → outputs | largest batch |
 * | --- | --- | --- |
 * | `add2`, versions 1 and 2 | FP32 `a`, `b` [-1,4] → `sum`, `diff` [-1,4] | 8 |
 * | `ident_BOOL` … `ident_BYTES` | `x` [-1,-1] → `y` = x | 8 |
 * | `mat2` | FP32 `x` [-1,-1,-1] → `y` = x | 8 |
 * | `flat0` | FP32 `x` [2,2] → `y` = x | none |
 * | `scalar0` | FP32 `x` [] → `y` = x | none |
 * | `str1` | BYTES `x` [-1,1] → `y` = x | 8 |
 */
export function fixtures(): RepositoryContent {
  const mat2 = encodeModel({
    inputs: [tensor('x', 'FP32', ['N', '', ''])],
    outputs: [tensor('y', 'FP32', ['N', '', ''])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
  const idents = DATATYPE_NAMES.map((datatype): [string, ModelFolder] => {
    const name = `ident_${datatype}`;
    return [name, batching(name, ident(datatype))];
  });
  return {
    add2: { ...batching('add2', add2(), 'version_policy { all {} }\n'), '2': add2() },
    ...Object.fromEntries(idents),
    mat2: batching('mat2', mat2),
    flat0: { '1': flat0() },
    scalar0: { '1': scalar0() },
    str1: batching('str1', str1()),
  };
}

/**
 * `slow`: FP32 `x` [-1,4] → `y` = x, one executor, about 300 ms a run, and one row may wait. A test that needs a busy
 * executor for an exact time should stop it by a signal instead (`holdExecutors`).
 */
export async function slowFixture(): Promise<RepositoryContent> {
  const model = slow(await iterationsFor(300));
  const queue = 'dynamic_batching { default_queue_policy { max_queue_size: 1 } }';
  return { slow: batching('slow', model, `instance_group [{ count: 1, kind: KIND_CPU }]\n${queue}\n`) };
}

/** `broken`: fails to load. */
export function brokenFixture(): RepositoryContent {
  return { broken: { '1': broken() } };
}

/** A model's folder with version 1 and Triton's configuration of a model that batches. */
function batching(name: string, model: Uint8Array, more = ''): ModelFolder {
  const config = `name: "${name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: ${MAX_BATCH_SIZE}\n${more}`;
  return { '1': model, 'config.pbtxt': Buffer.from(config) };
}
