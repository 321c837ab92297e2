import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { writeRepository } from '../../support/models/repository.ts';
import { add2, idents, imageNchw, scalar0, tokenIds } from '../../support/models.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';

/** `shoal types --for-pipelines` and the types of pipelines, judged by the compiler as a user's program would be. */

/** A line of a pipeline, wrong and right. */
interface Use {
  readonly what: string;
  readonly wrong: string;
  readonly right: string;
}

const USES: readonly Use[] = [
  {
    what: "a model's name",
    wrong: 'await models.add.infer({ a, b: a });',
    right: 'await models.add2.infer({ a, b: a });',
  },
  {
    what: "an input's name",
    wrong: 'await models.add2.infer({ a, c: a });',
    right: 'await models.add2.infer({ a, b: a });',
  },
  {
    what: 'an input left out',
    wrong: 'await models.add2.infer({ a });',
    right: 'await models.add2.infer({ a, b: a });',
  },
  {
    what: 'a datatype',
    wrong: "await models.scalar0.infer({ x: makeTensor('FP64', [], Float64Array.of(1)) });",
    right: "await models.scalar0.infer({ x: makeTensor('FP32', [], Float32Array.of(1)) });",
  },
  {
    what: 'an array of another type',
    wrong: "makeTensor('FP32', [1], Float64Array.of(1));",
    right: "makeTensor('FP64', [1], Float64Array.of(1));",
  },
  {
    what: 'a rank too low',
    wrong: "await models.image.infer({ image: makeTensor('FP32', [3, 8, 8], pixels) });",
    right: "await models.image.infer({ image: makeTensor('FP32', [1, 3, 8, 8], pixels) });",
  },
  {
    what: 'a rank too high',
    wrong: "await models.scalar0.infer({ x: makeTensor('FP32', [1], pixels) });",
    right: "await models.scalar0.infer({ x: makeTensor('FP32', [], pixels) });",
  },
  {
    what: 'a literal dimension',
    wrong: "await models.image.infer({ image: makeTensor('FP32', [count, 1, 8, 8], pixels) });",
    right: "await models.image.infer({ image: makeTensor('FP32', [count, 3, 8, 8], pixels) });",
  },
  {
    what: 'a dimension that is only known to be a number',
    wrong: "await models.image.infer({ image: makeTensor('FP32', [1, count, 8, 8], pixels) });",
    right: "await models.image.infer({ image: makeTensor('FP32', [1, 3, 8, 8], pixels) });",
  },
  {
    what: 'an input of the pipeline that does not fit the model',
    wrong: 'await models.image.infer({ image: input.small });',
    right: 'await models.image.infer({ image: input.image });',
  },
  { what: "an output's name", wrong: 'sums.outputs.product;', right: 'sums.outputs.sum;' },
  {
    what: 'an output that was not asked for',
    wrong: "(await models.add2.infer({ a, b: a }, { outputs: ['sum'] })).outputs.diff;",
    right: "(await models.add2.infer({ a, b: a }, { outputs: ['sum'] })).outputs.sum;",
  },
  {
    what: "an output's array",
    wrong: 'text(readTensor(sums.outputs.sum));',
    right: 'float32(readTensor(sums.outputs.sum));',
  },
  {
    what: 'an option that is none',
    wrong: 'await models.add2.infer({ a, b: a }, { wait: true });',
    right: "await models.add2.infer({ a, b: a }, { whenFull: 'refuse' });",
  },
  { what: 'an input of the pipeline', wrong: 'input.missing;', right: 'input.label;' },
  { what: 'the type of an input', wrong: 'float32(input.label);', right: 'text([input.label]);' },
  { what: 'an optional input', wrong: 'text([input.note]);', right: "text([input.note ?? '']);" },
  { what: 'bytes', wrong: 'float32(input.file);', right: 'input.file.toString();' },
  {
    what: 'an output left out',
    wrong: 'if (count > 1) return { label: input.label };',
    right: 'if (count > 1) return { label: input.label, sum: sums.outputs.sum };',
  },
  {
    what: "an output's type",
    wrong: 'if (count > 1) return { label: 1, sum: sums.outputs.sum };',
    right: "if (count > 1) return { label: 'a', sum: sums.outputs.sum };",
  },
  {
    what: "an output tensor's datatype",
    wrong: "if (count > 1) return { label: 'a', sum: makeTensor('FP64', [1, 4], new Float64Array(4)) };",
    right: "if (count > 1) return { label: 'a', sum: makeTensor('FP32', [1, 4], new Float32Array(4)) };",
  },
  {
    what: "an output tensor's dimension",
    wrong: "if (count > 1) return { label: 'a', sum: makeTensor('FP32', [1, 5], new Float32Array(5)) };",
    right: "if (count > 1) return { label: 'a', sum: makeTensor('FP32', [2, 4], new Float32Array(8)) };",
  },
];

