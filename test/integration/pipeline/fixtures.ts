import { definePipeline, makeTensor, type Pipeline, Type, type TypedTensor, tensor } from '../../../src/index.ts';

/** Rows `[n, 4]` of FP32 for the model `ident`, whose answer is its input `x`. */
export function rows(...values: readonly (readonly number[])[]): TypedTensor<'FP32', readonly [number, number]> {
  return makeTensor('FP32', [values.length, values[0]!.length], Float32Array.from(values.flat()));
}

/** `echo`: FP32 `x` [-1,-1] → `y` = x by the model `ident_FP32`, and how many rows ran together. */
export function echo(): Pipeline {
  return definePipeline({
    name: 'echo',
    description: 'gives back what it is given',
    input: { x: tensor('FP32', [-1, -1]) },
    output: { y: tensor('FP32', [-1, -1]), together: Type.Integer() },
    async run({ x }, { models }) {
      const { outputs, batch } = await models['ident_FP32']!.infer({ x });
      return { y: makeTensor('FP32', [x.shape[0], x.shape[1]], copy(outputs['y']!.bytes)), together: batch.rows };
    },
  });
}

function copy(bytes: Uint8Array): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}
