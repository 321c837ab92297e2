import { invalid, ShoalError } from '../errors.ts';
import type { Logger } from '../logging.ts';

/** What of the log is on, as Triton's logging extension has it. */
export interface LogSettingValues {
  /** Always empty: lines go to stdout. */
  readonly log_file: '';
  readonly log_info: boolean;
  readonly log_warning: boolean;
  readonly log_error: boolean;
  /** 0: nothing below *info*; 1: *debug* too; from 2 on *trace* too. */
  readonly log_verbose_level: number;
  /** The form of the times. */
  readonly log_format: 'ISO8601';
}

type Switch = 'log_info' | 'log_warning' | 'log_error';
type Level = 'info' | 'warn' | 'error' | 'fatal';

/** The levels that each switch is for. */
const SWITCHES: readonly (readonly [Switch, readonly Level[]])[] = [
  ['log_info', ['info']],
  ['log_warning', ['warn']],
  ['log_error', ['error', 'fatal']],
];
const NAMES = ['log_file', ...SWITCHES.map(([name]) => name), 'log_verbose_level', 'log_format'];

/**
 * The log of a running server through Triton's switches, each of which may be off while others are on. Where they say
 * more than a level can, single levels of the logger are silenced.
 */
export class LogSettings {
  readonly #logger: Logger;
  #switches: Record<Switch, boolean>;
  #verbose: number;
  /** The level that was set here; when the logger has another, somebody else has set it since. */
  #level: string;

  constructor(logger: Logger) {
    this.#logger = logger;
    this.#level = logger.level;
    this.#switches = this.#switchesNow();
    this.#verbose = this.#verboseNow();
  }

  /** What is on now. */
  read(): LogSettingValues {
    this.#notice();
    return { log_file: '', ...this.#switches, log_verbose_level: this.#verbose, log_format: 'ISO8601' };
  }

  /**
   * Changes what is named; `null` leaves a setting as it is. Nothing is changed when anything is refused.
   *
   * @throws {ShoalError} INVALID_REQUEST for a setting that is unknown or of another type, UNIMPLEMENTED for a file or
   * another format.
   */
  change(settings: Readonly<Record<string, unknown>>): void {
    this.#notice();
    const switches = { ...this.#switches };
    let verbose = this.#verbose;
    for (const [name, value] of Object.entries(settings)) {
      if (!NAMES.includes(name)) throw invalid(`there is no log setting '${name}', only ${NAMES.join(', ')}`);
      if (value === null) continue;
      if (name === 'log_file') refuseFile(value);
      else if (name === 'log_format') refuseFormat(value);
      else if (name === 'log_verbose_level') verbose = readVerbose(value);
      else switches[name as Switch] = readSwitch(name, value);
    }
    this.#switches = switches;
    this.#verbose = verbose;
    this.#apply();
  }

  #apply(): void {
    const logger = this.#logger;
    const lowest = SWITCHES.find(([name]) => this.#switches[name])?.[1][0] ?? 'silent';
    this.#level = this.#verbose > 1 ? 'trace' : this.#verbose === 1 ? 'debug' : lowest;
    // Gives all levels their methods back, too.
    logger.level = this.#level;
    for (const [name, levels] of SWITCHES) {
      if (this.#switches[name]) continue;
      for (const level of levels) logger[level] = () => {};
    }
  }

  /** Takes over a level that was set elsewhere. */
  #notice(): void {
    if (this.#logger.level === this.#level) return;
    this.#level = this.#logger.level;
    this.#switches = this.#switchesNow();
    this.#verbose = this.#verboseNow();
  }

  #switchesNow(): Record<Switch, boolean> {
    const is = (level: Level): boolean => this.#logger.isLevelEnabled(level);
    return { log_info: is('info'), log_warning: is('warn'), log_error: is('error') };
  }

  #verboseNow(): number {
    return this.#logger.isLevelEnabled('trace') ? 2 : this.#logger.isLevelEnabled('debug') ? 1 : 0;
  }
}

function refuseFile(value: unknown): void {
  if (typeof value !== 'string') throw wrong('log_file', value, 'a string');
  if (value !== '')
    throw new ShoalError('UNIMPLEMENTED', 'log_file is not implemented by this server: it logs to stdout');
}

function refuseFormat(value: unknown): void {
  if (value === 'ISO8601') return;
  if (value !== 'default') throw wrong('log_format', value, '"default" or "ISO8601"');
  throw new ShoalError('UNIMPLEMENTED', 'log_format "default" is not implemented by this server, only "ISO8601"');
}

function readVerbose(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw wrong('log_verbose_level', value, 'an integer of 0 or more');
}

function readSwitch(name: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw wrong(name, value, 'true or false');
}

function wrong(name: string, value: unknown, expected: string): ShoalError {
  const text = JSON.stringify(value);
  return invalid(`${name} is ${text.length > 40 ? `${text.slice(0, 40)}…` : text}, expected ${expected}`);
}
