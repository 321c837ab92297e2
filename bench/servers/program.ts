import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';

/** What the programs of this folder share: settings from the first argument, a message when ready, no life of their own. */

/** The settings the parent gave. */
export function readSettings<T>(): T {
  return JSON.parse(process.argv[2] ?? '') as T;
}

/** Listens on a free loopback port and tells the parent the base URL. */
export async function serve(app: FastifyInstance): Promise<void> {
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  announce({ url: `http://127.0.0.1:${port}` });
}

/** Tells the parent that everything is ready. When the parent is gone, or asks for it, this process ends. */
export function announce(ready: unknown): void {
  process.on('SIGTERM', () => process.exit());
  process.on('disconnect', () => process.exit());
  process.send?.(ready);
}
