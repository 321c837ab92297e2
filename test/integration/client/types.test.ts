import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { writeRepository } from '../../support/models/repository.ts';
import { add2, idents, imageNchw, scalar0, stateModel, tokenIds } from '../../support/models.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';

/** `shoal types` and the client's types, judged by the compiler as a user's program would be. */

/** A use of the client, wrong and right; each is an expression. */
interface Use {
  readonly what: string;
  readonly wrong: string;
  readonly right: string;
}

const ADD = 'a: four, b: four';
const USES: readonly Use[] = [
  { what: "a model's name", wrong: `client.infer('add', { ${ADD} })`, right: `client.infer('add2', { ${ADD} })` },
  { what: 'a name in other calls', wrong: `client.statistics('add')`, right: `client.statistics('add2')` },
  {
    what: "an input's name",
    wrong: `client.infer('add2', { a: four, c: four })`,
    right: `client.infer('add2', { ${ADD} })`,
  },
  { what: 'an input left out', wrong: `client.infer('add2', { a: four })`, right: `client.infer('add2', { ${ADD} })` },
  {
    what: 'an input too many',
    wrong: `client.infer('add2', { ${ADD}, c: four })`,
    right: `client.infer('add2', { ${ADD} })`,
  },
  {
    what: 'another array',
    wrong: `client.infer('scalar0', { x: { data: new Float64Array(1), shape: [] } })`,
    right: `client.infer('scalar0', { x: { data: new Float32Array(1), shape: [] } })`,
  },
  {
    what: 'numbers that are no array',
    wrong: `client.infer('scalar0', { x: { data: [1], shape: [] } })`,
    right: `client.infer('scalar0', { x: { data: Float32Array.of(1), shape: [] } })`,
  },
  {
    what: 'numbers for 64-bit integers',
    wrong: `client.infer('tokens', { input_ids: { data: new Int32Array(2), shape: [1, 2] }, attention_mask: ids })`,
    right: `client.infer('tokens', { input_ids: { data: new BigInt64Array(2), shape: [1, 2] }, attention_mask: ids })`,
  },
  {
    what: 'another datatype by name',
    wrong: `client.infer('scalar0', { x: { data: new Float32Array(1), shape: [], datatype: 'FP64' } })`,
    right: `client.infer('scalar0', { x: { data: new Float32Array(1), shape: [], datatype: 'FP32' } })`,
  },
  {
    what: 'FP16 bits without a datatype',
    wrong: `client.infer('ident_FP16', { x: { data: new Uint16Array(1), shape: [1, 1] } })`,
    right: `client.infer('ident_FP16', { x: { data: new Uint16Array(1), shape: [1, 1], datatype: 'FP16' } })`,
  },
  {
    what: 'half precision for single',
    wrong: `client.infer('scalar0', { x: { data: new Float16Array(1), shape: [] } })`,
    right: `client.infer('ident_FP16', { x: { data: new Float16Array(1), shape: [1, 1] } })`,
  },
  {
    what: 'bytes for booleans without a datatype',
    wrong: `client.infer('ident_BOOL', { x: { data: new Uint8Array(1), shape: [1, 1] } })`,
    right: `client.infer('ident_BOOL', { x: { data: new Uint8Array(1), shape: [1, 1], datatype: 'BOOL' } })`,
  },
  {
    what: 'numbers for strings',
    wrong: `client.infer('ident_BYTES', { x: { data: [1], shape: [1, 1] } })`,
    right: `client.infer('ident_BYTES', { x: { data: ['a', new Uint8Array(1)], shape: [1, 1] } })`,
  },
  {
    what: 'a rank too low',
    wrong: `client.infer('add2', { a: { data, shape: [4] }, b: four })`,
    right: `client.infer('add2', { a: { data, shape: [1, 4] }, b: four })`,
  },
  {
    what: 'a rank too high',
    wrong: `client.infer('scalar0', { x: { data, shape: [1] } })`,
    right: `client.infer('scalar0', { x: { data, shape: [] } })`,
  },
  {
    what: 'another fixed dimension',
    wrong: `client.infer('image', { image: { data, shape: [1, 4, 8, 8] } })`,
    right: `client.infer('image', { image: { data, shape: [1, 3, 8, 8] } })`,
  },
  {
    what: 'a dimension that is no number',
    wrong: `client.infer('image', { image: { data, shape: [1, 3, '8', 8] } })`,
    right: `client.infer('image', { image: { data, shape: [1, 3, 8, 8] } })`,
  },
  {
    what: 'a fixed dimension behind a batch that is not the first',
    wrong: `client.infer('state', { input: { data, shape: [5, 9] }, state: { data, shape: [2, 5, 7] }, sr })`,
    right: `client.infer('state', { input: { data, shape: [5, 9] }, state: { data, shape: [2, 5, 8] }, sr })`,
  },
  {
    what: 'an output that is not there',
    wrong: `client.infer('add2', { ${ADD} }, { outputs: ['product'] })`,
    right: `client.infer('add2', { ${ADD} }, { outputs: ['sum'] })`,
  },
  { what: "an output's name in the reply", wrong: 'added.outputs.product', right: 'added.outputs.sum' },
  { what: 'an output that was not asked for', wrong: 'sumOnly.outputs.diff', right: 'sumOnly.outputs.sum' },
  { what: "an output's array", wrong: 'float64(added.outputs.sum.data)', right: 'float32(added.outputs.sum.data)' },
  {
    what: "an output's fixed dimension",
    wrong: 'three(added.outputs.sum.shape[1])',
    right: 'four4(added.outputs.sum.shape[1])',
  },
  { what: "an output's rank", wrong: 'added.outputs.sum.shape[2]', right: 'added.outputs.sum.shape[1]' },
  {
    what: 'strings that were asked for as bytes',
    wrong: 'text(raw.outputs.y.data[0])',
    right: 'text(read.outputs.y.data[0])',
  },
  {
    what: 'an option that is none',
    wrong: `client.infer('add2', { ${ADD} }, { timeout: 1 })`,
    right: `client.infer('add2', { ${ADD} }, { timeoutMs: 1 })`,
  },
  {
    what: 'an array of which nothing is known',
    wrong: `float32(loose.outputs['y']!.data)`,
    right: `loose.outputs['y']!.datatype === 'FP32' && float32(loose.outputs['y']!.data)`,
  },
];

