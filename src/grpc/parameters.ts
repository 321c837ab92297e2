import { invalid } from '../errors.ts';
import { refuseReserved, refuseSharedMemory } from '../protocol/parameters.ts';

/** The value of a parameter, by the member of `InferParameter` that holds it; integers beyond 2^53 are rounded. */
export type ParameterValue =
  | { readonly kind: 'bool'; readonly value: boolean }
  | { readonly kind: 'integer'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'double'; readonly value: number }
  | { readonly kind: 'nothing'; readonly value: undefined };

/** What the parameters of a request say; undefined where they say nothing. */
export interface RequestParameters {
  timeoutMs: number | undefined;
  priority: number | undefined;
}

/** What the parameters of an input say. */
export interface InputParameters {
  /** What messages call the input. */
  readonly what: string;
  /** Where its contents are to be fetched. */
  url: string | undefined;
}

/** What the parameters of a requested output say. */
export interface OutputParameters {
  /** What messages call the output. */
  readonly what: string;
  binary: boolean | undefined;
  classes: number;
}

const REQUEST = { what: 'the request' };

/**
 * Takes in a parameter of a request (Triton's `docs/protocol/extension_parameters.md`); names without a meaning are passed over.
 *
 * @throws {ShoalError} INVALID_REQUEST for a value of the wrong type and for reserved names.
 */
export function applyRequestParameter(name: string, value: ParameterValue, into: RequestParameters): void {
  switch (name) {
    case 'timeout': {
      // Microseconds; 0 stands for none.
      const timeout = countOf(value, name, REQUEST);
      into.timeoutMs = timeout === 0 ? undefined : timeout / 1000;
      break;
    }
    case 'priority':
      into.priority = countOf(value, name, REQUEST);
      break;
    case 'sequence_id':
      if (value.kind !== 'string') countOf(value, name, REQUEST);
      break;
    // Replies are as the request was; JSON and binary are a matter of HTTP.
    case 'binary_data_output':
    case 'sequence_start':
    case 'sequence_end':
      flagOf(value, name, REQUEST);
      break;
    default:
      refuseReserved(name);
  }
}

/** As {@link applyRequestParameter}, for a parameter of an input. */
export function applyInputParameter(name: string, value: ParameterValue, into: InputParameters): void {
  if (name === 'url') {
    if (value.kind !== 'string') throw invalid(`url of ${into.what} is ${describe(value)}, expected string_param`);
    into.url = value.value;
  } else refuseSharedMemory(name, into);
}

/** As {@link applyRequestParameter}, for a parameter of a requested output. */
export function applyOutputParameter(name: string, value: ParameterValue, into: OutputParameters): void {
  if (name === 'binary_data') into.binary = flagOf(value, name, into);
  else if (name === 'classification') into.classes = countOf(value, name, into);
  else refuseSharedMemory(name, into);
}

function flagOf(parameter: ParameterValue, name: string, where: { readonly what: string }): boolean {
  if (parameter.kind === 'bool') return parameter.value;
  throw invalid(`${name} of ${where.what} is ${describe(parameter)}, expected bool_param`);
}

function countOf(parameter: ParameterValue, name: string, where: { readonly what: string }): number {
  if (parameter.kind === 'integer' && parameter.value >= 0) return parameter.value;
  throw invalid(
    `${name} of ${where.what} is ${describe(parameter)}, expected int64_param or uint64_param of 0 or more`,
  );
}

function describe({ kind, value }: ParameterValue): string {
  if (kind === 'nothing') return 'without a value';
  if (kind === 'string') return `string_param ${JSON.stringify(value.slice(0, 40))}`;
  return kind === 'integer' ? String(value) : `${kind}_param ${value}`;
}
