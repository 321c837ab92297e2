import { messageOf } from '../errors.ts';
import type { Finding, ProbeRequest } from '../executor/messages.ts';
import { checkInputs, isBatchedAlongFirst, type Signature, type TensorSpec } from '../tensor/signature.ts';
import { asBuffer, formatShape } from '../tensor/tensor.ts';
import type { BatchingCheck, ModelSettings, TensorSettings } from './model-settings.ts';

/** Samples are sent to the executor in one message. */
const MOST_SAMPLE_BYTES = 8 << 20;

/** What callers are offered, once the configuration has been laid over the model file and the probe's finding. */
export interface Served {
  readonly signature: Signature;
  /** Whether requests share runs. Without it they may still have several rows each. */
  readonly shares: boolean;
  /** One sentence for people: whether requests share runs, and why. */
  readonly reason: string;
}

/**
 * Checks a configuration against what the model file declares.
 *
 * @param declared the file's inputs and outputs, all of them.
 * @returns what the probe is to take as given.
 * @throws {Error} that names what the configuration says and what the file has.
 */
export function planProbe(settings: ModelSettings, declared: Signature): ProbeRequest {
  const { inputs, outputs } = settings;
  const shapes: Record<string, readonly number[]> = {};
  checkList(settings, 'input', inputs, declared.inputs);
  checkList(settings, 'output', outputs, declared.outputs);
  for (const [kind, given, specs] of [
    ['input', inputs, declared.inputs],
    ['output', outputs, servedOutputs(settings, declared.outputs)],
  ] as const) {
    for (const spec of specs) {
      const own = given.find(({ name }) => name === spec.name);
      checkFirstAxis(settings, kind, spec);
      const shape = modelShape(settings, own);
      if (shape === undefined) continue;
      checkShape(settings, `${kind} '${spec.name}'`, shape, spec.shape);
      shapes[spec.name] = shape;
    }
  }
  return { shapes, alongFirst: stacksFirst(settings), samples: sendSamples(settings, declared) };
}

/** The samples as the model takes them; undefined when there are none. */
function sendSamples(settings: ModelSettings, declared: Signature): ProbeRequest['samples'] {
  const { file, samples } = settings;
  if (samples.length === 0) return undefined;
  const { signature } = applySettings(
    settings,
    { signature: declared, batched: false, isOpen: true, reason: '' },
    'live',
  );
  let bytes = 0;
  const sent = samples.map((sample, i) => {
    try {
      const checked = checkInputs('this', signature, sample, Number.POSITIVE_INFINITY);
      bytes += checked.bytes;
      return checked.tensors.map((tensor) => ({ ...tensor, bytes: asBuffer(tensor.bytes).toString('base64') }));
    } catch (thrown) {
      throw new Error(`${file}: sample ${i} does not fit: ${messageOf(thrown)}`, { cause: thrown });
    }
  });
  if (bytes <= MOST_SAMPLE_BYTES) return sent;
  throw new Error(`${file}: the samples have ${bytes} bytes, expected at most ${MOST_SAMPLE_BYTES}`);
}

/**
 * What is served of a model, by what was found of it.
 *
 * @param mode with `strict`, a configuration's `dynamic_batching` alone does not insist on batching.
 */
export function applySettings(
  settings: ModelSettings,
  { signature: found, batched, reason: why, isOpen }: Pick<Finding, 'signature' | 'batched' | 'reason' | 'isOpen'>,
  mode: BatchingCheck,
): Served {
  const { file, maxBatchSize } = settings;
  const insistsOnBatching = settings.insistsOnBatching && mode !== 'strict';
  const outputs = servedOutputs(settings, found.outputs);
  const isAwaited = isOpen && mode !== 'load';
  const how = mode === 'strict' ? 'batched in sizes proven bit-exact' : 'batched';
  const reason = `${batched ? how : isAwaited ? 'unbatched until real rows tell' : 'unbatched'}: ${why}`;
  const served = (batchAxis: 'found' | 0 | null): Signature => ({
    inputs: found.inputs.map((spec) => applyTo(settings, settings.inputs, spec, batchAxis)),
    outputs: outputs.map((spec) => applyTo(settings, settings.outputs, spec, batchAxis)),
    batched: batchAxis === 'found' ? found.batched : batchAxis === 0,
  });
  if (stacksFirst(settings)) {
    const shares = batched || insistsOnBatching;
    const limit = `${file} has max_batch_size ${maxBatchSize}`;
    return {
      signature: served(0),
      shares,
      reason: batched
        ? reason
        : shares
          ? `batched: dynamic_batching in ${file} insists on it, although the probe says: ${why}`
          : `${reason} (${limit}: a request may have as many rows; dynamic_batching there would insist on batching)`,
    };
  }
  if (!batched) return { signature: served(null), shares: false, reason };
  if ([...settings.inputs, ...settings.outputs].some(({ reshape }) => reshape !== undefined)) {
    const refused = `unbatched: ${file} reshapes tensors without a max_batch_size from 1`;
    return { signature: served(null), shares: false, reason: refused };
  }
  if (maxBatchSize === 0 && isBatchedAlongFirst(found)) {
    return { signature: served(null), shares: false, reason: `unbatched: max_batch_size is 0 in ${file}` };
  }
  return { signature: served('found'), shares: true, reason };
}

