import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShoalError } from '../../../src/errors.ts';
import { DATATYPES, type Datatype, decodeStrings, encodeStrings, type Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';
import { binaryInput, decode, decodeBinary, encode, input } from './v2-bodies.ts';

/** Asserts a refusal of the caller's request in one line that says what the pattern wants. */
function assertRefused(act: () => unknown, message: RegExp): void {
  assert.throws(act, (error) => {
    assert.ok(error instanceof ShoalError, String(error));
    assert.equal(error.code, 'INVALID_REQUEST');
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /[\n\r]/);
    return true;
  });
}

function json(request: unknown): string {
  return JSON.stringify(request);
}

function floats(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

function tensorOf(request: unknown, name = 'x'): Tensor {
  const tensor = decode(json(request)).inputs.get(name);
  assert.ok(tensor);
  return tensor;
}

const add2 = { inputs: [input('FP32', [1, 4], [1, 2, 3, 4], 'a'), input('FP32', [1, 4], [[5, 6, 7, 8]], 'b')] };

describe('infer requests in JSON', () => {
  it('case 15, 17: reads inputs in their order, flat and nested alike', () => {
    const call = decode(json(add2));
    assert.deepEqual([...call.inputs.keys()], ['a', 'b']);
    assert.deepEqual([...call.inputs.get('a')!.bytes], [...floats(1, 2, 3, 4)]);
    assert.deepEqual([...call.inputs.get('b')!.bytes], [...floats(5, 6, 7, 8)]);
    assert.deepEqual(call.inputs.get('b')!.shape, [1, 4]);
    const { inputs, ...rest } = call;
    assert.equal(inputs.size, 2);
    assert.deepEqual(rest, {
      id: undefined,
      remote: undefined,
      outputs: undefined,
      binaryByDefault: false,
      timeoutMs: undefined,
      priority: undefined,
    });
  });

  it('case 19: reads an id, takes an empty or null one as none and refuses anything but a string', () => {
    assert.equal(decode(json({ id: '42', ...add2 })).id, '42');
    assert.equal(decode(json({ id: 'é"\\\n', ...add2 })).id, 'é"\\\n');
    for (const id of ['', null, undefined]) assert.equal(decode(json({ id, ...add2 })).id, undefined);
    for (const id of [7, true, [], {}])
      assertRefused(() => decode(json({ id, ...add2 })), /'id' is .*, expected a string/);
  });

  it('case 20: reads the outputs asked for; none, null and [] stand for all; a repeated one is refused', () => {
    const outputs = [
      { name: 'diff' },
      { name: 'sum', parameters: { binary_data: true } },
      { name: 'z', parameters: { binary_data: false, own: 1 } },
    ];
    assert.deepEqual(decode(json({ ...add2, outputs })).outputs, [
      { name: 'diff', binary: undefined, classes: 0 },
      { name: 'sum', binary: true, classes: 0 },
      { name: 'z', binary: false, classes: 0 },
    ]);
    for (const none of [undefined, null, []]) assert.equal(decode(json({ ...add2, outputs: none })).outputs, undefined);
    assertRefused(
      () => decode(json({ ...add2, outputs: [{ name: 'sum' }, { name: 'sum' }] })),
      /output 'sum' is asked for twice/,
    );
    for (const wrong of [
      {},
      'sum',
      1,
      ['sum'],
      [null],
      [{}],
      [{ name: 1 }],
      [{ name: null }],
      [{ name: 'y', parameters: [] }],
    ]) {
      assertRefused(() => decode(json({ ...add2, outputs: wrong })), /output/);
    }
  });

  it('case 22: refuses repeated inputs, and missing inputs or what is no array of objects', () => {
    assertRefused(
      () => decode(json({ inputs: [...add2.inputs, add2.inputs[0]] })),
      /input 'a' stands in the request twice/,
    );
    assertRefused(() => decode('{}'), /the request has no 'inputs'/);
    assertRefused(() => decode(json({ model_name: 'x', outputs: [] })), /the request has no 'inputs'/);
    for (const inputs of [null, {}, 'x', 1, true])
      assertRefused(() => decode(json({ inputs })), /'inputs' is .*, expected an array/);
    for (const wrong of [null, 1, 'a', []])
      assertRefused(() => decode(json({ inputs: [wrong] })), /inputs\[0\] is .*, expected an object/);
    for (const name of ['name', 'shape', 'datatype']) {
      const { [name]: _, ...rest } = input('FP32', [1], [1]);
      assertRefused(() => decode(json({ inputs: [rest] })), new RegExp(`has no ${name}`));
      assertRefused(() => decode(json({ inputs: [{ ...rest, [name]: null }] })), /is null, expected/);
    }
    assert.equal(decode('{"inputs":[]}').inputs.size, 0);
  });

  it('case 23: refuses datatypes that are not exactly one of the protocol that can be carried', () => {
    for (const datatype of ['fp32', 'FLOAT', '', 'FP32 ', 'STRING', 'TYPE_FP32', 'constructor']) {
      assertRefused(
        () => decode(json({ inputs: [input(datatype, [1], [1])] })),
        /the datatype of input 'x' is '.*', expected one of BOOL, UINT8/,
      );
    }
    assertRefused(
      () => decode(json({ inputs: [input('BF16', [1], [1])] })),
      /input 'x' is BF16, which ONNX Runtime for Node cannot carry/,
    );
  });

  it('case 24: refuses dimensions that are not integers from 0, and products beyond memory, at once', () => {
    for (const shape of [[1, -4], [1, 4.5], ['1', 4], [null], [[1]], [true], [1e300], [2 ** 53]]) {
      assertRefused(
        () => decode(json({ inputs: [input('FP32', shape, [1, 2, 3, 4])] })),
        /the shape of input 'x' is an array with .*, expected integers from 0, below 2\^53/,
      );
    }
    for (const shape of [4, null, '4', {}])
      assertRefused(
        () => decode(json({ inputs: [{ ...input('FP32', [], [1]), shape }] })),
        /the shape of input 'x' is/,
      );
    const before = process.memoryUsage().arrayBuffers;
    assertRefused(
      () => decode(json({ inputs: [input('FP32', [16, 1], [1])] }).replace('[16,1]', '[16,1152921504606846978]')),
      /the shape of input 'x'/,
    );
    for (const shape of [[2 ** 52, 2 ** 52], [2 ** 50], [0, 2 ** 50, 2 ** 50], [1, 2 ** 40]]) {
      for (const data of [[1], []])
        assertRefused(() => decode(json({ inputs: [input('FP64', shape, data)] })), /too large|too short|has/);
      assertRefused(
        () => decodeBinary({ inputs: [binaryInput('FP64', shape, 8)] }, Buffer.alloc(8)),
        /too large|needs/,
      );
    }
    assertRefused(() => decode(json({ inputs: [input('FP32', Array(65).fill(1), [1])] })), /more than 64 dimensions/);
    assert.ok(process.memoryUsage().arrayBuffers - before < 1e6);
  });

  it('case 25: refuses a scalar for an array and another number of elements', () => {
    for (const data of [5, 'x', {}, true])
      assertRefused(
        () => decode(json({ inputs: [input('FP32', [1], data)] })),
        /the data of input 'x' is .*, expected an array/,
      );
    assertRefused(
      () => decode(json({ inputs: [input('FP32', [1, 4], [1, 2, 3])] })),
      /has 3 elements, its shape \[1,4\] needs 4/,
    );
    assertRefused(() => decode(json({ inputs: [input('FP32', [1, 4], [1, 2, 3, 4, 5])] })), /more than 4 elements/);
  });

  it('case 30: refuses FP16 in JSON, asking for binary', () => {
    assertRefused(
      () => decode(json({ inputs: [input('FP16', [1], [1])] })),
      /input 'x' is FP16, which is taken in binary only/,
    );
    const { name, datatype, shape, data } = input('FP16', [1], [1]);
    assertRefused(() => decode(json({ inputs: [{ data, name, datatype, shape }] })), /input 'x' is FP16/);
  });

  it('case 32: takes null for parameters, outputs and data as absent', () => {
    const call = decode(
      json({ id: null, parameters: null, outputs: null, inputs: [{ ...input('FP32', [1], [1]), parameters: null }] }),
    );
    assert.equal(call.inputs.size, 1);
    assert.equal(decode(json({ ...add2, outputs: [{ name: 'y', parameters: null }] })).outputs?.length, 1);
    const unset = {
      binary_data_output: null,
      priority: null,
      timeout: null,
      sequence_id: null,
      sequence_start: null,
      own: null,
    };
    assert.equal(decode(json({ ...add2, parameters: unset })).binaryByDefault, false);
  });

  it('case 33: ignores unknown keys, whatever they hold', () => {
    const unknown = { a: [1, { b: [[]], c: 'x' }, null, true, false, -1.5e-7], '': {}, é: '\u0000"' };
    const call = decode(
      json({
        model_name: 'm',
        unknown,
        ...add2,
        later: [unknown],
        inputs: [{ unknown, ...input('INT8', [1], [1]), more: unknown }],
        outputs: [{ unknown, name: 'y' }],
      }),
    );
    assert.deepEqual([...call.inputs.keys()], ['x']);
  });

  it('case 34: refuses what is no JSON object, saying where it goes wrong', () => {
    assertRefused(() => decode(''), /the JSON text ends after 0 bytes, expected a JSON object/);
    assertRefused(() => decode('  '), /the JSON text ends/);
    for (const other of ['[]', '"x"', '1', 'null', 'x']) assertRefused(() => decode(other), /expected a JSON object/);
    assertRefused(() => decode('{"inputs":[],}'), /malformed JSON at byte 13: expected a key, got }/);
    assertRefused(
      () => decode('{"inputs":[]} {}'),
      /malformed JSON at byte 14: expected the end of the JSON text, got \{/,
    );
    assertRefused(() => decode('{"inputs" [1]}'), /malformed JSON at byte 10: expected ':', got \[/);
    assertRefused(() => decode("{'inputs':[]}"), /malformed JSON at byte 1/);
    assertRefused(() => decode(Buffer.from('\ufeff{"inputs":[]}')), /byte order mark/);
    assertRefused(() => decode(Buffer.from('{"inputs":[]}', 'utf16le')), /malformed JSON/);
  });

  it('case 35: reads a scalar', () => {
    const tensor = tensorOf({ inputs: [input('FP32', [], [3])] });
    assert.deepEqual(tensor.shape, []);
    assert.deepEqual([...tensor.bytes], [...floats(3)]);
  });

  it('case 49: reads tensors without elements', () => {
    for (const datatype of ['FP32', 'INT64', 'BOOL', 'BYTES']) {
      for (const data of [[], [[]], [[], []]]) {
        const tensor = tensorOf({ inputs: [input(datatype, [1, 0], data)] });
        assert.deepEqual(tensor.shape, [1, 0]);
        assert.equal(tensor.bytes.length, 0);
      }
      // As KServe's client sends it: no header and a null beside the size.
      const empty = { ...binaryInput(datatype, [1, 0], 0), data: null };
      assert.equal(tensorOf({ inputs: [empty] }).bytes.length, 0);
      assert.equal(decodeBinary({ inputs: [empty] }).inputs.get('x')!.bytes.length, 0);
    }
    assertRefused(
      () => decode(json({ inputs: [{ ...binaryInput('FP32', [1], 0), data: null }] })),
      /the binary section of input 'x' has 0 bytes, its shape \[1\] of FP32 needs 4/,
    );
  });

  it('reads keys in any order', () => {
    const parts = Object.entries(input('INT64', [2, 1], [[7], [-8]]));
    const expected = [...new Uint8Array(BigInt64Array.of(7n, -8n).buffer)];
    for (const order of permutations([0, 1, 2, 3])) {
      const item = Object.fromEntries(order.map((i) => parts[i]!));
      assert.deepEqual([...tensorOf({ inputs: [item, input('BYTES', [1], ['[]]"{'], 'other')] }).bytes], expected);
    }
    const data = ['[', ']]', '"\\', '{"a":[', ''];
    const strings = tensorOf({ inputs: [{ data, shape: [5], datatype: 'BYTES', name: 'x' }] });
    assert.deepEqual(decodeStrings(strings.bytes, 5), data);
    assertRefused(
      () => decode('{"inputs":[{"data":[1,{"a":[2]},3],"name":"x","shape":[3],"datatype":"FP32"}]}'),
      /element 1 of input 'x'/,
    );
    assertRefused(() => decode(`{"inputs":[{"data":${'['.repeat(200)}`), /nested more than 99 deep/);
  });

  it('refuses repeated keys that matter, also when they are written with escapes', () => {
    const item = '"name":"x","shape":[1],"datatype":"FP32","data":[1]';
    assert.equal(decode(`{"inputs":[{${item}}],"x":1,"x":2}`).inputs.size, 1);
    for (const again of [
      '"name":"y"',
      '"shape":[1]',
      '"datatype":"FP32"',
      '"data":[1]',
      '"d\\u0061ta":null',
      '"parameters":{},"parameters":{}',
    ]) {
      assertRefused(() => decode(`{"inputs":[{${item},${again}}]}`), /^input '.' has '\w+' twice$/);
    }
    for (const again of [
      '"inputs":[]',
      '"id":"a","id":"b"',
      '"outputs":[],"outputs":null',
      '"parameters":{},"p\\u0061rameters":{}',
    ]) {
      assertRefused(() => decode(`{"inputs":[{${item}}],${again}}`), /^the request has '\w+' twice$/);
    }
    assertRefused(() => decode(`{"inputs":[],"outputs":[{"name":"a","name":"b"}]}`), /^output 'a' has 'name' twice$/);
    for (const again of [
      '"binary_data_output":true,"binary_data_output":false',
      '"timeout":5,"time\\u006fut":6',
      '"priority":null,"priority":1',
      '"sequence_id":"a","sequence_id":1',
      '"sequence_start":true,"sequence_start":true',
      '"sequence_end":true,"sequence_end":true',
    ]) {
      const text = `{"inputs":[],"parameters":{${again}}}`;
      assertRefused(() => decode(text), /^the request has \w+ twice$/);
    }
    assert.equal(decode('{"inputs":[],"parameters":{"mine":1,"mine":"x"}}').inputs.size, 0);
    const sizes = '"parameters":{"binary_data_size":0,"binary_data_size":0}';
    assertRefused(() => decode(`{"inputs":[{"name":"x",${sizes}}]}`), /^input 'x' has binary_data_size twice$/);
    for (const twice of ['"binary_data":true,"binary_data":true', '"classification":1,"classification":0']) {
      const text = `{"inputs":[],"outputs":[{"name":"a","parameters":{${twice}}}]}`;
      assertRefused(() => decode(text), /^output 'a' has \w+ twice$/);
    }
  });

  it('keeps names that JavaScript objects would stumble over', () => {
    const names = ['__proto__', 'constructor', 'toString', '', 'é😀', 'a.b/c', 'x'.repeat(500)];
    const call = decode(
      json({ inputs: names.map((name) => input('INT8', [1], [1], name)), outputs: names.map((name) => ({ name })) }),
    );
    assert.deepEqual([...call.inputs.keys()], names);
    assert.deepEqual(
      call.outputs?.map((output) => output.name),
      names,
    );
  });

  it('case 28, 29, 31: carries values that plain JSON parsers lose', () => {
    const call = decode(
      '{"inputs":[{"name":"i","datatype":"INT64","shape":[1],"data":[9007199254740993]},{"name":"f","datatype":"FP32","shape":[3],"data":[NaN,Infinity,null]},{"name":"s","datatype":"BYTES","shape":[3,1],"data":["é","","x"]}]}',
    );
    assert.deepEqual([...call.inputs.get('i')!.bytes], [...new Uint8Array(BigInt64Array.of(9007199254740993n).buffer)]);
    assert.deepEqual([...call.inputs.get('f')!.bytes], [...floats(Number.NaN, Number.POSITIVE_INFINITY, Number.NaN)]);
    assert.deepEqual(decodeStrings(call.inputs.get('s')!.bytes, 3), ['é', '', 'x']);
    assertRefused(() => decode('{"inputs":[],"x":NaN}'), /malformed JSON/);
    assertRefused(() => decode('{"inputs":[],"parameters":{"x":NaN}}'), /malformed JSON/);
  });

  it('limits the text around the data, but not the data', () => {
    const data = Array(400_000).fill(0.5);
    assert.equal(tensorOf({ inputs: [input('FP32', [400_000], data)] }).bytes.length, 1_600_000);
    const { name, datatype, shape } = input('FP32', [400_000], []);
    assert.equal(
      tensorOf({ inputs: [{ data, name, datatype, shape }], id: 'x'.repeat(1_000_000) }).bytes.length,
      1_600_000,
    );
    for (const request of [
      { ...add2, id: 'x'.repeat(1_100_000) },
      { ...add2, unknown: Array(600_000).fill(1) },
      { inputs: [input('FP32', [400_000], data)], unknown: 'x'.repeat(1_100_000) },
      { inputs: [input('FP32', [1], [1], 'x'.repeat(1_100_000))] },
      { ...add2, parameters: { own: 'x'.repeat(1_100_000) } },
    ]) {
      assertRefused(() => decode(json(request)), /the JSON text around the tensors' data is longer than 1048576 bytes/);
    }
    assertRefused(() => decode(`{"inputs":[]}${' '.repeat(1_100_000)}`), /longer than 1048576 bytes/);
    assertRefused(
      () => decode(`{"inputs":[],"x":${'['.repeat(98)}1${']'.repeat(98)}}`.replace('[[', '[[[')),
      /malformed|nested/,
    );
    assert.equal(decode(`{"inputs":[],"x":${'['.repeat(98)}1${']'.repeat(98)}}`).inputs.size, 0);
    assertRefused(
      () => decode(`{"inputs":[],"x":${'['.repeat(99)}1${']'.repeat(99)}}`),
      /nested more than 99 deep at byte \d+/,
    );
    assertRefused(() => decode(`{"inputs":[],"x":${'{"a":'.repeat(200_000)}`), /nested more than 99 deep at byte \d+/);
  });

  it('refuses text that is not UTF-8', () => {
    for (const wrong of [[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]]) {
      for (const [before, after] of [
        ['{"id":"', '","inputs":[]}'],
        ['{"inputs":[],"', '":1}'],
        ['{"inputs":[],"x":["', '"]}'],
        ['{"inputs":[],', '}'],
        ['{"inputs":[{"name":"', '"}]}'],
        ['{"inputs":[],"parameters":{"a":"', '"}}'],
      ]) {
        assertRefused(
          () => decode(Buffer.concat([Buffer.from(before!), Buffer.from(wrong), Buffer.from(after!)])),
          /not valid UTF-8 at byte \d+/,
        );
      }
    }
  });

  it('keeps messages on one line and short, whatever the caller wrote', () => {
    assertRefused(
      () => decode(json({ inputs: [{ name: 'a\nb\u2028\u0000', shape: [1], datatype: 'x\ry', data: [] }] })),
      /^.{1,300}$/,
    );
    assertRefused(() => decode(json({ inputs: [{ name: 'x'.repeat(100_000) }] })), /^.{1,300}$/);
    assertRefused(() => decode(json({ inputs: [], parameters: { [`triton_${'x'.repeat(9999)}`]: 1 } })), /^.{1,300}$/);
    assertRefused(() => decode(json({ inputs: [input('FP32', [1], ['x'.repeat(100_000)])] })), /^.{1,300}$/);
  });
});

describe('parameters of infer requests', () => {
  const withParameters = (parameters: unknown) => decode(json({ ...add2, parameters }));

  it('case 53: reads timeout in microseconds, and priority', () => {
    const call = withParameters({ priority: 2, timeout: 5_000_000 });
    assert.equal(call.priority, 2);
    assert.equal(call.timeoutMs, 5000);
    assert.equal(withParameters({ timeout: 1500 }).timeoutMs, 1.5);
    assert.equal(withParameters({ timeout: 0, priority: 0 }).timeoutMs, undefined);
    assert.equal(withParameters({ priority: 0 }).priority, 0);
    assert.ok(withParameters({ timeout: 2 ** 63 }).timeoutMs! > 1e15);
    for (const wrong of ['1', -1, 1.5, true, [], {}, 1e30]) {
      for (const key of ['priority', 'timeout'])
        assertRefused(
          () => withParameters({ [key]: wrong }),
          new RegExp(`${key} of the request is .*, expected an integer of 0 or more`),
        );
    }
  });

  it('case 52: checks the types of sequence parameters and does nothing with them', () => {
    for (const id of [5, 's', 0, ''])
      assert.equal(withParameters({ sequence_id: id, sequence_start: true, sequence_end: false }).inputs.size, 2);
    for (const wrong of [-1, 1.5, true, {}]) assertRefused(() => withParameters({ sequence_id: wrong }), /sequence_id/);
    for (const key of ['sequence_start', 'sequence_end'])
      assertRefused(
        () => withParameters({ [key]: 'yes' }),
        new RegExp(`${key} of the request is "yes", expected true or false`),
      );
  });

  it('case 40: reads binary_data_output and refuses anything but a boolean', () => {
    assert.equal(withParameters({ binary_data_output: true }).binaryByDefault, true);
    assert.equal(withParameters({ binary_data_output: false }).binaryByDefault, false);
    for (const wrong of [1, 'true', [], {}])
      assertRefused(
        () => withParameters({ binary_data_output: wrong }),
        /binary_data_output of the request is .*, expected true or false/,
      );
    for (const wrong of [1, 'true', [], {}])
      assertRefused(
        () => decode(json({ ...add2, outputs: [{ name: 'y', parameters: { binary_data: wrong } }] })),
        /binary_data of output 'y' is/,
      );
  });

  it('case 56: refuses reserved names and structured values; ignores what is the caller’s own', () => {
    assertRefused(() => withParameters({ triton_x: 1 }), /parameter 'triton_x' is reserved/);
    assertRefused(() => withParameters({ foo: {} }), /parameter 'foo' is an object/);
    assertRefused(() => withParameters({ foo: [] }), /parameter 'foo' is an array/);
    const call = withParameters({
      foo: 1.5,
      bar: 'x',
      baz: true,
      headers: { a: ['b'] },
      triton_enable_empty_final_response: { x: 1 },
      '': 1,
    });
    assert.equal(call.inputs.size, 2);
    for (const wrong of [[], 'x', 1, true])
      assertRefused(() => withParameters(wrong), /'parameters' of the request is .*, expected an object/);
  });

  it('case 57: reads how many classes an output is asked for', () => {
    const ask = (classification: unknown) =>
      decode(json({ ...add2, outputs: [{ name: 'y', parameters: { classification } }] }));
    for (const [value, classes] of [
      [0, 0],
      [null, 0],
      [2, 2],
      [1e15, 1e15],
    ]) {
      assert.equal(ask(value).outputs?.[0]?.classes, classes);
    }
    for (const wrong of [-1, 1.5, '2', true, [2], {}, 1e30])
      assertRefused(() => ask(wrong), /classification of output 'y' is .*, expected an integer/);
  });

  it('case 58: refuses shared memory on inputs and outputs', () => {
    const region = { shared_memory_region: 'r', shared_memory_byte_size: 16 };
    assertRefused(
      () => decode(json({ inputs: [{ ...input('FP32', [1], [1]), parameters: region }] })),
      /input 'x' has 'shared_memory_region': shared memory is not supported/,
    );
    assertRefused(
      () => decode(json({ ...add2, outputs: [{ name: 'y', parameters: region }] })),
      /output 'y' has 'shared_memory_region': shared memory is not supported/,
    );
  });

  it('ignores other parameters of inputs, structured ones too', () => {
    const parameters = { content_type: 'np', headers: { a: [1] }, other: [[]], x: null };
    assert.equal(decode(json({ inputs: [{ ...input('FP32', [1], [1]), parameters }] })).inputs.size, 1);
  });
});

describe('infer requests with binary sections', () => {
  it('case 37, 38: reads sections in the order of the inputs that have one, without copying', () => {
    const request = {
      inputs: [binaryInput('FP32', [1, 2], 8, 'a'), input('FP32', [1, 1], [9], 'b'), binaryInput('UINT8', [3], 3, 'c')],
    };
    const text = Buffer.from(json(request));
    const body = Buffer.concat([text, floats(1, 2), Buffer.from([7, 8, 9])]);
    const call = decode(body, String(text.length));
    assert.deepEqual([...call.inputs.keys()], ['a', 'b', 'c']);
    assert.deepEqual([...call.inputs.get('a')!.bytes], [...floats(1, 2)]);
    assert.deepEqual([...call.inputs.get('b')!.bytes], [...floats(9)]);
    assert.deepEqual([...call.inputs.get('c')!.bytes], [7, 8, 9]);
  });

  it('case 43: takes a header equal to the length of a body that is JSON only', () => {
    const text = json(add2);
    assert.equal(decode(text, String(text.length)).inputs.size, 2);
    assert.equal(decode(text, `000${text.length}`).inputs.size, 2);
  });

  it('case 44: refuses headers that are no length within the body', () => {
    const text = json(add2);
    for (const header of [
      '-1',
      'abc',
      '12abc',
      '',
      ' 5',
      '0x10',
      '1e2',
      '+5',
      '5.0',
      `${text.length}, ${text.length}`,
      'x'.repeat(1000),
    ]) {
      assertRefused(
        () => decode(text, header),
        /^Inference-Header-Content-Length is '.{0,41}', expected a number of bytes$/,
      );
    }
    for (const header of [String(text.length + 1), '99999999999999999999', '9'.repeat(400)]) {
      assertRefused(() => decode(text, header), /Inference-Header-Content-Length is .*, but the body has \d+ bytes/);
    }
    assertRefused(() => decode(text, String(text.length - 1)), /the JSON text ends after/);
  });

  it('case 45: refuses sections that are too short, too long or not as the shape says, and sizes that are none', () => {
    const one = (size: unknown, bytes: number) =>
      decodeBinary({ inputs: [binaryInput('FP32', [2], size)] }, Buffer.alloc(bytes));
    assert.equal(one(8, 8).inputs.size, 1);
    assertRefused(() => one(8, 7), /binary_data_size of input 'x' is 8, but only 7 bytes are left/);
    assertRefused(() => one(8, 9), /the body has 1 bytes behind the JSON and its binary sections/);
    assertRefused(() => one(4, 4), /the binary section of input 'x' has 4 bytes, its shape \[2\] of FP32 needs 8/);
    assertRefused(() => one(12, 12), /needs 8/);
    for (const size of [-8, 8.5, '8', true, [], {}, 1e30])
      assertRefused(() => one(size, 8), /binary_data_size of input 'x' is .*, expected an integer of 0 or more/);
    assertRefused(() => decodeBinary(add2, Buffer.alloc(3)), /the body has 3 bytes behind the JSON/);
  });

  it('case 46: refuses data and a section together, and neither', () => {
    assertRefused(
      () => decodeBinary({ inputs: [{ ...binaryInput('FP32', [1], 4), data: [1] }] }, Buffer.alloc(4)),
      /input 'x' has both data and binary_data_size/,
    );
    assertRefused(() => decode(json({ inputs: [{ ...binaryInput('FP32', [0], 0), data: [] }] })), /both/);
    for (const [shape, data] of [
      [[1], undefined],
      [[1], null],
      [[0], null],
    ] as const) {
      assertRefused(
        () => decode(json({ inputs: [input('FP32', shape, data)] })),
        /input 'x' has neither data nor binary_data_size/,
      );
    }
  });

  it('case 47: refuses a section without the header', () => {
    const text = json({ inputs: [binaryInput('FP32', [1], 4)] });
    assertRefused(
      () => decode(text),
      /input 'x' has a binary_data_size of 4, but the request has no Inference-Header-Content-Length/,
    );
    assertRefused(() => decode(Buffer.concat([Buffer.from(text), Buffer.alloc(4)])), /malformed JSON/);
  });

  it('case 48: refuses BYTES sections whose elements do not fill them, are not UTF-8 or have a NUL', () => {
    const one = (bytes: Uint8Array, count = 2) =>
      decodeBinary({ inputs: [binaryInput('BYTES', [count], bytes.length)] }, bytes);
    const good = encodeStrings(['é', 'b']);
    assert.deepEqual([...good], [2, 0, 0, 0, 0xc3, 0xa9, 1, 0, 0, 0, 0x62]);
    assert.deepEqual([...one(good).inputs.get('x')!.bytes], [...good]);
    assertRefused(() => one(good, 3), /binary section of input 'x' ends within the length of element 2 of 3/);
    assertRefused(() => one(good, 1), /has bytes left over after its 1 elements/);
    assertRefused(() => one(good, 0), /has bytes left over after its 0 elements/);
    assertRefused(() => one(good.subarray(0, 8)), /ends within the length of element 1 of 2/);
    assertRefused(() => one(good.subarray(0, 10)), /ends within element 1 of 2/);
    assertRefused(() => one(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2])), /ends within element 0 of 2/);
    assertRefused(() => one(encodeStrings(['a', 'b\0c'])), /has a NUL in element 1/);
    assertRefused(() => one(encodeStrings(['a', Uint8Array.of(0xc3)])), /element 1 that is not valid UTF-8/);
    assertRefused(
      () => one(encodeStrings([Uint8Array.of(0xc3), Uint8Array.of(0xa9)])),
      /element 0 that is not valid UTF-8/,
    );
    const long = encodeStrings(['é'.repeat(100_000), '', 'x'.repeat(70_000)]);
    assert.equal(one(long, 3).inputs.get('x')!.bytes.length, long.length);
  });

  it('takes any byte but 0 as true, and leaves the body as it is', () => {
    const section = Uint8Array.from({ length: 200_000 }, (_, i) => (i % 7 === 0 ? 0 : i % 251));
    const text = Buffer.from(json({ inputs: [binaryInput('BOOL', [200_000], 200_000)] }));
    const body = Buffer.concat([text, section]);
    const copy = Buffer.from(body);
    const { bytes } = decode(body, String(text.length)).inputs.get('x')!;
    assert.deepEqual(
      [...bytes],
      [...section].map((byte) => (byte === 0 ? 0 : 1)),
    );
    assert.deepEqual(body, copy);
  });

  it('case 51: counts the header in bytes', () => {
    const request = { id: 'äöü😀', inputs: [binaryInput('INT16', [1], 2, 'größe')] };
    const call = decodeBinary(request, Buffer.from([1, 2]));
    assert.equal(call.id, 'äöü😀');
    assert.deepEqual([...call.inputs.get('größe')!.bytes], [1, 2]);
  });
});

describe('replies to infer requests', () => {
  const sum: Tensor = { datatype: 'FP32', shape: [1, 4], bytes: floats(1, 2.5, -3, 0.1) };
  const names: Tensor = { datatype: 'BYTES', shape: [2], bytes: encodeStrings(['é', '"']) };

  it('case 15: writes JSON with the keys in order and flat data', () => {
    const { body, contentType, headerLength } = encode({
      modelName: 'add2',
      modelVersion: '2',
      id: undefined,
      outputs: [
        { name: 'sum', tensor: sum, binary: false },
        { name: 'n', tensor: names, binary: false },
      ],
    });
    assert.equal(
      body.toString(),
      '{"model_name":"add2","model_version":"2","outputs":[{"name":"sum","datatype":"FP32","shape":[1,4],"data":[1,2.5,-3,0.1]},{"name":"n","datatype":"BYTES","shape":[2],"data":["é","\\""]}]}',
    );
    assert.equal(contentType, 'application/json');
    assert.equal(headerLength, undefined);
  });

  it('case 19: puts the id first, when there is one', () => {
    const { body } = encode({ modelName: 'm', modelVersion: '1', id: '4"2é', outputs: [] });
    assert.equal(body.toString(), '{"id":"4\\"2é","model_name":"m","model_version":"1","outputs":[]}');
  });

  it('case 37, 41: writes binary sections in the order of the outputs, and JSON ones without parameters', () => {
    const outputs = [
      { name: 'a', tensor: sum, binary: true },
      { name: 'b', tensor: names, binary: false },
      { name: 'c', tensor: names, binary: true },
    ];
    const { body, contentType, headerLength } = encode({ modelName: 'm', modelVersion: '1', id: 'i', outputs });
    assert.equal(contentType, 'application/octet-stream');
    assert.ok(headerLength !== undefined);
    assert.deepEqual(JSON.parse(body.toString('utf8', 0, headerLength)).outputs, [
      { name: 'a', datatype: 'FP32', shape: [1, 4], parameters: { binary_data_size: 16 } },
      { name: 'b', datatype: 'BYTES', shape: [2], data: ['é', '"'] },
      { name: 'c', datatype: 'BYTES', shape: [2], parameters: { binary_data_size: 11 } },
    ]);
    assert.deepEqual([...body.subarray(headerLength)], [...sum.bytes, ...names.bytes]);
  });

  it('case 49: writes outputs without elements in both forms', () => {
    const empty: Tensor = { datatype: 'FP32', shape: [1, 0], bytes: new Uint8Array(0) };
    const asJson = encode({
      modelName: 'm',
      modelVersion: '1',
      id: undefined,
      outputs: [{ name: 'y', tensor: empty, binary: false }],
    });
    assert.deepEqual(JSON.parse(asJson.body.toString()).outputs, [
      { name: 'y', datatype: 'FP32', shape: [1, 0], data: [] },
    ]);
    const asBinary = encode({
      modelName: 'm',
      modelVersion: '1',
      id: undefined,
      outputs: [{ name: 'y', tensor: empty, binary: true }],
    });
    assert.equal(asBinary.headerLength, asBinary.body.length);
    assert.equal(JSON.parse(asBinary.body.toString()).outputs[0].parameters.binary_data_size, 0);
  });

  it('case 30: refuses FP16 in JSON naming the output, and writes it in binary', () => {
    const half: Tensor = { datatype: 'FP16', shape: [1], bytes: Uint8Array.of(0, 0x3c) };
    assertRefused(
      () =>
        encode({
          modelName: 'm',
          modelVersion: '1',
          id: undefined,
          outputs: [{ name: 'y', tensor: half, binary: false }],
        }),
      /output 'y' is FP16, which is sent in binary only/,
    );
    const { body, headerLength } = encode({
      modelName: 'm',
      modelVersion: '1',
      id: undefined,
      outputs: [{ name: 'y', tensor: half, binary: true }],
    });
    assert.deepEqual([...body.subarray(headerLength)], [0, 0x3c]);
  });

  it('escapes names as JSON wants them, and remembers no more of them than it should', () => {
    for (const name of [
      '"',
      '\\',
      'a\nb',
      '\u0000',
      '\u2028',
      'é',
      '😀',
      '\ud800',
      ...Array.from({ length: 3000 }, (_, i) => `n${i}`),
    ]) {
      const { body } = encode({
        modelName: name,
        modelVersion: '1',
        id: name,
        outputs: [{ name, tensor: sum, binary: false }],
      });
      const read = JSON.parse(body.toString());
      assert.deepEqual([read.model_name, read.id, read.outputs[0].name], [name, name, name]);
    }
  });

  it('keeps no more memory alive than the reply needs', () => {
    const tensor = makeTensor('FP32', [100_000], new Float32Array(100_000));
    const { body } = encode({
      modelName: 'm',
      modelVersion: '1',
      id: undefined,
      outputs: [{ name: 'y', tensor, binary: false }],
    });
    assert.ok(body.buffer.byteLength < body.length * 1.5 + 8192, `${body.buffer.byteLength} bytes for ${body.length}`);
  });
});

describe('round trips', () => {
  const names = Object.keys(DATATYPES) as Datatype[];

  /** Three elements with every kind of bits. */
  function sample(datatype: Datatype): Tensor {
    if (datatype === 'BYTES') return { datatype, shape: [3], bytes: encodeStrings(['é', '', '😀x']) };
    const size = 3 * DATATYPES[datatype].size;
    const bytes = Uint8Array.from({ length: size }, (_, i) => (datatype === 'BOOL' ? i % 2 : (i * 73 + 129) & 0xff));
    return { datatype, shape: [3], bytes };
  }

  for (const datatype of names) {
    it(`case 42: carries ${datatype} bit for bit in binary at all alignments, and in JSON`, () => {
      const tensor = sample(datatype);
      for (let pad = 0; pad < 8; pad++) {
        // The tensor of the reply, as that of a request, at another alignment each.
        const text = Buffer.from(
          `${json({ inputs: [binaryInput(datatype, [3], tensor.bytes.length)] })}${' '.repeat(pad)}`,
        );
        const got = decode(Buffer.concat([text, tensor.bytes]), String(text.length)).inputs.get('x')!;
        assert.deepEqual([...got.bytes], [...tensor.bytes]);
        const { body, headerLength } = encode({
          modelName: 'm'.repeat(pad + 1),
          modelVersion: '1',
          id: undefined,
          outputs: [{ name: 'y', tensor: got, binary: true }],
        });
        assert.deepEqual([...body.subarray(headerLength)], [...tensor.bytes]);
        if (datatype === 'FP16') continue;
        const { body: reply } = encode({
          modelName: 'm',
          modelVersion: '1',
          id: undefined,
          outputs: [{ name: 'x', tensor: got, binary: false }],
        });
        const again = decode(reply.toString().replace('"outputs"', '"inputs"')).inputs.get('x')!;
        assert.deepEqual([...again.bytes], [...tensor.bytes]);
      }
    });
  }
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}
