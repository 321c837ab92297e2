import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import type { Config } from './config.ts';

export type { Logger };

/**
 * The root logger of a process. Elsewhere than on a terminal: JSON lines on stdout, written before the call returns so
 * that the last line before an exit is not lost. On a terminal: warnings and errors as short lines for people, since
 * `serve` prints its own summary instead of what *info* says; `debug` and `trace` show everything.
 *
 * Nothing is logged per request at *info*.
 *
 * @param destination where lines go instead of stdout.
 */
export function createLogger(
  config: Pick<Config, 'logLevel'>,
  options: { isTerminal?: boolean; destination?: DestinationStream } = {},
): Logger {
  const { isTerminal = false, destination = pino.destination({ dest: 1, sync: true }) } = options;
  return pino(
    {
      level: isTerminal && config.logLevel === 'info' ? 'warn' : config.logLevel,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
    },
    isTerminal ? { write: (line) => destination.write(formatLine(line)) } : destination,
  );
}

// Shown in their own place, or of no use to a person.
const SHOWN = new Set(['level', 'time', 'msg', 'err', 'component']);

/**
 * One of the logger's JSON lines as a person reads it: `12:03:04 warn  model failed: no such file (model=a version=1)`.
 * What the message says already is not said again; stacks are shown for fatal errors only.
 */
export function formatLine(line: string): string {
  const entry = parseLine(line);
  if (entry === undefined) return line;
  const { level, time, msg, err } = entry;
  const { message, stack } = isRecord(err) ? err : {};
  let text = typeof msg === 'string' ? msg : '';
  const said = text;
  const details = Object.entries(entry)
    .filter(([key, value]) => !SHOWN.has(key) && !(typeof value === 'string' && said.includes(value)))
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  if (typeof message === 'string' && !text.includes(message)) text = text === '' ? message : `${text}: ${message}`;
  if (details.length > 0) text += ` (${details.join(' ')})`;
  if (level === 'fatal' && typeof stack === 'string') text += `\n${stack}`;
  return `${formatTime(time)} ${String(level).padEnd(5)} ${text}\n`;
}

function formatTime(time: unknown): string {
  return new Date(typeof time === 'string' ? time : Number.NaN).toTimeString().slice(0, 8);
}

function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    return isRecord(entry) ? entry : undefined;
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
