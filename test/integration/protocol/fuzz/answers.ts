import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { gunzipSync, inflateSync } from 'node:zlib';
import { DATATYPES, type Datatype, elementCount, skipBytesElements } from '../../../../src/tensor/tensor.ts';
import { type Answer, HEADER_LENGTH, type InferReply, type TestClient } from '../../../support/server.ts';
import type { BodyInput } from './bodies.ts';
import type { FramingInput } from './framing.ts';

/** What every answer has to be, whatever was sent. */

/** The statuses of what is the caller's fault, and of success. */
const BODY_STATUSES = [200, 400, 413, 415];

/** A connection that has not come to its end this long after the client's is hung. */
const HANG_MS = 5000;
/** How long an answer is waited for before the client ends its side. */
const PATIENCE_MS = 15;

/** Sends a body and checks the answer. */
export async function attemptBody(client: TestClient, { model, headers, body }: BodyInput): Promise<void> {
  const answer = await client.send('POST', `/v2/models/${model}/infer`, body, headers);
  const { status } = answer;
  // A caller may give its request less time than there is.
  const isLate = (status === 429 || status === 504) && body.includes('timeout');
  assert.ok(BODY_STATUSES.includes(status) || isLate, `${status} ${answer.body}`);
  if (status !== 200) {
    checkError(answer);
    return;
  }
  checkReply(answer);
  const isPlain = headers['content-encoding'] === undefined && headers[HEADER_LENGTH] === undefined;
  if (isPlain) assert.ok(isJson(body), 'what is no JSON was taken');
}

/** Writes bytes on a connection of their own and checks what comes back until it is closed. */
export async function attemptFraming(port: number, { pieces }: FramingInput): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  // A reset is an end, too.
  socket.on('error', () => {});
  // `once` of events would fail with the reset.
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.setNoDelay(true);
  for (const piece of pieces) {
    if (!socket.writable) break;
    await new Promise((resolve) => socket.write(piece, resolve));
    await new Promise(setImmediate);
  }
  const patience = timer(PATIENCE_MS);
  await Promise.race([once(socket, 'data').catch(() => {}), closed, patience.over]);
  patience.clear();
  socket.end();
  const hang = timer(HANG_MS);
  const end = await Promise.race([closed.then(() => 'closed'), hang.over]);
  hang.clear();
  socket.destroy();
  assert.equal(end, 'closed', 'the connection hangs');
  checkResponses(Buffer.concat(chunks));
}

function timer(ms: number): { readonly over: Promise<void>; readonly clear: () => void } {
  let id: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    id = setTimeout(resolve, ms);
  });
  return { over, clear: () => clearTimeout(id) };
}

/** Whole responses one after the other and nothing else, none of which is a fault of the server. */
function checkResponses(bytes: Buffer): void {
  let at = 0;
  while (at < bytes.length) {
    const end = bytes.indexOf('\r\n\r\n', at);
    const head = bytes.toString('latin1', at, end);
    assert.ok(end >= 0, `no whole response: ${bytes.toString('latin1', at)}`);
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
    at = end + 4;
    if (status === 100) continue;
    const headers = Object.fromEntries(
      head
        .split('\r\n')
        .slice(1)
        .map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const length = Number(headers['content-length']);
    const body = bytes.subarray(at, at + length);
    assert.equal(body.length, length, `a response without its body: ${head}`);
    at += length;
    // What is left out of the protocol, and transfer codings that are not known.
    assert.ok(status >= 200 && (status < 500 || status === 501 || isReadiness(body)), `${head}\n${body}`);
    if (status >= 400) checkError({ status, headers, body });
  }
}

/** Loading by requests is off in the server under test, which is not the caller's fault. */
function isReadiness(body: Buffer): boolean {
  return body.includes('--model-control-mode');
}

function checkError({ headers, body }: Answer): void {
  assert.equal(headers['content-type'], 'application/json');
  assert.equal(headers['content-encoding'], undefined);
  assert.match(String(headers['shoal-error-code']), /^[A-Z_]+$/);
  const parsed: unknown = JSON.parse(body.toString());
  assert.ok(typeof parsed === 'object' && parsed !== null && 'error' in parsed);
  assert.ok(typeof parsed.error === 'string' && /^[^\n\r]+$/.test(parsed.error), body.toString());
}

/** A reply is well-formed: as many elements or bytes as its shapes say, and nothing left over. */
function checkReply({ headers, body }: Answer): void {
  const coding = headers['content-encoding'];
  const plain = coding === 'gzip' ? gunzipSync(body) : coding === 'deflate' ? inflateSync(body) : body;
  const length = headers[HEADER_LENGTH] === undefined ? plain.length : Number(headers[HEADER_LENGTH]);
  const reply = JSON.parse(plain.toString('utf8', 0, length)) as InferReply;
  let at = length;
  for (const { name, datatype, shape, data, parameters } of reply.outputs) {
    const count = elementCount(shape);
    if (data !== undefined) assert.equal(data.length, count, name);
    else {
      const end = at + parameters!.binary_data_size;
      if (datatype === 'BYTES') assert.equal(skipBytesElements(plain, at, count, name), end);
      else assert.equal(end - at, count * DATATYPES[datatype as Datatype].size, name);
      at = end;
    }
  }
  assert.equal(at, plain.length);
}

/** JSON, with the tokens that the protocol's clients send for what is not finite. */
function isJson(body: Buffer): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    JSON.parse(text.replaceAll(/(?<![\w"\\])-?(?:NaN|Infinity)(?!\w)/g, '0'));
    return true;
  } catch {
    return false;
  }
}
