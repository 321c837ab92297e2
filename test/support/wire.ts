import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';

/** HTTP as bytes over a socket, for what a client library would never send or would hide. */

/** An HTTP response as it came over the wire. */
export interface WireResponse {
  readonly status: number;
  /** By lower-case name; the last one where a name is there more than once. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

interface ResponseOptions {
  readonly head?: boolean;
  readonly interim?: boolean;
}

/** The end of a connection while more was expected. `received` is what had come that was no whole response. */
export class ConnectionEnded extends Error {
  override name = 'ConnectionEnded';
  readonly received: string;

  constructor(received: string) {
    super(`the connection ended; received so far: ${JSON.stringify(received)}`);
    this.received = received;
  }
}

/** A socket to a server whose responses are read one by one. */
export class WireConnection {
  readonly socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    // A reset is an end, too; `close` follows.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  static async open(port: number): Promise<WireConnection> {
    const socket = connect({ port, host: '127.0.0.1' });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new WireConnection(socket);
  }

  /** Resolves when the bytes are with the kernel, or can no longer get there. */
  send(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.socket.write(bytes, () => resolve());
    });
  }

  /**
   * The next response, which must have a Content-Length, as all of Shoal's have.
   *
   * @param options.head whether it answers a HEAD request, so that no body follows.
   * @param options.interim whether an interim response (1xx) counts.
   * @throws {ConnectionEnded}
   */
  async response({ head = false, interim = false }: ResponseOptions = {}): Promise<WireResponse> {
    for (;;) {
      const parsed = parseResponse(this.#received, head);
      if (parsed !== undefined) {
        this.#received = this.#received.subarray(parsed.bytes);
        if (interim || parsed.response.status >= 200) return parsed.response;
        continue;
      }
      if (this.#ended) throw new ConnectionEnded(this.#received.toString('latin1'));
      await this.#change();
    }
  }

  /** Resolves when the server has closed the connection; what it sent and nobody read. */
  async ended(): Promise<string> {
    while (!this.#ended) await this.#change();
    return this.#received.toString('latin1');
  }

  close(): void {
    this.socket.destroy();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Sends bytes on a connection of their own and returns the one response to them. */
export async function exchange(port: number, bytes: string | Uint8Array): Promise<WireResponse> {
  const connection = await WireConnection.open(port);
  try {
    const [response] = await Promise.all([connection.response(), connection.send(bytes)]);
    return response;
  } finally {
    connection.close();
  }
}

/** The bytes of a request with a Content-Length. */
export function requestBytes(
  method: string,
  path: string,
  body = '',
  headers: Readonly<Record<string, string>> = {},
): string {
  const lines = Object.entries({ host: 'shoal.test', 'content-length': String(Buffer.byteLength(body)), ...headers });
  return `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`;
}

function parseResponse(bytes: Buffer, head: boolean): { response: WireResponse; bytes: number } | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [statusLine, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(`${statusLine} `)?.[1];
  assert.ok(status !== undefined, `no status line: ${statusLine}`);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const length = headers['content-length'];
  const interim = Number(status) < 200;
  assert.ok(interim || length !== undefined, `a response without Content-Length: ${statusLine}`);
  const bodyAt = end + 4;
  const bodyEnd = bodyAt + (head || interim ? 0 : Number(length));
  if (bytes.length < bodyEnd) return undefined;
  const body = bytes.toString('utf8', bodyAt, bodyEnd);
  return { response: { status: Number(status), headers, body }, bytes: bodyEnd };
}
