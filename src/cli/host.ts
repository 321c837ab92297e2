/** What a command needs of the process it runs in, so that tests can stand in for it. */
export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Whether `out` is read by a person: then text instead of JSON lines. */
  readonly isTerminal: boolean;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** Exit codes of every command; the signal's number is added to `signal`. */
export const EXIT = {
  ok: 0,
  /** Something unexpected, a server that is not ready, a model that failed inspection. */
  failed: 1,
  /** A wrong command, option or value. */
  usage: 2,
  /** The server cannot start: models folder missing, a name used twice, port in use. */
  cannotServe: 3,
  /** A second signal ended the drain. */
  signal: 128,
} as const;
