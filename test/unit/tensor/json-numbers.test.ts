import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ShoalError } from '../../../src/errors.ts';
import { decodeData, decodeElements, float32sOf, float64sOf, randomFrom } from './json-data.ts';

const BATCH = 20_000;

/** Asserts that every text reads as `Number` and, in FP32, as `Math.fround(Number)` would have it, to the bit. */
function assertExact(texts: readonly string[]): void {
  for (let start = 0; start < texts.length; start += BATCH) {
    const part = texts.slice(start, start + BATCH);
    const wide = part.filter((text) => Number.isFinite(Number(text)));
    assertSame(wide, float64sOf(decodeElements(wide, 'FP64')), Number);
    const narrow = part.filter((text) => Number.isFinite(Math.fround(Number(text))));
    assertSame(narrow, float32sOf(decodeElements(narrow, 'FP32')), (text) => Math.fround(Number(text)));
  }
}

function assertSame(texts: readonly string[], got: ArrayLike<number>, expected: (text: string) => number): void {
  assert.equal(got.length, texts.length);
  for (let i = 0; i < texts.length; i++) {
    const want = expected(texts[i]!);
    if (!Object.is(got[i], want)) assert.fail(`${texts[i]} was read as ${got[i]} instead of ${want}`);
  }
}

const random = randomFrom(20_261_123);

function randomInt(below: number): number {
  return Math.floor(random() * below);
}

/** A JSON number of 1 to `maxDigits` digits with its point anywhere and, now and then, an exponent. */
function randomNumberText(maxDigits: number): string {
  const count = 1 + randomInt(maxDigits);
  let digits = '';
  while (digits.length < count) digits += String(randomInt(1e9)).padStart(9, '0');
  digits = digits.slice(0, count);
  const point = randomInt(count + 1);
  const whole = digits.slice(0, point).replace(/^0+(?=.)/, '') || '0';
  const fraction = digits.slice(point);
  const sign = random() < 0.3 ? '-' : '';
  const exponent = random() < 0.3 ? `${random() < 0.5 ? 'e' : 'E'}${['', '+', '-'][randomInt(3)]}${randomInt(60)}` : '';
  return `${sign}${whole}${fraction === '' ? '' : `.${fraction}`}${exponent}`;
}

const floatView = new Float32Array(1);
const floatBits = new Uint32Array(floatView.buffer);
const doubleView = new Float64Array(1);
const doubleBits = new BigUint64Array(doubleView.buffer);

function float32FromBits(bits: number): number {
  floatBits[0] = bits;
  return floatView[0]!;
}

/** The exact decimal expansion of m · 2^e, as digits with an exponent. */
function exactDecimal(mantissa: bigint, exponent: number): string {
  if (exponent >= 0) return `${mantissa << BigInt(exponent)}e0`;
  return `${mantissa * 5n ** BigInt(-exponent)}e${exponent}`;
}

/** As a fraction, behind `zeros` zeros. */
function asFraction(text: string, zeros: number): string {
  const [digits = '', exponent = ''] = text.split('e');
  return `0.${'0'.repeat(zeros)}${digits}e${Number(exponent) + digits.length + zeros}`;
}

/** The text itself, one unit more and one less in its last digit, and with a digit behind it. */
function withNeighbours(text: string): string[] {
  const [digits = '', exponent = ''] = text.split('e');
  const value = BigInt(digits);
  return [
    text,
    `${value + 1n}e${exponent}`,
    `${value - 1n}e${exponent}`,
    `${digits}0000001e${Number(exponent) - 7}`,
    `${digits}.0e${exponent}`,
  ];
}

// Found by a search of millions: nearer to halfway between two doubles than 2^-17 of their distance.
const HARD_DECIMALS: readonly string[] = [
  '0.25729353668521784404',
  '0.77694942849846154731',
  '0.29867214986272208610',
  '0.51636497424055921579',
  '0.94617050560691290384',
  '0.31768538804797777364',
  '0.60106467918406830675',
  '0.56012395266174502817',
  '0.05037349704624482713',
  '0.05255640137983880536',
  '0.07992599180826414490',
  '0.08561760226093873688',
  '0.02291882376573989126',
  '0.09945462561247495753',
  '0.06514945884346651922',
  '0.05916380370384960799',
  '0.00921711967201536541',
  '0.00581623828238584566',
  '0.00587782533416966518',
  '0.00614225690449739627',
  '0.00413848123653256161',
  '0.00240541117165157174',
  '0.00809986591645313770',
  '0.00158730045147269900',
  '0.00062198219504099988',
  '0.00081192742633798314',
  '0.00060085101751714134',
  '0.00011910200992364866',
  '0.00049808346529468941',
  '0.00062700761444140304',
  '0.00023226057851533659',
  '0.00094265135803527257',
  '0.000088502027074777730',
  '0.000044313595220538206',
  '0.000082812130970112169',
  '0.000039107393631522973',
  '0.000015501202557012895',
  '0.000064705776634698329',
  '0.000025251079991291793',
  '0.000025934963071634256',
];

