import type { CompiledField } from '../../pipeline/compiled-field.ts';
import type { PipelineVersion } from '../../pipeline/pipeline-version.ts';

/** What `GET /pipelines/{name}` says: what a pipeline is, takes and gives. */
export function describePipeline(pipeline: PipelineVersion): object {
  const { name, description, isReady, inputs, outputs } = pipeline;
  return { name, description, ready: isReady, input: describeFields(inputs), output: describeFields(outputs) };
}

function describeFields(fields: readonly CompiledField[]): object {
  return Object.fromEntries(fields.map((field) => [field.name, describeField(field)]));
}

function describeField(field: CompiledField): object {
  if (field.kind === 'tensor') return { kind: 'tensor', datatype: field.spec.datatype, shape: field.spec.shape };
  if (field.kind === 'bytes') {
    const { mediaTypes, maxBytes } = field.field;
    return {
      kind: 'bytes',
      ...(mediaTypes === undefined ? {} : { media_types: mediaTypes }),
      ...(maxBytes === undefined ? {} : { max_bytes: maxBytes }),
    };
  }
  return { kind: 'json', required: !field.isOptional, schema: field.field };
}
