import { Pool } from 'undici';
import { type Body, decodeReply, encodeRequest, HEADER_LENGTH } from './bodies.ts';
import type { BenchModel, Encoding } from './cases.ts';

/** Right answers first: the speed of a server that answers wrongly means nothing. */

/** Largest difference that counts as rounding, as a share of the row's largest value. */
const TOLERANCE = 1e-4;

/**
 * Sends all rows at once, each as a request of its own, and compares every answer with ONNX Runtime's for that row
 * alone.
 *
 * @returns the body of the answer to the first row.
 * @throws {Error} when an answer is missing, malformed or wrong.
 */
export async function verifyAnswers(
  who: string,
  url: string,
  model: BenchModel,
  encoding: Encoding,
  rows: readonly Float32Array[],
  expected: readonly Float32Array[],
): Promise<Buffer> {
  const pool = new Pool(new URL(url).origin, { connections: rows.length });
  try {
    const answers = await Promise.all(rows.map((row) => post(pool, url, encodeRequest(model, encoding, row))));
    for (const [i, { body, headerLength }] of answers.entries()) {
      const values = decodeReply(body, headerLength);
      const wrong = compare(values, expected[i]!);
      if (wrong !== undefined)
        throw new Error(`${who} answers row ${i} of ${model.name} (${encoding}) wrongly: ${wrong}`);
    }
    return answers[0]!.body;
  } finally {
    await pool.destroy();
  }
}

/** @throws {Error} when the answer is not `expected`, byte for byte. */
export async function verifyEcho(url: string, request: Body, expected: Buffer): Promise<void> {
  const pool = new Pool(new URL(url).origin, { connections: 1 });
  const { body } = await post(pool, url, request);
  await pool.destroy();
  if (!body.equals(expected))
    throw new Error(`${url} answered ${body.length} bytes, not the ${expected.length} expected`);
}

interface Answer {
  readonly body: Buffer;
  readonly headerLength: string | undefined;
}

async function post(pool: Pool, url: string, { bytes, headers }: Body): Promise<Answer> {
  const { pathname } = new URL(url);
  const response = await pool.request({ method: 'POST', path: pathname, headers, body: bytes });
  const body = Buffer.from(await response.body.arrayBuffer());
  if (response.statusCode !== 200) throw new Error(`${url} answered ${response.statusCode}: ${body.toString()}`);
  return { body, headerLength: response.headers[HEADER_LENGTH.toLowerCase()]?.toString() };
}

function compare(values: Float32Array, expected: Float32Array): string | undefined {
  if (values.length !== expected.length) return `${values.length} values, ${expected.length} expected`;
  const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [i, value] of values.entries()) {
    if (!(Math.abs(value - expected[i]!) <= TOLERANCE * scale)) return `value ${i} is ${value}, not ${expected[i]}`;
  }
  return undefined;
}
