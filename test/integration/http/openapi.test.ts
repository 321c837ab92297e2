import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, it } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import fastify from 'fastify';
import { Service } from '../../../src/index.ts';
import { DATATYPE_NAMES } from '../../../src/tensor/tensor.ts';
import {
  add2,
  fixedBatch,
  flat0,
  ident,
  idents,
  imageNchw,
  scalar0,
  stateModel,
  str1,
  tokenIds,
} from '../../support/models.ts';
import { encodeModel, node, tensor } from '../../support/onnx-builder.ts';
import {
  follow,
  type MediaType,
  type OpenApiDocument,
  type OpenApiOperation,
  schemaChecker,
} from '../../support/openapi.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';
import { parseJson, startServer, TestClient, TestServer, useServer } from '../../support/server.ts';

/** `GET /openapi.json`: valid, complete, true. */

/** A name with what has a meaning in paths, in JSON, in Markdown and in HTML. */
const ODD_NAME = 'a|b `c` <d> "e" ü%2F{x}';

async function getDocument(client: TestClient, target = '/openapi.json'): Promise<OpenApiDocument> {
  return parseJson(await client.get(target), 200) as OpenApiDocument;
}

async function validate(document: object): Promise<void> {
  const { valid, errors } = await new Validator().validate({ ...structuredClone(document) });
  assert.ok(valid, JSON.stringify(errors));
}

/** The operations with a body: path and operation. */
function bodies(document: OpenApiDocument): [string, OpenApiOperation][] {
  return Object.entries(document.paths).flatMap(([target, item]) =>
    item['post']?.requestBody === undefined ? [] : [[target, item['post']] as [string, OpenApiOperation]],
  );
}

/** Sends the examples of an operation as its document says; returns how many there were. */
async function sendExamples(
  client: TestClient,
  document: OpenApiDocument,
  target: string,
  operation: OpenApiOperation,
): Promise<number> {
  const check = schemaChecker(document);
  const headers: Record<string, string> = {};
  for (const one of operation.parameters ?? []) {
    const { name, in: where, example } = follow<{ name: string; in: string; example?: number }>(document, one);
    if (where === 'header' && example !== undefined) headers[name] = String(example);
  }
  const base = document.servers[0]!.url.replace(/\/$/, '');
  let sent = 0;
  for (const [type, { schema, examples = {} }] of Object.entries(operation.requestBody!.content)) {
    for (const example of Object.values(examples)) {
      const { value } = follow<{ value: unknown }>(document, example);
      if (schema !== undefined) assert.equal(check(schema, value), undefined, target);
      const body = typeof value === 'string' ? value : JSON.stringify(value);
      const answer = await client.send('POST', base + target, body, { 'content-type': type, ...headers });
      assert.equal(answer.status, 200, `${target}: ${answer.body}`);
      const { content } = follow<{ content: Record<string, MediaType> }>(document, operation.responses['200']!);
      const replied = content[String(answer.headers['content-type'])];
      assert.ok(replied !== undefined, `${target}: ${answer.headers['content-type']} is not among the responses`);
      if (replied.schema !== undefined) {
        assert.equal(check(replied.schema, JSON.parse(answer.body.toString())), undefined, target);
      }
      sent++;
    }
  }
  return sent;
}

describe('the OpenAPI document of the bundled models', () => {
  const server = useServer(() => path.join(REPOSITORY_ROOT, 'models'));

  it('is valid', async () => {
    const document = await getDocument(server());
    assert.equal(document.openapi, '3.1.0');
    await validate(document);
  });

  it('has an example that works for every model and version', async () => {
    const document = await getDocument(server());
    const targets = new Map(bodies(document));
    for (const name of ['language-id', 'mnist-cnn']) {
      for (const model of [name, `${name}/versions/1`]) {
        for (const [target, examples] of [
          [`/v2/models/${model}/infer`, 1],
          [`/v1/models/${model}:predict`, 2],
        ] as const) {
          const operation = targets.get(target);
          assert.ok(operation !== undefined, target);
          assert.equal(await sendExamples(server(), document, target, operation), examples, target);
        }
      }
    }
  });

  it('is found with a slash behind it, too', async () => {
    const document = await getDocument(server());
    assert.deepEqual(document.servers, [{ url: '/' }]);
    assert.deepEqual(await getDocument(server(), '/openapi.json/'), document);
  });
});

