import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeEmpty, formatListening, formatSummary } from '../../../src/cli/summary.ts';
import { formatBytes, reachableUrl } from '../../../src/cli/text.ts';
import { config, summary, tensor } from './support.ts';

const url = 'http://127.0.0.1:8000';

describe('the start summary', () => {
  it('has one aligned line per model, the reason of a failure, and what to try', () => {
    const models = [
      summary({ name: 'mnist', maxInstances: 1, threads: 2, batching: 'batched along axis 0' }),
      summary({ name: 'language-id', version: '12', batching: 'runs each request alone: rows influence each other' }),
      summary({ name: 'broken', state: 'failed', reason: 'not an ONNX file or something else', signature: undefined }),
    ];
    assert.equal(
      formatSummary({ url, metricsUrl: url, models, config: config() }),
      `2 models ready, 1 failed; runs use 2 cores on cpu (as configured)

  mnist        v1   ready   cpu  1 × 2 threads       batched along axis 0
  language-id  v12  ready   cpu  up to 2 × 1 thread  runs each request alone: rows influence each other
  broken       v1   failed  not an ONNX file or something else

Try it:
  curl -s http://127.0.0.1:8000/v2/models/mnist/infer -d '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[0,0,0,0]}]}'
  http://127.0.0.1:8000/ in a browser; http://127.0.0.1:8000/metrics for Prometheus
  Ctrl-C finishes what was accepted, then stops
`,
    );
  });

  it('shows the shortest example of a ready model', () => {
    const text = { inputs: [tensor('t', 'BYTES', [-1])], outputs: [], batched: true };
    const models = [
      summary({ name: 'failed', state: 'failed', signature: text }),
      summary({ name: 'no-signature', signature: undefined }),
      summary({ name: 'numbers' }),
      summary({ name: 'text', signature: text }),
    ];
    const commands = formatSummary({ url, metricsUrl: url, models, config: config() }).match(/curl.*/g);
    assert.equal(commands?.length, 1);
    assert.match(commands[0], /models\/text\/infer/);
  });

  it('has no example when no model is ready', () => {
    const models = [summary({ state: 'failed', reason: undefined })];
    const text = formatSummary({ url, metricsUrl: url, models, config: config() });
    assert.match(text, /^0 models ready, 1 failed; runs use 2 cores\n/);
    assert.match(text, /tiny {2}v1 {2}failed {2}no reason given/);
    assert.doesNotMatch(text, /curl/);
  });

  it('uses an address that can be reached', () => {
    const text = formatSummary({
      url: 'http://0.0.0.0:9000',
      metricsUrl: 'http://0.0.0.0:9000',
      models: [summary()],
      config: config(),
    });
    assert.match(text, /curl -s http:\/\/127\.0\.0\.1:9000\//);
    assert.doesNotMatch(text, /0\.0\.0\.0/);
    assert.equal(reachableUrl('http://[::]:1'), 'http://[::1]:1');
  });

  it('names a metrics port of its own', () => {
    const text = formatSummary({ url, metricsUrl: 'http://[::]:9100', models: [summary()], config: config() });
    assert.match(text, /; http:\/\/\[::1\]:9100\/metrics for Prometheus/);
  });

  it('says where gRPC is when it is on', () => {
    const facts = { url, metricsUrl: url, models: [summary()], config: config() };
    const text = formatSummary({ ...facts, grpcAddress: '127.0.0.1:8001' });
    assert.match(text, /^ {2}127\.0\.0\.1:8001 for clients of Triton's gRPC service$/m);
    assert.doesNotMatch(formatSummary(facts), /gRPC/);
  });

  it('says once where the models run and why', () => {
    const providerReason = 'CUDA is not available: no library';
    const models = [summary({ providerReason }), summary({ providerReason })];
    const text = formatSummary({ url, metricsUrl: url, models, config: config() });
    assert.match(text, /^2 models ready; runs use 2 cores on cpu \(CUDA is not available: no library\)\n/);
    assert.equal(text.split(providerReason).length, 2);
    const configured = summary({ providerReason: 'KIND_CPU in config.pbtxt' });
    const mixed = formatSummary({ url, metricsUrl: url, models: [...models, configured], config: config() });
    assert.match(mixed, /^3 models ready; runs use 2 cores\n/);
  });

  it('says how to add a model to an empty folder', () => {
    const text = formatSummary({ url, metricsUrl: url, models: [], config: config() });
    assert.match(text, /No models in \.\/models yet: add one as \.\/models\/<name>\.onnx or/);
    assert.match(
      describeEmpty({ models: '/srv/models/', modelControlMode: 'none' }),
      /as \/srv\/models\/<name>\.onnx or \/srv\/models\/<name>\/1\/model\.onnx/,
    );
  });

  it('says how to load a model where none is loaded at the start', () => {
    assert.match(
      describeEmpty({ models: '/srv/models', modelControlMode: 'explicit' }),
      /POST \/v2\/repository\/models\/<name>\/load .* \/srv\/models, --load-model <name>/,
    );
  });

  it('starts with version and address', () => {
    assert.equal(formatListening('0.1.0', url), 'Shoal 0.1.0 listens on http://127.0.0.1:8000\n');
  });
});

describe('formatBytes', () => {
  const cases: [number, string][] = [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [26_454, '26.5 kB'],
    [999_400, '999 kB'],
    [999_600, '1.0 MB'],
    [117_000_000, '117 MB'],
    [2_500_000_000, '2.5 GB'],
  ];
  for (const [bytes, text] of cases) it(`${bytes} is ${text}`, () => assert.equal(formatBytes(bytes), text));
});
