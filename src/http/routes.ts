import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods, RouteShorthandOptions } from 'fastify';
import { ShoalError } from '../errors.ts';
import { sendError } from './replies.ts';

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

/** Adds a route to a scope; see {@link Routes.addApart}. */
export type AddApart = (scope: FastifyInstance, handler: Handler, options: RouteShorthandOptions) => void;

const METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'];

/**
 * Routes with what HTTP asks for beside them: every path also with a trailing slash, and 405 with `Allow` for the
 * methods a path does not have, where Fastify would say 404.
 */
export class Routes {
  readonly #app: FastifyInstance;
  readonly #methods: Map<string, Set<HTTPMethods>> = new Map();
  readonly #allowBy: Map<string, (path: string) => string> = new Map();
  #patterns: (readonly [pattern: RegExp, url: string])[] | undefined;

  constructor(app: FastifyInstance) {
    this.#app = app;
  }

  /** Adds a route. HEAD comes with GET. */
  add(method: 'GET' | 'POST' | 'DELETE', path: string, handler: Handler, options: RouteShorthandOptions = {}): void {
    const methods: HTTPMethods[] = method === 'GET' ? ['GET', 'HEAD'] : [method];
    for (const url of spellings(path)) {
      this.#app.route({ ...options, method: methods, url, handler, exposeHeadRoute: false });
      const known = this.#methods.get(url) ?? new Set();
      for (const one of methods) known.add(one);
      this.#methods.set(url, known);
    }
  }

  /**
   * Adds a route that stands in a scope of its own, to which `register` gives it once the scope is there.
   *
   * @param register called at once, with what adds the route to a scope.
   */
  addApart(method: 'POST', path: string, register: (add: AddApart) => void): void {
    for (const url of spellings(path)) this.#methods.set(url, (this.#methods.get(url) ?? new Set()).add(method));
    register((scope, handler, options) => {
      for (const url of spellings(path)) scope.route({ ...options, method, url, handler, exposeHeadRoute: false });
    });
  }

  /**
   * What `Allow` says at `path` (without a query); undefined where there is nothing. For methods that Node's parser
   * knows and Fastify's router does not, such as QUERY, which the router takes for unknown paths.
   */
  allowAt(path: string): string | undefined {
    this.#patterns ??= [...this.#methods.keys()].map((url) => [patternOf(this.#app.prefix + url), url]);
    const url = this.#patterns.find(([pattern]) => pattern.test(path))?.[1];
    return url === undefined ? undefined : this.#allow(url, path);
  }

  /** Has `Allow` follow from the whole path, where what a route does hangs on a part of a segment. */
  allowBy(path: string, allow: (path: string) => string): void {
    for (const url of spellings(path)) this.#allowBy.set(url, allow);
  }

  #allow(url: string, path: string): string {
    return this.#allowBy.get(url)?.(path) ?? [...this.#methods.get(url)!].join(', ');
  }

  /** Adds the answers for wrong methods; to be called after all routes. */
  finish(): void {
    for (const [url, known] of this.#methods) {
      this.#app.route({
        method: METHODS.filter((method) => !known.has(method)),
        url,
        exposeHeadRoute: false,
        // Before the body is read.
        onRequest: (request, reply) => {
          const allow = this.#allow(url, request.url.split('?', 1)[0]!);
          reply.header('allow', allow);
          sendError(reply, notAllowed(request.method, allow));
        },
        handler: () => {},
      });
    }
  }
}

/** The error for a method that a path does not have. */
export function notAllowed(method: string, allow: string): ShoalError {
  return new ShoalError('METHOD_NOT_ALLOWED', `${method} is not allowed here, only ${allow}`);
}

/** The whole paths that a route's URL stands for. */
function patternOf(url: string): RegExp {
  const source = url
    .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replace(/::|:\w+|\*/g, (part) => (part === '::' ? ':' : part === '*' ? '.*' : '[^/]+'));
  return new RegExp(`^${source}$`);
}

function spellings(path: string): string[] {
  return path === '/' ? ['/'] : [path, `${path}/`];
}
