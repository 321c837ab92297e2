import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { brotliCompressSync, deflateRawSync, deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { ident } from '../../support/models.ts';
import { bytesOf } from '../../support/onnx-builder.ts';
import {
  type Answer,
  binaryBody,
  expectError,
  HEADER_LENGTH,
  type InferRequest,
  parseBinaryReply,
  parseReply,
  startServer,
  useServer,
} from '../../support/server.ts';
import { requestBytes, WireConnection } from '../../support/wire.ts';
import { fixtures } from './fixtures.ts';

/** Compressed requests and replies; the numbers are those of the protocol's conformance list. */

const LIMIT = 4 * 2 ** 20;
const INFER = '/v2/models/ident_FP32/infer';

const numbers = (count: number): InferRequest => ({
  id: 'ü',
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, count], data: Array.from({ length: count }, (_, i) => i % 10) }],
});
const SMALL = JSON.stringify(numbers(3));
const LARGE = JSON.stringify(numbers(1000));
const FLOATS = bytesOf(Float32Array.from({ length: 1000 }, (_, i) => i % 10));
const BINARY = binaryBody(
  {
    parameters: { binary_data_output: true },
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1000], parameters: { binary_data_size: 4000 } }],
  },
  [FLOATS],
);

/** An answer as it was before it was compressed, with the headers that would then belong to it. */
const expanded = (answer: Answer, coding: 'gzip' | 'deflate'): Answer => {
  assert.equal(answer.headers['content-encoding'], coding, answer.body.toString());
  assert.equal(answer.headers['vary'], 'Accept-Encoding');
  assert.equal(answer.headers['content-length'], String(answer.body.length));
  const body = coding === 'gzip' ? gunzipSync(answer.body) : inflateSync(answer.body);
  assert.ok(answer.body.length < body.length);
  return { ...answer, body, headers: { ...answer.headers, 'content-length': String(body.length) } };
};

