import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'csv-parse';
import { invalid, messageOf } from '../errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { npyRows } from './npy.ts';
import { type PrefetchOptions, prefetch } from './prefetch.ts';
import type { RemoteFetcher } from './remote.ts';

/** How rows lie in a source. */
export type RowFormat =
  /** One JSON value per line; empty lines count for nothing. */
  | 'ndjson'
  /** Comma-separated, the names of the columns in the first line. */
  | 'csv'
  /** A NumPy array; the first dimension counts the rows. */
  | 'npy'
  /** The files of a folder, by name; those whose name begins with a dot are passed over. */
  | 'files';

/** A row of a data set. */
export interface LoadedRow {
  /** From 0. */
  readonly index: number;
  /** Where it comes from, for messages: file and line, or address. */
  readonly origin: string;
  /**
   * A JSON value (`ndjson`), an object of texts by column (`csv`), a tensor `[1, …]` (`npy`), or the bytes of a file or
   * of an address.
   */
  readonly value: unknown;
  /** The line itself (`ndjson`), for those who pass it on: numbers keep all of their digits. */
  readonly text?: string;
}

/** How {@link loadRows} loads. */
export interface LoadOptions extends PrefetchOptions {
  /** Default: by the name's ending (`.ndjson`, `.jsonl`, `.csv`, `.npy`), and `files` for a folder. */
  readonly format?: RowFormat;
  /** The row to begin with, from 0; default 0. */
  readonly from?: number;
  /** What fetches `https:` addresses. */
  readonly remote?: RemoteFetcher;
}

const FORMATS: Readonly<Record<string, RowFormat>> = {
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.csv': 'csv',
  '.npy': 'npy',
};

/**
 * The rows of a data set, loaded ahead of the one who takes them: while rows are computed on, the next ones are read.
 * Never more than `prefetch` rows are held; a slow taker holds back the reading.
 *
 * @param source the path of a file or a folder, or a list of paths and `https:` addresses.
 * @throws {ShoalError} INVALID_REQUEST for a source that cannot be read as its format says, with file and line;
 * what fetching an address throws; the signal's reason.
 */
export async function* loadRows(
  source: string | readonly string[],
  options: LoadOptions = {},
): AsyncGenerator<LoadedRow, void, undefined> {
  const { from = 0 } = options;
  if (typeof source !== 'string') {
    yield* loadEach(source, from, options);
    return;
  }
  const format = options.format ?? (await formatOf(source));
  if (format === 'files') {
    const names = (await readdir(source)).filter((name) => !name.startsWith('.')).sort();
    yield* loadEach(
      names.map((name) => path.join(source, name)),
      from,
      options,
    );
    return;
  }
  const rows = format === 'ndjson' ? ndjsonRows(source) : format === 'csv' ? csvRows(source) : npyFile(source, from);
  // One file is read in one go; what is ahead is bounded all the same.
  yield* prefetch(format === 'npy' ? rows : skipped(rows, from), (row) => row, options);
}

async function formatOf(source: string): Promise<RowFormat> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(source)).isDirectory();
  } catch (error) {
    throw invalid(`data set '${source}' cannot be read: ${messageOf(error)}`);
  }
  if (isFolder) return 'files';
  const format = FORMATS[path.extname(source).toLowerCase()];
  if (format !== undefined) return format;
  throw invalid(
    `the name of '${source}' does not say how to read it: expected ${Object.keys(FORMATS).join(', ')} or a format`,
  );
}

function loadEach(
  sources: readonly string[],
  from: number,
  { remote, ...options }: LoadOptions,
): AsyncGenerator<LoadedRow, void, undefined> {
  const load = async (origin: string, signal: AbortSignal, at: number): Promise<LoadedRow> => {
    const index = from + at;
    if (!/^https?:/i.test(origin)) return { index, origin, value: await readFile(origin, { signal }) };
    if (remote === undefined) throw invalid(`'${origin}' is an address, and fetching is not switched on`);
    return { index, origin, value: await remote.fetch(origin, signal) };
  };
  return prefetch(sources.slice(from), load, options);
}

async function* skipped(rows: AsyncIterable<LoadedRow>, from: number): AsyncGenerator<LoadedRow> {
  for await (const row of rows) if (row.index >= from) yield row;
}

async function* ndjsonRows(file: string): AsyncGenerator<LoadedRow> {
  const handle = await openFile(file);
  try {
    let index = 0;
    let number = 0;
    for await (const line of handle.readLines({ autoClose: false })) {
      number++;
      if (line.trim() === '') continue;
      const origin = `${file}:${number}`;
      yield { index: index++, origin, value: parseLine(line, origin), text: line };
    }
  } finally {
    await handle.close();
  }
}

function parseLine(line: string, origin: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw invalid(`${origin} is not JSON: ${messageOf(error)}`);
  }
}

async function* csvRows(file: string): AsyncGenerator<LoadedRow> {
  const handle = await openFile(file);
  const stream = handle.createReadStream();
  const parser = stream.pipe(parse({ columns: true, bom: true, skip_empty_lines: true, info: true }));
  stream.on('error', (error) => parser.destroy(error));
  try {
    let index = 0;
    for await (const { record, info } of parser as AsyncIterable<{ record: unknown; info: { lines: number } }>) {
      yield { index: index++, origin: `${file}:${info.lines}`, value: record };
    }
  } catch (error) {
    throw invalid(`${file} is not comma-separated: ${messageOf(error)}`);
  } finally {
    stream.destroy();
  }
}

async function openFile(file: string): Promise<FileHandle> {
  try {
    return await open(file);
  } catch (error) {
    throw invalid(`data set '${file}' cannot be read: ${messageOf(error)}`);
  }
}

async function* npyFile(file: string, from: number): AsyncGenerator<LoadedRow> {
  let index = from;
  for await (const value of npyRows(file, from) as AsyncIterable<Tensor>) {
    yield { index, origin: `${file}[${index}]`, value };
    index++;
  }
}
