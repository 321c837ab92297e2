import { invalid } from '../../errors.ts';
import type { Values } from '../../pipeline/field-tensors.ts';
import type { PipelineVersion } from '../../pipeline/pipeline-version.ts';
import { SLICE_BYTES } from '../../tensor/json-text.ts';
import { JsonCursor } from '../json-cursor.ts';
import { JsonValueSkip } from '../json-skip-value.ts';
import type { PlainRequest } from './call-exchange.ts';
import { ValueReader } from './value-reader.ts';
import { ValueWriter } from './value-writer.ts';

/**
 * Reads a predict request of version 1 for a pipeline: each of `instances` is a call of its own, `inputs` is one call.
 * Values are as at the plain door; where there is one input or output, it may stand, and stands, without its name.
 *
 * @throws {ShoalError} INVALID_REQUEST that names the field, what came and what was expected.
 */
export function* readPredict(body: Buffer, pipeline: PipelineVersion): Generator<void, PlainRequest, void> {
  const json = new JsonCursor({ bytes: body, end: body.length });
  const reader = new ValueReader(json, pipeline.inputs, `pipeline '${pipeline.name}'`);
  if (json.peek('a JSON object') !== 0x7b) throw invalid(`the request is ${json.excerpt()}, expected a JSON object`);
  json.pos++;
  let calls: readonly Values[] | undefined;
  let form: 'instances' | 'inputs' | undefined;
  for (let first = true; json.nextMember(first); first = false) {
    const key = json.stringIs('instances') ? 'instances' : json.stringIs('inputs') ? 'inputs' : undefined;
    if (key === undefined) {
      const ignored = new JsonValueSkip(json, 1);
      while (!ignored.skip(json.pos + SLICE_BYTES)) yield;
      continue;
    }
    if (form !== undefined) throw invalid("the request has more than one of 'instances' and 'inputs'");
    form = key;
    calls = key === 'inputs' ? [yield* readCall(json, reader)] : yield* readInstances(json, reader);
  }
  json.endOfText();
  if (calls === undefined) throw invalid("the request has neither 'instances' nor 'inputs'");
  return {
    calls,
    encode: form === 'inputs' ? (all) => encodeOne(pipeline, all) : (all) => encodeAll(pipeline, all),
  };
}

function* readInstances(json: JsonCursor, reader: ValueReader): Generator<void, Values[], void> {
  if (json.peek('an array') !== 0x5b) throw invalid(`'instances' is ${json.excerpt()}, expected an array`);
  json.pos++;
  const calls: Values[] = [];
  let from = json.pos;
  while (json.nextElement(calls.length === 0)) {
    // The text between the values is no part of the envelope: there is as much as there are instances.
    json.exempt(json.pos - from);
    calls.push(yield* readCall(json, reader));
    from = json.pos;
    yield;
  }
  if (calls.length === 0) throw invalid("'instances' is empty, expected at least one");
  return calls;
}

function* readCall(json: JsonCursor, reader: ValueReader): Generator<void, Values, void> {
  const { only } = reader;
  if (only === undefined || reader.isObject()) return yield* reader.readObject();
  json.peek('a value');
  return { [only.name]: yield* reader.readValue(only) };
}

function* encodeAll(pipeline: PipelineVersion, all: readonly Values[]): Generator<void, Buffer, void> {
  const values = new ValueWriter(pipeline.outputs, all, 'object');
  for (const [i, one] of all.entries()) {
    values.writer.ascii(i === 0 ? '{"predictions":[' : ',');
    yield* values.bare(one);
  }
  values.writer.ascii(']}');
  return values.writer.finish();
}

function* encodeOne(pipeline: PipelineVersion, all: readonly Values[]): Generator<void, Buffer, void> {
  const values = new ValueWriter(pipeline.outputs, all, 'object');
  values.writer.ascii('{"outputs":');
  yield* values.bare(all[0]!);
  values.writer.ascii('}');
  return values.writer.finish();
}
