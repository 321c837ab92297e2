import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { ident } from '../../support/models.ts';
import { follow, type MediaType, type OpenApiDocument, schemaChecker } from '../../support/openapi.ts';
import { parseJson, useServer } from '../../support/server.ts';
import { echo, kinds, picture, upload } from './fixtures.ts';

describe('the OpenAPI document of pipelines', () => {
  const server = useServer(
    () => ({ ident_FP32: ident('FP32') }),
    {},
    { pipelines: [echo(), kinds(), upload(), picture()] },
  );
  const document = async (): Promise<OpenApiDocument> => (await server().json('/openapi.json')) as OpenApiDocument;

  test('is valid, and has the doors of each', async () => {
    const made = await document();
    const { valid, errors } = await new Validator().validate({ ...structuredClone(made) });
    assert.ok(valid, JSON.stringify(errors));
    for (const name of ['echo', 'kinds', 'upload', 'picture']) {
      assert.ok(made.paths[`/pipelines/${name}`]?.['post'] !== undefined, name);
      assert.ok(made.paths[`/pipelines/${name}`]?.['get'] !== undefined, name);
      assert.ok(made.paths[`/v2/models/${name}/infer`] !== undefined, name);
      assert.ok(made.paths[`/v1/models/${name}:predict`] !== undefined, name);
    }
    const types = Object.keys(made.paths['/pipelines/picture']!['post']!.requestBody!.content);
    assert.deepEqual(types, [
      'application/json',
      'multipart/form-data',
      'image/png',
      'image/jpeg',
      'application/octet-stream',
    ]);
    const ids = Object.values(made.paths).flatMap((item) => Object.values(item).map((one) => one.operationId));
    assert.equal(new Set(ids).size, ids.length);
  });

  test('its schemas take what the server takes, and nothing else', async () => {
    const made = await document();
    const check = schemaChecker(made);
    const cases: [string, unknown, boolean][] = [
      ['echo', { x: [[1, 2]] }, true],
      ['echo', { x: [1] }, false],
      ['echo', {}, false],
      ['kinds', { text: 'a', words: ['b'], point: { x: 1, y: 2 } }, true],
      ['kinds', { text: 'a', point: { x: 1 } }, false],
      ['kinds', { text: 'a', count: -1 }, false],
      ['kinds', { text: 'a', other: 1 }, false],
      ['upload', { image: 'AAAA', weights: [1] }, true],
      ['upload', { image: { b64: 'AAAA' }, weights: [] }, true],
      ['upload', { image: 3, weights: [] }, false],
    ];
    for (const [name, body, isGood] of cases) {
      const { requestBody, responses } = made.paths[`/pipelines/${name}`]!['post']!;
      const problem = check(requestBody!.content['application/json']!.schema!, body);
      assert.equal(problem === undefined, isGood, `${name} ${JSON.stringify(body)}: ${problem}`);
      const answer = await server().send('POST', `/pipelines/${name}`, JSON.stringify(body));
      assert.equal(answer.status, isGood ? 200 : 400);
      if (!isGood) continue;
      const { content } = follow<{ content: Record<string, MediaType> }>(made, responses['200']!);
      assert.equal(check(content['application/json']!.schema!, parseJson(answer, 200)), undefined, name);
    }
    const predict = made.paths['/v1/models/kinds:predict']!['post']!.requestBody!.content['application/json']!.schema!;
    assert.equal(check(predict, { instances: [{ text: 'a' }] }), undefined);
    assert.notEqual(check(predict, { instances: [{ text: 1 }] }), undefined);
  });
});
