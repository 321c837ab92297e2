import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { npyRows, parseNpyHeader } from '../../../src/loading/npy.ts';
import { readTensor } from '../../../src/tensor/typed.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'shoal-npy-'));
after(() => rmSync(folder, { recursive: true }));

/** An array file as NumPy writes it. */
function npy(descr: string, shape: string, data: Uint8Array, { version = 1, order = 'False' } = {}): Buffer {
  const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }`;
  const start = version === 1 ? 10 : 12;
  const padded = `${text.padEnd(Math.ceil((start + text.length + 1) / 64) * 64 - start - 1)}\n`;
  const head = Buffer.alloc(start);
  head.write('\x93NUMPY', 'latin1');
  head[6] = version;
  if (version === 1) head.writeUInt16LE(padded.length, 8);
  else head.writeUInt32LE(padded.length, 8);
  return Buffer.concat([head, Buffer.from(padded, 'latin1'), data]);
}

async function rowsOf(bytes: Buffer, from?: number) {
  const file = path.join(folder, 'array.npy');
  writeFileSync(file, bytes);
  const rows = [];
  for await (const row of npyRows(file, from)) rows.push(row);
  return rows;
}

const refused = (text: RegExp) => ({ code: 'INVALID_REQUEST', message: text });

describe('rows of a NumPy array file', () => {
  for (const version of [1, 2, 3]) {
    it(`version ${version} of the format`, async () => {
      const data = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
      const rows = await rowsOf(npy('<f4', '(3, 2)', data, { version }));
      assert.deepEqual(
        rows.map(({ datatype, shape }) => ({ datatype, shape })),
        Array(3).fill({ datatype: 'FP32', shape: [1, 2] }),
      );
      assert.deepEqual(
        rows.map((row) => [...(readTensor(row) as Float32Array)]),
        [
          [1, 2],
          [3, 4],
          [5, 6],
        ],
      );
    });
  }

  it('every kind of element, and one dimension', async () => {
    const kinds = {
      '|b1': 1,
      '|u1': 1,
      '<u2': 2,
      '<u4': 4,
      '<u8': 8,
      '|i1': 1,
      '<i2': 2,
      '<i4': 4,
      '<i8': 8,
      '<f2': 2,
    };
    for (const [descr, size] of Object.entries(kinds)) {
      const rows = await rowsOf(
        npy(
          descr,
          '(2,)',
          Uint8Array.from({ length: 2 * size }, (_, i) => i),
        ),
      );
      assert.deepEqual(
        rows.map(({ shape, bytes }) => [shape, bytes[0]]),
        [
          [[1], 0],
          [[1], size],
        ],
        descr,
      );
    }
  });

  it('more rows than are read at a time, from any of them on', async () => {
    const count = 20_000;
    const data = new Uint8Array(Int32Array.from({ length: count * 5 }, (_, i) => i).buffer);
    const bytes = npy('<i4', `(${count}, 5)`, data);
    const all = await rowsOf(bytes);
    assert.equal(all.length, count);
    assert.equal((readTensor(all[13_107]!) as Int32Array)[4], 13_107 * 5 + 4);
    const late = await rowsOf(bytes, 19_998);
    assert.deepEqual(
      late.map((row) => (readTensor(row) as Int32Array)[0]),
      [19_998 * 5, 19_999 * 5],
    );
  });

  it('refuses what it cannot read as rows, and says why', async () => {
    const data = new Uint8Array(24);
    await assert.rejects(rowsOf(Buffer.from('PK\x03\x04 not an array at all')), refused(/not a NumPy array file/));
    await assert.rejects(rowsOf(npy('>f4', '(3, 2)', data)), refused(/big-endian/));
    await assert.rejects(rowsOf(npy('<c8', '(3,)', data)), refused(/type c8/));
    await assert.rejects(rowsOf(npy('|O', '(3,)', data)), refused(/type O/));
    await assert.rejects(rowsOf(npy('<f4', '(3, 2)', data, { order: 'True' })), refused(/Fortran/));
    await assert.rejects(rowsOf(npy('<f4', '()', data)), refused(/no dimensions/));
    await assert.rejects(rowsOf(npy('<f4', '(4, 2)', data)), refused(/ends after 3 of the 4 rows/));
    await assert.rejects(rowsOf(npy('<f4', '(3, 2)', data).subarray(0, 40)), refused(/header has \d+ bytes/));
    assert.throws(
      () => parseNpyHeader(Buffer.from('\x93NUMPY\x01\x00\x03\x00{}\n', 'latin1'), 'x'),
      refused(/damaged/),
    );
  });
});
