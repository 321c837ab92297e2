import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** A call of ONNX Runtime's `run`, as the executor's process made it. */
export interface RuntimeCall {
  /** First dimension of the first input. */
  readonly rows: number;
  readonly pid: number;
}

/**
 * Writes a program to be used as an executor: the real one, but each call of ONNX Runtime's `run` is noted in a file.
 * So runs are counted where they happen, not where they are planned.
 *
 * @param folder for the program and its notes.
 * @returns its path, and what was noted so far.
 */
export function countingEntry(folder: string): { entry: string; calls: () => RuntimeCall[] } {
  const notes = path.join(folder, 'calls.jsonl');
  const entry = path.join(folder, 'executor.mjs');
  const runtime = createRequire(import.meta.url).resolve('onnxruntime-node');
  const main = fileURLToPath(new URL('../../../src/executor/main.js', import.meta.url));
  writeFileSync(notes, '');
  writeFileSync(
    entry,
    `import { appendFileSync } from 'node:fs';
import ort from ${JSON.stringify(pathToFileURL(runtime).href)};
const { create } = ort.InferenceSession;
ort.InferenceSession.create = async (...args) => {
  const session = await create.apply(ort.InferenceSession, args);
  const run = session.run.bind(session);
  session.run = (feeds, ...rest) => {
    const [first] = Object.values(feeds);
    appendFileSync(${JSON.stringify(notes)}, JSON.stringify({ rows: first.dims[0], pid: process.pid }) + '\\n');
    return run(feeds, ...rest);
  };
  return session;
};
await import(${JSON.stringify(pathToFileURL(main).href)});
`,
  );
  const calls = (): RuntimeCall[] =>
    readFileSync(notes, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as RuntimeCall);
  return { entry, calls };
}