describe('the OpenAPI document of all kinds of models', () => {
  const server = useServer(() => ({
    ...idents(),
    add2: { 1: add2(), 3: add2() },
    [ODD_NAME]: ident('FP32'),
    fixedBatch: fixedBatch(),
    flat0: flat0(),
    imageNchw: imageNchw(),
    scalar0: scalar0(),
    stateModel: stateModel(),
    str1: str1(),
    tokenIds: tokenIds(),
    broken: Buffer.from('no model'),
  }));

  it('is valid', async () => validate(await getDocument(server())));

  it('has an example that works for each, whatever the datatype', async () => {
    const document = await getDocument(server());
    const sent: Map<string, number> = new Map();
    for (const [target, operation] of bodies(document)) {
      if (!/\/infer$|:predict$/.test(target)) continue;
      sent.set(target, await sendExamples(server(), document, target, operation));
    }
    for (const name of [...DATATYPE_NAMES.map((datatype) => `ident_${datatype}`), 'add2', ODD_NAME, 'stateModel']) {
      assert.equal(sent.get(`/v2/models/${encodeURIComponent(name)}/infer`), 1, name);
    }
    for (const datatype of DATATYPE_NAMES) assert.equal(sent.get(`/v1/models/ident_${datatype}:predict`), 2, datatype);
    // One of its outputs does not begin with the rows.
    assert.equal(sent.get('/v1/models/stateModel:predict'), 1);
    for (const version of [1, 3]) assert.equal(sent.get(`/v2/models/add2/versions/${version}/infer`), 1);
    assert.ok(!sent.has('/v2/models/broken/infer'), 'a model that failed has no operation');
  });

  it('says what a request must look like, down to the literal dimensions', async () => {
    const document = await getDocument(server());
    const check = schemaChecker(document);
    const wrong = (name: string, inputs: unknown, rest: object = {}): boolean => {
      const { content } = document.paths[`/v2/models/${name}/infer`]!['post']!.requestBody!;
      return check(content['application/json']!.schema!, { inputs, ...rest }) !== undefined;
    };
    const a = { name: 'a', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] };
    const b = { ...a, name: 'b', data: [[1, null, 3, 4]] };
    assert.ok(!wrong('add2', [a, b]));
    assert.ok(!wrong('add2', [b, a], { id: '7', outputs: [{ name: 'diff' }], parameters: { timeout: 5, mine: true } }));
    assert.ok(!wrong('add2', [a, b], { outputs: null, parameters: null }));
    assert.ok(wrong('add2', [a]), 'an input is missing');
    assert.ok(wrong('add2', [a, a]), 'one twice');
    assert.ok(wrong('add2', [a, { ...b, name: 'c' }]), 'unknown name');
    assert.ok(wrong('add2', [a, { ...b, datatype: 'FP64' }]), 'wrong datatype');
    assert.ok(wrong('add2', [a, { ...b, shape: [4] }]), 'wrong rank');
    assert.ok(wrong('add2', [a, { ...b, shape: [1, 5] }]), 'wrong dimension');
    assert.ok(wrong('add2', [a, { ...b, shape: [0, 4] }]), 'no rows');
    assert.ok(wrong('add2', [a, { ...b, shape: [129, 4] }]), 'too many rows');
    assert.ok(wrong('add2', [a, { ...b, data: [1, 2, 3] }]), 'too few elements');
    assert.ok(wrong('add2', [a, { ...b, data: [[1, 2, 3, 4, 5]] }]), 'nested otherwise');
    assert.ok(wrong('add2', [a, { ...b, data: ['1', 2, 3, 4] }]), 'an element of another type');
    assert.ok(wrong('add2', [a, b], { outputs: [{ name: 'product' }] }), 'unknown output');
    assert.ok(wrong('add2', [a, b], { parameters: { mine: {} } }), 'a parameter that is an object');
    const scalar = { name: 'x', datatype: 'FP32', shape: [], data: [3] };
    assert.ok(!wrong('scalar0', [scalar]));
    assert.ok(wrong('scalar0', [{ ...scalar, data: [3, 4] }]));
    const integer = (datatype: string, value: number): unknown => [
      { name: 'x', datatype, shape: [1, 1], data: [value] },
    ];
    assert.ok(!wrong('ident_UINT8', integer('UINT8', 255)));
    assert.ok(wrong('ident_UINT8', integer('UINT8', 256)));
    assert.ok(wrong('ident_INT32', integer('INT32', 1.5)));
  });

  it('spells the bounds of 64-bit integers out', async () => {
    const { body } = await server().get('/openapi.json');
    assert.match(body.toString(), /"minimum":-9223372036854775808,"exclusiveMaximum":9223372036854775808\}/);
    assert.match(body.toString(), /"exclusiveMaximum":18446744073709551616\}/);
  });

  it('has an id of its own for each operation, and describes the tensors of models', async () => {
    const { paths } = await getDocument(server());
    const ids = Object.values(paths).flatMap((item) => Object.values(item).map((one) => one.operationId));
    assert.equal(new Set(ids).size, ids.length);
    assert.match(paths['/v2/models/add2/infer']!['post']!.description!, /`sum` \| FP32 \| `\[-1, 4\]`/);
  });
});

