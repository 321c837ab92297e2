import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ShoalError } from '../../../src/errors.ts';
import { JsonTensorDecoder } from '../../../src/tensor/json-decode.ts';
import { decodeStrings, type Tensor } from '../../../src/tensor/tensor.ts';
import { decodeData, float32sOf, randomFrom } from './json-data.ts';

function assertRefused(data: string | Buffer, datatype: string, shape: readonly number[], message: RegExp): void {
  assert.throws(
    () => decodeData(data, datatype, shape),
    (error) => {
      assert.ok(error instanceof ShoalError, String(error));
      assert.equal(error.code, 'INVALID_REQUEST');
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    },
    String(data),
  );
}

function stringsOf(tensor: Tensor, count: number): string[] {
  return decodeStrings(tensor.bytes, count);
}

describe('JSON data', () => {
  it('case 17: takes any nesting and flattens it', () => {
    const flat = [...decodeData('[1,2,3,4]', 'FP32', [2, 2]).bytes];
    for (const data of [
      '[[1,2],[3,4]]',
      '[[[[1]],[[2]]],[[[3]],[[4]]]]',
      '[1,[2,[3]],4]',
      '[[],1,2,[],[3,4],[[]]]',
      ' [\t1 ,\n2,\r3 , 4 ] ',
    ]) {
      assert.deepEqual([...decodeData(data.trim(), 'FP32', [2, 2]).bytes], flat, data);
    }
  });

  it('case 25: refuses another number of elements than the shape has, and nesting of 100 levels', () => {
    assertRefused('[1,2,3]', 'FP32', [1, 4], /data of input 'x' has 3 elements, its shape \[1,4\] needs 4/);
    assertRefused('[1,2,3,4,5]', 'FP32', [1, 4], /has more than 4 elements, its shape \[1,4\] needs 4/);
    assertRefused('[]', 'FP32', [], /has 0 elements, its shape \[\] needs 1/);
    assertRefused('[1]', 'INT8', [0], /more than 0 elements/);
    assert.equal(float32sOf(decodeData(`${'['.repeat(99)}7${']'.repeat(99)}`, 'FP32', [1]))[0], 7);
    for (const datatype of ['FP32', 'BYTES', 'BOOL', 'INT64']) {
      assertRefused(`${'['.repeat(100)}7${']'.repeat(100)}`, datatype, [1], /nested more than 99 deep/);
      assertRefused('['.repeat(1_000_000), datatype, [1], /nested more than 99 deep/);
    }
  });

  it('case 24: refuses a shape that the text cannot hold before it takes memory for it', () => {
    const before = process.memoryUsage().arrayBuffers;
    for (const datatype of ['FP64', 'BYTES', 'BOOL']) {
      assertRefused('[1,2]', datatype, [1e15], /too short for its shape \[1000000000000000\]/);
    }
    assert.ok(process.memoryUsage().arrayBuffers - before < 1e6);
  });

  it('case 26: refuses elements of the wrong type, naming input and element', () => {
    assertRefused('[1,"2"]', 'FP32', [2], /^element 1 of input 'x' is "2", expected a number$/);
    assertRefused('[1.5]', 'INT32', [1], /^element 0 of input 'x' is 1.5, expected an integer \(INT32\)$/);
    assertRefused(
      '[300]',
      'UINT8',
      [1],
      /^element 0 of input 'x' is 300, expected an integer from 0 to 255 \(UINT8\)$/,
    );
    assertRefused('[-1]', 'UINT8', [1], /is -1, expected an integer from 0 to 255/);
    assertRefused('["true"]', 'BOOL', [1], /is "true", expected true, false, 1 or 0 \(BOOL\)/);
    assertRefused('[2]', 'BOOL', [1], /is 2, expected true, false, 1 or 0/);
    assertRefused('[-1]', 'BOOL', [1], /is -1, expected/);
    assertRefused('[1.0]', 'BOOL', [1], /is 1.0, expected/);
    assertRefused('[null]', 'BOOL', [1], /is null, expected/);
    assertRefused('[5]', 'BYTES', [1], /is 5, expected a string \(BYTES\)/);
    assertRefused('[null]', 'BYTES', [1], /is null, expected a string/);
    assertRefused('[{"b64":"AA=="}]', 'BYTES', [1], /expected a string/);
    assertRefused('[null]', 'INT32', [1], /is null, expected an integer/);
    assertRefused('[true]', 'FP64', [1], /is true, expected a number/);
    assertRefused('[{}]', 'FP32', [1], /expected a number/);
    assertRefused('[1e40]', 'FP32', [1], /is 1e40, expected a number within the range of FP32/);
  });

  it('case 27: takes true, false, 1 and 0 as BOOL', () => {
    assert.deepEqual([...decodeData('[true,false,1,0,-0]', 'BOOL', [5]).bytes], [1, 0, 1, 0, 0]);
    for (const wrong of ['[tru]', '[truE]', '[falsey]', '[t]', '[f', '[fals']) assertRefused(wrong, 'BOOL', [1], /./);
  });

  it('case 31: takes strings of any Unicode text', () => {
    assert.deepEqual(stringsOf(decodeData('["é","","x"]', 'BYTES', [3, 1]), 3), ['é', '', 'x']);
    const escaped = String.raw`["\"\\\/\b\f\n\r\t","\u00e9\u20AC\ud83d\ude00","a\u007fb","[]],[\"]"]`;
    assert.deepEqual(stringsOf(decodeData(escaped, 'BYTES', [4]), 4), JSON.parse(escaped));
  });

  it('reads every string as JSON.parse does', () => {
    const unit = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.string({ unit: 'grapheme', maxLength: 30 }),
      fc.constantFrom('\ufeff', '\u2028', '"', '\\', '\u{10ffff}', '\ud7ff', '\ue000'),
    );
    const list = fc.array(
      unit.map((s) => s.replaceAll('\0', '0')),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(list, fc.integer({ min: 0, max: 2 }), (strings, style) => {
        const toAscii = (s: string): string =>
          s.replace(/[^ -~]/gu, (c) => c.replace(/./gs, (u) => `\\u${u.charCodeAt(0).toString(16).padStart(4, '0')}`));
        const text =
          style === 0
            ? JSON.stringify(strings)
            : style === 1
              ? JSON.stringify(strings, null, 2)
              : toAscii(JSON.stringify(strings));
        assert.deepEqual(stringsOf(decodeData(text, 'BYTES', [strings.length]), strings.length), strings);
      }),
      { numRuns: 2000 },
    );
  });

  it('refuses strings that JSON, UTF-8 or ONNX Runtime do not have', () => {
    for (const half of [
      '\\ud800',
      '\\udc00',
      '\\ud83dx',
      '\\ud83d\\u0041',
      '\\ud83d\\n',
      '\\udbff\\udbff',
      '\\ude00\\ud83d',
    ]) {
      assertRefused(`["a${half}"]`, 'BYTES', [1], /element 0 of input 'x' has half of a surrogate pair/);
    }
    assertRefused('["a","b\\u0000"]', 'BYTES', [2], /element 1 of input 'x' has a NUL/);
    for (const broken of [
      '"\\x"',
      '"\\u12"',
      '"\\u12g4"',
      '"\\',
      '"a',
      '"\n"',
      '"\t"',
      '"\0"',
      '"\\ud83d\\u00"',
      '"\\U0041"',
    ]) {
      assertRefused(`[${broken}]`, 'BYTES', [1], /malformed JSON|JSON text ends/);
    }
    for (const bytes of [
      [0xff],
      [0xc3, 0x28],
      [0xc0, 0xaf],
      [0xe0, 0x80, 0xaf],
      [0xed, 0xa0, 0x80],
      [0xf0, 0x80, 0x80, 0x80],
      [0xf5, 0x80, 0x80, 0x80],
      [0xe2, 0x82],
      [0x80],
    ]) {
      const data = Buffer.concat([Buffer.from('["'), Buffer.from(bytes), Buffer.from('"]')]);
      assertRefused(data, 'BYTES', [1], /element 0 of input 'x' is not valid UTF-8/);
    }
  });

  it('keeps no more memory for strings than they need', () => {
    const { bytes } = decodeData(`["${'\\u0061'.repeat(100_000)}"]`, 'BYTES', [1]);
    assert.equal(bytes.length, 100_004);
    assert.ok(bytes.buffer.byteLength < 200_000);
  });

  it('refuses broken arrays, in short data and in long', () => {
    for (const datatype of ['FP32', 'FP64', 'INT64', 'UINT8']) {
      for (const n of [2, 2000]) {
        const good = Array(n).fill('1').join(',');
        for (const broken of [
          `[${good},]`,
          `[,${good}]`,
          `[${good},,1]`,
          `[${good} 1]`,
          `[${good}`,
          `[${good},`,
          `[${good}}`,
          `[${good};1]`,
          `[${good},[1]`,
          `[${good},1 ,,]`,
          `[[${good}]`,
          `[${good}\u00a0]`,
        ]) {
          assertRefused(broken, datatype, [n], /./);
        }
      }
    }
  });

  it('reads long data the same however it is spaced and nested', () => {
    const random = randomFrom(7);
    const values = Array.from({ length: 30_000 }, () => Math.round((random() - 0.5) * 1e4) / 100 + 0);
    const expected = Float32Array.from(values);
    const rows: number[][] = [];
    for (let i = 0; i < values.length; i += 100) rows.push(values.slice(i, i + 100));
    for (const text of [
      JSON.stringify(values),
      JSON.stringify(rows),
      JSON.stringify(rows, null, 1),
      JSON.stringify(values).replaceAll(',', ', '),
      JSON.stringify(values).replaceAll(',', ' \n ,  '),
    ]) {
      assert.deepEqual(float32sOf(decodeData(text, 'FP32', [300, 100])), expected);
    }
  });

  it('pauses about every 64 KiB, also within white space, one long string and one long run of brackets', () => {
    const texts: [string, string, number][] = [
      [`[${Array(300_000).fill('0.1234567').join(',')}]`, 'FP32', 300_000],
      [`[${Array(300_000).fill('12345').join(',')}]`, 'INT64', 300_000],
      [`[${Array(300_000).fill('false').join(',')}]`, 'BOOL', 300_000],
      [`["${'x'.repeat(3_000_000)}"]`, 'BYTES', 1],
      [`["${'\\n'.repeat(1_000_000)}"]`, 'BYTES', 1],
      [`["${'é'.repeat(1_000_000)}"]`, 'BYTES', 1],
      [`[${' '.repeat(2_000_000)}1]`, 'FP32', 1],
      [`[${'[],'.repeat(600_000)}1]`, 'INT8', 1],
    ];
    for (const [text, datatype, count] of texts) {
      const bytes = Buffer.from(`${text}}]}`);
      const target = { what: "input 'x'", shape: [count], count };
      const decoder = new JsonTensorDecoder({ bytes, end: bytes.length }, 0, datatype as 'FP32', target);
      let slices = 1;
      while (!decoder.advance()) slices++;
      const passes = datatype === 'BYTES' ? 2 : 1;
      assert.ok(slices >= (passes * text.length) / 70_000, `${slices} slices for ${text.length} bytes of ${datatype}`);
      assert.equal(decoder.end, Buffer.byteLength(text));
    }
  });
});
