import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { add2 } from '../../support/models.ts';
import { expectError, parseReply, useServer } from '../../support/server.ts';

const A = { name: 'a', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] };
const INPUTS = [A, { ...A, name: 'b' }];

describe('parameters of a request', () => {
  const running = useServer(() => ({ add2: add2() }));
  const takes = async (request: object): Promise<void> => {
    const { outputs } = parseReply(await running().infer('add2', { inputs: INPUTS, ...request }));
    assert.deepEqual(outputs[0]!.data, [2, 4, 6, 8], JSON.stringify(request));
  };
  const refuses = async (request: object, text: RegExp): Promise<void> => {
    expectError(await running().infer('add2', { inputs: INPUTS, ...request }), 'INVALID_REQUEST', text);
  };

  it('case 52: sequence parameters are checked and mean nothing to a model without state', async () => {
    for (const parameters of [
      { sequence_id: 5, sequence_start: true, sequence_end: false },
      { sequence_id: 's', sequence_start: false, sequence_end: true },
      { sequence_id: 0 },
      { sequence_id: '' },
      { sequence_start: true },
      { sequence_id: null, sequence_start: null, sequence_end: null },
    ])
      await takes({ parameters });
    const largest = '{"sequence_id":18446744073709551615}';
    parseReply(await running().infer('add2', `{"inputs":${JSON.stringify(INPUTS)},"parameters":${largest}}`));
    for (const [parameters, text] of [
      [{ sequence_start: 'yes' }, /sequence_start of the request is "yes", expected true or false/],
      [{ sequence_end: 1 }, /sequence_end of the request is 1/],
      [{ sequence_id: -1 }, /sequence_id of the request is -1/],
      [{ sequence_id: 1.5 }, /sequence_id of the request is 1\.5/],
      [{ sequence_id: true }, /sequence_id of the request is true/],
      [{ sequence_id: [1] }, /sequence_id of the request is \[/],
    ] as const)
      await refuses({ parameters }, text);
  });

  it('case 53: priority and timeout are integers from 0', async () => {
    await takes({ parameters: { priority: 2, timeout: 5_000_000 } });
    await takes({ parameters: { priority: 0, timeout: 0 } });
    await takes({ parameters: { priority: null, timeout: null } });
    for (const wrong of ['1', -1, 1.5, true, [], {}]) {
      await refuses(
        { parameters: { priority: wrong } },
        /priority of the request is .*, expected an integer of 0 or more/,
      );
      await refuses(
        { parameters: { timeout: wrong } },
        /timeout of the request is .*, expected an integer of 0 or more/,
      );
    }
  });

  it('case 56: reserved names are refused, those of the caller ignored unless they are structured', async () => {
    for (const parameters of [
      {},
      null,
      { foo: 1.5 },
      { foo: 'x', bar: true, baz: null, '': 1e300 },
      { headers: { a: ['b'] } },
      { triton_enable_empty_final_response: true },
      { binary_data_output: false },
    ])
      await takes({ parameters });
    for (const [parameters, text] of [
      [{ triton_x: 1 }, /'triton_x' is reserved/],
      [{ triton_: null }, /'triton_' is reserved/],
      [{ foo: {} }, /'foo' is an object, expected a string, number or boolean/],
      [{ foo: [1] }, /'foo' is an array/],
      [{ binary_data_output: 'yes' }, /binary_data_output/],
      [5, /'parameters' of the request is 5, expected an object/],
      [[], /'parameters' of the request is \[, expected an object/],
    ] as const)
      await refuses({ parameters }, text);
    await takes({ inputs: [{ ...A, parameters: { content_type: 'np', own: [1, { a: 2 }] } }, INPUTS[1]] });
    await takes({ outputs: [{ name: 'sum', parameters: { own: [1] } }] });
  });

  it('case 58: shared memory is refused on inputs and outputs', async () => {
    const { data: _, ...bare } = A;
    for (const parameters of [
      { shared_memory_region: 'r', shared_memory_byte_size: 16 },
      { shared_memory_offset: 0 },
      { shared_memory_byte_size: 16 },
    ]) {
      await refuses(
        { inputs: [{ ...bare, parameters }, INPUTS[1]] },
        /input 'a' has 'shared_memory_\w+': shared memory/,
      );
      await refuses({ inputs: [{ ...A, parameters }, INPUTS[1]] }, /shared memory is not supported/);
      await refuses({ outputs: [{ name: 'sum', parameters }] }, /output 'sum' has 'shared_memory_\w+': shared memory/);
    }
  });
});