describe('numbers in JSON data', () => {
  it('reads a million random texts of 1 to 30 digits as Number and Math.fround(Number) do', () => {
    for (let batch = 0; batch < 50; batch++) {
      assertExact(Array.from({ length: BATCH }, () => randomNumberText(30)));
    }
  });

  it('reads what JavaScript writes: shortest doubles, and doubles of FP32 values', () => {
    const texts: string[] = [];
    for (let i = 0; i < 60_000; i++) {
      doubleBits[0] = (BigInt(randomInt(2 ** 32)) << 32n) | BigInt(randomInt(2 ** 32));
      if (Number.isFinite(doubleView[0])) texts.push(String(doubleView[0]));
      texts.push(String(random()), String(random() * 1e6), String(float32FromBits(randomInt(0x7f800000))));
    }
    assertExact(texts);
  });

  it('reads long decimals of every length around the digits that a double holds', () => {
    const texts: string[] = [];
    for (let length = 1; length <= 800; length++) {
      const digits = Array.from({ length }, () => randomInt(10)).join('');
      texts.push(
        `0.${digits}`,
        `1${digits}`,
        `1${digits}e-${length}`,
        `0.${'0'.repeat(length)}${digits}`,
        `0.${digits}e${length}`,
      );
    }
    assertExact(texts.filter((text) => Number.isFinite(Number(text))));
  });

  it('rounds halfway points between neighbouring FP32 values, and what lies next to them', () => {
    const texts: string[] = [];
    for (let i = 0; i < 10_000; i++) {
      const bits = i < 500 ? i : i < 1000 ? 0x7f7fffff - i : randomInt(0x7f7fffff);
      const exponentBits = bits >>> 23;
      const mantissa = BigInt((bits & 0x7fffff) | (exponentBits === 0 ? 0 : 0x800000));
      const exponent = Math.max(exponentBits, 1) - 150;
      texts.push(...withNeighbours(exactDecimal(2n * mantissa + 1n, exponent - 1)));
      texts.push(((float32FromBits(bits) + float32FromBits(bits + 1)) / 2).toPrecision(17 + randomInt(8)));
    }
    assertExact(texts);
  });

  it('rounds what lies a hundred-millionth beside integers halfway between FP32 values', () => {
    const texts: string[] = [];
    for (let exponent = 24; exponent < 31; exponent++) {
      for (let i = 0; i < 300; i++) {
        const halfway = (2 ** 23 + randomInt(2 ** 23) + 0.5) * 2 ** (exponent - 23);
        texts.push(`${halfway}`, `${halfway}.00000001`, `${halfway - 1}.99999999`, `-${halfway}.0000000000000001`);
      }
    }
    assertExact(texts);
  });

  it('rounds halfway points between neighbouring FP64 values, and what lies next to them', () => {
    const texts: string[] = [];
    for (let i = 0; i < 8000; i++) {
      const exponentBits = i < 200 ? 0 : i % 8 === 0 ? randomInt(2046) : 900 + randomInt(250);
      const fraction = (BigInt(randomInt(2 ** 20)) << 32n) | BigInt(randomInt(2 ** 32));
      const mantissa = fraction | (exponentBits === 0 ? 0n : 1n << 52n);
      const exact = exactDecimal(2n * mantissa + 1n, Math.max(exponentBits, 1) - 1076);
      texts.push(...withNeighbours(exact));
      // Cut after 18 to 30 digits: as near to the halfway point as so many digits can be.
      const [digits = '', exponent = '0'] = exact.split('e');
      const kept = Math.min(digits.length, 18 + randomInt(13));
      const cut = `${digits.slice(0, kept)}e${Number(exponent) + digits.length - kept}`;
      texts.push(...withNeighbours(cut), asFraction(cut, 0));
      // The fast way takes twenty digits behind the point, leading zeros among them.
      for (let zeros = 0; zeros <= 3; zeros++) {
        const short = 20 - zeros;
        const rest = Number(exponent) + digits.length - short;
        const scaled = BigInt(digits.slice(0, short).padEnd(short, '0'));
        for (const near of [scaled, scaled + 1n]) texts.push(asFraction(`${near}e${rest}`, zeros));
      }
    }
    assertExact(texts);
  });

  it('rounds the decimals of up to twenty places that lie nearest to halfway points between FP64 values', () => {
    // Repeated, as the fast way is for long texts.
    assertExact([...HARD_DECIMALS, ...HARD_DECIMALS, ...HARD_DECIMALS]);
    for (const text of HARD_DECIMALS) assertExact([text]);
    assertExact(HARD_DECIMALS.map((text) => `-${text}e-3`));
    assertExact(HARD_DECIMALS.map((text) => `${text.slice(0, -1)}5${text.slice(-1)}`));
  });

  it('reads powers of ten and two with their neighbours, subnormals and the limits of both ranges', () => {
    const texts = ['0', '-0', '0.0', '-0.0', '0e5', '-0e-400', '0e99999999999999999999', '1e-99999999999999999999'];
    for (let e = -345; e <= 308; e++)
      texts.push(`1e${e}`, `9.999999999999999999e${e - 1}`, `1.0000000000000000001e${e}`, `123456789e${e - 9}`);
    for (let e = -1074; e <= 1023; e++) texts.push(String(2 ** e), exactDecimal(1n, e));
    for (let bits = 1; bits < 300; bits++) texts.push(String(float32FromBits(bits)), String(bits * 2 ** -1074));
    texts.push(
      '3.4028234663852886e38',
      '3.4028235677973365e38',
      '1.7976931348623157e308',
      '1.79769313486231580793e308',
    );
    assertExact(texts);
  });

  it('refuses finite texts that overflow, naming the element', () => {
    // Half a unit above the greatest value rounds to even, which is infinity.
    for (const [text, datatype] of [
      ['1e40', 'FP32'],
      ['-1e39', 'FP32'],
      ['3.4028235677973366e38', 'FP32'],
      ['340282356779733661637539395458142568448', 'FP32'],
      ['1e400', 'FP32'],
      ['1e400', 'FP64'],
      ['-1e309', 'FP64'],
      [exactDecimal(2n ** 54n - 1n, 970), 'FP64'],
      ['1e99999999999999999999', 'FP64'],
    ] as const) {
      for (const padding of [0, 300]) {
        const elements = [...Array(padding).fill('0.5'), text, '0.25'];
        assert.throws(
          () => decodeElements(elements, datatype),
          (error) => error instanceof ShoalError && error.message.startsWith(`element ${padding} of input 'x' is `),
          text,
        );
      }
    }
  });

  it('takes the tokens of non-finite numbers for floats, and null as NaN', () => {
    const elements = ['NaN', '1.5', 'Infinity', '-Infinity', 'null', '-2'];
    for (const padded of [elements, [...Array(400).fill('0.125'), ...elements, ...Array(400).fill('0.125')]]) {
      const expected = padded.map((text) => (text === 'null' ? Number.NaN : Number(text)));
      assert.deepEqual(Array.from(float32sOf(decodeElements(padded, 'FP32'))), expected);
      assert.deepEqual(Array.from(float64sOf(decodeElements(padded, 'FP64'))), expected);
    }
    for (const text of ['nan', 'inf', '+Infinity', '-NaN', 'Nan', 'Infinit', 'nul', 'NULL', '-Inf', '+1']) {
      assert.throws(() => decodeElements([text], 'FP32'), ShoalError, text);
    }
  });

  it('refuses numbers that JSON does not have, wherever they stand', () => {
    for (const text of [
      '01',
      '-01',
      '1.',
      '.5',
      '-.5',
      '1e',
      '1e+',
      '1.e5',
      '--1',
      '-',
      '0x10',
      '1_000',
      '1 2',
      '1e5.5',
      '00',
      '1d',
    ]) {
      for (const datatype of ['FP32', 'FP64', 'INT32', 'INT64', 'UINT8', 'BOOL']) {
        for (const padding of [0, 600]) {
          const elements = [...Array(padding).fill('1'), text, ...Array(padding).fill('1')];
          assert.throws(() => decodeElements(elements, datatype), ShoalError, `${text} in ${datatype}`);
        }
      }
    }
  });

  it('refuses bytes beyond ASCII behind digits, wherever they stand', () => {
    for (const text of [
      '1\xff',
      '9\xff',
      '0.9\xff',
      '0.19\xff1234',
      '0.1239\xff',
      '0.12349\xff56',
      '0.12345679\xff9',
      '0.123456789\xff',
      '0.1234567890129\xff9',
      '12349\xff',
      '1e9\xff',
      '\x99',
    ]) {
      for (const datatype of ['FP32', 'FP64', 'INT32', 'UINT8']) {
        for (const padding of [0, 600]) {
          const elements = [...Array(padding).fill('1'), text, ...Array(padding).fill('1')];
          const data = Buffer.from(`[${elements.join(',')}]`, 'latin1');
          assert.throws(() => decodeData(data, datatype, [elements.length]), ShoalError, `${text} in ${datatype}`);
        }
      }
    }
  });

  it('refuses a number of more text than any needs', () => {
    const long = `0.${'1'.repeat(32_760)}`;
    assert.equal(float64sOf(decodeElements([long], 'FP64'))[0], Number(long));
    assert.throws(() => decodeElements([`${long}111111111111`], 'FP64'), /longer than 32768 bytes/);
  });
});

