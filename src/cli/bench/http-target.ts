import { type Dispatcher, Pool } from 'undici';
import { HEADER_LENGTH } from '../../client/encode.ts';
import { ConfigError } from '../../config-error.ts';
import { messageOf } from '../../errors.ts';
import { type DescribedTensor, generateInputs, type Inputs, signatureOf } from './inputs.ts';
import { RequestFailure } from './load.ts';
import { parseTimes, type RequestTimes } from './request-times.ts';
import type { Target } from './target.ts';

/** Longer than servers take. */
const TIMEOUT_MS = 60_000;

interface Encoded {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** A model of a running server, asked in binary by its V2 protocol. */
export class HttpTarget implements Target {
  readonly name: string;
  readonly #path: string;
  readonly #pool: Pool;
  /** Bodies by their inputs, which are the same objects all the time. */
  readonly #bodies: Map<Inputs, Encoded> = new Map();

  /** @throws {ConfigError} for an address that is none. */
  constructor(url: string, model: string, connections: number) {
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
      throw new ConfigError('argument [url]', url, 'an address such as http://127.0.0.1:8000');
    }
    const { origin, pathname } = new URL(url);
    this.name = url;
    this.#path = `${pathname.replace(/\/+$/, '')}/v2/models/${encodeURIComponent(model)}`;
    this.#pool = new Pool(origin, { connections, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS });
  }

  async send(inputs: Inputs): Promise<RequestTimes | undefined> {
    const { headers, body } = this.#encoded(inputs);
    const answer = await this.#ask({ method: 'POST', path: `${this.#path}/infer`, headers, body });
    // The body is taken in and thrown away: what it holds is the tests' matter.
    await answer.body.dump({ limit: Number.MAX_SAFE_INTEGER });
    if (answer.statusCode !== 200) {
      throw new RequestFailure(`${answer.statusCode} ${String(answer.headers['shoal-error-code'] ?? '')}`.trim());
    }
    return parseTimes(String(answer.headers['server-timing'] ?? ''));
  }

  async makeInputs(rows: number): Promise<Inputs> {
    const answer = await this.#ask({ method: 'GET', path: this.#path });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new RequestFailure(`GET ${this.#path}: ${answer.statusCode} ${text}`);
    const { inputs } = JSON.parse(text) as { readonly inputs: readonly DescribedTensor[] };
    return generateInputs(signatureOf(inputs), rows, async (tried) => {
      try {
        await this.send(tried);
      } finally {
        this.#bodies.delete(tried);
      }
    });
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  async #ask(request: Omit<Dispatcher.RequestOptions, 'origin'>): Promise<Dispatcher.ResponseData> {
    try {
      return await this.#pool.request(request);
    } catch (thrown) {
      const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
      throw new RequestFailure(code === '' ? messageOf(thrown) : code);
    }
  }

  #encoded(inputs: Inputs): Encoded {
    let encoded = this.#bodies.get(inputs);
    if (encoded === undefined) {
      encoded = encode(inputs);
      this.#bodies.set(inputs, encoded);
    }
    return encoded;
  }
}

/** The body of an infer request with binary sections (Open Inference Protocol, binary tensor data extension). */
function encode(inputs: Inputs): Encoded {
  const entries = Object.entries(inputs);
  const described = entries.map(([name, { datatype, shape, bytes }]) => ({
    name,
    datatype,
    shape,
    parameters: { binary_data_size: bytes.byteLength },
  }));
  const json = Buffer.from(JSON.stringify({ parameters: { binary_data_output: true }, inputs: described }));
  return {
    headers: { 'content-type': 'application/octet-stream', [HEADER_LENGTH]: String(json.length) },
    body: Buffer.concat([json, ...entries.map(([, { bytes }]) => bytes)]),
  };
}
