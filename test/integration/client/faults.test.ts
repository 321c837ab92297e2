import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { brotliCompressSync, deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { Agent } from 'undici';
import { type ClientOptions, type InferReply, type InputTensor, ShoalClient } from '../../../src/client/index.ts';
import { binaryReply, type FakeReply, type FakeServer, startFakeServer } from '../../support/fake-v2.ts';
import type { Scope } from '../../support/server.ts';

/** The client against servers and proxies that answer what they should not. */

const QUICK: ClientOptions = { retry: { baseMs: 1 } };
const x: InputTensor = { data: Float32Array.of(1, 2), shape: [1, 2] };

/** A good reply: `y` is [1, 2] in JSON. */
const GOOD: FakeReply = {
  body: { model_name: 'm', model_version: '1', outputs: [{ name: 'y', datatype: 'FP32', shape: [2], data: [1, 2] }] },
};

async function start(
  scope: Scope,
  replies: readonly FakeReply[],
  options: ClientOptions = QUICK,
): Promise<{ server: FakeServer; client: ShoalClient }> {
  const server = await startFakeServer(scope, ...replies);
  const client = new ShoalClient(server.url, options);
  scope.after(() => client.close());
  return { server, client };
}

const refusal = (status: number, code?: string, headers: Record<string, string> = {}): FakeReply => ({
  status,
  headers: code === undefined ? headers : { 'shoal-error-code': code, ...headers },
  body: { error: `refused with ${status}` },
});
const cut: FakeReply = (response) => void response.socket!.destroy();

describe('retries', () => {
  const passing: readonly (readonly [string, FakeReply])[] = [
    ['429', refusal(429)],
    ['a full queue', refusal(429, 'QUEUE_FULL')],
    ['502 of a proxy', { status: 502, headers: { 'content-type': 'text/html' }, body: '<h1>Bad Gateway</h1>' }],
    ['503 without a reason', refusal(503)],
    ['504 without a reason', refusal(504)],
    ['a model that loads', refusal(503, 'MODEL_NOT_READY')],
    ['a server that drains', refusal(503, 'SHUTTING_DOWN')],
    ['a connection that was cut', cut],
    [
      'a connection that was cut within the answer',
      (response) => {
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{"outputs":', () => response.socket!.destroy());
      },
    ],
  ];
  for (const [what, fault] of passing) {
    it(`after ${what} the call is tried again`, async (t) => {
      const { server, client } = await start(t, [fault, fault, GOOD]);
      assert.deepEqual((await client.infer('m', { x })).outputs['y']!.data, Float32Array.of(1, 2));
      assert.equal(server.arrived.length, 3);
      assert.deepEqual(server.arrived[0]!.body, server.arrived[2]!.body, 'the whole request again');
    });
  }

  const lasting: readonly (readonly [string, FakeReply, string])[] = [
    ['400', refusal(400, 'INVALID_REQUEST'), 'INVALID_REQUEST'],
    ['404 of another server', refusal(404), 'HTTP_404'],
    ['408', refusal(408), 'HTTP_408'],
    ['500', refusal(500, 'INFERENCE_FAILED'), 'INFERENCE_FAILED'],
    ['500 of another server', refusal(500), 'HTTP_500'],
    ['501', refusal(501), 'HTTP_501'],
    ['a request that cost executors their lives', refusal(503, 'EXECUTOR_LOST'), 'EXECUTOR_LOST'],
    ['a time that was over', refusal(504, 'DEADLINE_EXCEEDED'), 'DEADLINE_EXCEEDED'],
    ['a redirect', { status: 302, headers: { location: '/elsewhere' } }, 'HTTP_302'],
    ['a page', { headers: { 'content-type': 'text/html' }, body: '<html>' }, 'BAD_REPLY'],
  ];
  for (const [what, fault, code] of lasting) {
    it(`after ${what} it is not`, async (t) => {
      const { server, client } = await start(t, [fault, GOOD]);
      await assert.rejects(client.infer('m', { x }), { name: 'ShoalClientError', code, attempts: 1 });
      assert.equal(server.arrived.length, 1);
    });
  }

  it('end after as many tries as asked for, with the last failure', async (t) => {
    const html = '<html><head><style>h1 {}</style></head><body>\n<h1>502</h1> Bad   Gateway</body></html>';
    const { server, client } = await start(
      t,
      [cut, { status: 502, headers: { 'content-type': 'text/html' }, body: html }],
      {
        retry: { attempts: 4, baseMs: 1 },
      },
    );
    await assert.rejects(client.infer('m', { x }), {
      code: 'HTTP_502',
      status: 502,
      attempts: 4,
      serverText: '502 Bad Gateway',
      message: 'POST /v2/models/m/infer: 502: 502 Bad Gateway',
    });
    assert.equal(server.arrived.length, 4);
    const once = new ShoalClient(server.url, { retry: { attempts: 1 } });
    await assert.rejects(once.infer('m', { x }), { attempts: 1 });
    await once.close();
  });

  it('wait as long as Retry-After says, in seconds or as a date', async (t) => {
    for (const make of [() => '1', () => new Date(Date.now() + 2000).toUTCString()]) {
      const value = make();
      const { client } = await start(t, [refusal(503, undefined, { 'retry-after': value }), GOOD]);
      const startMs = performance.now();
      await client.infer('m', { x });
      // A date has whole seconds only.
      assert.ok(performance.now() - startMs > 850, `${value}: ${performance.now() - startMs} ms`);
    }
  });

  it('do not wait for what would come too late', async (t) => {
    const { server, client } = await start(t, [refusal(429, 'QUEUE_FULL', { 'retry-after': '60' }), GOOD]);
    const call = client.infer('m', { x }, { timeoutMs: 5000 });
    await assert.rejects(call, {
      code: 'QUEUE_FULL',
      retryAfterSeconds: 60,
      attempts: 1,
      serverText: 'refused with 429',
    });
    assert.equal(server.arrived.length, 1);
  });

  it('a pause ends when the caller aborts, and when the client is closed', async (t) => {
    const { server, client } = await start(t, [refusal(503, undefined, { 'retry-after': '30' })]);
    const controller = new AbortController();
    const aborted = client.infer('m', { x }, { signal: controller.signal });
    const left = client.infer('m', { x });
    while (server.arrived.length < 2) await new Promise(setImmediate);
    controller.abort();
    await assert.rejects(aborted, { code: 'ABORTED' });
    await Promise.all([client.close(), assert.rejects(left, { code: 'HTTP_503', attempts: 1 })]);
  });

  it('loading and unloading are not repeated once they may have reached the server', async (t) => {
    for (const fault of [cut, refusal(503), refusal(429)]) {
      const { server, client } = await start(t, [fault]);
      await assert.rejects(client.loadModel('m'), { attempts: 1 });
      await assert.rejects(client.unloadModel('m'), { attempts: 1 });
      assert.equal(server.arrived.length, 2);
    }
  });
});

describe('replies that are none', () => {
  const output = (more: object): object => ({ name: 'y', datatype: 'FP32', shape: [2], ...more });
  const sized = (binary_data_size: unknown): object => output({ parameters: { binary_data_size } });
  const json = (...outputs: unknown[]): FakeReply => ({ body: { model_name: 'm', outputs } });
  const bytes = (count: number): Uint8Array => new Uint8Array(count);

  const table: readonly (readonly [string, FakeReply, RegExp])[] = [
    [
      'a page of a proxy',
      { headers: { 'content-type': 'text/html' }, body: '<html><title>Sign in</title>' },
      /^the answer to POST \/v2\/models\/m\/infer is not the protocol's: it is no JSON but text\/html and begins with "Sign in"$/,
    ],
    ['nothing', { body: '' }, /it is no JSON but of no named type and is empty/],
    ['half an object', { body: '{"outputs":[' }, /begins with "\{"outputs":\["/],
    ['an array', { body: [] }, /its JSON is \[\], expected an object/],
    ['no outputs', { body: {} }, /its outputs are undefined, expected an array/],
    ['an output that is none', json(3), /an output is no object/],
    ['an output without a name', json({ datatype: 'FP32' }), /an output has no name/],
    ['an unknown datatype', json({ name: 'y', datatype: 'BF16' }), /output 'y' has the datatype "BF16"/],
    ['a shape that is none', json(output({ shape: [-1] })), /output 'y' has the shape \[-1\]/],
    ['no data', json(output({})), /output 'y' has neither data nor a binary section/],
    ['data of another length', json(output({ data: [1] })), /output 'y' has 1 elements, its shape says 2/],
    [
      'data of another kind',
      json(output({ data: [1, 'a'] })),
      /element 1 of output 'y' is "a", expected a number or null/,
    ],
    [
      'a number out of range',
      json(output({ datatype: 'UINT8', data: [1, 256] })),
      /element 1 of output 'y' is 256, expected UINT8/,
    ],
    [
      'a fraction',
      json(output({ datatype: 'INT64', data: [1, 1.5] })),
      /element 1 of output 'y' is 1.5, expected a whole number/,
    ],
    ['text for a boolean', json(output({ datatype: 'BOOL', data: [true, 'true'] })), /expected a boolean/],
    ['a number for text', json(output({ datatype: 'BYTES', data: ['a', 1] })), /expected a string/],
    ['FP16 in JSON', json(output({ datatype: 'FP16', data: [1, 2] })), /FP16, which JSON does not carry/],
    [
      'a section that ends early',
      binaryReply({ outputs: [sized(8)] }, bytes(5)),
      /'y' should have 8 bytes, after its beginning 5 are left/,
    ],
    [
      'bytes that belong to nobody',
      binaryReply({ outputs: [sized(8)] }, bytes(9)),
      /1 bytes are left behind its last output/,
    ],
    [
      'a section of another size',
      binaryReply({ outputs: [sized(12)] }, bytes(12)),
      /FP32 of shape \[2\], has 12 bytes, expected 8/,
    ],
    ['a size that is none', binaryReply({ outputs: [sized(-8)] }), /output 'y' has -8 bytes/],
    [
      'a header length beyond the body',
      { headers: { 'inference-header-content-length': '99' }, body: {} },
      /its inference-header-content-length is 99, its body has 2 bytes/,
    ],
    [
      'a header length that is none',
      { headers: { 'inference-header-content-length': '0x10' }, body: {} },
      /its inference-header-content-length is 0x10/,
    ],
    [
      'strings that end early',
      binaryReply(
        { outputs: [output({ datatype: 'BYTES', parameters: { binary_data_size: 6 } })] },
        Buffer.from('\x01\0\0\0ab'),
      ),
      /'y' ends within element 1 of 2/,
    ],
    [
      'bytes behind the strings',
      binaryReply(
        { outputs: [output({ datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 6 } })] },
        Buffer.from('\x01\0\0\0ab'),
      ),
      /'y' has 1 bytes behind its last element/,
    ],
    [
      'a length that wraps',
      binaryReply(
        { outputs: [output({ datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 4 } })] },
        Buffer.of(255, 255, 255, 255),
      ),
      /'y' ends within/,
    ],
    [
      'an encoding nobody asked for',
      { headers: { 'content-encoding': 'br' }, body: brotliCompressSync('{}') },
      /encoding is 'br', which was not asked for/,
    ],
    [
      'a broken encoding',
      { headers: { 'content-encoding': 'gzip' }, body: Buffer.from('no gzip') },
      /it cannot be expanded/,
    ],
    [
      'what expands too far',
      { headers: { 'content-encoding': 'gzip' }, body: gzipSync(Buffer.alloc(100_000)) },
      /it cannot be expanded/,
    ],
    ['what is announced too large', { body: 'x'.repeat(60_000) }, /it is larger than 50000 bytes/],
  ];
  for (const [what, reply, message] of table) {
    it(`${what} gives an error that says so`, async (t) => {
      const { server, client } = await start(t, [reply], { maxReplyBytes: 50_000 });
      await assert.rejects(client.infer('m', { x }), {
        name: 'ShoalClientError',
        code: 'BAD_REPLY',
        status: 200,
        message,
      });
      assert.equal(server.arrived.length, 1);
    });
  }

  it('an output that was asked for and did not come is missed', async (t) => {
    const { client } = await start(t, [GOOD]);
    await assert.rejects(client.infer('m', { x }, { outputs: ['z'] }), /it lacks the output 'z'/);
  });

  it('what is no HTTP is told apart', async (t) => {
    const { client } = await start(t, [(response) => void response.socket!.end('SSH-2.0-OpenSSH_9\r\n')], {
      retry: { attempts: 1 },
    });
    await assert.rejects(client.infer('m', { x }), { code: 'BAD_REPLY', message: /the answer is no HTTP/ });
  });

  it('a body without a length that goes on for ever is read no further than its limit', async (t) => {
    const endless: FakeReply = (response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(10_000, '[')));
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    };
    const { client } = await start(t, [endless], { maxReplyBytes: 1_000_000 });
    await assert.rejects(client.infer('m', { x }), { code: 'BAD_REPLY', message: /larger than 1000000 bytes/ });
  });

  it('other answers are looked at, too', async (t) => {
    const { client } = await start(t, [{ body: { name: 'm' } }]);
    await assert.rejects(client.serverMetadata(), /its extensions is undefined, expected array/);
    await assert.rejects(client.modelMetadata('m'), /its inputs is undefined/);
    await assert.rejects(client.statistics(), /its model_stats is undefined/);
    await assert.rejects(client.repositoryIndex(), /it is no array/);
    assert.deepEqual(await client.modelConfig('m'), { name: 'm' });
  });
});

