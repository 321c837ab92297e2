import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TensorSpec } from '../../../src/tensor/signature.ts';
import { writeTypes } from '../../../src/tensor/write-types.ts';

const spec = (name: string, shape: readonly number[], batchAxis: number | null): TensorSpec => ({
  name,
  datatype: 'FP32',
  shape,
  batchAxis,
});

describe('writeTypes', () => {
  it('writes an interface, models by name, free dimensions as numbers', () => {
    const text = writeTypes(
      [
        { name: 'b', version: '2', signature: { inputs: [spec('x', [], null)], outputs: [], batched: false } },
        {
          name: 'a-1',
          version: '1',
          signature: { inputs: [spec('x', [1, -1, 4], 0)], outputs: [spec('in', [2, 7, 8], 1)], batched: true },
        },
      ],
      'shoal types models',
    );
    assert.equal(
      text,
      `// Made by \`shoal types models\`. Do not edit: make it again when the models change.

/** What each model takes and gives. A dimension that is \`number\` may be any, the others are fixed. */
export interface Models {
  /** version 1 */
  readonly 'a-1': {
    readonly inputs: {
      readonly x: { readonly datatype: 'FP32'; readonly shape: readonly [number, number, 4] };
    };
    readonly outputs: {
      readonly in: { readonly datatype: 'FP32'; readonly shape: readonly [2, number, 8] };
    };
  };

  /** version 2 */
  readonly b: {
    readonly inputs: {
      readonly x: { readonly datatype: 'FP32'; readonly shape: readonly [] };
    };
    readonly outputs: {
    };
  };
}
`,
    );
  });

  it('completes the interface of pipelines where it is asked to', () => {
    const models = [{ name: 'a', version: '1', signature: { inputs: [], outputs: [], batched: false } }];
    const plain = writeTypes(models, 'x');
    const added = writeTypes(models, 'x', true).slice(plain.length);
    assert.equal(added, "\ndeclare module 'shoal' {\n  interface PipelineModels extends Models {}\n}\n");
  });

  it('quotes names of any characters', () => {
    const name = `it's "a" \\ \n\u2028*/`;
    const text = writeTypes([{ name, version: '1', signature: { inputs: [], outputs: [], batched: false } }], 'x');
    const quoted = /readonly ('.*'): \{/.exec(text)![1]!;
    assert.equal(new Function(`return ${quoted}`)(), name);
  });
});
