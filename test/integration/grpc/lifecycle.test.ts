import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { type ClientReadableStream, status } from '@grpc/grpc-js';
import { createServer as createShoal } from '../../../src/index.ts';
import { BUSY_LABELS, startBusyServer } from '../../support/busy.ts';
import { expectRefusal, GrpcClient, type GrpcReply, type Message } from '../../support/grpc.ts';
import { ident } from '../../support/models.ts';
import { type Scope, startServer, type TestServer } from '../../support/server.ts';

/** A request to `ident` with one row. */
function row(value: number, more: Message = {}): Message {
  return {
    model_name: 'ident',
    id: String(value),
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1], contents: { fp32_contents: [value] } }],
    ...more,
  };
}

function clientOf(
  scope: Scope,
  { server }: TestServer,
  options: Readonly<Record<string, string | number>> = {},
): GrpcClient {
  const client = new GrpcClient(server.grpcAddress!, options);
  scope.after(async () => client.close());
  return client;
}

function numbersOf(reply: unknown): unknown {
  return (reply as GrpcReply).outputs[0]!.contents!['fp32_contents'];
}

/** What a stream has received until it ended, and how it ended. */
function collect(
  stream: ClientReadableStream<Message>,
): Promise<{ readonly messages: Message[]; readonly code: status; readonly details: string }> {
  const messages: Message[] = [];
  stream.on('data', (message: Message) => messages.push(message));
  stream.on('error', () => {});
  return new Promise((resolve) => {
    stream.on('status', ({ code, details }) => setImmediate(() => resolve({ messages, code, details })));
  });
}

describe('gRPC calls that wait', () => {
  it('are given up at their deadline, in the queue and in the batcher', async (t) => {
    const { running, release, until } = await startBusyServer(t, { grpcPort: 0 });
    const client = clientOf(t, running);
    // Time enough for the request to get there on a busy machine.
    const { outcome } = client.start('ModelInfer', row(1), { deadline: Date.now() + 3000 });
    await until(2, 1);
    assert.equal((await outcome).error?.code, status.DEADLINE_EXCEEDED);
    const metrics = await until(1, 0);
    release();
    // The client's timer and ours run side by side.
    const count = (outcome: string): number =>
      metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'grpc', outcome });
    assert.equal(count('expired') + count('cancelled'), 1);
  });

  it('end with our text when the time in the queue is over, or the server’s own limit', async (t) => {
    const { running, release } = await startBusyServer(t, { grpcPort: 0, requestTimeout: '1s' });
    const client = clientOf(t, running);
    const queued = await client.call('ModelInfer', row(1, { parameters: { timeout: { uint64_param: 50_000 } } }));
    expectRefusal(queued, 'DEADLINE_EXCEEDED', /./);
    expectRefusal(await client.call('ModelInfer', row(2)), 'DEADLINE_EXCEEDED', /./);
    release();
  });

  it('are dropped when their callers leave', async (t) => {
    const { running, release, until } = await startBusyServer(t, { grpcPort: 0 });
    const client = clientOf(t, running);
    const { outcome, cancel } = client.start('ModelInfer', row(1));
    await until(2, 1);
    cancel();
    assert.equal((await outcome).error?.code, status.CANCELLED);
    const metrics = await until(1, 0);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'grpc', outcome: 'cancelled' }), 1);
    release();
  });

  it('are dropped when a connection breaks', async (t) => {
    const { running, release, until } = await startBusyServer(t, { grpcPort: 0 });
    const [host, port] = running.server.grpcAddress!.split(':');
    const sockets: Socket[] = [];
    const relay = createServer((socket) => {
      const onward = connect(Number(port), host);
      sockets.push(socket, onward);
      for (const one of [socket, onward]) one.on('error', () => {});
      socket.pipe(onward).pipe(socket);
    }).listen(0, '127.0.0.1');
    await once(relay, 'listening');
    const client = new GrpcClient(`127.0.0.1:${(relay.address() as AddressInfo).port}`);
    const outcome = client.call('ModelInfer', row(1));
    await until(2, 1);
    relay.close();
    for (const socket of sockets) socket.destroy();
    await until(1, 0);
    release();
    assert.equal((await outcome).error?.code, status.UNAVAILABLE);
    client.close();
  });

  it('are refused when the queue is full, with the time to come back', async (t) => {
    const { running, release, until } = await startBusyServer(t, { grpcPort: 0, maxQueueRows: 1 });
    const client = clientOf(t, running);
    const waiting = client.call('ModelInfer', row(1));
    await until(2, 1);
    const refused = await client.call('ModelInfer', row(2));
    expectRefusal(refused, 'QUEUE_FULL', /queue/);
    assert.match(String(refused.error!.metadata.get('grpc-retry-pushback-ms')[0]), /^\d+$/);
    release();
    assert.deepEqual(numbersOf((await waiting).reply), [1]);
  });

  it('share runs with requests over HTTP', async (t) => {
    const { running, release, until, first } = await startBusyServer(t, { grpcPort: 0 });
    const client = clientOf(t, running);
    const calls = [1, 2, 3].map((value) => client.call('ModelInfer', row(value)));
    const http = running.infer('ident', { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1], data: [9] }] });
    await until(5, 4);
    release();
    assert.equal((await first).status, 200);
    assert.deepEqual(
      (await Promise.all(calls)).map(({ reply }) => numbersOf(reply)),
      [[1], [2], [3]],
    );
    assert.equal(JSON.parse((await http).body.toString()).outputs[0].data[0], 9);
    const { batch_stats: sizes } = await running.statistics('ident');
    assert.deepEqual(
      sizes.map(({ batch_size: size }) => size),
      [1, 4],
    );
  });
});