describe('what other servers do', () => {
  it('wide integers in JSON are exact, nested data is flattened, null is NaN', async (t) => {
    const reply = `{"id":"12345678901234567890","outputs":[
      {"name":"i","datatype":"INT64","shape":[2],"data":[9007199254740993,-9223372036854775808]},
      {"name":"u","datatype":"UINT64","shape":[1,1],"data":[[18446744073709551615]]},
      {"name":"d","datatype":"FP64","shape":[3],"data":[12345678901234567890,0.12345678901234566,-1.5e300]},
      {"name":"s","datatype":"BYTES","shape":[2],"data":["12345678901234567890","\\u000112345678901234567890"]},
      {"name":"f","datatype":"FP32","shape":[2,1],"data":[[null],[1]]}]}`;
    const { client } = await start(t, [{ body: reply }]);
    const { outputs, id } = await client.infer('m', { x });
    assert.equal(id, '12345678901234567890');
    assert.deepEqual(outputs['i']!.data, BigInt64Array.of(9_007_199_254_740_993n, -9_223_372_036_854_775_808n));
    assert.deepEqual(outputs['u']!.data, BigUint64Array.of(18_446_744_073_709_551_615n));
    assert.deepEqual(outputs['d']!.data, Float64Array.of(1.2345678901234567e19, 0.123_456_789_012_345_66, -1.5e300));
    assert.deepEqual(outputs['s']!.data, ['12345678901234567890', '\u000112345678901234567890']);
    assert.deepEqual(outputs['f']!.data, Float32Array.of(Number.NaN, 1));
  });

  it('the first section is aligned whatever is before it, with and without a length', async (t) => {
    for (let pad = 0; pad < 8; pad++) {
      const outputs = [{ name: 'y', datatype: 'FP64', shape: [1], parameters: { binary_data_size: 8 } }];
      const whole = binaryReply({ model_name: 'm'.repeat(pad), outputs }, new Uint8Array(Float64Array.of(1.5).buffer));
      const chunked: FakeReply = (response) => {
        response.writeHead(200, whole.headers);
        response.write((whole.body as Buffer).subarray(0, 7));
        response.end((whole.body as Buffer).subarray(7));
      };
      const gzipped: FakeReply = {
        headers: { ...whole.headers, 'content-encoding': 'gzip' },
        body: gzipSync(whole.body as Buffer),
      };
      const { client } = await start(t, [whole, chunked, gzipped]);
      for (let i = 0; i < 3; i++) {
        const reply: InferReply<{ readonly [name: string]: { readonly data: unknown } }> = await client.infer('m', {
          x,
        });
        assert.deepEqual(reply.outputs['y']!.data, Float64Array.of(1.5));
        assert.ok((reply.outputs['y']!.data as Float64Array).buffer.byteLength > 8, 'a view, not a copy');
      }
    }
  });

  it('sections that are not aligned are copied', async (t) => {
    const outputs = [
      { name: 'a', datatype: 'UINT8', shape: [3], parameters: { binary_data_size: 3 } },
      { name: 'b', datatype: 'INT64', shape: [1], parameters: { binary_data_size: 8 } },
    ];
    const wide = new Uint8Array(BigInt64Array.of(-5n).buffer);
    const { client } = await start(t, [binaryReply({ outputs }, Uint8Array.of(1, 2, 3), wide)]);
    const { a, b } = (await client.infer('m', { x })).outputs;
    assert.deepEqual([a!.data, b!.data], [Uint8Array.of(1, 2, 3), BigInt64Array.of(-5n)]);
  });

  it('errors in plain text and without a body are passed on', async (t) => {
    const { client } = await start(t, [{ status: 400, body: 'no such\nthing' }, { status: 404 }]);
    await assert.rejects(client.infer('m', { x }), { code: 'HTTP_400', serverText: 'no such thing' });
    await assert.rejects(client.infer('m', { x }), {
      code: 'HTTP_404',
      message: 'POST /v2/models/m/infer: 404: without a word',
    });
  });

  it('health is a status, whatever the body', async (t) => {
    const { client } = await start(t, [{ body: '' }, { status: 400 }, { status: 503, body: 'loading' }]);
    assert.deepEqual(
      [await client.isLive(), await client.isReady(), await client.isModelReady('m')],
      [true, false, false],
    );
  });

  it('the repository is asked and told as Triton has it', async (t) => {
    const index = [{ name: 'm', version: '1', state: 'READY' }, { name: 'n' }];
    const { server, client } = await start(t, [
      { body: index },
      { body: index },
      { body: '' },
      { body: '' },
      { body: {} },
    ]);
    assert.deepEqual(await client.repositoryIndex(), index);
    await client.repositoryIndex({ ready: true });
    await client.loadModel('m');
    await client.loadModel('m/n', { config: { max_batch_size: 4 } });
    await client.unloadModel('m');
    assert.deepEqual(
      server.arrived.map(({ method, url, body }) => [method, url, JSON.parse(body.toString())]),
      [
        ['POST', '/v2/repository/index', {}],
        ['POST', '/v2/repository/index', { ready: true }],
        ['POST', '/v2/repository/models/m/load', {}],
        ['POST', '/v2/repository/models/m%2Fn/load', { parameters: { config: '{"max_batch_size":4}' } }],
        ['POST', '/v2/repository/models/m/unload', {}],
      ],
    );
  });
});

