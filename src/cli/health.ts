import type { Config } from '../config.ts';
import { ConfigError } from '../config-error.ts';
import { messageOf } from '../errors.ts';
import { EXIT, type Host } from './host.ts';
import { baseUrlOf, reachableUrl } from './text.ts';

const LIMIT_MS = 5000;

/**
 * Asks `/v2/health/ready` of a running server; exit code 0 when it answers 200 within five seconds, otherwise 1.
 *
 * Uses Node's own HTTP client, because this runs every few seconds in a container and loading another one costs more
 * than everything else it does.
 *
 * @param url base address; undefined: host and port of the configuration.
 * @throws {ConfigError} when `url` is not an HTTP address.
 */
export async function checkHealth(url: string | undefined, config: Config, host: Host): Promise<number> {
  const target = healthUrl(url ?? reachableUrl(baseUrlOf(config.host, config.port)));
  try {
    const status = await getStatus(target);
    if (status === 200) {
      host.out('ready\n');
      return EXIT.ok;
    }
    host.err(`shoal: not ready: ${target.href} answered ${status}\n`);
  } catch (error) {
    host.err(`shoal: no answer from ${target.href}: ${messageOf(error)}\n`);
  }
  return EXIT.failed;
}

function healthUrl(base: string): URL {
  const url = URL.canParse(base) ? new URL(base) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new ConfigError('argument [url]', base, 'an address such as http://127.0.0.1:8000');
  }
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/v2/health/ready`;
  return url;
}

async function getStatus(url: URL): Promise<number> {
  const { get } = await (url.protocol === 'https:' ? import('node:https') : import('node:http'));
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, signal: AbortSignal.timeout(LIMIT_MS) }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on('error', (error) =>
      reject(
        error.name === 'AbortError' || error.name === 'TimeoutError'
          ? new Error(`nothing within ${LIMIT_MS} ms`)
          : error,
      ),
    );
  });
}
