import type { Servable } from '../serving/servable.ts';
import type { Signature, TensorSpec } from '../tensor/signature.ts';
import type { Datatype } from '../tensor/tensor.ts';

/** TensorFlow's names of the datatypes. */
const DTYPES: Readonly<Record<Datatype, string>> = {
  BOOL: 'DT_BOOL',
  UINT8: 'DT_UINT8',
  UINT16: 'DT_UINT16',
  UINT32: 'DT_UINT32',
  UINT64: 'DT_UINT64',
  INT8: 'DT_INT8',
  INT16: 'DT_INT16',
  INT32: 'DT_INT32',
  INT64: 'DT_INT64',
  FP16: 'DT_HALF',
  FP32: 'DT_FLOAT',
  FP64: 'DT_DOUBLE',
  BYTES: 'DT_STRING',
};

/**
 * A model's signature as TensorFlow Serving's `/metadata` gives it (`GetModelMetadataResponse` in protobuf's JSON, where
 * sizes are strings).
 *
 * @param signatureName what the signature is called.
 */
export function signatureDef(
  { name, version }: Pick<Servable, 'name' | 'version'>,
  signature: Signature,
  signatureName: string,
): object {
  const tensors = (specs: readonly TensorSpec[]): object =>
    Object.fromEntries(
      specs.map((spec) => [
        spec.name,
        {
          dtype: DTYPES[spec.datatype],
          tensor_shape: {
            dim: spec.shape.map((size) => ({ size: String(size), name: '' })),
            unknown_rank: false,
          },
          name: spec.name,
        },
      ]),
    );
  const definition = {
    inputs: tensors(signature.inputs),
    outputs: tensors(signature.outputs),
    method_name: 'tensorflow/serving/predict',
  };
  return {
    model_spec: { name, signature_name: '', version },
    metadata: { signature_def: { signature_def: { [signatureName]: definition } } },
  };
}
