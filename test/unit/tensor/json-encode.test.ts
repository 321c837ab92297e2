import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShoalError } from '../../../src/errors.ts';
import { ByteWriter } from '../../../src/tensor/byte-writer.ts';
import { estimateJsonBytes, JsonTensorEncoder } from '../../../src/tensor/json-encode.ts';
import { encodeStrings, type Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';
import { randomFrom } from './json-data.ts';

const random = randomFrom(29);

/** The JSON array of a tensor's elements. */
function encode(tensor: Tensor): string {
  const writer = new ByteWriter(Math.ceil(estimateJsonBytes(tensor)) + 2);
  const encoder = new JsonTensorEncoder(tensor, 'y');
  writer.ascii('[');
  while (!encoder.advance(writer));
  writer.ascii(']');
  return writer.finish().toString();
}

function encodeFloats(values: readonly number[] | Float32Array): string[] {
  return encode(makeTensor('FP32', [values.length], Float32Array.from(values)))
    .slice(1, -1)
    .split(',');
}

/** The fewest significant digits of a decimal that reads back as x, found by trying all near x, of every length. */
function fewestDigits(x: number): number {
  for (let digits = 1; ; digits++) {
    const [text = '', exponent = ''] = x.toExponential(digits - 1).split('e');
    const nearest = Number(text.replace('.', ''));
    for (const n of [nearest - 1, nearest, nearest + 1]) {
      if (Math.fround(Number(`${n}e${Number(exponent) - digits + 1}`)) === x)
        return String(n).replace(/0+$/, '').length;
    }
  }
}

function digitsOf(text: string): number {
  const digits = text.replace(/e.*/, '').replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '');
  return Math.max(1, digits.length);
}

function assertShortest(values: readonly number[]): void {
  const texts = encodeFloats(values);
  assert.equal(texts.length, values.length);
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    const text = texts[i]!;
    const back = JSON.parse(text);
    if (!Object.is(Math.fround(back), x)) assert.fail(`${x} was written as ${text}`);
    if (Object.is(back, -0) ? text !== '-0.0' : String(back) !== text) assert.fail(`${text} is not JavaScript's form`);
    if (x !== 0 && digitsOf(text) > fewestDigits(Math.abs(x)))
      assert.fail(`${x} was written as ${text}, which is not shortest`);
  }
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

function fromBits(value: number): number {
  bits[0] = value;
  return float[0]!;
}

function toBits(value: number): number {
  float[0] = value;
  return bits[0]!;
}

describe('FP32 as JSON', () => {
  it('writes a shortest decimal for 200,000 random bit patterns', () => {
    const values: number[] = [];
    while (values.length < 200_000) {
      const x = fromBits(random() * 2 ** 32);
      if (Number.isFinite(x)) values.push(x);
    }
    assertShortest(values);
  });

  it('writes a shortest decimal for powers of two and ten, subnormals, limits and all their neighbours', () => {
    const around = [0, 0x7f7fffff, 0x00800000];
    for (let exponent = 1; exponent < 255; exponent++) around.push(exponent << 23);
    for (let exponent = -45; exponent <= 38; exponent++) around.push(toBits(Number(`1e${exponent}`)));
    for (let bit = 0; bit < 23; bit++) around.push(1 << bit);
    const values = around.flatMap((near) =>
      [-3, -2, -1, 0, 1, 2, 3].map((step) => fromBits(Math.max(0, near + step))).filter(Number.isFinite),
    );
    for (let i = 0; i < 20_000; i++) values.push(fromBits(1 + random() * 0x7fffff));
    assertShortest([...values, ...values.map((x) => -x)]);
  });

  it('writes a shortest decimal for what models answer: probabilities, logits, counts, money', () => {
    const values: number[] = [];
    for (let i = 0; i < 20_000; i++) {
      values.push(
        random(),
        Math.exp(-random() * 40),
        (random() - 0.5) * 50,
        Math.round(random() * 1e8),
        Math.round(random() * 1e5) / 100,
      );
    }
    assertShortest(values.map(Math.fround));
  });

  it('writes the short forms that people expect', () => {
    const written = encodeFloats([
      0, -0, 1, -1, 0.1, 0.5, 1e7, 16_777_216, 1e-6, 1e-7, 123.456, 1e20, 1e21, 3.4028234663852886e38, 1e-45,
    ]);
    assert.deepEqual(written, [
      '0',
      '-0.0',
      '1',
      '-1',
      '0.1',
      '0.5',
      '10000000',
      '16777216',
      '0.000001',
      '1e-7',
      '123.456',
      '100000000000000000000',
      '1e+21',
      '3.4028235e+38',
      '1e-45',
    ]);
  });

  it('case 29: writes null for NaN and the infinities', () => {
    const values = [Number.NaN, 1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0.5, fromBits(0xffc00001)];
    assert.deepEqual(encodeFloats(values), ['null', '1', 'null', 'null', '-0.5', 'null']);
  });
});

