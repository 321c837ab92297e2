import type { EventEmitter } from 'node:events';
import { constants } from 'node:os';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import { createLogger, type Logger } from '../logging.ts';
import { isOfPipeline } from '../pipeline/loop-watch.ts';
import type { ShoalServer } from '../server.ts';
import { explainStartFailure } from './explain.ts';
import { EXIT, type Host } from './host.ts';
import { describeEmpty, formatListening, formatSummary, type StartFacts } from './summary.ts';

/** The part of a server that its process needs. */
export type Servable = Pick<ShoalServer, 'listen' | 'loaded' | 'summary' | 'metricsUrl' | 'grpcAddress' | 'close'>;

/** What `serve` drives and listens to; tests bring their own. */
export interface ServeParts {
  readonly version: string;
  readonly createServer: (config: Config, deps: { logger: Logger }) => Promise<Servable>;
  /** Emits SIGTERM, SIGINT, uncaughtException and unhandledRejection: `process`. */
  readonly process: EventEmitter;
  /** Ends the process at once. */
  readonly exit: (code: number) => void;
  readonly logger?: Logger;
}

type StopSignal = 'SIGTERM' | 'SIGINT';

/**
 * How long a further SIGINT counts as the same key press: `npm start` passes on the signal that the terminal has
 * already sent to the whole process group, so one Ctrl-C arrives twice.
 */
const SAME_KEY_PRESS_MS = 300;

/** What closing may take beyond the drain before it is given up. */
const CLOSE_GRACE_MS = 10_000;

/**
 * Serves until SIGTERM or SIGINT, drains, and answers with the exit code: 0 after a complete drain, 3 when the server
 * cannot start, 1 when it fails otherwise. A second signal while draining ends the process at once with 128 + n.
 */
export async function serve(config: Config, host: Host, parts: ServeParts): Promise<number> {
  const logger = parts.logger ?? createLogger(config, { isTerminal: host.isTerminal });
  const stop = watchSignals(parts);
  parts.process.on('uncaughtException', (error: unknown) => die(error, 'uncaught exception'));
  parts.process.on('unhandledRejection', (error: unknown, promise: unknown) => {
    // A pipeline that forgets a promise is warned about; the others' requests are not to pay for it.
    if (!isOfPipeline(promise)) die(error, 'unhandled rejection');
  });
  function die(error: unknown, what: string): void {
    logger.fatal({ err: error }, what);
    parts.exit(EXIT.failed);
  }

  let server: Servable | undefined;
  let url: string;
  try {
    server = await parts.createServer(config, { logger });
    url = await server.listen();
  } catch (error) {
    await server?.close();
    const reason = explainStartFailure(error, config);
    if (reason === undefined) throw error;
    host.err(`shoal: ${reason}\n`);
    return EXIT.cannotServe;
  }

  const { metricsUrl = url, grpcAddress } = server;
  if (host.isTerminal) host.out(formatListening(parts.version, url));
  logger.info({ url, metricsUrl, grpcAddress, version: parts.version, cores: config.cores }, 'listening');
  let isStopping = false;
  const announced = server.loaded().then(() => {
    // A server that is told to stop while it loads has nothing to announce.
    if (!isStopping) announce({ url, metricsUrl, grpcAddress, models: server.summary(), config }, host, logger);
  });

  const signal = await Promise.race([stop, announced.then(() => stop)]);
  isStopping = true;
  if (host.isTerminal) host.out('\nFinishing what was accepted; Ctrl-C again ends at once\n');
  logger.info({ signal }, 'draining');
  return close(server, config, logger);
}

function announce(facts: StartFacts, host: Host, logger: Logger): void {
  const { models, config } = facts;
  if (host.isTerminal) host.out(formatSummary(facts));
  if (models.length === 0) logger.info(describeEmpty(config));
  const ready = models.filter((model) => model.state === 'ready').length;
  logger.info({ models: models.length, ready }, 'loaded');
}

async function close(server: Servable, config: Config, logger: Logger): Promise<number> {
  const limitMs = config.drainDelayMs + config.drainTimeoutMs + CLOSE_GRACE_MS;
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still open after ${limitMs} ms`)), limitMs);
  });
  try {
    await Promise.race([server.close(), overdue]);
    logger.info('stopped');
    return EXIT.ok;
  } catch (error) {
    logger.fatal({ err: error }, `could not close: ${messageOf(error)}`);
    return EXIT.failed;
  } finally {
    clearTimeout(timer);
  }
}

/** The first signal; any further one ends the process. */
function watchSignals({ process, exit }: ServeParts): Promise<StopSignal> {
  return new Promise((resolve) => {
    let first: StopSignal | undefined;
    let firstAtMs = 0;
    const onSignal = (signal: StopSignal): void => {
      const nowMs = performance.now();
      if (first === undefined) {
        first = signal;
        firstAtMs = nowMs;
        resolve(signal);
      } else if (signal !== 'SIGINT' || first !== 'SIGINT' || nowMs - firstAtMs > SAME_KEY_PRESS_MS) {
        exit(EXIT.signal + constants.signals[signal]);
      }
    };
    process.on('SIGTERM', () => onSignal('SIGTERM'));
    process.on('SIGINT', () => onSignal('SIGINT'));
  });
}
