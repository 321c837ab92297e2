import type { Config } from '../config.ts';
import { messageOf, ServeError, type ServeErrorCode } from '../errors.ts';

const WHAT_TO_DO: Readonly<Record<ServeErrorCode, string>> = {
  MODELS_MISSING: '; create it or name another one: shoal serve <folder>',
  NAME_TWICE: '; rename or remove one of the two',
  PIPELINE_INVALID: '',
  NAME_INVALID: '',
  TRAINING_DIR: '',
  TRACE_FILE: '; name another one with --trace-file',
};

/**
 * Why a server cannot start and what to do about it, on one line; undefined when the error is none of the expected
 * ones: a models folder that cannot be served, an address that cannot be listened on.
 */
export function explainStartFailure(
  error: unknown,
  config: Pick<Config, 'host' | 'port' | 'metricsPort' | 'grpcPort'>,
): string | undefined {
  if (error instanceof ServeError) return `${messageOf(error)}${WHAT_TO_DO[error.code]}`;
  if (!(error instanceof Error && 'code' in error)) return undefined;
  const { host } = config;
  const port = 'port' in error ? Number(error.port) : config.port;
  const flag = port === config.metricsPort ? '--metrics-port' : port === config.grpcPort ? '--grpc-port' : '--port';
  switch (error.code) {
    case 'EADDRINUSE':
      return `port ${port} on ${host} is in use; stop the other program or take another port with ${flag} (0: any free one)`;
    case 'EACCES':
      return `port ${port} on ${host} is not allowed for this user; take one from 1024 up with ${flag}`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${host} is not an address of this machine; choose one with --host (0.0.0.0: every interface)`;
    default:
      return undefined;
  }
}
