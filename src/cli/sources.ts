import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import {
  CONFIG_FILE_OPTION,
  type Config,
  type ConfigSource,
  OPTION_LIST,
  type Option,
  resolveSources,
} from '../config.ts';
import { ConfigError, unknownOption } from '../config-error.ts';
import { messageOf } from '../errors.ts';

/** Values of the command line by key, undefined where not given; `config` is the configuration file. */
export type FlagValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

const DEFAULT_FILE = 'shoal.config.json';

/**
 * The configuration of a command: flags over `SHOAL_…` variables over the configuration file over defaults.
 *
 * @throws {ConfigError} for anything unknown, wrong or out of range in any of them.
 */
export function readConfig(flags: FlagValues, env: Readonly<Record<string, string | undefined>>, cwd: string): Config {
  const variables = readVariables(env);
  const sources: ConfigSource[] = [
    { values: flags, nameOf: (option) => (option.positional === true ? `argument ${option.flag}` : option.flag) },
    { values: variables, nameOf: (option) => option.variable },
  ];
  const { config: flagged } = flags;
  const { config: exported } = variables;
  const file =
    typeof flagged === 'string'
      ? readFile(flagged, CONFIG_FILE_OPTION.flag, cwd)
      : readFile(exported, CONFIG_FILE_OPTION.variable, cwd);
  if (file !== undefined) sources.push(file);
  return resolveSources(sources);
}

/**
 * The options among environment variables. An empty variable counts as not set.
 *
 * @throws {ConfigError} for a `SHOAL_…` variable that is no option.
 */
export function readVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const options = new Map<string, Option>(
    [...OPTION_LIST, CONFIG_FILE_OPTION].map((option) => [option.variable, option]),
  );
  const values: Record<string, string> = {};
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('SHOAL_') || value === undefined || value === '' || isServiceLink(variable, value))
      continue;
    const option = options.get(variable);
    if (option === undefined) {
      throw unknownOption(
        `variable ${variable}`,
        variable.slice('SHOAL_'.length),
        shortNames(options),
        (near) => `SHOAL_${near}`,
      );
    }
    values[option.key] = value;
  }
  return values;
}

/**
 * Whether Kubernetes made this variable for a service called `shoal` or `shoal-…`: `SHOAL_PORT=tcp://10.0.0.7:8000`,
 * `SHOAL_SERVICE_HOST`, `SHOAL_PORT_8000_TCP_ADDR`. Every pod of a namespace gets them, and they are no options.
 */
function isServiceLink(variable: string, value: string): boolean {
  return (
    /_SERVICE_(HOST|PORT(_\w+)?)$/.test(variable) ||
    /_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/.test(variable) ||
    (variable.endsWith('_PORT') && /^(tcp|udp|sctp):\/\//.test(value))
  );
}

function shortNames(options: ReadonlyMap<string, Option>): string[] {
  return [...options.keys()].map((variable) => variable.slice('SHOAL_'.length));
}

/** The configuration file as a source; undefined when none was named and the default one does not exist. */
function readFile(given: string | undefined, optionName: string, cwd: string): ConfigSource | undefined {
  const shown = given ?? DEFAULT_FILE;
  const path = resolve(cwd, shown);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (missing && given === undefined) return undefined;
    const reason = missing ? 'there is no such file' : messageOf(error);
    throw new ConfigError(given === undefined ? DEFAULT_FILE : optionName, shown, `a readable JSON file (${reason})`);
  }
  const values = parseFile(text, shown);
  const { models } = values;
  // Paths in a file mean the same from wherever the server is started.
  const located = typeof models === 'string' && models !== '' ? { models: resolve(dirname(path), models) } : {};
  return { values: { ...values, ...located }, nameOf: (option) => `'${option.key}' in ${shown}` };
}

function parseFile(text: string, shown: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    const message = `${shown} is not valid JSON: ${messageOf(error)}`;
    throw new ConfigError(shown, undefined, 'a JSON object', message);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ConfigError(shown, parsed, 'a JSON object with options, such as {"port": 9000}');
  }
  const values: Record<string, unknown> = {};
  const known = OPTION_LIST.map((option) => option.key);
  for (const [key, value] of Object.entries(parsed)) {
    if (!known.includes(key)) throw unknownOption(`'${key}' in ${shown}`, key, known, (near) => `'${near}'`);
    values[key] = value;
  }
  return values;
}
