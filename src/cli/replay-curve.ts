import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from '../config-error.ts';
import { messageOf } from '../errors.ts';
import { affineCurve, type Curve, type CurvePoint, curveThrough } from '../replay/curve.ts';

const EXPECTED =
  'milliseconds of a run and of each of its rows, such as 8+0.5, or a JSON file: the reply of GET /v2/models/<name>/profile, what shoal profile --json prints or stores, or [{"rows":1,"ms":8.5},…]';

/**
 * What runs take, as given on the command line: `8+0.5`, or the path of a file with a measured curve.
 *
 * @throws {ConfigError} when it is neither.
 */
export function readCurve(text: string, cwd: string): Curve {
  const match = /^(\d+(?:\.\d+)?)\+(\d+(?:\.\d+)?)$/.exec(text.trim());
  if (match !== null && Number(match[1]) + Number(match[2]) > 0) {
    return affineCurve(Number(match[1]), Number(match[2]));
  }
  const file = resolve(cwd, text);
  if (!existsSync(file)) throw new ConfigError('--curve', text, EXPECTED);
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(file, 'utf8'));
  } catch (thrown) {
    throw new ConfigError('--curve', text, EXPECTED, `--curve ${text}: ${messageOf(thrown)}`);
  }
  const points = pointsOf(content);
  if (points === undefined) throw new ConfigError('--curve', text, EXPECTED);
  return curveThrough(points);
}

/** The points of a curve in any of the forms; undefined when there are none. */
function pointsOf(content: unknown): CurvePoint[] | undefined {
  if (Array.isArray(content)) {
    const points = content.map(pointOf);
    if (points.length > 0 && points.every((point) => point !== undefined)) return points;
    // Of `shoal profile --json`, the first model's.
    return content.length > 0 && !('rows' in Object(content[0])) ? pointsOf(content[0]) : undefined;
  }
  if (typeof content !== 'object' || content === null) return undefined;
  // A profile of a running server has lanes, the one of most runs first; a stored one has splits of the cores.
  if ('curve' in content && Array.isArray(content.curve)) return pointsOf(Object(content.curve[0]).points);
  if (!('splits' in content) || !Array.isArray(content.splits)) return undefined;
  const best: unknown = 'best' in content ? content.best : undefined;
  const split = content.splits.find((one) => isSameSplit(one, best)) ?? content.splits[0];
  return pointsOf(Object(split).sizes);
}

function isSameSplit(one: unknown, other: unknown): boolean {
  const [a, b] = [Object(one), Object(other)];
  return a.instances === b.instances && a.threads === b.threads;
}

function pointOf(item: unknown): CurvePoint | undefined {
  const { rows, ms } = Object(item);
  const time: unknown = typeof ms === 'object' && ms !== null ? Object(ms).expected : ms;
  if (typeof rows !== 'number' || typeof time !== 'number') return undefined;
  return rows > 0 && time >= 0 && Number.isFinite(rows) && Number.isFinite(time) ? { rows, ms: time } : undefined;
}