/** Whether callers' shapes have the rows as their first dimension, which `dims` then leave out. */
function stacksFirst({ maxBatchSize }: ModelSettings): boolean {
  return maxBatchSize !== undefined && maxBatchSize > 0;
}

function servedOutputs({ outputs }: ModelSettings, specs: readonly TensorSpec[]): readonly TensorSpec[] {
  return outputs.length === 0 ? specs : specs.filter((spec) => outputs.some(({ name }) => name === spec.name));
}

function checkList(
  { file }: ModelSettings,
  kind: 'input' | 'output',
  given: readonly TensorSettings[],
  specs: readonly TensorSpec[],
): void {
  for (const { name, dataType } of given) {
    const spec = specs.find((one) => one.name === name);
    if (spec === undefined) {
      const known = specs.map((one) => `'${one.name}'`).join(', ');
      throw new Error(`${file} has ${kind} '${name}', the model file has ${known || 'none'}`);
    }
    if (dataType !== undefined && dataType !== tritonType(spec)) {
      throw new Error(`${file} has ${kind} '${name}' as ${dataType}, the model file as ${tritonType(spec)}`);
    }
  }
}

/** Triton's name of a tensor's datatype. */
export function tritonType({ datatype }: Pick<TensorSpec, 'datatype'>): string {
  return `TYPE_${datatype === 'BYTES' ? 'STRING' : datatype}`;
}

/** A file that has a first dimension of fixed size cannot stack rows along it. */
function checkFirstAxis(settings: ModelSettings, kind: string, { name, shape }: TensorSpec): void {
  // A file that declares no shape looks like a scalar; it is taken at the configuration's word.
  const isScalar = shape.length === 0 && modelShape(settings, find(settings, kind, name)) === undefined;
  if (!stacksFirst(settings) || !(isScalar || shape[0]! >= 0)) return;
  throw new Error(
    `${settings.file} has max_batch_size ${settings.maxBatchSize}, for which the first dimension of every tensor counts rows; ${kind} '${name}' has shape ${formatShape(shape)} in the model file (max_batch_size 0 would leave the shapes as they are)`,
  );
}

function find({ inputs, outputs }: ModelSettings, kind: string, name: string): TensorSettings | undefined {
  return (kind === 'input' ? inputs : outputs).find((one) => one.name === name);
}

/** The full shape that a configuration gives a tensor in the model file; undefined when it gives none. */
function modelShape(settings: ModelSettings, own: TensorSettings | undefined): readonly number[] | undefined {
  if (own === undefined || (own.dims.length === 0 && own.reshape === undefined)) return undefined;
  const shape = own.reshape ?? own.dims;
  return stacksFirst(settings) ? [-1, ...shape] : shape;
}

function checkShape(
  { file }: ModelSettings,
  what: string,
  shape: readonly number[],
  declared: readonly number[],
): void {
  if (declared.length === 0) return;
  const fits = shape.length === declared.length && shape.every((dim, i) => declared[i]! < 0 || declared[i] === dim);
  if (!fits) {
    throw new Error(
      `${file} gives ${what} the shape ${formatShape(shape)}, the model file has ${formatShape(declared)}`,
    );
  }
}

function applyTo(
  settings: ModelSettings,
  given: readonly TensorSettings[],
  spec: TensorSpec,
  axis: 'found' | 0 | null,
): TensorSpec {
  const own = given.find(({ name }) => name === spec.name);
  const model = modelShape(settings, own);
  const batchAxis = axis === 'found' ? spec.batchAxis : axis;
  const shape =
    model === undefined || spec.shape.length === 0
      ? (model ?? spec.shape)
      : spec.shape.map((dim, i) => fix(dim, model[i]));
  if (own?.reshape === undefined) return { ...spec, shape, batchAxis };
  const callers = stacksFirst(settings) ? [-1, ...own.dims] : own.dims;
  return { ...spec, shape: callers, batchAxis, modelShape: shape };
}

function fix(dim: number, given: number | undefined): number {
  return dim < 0 ? (given ?? dim) : dim;
}
