import { fixtures, slowFixture } from '../integration/protocol/fixtures.ts';
import { broken, ident, type RepositoryContent } from '../support/models.ts';
import { encodeModel, node, tensor } from '../support/onnx-builder.ts';

/** The models that the clients speak to. */

/**
 * The protocol's fixtures, `slow`, and two more:
 *
 * - `mixed`: FP16 `h`, INT64 `i`, BYTES `s` [-1,-1] → `h_out`, `i_out`, `s_out`, each its input;
 * - `labelled`: FP32 `x` [-1,4] → `y` = x, whose classes have names.
 */
export async function mainRepository(): Promise<RepositoryContent> {
  return {
    ...fixtures(),
    ...(await slowFixture()),
    mixed: { '1': mixed() },
    labelled: {
      '1': labelled(),
      'config.pbtxt': Buffer.from(
        'max_batch_size: 8\noutput [{ name: "y" data_type: TYPE_FP32 dims: [4] label_filename: "labels.txt" }]\n',
      ),
      'labels.txt': Buffer.from('eel\npike\nperch\ncod\n'),
    },
  };
}

/** What can be loaded on request: `later`, FP32 `x` [-1,-1] → `y` = x, and `broken`, which does not load. */
export function controlRepository(): RepositoryContent {
  return { later: { '1': ident('FP32') }, broken: { '1': broken() } };
}

function mixed(): Buffer {
  const types = { h: 'FP16', i: 'INT64', s: 'BYTES' } as const;
  const names = ['h', 'i', 's'] as const;
  return encodeModel({
    inputs: names.map((name) => tensor(name, types[name], ['N', ''])),
    outputs: names.map((name) => tensor(`${name}_out`, types[name], ['N', ''])),
    nodes: names.map((name) => node('Identity', [name], [`${name}_out`])),
  });
}

function labelled(): Buffer {
  return encodeModel({
    inputs: [tensor('x', 'FP32', ['N', 4])],
    outputs: [tensor('y', 'FP32', ['N', 4])],
    nodes: [node('Identity', ['x'], ['y'])],
  });
}