describe('other datatypes as JSON', () => {
  it('writes FP64 as JavaScript does, keeping the sign of −0, with null for what is not finite', () => {
    const values = [0, -0, 0.1, 1 / 3, -5e-324, 1.7976931348623157e308, 123456789.125, 1e21];
    assert.equal(
      encode(makeTensor('FP64', [8], Float64Array.from(values))),
      `[${values.map((x) => (Object.is(x, -0) ? '-0.0' : String(x))).join(',')}]`,
    );
    assert.equal(
      encode(makeTensor('FP64', [3], Float64Array.of(Number.NaN, Number.NEGATIVE_INFINITY, 2))),
      '[null,null,2]',
    );
    const many = Float64Array.from({ length: 5000 }, () => (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20));
    assert.equal(encode(makeTensor('FP64', [5000], many)), JSON.stringify(Array.from(many)));
  });

  it('writes integers of up to 32 bits as JSON.stringify does, at every number of digits', () => {
    const arrays = [
      ['INT8', Int8Array],
      ['UINT8', Uint8Array],
      ['INT16', Int16Array],
      ['UINT16', Uint16Array],
      ['INT32', Int32Array],
      ['UINT32', Uint32Array],
    ] as const;
    for (const [datatype, array] of arrays) {
      const values = new array(30_000);
      for (let i = 0; i < values.length; i++) values[i] = (random() - 0.5) * 2 ** Math.floor(random() * 34);
      const limits = [
        0,
        1,
        9,
        10,
        99,
        100,
        999,
        1000,
        9999,
        10_000,
        99_999,
        100_000,
        1e6 - 1,
        1e6,
        1e7 - 1,
        1e7,
        1e8 - 1,
        1e8,
        1e9 - 1,
        1e9,
        2 ** 31 - 1,
        2 ** 31,
        2 ** 32 - 1,
      ];
      values.set(limits);
      values.set(
        limits.map((x) => -x),
        100,
      );
      assert.equal(encode(makeTensor(datatype, [values.length], values)), `[${values.join(',')}]`, datatype);
    }
  });

  it('case 28: writes all digits of 64-bit integers', () => {
    const values = [0n, 9007199254740991n, 9007199254740992n, 9007199254740993n, 2n ** 63n - 1n, 2n ** 32n, 10n ** 18n];
    for (let power = 1n; power < 2n ** 63n; power *= 10n) values.push(power - 1n, power, power + 1n);
    for (let power = 1n; power < 2n ** 63n; power *= 2n) values.push(power - 1n, power);
    const signed = BigInt64Array.from([...values, ...values.map((v) => -v), -(2n ** 63n)]);
    assert.equal(encode(makeTensor('INT64', [signed.length], signed)), `[${signed.join(',')}]`);
    const unsigned = BigUint64Array.from([...values, 2n ** 64n - 1n, 2n ** 63n, 10n ** 19n]);
    assert.equal(encode(makeTensor('UINT64', [unsigned.length], unsigned)), `[${unsigned.join(',')}]`);
  });

  it('writes booleans as true and false', () => {
    assert.equal(encode(makeTensor('BOOL', [4], Uint8Array.of(1, 0, 0, 1))), '[true,false,false,true]');
    const many = Uint8Array.from({ length: 3000 }, () => (random() < 0.5 ? 0 : 1));
    assert.equal(encode(makeTensor('BOOL', [3000], many)), JSON.stringify(Array.from(many, Boolean)));
  });

  it('writes strings as JSON.stringify does, the longest and the shortest', () => {
    let all = '';
    for (let code = 0; code < 0x3000; code++) all += String.fromCharCode(code);
    const strings = [
      '',
      'x',
      'é',
      '😀',
      '"\\/\b\f\n\r\t\u0001\u001f\u007f',
      all,
      '\u2028\u2029',
      '\uffff',
      all.repeat(12),
      '😀'.repeat(40_000),
      '\u0000'.repeat(70_000),
    ];
    for (let i = 0; i < 3000; i++) strings.push(all.slice(i, i + Math.floor(random() * 20)));
    const tensor: Tensor = { datatype: 'BYTES', shape: [strings.length], bytes: encodeStrings(strings) };
    assert.equal(encode(tensor), JSON.stringify(strings));
  });

  it('refuses strings that are not UTF-8, naming element and output and asking for binary', () => {
    for (const wrong of [
      [0xff],
      [0xc3],
      [0xc0, 0x80],
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0x80],
      [0xe2, 0x82],
    ]) {
      const bytes = encodeStrings(['fine', Uint8Array.from(wrong), 'fine']);
      assert.throws(
        () => encode({ datatype: 'BYTES', shape: [3], bytes }),
        (error) =>
          error instanceof ShoalError &&
          error.code === 'INVALID_REQUEST' &&
          /element 1 of output 'y' is not valid UTF-8.*binary/.test(error.message),
      );
    }
  });

  it('case 30: refuses FP16, naming the output and asking for binary', () => {
    assert.throws(
      () => encode({ datatype: 'FP16', shape: [1], bytes: new Uint8Array(2) }),
      (error) =>
        error instanceof ShoalError && error.code === 'INVALID_REQUEST' && /output 'y'.*binary/.test(error.message),
    );
  });

  it('reads tensors at any offset of their memory', () => {
    const values = Float32Array.from({ length: 2500 }, () => Math.fround(random()));
    const expected = encode(makeTensor('FP32', [2500], values));
    for (let offset = 0; offset < 8; offset++) {
      const bytes = new Uint8Array(10_016).subarray(offset, offset + 10_000);
      bytes.set(new Uint8Array(values.buffer));
      assert.equal(encode({ datatype: 'FP32', shape: [2500], bytes }), expected);
    }
  });

  it('says that the server is wrong when the bytes do not fit the shape', () => {
    for (const tensor of [
      { datatype: 'FP32', shape: [2], bytes: new Uint8Array(7) },
      { datatype: 'BYTES', shape: [1], bytes: new Uint8Array(3) },
      { datatype: 'BYTES', shape: [1], bytes: Uint8Array.of(5, 0, 0, 0, 65) },
    ] as const) {
      assert.throws(
        () => encode(tensor),
        (error) => error instanceof ShoalError && error.code === 'INTERNAL',
      );
    }
  });

  it('writes an empty array for a tensor without elements', () => {
    for (const datatype of ['FP32', 'INT64', 'BOOL', 'BYTES', 'FP64'] as const) {
      assert.equal(encode({ datatype, shape: [3, 0], bytes: new Uint8Array(0) }), '[]');
    }
  });
});