describe('ModelStreamInfer', () => {
  it('answers each request once and in order, errors among them', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') }, { grpcPort: 0 });
    const stream = clientOf(t, running).streamInfer();
    const end = collect(stream);
    for (let i = 0; i < 600; i++) stream.write(i % 7 === 3 ? row(i, { model_name: 'none' }) : row(i));
    stream.end();
    const { messages, code } = await end;
    assert.equal(code, status.OK);
    assert.equal(messages.length, 600);
    for (const [i, { error_message: error, infer_response: reply }] of messages.entries()) {
      assert.equal((reply as GrpcReply).id, String(i));
      if (i % 7 === 3) assert.equal(error, "there is no model 'none'");
      else {
        assert.equal(error, '');
        assert.deepEqual(numbersOf(reply), [i]);
        assert.equal((reply as GrpcReply).parameters['triton_final_response']!['bool_param'], true);
      }
    }
  });

  it('gives up what waits when the caller leaves', async (t) => {
    const { running, release, until } = await startBusyServer(t, { grpcPort: 0 });
    const stream = clientOf(t, running).streamInfer();
    const end = collect(stream);
    stream.write(row(1));
    stream.write(row(2));
    await until(3, 2);
    stream.cancel();
    assert.equal((await end).code, status.CANCELLED);
    const metrics = await until(1, 0);
    assert.equal(metrics.value('shoal_requests_total', { ...BUSY_LABELS, protocol: 'grpc', outcome: 'cancelled' }), 2);
    release();
  });
});

