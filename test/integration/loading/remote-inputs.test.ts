import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import type { ConfigInput } from '../../../src/index.ts';
import type { RemoteTest } from '../../../src/loading/remote.ts';
import { expectRefusal, GrpcClient } from '../../support/grpc.ts';
import { type loopbackLookup, throughLoopback, useHttpsSource } from '../../support/https-source.ts';
import { npyFile } from '../../support/npy-file.ts';
import {
  type Answer,
  binaryBody,
  expectError,
  HEADER_LENGTH,
  parseJson,
  parseReply,
  type Scope,
  TestServer,
} from '../../support/server.ts';
import { fixtures } from '../protocol/fixtures.ts';

const floats = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer);

/** Asks, with pauses for those whom it waits for, until it is so. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(20);
}

describe('inputs given by their addresses', () => {
  const source = useHttpsSource();
  let running: TestServer;
  let grpc: GrpcClient;

  const start = (options: ConfigInput, remoteTest: RemoteTest, models: readonly string[]): Promise<TestServer> => {
    const remoteHosts = [`data.test:${source.port}`, `*.wide.test:${source.port}`];
    const content = Object.fromEntries(Object.entries(fixtures()).filter(([name]) => models.includes(name)));
    return TestServer.start(content, { remoteHosts, grpcPort: 0, remoteMaxBytes: 4096, ...options }, { remoteTest });
  };
  const startFor = async (scope: Scope, options: ConfigInput, remoteTest = throughLoopback): Promise<TestServer> => {
    const server = await start(options, remoteTest, ['ident_FP32', 'ident_UINT8']);
    scope.after(() => server.close());
    return server;
  };

  before(async () => {
    running = await start({}, throughLoopback, Object.keys(fixtures()));
    grpc = new GrpcClient(running.server.grpcAddress!);
  });
  after(async () => {
    grpc.close();
    await running.close();
  });

  const remote = (name: string, datatype: string, shape: number[], target: string, host?: string) => ({
    name,
    datatype,
    shape,
    parameters: { url: source.url(target, host) },
  });
  const ident = (datatype: string, shape: number[], target: string, server = running): Promise<Answer> =>
    server.infer(`ident_${datatype}`, { inputs: [remote('x', datatype, shape, target)] });
  const predict = (model: string, body: object): Promise<Answer> =>
    running.send('POST', `/v1/models/${model}:predict`, JSON.stringify(body));
  const heldBytes = async (server = running): Promise<number> => (await server.metrics()).value('shoal_queue_bytes');

  it('V2: raw elements, NumPy arrays and texts', async () => {
    source.serve({
      '/raw': floats(1, 2, 3, 4),
      '/array.npy': npyFile('<f4', [2, 2], floats(5, 6, 7, 8)),
      '/text': 'Guten Morgen, \u{1f41f}',
      '/pixels': Buffer.of(0, 128, 255),
      '/bools': Buffer.of(0, 7),
    });
    assert.deepEqual(parseReply(await ident('FP32', [2, 2], '/raw')).outputs[0]!.data, [1, 2, 3, 4]);
    assert.deepEqual(parseReply(await ident('FP32', [2, 2], '/array.npy')).outputs[0]!.data, [5, 6, 7, 8]);
    assert.deepEqual(parseReply(await ident('BYTES', [1, 1], '/text')).outputs[0]!.data, ['Guten Morgen, \u{1f41f}']);
    assert.deepEqual(parseReply(await ident('UINT8', [1, 3], '/pixels')).outputs[0]!.data, [0, 128, 255]);
    assert.deepEqual(parseReply(await ident('BOOL', [1, 2], '/bools')).outputs[0]!.data, [false, true]);
  });

  it('V2: beside inputs that the request brings, in JSON and in binary', async () => {
    source.serve({ '/b': floats(1, 1, 1, 1) });
    const a = { name: 'a', datatype: 'FP32', shape: [1, 4] };
    const b = remote('b', 'FP32', [1, 4], '/b');
    const json = parseReply(await running.infer('add2', { inputs: [{ ...a, data: [1, 2, 3, 4] }, b] }));
    assert.deepEqual(json.outputs[0]!.data, [2, 3, 4, 5]);
    const inputs = [b, { ...a, parameters: { binary_data_size: 16 } }];
    const { bytes, length } = binaryBody({ inputs }, [floats(4, 3, 2, 1)]);
    const answer = await running.send('POST', '/v2/models/add2/infer', bytes, { [HEADER_LENGTH]: String(length) });
    assert.deepEqual(parseReply(answer).outputs[0]!.data, [5, 4, 3, 2]);
  });

  it('V1: in place of a value, of a row, of a column, or of an element of BYTES', async () => {
    source.serve({
      '/1': floats(1, 2),
      '/2.npy': npyFile('<f4', [2], floats(3, 4)),
      '/t': 'far',
      '/4': floats(1, 1, 1, 1),
    });
    const at = (target: string) => ({ url: source.url(target) });
    const cases: [string, object, object][] = [
      [
        'ident_FP32',
        { instances: [at('/1'), at('/2.npy')] },
        {
          predictions: [
            [1, 2],
            [3, 4],
          ],
        },
      ],
      ['ident_FP32', { instances: [{ x: at('/2.npy') }] }, { predictions: [[3, 4]] }],
      [
        'add2',
        { instances: [{ a: [1, 2, 3, 4], b: at('/4') }] },
        { predictions: [{ sum: [2, 3, 4, 5], diff: [0, 1, 2, 3] }] },
      ],
      [
        'str1',
        { instances: [['near'], [at('/t')], [{ b64: 'aGVyZQ' }]] },
        { predictions: [['near'], ['far'], ['here']] },
      ],
      ['str1', { inputs: { x: [[at('/t')], [at('/t')]] } }, { outputs: [['far'], ['far']] }],
      ['scalar0', { inputs: at('/1') }, {}],
    ];
    for (const [model, body, expected] of cases.slice(0, -1)) {
      assert.deepEqual(parseJson(await predict(model, body), 200), expected, JSON.stringify(body));
    }
    const whole = { inputs: { a: at('/4'), b: at('/4') } };
    assert.deepEqual((parseJson(await predict('add2', whole), 200) as { outputs: { sum: object } }).outputs.sum, [
      [2, 2, 2, 2],
    ]);
    expectError(
      await predict('scalar0', cases.at(-1)![1]),
      'INVALID_REQUEST',
      /has 8 bytes, its shape \[\] of FP32 needs 4/,
    );
  });

  it('V1: what is no address, or only in part, is refused', async () => {
    source.serve({ '/1': floats(1), '/2': floats(1, 2), '/2.npy': npyFile('<f4', [1], floats(3)) });
    const at = (target: string) => ({ url: source.url(target) });
    const refuse = async (model: string, body: object, text: RegExp): Promise<void> => {
      expectError(await predict(model, body), 'INVALID_REQUEST', text);
    };
    await refuse('ident_FP32', { instances: [at('/1'), { x: [1] }] }, /in part given by addresses/);
    await refuse('ident_FP32', { instances: [at('/2'), at('/2.npy')] }, /row 1 of input 'x' has shape \[1\], .* \[2\]/);
    await refuse('ident_FP32', { instances: [{ url: 5 }] }, /expected \{"url": "https:…"\}|expected \{"url"/);
    await refuse('ident_FP32', { instances: [{ ...at('/1'), more: 1 }] }, /and nothing else/);
    await refuse(
      'ident_FP32',
      { instances: [{ url: `https://${'a'.repeat(9000)}` }] },
      /does not end within 8192 bytes/,
    );
    await refuse(
      'str1',
      { instances: [[{ url: 'https://nobody.test/' }]] },
      /input 'x': host 'nobody\.test' is not among/,
    );
    await refuse('add2', { instances: [{ a: at('/1'), b: [1, 2, 3, 4] }] }, /of row 0 of input 'a' has 4 bytes/);
    source.requests = [];
    const many = Array.from({ length: 9 }, () => at('/1'));
    await refuse('ident_FP32', { instances: many }, /has 9 rows, .* at most 8/);
    assert.deepEqual(source.requests, []);
  });

  it('gRPC: the parameter url of an input without contents', async () => {
    source.serve({ '/b': floats(1, 1, 1, 1), '/slow': floats() });
    const url = (target: string) => ({ url: { string_param: source.url(target) } });
    const a = { name: 'a', datatype: 'FP32', shape: [1, 4] };
    const b = { name: 'b', datatype: 'FP32', shape: [1, 4], parameters: url('/b') };
    const raw = await grpc.infer({ model_name: 'add2', inputs: [b, a], raw_input_contents: [floats(1, 2, 3, 4)] });
    assert.deepEqual(raw.raw_output_contents[0], floats(2, 3, 4, 5));
    const both = { ...b, name: 'a' };
    const typed = await grpc.infer({ model_name: 'add2', inputs: [both, b] });
    assert.deepEqual(typed.outputs[0]!.contents!['fp32_contents'], [2, 2, 2, 2]);
    const refuse = async (inputs: object[], code: Parameters<typeof expectRefusal>[1], text: RegExp): Promise<void> => {
      expectRefusal(await grpc.call('ModelInfer', { model_name: 'add2', inputs }), code, text);
    };
    await refuse([a, { ...b, parameters: { url: { int64_param: 1 } } }], 'INVALID_REQUEST', /url of input 'b' is 1/);
    await refuse(
      [both, { ...b, parameters: url('/gone') }],
      'REMOTE_FAILED',
      /input 'b': host 'data\.test' answers with status 404/,
    );
    await refuse(
      [both, { ...b, contents: { fp32_contents: [1, 1, 1, 1] } }],
      'INVALID_REQUEST',
      /both contents and a url/,
    );
    source.answer = () => {};
    const late = await grpc.call(
      'ModelInfer',
      { model_name: 'add2', inputs: [both, b] },
      { deadline: Date.now() + 100 },
    );
    assert.equal(late.error?.code, 4);
    const asked = once(source.server, 'request');
    const started = grpc.start('ModelInfer', { model_name: 'add2', inputs: [both, b] });
    const [, response] = await asked;
    started.cancel();
    await once(response, 'close');
    assert.equal((await started.outcome).error?.code, 1);
    assert.equal(await heldBytes(), 0);
  });

  it('is off unless hosts are named, and says so', async (t) => {
    const server = await startFor(t, { remoteHosts: [] });
    const text = expectError(await ident('FP32', [1, 1], '/raw', server), 'INVALID_REQUEST');
    assert.match(text, /^input 'x' is given by an address, and this server was started without --remote-hosts/);
    assert.doesNotMatch((await server.metrics()).text, /shoal_fetch/);
  });

  it('nothing is fetched for a request that is wrong', async () => {
    source.requests = [];
    const inputs = [remote('x', 'FP32', [1, 1], '/raw')];
    const refuse = async (body: object, text: RegExp, model = 'ident_FP32'): Promise<void> => {
      expectError(await running.infer(model, { inputs, ...body }), 'INVALID_REQUEST', text);
    };
    await refuse({ inputs: [{ ...inputs[0], data: [1] }] }, /input 'x' has both data and a url/);
    await refuse({ inputs: [{ ...inputs[0], parameters: { url: 5 } }] }, /url of input 'x' is 5, expected a string/);
    await refuse({ inputs: [{ ...inputs[0], parameters: { url: null } }] }, /has neither data nor binary_data_size/);
    await refuse({ inputs: [{ ...inputs[0], name: 'y' }] }, /needs input 'x'/);
    await refuse({ inputs: [{ ...inputs[0], shape: [1] }] }, /has shape \[1\]/);
    await refuse({ inputs: [{ ...inputs[0], shape: [9, 1] }] }, /9 rows/);
    await refuse({ inputs: [{ ...inputs[0], shape: [1, 1025] }] }, /input 'x' needs 4100 bytes, at most 4096/);
    await refuse({ inputs: [remote('x', 'FP32', [1, 1], '/raw', 'other.test')] }, /'other\.test'.* not among/);
    await refuse({ inputs: [{ ...inputs[0], parameters: { url: 'http://data.test/' } }] }, /input 'x': .*"http:"/);
    await refuse(
      { inputs: [{ ...inputs[0], parameters: { url: `https://u:p@data.test:${source.port}/` } }] },
      /user name/,
    );
    assert.deepEqual(source.requests, []);
  });

  it('what is fetched has to be what the input is', async () => {
    source.serve({
      '/short': floats(1),
      '/ints.npy': npyFile('<i4', [1, 2], Buffer.alloc(8)),
      '/shape.npy': npyFile('<f4', [2, 1], floats(1, 2)),
      '/cut.npy': npyFile('<f4', [1, 2], floats(1)),
      '/big.npy': npyFile('>f4', [1, 2], floats(1, 2)),
      '/nul': 'a\0b',
      '/latin': Buffer.from('é', 'latin1'),
    });
    const refuse = async (datatype: string, target: string, text: RegExp): Promise<void> => {
      expectError(await ident(datatype, [1, datatype === 'BYTES' ? 1 : 2], target), 'INVALID_REQUEST', text);
    };
    await refuse('FP32', '/short', /the remote body of input 'x' has 4 bytes, its shape \[1,2\] of FP32 needs 8/);
    await refuse('FP32', '/ints.npy', /is an array of INT32 \[1,2\], expected FP32 \[1,2\]/);
    await refuse('FP32', '/shape.npy', /is an array of FP32 \[2,1\], expected FP32 \[1,2\]/);
    await refuse('FP32', '/cut.npy', /has 4 bytes, .* needs 8/);
    await refuse('FP32', '/big.npy', /big-endian/);
    await refuse('BYTES', '/nul', /has a NUL/);
    await refuse('BYTES', '/latin', /not valid UTF-8/);
    assert.equal(await heldBytes(), 0);
  });

  it('a host that does wrong is named with what it does, and with no address of its own', async (t) => {
    const server = await startFor(t, { remoteTimeout: '200ms' });
    source.answer = ({ url, socket }, response) => {
      const [, kind] = url!.split('/');
      if (kind === 'gone') response.writeHead(404).end('<h1>secret page</h1>');
      else if (kind === 'cut') {
        response.writeHead(200, { 'content-length': '8' });
        response.write('a');
        setImmediate(() => socket.destroy());
      } else if (kind === 'more') {
        // What follows the announced bytes is no answer to anything.
        response.socket!.end('HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n0123456789');
      } else if (kind === 'bomb') {
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(100_000)));
      } else if (kind === 'endless') {
        const send = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(1024)));
          response.once('drain', send);
        };
        send();
      } else if (kind === 'drip') {
        const timer = setInterval(() => response.write('a'), 20);
        response.once('close', () => clearInterval(timer));
      } else if (kind === 'private') response.writeHead(302, { location: 'https://169.254.169.254/latest' }).end();
      else if (kind === 'inside') response.writeHead(302, { location: 'https://admin.internal/?token=1' }).end();
      else if (kind === 'nonsense') response.socket!.end('SSH-2.0-OpenSSH\r\n');
    };
    const fails = async (target: string, code: Parameters<typeof expectError>[1], text: RegExp): Promise<void> => {
      const error = expectError(await ident('FP32', [1, 2], target, server), code, text);
      assert.match(error, /^input 'x': .*'data\.test'/);
      assert.doesNotMatch(error, /127\.0\.0\.1|169\.254|admin|token|secret/);
    };
    await fails('/gone', 'REMOTE_FAILED', /answers with status 404/);
    await fails('/cut', 'REMOTE_FAILED', /has ended the connection/);
    await fails('/bomb', 'REMOTE_FAILED', /compresses its answer without being asked to/);
    await fails('/endless', 'INVALID_REQUEST', /is larger than 4096 bytes/);
    await fails('/drip', 'REMOTE_TIMEOUT', /did not answer within 200 ms/);
    await fails('/silent', 'REMOTE_TIMEOUT', /did not answer within 200 ms/);
    await fails('/private', 'INVALID_REQUEST', /redirects to an address that may not be fetched/);
    await fails('/inside', 'INVALID_REQUEST', /redirects to an address that may not be fetched/);
    await fails('/nonsense', 'REMOTE_FAILED', /could not be asked|ended the connection/);
    // The bytes that were announced are those that count.
    const { status } = await ident('FP32', [1, 2], '/more', server);
    assert.ok(status === 200 || status === 502, String(status));
    assert.equal(await heldBytes(server), 0);
    const metrics = await server.metrics();
    assert.equal(metrics.value('shoal_fetches_total', { outcome: 'timeout' }), 2);
    assert.equal(metrics.value('shoal_fetches_total', { outcome: 'refused' }), 3);
    assert.equal(
      metrics.value('shoal_requests_total', { model: 'ident_FP32', version: '1', protocol: 'v2', outcome: 'failed' }) >=
        6,
      true,
    );
  });

  it('names that resolve to private addresses are refused, and that is all that is said', async (t) => {
    const addresses = ['10.0.0.7', '::1', '::ffff:10.0.0.7', '169.254.169.254', 'fd00::7'];
    for (const address of addresses) {
      const lookup: typeof loopbackLookup = (_host, _options, callback) =>
        callback(null, [{ address, family: address.includes(':') ? 6 : 4 }]);
      const server = await startFor(t, {}, { ca: throughLoopback.ca!, lookup });
      source.requests = [];
      const text = expectError(await ident('FP32', [1, 1], '/raw', server), 'INVALID_REQUEST');
      assert.equal(text, "input 'x': host 'data.test' is not on the public internet");
      assert.deepEqual(source.requests, []);
    }
  });

  it('a thousand requests for the same address share one fetch', async () => {
    let answerAll = (): void => {};
    source.requests = [];
    source.answer = (_request, response) => {
      answerAll = () => response.end(floats(1, 2));
    };
    const before = await running.metrics();
    const asked = once(source.server, 'request');
    const all = Array.from({ length: 1000 }, () => ident('FP32', [1, 2], '/same'));
    await asked;
    const shared = (): Promise<number> =>
      running
        .metrics()
        .then((now) => now.value('shoal_fetches_shared_total') - before.value('shoal_fetches_shared_total'));
    await until(async () => (await shared()) === 999);
    answerAll();
    for (const answer of await Promise.all(all)) assert.deepEqual(parseReply(answer).outputs[0]!.data, [1, 2]);
    assert.deepEqual(source.requests, ['data.test/same']);
    const now = await running.metrics();
    const grown = (name: string, labels = {}): number => now.value(name, labels) - before.value(name, labels);
    assert.equal(grown('shoal_fetches_total', { outcome: 'ok' }), 1);
    assert.equal(grown('shoal_fetched_bytes_total'), 8);
    assert.equal(await heldBytes(), 0);
  });

  it('who leaves ends the fetch, unless others wait for it', async () => {
    let answerIt = (): void => {};
    source.answer = (_request, response) => {
      answerIt = () => response.end(floats(1, 2));
    };
    const body = { inputs: [remote('x', 'FP32', [1, 2], '/left')] };
    const leave = async (): Promise<{ stop: AbortController; left: Promise<unknown>; response: { once: object } }> => {
      const stop = new AbortController();
      const asked = once(source.server, 'request');
      const left = assert.rejects(running.infer('ident_FP32', body, {}, { signal: stop.signal }));
      const [, response] = await asked;
      return { stop, left, response };
    };
    const alone = await leave();
    const closed = once(alone.response as never, 'close');
    alone.stop.abort();
    await Promise.all([closed, alone.left]);

    const first = await leave();
    const sharedBefore = (await running.metrics()).value('shoal_fetches_shared_total');
    const stays = ident('FP32', [1, 2], '/left');
    await until(async () => (await running.metrics()).value('shoal_fetches_shared_total') > sharedBefore);
    first.stop.abort();
    await first.left;
    answerIt();
    assert.deepEqual(parseReply(await stays).outputs[0]!.data, [1, 2]);
    assert.equal(await heldBytes(), 0);
  });

  it('the time that the request has bounds the fetch, too', async (t) => {
    source.answer = () => {};
    const server = await startFor(t, { requestTimeout: '100ms' });
    const answer = await ident('FP32', [1, 2], '/never', server);
    expectError(answer, 'DEADLINE_EXCEEDED', /while its inputs were fetched/);
    assert.match(String(answer.headers['server-timing']), /^fetch;dur=\d+\.\d+, decode;dur=\d+\.\d+, total;dur=/);
  });

  it('what is held while it is fetched counts against the bytes that requests may hold', async (t) => {
    const server = await startFor(t, { maxQueueBytes: '1KiB', remoteConcurrency: 1 });
    let answerIt = (): void => {};
    source.answer = ({ url }, response) => {
      if (url === '/announced') {
        response.writeHead(200, { 'content-length': '800' });
        response.write('');
        response.flushHeaders();
        answerIt = () => response.end(Buffer.alloc(800));
      } else response.end(Buffer.alloc(400));
    };
    const waiting = ident('UINT8', [1, 800], '/announced', server);
    await until(async () => (await heldBytes(server)) >= 800);
    const data = Array(400).fill(1);
    const local = await server.infer('ident_UINT8', {
      inputs: [{ name: 'x', datatype: 'UINT8', shape: [1, 400], data }],
    });
    expectError(local, 'QUEUE_FULL', /queues are full/);
    const b = { name: 'x', datatype: 'UINT8', shape: [1, 400], parameters: { url: source.url('/other') } };
    answerIt();
    assert.equal((await waiting).status, 200);
    assert.equal((await server.infer('ident_UINT8', { inputs: [b] })).status, 200);
    assert.equal(await heldBytes(server), 0);
    expectError(await ident('UINT8', [1, 2000], '/other', server), 'INVALID_REQUEST', /has 400 bytes/);
    source.answer = (_request, response) => response.end(Buffer.alloc(2000));
    expectError(await ident('UINT8', [1, 2000], '/large', server), 'QUEUE_FULL', /^input 'x': .*holds as many bytes/);
    assert.equal(await heldBytes(server), 0);
  });

  it('the time is told apart from decoding, in the header and in the metrics', async () => {
    source.answer = (_request, response) => void setTimeout(() => response.end(floats(1, 2)), 50);
    const { headers } = await ident('FP32', [1, 2], '/timed');
    const parts = [...String(headers['server-timing']).matchAll(/(\w+);dur=([\d.]+)/g)].map(
      ([, name, ms]) => [name, Number(ms)] as const,
    );
    assert.deepEqual(
      parts.map(([name]) => name),
      ['fetch', 'decode', 'queue', 'handover', 'compute', 'handback', 'encode', 'total'],
    );
    assert.ok(parts[0]![1] >= 49);
    const sum = parts.slice(0, -1).reduce((total, [, ms]) => total + ms, 0);
    assert.ok(Math.abs(sum - parts.at(-1)![1]) < 1, `${sum} and ${parts.at(-1)![1]}`);
    const metrics = await running.metrics();
    const labels = { model: 'ident_FP32', version: '1', stage: 'fetch' };
    assert.ok(metrics.value('shoal_stage_duration_seconds_sum', labels) >= 0.049);
    assert.equal(metrics.sum('shoal_stage_duration_seconds_count', { model: 'flat0', stage: 'fetch' }), 0);
  });
});