describe('integers in JSON data', () => {
  const ranges: Record<string, readonly [bigint, bigint]> = {
    INT8: [-128n, 127n],
    UINT8: [0n, 255n],
    INT16: [-32_768n, 32_767n],
    UINT16: [0n, 65_535n],
    INT32: [-(2n ** 31n), 2n ** 31n - 1n],
    UINT32: [0n, 2n ** 32n - 1n],
    INT64: [-(2n ** 63n), 2n ** 63n - 1n],
    UINT64: [0n, 2n ** 64n - 1n],
  };

  /** The little-endian bytes of the value. */
  function bytesOf(value: bigint, size: number): number[] {
    return Array.from({ length: size }, (_, i) => Number((BigInt.asUintN(8 * size, value) >> BigInt(8 * i)) & 0xffn));
  }

  for (const [datatype, [least, greatest]] of Object.entries(ranges)) {
    const size = greatest < 256n ? 1 : greatest < 65_536n ? 2 : greatest < 2n ** 32n ? 4 : 8;

    it(`reads ${datatype} to the digit, at its limits and around every power of two and ten`, () => {
      const values = new Set<bigint>([least, least + 1n, greatest, greatest - 1n, 0n]);
      for (const base of [2n, 10n]) {
        for (let power = 1n; power <= greatest; power *= base) {
          for (const near of [power - 1n, power, power + 1n, -power, -power - 1n, -power + 1n]) values.add(near);
        }
      }
      for (let i = 0; i < 20_000; i++) {
        values.add(
          BigInt.asIntN(64, (BigInt(randomInt(2 ** 32)) << 32n) | BigInt(randomInt(2 ** 32))) >> BigInt(randomInt(64)),
        );
        values.add(BigInt(randomInt(2 ** 32)) * BigInt(randomInt(2 ** 32)));
      }
      const inRange = [...values].filter((value) => value >= least && value <= greatest);
      const expected = Buffer.from(inRange.flatMap((value) => bytesOf(value, size)));
      assert.deepEqual(Buffer.from(decodeElements(inRange.map(String), datatype).bytes), expected);
      // In a short array each goes the slow way.
      for (const value of inRange.slice(0, 400)) {
        assert.deepEqual([...decodeElements([String(value)], datatype).bytes], bytesOf(value, size), String(value));
      }
    });

    it(`refuses what is out of the range of ${datatype}`, () => {
      for (const value of [
        least - 1n,
        greatest + 1n,
        least - 10n ** 9n,
        greatest + 10n ** 9n,
        10n ** 20n,
        -(10n ** 30n),
      ]) {
        for (const padding of [0, 600]) {
          const elements = [...Array(padding).fill('7'), String(value), ...Array(padding).fill('7')];
          assert.throws(
            () => decodeElements(elements, datatype),
            (error) =>
              error instanceof ShoalError &&
              error.message.includes(`element ${padding} of input 'x'`) &&
              error.message.includes(datatype),
            String(value),
          );
        }
      }
    });

    it(`reads integers in any notation as ${datatype} and refuses fractions`, () => {
      const texts = [
        '-0',
        '0.0',
        '-0e7',
        '1.0',
        '1e2',
        '1.20e1',
        '10E-1',
        '0.05e3',
        '120e-1',
        '0e-99999',
        '1e0',
        '-0.000',
      ];
      const expected = Buffer.from(texts.flatMap((text) => bytesOf(BigInt(Number(text)), size)));
      assert.deepEqual(Buffer.from(decodeElements(texts, datatype).bytes), expected);
      for (const text of ['1.5', '1e-1', '0.99999999999999999999999', '1e-99999', '12.0000000000000000000000001']) {
        assert.throws(() => decodeElements([text], datatype), /expected an integer/, text);
      }
      for (const text of ['"1"', 'true', 'null', 'NaN', '{}']) {
        assert.throws(() => decodeElements([text], datatype), ShoalError, text);
      }
    });
  }

  it('case 28: reads 64-bit integers that doubles cannot hold digit for digit', () => {
    const { bytes } = decodeData('[9007199254740993, -9223372036854775808]', 'INT64', [2]);
    assert.deepEqual([...new BigInt64Array(Uint8Array.from(bytes).buffer)], [9007199254740993n, -9223372036854775808n]);
    const unsigned = decodeData('[18446744073709551615,1.8446744073709551615e19]', 'UINT64', [2]).bytes;
    assert.deepEqual([...new BigUint64Array(Uint8Array.from(unsigned).buffer)], [2n ** 64n - 1n, 2n ** 64n - 1n]);
  });
});
