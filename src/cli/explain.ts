import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';

/**
 * Why a server cannot start and what to do about it, on one line; undefined when the error is none of the expected ones
 * (models folder missing or unreadable, a name used twice, an address that cannot be listened on).
 */
export function explainStartFailure(
  error: unknown,
  config: Pick<Config, 'models' | 'host' | 'port'>,
): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const { host, port } = config;
  switch (code) {
    case 'MODELS_MISSING':
      return `${messageOf(error)}; create the folder or name another one: shoal serve <folder>`;
    case 'NAME_TWICE':
      return `${messageOf(error)}; rename or remove one of the two`;
    case 'PORT_IN_USE':
    case 'EADDRINUSE': {
      const taken = code === 'PORT_IN_USE' ? messageOf(error) : `port ${port} on ${host} is in use`;
      return `${taken}; stop the other program or take another port with --port (0: any free one)`;
    }
    case 'EACCES':
      return `may not listen on port ${port} of ${host}; take a port from 1024 up with --port`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `${host} is not an address of this machine; choose one with --host (0.0.0.0: every interface)`;
    default:
      return undefined;
  }
}
