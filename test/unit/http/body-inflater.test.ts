import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { BodyInflater } from '../../../src/http/body-inflater.ts';
import { deflate, inflate } from '../../../src/http/zlib-streams.ts';

const MIB = 2 ** 20;
const always = (): void => {};
/** Resolves after whatever is ready to go on has gone on. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('expanding and compressing', () => {
  const plain = Buffer.from(Uint8Array.from({ length: 5 * MIB + 3 }, (_, i) => (i * i) >>> (i % 13)));

  it('give back what went in, at every size', async () => {
    for (const size of [0, 1, 16 * 1024, MIB - 1, MIB, MIB + 1, plain.length]) {
      const part = plain.subarray(0, size);
      assert.deepEqual(await inflate(gzipSync(part), plain.length), part);
      assert.deepEqual(await inflate(deflateSync(part), plain.length), part);
      assert.deepEqual(gunzipSync(await deflate(part, 'gzip')), part);
      assert.deepEqual(inflateSync(await deflate(part, 'deflate')), part);
    }
  });

  it('stop at the limit, and not before', async () => {
    const packed = gzipSync(plain);
    assert.equal((await inflate(packed, plain.length)).length, plain.length);
    await assert.rejects(inflate(packed, plain.length - 1), { code: 'BODY_TOO_LARGE' });
  });

  it('leave the event loop alone', async () => {
    const packed = deflateSync(Buffer.alloc(64 * MIB), { level: 9 });
    let turns = 0;
    let working = true;
    const count = (): void => {
      turns++;
      if (working) setImmediate(count);
    };
    setImmediate(count);
    const whole = await inflate(packed, 64 * MIB);
    await deflate(whole, 'gzip');
    working = false;
    assert.ok(turns > 64, `${turns} turns`);
  });
});

describe('the allowance for expanded bodies', () => {
  const body = gzipSync(Buffer.alloc(MIB));

  it('lets in as many as fit, the others in their order as room is made', async () => {
    const inflater = new BodyInflater(MIB, 2 * MIB);
    const begun: number[] = [];
    const all = [0, 1, 2, 3].map((i) => inflater.inflate(body, () => begun.push(i)));
    const [first, second] = await Promise.all(all.slice(0, 2));
    assert.deepEqual(begun, [0, 1]);
    second!.release();
    second!.release();
    await turn();
    assert.deepEqual(begun, [0, 1, 2], 'released twice is released once');
    first!.release();
    (await all[2]!).release();
    await all[3];
    assert.deepEqual(begun, [0, 1, 2, 3]);
  });

  it('counts what bodies have become once that is known', async () => {
    const inflater = new BodyInflater(MIB, MIB);
    const small = gzipSync(Buffer.alloc(1000, 'x'));
    const held = await Promise.all(Array.from({ length: 1000 }, () => inflater.inflate(small, always)));
    assert.ok(held.every(({ bytes }) => bytes.length === 1000));
  });

  it('is given back by those that fail or are no longer wanted', async () => {
    const inflater = new BodyInflater(MIB, MIB);
    const gone = new Error('gone');
    for (let i = 0; i < 3; i++) {
      const throwing = (): void => {
        throw gone;
      };
      await assert.rejects(inflater.inflate(body, throwing), gone);
      await assert.rejects(inflater.inflate(gzipSync(Buffer.alloc(2 * MIB)), always), { code: 'BODY_TOO_LARGE' });
      await assert.rejects(inflater.inflate(Buffer.alloc(2000), always), { code: 'INVALID_REQUEST' });
    }
    assert.equal((await inflater.inflate(body, always)).bytes.length, MIB);
  });

  it('is as large as one body may be, whatever is asked for', async () => {
    const inflater = new BodyInflater(MIB, 1);
    (await inflater.inflate(body, always)).release();
    assert.equal((await inflater.inflate(body, always)).bytes.length, MIB);
  });
});