describe('compression', () => {
  const running = useServer(fixtures, { bodyLimit: LIMIT });

  const send = (body: Uint8Array | string, headers: Record<string, string>): Promise<Answer> =>
    running().send('POST', INFER, body, headers);

  it('case 59: bodies may be compressed as gzip or zlib’s deflate, whatever the header calls it', async () => {
    for (const pack of [gzipSync, deflateSync]) {
      for (const coding of ['gzip', 'deflate', 'GZIP', 'x-gzip']) {
        const headers = { 'content-encoding': coding };
        assert.deepEqual(parseReply(await send(pack(SMALL), headers)).outputs[0]!.data, [0, 1, 2]);
        const answer = await send(pack(BINARY.bytes), { ...headers, [HEADER_LENGTH]: String(BINARY.length) });
        assert.deepEqual(parseBinaryReply(answer).sections, [Buffer.from(FLOATS)]);
      }
    }
  });

  it('case 59: in chunks, of several parts, and for every route that takes a body', async (t) => {
    const parts = Buffer.concat([gzipSync(SMALL.slice(0, 20)), gzipSync(SMALL.slice(20))]);
    async function* inChunks(): AsyncGenerator<Buffer> {
      for (const byte of parts) yield Buffer.of(byte);
    }
    const answer = await running().send('POST', INFER, inChunks(), { 'content-encoding': 'gzip' });
    assert.deepEqual(parseReply(answer).outputs[0]!.data, [0, 1, 2]);
    const connection = await WireConnection.open(running().port);
    t.after(async () => connection.close());
    const head = { 'content-encoding': 'gzip', 'content-length': String(parts.length) };
    await connection.send(requestBytes('POST', INFER, '', head));
    for (const byte of parts) await connection.send(Buffer.of(byte));
    assert.equal((await connection.response()).status, 200);
  });

  it('case 60: other codings, and several of them, are refused with those that are taken', async () => {
    for (const coding of ['br', 'zstd', 'compress', 'gzip, deflate', 'gzip,gzip', 'gzip;q=1', 'aws-chunked']) {
      const answer = await send(brotliCompressSync(SMALL), { 'content-encoding': coding });
      expectError(answer, 'UNSUPPORTED_ENCODING', new RegExp(coding));
      assert.equal(answer.headers['accept-encoding'], 'gzip, deflate');
    }
    const plain = await running().send('POST', INFER, SMALL, { 'content-encoding': '' });
    assert.equal(plain.status, 200);
  });

  it('case 60: what is corrupt, cut off, not compressed, or raw deflate is refused', async () => {
    const whole = gzipSync(LARGE);
    const corrupt = Buffer.from(whole);
    corrupt[whole.length >> 1]! ^= 0xff;
    const wrongSum = Buffer.from(whole);
    wrongSum[whole.length - 6]! ^= 0xff;
    const wrongLength = Buffer.from(whole);
    wrongLength[whole.length - 1]! ^= 0xff;
    for (const body of [
      corrupt,
      wrongSum,
      wrongLength,
      whole.subarray(0, -1),
      whole.subarray(0, 5),
      deflateSync(LARGE).subarray(0, -3),
      deflateRawSync(LARGE),
      deflateSync(LARGE, { dictionary: Buffer.from('inputs') }),
      Buffer.from(LARGE),
      Buffer.concat([whole, Buffer.from('more')]),
      Buffer.concat([whole, Buffer.alloc(4)]),
      Buffer.concat([deflateSync(LARGE), Buffer.from('more')]),
    ])
      expectError(await send(body, { 'content-encoding': 'gzip' }), 'INVALID_REQUEST', /compressed body/);
    expectError(await send('', { 'content-encoding': 'gzip' }), 'INVALID_REQUEST');
  });

  it('the length of the JSON is that of the plain one', async () => {
    const body = gzipSync(BINARY.bytes);
    for (const length of [BINARY.length - 1, BINARY.bytes.length + 1]) {
      const answer = await send(body, { 'content-encoding': 'gzip', [HEADER_LENGTH]: String(length) });
      expectError(answer, 'INVALID_REQUEST');
    }
  });

  it('case 61: a body that grows beyond the limit is refused, and memory stays bounded', async () => {
    const bomb = gzipSync(Buffer.alloc(256 * 2 ** 20), { level: 9 });
    assert.ok(bomb.length < 300_000);
    // White space within the data counts as data.
    const exact = SMALL.replace('[0', `[${' '.repeat(LIMIT - Buffer.byteLength(SMALL))}0`);
    assert.equal((await send(gzipSync(exact), { 'content-encoding': 'gzip' })).status, 200);
    expectError(
      await send(gzipSync(`${exact} `), { 'content-encoding': 'gzip' }),
      'BODY_TOO_LARGE',
      /expanded.*4194304/,
    );
    const before = process.memoryUsage().rss;
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss);
    }, 5);
    const answers = await Promise.all(Array.from({ length: 32 }, () => send(bomb, { 'content-encoding': 'gzip' })));
    clearInterval(timer);
    for (const answer of answers) expectError(answer, 'BODY_TOO_LARGE', /expanded/);
    assert.ok(most - before < 300 * 2 ** 20, `${(most - before) / 2 ** 20} MiB more`);
    assert.deepEqual(parseReply(await running().infer('ident_FP32', SMALL)).outputs[0]!.data, [0, 1, 2]);
  });

  it('case 62: a reply is compressed for who asks for gzip or deflate alone', async () => {
    for (const coding of ['gzip', 'deflate'] as const) {
      const json = await send(LARGE, { 'accept-encoding': coding });
      assert.equal(parseReply(expanded(json, coding)).outputs[0]!.data!.length, 1000);
      const headers = { 'accept-encoding': coding, [HEADER_LENGTH]: String(BINARY.length) };
      const { sections } = parseBinaryReply(expanded(await send(BINARY.bytes, headers), coding));
      assert.deepEqual(sections, [Buffer.from(FLOATS)]);
    }
    const both = { 'accept-encoding': 'gzip', 'content-encoding': 'deflate' };
    assert.equal(parseReply(expanded(await send(deflateSync(LARGE), both), 'gzip')).id, 'ü');
  });

  it('case 62: another coding is answered as it is, and so is what is small', async () => {
    for (const [body, headers] of [
      [LARGE, { 'accept-encoding': 'br' }],
      [LARGE, { 'accept-encoding': 'identity' }],
      [LARGE, { 'accept-encoding': '' }],
      [SMALL, { 'accept-encoding': 'gzip' }],
    ] as const) {
      const answer = await send(body, headers);
      assert.equal(answer.status, 200, answer.body.toString());
      assert.equal(answer.headers['content-encoding'], undefined);
    }
  });

  it('case 63: a list is no explicit wish', async () => {
    for (const list of ['gzip, deflate, br', 'gzip, deflate', 'gzip;q=1.0', '*']) {
      const answer = await send(LARGE, { 'accept-encoding': list });
      assert.equal(answer.headers['content-encoding'], undefined);
      assert.equal(parseReply(answer).outputs[0]!.data!.length, 1000);
    }
  });

  it('case 64: errors are never compressed', async () => {
    const wrong = LARGE.replace('FP32', 'FP64');
    expectError(await send(wrong, { 'accept-encoding': 'gzip' }), 'INVALID_REQUEST');
    const nameless = { 'accept-encoding': 'gzip' };
    expectError(
      await running().send('POST', `/v2/models/${'n'.repeat(500)}/infer`, LARGE, nameless),
      'MODEL_NOT_FOUND',
    );
  });

  it('case 13: nothing but the replies of inference is ever compressed', async () => {
    for (const coding of ['gzip, deflate, br', 'gzip', 'deflate']) {
      for (const path of [
        '/v2',
        '/v2/health/live',
        '/v2/health/ready',
        '/v2/models/add2',
        '/v2/models/add2/ready',
        '/v2/models/add2/config',
        '/v2/models/stats',
        '/v2/models/nope',
        '/metrics',
        '/nowhere',
      ]) {
        const answer = await running().get(path, { 'accept-encoding': coding });
        assert.equal(answer.headers['content-encoding'], undefined, path);
      }
    }
  });

  it('the time of compressing is in the timing, which still adds up', async () => {
    const timing = String((await send(LARGE, { 'accept-encoding': 'gzip' })).headers['server-timing']);
    const durations = new Map([...timing.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]));
    const total = durations.get('total')!;
    durations.delete('total');
    const sum = [...durations.values()].reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(total - sum) < 0.1, timing);
  });

  it('none of this was a failure of the server', () => {
    assert.deepEqual(running().logged, []);
  });
});

