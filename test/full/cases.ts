import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import path from 'node:path';

/** The conformance models of the ONNX project, as Debian's `libonnx-testdata` installs them. */
export const TEST_DATA = '/usr/share/libonnx-testdata/data';

/** A model with inputs and the outputs that are expected of it. */
export interface Case {
  /** `node/test_add`: folder and name. */
  readonly id: string;
  /** The name it is served under: the id with a dot for the slash. */
  readonly name: string;
  readonly model: string;
  readonly dataSets: readonly DataSet[];
}

/** Files of one run, in the order of the model's inputs and outputs. */
export interface DataSet {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/**
 * All cases below a folder, in the order of their ids.
 *
 * @throws {Error} when there are none.
 */
export function findCases(folder: string): Case[] {
  const cases: Case[] = [];
  for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (path.basename(entry) !== 'model.onnx') continue;
    const id = path.dirname(entry);
    const own = path.join(folder, id);
    const sets = readdirSync(own).filter((name) => name.startsWith('test_data_set_'));
    const dataSets = sets.sort(byNumber).map((set) => readDataSet(path.join(own, set)));
    cases.push({ id, name: id.replaceAll('/', '.'), model: path.join(own, 'model.onnx'), dataSets });
  }
  if (cases.length === 0) throw new Error(`no model.onnx below ${folder}; on Debian: apt-get install libonnx-testdata`);
  return cases.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function readDataSet(folder: string): DataSet {
  const files = readdirSync(folder).sort(byNumber);
  const named = (start: string): string[] =>
    files.filter((file) => file.startsWith(start)).map((file) => path.join(folder, file));
  return { inputs: named('input_'), outputs: named('output_') };
}

/** `input_2.pb` before `input_10.pb`. */
function byNumber(a: string, b: string): number {
  return Number(/\d+/.exec(a)?.[0]) - Number(/\d+/.exec(b)?.[0]);
}

/** A fixed order that has nothing to do with the names, so that a part of it is a fair sample. */
export function shuffle(cases: readonly Case[]): Case[] {
  const keyed = cases.map((one) => ({ one, key: createHash('sha256').update(one.id).digest('hex') }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ one }) => one);
}
