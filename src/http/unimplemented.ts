import { ShoalError } from '../errors.ts';
import { sendError } from './replies.ts';
import type { Routes } from './routes.ts';

type Left = readonly [methods: readonly ('GET' | 'POST')[], what: string, paths: readonly string[]];

/** What clients of Triton and KServe may call and this server leaves out. */
const LEFT_OUT: readonly Left[] = [
  [['GET', 'POST'], 'tracing', ['/v2/trace/setting', '/v2/models/:model/trace/setting']],
  [
    ['GET', 'POST'],
    'shared memory',
    ['system', 'cuda'].flatMap((kind) => [
      `/v2/${kind}sharedmemory/status`,
      `/v2/${kind}sharedmemory/unregister`,
      `/v2/${kind}sharedmemory/region/:region/status`,
      `/v2/${kind}sharedmemory/region/:region/register`,
      `/v2/${kind}sharedmemory/region/:region/unregister`,
    ]),
  ],
  [
    ['POST'],
    'generating text',
    ['/v2/models/:model', '/v2/models/:model/versions/:version'].flatMap((base) => [
      `${base}/generate`,
      `${base}/generate_stream`,
    ]),
  ],
  [
    ['POST'],
    'choosing a repository by name (there is one, without a name)',
    [
      '/v2/repository/:repository/index',
      '/v2/repository/:repository/models/:model/load',
      '/v2/repository/:repository/models/:model/unload',
    ],
  ],
];

/** Answers 501 on the routes of the protocol that are left out, before a body is read. */
export function addUnimplementedRoutes(routes: Routes): void {
  for (const [methods, what, paths] of LEFT_OUT) {
    for (const path of paths) for (const method of methods) addUnimplemented(routes, method, path, what);
  }
}

/** One route that answers 501 and says what is not implemented. */
export function addUnimplemented(routes: Routes, method: 'GET' | 'POST', path: string, what: string): void {
  routes.add(method, path, () => {}, {
    onRequest: (_request, reply) => {
      sendError(reply, new ShoalError('UNIMPLEMENTED', `${what} is not implemented by this server`));
    },
  });
}
