import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { settles, startProgram, stop, track } from './children.ts';

/** Load generators: a fixed request, again and again, over a fixed number of keep-alive connections. */

/** What to send, and how. */
export interface LoadRequest {
  readonly url: string;
  /** A file with the body. */
  readonly bodyFile: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Connections; each waits for its answer before it sends the next request. */
  readonly clients: number;
  readonly seconds: number;
}

/** What came of it. Latencies are NaN when nothing was answered. */
export interface LoadResult {
  /** Answers with a status of 2xx. */
  readonly requests: number;
  /** Everything else: other statuses, broken connections, time-outs. */
  readonly failures: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU time of the load generator itself. */
  readonly cpuSeconds: number;
}

/** A load generator in a process of its own. */
export interface LoadGenerator {
  /** Name and version. */
  readonly name: string;
  run(request: LoadRequest): Promise<LoadResult>;
  stop(): Promise<void>;
}

/**
 * `wrk` when it is installed, else autocannon, which costs half as much again per request and so leaves less to the servers.
 *
 * @param preferred instead of that choice.
 * @param folder for files of its own.
 * @throws {Error} when `wrk` is asked for and not installed.
 */
export async function openLoadGenerator(
  preferred: 'wrk' | 'autocannon' | undefined,
  folder: string,
): Promise<LoadGenerator> {
  const version = preferred === 'autocannon' ? undefined : wrkVersion();
  if (version !== undefined) return openWrk(version, folder);
  if (preferred === 'wrk') throw new Error('wrk is not installed; without --load wrk, autocannon is used');
  return openAutocannon();
}

/** `wrk -v` prints its version, then its usage, and fails. */
function wrkVersion(): string | undefined {
  try {
    return /wrk (\S+)/.exec(execFileSync('wrk', ['-v'], { encoding: 'utf8' }))?.[1];
  } catch (error) {
    const { code, stdout } = error as { code?: string; stdout?: string };
    return code === 'ENOENT' ? undefined : (/wrk (\S+)/.exec(stdout ?? '')?.[1] ?? 'of unknown version');
  }
}

const RESULT_MARK = 'shoal-bench-result ';

function openWrk(version: string, folder: string): LoadGenerator {
  return {
    name: `wrk ${version}, 1 thread`,
    async run(request) {
      const script = join(folder, 'wrk.lua');
      writeFileSync(script, wrkScript(request));
      const { clients, seconds, url } = request;
      const args = ['-t1', `-c${clients}`, `-d${seconds}s`, '--timeout', '30s', '-s', script, url];
      const output = await new Promise<string>((resolve, reject) => {
        const child = execFile('wrk', args, (error, stdout, stderr) => {
          if (error === null) resolve(stdout);
          else reject(new Error(`wrk failed: ${stderr || error.message}`));
        });
        track(child);
      });
      const line = output.split('\n').find((one) => one.startsWith(RESULT_MARK));
      if (line === undefined) throw new Error(`wrk gave no result: ${output}`);
      return JSON.parse(line.slice(RESULT_MARK.length)) as LoadResult;
    },
    stop: async () => {},
  };
}

/** A script that sets the request, which wrk then builds once, and prints the result as one line of JSON. */
function wrkScript({ bodyFile, headers }: LoadRequest): string {
  const headerLines = Object.entries(headers).map(
    ([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`,
  );
  return `
wrk.method = "POST"
local file = assert(io.open(${JSON.stringify(bodyFile)}, "rb"))
wrk.body = file:read("*a")
file:close()
${headerLines.join('\n')}
function done(summary, latency)
  local e = summary.errors
  local bad = e.connect + e.read + e.write + e.timeout + e.status
  -- os.clock counts the CPU time of all threads, ended ones too.
  io.write(string.format(
    '\\n${RESULT_MARK}{"requests":%d,"failures":%d,"seconds":%.6f,"p50Ms":%.3f,"p99Ms":%.3f,"cpuSeconds":%.6f}\\n',
    summary.requests - e.status, bad, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, os.clock()))
end
`;
}

const AUTOCANNON = new URL('./servers/autocannon.js', import.meta.url);

async function openAutocannon(): Promise<LoadGenerator> {
  const packageFile = createRequire(import.meta.url).resolve('autocannon/package.json');
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };
  const { child } = await startProgram(AUTOCANNON, {});
  return {
    name: `autocannon ${version}`,
    async run(request) {
      const answered = once(child, 'message');
      child.send(request);
      const [reply] = (await settles(child, answered, 'autocannon did not answer')) as [LoadResult | { error: string }];
      if ('error' in reply) throw new Error(`autocannon failed: ${reply.error}`);
      return reply;
    },
    stop: () => stop(child),
  };
}
