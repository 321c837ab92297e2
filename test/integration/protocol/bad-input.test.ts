import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { type ErrorCode, STATUS } from '../../../src/index.ts';
import { encodeStrings } from '../../../src/tensor/tensor.ts';
import { gatherPoison } from '../../support/models.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { type Answer, expectError, HEADER_LENGTH, useServer } from '../../support/server.ts';
import { exchange, requestBytes } from '../../support/wire.ts';
import { fixtures } from './fixtures.ts';

/** The table of docs/bad-input.md, row by row. */

interface Row {
  readonly what: string;
  readonly status: number;
  readonly code: string;
}

const ROWS: readonly Row[] = [
  ...readFileSync(path.join(REPOSITORY_ROOT, 'docs/bad-input.md'), 'utf8').matchAll(
    /^\| (.+) \| (\d{3}) \| `(\w+)` \|$/gm,
  ),
].map(([, what, status, code]) => ({ what: what!, status: Number(status), code: code! }));

const LIMIT = 2 ** 21;
const A = { name: 'a', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] };
const B = { ...A, name: 'b' };
const GOOD = JSON.stringify({ inputs: [A, B] });

describe('what is wrong with a request', () => {
  const running = useServer(() => ({ ...fixtures(), gather: gatherPoison() }), { bodyLimit: LIMIT });

  const infer = (model: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    running().send(
      'POST',
      `/v2/models/${model}/infer`,
      typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
      headers,
    );
  const add2 = (body: unknown, headers?: Record<string, string>): Promise<Answer> => infer('add2', body, headers);
  const of = (datatype: string, data: string, shape = '[1,1]'): Promise<Answer> =>
    infer(`ident_${datatype}`, `{"inputs":[{"name":"x","datatype":"${datatype}","shape":${shape},"data":${data}}]}`);
  const section = (datatype: string, shape: number[], size: number, bytes: Uint8Array): Promise<Answer> =>
    running().inferBinary(
      `ident_${datatype}`,
      { inputs: [{ name: 'x', datatype, shape, parameters: { binary_data_size: size } }] },
      [bytes],
    );
  const wire = async (bytes: string): Promise<Answer> => {
    const { status, headers, body } = await exchange(running().port, bytes);
    return { status, headers, body: Buffer.from(body) };
  };
  const zipped = (body: Uint8Array): Promise<Answer> => add2(body, { 'content-encoding': 'gzip' });
  const get = (target: string, headers?: Record<string, string>): Promise<Answer> =>
    wire(requestBytes('GET', target, '', headers));
  const head = `POST /v2/models/add2/infer HTTP/1.1\r\nHost: a\r\n`;

  /** What is sent for each row. */
  const SENT: Readonly<Record<string, () => Promise<Answer>[]>> = {
    'there is no body, or it is no JSON object': () => [add2(''), add2('[]'), add2('null')],
    'the JSON is broken, cut off, or has something behind it': () => [
      add2(GOOD.replace(',', ',,')),
      add2(GOOD.slice(0, -1)),
      add2(`${GOOD}{}`),
    ],
    'the JSON is not UTF-8, or begins with a byte order mark': () => [
      add2(Buffer.from(GOOD.replace('{', '{"id":"ü",'), 'latin1')),
      add2(`\ufeff${GOOD}`),
    ],
    'arrays or objects are nested 100 levels deep': () => [
      of('FP32', `${'['.repeat(100)}1${']'.repeat(100)}`),
      add2(GOOD.replace('{', `{"own":${'['.repeat(100)}${']'.repeat(100)},`)),
    ],
    "more than 1 MiB of JSON stands around the tensors' data": () => [add2(GOOD + ' '.repeat(2 ** 20))],
    'a key that means something stands in its object twice': () => [
      add2(GOOD.replace('{', '{"id":"a","id":"b",')),
      add2(GOOD.replace('"name":"a"', '"name":"a","name":"b"')),
      add2(GOOD.replace('{', '{"parameters":{"timeout":1,"timeout":2},')),
    ],
    '`id` is no string; `inputs` or `outputs` is no array of objects': () => [
      add2({ id: 7, inputs: [A, B] }),
      add2({ inputs: {} }),
      add2({ inputs: [A, B], outputs: ['sum'] }),
    ],
    'an input is missing, unknown, or there twice': () => [
      add2({ inputs: [A] }),
      add2({ inputs: [A, B, { ...A, name: 'c' }] }),
      add2({ inputs: [A, B, A] }),
    ],
    'an output is unknown, or asked for twice': () => [
      add2({ inputs: [A, B], outputs: [{ name: 'x' }] }),
      add2({ inputs: [A, B], outputs: [{ name: 'sum' }, { name: 'sum' }] }),
    ],
    'a datatype is none, or not that of the model': () => [
      ...['fp32', 'FLOAT', 'INT32', 'BF16', 5].map((datatype) => add2({ inputs: [{ ...A, datatype }, B] })),
    ],
    'a shape is no list of whole numbers, has more than 64 dimensions, or is beyond all memory': () => [
      ...[4, [1, -4], [1, 4.5], ['1', 4], Array(65).fill(1), [2 ** 30, 2 ** 30]].map((shape) =>
        add2({ inputs: [{ ...A, shape }, B] }),
      ),
    ],
    'a shape does not fit the model, or inputs disagree on the rows': () => [
      ...[[4], [1, 1, 4], [2, 2]].map((shape) => add2({ inputs: [{ ...A, shape }, B] })),
      add2({ inputs: [{ ...A, shape: [2, 4], data: [1, 2, 3, 4, 5, 6, 7, 8] }, B] }),
    ],
    'there are no rows, or more than the model takes in one request': () => [
      of('FP32', '[]', '[0,1]'),
      of('FP32', `[${Array(9).fill(1)}]`, '[9,1]'),
    ],
    'an input has both data and a binary section, or neither': () => [
      add2({ inputs: [{ ...A, parameters: { binary_data_size: 0 } }, B] }),
      add2({ inputs: [{ ...A, data: null }, B] }),
    ],
    'there are more or fewer elements than the shape says': () => [of('FP32', '[]'), of('FP32', '[1,2]')],
    'an element is of another type, a fraction, or out of range': () => [
      of('FP32', '["1"]'),
      of('INT32', '[1.5]'),
      of('INT8', '[128]'),
      of('UINT64', '[18446744073709551616]'),
      of('INT32', '[null]'),
      of('BOOL', '[2]'),
      of('BYTES', '[1]'),
    ],
    'a finite number is too large for its type': () => [of('FP32', '[1e40]'), of('FP64', '[1e400]')],
    'FP16 is sent or asked for in JSON': () => [of('FP16', '[1]'), section('FP16', [1, 1], 2, Buffer.alloc(2))],
    'a text has a NUL': () => [of('BYTES', '["\\u0000"]'), section('BYTES', [1, 1], 5, encodeStrings(['\0']))],
    'a parameter is of the wrong type, or its name is reserved': () => [
      ...[{ timeout: -1 }, { priority: '1' }, { binary_data_output: 1 }, { triton_x: 1 }, { own: {} }].map(
        (parameters) => add2({ parameters, inputs: [A, B] }),
      ),
    ],
    'a tensor is to lie in shared memory': () => [
      add2({ inputs: [{ ...A, data: undefined, parameters: { shared_memory_region: 'r' } }, B] }),
    ],
    'the header length is no number, or beyond the body': () => [
      ...['-1', '12abc', '0x10', '', String(GOOD.length + 1)].map((length) => add2(GOOD, { [HEADER_LENGTH]: length })),
    ],
    'a binary section has another size than its shape needs, or bytes are left over': () => [
      section('FP32', [1, 2], 8, Buffer.alloc(7)),
      section('FP32', [1, 2], 8, Buffer.alloc(9)),
      section('FP32', [1, 2], 4, Buffer.alloc(4)),
    ],
    'a binary section comes without a header length': () => [
      add2({ inputs: [{ ...A, data: undefined, parameters: { binary_data_size: 16 } }, B] }),
    ],
    'the texts of a binary section do not fill it, or are not UTF-8': () => [
      section('BYTES', [1, 1], 4, Buffer.of(1, 0, 0, 0)),
      section('BYTES', [1, 1], 8, encodeStrings(['', ''])),
      section('BYTES', [1, 1], 5, encodeStrings([Buffer.of(0xff)])),
    ],
    'a body without JSON does not say its shape by its length alone': () => [
      ...['add2', 'mat2', 'ident_BYTES'].map((model) => infer(model, Buffer.alloc(32), { [HEADER_LENGTH]: '0' })),
      infer('ident_FP32', Buffer.alloc(30), { [HEADER_LENGTH]: '0' }),
    ],
    'a compressed body is corrupt, cut off, raw deflate, or has something behind it': () => [
      zipped(Buffer.from(GOOD)),
      zipped(gzipSync(GOOD).subarray(0, -1)),
      zipped(deflateRawSync(GOOD)),
      zipped(Buffer.concat([gzipSync(GOOD), Buffer.of(0)])),
    ],
    'a body has another content coding, or several': () => [
      ...['br', 'zstd', 'gzip, gzip'].map((coding) => add2(GOOD, { 'content-encoding': coding })),
    ],
    'a body is larger than the limit': () => [add2(' '.repeat(LIMIT + 1))],
    'a compressed body grows beyond the limit': () => [zipped(gzipSync(Buffer.alloc(LIMIT + 1)))],
    'ONNX Runtime refuses a value, such as an index out of range': () => [
      infer('gather', { inputs: [{ name: 'ids', datatype: 'INT64', shape: [1], data: [99] }] }),
    ],
    'the request is no HTTP, or its length is not clear; the connection ends': () => [
      wire('hello\r\n\r\n'),
      wire(`${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`),
      wire(`${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
      wire(`${head}Transfer-Encoding: xchunked\r\n\r\n`),
      wire(`${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`),
    ],
    'a transfer coding before `chunked` is not known': () => [
      wire(`${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`),
    ],
    'there is no Host, more than one, or none that is well-formed': () => [
      wire('GET /v2 HTTP/1.1\r\n\r\n'),
      wire('GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'),
      wire('GET /v2 HTTP/1.1\r\nHost: a/b\r\n\r\n'),
    ],
    'an expectation other than `100-continue`': () => [get('/v2', { expect: 'more' })],
    'headers are larger than 16 KiB': () => [get('/v2', { 'x-large': 'x'.repeat(17_000) })],
    'a percent sign in the path encodes nothing': () => [get('/v2/models/%zz')],
    'there is nothing at the path': () => [get('/nowhere'), get('/v2/models/../v2')],
    'there is no such model or version, or the name would lead elsewhere': () => [
      get('/v2/models/nope'),
      get('/v2/models/add2/versions/9'),
      get('/v2/models/%2E%2E%2Fadd2'),
    ],
    'the path does not have the method': () => [get('/v2/models/add2/infer')],
    'the protocol has it and this server does not': () => [get('/v2/trace/setting')],
    'a page of another origin sent it': () => [get('/v2', { origin: 'http://elsewhere.test' })],
  };

  it('every row of the table is tried, and no other', () => {
    assert.deepEqual(ROWS.map(({ what }) => what).sort(), Object.keys(SENT).sort());
    for (const { status, code } of ROWS) assert.equal(STATUS[code as ErrorCode], status, code);
  });

  for (const { what, code } of ROWS) {
    it(what, async () => {
      for (const answer of await Promise.all(SENT[what]!())) expectError(answer, code as ErrorCode);
    });
  }

  it('what is right is answered all the same', async () => {
    assert.equal((await add2(GOOD)).status, 200);
    assert.deepEqual(running().logged, []);
  });
});