describe('a model whose example would be long', () => {
  it('has a command that makes it instead', async (t) => {
    const big = encodeModel({
      inputs: [tensor('x', 'FP32', ['N', 3, 224, 224])],
      outputs: [tensor('y', 'FP32', ['N', 3, 224, 224])],
      nodes: [node('Identity', ['x'], ['y'])],
    });
    const server = await startServer(t, { big });
    const document = await getDocument(server);
    const { description, requestBody } = document.paths['/v2/models/big/infer']!['post']!;
    assert.match(description!, /```sh\nnode -p .* curl -s http:\/\/127\.0\.0\.1:8000\/v2\/models\/big\/infer /);
    assert.equal(requestBody!.content['application/json']!.examples, undefined);
    assert.ok(JSON.stringify(document).length < 100_000);
    await validate(document);
  });
});

describe('the routes and the document', () => {
  it('have each other, but for what is left out on purpose', async (t) => {
    const server = await startServer(t, { add2: { 2: add2() } });
    const document = await getDocument(server);
    const described = new Set(
      Object.entries(document.paths).flatMap(([target, item]) =>
        Object.keys(item).map((method) => `${method.toUpperCase()} ${target}`),
      ),
    );

    const service = await Service.create({ models: server.folder, logLevel: 'silent' });
    const app = fastify();
    t.after(async () => {
      await service.loaded();
      await app.close();
    });
    const registered: Set<string> = new Set();
    app.addHook('onRoute', ({ method, url }) => {
      for (const one of [method].flat()) registered.add(`${one} ${url}`);
    });
    app.register(service.plugin);
    await app.ready();

    const missing: string[] = [];
    for (const route of registered) {
      const [method, url] = route.split(' ') as [string, string];
      // HEAD comes with GET, and every path also with a slash behind it.
      if (method === 'HEAD' || (url !== '/' && url.endsWith('/'))) continue;
      // Files of the page at /docs.
      if (url.startsWith('/docs/')) continue;
      // The router takes `:predict` for a part of what is before it.
      const verb = method === 'POST' && /^\/v1\/models\/[^/]+(\/versions\/[^/]+)?$/.test(url) ? ':predict' : '';
      const target = url.replaceAll(':version', '2').replace(/:\w+/g, 'add2') + verb;
      const { status } = await server.send(method as 'GET', target);
      // Wrong methods, and routes of the protocol that say that they are not implemented.
      if (status === 405 || status === 501) continue;
      const template = url.replace(/:(\w+)/g, '{$1}');
      const found = [template, target].find((one) => described.delete(`${method} ${one}`));
      if (found === undefined) missing.push(route);
    }
    assert.deepEqual(missing, [], 'routes that are not described');
    assert.deepEqual([...described], [], 'described, but there is no such route');
  });
});

describe('the OpenAPI document of a server whose models change', () => {
  it('has no operation of a model before it is ready, and all of them then', async (t) => {
    const server = await TestServer.start({ ident: ident('FP32') }, {}, {}, { awaitLoaded: false });
    t.after(() => server.close());
    const early = await getDocument(server);
    await validate(early);
    assert.equal(early.paths['/v2/models/ident/infer'], undefined);
    await server.server.loaded();
    const late = await getDocument(server);
    assert.ok(late.paths['/v2/models/ident/infer'] !== undefined);
    assert.deepEqual(await getDocument(server), late);
  });

  it('follows what is loaded and unloaded', async (t) => {
    const models = { one: ident('FP32'), two: ident('INT8') };
    const server = await startServer(t, models, { modelControlMode: 'explicit', loadModel: ['one'] });
    const names = async (): Promise<string[]> => {
      const { paths } = await getDocument(server);
      return ['one', 'two'].filter((name) => paths[`/v2/models/${name}/infer`] !== undefined);
    };
    assert.deepEqual(await names(), ['one']);
    parseJson(await server.send('POST', '/v2/repository/models/two/load'), 200);
    assert.deepEqual(await names(), ['one', 'two']);
    parseJson(await server.send('POST', '/v2/repository/models/one/unload'), 200);
    assert.deepEqual(await names(), ['two']);
  });

  it('is valid without any model', async (t) => {
    const server = await startServer(t, {});
    await validate(await getDocument(server));
  });
});

describe('below a prefix', () => {
  it('the document leads to where the routes are', async (t) => {
    const service = await Service.create({ models: path.join(REPOSITORY_ROOT, 'models'), logLevel: 'silent' });
    const app = fastify();
    app.register(service.plugin, { prefix: '/ml' });
    const url = await app.listen({ port: 0 });
    t.after(() => app.close());
    await service.loaded();
    const client = new TestClient(url);
    t.after(() => client.close());
    const document = await getDocument(client, '/ml/openapi.json');
    assert.deepEqual(document.servers, [{ url: '/ml' }]);
    for (const [target, operation] of bodies(document)) {
      if (target.endsWith('/infer')) await sendExamples(client, document, target, operation);
    }
    const page = await (await fetch(`${url}/ml/docs`)).text();
    for (const [, link] of page.matchAll(/(?:href|src)="(?!data:)([^"]*)"/g)) {
      const answer = await fetch(new URL(link!, `${url}/ml/docs`));
      assert.equal(answer.status, 200, link);
      await answer.arrayBuffer();
    }
  });
});
