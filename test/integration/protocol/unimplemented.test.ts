import { describe, it } from 'node:test';
import { add2 } from '../../support/models.ts';
import { expectError, useServer } from '../../support/server.ts';

describe('what the protocol has and this server leaves out', () => {
  const running = useServer(() => ({ add2: add2() }));

  it('case 83: trace, shared memory and generate routes are refused with 501, for models that exist or do not', async () => {
    for (const [method, path] of [
      ['GET', '/v2/trace/setting'],
      ['POST', '/v2/trace/setting'],
      ['GET', '/v2/models/add2/trace/setting'],
      ['POST', '/v2/models/add2/trace/setting'],
      ['POST', '/v2/models/nope/trace/setting/'],
      ['GET', '/v2/systemsharedmemory/status'],
      ['GET', '/v2/systemsharedmemory/region/input_data/status'],
      ['POST', '/v2/systemsharedmemory/region/input_data/register'],
      ['POST', '/v2/systemsharedmemory/region/input_data/unregister'],
      ['POST', '/v2/systemsharedmemory/unregister'],
      ['GET', '/v2/cudasharedmemory/status'],
      ['POST', '/v2/cudasharedmemory/region/input_data/register'],
      ['POST', '/v2/cudasharedmemory/unregister'],
      ['POST', '/v2/models/add2/generate'],
      ['POST', '/v2/models/add2/versions/1/generate'],
      ['POST', '/v2/models/nope/generate_stream'],
      ['POST', '/v2/repository/mine/index'],
      ['POST', '/v2/repository/mine/models/add2/load'],
      ['POST', '/v2/repository/mine/models/add2/unload'],
    ] as const) {
      const body = method === 'POST' ? '{"text_input":"x","trace_level":["OFF"]}' : undefined;
      expectError(await running().send(method, path, body), 'UNIMPLEMENTED', /is not implemented by this server/);
    }
  });

  it('the body of such a request is not read, and its connection serves the next one', async () => {
    const large = Buffer.alloc(3_000_000, 0x20);
    expectError(await running().send('POST', '/v2/models/add2/generate', large), 'UNIMPLEMENTED', /generating text/);
    expectError(await running().send('POST', '/v2/trace/setting'), 'UNIMPLEMENTED', /tracing/);
    expectError(await running().send('PUT', '/v2/trace/setting'), 'METHOD_NOT_ALLOWED', /GET, HEAD, POST/);
  });
});