describe('compression by other settings', () => {
  it('negotiated: lists count, with their weights', async (t) => {
    const running = await startServer(t, { ident_FP32: ident('FP32') }, { httpCompression: 'negotiate' });
    for (const [accepted, coding] of [
      ['gzip, deflate, br', 'gzip'],
      ['deflate, gzip', 'deflate'],
      ['gzip;q=0.5, deflate', 'deflate'],
    ] as const) {
      const answer = await running.send('POST', INFER, LARGE, { 'accept-encoding': accepted });
      assert.equal(parseReply(expanded(answer, coding)).outputs[0]!.data!.length, 1000);
    }
    for (const accepted of ['br', 'gzip;q=0', 'identity, gzip;q=0.5']) {
      const answer = await running.send('POST', INFER, LARGE, { 'accept-encoding': accepted });
      assert.equal(answer.headers['content-encoding'], undefined, accepted);
    }
  });

  it('off: replies are sent as they are, and requests may be compressed all the same', async (t) => {
    const running = await startServer(t, { ident_FP32: ident('FP32') }, { httpCompression: 'off' });
    const headers = { 'accept-encoding': 'gzip', 'content-encoding': 'gzip' };
    const answer = await running.send('POST', INFER, gzipSync(LARGE), headers);
    assert.equal(answer.headers['content-encoding'], undefined);
    assert.equal(parseReply(answer).outputs[0]!.data!.length, 1000);
  });
});
