import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import { checkHealth } from '../../../src/cli/health.ts';
import { resolveConfig } from '../../../src/config.ts';
import { recordHost } from './support.ts';

let status = 200;
let asked: string[] = [];
const server = createServer((request, response) => {
  asked.push(`${request.method} ${request.url}`);
  response.writeHead(status).end();
});
let port: number;
before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
after(() => server.close());
beforeEach(() => {
  status = 200;
  asked = [];
});

describe('health', () => {
  it('is fine when the server is ready', async () => {
    const host = recordHost();
    assert.equal(await checkHealth(`http://127.0.0.1:${port}`, resolveConfig(), host), 0);
    assert.deepEqual(asked, ['GET /v2/health/ready']);
    assert.equal(host.stdout, 'ready\n');
  });

  it('asks host and port of the configuration, and this machine for a server on every interface', async () => {
    for (const host of ['127.0.0.1', '0.0.0.0']) {
      assert.equal(await checkHealth(undefined, resolveConfig({ host, port }), recordHost()), 0);
    }
  });

  it('keeps the path of a server behind a prefix', async () => {
    await checkHealth(`http://127.0.0.1:${port}/shoal/`, resolveConfig(), recordHost());
    assert.deepEqual(asked, ['GET /shoal/v2/health/ready']);
  });

  it('fails when the server is not ready', async () => {
    status = 503;
    const host = recordHost();
    assert.equal(await checkHealth(undefined, resolveConfig({ port }), host), 1);
    assert.match(host.stderr, /^shoal: not ready: http:\/\/127\.0\.0\.1:\d+\/v2\/health\/ready answered 503\n$/);
  });

  it('fails when nothing answers', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const unused = (closed.address() as AddressInfo).port;
    closed.close();
    await once(closed, 'close');
    const host = recordHost();
    assert.equal(await checkHealth(undefined, resolveConfig({ port: unused }), host), 1);
    assert.match(host.stderr, /^shoal: no answer from http.*ECONNREFUSED/);
  });

  for (const url of ['localhost:8000', 'ftp://localhost', 'nonsense']) {
    it(`refuses the address ${url}`, async () => {
      await assert.rejects(checkHealth(url, resolveConfig(), recordHost()), {
        name: 'ConfigError',
        message: `argument [url] is '${url}', expected an address such as http://127.0.0.1:8000`,
      });
    });
  }
});
