import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { DATATYPE_NAMES, type Datatype } from '../../src/tensor/tensor.ts';
import { type Case, findCases, shuffle, TEST_DATA } from './cases.ts';
import { differenceInValue } from './compare.ts';
import { ENCODINGS } from './encodings.ts';
import { checkListed, type Listed, readListed, unknownIn } from './listed.ts';
import { type Plain, runPlain } from './plain.ts';
import { type Served, serveAll } from './serve.ts';
import { readTensorProto } from './tensor-proto.ts';

/**
 * Sends the ONNX project's conformance models through a server in every encoding and compares with what plain
 * onnxruntime-node answers in a process of its own:
 *
 *     node dist/test/full/main.js [--sample 200] [--only node/test_add] [--data folder]
 *
 * What plain onnxruntime-node passes must pass here, bit for bit where the encoding is binary; that it is also within
 * the tolerance of the expected outputs follows. The rest is in `expected-failures.json`, and must fail as it says there.
 */

/** Cases of each datatype that a sample has at least, where there are so many. */
const SAMPLE_PER_DATATYPE = 5;

interface Figures {
  passed: number;
  carried: number;
}

const { values } = parseArgs({
  options: {
    sample: { type: 'string' },
    only: { type: 'string' },
    data: { type: 'string', default: TEST_DATA },
  },
});

const all = findCases(values.data);
const listed = readListed();
const chosen = choose(all);
const problems = unknownIn(listed, all);

const plains = await runPlain(chosen);
const passesPlain = chosen.map((one, i) => judgePlain(one, plains[i]!));
const tasks = chosen.map((one, i) => ({ one, plain: plains[i]!, listed: listed.get(one.id) }));
const servings = await serveAll(tasks, (line) => process.stderr.write(`${line}\n`));
const figures = new Map(Object.keys(ENCODINGS).map((name): [string, Figures] => [name, { passed: 0, carried: 0 }]));
for (const [i, served] of servings.entries()) judgeServed(chosen[i]!, served, passesPlain[i]!);
report();

function choose(cases: readonly Case[]): readonly Case[] {
  if (values.only !== undefined) return cases.filter(({ id }) => id === values.only);
  return values.sample === undefined ? cases : sampleOf(cases, Number(values.sample));
}

/**
 * A fixed sample: in an order that has nothing to do with the names, first some cases of each datatype among those that
 * are not listed, then whatever comes.
 */
function sampleOf(cases: readonly Case[], size: number): Case[] {
  const shuffled = shuffle(cases);
  const sample = new Set<Case>();
  for (const datatype of DATATYPE_NAMES) {
    const having = shuffled.filter((one) => !listed.has(one.id) && datatypesOf(one).has(datatype));
    for (const one of having.slice(0, SAMPLE_PER_DATATYPE)) sample.add(one);
  }
  for (const one of shuffled) if (sample.size < size) sample.add(one);
  return [...sample];
}

function datatypesOf({ dataSets }: Case): Set<Datatype> {
  const files = dataSets.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]);
  return new Set(files.map((file) => readTensorProto(readFileSync(file)).datatype));
}

/** Checks the list against what plain onnxruntime-node did; whether it passed. */
function judgePlain({ id }: Case, plain: Plain): boolean {
  const runs = plain.kind === 'ran' ? plain.runs : [];
  const difference = runs.map((run) => differenceInValue(run.outputs, run.expected)).find((one) => one !== undefined);
  const problem = checkListed(listed.get(id), plain, difference);
  if (problem !== undefined) problems.push(`${id} ${problem}`);
  return plain.kind === 'ran' && difference === undefined && listed.get(id)?.kind !== 'random';
}

function judgeServed({ id }: Case, served: Served, isPassedPlain: boolean): void {
  if (served.refusal !== undefined) problems.push(`${id} is refused in another way: ${served.refusal}`);
  for (const [encoding, problem] of served.problems) {
    if (problem !== undefined) problems.push(`${id} in ${encoding}: ${problem}`);
    if (!isPassedPlain) continue;
    const figure = figures.get(encoding)!;
    figure.carried += 1;
    if (problem === undefined) figure.passed += 1;
  }
}

function report(): void {
  const say = (line: string): void => console.log(line);
  for (const problem of problems) say(`not ok: ${problem}`);
  const passed = passesPlain.filter(Boolean).length;
  const kinds = new Map<Listed['kind'], number>();
  for (const { id } of chosen) {
    const kind = listed.get(id)?.kind;
    if (kind !== undefined) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  const counts = [...kinds].map(([kind, count]) => `${kind} ${count}`).join(', ');
  say(`${chosen.length} of ${all.length} models; plain onnxruntime-node passes ${passed}; listed: ${counts || 'none'}`);
  say(`datatypes of those that pass: ${countDatatypes()}`);
  for (const [encoding, figure] of figures) {
    const left = passed - figure.carried;
    const rest = left === 0 ? '' : `; ${left} have a datatype it cannot carry`;
    say(`${encoding}: ${figure.passed} of ${figure.carried} pass${rest}`);
  }
  say(`# pass ${chosen.length - new Set(problems.map((problem) => problem.split(' ')[0])).size}`);
  say(`# fail ${problems.length}`);
  if (problems.length > 0 || chosen.length === 0) process.exitCode = 1;
}

/** How many of the models that plain onnxruntime-node passes have each datatype. */
function countDatatypes(): string {
  const counts = new Map(DATATYPE_NAMES.map((datatype): [Datatype, number] => [datatype, 0]));
  for (const [i, one] of chosen.entries()) {
    if (!passesPlain[i]!) continue;
    for (const datatype of datatypesOf(one)) counts.set(datatype, counts.get(datatype)! + 1);
  }
  return [...counts].map(([datatype, count]) => `${datatype} ${count}`).join(', ');
}