const HEAD = `import { bytes, definePipeline, makeTensor, readTensor, Type, tensor } from 'shoal';

declare function float32(data: Float32Array): void;
declare function text(data: readonly string[]): void;

export default definePipeline({
  input: {
    image: tensor('FP32', [-1, 3, 8, 8]),
    small: tensor('FP32', [-1, 1, 8, 8]),
    label: Type.String(),
    note: Type.Optional(Type.String()),
    file: bytes(),
  },
  output: { label: Type.String(), sum: tensor('FP32', [-1, 4]) },
  async run(input, { models }) {
    const count: number = input.image.shape[0];
    const pixels = new Float32Array(192);
    const a = makeTensor('FP32', [1, 4], new Float32Array(4));
    const sums = await models.add2.infer({ a, b: a });
`;
const TAIL = `    return { label: input.label, sum: sums.outputs.sum };
  },
});
`;

describe('the types of pipelines', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'shoal-types-'));
    const models = { ...idents(), add2: add2(), scalar0: scalar0(), image: imageNchw(), tokens: tokenIds() };
    writeRepository(path.join(folder, 'models'), models);
    const main = path.join(REPOSITORY_ROOT, 'dist/src/main.js');
    const args = [main, 'types', 'models', '--for-pipelines', '--out', 'models.d.ts'];
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    // As installed: the package's own `exports` lead to the types.
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(REPOSITORY_ROOT, path.join(folder, 'node_modules/shoal'));
    writeFileSync(path.join(folder, 'package.json'), '{"type":"module"}');
    const compilerOptions = {
      target: 'ES2023',
      module: 'NodeNext',
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      noEmit: true,
      skipLibCheck: true,
      types: ['node'],
      typeRoots: [path.join(REPOSITORY_ROOT, 'node_modules/@types')],
    };
    const files = ['models.d.ts', 'pipeline.ts'];
    writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
    const free = { compilerOptions, files: ['free.ts'] };
    writeFileSync(path.join(folder, 'tsconfig.free.json'), JSON.stringify(free));
  });
  after(() => rmSync(folder, { recursive: true }));

  function runCompiler(project: string): string[] {
    const tsc = path.join(REPOSITORY_ROOT, 'node_modules/.bin/tsc');
    const { stdout } = spawnSync(tsc, ['-p', project, '--pretty', 'false'], { encoding: 'utf8', cwd: folder });
    return stdout.split('\n').filter((line) => /error TS\d+/.test(line));
  }

  /** How many errors the compiler finds in each of these lines of a pipeline. */
  function compile(lines: readonly string[]): number[] {
    writeFileSync(path.join(folder, 'pipeline.ts'), `${HEAD}${lines.join('\n')}\n${TAIL}`);
    const counts = lines.map(() => 0);
    const first = HEAD.split('\n').length;
    for (const line of runCompiler('tsconfig.json')) {
      const match = /^pipeline\.ts\((\d+),\d+\)/.exec(line);
      const at = match === null ? -1 : Number(match[1]) - first;
      assert.ok(at >= 0 && at < lines.length, `an error elsewhere: ${line}`);
      counts[at]!++;
    }
    return counts;
  }

  test('right pipelines compile', () => {
    const counts = compile(USES.map(({ right }) => right));
    for (const [i, { what, right }] of USES.entries()) assert.equal(counts[i], 0, `${what}: ${right}`);
  });

  test('each wrong one does not', () => {
    // Returns are checked against the whole function, so that each stands alone there.
    const [returns, others] = [
      USES.filter(({ wrong }) => wrong.includes('return')),
      USES.filter(({ wrong }) => !wrong.includes('return')),
    ];
    const counts = compile(others.map(({ wrong }) => wrong));
    for (const [i, { what }] of others.entries()) assert.ok(counts[i]! > 0, `${what} compiles`);
    for (const { what, wrong } of returns) {
      writeFileSync(path.join(folder, 'pipeline.ts'), `${HEAD}${wrong}\n${TAIL}`);
      assert.ok(runCompiler('tsconfig.json').length > 0, `${what} compiles`);
    }
  });

  test('without the types of the models, any model is taken', () => {
    const text = `import { definePipeline, makeTensor, Type } from 'shoal';
export default definePipeline({
  input: { n: Type.Integer() },
  output: { n: Type.Integer() },
  async run({ n }, { models }) {
    const { outputs } = await models['whatever']!.infer({ x: makeTensor('FP32', [1], Float32Array.of(n)) });
    return { n: outputs['y']!.shape.length };
  },
});
`;
    writeFileSync(path.join(folder, 'free.ts'), text);
    assert.deepEqual(runCompiler('tsconfig.free.json'), []);
  });
});
