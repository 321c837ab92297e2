import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Scope } from './server.ts';

/** A request as it arrived. */
export interface Arrived {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** What is answered: a body as JSON, as text or as bytes; or whatever is done with the response itself. */
export type FakeReply = PlainReply | ((response: ServerResponse) => void);

/** A reply by its parts. */
export interface PlainReply {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
}

/** A server that answers what it is told, in turn; the last reply is given again and again. */
export interface FakeServer {
  readonly url: string;
  readonly arrived: readonly Arrived[];
}

/** Starts a server that knows nothing of inference, for the faults that a real one does not have. */
export async function startFakeServer(scope: Scope, ...replies: readonly FakeReply[]): Promise<FakeServer> {
  const arrived: Arrived[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = '', url = '', headers } = request;
    const reply = replies[Math.min(arrived.length, replies.length - 1)]!;
    arrived.push({ method, url, headers, body: Buffer.concat(chunks) });
    if (typeof reply === 'function') reply(response);
    else send(response, reply);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.after(async () => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, arrived };
}

function send(response: ServerResponse, { status = 200, headers = {}, body = '' }: PlainReply): void {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const type = typeof body === 'string' ? {} : { 'content-type': 'application/json' };
  response.writeHead(status, { 'content-length': String(bytes.length), ...type, ...headers });
  response.end(bytes);
}

/** An inference reply with binary sections. */
export function binaryReply(json: object, ...sections: readonly Uint8Array[]): PlainReply {
  const head = Buffer.from(JSON.stringify(json));
  return {
    headers: { 'inference-header-content-length': String(head.length), 'content-type': 'application/octet-stream' },
    body: Buffer.concat([head, ...sections]),
  };
}
