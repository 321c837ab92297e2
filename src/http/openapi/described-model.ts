import type { PipelineVersion } from '../../pipeline/pipeline-version.ts';
import { exampleInputs } from '../../protocol/example-request.ts';
import type { ModelSummary } from '../../serving/model-version.ts';
import type { Signature } from '../../tensor/signature.ts';
import type { Json } from './json-schema.ts';

/** A model version that answers. */
export interface DescribedModel {
  readonly summary: ModelSummary;
  readonly signature: Signature;
  /** Whether requests that name no version go to this one. */
  readonly isDefault: boolean;
  /** The pipeline that it is; undefined for a model. */
  readonly pipeline?: PipelineVersion | undefined;
}

/** What models add to the document. */
export interface ModelParts {
  readonly paths: Record<string, Json>;
  readonly schemas: Record<string, Json>;
  readonly examples: Record<string, Json>;
  readonly tags: Json[];
}

/** Examples with more elements than this would make the document, and who shows it, slow. */
const EXAMPLE_LIMIT = 16_384;

/** Whether the document has an example request: not where it would be long, nor for a pipeline, whose values mean more than their types. */
export function hasExample({ signature, pipeline }: DescribedModel): boolean {
  if (pipeline !== undefined) return false;
  return exampleInputs(signature).reduce((sum, { count }) => sum + count, 0) <= EXAMPLE_LIMIT;
}