describe('limits of gRPC messages', () => {
  it('refuse what is larger, both ways, and take what is not', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') }, { grpcPort: 0, bodyLimit: '64KiB' });
    const client = clientOf(t, running);
    const raw = (floats: number): Message => ({
      model_name: 'ident',
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, floats] }],
      raw_input_contents: [Buffer.alloc(4 * floats)],
    });
    assert.equal((await client.infer(raw(16_000))).raw_output_contents[0]!.length, 64_000);
    const { error } = await client.call('ModelInfer', raw(16_384));
    assert.equal(error?.code, status.RESOURCE_EXHAUSTED);
    assert.match(error.details, /larger than max/);
    // What is small when compressed is still too large.
    const compressing = clientOf(t, running, { 'grpc.default_compression_algorithm': 2 });
    assert.equal((await compressing.call('ModelInfer', raw(1_000_000))).error?.code, status.RESOURCE_EXHAUSTED);
    // A class takes more room than the number it stands for.
    const outputs = [{ name: 'y', parameters: { classification: { int64_param: 8000 } } }];
    const reply = await client.call('ModelInfer', { ...raw(8000), outputs });
    expectRefusal(reply, 'BODY_TOO_LARGE', /^the reply has \d+ bytes, more than the 65536 of --body-limit$/);
  });

  it('hold for the queue', async (t) => {
    const { running, release, until } = await startBusyServer(t, { grpcPort: 0, maxQueueBytes: '1KiB' });
    const client = clientOf(t, running);
    const inputs = [{ name: 'x', datatype: 'FP32', shape: [1, 150] }];
    const large = { model_name: 'ident', inputs, raw_input_contents: [Buffer.alloc(600)] };
    const waiting = client.call('ModelInfer', large);
    await until(2, 1);
    expectRefusal(await client.call('ModelInfer', large), 'QUEUE_FULL', /requests hold 604 bytes, 1024 may be held$/);
    release();
    assert.equal((await waiting).error, undefined);
  });
});

describe('the end of a server with gRPC', () => {
  it('answers calls in flight, ends streams and watches, and takes no new ones', async (t) => {
    const { running, release, until } = await startBusyServer(t, { grpcPort: 0 });
    const client = clientOf(t, running);
    const [waiting, stream, watch] = [client.call('ModelInfer', row(1)), client.streamInfer(), client.watch('')];
    const streamEnd = collect(stream);
    const watchEnd = collect(watch);
    stream.write(row(2));
    await until(3, 2);
    const closed = running.server.close();
    const { messages } = await watchEnd;
    assert.deepEqual(
      messages.map((message) => message['status']),
      ['SERVING', 'NOT_SERVING'],
    );
    const late = await client.call('ModelInfer', row(3));
    assert.equal(late.error?.code, status.UNAVAILABLE);
    release();
    assert.deepEqual(numbersOf((await waiting).reply), [1]);
    const { messages: replies, code, details } = await streamEnd;
    assert.deepEqual(numbersOf(replies[0]!['infer_response']), [2]);
    assert.deepEqual([replies.length, code, details], [1, status.UNAVAILABLE, 'the server is shutting down']);
    await closed;
  });

  it('is not held by connections that idle, or never said a word', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') }, { grpcPort: 0 });
    const client = clientOf(t, running);
    await client.infer(row(1));
    const [host, port] = running.server.grpcAddress!.split(':');
    const mute = connect(Number(port), host);
    await once(mute, 'connect');
    mute.on('error', () => {});
    mute.resume();
    const start = performance.now();
    await Promise.all([running.server.close(), once(mute, 'close')]);
    assert.ok(performance.now() - start < 3000, `${performance.now() - start} ms`);
  });

  it('cuts what takes longer than the drain timeout', async (t) => {
    const { running, release } = await startBusyServer(t, { grpcPort: 0, drainTimeout: '100ms' });
    const call = clientOf(t, running).call('ModelInfer', row(1));
    await running.server.close();
    assert.equal((await call).error?.code, status.UNAVAILABLE);
    release();
  });
});

describe('--grpc-port', () => {
  it('is off unless given', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') });
    assert.equal(running.server.grpcAddress, undefined);
  });

  it('fails like the other ports when it is taken', async (t) => {
    const running = await startServer(t, { ident: ident('FP32') }, { grpcPort: 0 });
    const port = Number(running.server.grpcAddress!.split(':')[1]);
    const second = await createShoal({ models: running.folder, port: 0, grpcPort: port, logLevel: 'silent' });
    await assert.rejects(second.listen(), { code: 'EADDRINUSE', port });
    await second.close();
  });
});