describe('what is sent', () => {
  it('binary: the JSON, its length, and the sections in the order of the inputs', async (t) => {
    const { server, client } = await start(t, [GOOD]);
    const text: InputTensor = { data: ['é', 'b'], shape: [2] };
    await client.infer('m', { x, text }, { id: '7', priority: 2, queueTimeoutMs: 1.5, parameters: { mine: 'yes' } });
    const { headers, body, url, method } = server.arrived[0]!;
    const length = Number(headers['inference-header-content-length']);
    assert.deepEqual([method, url], ['POST', '/v2/models/m/infer']);
    assert.deepEqual(
      [headers['content-type'], headers['content-length']],
      ['application/octet-stream', String(body.length)],
    );
    assert.deepEqual(JSON.parse(body.toString('utf8', 0, length)), {
      id: '7',
      parameters: { mine: 'yes', priority: 2, timeout: 1500, binary_data_output: true },
      inputs: [
        { name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } },
        { name: 'text', datatype: 'BYTES', shape: [2], parameters: { binary_data_size: 11 } },
      ],
    });
    assert.equal(body.toString('hex', length), '0000803f00000040' + '02000000c3a9' + '0100000062');
  });

  it('JSON, and the outputs wanted', async (t) => {
    const { server, client } = await start(t, [GOOD], { format: 'json' });
    await client.infer(
      'm',
      { x, i: { data: BigInt64Array.of(2n ** 62n), shape: [1] } },
      { outputs: ['y'], version: '3' },
    );
    const { headers, body, url } = server.arrived[0]!;
    assert.equal(url, '/v2/models/m/versions/3/infer');
    assert.equal(headers['inference-header-content-length'], undefined);
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(
      body.toString(),
      '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]},' +
        '{"name":"i","datatype":"INT64","shape":[1],"data":[4611686018427387904]}],"outputs":[{"name":"y"}]}',
    );
    await client.infer('m', { x }, { outputs: ['y'], format: 'binary' });
    const json = JSON.parse(
      server.arrived[1]!.body.toString(
        'utf8',
        0,
        Number(server.arrived[1]!.headers['inference-header-content-length']),
      ),
    );
    assert.deepEqual(json.outputs, [{ name: 'y', parameters: { binary_data: true } }]);
    assert.equal(json.parameters, undefined);
  });

  it('compressed, where asked for and worth it', async (t) => {
    const expand = { gzip: gunzipSync, deflate: inflateSync };
    for (const encoding of ['gzip', 'deflate'] as const) {
      const compress = { gzip: gzipSync, deflate: deflateSync };
      const reply: FakeReply = {
        headers: { 'content-encoding': encoding },
        body: compress[encoding](JSON.stringify((GOOD as { body: object }).body)),
      };
      const { server, client } = await start(t, [reply], { compressRequests: encoding, compressReplies: encoding });
      const large: InputTensor = { data: new Float32Array(1000), shape: [1000] };
      assert.deepEqual((await client.infer('m', { x: large })).outputs['y']!.data, Float32Array.of(1, 2));
      const [{ headers, body }] = server.arrived as [(typeof server.arrived)[0]];
      assert.deepEqual([headers['content-encoding'], headers['accept-encoding']], [encoding, encoding]);
      assert.equal(headers['content-length'], String(body.length));
      assert.equal(expand[encoding](body).length, Number(headers['inference-header-content-length']) + 4000);
      await client.infer('m', { x });
      assert.equal(server.arrived[1]!.headers['content-encoding'], undefined, 'too short');
    }
  });

  it('with headers of the client and of the call', async (t) => {
    const { server, client } = await start(t, [GOOD], { headers: { authorization: 'Bearer a', 'x-a': '1' } });
    await client.infer('m', { x }, { headers: { 'x-a': '2', traceparent: 't' } });
    const { authorization, traceparent, 'x-a': a, 'accept-encoding': encoding } = server.arrived[0]!.headers;
    assert.deepEqual([authorization, traceparent, a, encoding], ['Bearer a', 't', '2', undefined]);
    await assert.rejects(client.infer('m', { x }, { headers: { 'x a': '1' } }), { code: 'BAD_ARGUMENT', attempts: 0 });
  });

  it('through a dispatcher of the caller, which stays open', async (t) => {
    const agent = new Agent();
    t.after(() => agent.close());
    const { client } = await start(t, [GOOD], { dispatcher: agent });
    await client.infer('m', { x });
    await client.close();
    await assert.rejects(client.infer('m', { x }), { code: 'CLOSED' });
    assert.equal(agent.closed, false);
  });
});
