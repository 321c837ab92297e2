import { createDeflate, createGzip, createUnzip, type Zlib } from 'node:zlib';
import { invalid, messageOf, ShoalError } from '../errors.ts';
import { runSliced } from '../protocol/sliced.ts';
import type { Coding } from './content-coding.ts';

/** Bytes that a thread of the pool works on before another body has its turn there. */
const SLICE_BYTES = 2 ** 20;
const LEAST_CHUNK_BYTES = 16 * 1024;

/** Numbers hardly get smaller at higher levels, which take several times as long. */
const LEVEL = 1;

/**
 * Undoes gzip or zlib's deflate, whichever it is, in the thread pool.
 *
 * @param body must not change meanwhile.
 * @param limitBytes the most that may come out; not much more than that is ever held.
 * @returns the plain bytes, which are the caller's.
 * @throws {ShoalError} BODY_TOO_LARGE, or INVALID_REQUEST when the bytes are corrupt, cut off, or more than one stream
 * of another kind.
 */
export async function inflate(body: Buffer, limitBytes: number): Promise<Buffer> {
  const chunkSize = Math.min(SLICE_BYTES, Math.max(LEAST_CHUNK_BYTES, 4 * body.length));
  const engine = createUnzip({ chunkSize });
  engine.end(body);
  const { chunks, length } = await collect(engine, limitBytes).catch((thrown) => {
    throw isAboutData(thrown) ? invalid(`the compressed body cannot be expanded: ${messageOf(thrown)}`) : thrown;
  });
  if (engine.bytesWritten !== body.length) {
    throw invalid(`the compressed body has ${body.length - engine.bytesWritten} bytes behind its end`);
  }
  return runSliced(join(chunks, length));
}

/** Compresses a body in the thread pool. @param body must not change meanwhile. */
export async function deflate(body: Buffer, coding: Coding): Promise<Buffer> {
  const options = { level: LEVEL, chunkSize: Math.min(SLICE_BYTES, Math.max(LEAST_CHUNK_BYTES, body.length)) };
  const engine = coding === 'gzip' ? createGzip(options) : createDeflate(options);
  for (let at = 0; at < body.length; at += SLICE_BYTES) engine.write(body.subarray(at, at + SLICE_BYTES));
  engine.end();
  const { chunks, length } = await collect(engine, Number.POSITIVE_INFINITY);
  return runSliced(join(chunks, length));
}

/** zlib's codes for bytes that are no whole stream of one of the two formats. */
const DATA_ERRORS: ReadonlySet<unknown> = new Set(['Z_DATA_ERROR', 'Z_BUF_ERROR', 'Z_NEED_DICT']);

function isAboutData(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && DATA_ERRORS.has(thrown.code);
}

function collect(
  engine: Zlib & NodeJS.ReadWriteStream & { destroy(): void },
  limitBytes: number,
): Promise<{ readonly chunks: Buffer[]; readonly length: number }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    engine.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= limitBytes) {
        chunks.push(chunk);
        return;
      }
      engine.destroy();
      reject(
        new ShoalError(
          'BODY_TOO_LARGE',
          `the request body, expanded, is larger than --body-limit, ${limitBytes} bytes`,
        ),
      );
    });
    engine.on('error', reject);
    engine.on('end', () => resolve({ chunks, length }));
  });
}

/** One Buffer of several, about {@link SLICE_BYTES} at a time; each is let go as soon as it is copied. */
function* join(chunks: Buffer[], length: number): Generator<void, Buffer, void> {
  if (chunks.length === 1) return chunks[0]!;
  const whole = Buffer.allocUnsafe(length);
  let at = 0;
  let pause = SLICE_BYTES;
  for (const [i, chunk] of chunks.entries()) {
    chunk.copy(whole, at);
    at += chunk.length;
    chunks[i] = EMPTY;
    if (at < pause) continue;
    pause = at + SLICE_BYTES;
    yield;
  }
  return whole;
}

const EMPTY = Buffer.alloc(0);
