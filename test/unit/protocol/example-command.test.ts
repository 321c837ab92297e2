import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { exampleInfer } from '../../../src/protocol/example-command.ts';
import type { Signature } from '../../../src/tensor/signature.ts';
import { tensor } from '../cli/support.ts';

const run = promisify(execFile);

interface Received {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

let received: Received | undefined;
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  received = { url: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks) };
  response.end('{}');
});
let base: string;
before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());

const hasCurl = await run('curl', ['--version']).then(
  () => true,
  () => false,
);

/** Runs the example in a shell, as a reader would, and tells what the server got. */
async function send(name: string, signature: Signature, version?: string): Promise<Received> {
  received = undefined;
  const example = exampleInfer({ name, signature }, base, version);
  assert.ok(example !== undefined);
  await run('sh', ['-c', example.command.replace('-o answer.bin', '-o /dev/null')]);
  assert.ok(received !== undefined, example.command);
  return received;
}

describe('the example request', { skip: hasCurl ? false : 'curl is not installed' }, () => {
  it('has one row, zeros, and the batch axis wherever it is', async () => {
    const signature = {
      inputs: [tensor('x', 'FP32', [-1, 4]), tensor('h', 'INT64', [2, 7, 3], 1), tensor('sr', 'INT64', [], null)],
      outputs: [tensor('y', 'FP32', [-1, 3])],
      batched: true,
    };
    const { url, body } = await send('tiny', signature);
    assert.equal(url, '/v2/models/tiny/infer');
    assert.deepEqual(JSON.parse(body.toString()), {
      inputs: [
        { name: 'x', shape: [1, 4], datatype: 'FP32', data: [0, 0, 0, 0] },
        { name: 'h', shape: [2, 1, 3], datatype: 'INT64', data: [0, 0, 0, 0, 0, 0] },
        { name: 'sr', shape: [], datatype: 'INT64', data: [0] },
      ],
    });
  });

  it('survives the shell: quotes, spaces and dollars in names', async () => {
    const signature = {
      inputs: [tensor(`it's "$HOME" \\ \`x\``, 'BYTES', [-1]), tensor('ok?', 'BOOL', [-1, -1])],
      outputs: [],
      batched: true,
    };
    const { url, body } = await send(`a b/'ü`, signature, '12');
    assert.equal(url, `/v2/models/a%20b%2F'%C3%BC/versions/12/infer`);
    assert.deepEqual(JSON.parse(body.toString()).inputs, [
      { name: `it's "$HOME" \\ \`x\``, shape: [1], datatype: 'BYTES', data: ['hello'] },
      { name: 'ok?', shape: [1, 1], datatype: 'BOOL', data: [false] },
    ]);
  });

  it('generates the data of big tensors, more than an argument may hold', async () => {
    const signature = {
      inputs: [tensor('image', 'FP32', [-1, 3, 224, 224]), tensor(`it's`, 'BYTES', [-1, 2])],
      outputs: [],
      batched: true,
    };
    const { body } = await send('resnet', signature);
    const { inputs } = JSON.parse(body.toString());
    assert.deepEqual(inputs[0].shape, [1, 3, 224, 224]);
    assert.equal(inputs[0].data.length, 150_528);
    assert.ok(inputs[0].data.every((value: unknown) => value === 0));
    assert.deepEqual(inputs[1], { name: `it's`, shape: [1, 2], datatype: 'BYTES', data: ['hello', 'hello'] });
  });

  it('sends FP16 in binary behind the JSON, as the protocol wants it', async () => {
    const signature = {
      inputs: [tensor('h', 'FP16', [-1, 5]), tensor('t', 'BYTES', [-1, 2])],
      outputs: [tensor('y', 'FP16', [-1, 2])],
      batched: true,
    };
    const { headers, body } = await send('half', signature);
    const length = Number(headers['inference-header-content-length']);
    assert.equal(headers['content-type'], 'application/octet-stream');
    assert.deepEqual(JSON.parse(body.toString('utf8', 0, length)), {
      inputs: [
        { name: 'h', shape: [1, 5], datatype: 'FP16', parameters: { binary_data_size: 10 } },
        { name: 't', shape: [1, 2], datatype: 'BYTES', parameters: { binary_data_size: 8 } },
      ],
      parameters: { binary_data_output: true },
    });
    assert.deepEqual(body.subarray(length), Buffer.alloc(18));
  });

  it('asks for FP16 outputs in binary and says where they go', async () => {
    const signature = {
      inputs: [tensor('x', 'FP32', [-1, 100])],
      outputs: [tensor('y', 'FP16', [-1, 2])],
      batched: true,
    };
    const { body } = await send('half', signature);
    assert.deepEqual(JSON.parse(body.toString()).parameters, { binary_data_output: true });
    const example = exampleInfer({ name: 'half', signature }, base);
    assert.match(example?.command ?? '', / -o answer\.bin /);
    assert.match(example?.note ?? '', /answer\.bin/);
  });
});

describe('a model without a signature', () => {
  it('has no example', () => assert.equal(exampleInfer({ name: 'x', signature: undefined }, 'http://h'), undefined));
});
