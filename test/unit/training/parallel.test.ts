import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../../../src/random.ts';
import { exampleParts } from '../../../src/training/parallel/example-parts.ts';
import {
  FrameError,
  type FrameKind,
  FrameReader,
  frameHeader,
  readHeader,
} from '../../../src/training/parallel/frame.ts';
import { coveredMs, shardsOf } from '../../../src/training/parallel/shards.ts';

describe('frames between a training and its workers', () => {
  it('come out as they went in, however the stream is cut', () => {
    const random = seededRandom(5);
    for (let round = 0; round < 50; round++) {
      const sent = Array.from({ length: 6 }, (_, i): [FrameKind, Uint8Array] => [
        i % 2 === 0 ? 'gradient' : 'ready',
        Uint8Array.from({ length: i % 2 === 0 ? 8 * Math.floor(random() * 20) : 0 }, () => Math.floor(random() * 256)),
      ]);
      const stream = Buffer.concat(sent.flatMap(([kind, body]) => [frameHeader(kind, body.length), body]));
      const came: [FrameKind, Uint8Array][] = [];
      const reader = new FrameReader((kind, body) => came.push([kind, body.slice()]));
      for (let at = 0; at < stream.length; ) {
        const size = 1 + Math.floor(random() * 40);
        reader.push(stream.subarray(at, at + size));
        at += size;
      }
      assert.deepEqual(came, sent);
    }
  });

  it('are refused when they are none', () => {
    const good = frameHeader('step', 16);
    assert.deepEqual(readHeader(good), { kind: 'step', bodyBytes: 16 });
    const broken = (change: (view: DataView) => void): Uint8Array => {
      const header = good.slice();
      change(new DataView(header.buffer));
      return header;
    };
    for (const header of [
      broken((view) => view.setUint8(0, 0)),
      broken((view) => view.setUint32(4, 99, true)),
      broken((view) => view.setFloat64(8, 12, true)),
      broken((view) => view.setFloat64(8, -8, true)),
      broken((view) => view.setFloat64(8, Number.NaN, true)),
      broken((view) => view.setFloat64(8, 2 ** 40, true)),
    ]) {
      assert.throws(() => readHeader(header), FrameError);
      assert.throws(() => new FrameReader(() => {}).push(header), FrameError);
    }
  });

  it('hold examples in parts that fill their arrays', () => {
    const shape = { features: 3, outputs: 2, hidden: 0, activation: 'relu', bias: true } as const;
    const features = Float32Array.from({ length: 9 }, (_, i) => i);
    const parts = exampleParts({ features, width: 3, classes: [0, 1, 1] }, shape, 2);
    assert.deepEqual(
      parts.map(([kind, body]) => [kind, body.length % 8]),
      [
        ['setup', 0],
        ['features', 0],
        ['labels', 0],
      ],
    );
    assert.deepEqual(new Float32Array(parts[1]![1].slice().buffer).subarray(0, 9), features);
    assert.deepEqual([...new Uint32Array(parts[2]![1].slice().buffer)], [0, 1, 1, 0]);
  });
});

describe('shards', () => {
  it('are all rows in their order, none empty, as equal as can be', () => {
    for (const [rows, pieces] of [
      [10, 3],
      [3, 3],
      [2, 5],
      [1, 1],
      [64, 4],
    ] as const) {
      const all = Uint32Array.from({ length: rows }, (_, i) => 7 * i);
      const shards = shardsOf(all, pieces);
      assert.equal(shards.length, Math.min(rows, pieces));
      assert.deepEqual(Uint32Array.from(shards.flatMap((shard) => [...shard])), all);
      const sizes = shards.map(({ length }) => length);
      assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1 && Math.min(...sizes) >= 1);
    }
  });

  it('hide what of a span lies within others', () => {
    const computing = [
      { startMs: 0, endMs: 10 },
      { startMs: 12, endMs: 20 },
    ];
    assert.equal(coveredMs({ startMs: 5, endMs: 15 }, computing), 5 + 3);
    assert.equal(coveredMs({ startMs: 10, endMs: 12 }, computing), 0);
    assert.equal(coveredMs({ startMs: 30, endMs: 40 }, computing), 0);
  });
});