const HEAD = `import { type AnyModels, ShoalClient } from 'shoal/client';
import type { Models } from './models.ts';

declare const client: ShoalClient<Models>;
declare const anyone: ShoalClient<AnyModels>;
declare function float32(data: Float32Array): void;
declare function float64(data: Float64Array): void;
declare function text(element: string | undefined): void;
declare function three(dimension: 3): void;
declare function four4(dimension: 4): void;

export async function uses(): Promise<unknown[]> {
  const data = new Float32Array(4);
  const four = { data, shape: [1, 4] } as const;
  const ids = { data: new BigInt64Array(2), shape: [1, 2] } as const;
  const sr = { data: BigInt64Array.of(16_000n), shape: [] } as const;
  const added = await client.infer('add2', { a: four, b: four });
  const sumOnly = await client.infer('add2', { a: four, b: four }, { outputs: ['sum'] });
  const one = { data: ['a'], shape: [1, 1] } as const;
  const read = await client.infer('ident_BYTES', { x: one });
  const raw = await client.infer('ident_BYTES', { x: one }, { bytes: 'binary' });
  const loose = await anyone.infer('whatever', { x: four, y: ids, z: { data: [true], shape: [1] } });
  return [
`;
const TAIL = `  ];
}
`;
const EXPECT = '    // @ts-expect-error';

describe('the types of models', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'shoal-types-'));
    writeRepository(path.join(folder, 'models'), {
      ...idents(),
      add2: { '9': scalar0(), '10': add2() },
      scalar0: scalar0(),
      image: imageNchw(),
      tokens: tokenIds(),
      state: stateModel(),
      'it\'s "named"': scalar0(),
    });
    const { status, stderr } = spawnSync(
      process.execPath,
      [path.join(REPOSITORY_ROOT, 'dist/src/main.js'), 'types', 'models', '--out', 'models.ts'],
      { cwd: folder, encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    // As installed: the package's own `exports` lead to the types.
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(REPOSITORY_ROOT, path.join(folder, 'node_modules/shoal'));
    writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
    const compilerOptions = {
      target: 'ES2023',
      lib: ['ESNext'],
      module: 'NodeNext',
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      allowImportingTsExtensions: true,
      noEmit: true,
      types: ['node'],
      typeRoots: [path.join(REPOSITORY_ROOT, 'node_modules/@types')],
    };
    writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['uses.ts'] }));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** What the compiler says of a program of these lines: for each line of `lines` the codes of its errors. */
  function compile(lines: readonly string[]): string[][] {
    writeFileSync(path.join(folder, 'uses.ts'), `${HEAD}${lines.join('\n')}\n${TAIL}`);
    const tsc = path.join(REPOSITORY_ROOT, 'node_modules/.bin/tsc');
    const { stdout } = spawnSync(tsc, ['-p', folder, '--pretty', 'false'], { encoding: 'utf8', cwd: folder });
    const codes: string[][] = lines.map(() => []);
    const first = HEAD.split('\n').length;
    for (const line of stdout.split('\n').filter((one) => /error TS\d+/.test(one))) {
      const match = /^uses\.ts\((\d+),\d+\): error (TS\d+)/.exec(line);
      const at = match === null ? -1 : Number(match[1]) - first;
      assert.ok(at >= 0 && at < lines.length, `an error elsewhere: ${line}`);
      codes[at]!.push(match![2]!);
    }
    return codes;
  }

  it('right uses compile', () => {
    const lines = USES.map(({ right }) => `    ${right},`);
    assert.deepEqual(
      compile(lines),
      lines.map(() => []),
    );
  });

  it('each wrong use does not', () => {
    const lines = USES.map(({ wrong }) => `    ${wrong},`);
    const codes = compile(lines);
    for (const [i, { what }] of USES.entries()) assert.ok(codes[i]!.length > 0, `${what} compiles`);
  });

  it('a fixture that expects the errors compiles, and no longer where one of them is absent', () => {
    const expected = USES.flatMap(({ wrong }) => [EXPECT, `    ${wrong},`]);
    assert.deepEqual(compile(expected).flat(), []);
    const absent = compile(USES.flatMap(({ right }) => [EXPECT, `    ${right},`]));
    // "Unused '@ts-expect-error' directive."
    for (const [i, { what }] of USES.entries()) assert.deepEqual(absent[2 * i], ['TS2578'], what);
  });
});
