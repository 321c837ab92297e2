import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, LookupFunction } from 'node:net';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { RemoteFetcher, type RemoteOptions } from '../../../src/loading/remote.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';

const pem = (name: string): string => readFileSync(path.join(REPOSITORY_ROOT, 'test/support/tls', name), 'utf8');

/** Every name is this machine. */
const lookup: LookupFunction = (_host, options, callback) => {
  if (options.all === true) callback(null, [{ address: '127.0.0.1', family: 4 }]);
  else callback(null, '127.0.0.1', 4);
};

describe('fetching what callers name', () => {
  let server: Server;
  let port: number;
  let requests: string[] = [];
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const fetchers: RemoteFetcher[] = [];

  before(async () => {
    server = createServer({ cert: pem('cert.pem'), key: pem('key.pem') }, (request, response) => {
      requests.push(`${request.headers.host?.split(':')[0]}${request.url}`);
      answer(request, response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  });
  after(async () => {
    await Promise.all(fetchers.map((fetcher) => fetcher.close()));
    server.closeAllConnections();
    server.close();
  });

  function fetcher(options: Partial<RemoteOptions> = {}): RemoteFetcher {
    requests = [];
    const made = new RemoteFetcher({
      hosts: [`data.test:${port}`, `*.wide.test:${port}`],
      maxBytes: 1000,
      timeoutMs: 2000,
      test: { ca: pem('cert.pem'), lookup, allowPrivate: true },
      ...options,
    });
    fetchers.push(made);
    return made;
  }
  const at = (host: string, target = '/x'): string => `https://${host}:${port}${target}`;
  const refused = (text: RegExp) => ({ code: 'INVALID_REQUEST', message: text });
  const failed = (text: RegExp) => ({ code: 'REMOTE_FAILED', message: text });

  it('gives the bytes', async () => {
    answer = (_request, response) => response.end(Buffer.from([1, 2, 255]));
    const remote = fetcher();
    assert.deepEqual(await remote.fetch(at('data.test', '/a?b=c#d')), Buffer.from([1, 2, 255]));
    assert.deepEqual(await remote.fetch(at('one.wide.test')), Buffer.from([1, 2, 255]));
    assert.deepEqual(requests, ['data.test/a?b=c', 'one.wide.test/x']);
  });

  it('refuses what is not https, not allowed, or no address, and asks nobody', async () => {
    const remote = fetcher();
    await assert.rejects(remote.fetch('http://data.test/x'), refused(/begins with "http:"/));
    await assert.rejects(remote.fetch('file:///etc/passwd'), refused(/begins with "file:"/));
    await assert.rejects(remote.fetch('data.test'), refused(/"data\.test" is not an address/));
    await assert.rejects(remote.fetch(at('other.test')), refused(/'other\.test' with port \d+ is not among/));
    await assert.rejects(remote.fetch(at('wide.test')), refused(/'wide\.test'/));
    await assert.rejects(remote.fetch(at('evildata.test')), refused(/'evildata\.test'/));
    await assert.rejects(remote.fetch('https://user:word@data.test/'), refused(/user name or password/));
    await assert.rejects(remote.fetch('https://data.test/x'), refused(/'data\.test' is not among/));
    await assert.rejects(remote.fetch(at('data.test.')), refused(/'data\.test\.'/));
    assert.deepEqual(requests, []);
  });

  it('refuses private addresses, by name and written out, unless a test lets them through', async () => {
    const hosts = ['data.test', '127.0.0.1', '[::1]', '[::ffff:7f00:1]'].map((host) => `${host}:${port}`);
    const remote = fetcher({ hosts, test: { ca: pem('cert.pem'), lookup } });
    await assert.rejects(remote.fetch(at('data.test')), refused(/'data\.test' is not on the public internet/));
    await assert.rejects(remote.fetch(at('127.0.0.1')), refused(/'127\.0\.0\.1' is not on the public/));
    for (const host of ['2130706433', '0x7f000001', '017700000001', '127.1', '0177.0.0.1']) {
      await assert.rejects(remote.fetch(at(host)), refused(/'127\.0\.0\.1' is not on the public/));
    }
    await assert.rejects(remote.fetch(at('[::1]')), refused(/'\[::1\]' is not on the public/));
    await assert.rejects(remote.fetch(at('[::ffff:127.0.0.1]')), refused(/is not on the public/));
    assert.deepEqual(requests, []);
  });

  it('follows redirects, and checks each', async () => {
    answer = ({ url }, response) => {
      if (url === '/x') response.writeHead(302, { location: '/y' }).end();
      else if (url === '/y') response.writeHead(307, { location: at('a.wide.test', '/z') }).end();
      else if (url === '/out') response.writeHead(301, { location: at('other.test') }).end();
      else if (url === '/plain') response.writeHead(301, { location: 'http://data.test/' }).end();
      else if (url === '/round') response.writeHead(302, { location: '/round' }).end();
      else response.end('there');
    };
    const remote = fetcher();
    assert.equal((await remote.fetch(at('data.test'))).toString(), 'there');
    assert.deepEqual(requests, ['data.test/x', 'data.test/y', 'a.wide.test/z']);
    await assert.rejects(
      remote.fetch(at('data.test', '/out')),
      refused(/'data\.test' redirects to an address that may not be fetched$/),
    );
    await assert.rejects(
      remote.fetch(at('data.test', '/plain')),
      refused(/redirects to an address that may not be fetched$/),
    );
    await assert.rejects(remote.fetch(at('data.test', '/round')), failed(/redirects more than 3 times/));
  });

  it('bounds the size, told beforehand or not', async () => {
    answer = ({ url }, response) => {
      if (url === '/told') response.writeHead(200, { 'content-length': '5000' });
      for (let i = 0; i < 50; i++) response.write(Buffer.alloc(100));
      response.end();
    };
    const remote = fetcher();
    for (const target of ['/told', '/chunked']) {
      await assert.rejects(
        remote.fetch(at('data.test', target)),
        refused(/'data\.test' sends is larger than 1000 bytes/),
      );
    }
  });

  it('bounds the time, before the answer and within it', async () => {
    answer = ({ url }, response) => {
      if (url === '/slow') response.write('a');
    };
    const remote = fetcher({ timeoutMs: 100 });
    for (const target of ['/slow', '/silent']) {
      const start = performance.now();
      await assert.rejects(remote.fetch(at('data.test', target)), {
        code: 'REMOTE_TIMEOUT',
        message: /did not answer within 100 ms/,
      });
      assert.ok(performance.now() - start < 1500);
    }
  });

  it('tells what its host did wrong', async () => {
    answer = ({ url, socket }, response) => {
      if (url === '/cut') {
        response.writeHead(200, { 'content-length': '50' });
        response.write('some');
        setImmediate(() => socket.destroy());
      } else response.writeHead(404).end();
    };
    const remote = fetcher();
    await assert.rejects(remote.fetch(at('data.test')), failed(/status 404/));
    await assert.rejects(remote.fetch(at('data.test', '/cut')), failed(/'data\.test' has ended the connection$/));
    const distrusting = fetcher({ test: { lookup, allowPrivate: true } });
    await assert.rejects(distrusting.fetch(at('data.test')), failed(/certificate/));
  });

  it('shares one fetch among all who ask at the same time, and asks again afterwards', async () => {
    answer = (_request, response) => void setTimeout(() => response.end('once'), 20);
    const remote = fetcher();
    const all = await Promise.all(Array.from({ length: 50 }, () => remote.fetch(at('data.test'))));
    assert.ok(all.every((bytes) => bytes.toString() === 'once'));
    assert.equal(requests.length, 1);
    await remote.fetch(at('data.test'));
    assert.equal(requests.length, 2);
  });

  it('goes on for those who stay when one leaves, and ends when the last has left', async () => {
    let closed: Promise<unknown> | undefined;
    answer = (_request, response) => {
      closed = once(response, 'close');
      setTimeout(() => response.end('late'), 50);
    };
    const remote = fetcher();
    const leaving = new AbortController();
    const [left, stayed] = [remote.fetch(at('data.test'), leaving.signal), remote.fetch(at('data.test'))];
    setTimeout(() => leaving.abort(), 5);
    await assert.rejects(left, { code: 'CANCELLED' });
    assert.equal((await stayed).toString(), 'late');

    let hung: Promise<unknown> | undefined;
    answer = (_request, response) => {
      hung = once(response, 'close');
    };
    const only = new AbortController();
    const alone = remote.fetch(at('data.test', '/hangs'), only.signal);
    await once(server, 'request');
    only.abort();
    await assert.rejects(alone, { code: 'CANCELLED' });
    await hung;
    assert.ok(closed !== undefined);
    await assert.rejects(remote.fetch(at('data.test'), AbortSignal.abort()), { code: 'CANCELLED' });
  });
});
