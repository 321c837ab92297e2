import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { type ByteMutation, byteMutation, mutateBytes, mutateTokens, someOf, tokenMutation } from './mutations.ts';

/** Bytes as they come over a connection: HTTP, and what is left of it after something was done to it. */

/** What is written on one connection, piece by piece. */
export interface FramingInput {
  readonly pieces: readonly Buffer[];
}

const BODY = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}';
const SIZE = BODY.length.toString(16);

// No HEAD among them: whether a response has a body would then hang on what became of its request.
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'get', 'FOO', '', 'CONNECT', 'PRI'];
const TARGETS = [
  ...['/', '/v2', '/v2/health/ready', '/v2/models', '/v2/models/ident_FP32', '/v2/models/ident_FP32/infer', '/metrics'],
  ...[
    '/v2/models/%2E%2E/infer',
    '/v2/models/%',
    '/v2/models/ident%5FFP32/ready/',
    '/v2/models/x/versions/9',
    '//',
    '*',
  ],
  ...['http://a/v2', 'http://[/', `/v2/models/${'n'.repeat(600)}`, '/v2?x=%zz', '/v2#x', '/v2/models/stats', 'v2', ''],
  ...['/v1/models/ident_FP32:predict', '/v1/models/ident_FP32%3Apredict', '/v1/models/', '/openapi.json', '/docs'],
  ...['/v2/repository/index', '/v2/repository/models/..%2Fx/load', '/v2/logging', '/v2/trace/setting'],
];
const VERSIONS = ['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/1.2', 'http/1.1', ''];
const FIELDS = [
  ...[`Content-Length: ${BODY.length}`, 'Content-Length: 0', 'Content-Length: -1', 'Content-Length: 1, 1'],
  ...['Content-Length: 99999999999', `Content-Length: ${'9'.repeat(30)}`, 'Content-Length:', 'Content-Length: 0x5'],
  ...['Transfer-Encoding: chunked', 'Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: identity'],
  ...['Transfer-Encoding: chunked, chunked', 'Transfer-Encoding:', 'Transfer-Encoding: xchunked'],
  ...['Host: shoal.test', 'Host: a', 'Host: a b', 'Connection: close', 'Connection: keep-alive', 'Connection: upgrade'],
  ...['Upgrade: websocket', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__', 'Expect: 100-continue', 'Expect: x'],
  ...['Content-Encoding: gzip', 'Content-Encoding: br', 'Accept-Encoding: gzip', 'Origin: http://elsewhere.test'],
  ...['Inference-Header-Content-Length: 5', 'Inference-Header-Content-Length: 0', 'X-Request-Id: \u0001', 'A: \0'],
  ...[' folded', 'No colon', ': no name', 'A : b', 'A: b\rC: d', `A: ${'x'.repeat(17_000)}`, 'Content-Type: bogus'],
  ...['X-Request-Id: é', 'traceparent: 00-zz', 'Accept: text/html', 'Trailer: A', 'TE: trailers', 'Keep-Alive: 5'],
];
const BODIES = [
  ...[
    '',
    BODY,
    BODY,
    `${SIZE}\r\n${BODY}\r\n0\r\n\r\n`,
    `${SIZE};a=b\r\n${BODY}\r\n0\r\nA: b\r\n\r\n`,
    'x'.repeat(5000),
  ],
  ...[
    `${SIZE}\r\n${BODY}\r\n`,
    `zz\r\n${BODY}\r\n0\r\n\r\n`,
    `-1\r\n${BODY}\r\n`,
    `fffffffffffffffff\r\n${BODY}`,
    '0\r\n\r\n',
  ],
  ...[`1\r\n${BODY}\r\n0\r\n\r\n`, `${SIZE}\n${BODY}\n0\n\n`, `${SIZE};${'x'.repeat(20_000)}\r\n${BODY}\r\n0\r\n\r\n`],
];

const dictionary = [...FIELDS, ...FIELDS, ...METHODS, ...TARGETS, ...BODIES, '\r\n', '\n', '\r', ' ', '\r\n\r\n', '\0'];

/** A sound inference request of one of the two framings, as tokens. */
const sound = fc.constantFrom<readonly string[]>(
  [
    'POST',
    ' ',
    '/v2/models/ident_FP32/infer',
    ' ',
    'HTTP/1.1',
    '\r\n',
    'Host: a',
    '\r\n',
    `Content-Length: ${BODY.length}`,
    '\r\n',
    '\r\n',
    BODY,
  ],
  [
    'POST',
    ' ',
    '/v2/models/ident_FP32/infer',
    ' ',
    'HTTP/1.1',
    '\r\n',
    'Host: a',
    '\r\n',
    'Transfer-Encoding: chunked',
    '\r\n',
    '\r\n',
    SIZE,
    '\r\n',
    BODY,
    '\r\n',
    '0',
    '\r\n',
    '\r\n',
  ],
  ['GET', ' ', '/v2/models/ident_FP32', ' ', 'HTTP/1.1', '\r\n', 'Host: a', '\r\n', '\r\n'],
);

/** A request made of parts that are seldom seen together. */
const odd = fc
  .record({
    method: fc.constantFrom(...METHODS),
    target: fc.constantFrom(...TARGETS),
    version: fc.constantFrom(...VERSIONS),
    fields: fc.array(fc.constantFrom(...FIELDS), { maxLength: 4 }),
    body: fc.constantFrom(...BODIES, gzipSync(BODY).toString('latin1')),
  })
  .map(({ method, target, version, fields, body }) => [
    ...[method, ' ', target, ' ', version, '\r\n', 'Host: a', '\r\n'],
    ...fields.flatMap((field) => [field, '\r\n']),
    ...['\r\n', body],
  ]);

const message: fc.Arbitrary<Buffer> = fc
  .record({ tokens: fc.oneof(sound, odd), mutations: someOf(tokenMutation(dictionary), 4) })
  .map(({ tokens, mutations }) => Buffer.from(mutateTokens(tokens, mutations).join(''), 'latin1'));

/** One to three messages, then changes to bytes, written in up to five pieces. */
export const framingInput: fc.Arbitrary<FramingInput> = fc
  .record({
    messages: fc.array(message, { minLength: 1, maxLength: 3 }),
    bytes: fc.oneof(
      { weight: 3, arbitrary: fc.constant<readonly ByteMutation[]>([]) },
      { weight: 1, arbitrary: fc.array(byteMutation, { maxLength: 3 }) },
    ),
    cuts: fc.array(fc.nat(), { maxLength: 4 }),
  })
  .map(({ messages, bytes, cuts }) => {
    const all = mutateBytes(Buffer.concat(messages), bytes);
    const places = cuts.map((cut) => cut % (all.length + 1)).sort((a, b) => a - b);
    return { pieces: [0, ...places].map((from, i) => all.subarray(from, places[i] ?? all.length)) };
  });
