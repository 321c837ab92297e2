import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, LookupFunction } from 'node:net';
import path from 'node:path';
import { after, before } from 'node:test';
import type { RemoteTest } from '../../src/loading/remote.ts';
import { REPOSITORY_ROOT } from './root.ts';

const pem = (name: string): string => readFileSync(path.join(REPOSITORY_ROOT, 'test/support/tls', name), 'utf8');

/** Every name is this machine. */
export const loopbackLookup: LookupFunction = (_host, options, callback) => {
  if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
  else callback(null, '127.0.0.1', 4);
};

/** How a fetcher reaches an {@link HttpsSource}. */
export const throughLoopback: RemoteTest = { ca: pem('cert.pem'), lookup: loopbackLookup, allowPrivate: true };

/** A real HTTPS server on this machine for `data.test` and all below `wide.test`, which notes what it was asked for. */
export class HttpsSource {
  readonly server: Server;
  requests: string[] = [];
  answer: (request: IncomingMessage, response: ServerResponse) => void = (_request, response) => response.end();

  constructor() {
    this.server = createServer({ cert: pem('cert.pem'), key: pem('key.pem') }, (request, response) => {
      this.requests.push(`${request.headers.host?.split(':')[0]}${request.url}`);
      this.answer(request, response);
    });
  }

  async listen(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Answers each path with its bytes, others with 404. */
  serve(files: Readonly<Record<string, Uint8Array | string>>): void {
    this.answer = ({ url }, response) => {
      const file = files[url ?? ''];
      if (file === undefined) response.writeHead(404).end();
      else response.end(file);
    };
  }

  url(target: string, host = 'data.test'): string {
    return `https://${host}:${this.port}${target}`;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** A source for all tests of the suite in whose body this is called. */
export function useHttpsSource(): HttpsSource {
  const source = new HttpsSource();
  before(() => source.listen());
  after(() => source.close());
  return source;
}
