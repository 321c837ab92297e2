import {
  bytes,
  definePipeline,
  makeTensor,
  type Pipeline,
  readTensor,
  Type,
  type TypedTensor,
  tensor,
} from '../../../src/index.ts';

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

/** `kinds`: gives back every kind of field as it came, and how many bytes the tensor has. */
export function kinds(): Pipeline {
  return definePipeline({
    name: 'kinds',
    input: {
      text: Type.String(),
      count: Type.Optional(Type.Integer({ minimum: 0 })),
      ratio: Type.Number({ default: 0.5 }),
      flag: Type.Optional(Type.Boolean()),
      words: Type.Optional(Type.Array(Type.String())),
      point: Type.Optional(Type.Object({ x: Type.Number(), y: Type.Number() }, { additionalProperties: false })),
      grid: Type.Optional(Type.Array(Type.Array(Type.Integer()))),
    },
    output: {
      text: Type.String(),
      count: Type.Optional(Type.Integer()),
      ratio: Type.Number(),
      flag: Type.Optional(Type.Boolean()),
      words: Type.Optional(Type.Array(Type.String())),
      point: Type.Optional(Type.Object({ x: Type.Number(), y: Type.Number() })),
      grid: Type.Optional(Type.Array(Type.Array(Type.Integer()))),
    },
    run: (input) => input,
  });
}

/** `upload`: bytes of pictures, a label and a tensor; says what came, and gives the bytes back in reverse. */
export function upload(): Pipeline {
  return definePipeline({
    name: 'upload',
    input: {
      image: bytes({ mediaTypes: ['image/*'], maxBytes: 100_000 }),
      label: Type.String({ default: 'none' }),
      weights: tensor('FP32', [-1]),
    },
    output: { size: Type.Integer(), label: Type.String(), sum: Type.Number(), reversed: bytes() },
    run({ image, label, weights }) {
      const sum = readTensor(weights).reduce((a, b) => a + b, 0);
      return { size: image.length, label, sum, reversed: Buffer.from(image).reverse() };
    },
  });
}

/** `picture`: one field of bytes and one of text with a default. */
export function picture(): Pipeline {
  return definePipeline({
    name: 'picture',
    input: { image: bytes({ mediaTypes: ['image/png', 'image/jpeg'] }), scale: Type.Number({ default: 1 }) },
    output: { size: Type.Integer(), scale: Type.Number() },
    run: ({ image, scale }) => ({ size: image.length, scale }),
  });
}
