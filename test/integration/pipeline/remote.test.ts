import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { bytes, definePipeline, type Pipeline, tensor } from '../../../src/index.ts';
import { throughLoopback, useHttpsSource } from '../../support/https-source.ts';
import { ident } from '../../support/models.ts';
import { npyFile } from '../../support/npy-file.ts';
import { type Answer, expectError, parseJson, parseReply, TestServer } from '../../support/server.ts';
import { echo, upload } from './fixtures.ts';

const floats = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer);

/** `words`: BYTES `words` [-1] → the same. */
function words(): Pipeline {
  return definePipeline({
    name: 'words',
    input: { words: tensor('BYTES', [-1]) },
    output: { words: tensor('BYTES', [-1]) },
    run: (input) => input,
  });
}

/** `mirror`: bytes `blob` → the same backwards. */
function mirror(): Pipeline {
  return definePipeline({
    name: 'mirror',
    input: { blob: bytes({ maxBytes: 100 }) },
    output: { blob: bytes() },
    run: ({ blob }) => ({ blob: Buffer.from(blob).reverse() }),
  });
}

describe("pipelines' inputs given by their addresses", () => {
  const source = useHttpsSource();
  let server: TestServer;
  before(async () => {
    server = await TestServer.start(
      { ident_FP32: ident('FP32') },
      { remoteHosts: [`data.test:${source.port}`], requestTimeout: '2s' },
      { remoteTest: throughLoopback, pipelines: [echo(), upload(), words(), mirror()] },
    );
  });
  after(() => server.close());
  const send = (target: string, body: object): Promise<Answer> => server.send('POST', target, JSON.stringify(body));
  const post = (name: string, body: object): Promise<Answer> => send(`/pipelines/${name}`, body);
  const at = (target: string) => ({ url: source.url(target) });
  const BLOB = Buffer.of(255, 0, 1);

  it('plain: bytes, tensors, and elements of BYTES', async () => {
    source.serve({ '/blob': BLOB, '/x.npy': npyFile('<f4', [1, 2], floats(1, 2)), '/word': 'far', '/w': floats(1, 2) });
    assert.deepEqual(parseJson(await post('mirror', { blob: at('/blob') }), 200), {
      blob: Buffer.of(1, 0, 255).toString('base64'),
    });
    assert.deepEqual(parseJson(await post('echo', { x: at('/x.npy') }), 200), { y: [[1, 2]], together: 1 });
    const mixed = ['near', at('/word'), { b64: 'aGVyZQ==' }];
    assert.deepEqual(parseJson(await post('words', { words: mixed }), 200), { words: ['near', 'far', 'here'] });
    const both = parseJson(await post('upload', { image: at('/blob'), weights: at('/w') }), 200);
    assert.equal((both as { size: number; sum: number }).size, 3);
    assert.equal((both as { size: number; sum: number }).sum, 3);
  });

  it('predict: a call for each instance, an only field with and without its name', async () => {
    source.serve({ '/blob': BLOB, '/other': Buffer.of(1, 2) });
    const path = '/v1/models/mirror:predict';
    const [blob, other] = [Buffer.of(1, 0, 255), Buffer.of(2, 1)].map((one) => ({ b64: one.toString('base64') }));
    const expected = { predictions: [blob, other] };
    assert.deepEqual(parseJson(await send(path, { instances: [at('/blob'), { blob: at('/other') }] }), 200), expected);
    assert.deepEqual(parseJson(await send(path, { inputs: at('/blob') }), 200), { outputs: blob });
  });

  it('V2: any bytes for a field of bytes', async () => {
    source.serve({ '/blob': BLOB });
    const input = { name: 'blob', datatype: 'BYTES', shape: [1], parameters: at('/blob') };
    const { outputs } = parseReply(await send('/v2/models/mirror/infer', { inputs: [input] }));
    assert.deepEqual(outputs[0]!.data, [Buffer.of(1, 0, 255).toString('base64')]);
  });

  it('what is fetched has to fit the field, and what fails is named', async () => {
    source.serve({ '/long': Buffer.alloc(101), '/odd': Buffer.alloc(3), '/latin': Buffer.of(255) });
    const refuse = async (name: string, body: object, code: Parameters<typeof expectError>[1], text: RegExp) => {
      const answer = await post(name, body);
      expectError(answer, code, text);
      assert.match(String(answer.headers['server-timing']), /^(fetch;dur=[\d.]+, )?decode;dur=[\d.]+/);
    };
    await refuse('mirror', { blob: at('/long') }, 'INVALID_REQUEST', /'blob' of pipeline 'mirror' has 101 bytes/);
    await refuse(
      'mirror',
      { blob: at('/gone') },
      'REMOTE_FAILED',
      /^input 'blob': host 'data\.test' answers with status 404/,
    );
    await refuse('words', { words: [at('/latin')] }, 'INVALID_REQUEST', /input 'words'.* not valid UTF-8/);
    await refuse(
      'upload',
      { image: at('/odd'), weights: at('/odd') },
      'INVALID_REQUEST',
      /input 'weights'.* multiple of 4/,
    );
    await refuse(
      'echo',
      { x: at('/odd') },
      'INVALID_REQUEST',
      /does not say its shape, which FP32 \[-1,-1\] leaves open/,
    );
    await refuse('mirror', { blob: { url: 'https://other.test/' } }, 'INVALID_REQUEST', /'other\.test' is not among/);
    assert.equal((await server.metrics()).value('shoal_queue_bytes'), 0);
  });

  it('who leaves ends the fetch', async () => {
    source.answer = () => {};
    const stop = new AbortController();
    const asked = once(source.server, 'request');
    const body = JSON.stringify({ blob: at('/slow') });
    const left = assert.rejects(server.send('POST', '/pipelines/mirror', body, {}, { signal: stop.signal }));
    const [, response] = await asked;
    stop.abort();
    await Promise.all([once(response, 'close'), left]);
  });

  it('is off unless hosts are named', async (t) => {
    const off = await TestServer.start({}, {}, { pipelines: [mirror()] });
    t.after(() => off.close());
    const answer = await off.send('POST', '/pipelines/mirror', JSON.stringify({ blob: at('/blob') }));
    expectError(answer, 'INVALID_REQUEST', /^input 'blob' is given by an address, .*without --remote-hosts/);
  });
});
