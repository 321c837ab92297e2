import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ShoalError } from '../errors.ts';
import type { Routes } from './routes.ts';

/** Files of Swagger UI, by what they are called below `/docs/`. */
const FILES: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
};

/**
 * Swagger UI writes style attributes, and its style sheet has icons as `data:` addresses. It needs nothing else from
 * anywhere, and sends requests to this server alone.
 */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/**
 * The page's own script. It takes the document's address, and the server's, from its own: so they are right behind
 * proxies, too, that take a prefix off the paths.
 */
const START = `const base = new URL('..', document.currentScript.src);
addEventListener('DOMContentLoaded', async () => {
  const viewer = document.getElementById('viewer');
  const answer = await fetch(new URL('openapi.json', base)).catch(() => undefined);
  if (!answer?.ok) {
    viewer.textContent = 'The document could not be loaded: ' + (answer?.status ?? 'no answer') + '.';
    return;
  }
  const spec = await answer.json();
  spec.servers = [{ url: base.href.replace(/\\/$/, '') }];
  SwaggerUIBundle({
    spec,
    domNode: viewer,
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    docExpansion: 'list',
    filter: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
  });
});
`;

/** Answers besides the first take little room; on phones a section's text stands below its name. */
const STYLE = `:root { color-scheme: light; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
header { max-width: 1460px; margin: 0 auto; padding: 1rem 20px 0; box-sizing: border-box; }
.swagger-ui .info { margin: 1rem 0; }
.swagger-ui .scheme-container { display: none; }
.swagger-ui .responses-inner .response:not([data-code="200"]) :is(.response-controls, .model-example > .tab, .headers-wrapper) { display: none; }
.swagger-ui .responses-inner .response:not([data-code="200"]) .response-col_description p { margin: 0; }
.swagger-ui .responses-inner .response-col_links { display: none; }
.swagger-ui .parameters-col_name { width: 20em; }
@media (max-width: 40rem) {
  .swagger-ui .opblock-tag { flex-wrap: wrap; font-size: 20px; }
  .swagger-ui .opblock-tag small { flex: 1 1 100%; order: 1; padding: 0; }
  .swagger-ui .opblock-tag > div { flex: 1; }
  .swagger-ui .parameters-col_name { width: auto; }
}
`;

/** `/docs`: the OpenAPI document as a page, on which requests can be tried. */
export function addDocsRoutes(routes: Routes): void {
  routes.add('GET', '/docs', (request, reply) => {
    const folder = pathOf(request).endsWith('/') ? '' : 'docs/';
    return protect(reply, 'text/html; charset=utf-8').send(Buffer.from(renderDocs(folder)));
  });
  routes.add('GET', '/docs/start.js', (_request, reply) =>
    protect(reply, 'text/javascript; charset=utf-8').send(Buffer.from(START)),
  );
  routes.add('GET', '/docs/page.css', (_request, reply) =>
    protect(reply, 'text/css; charset=utf-8').send(Buffer.from(STYLE)),
  );
  let folder: string | undefined;
  for (const [file, type] of Object.entries(FILES)) {
    routes.add('GET', `/docs/${file}`, async (_request, reply) => {
      folder ??= viewerFolder();
      const source = path.join(folder, file);
      const { size } = await stat(source);
      // Read for each who asks, which is rare: a megabyte and a half need not stay in memory.
      return protect(reply, type).header('content-length', String(size)).send(createReadStream(source));
    });
  }
}

function renderDocs(folder: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shoal: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${folder}swagger-ui.css">
<link rel="stylesheet" href="${folder}page.css">
<script src="${folder}swagger-ui-bundle.js" defer></script>
<script src="${folder}start.js" defer></script>
<header><a href="${folder === '' ? '../' : './'}">Shoal</a> · <a href="${folder === '' ? '../' : ''}openapi.json">openapi.json</a></header>
<main id="viewer"></main>
</html>
`;
}

/** @throws {ShoalError} NOT_FOUND where a bundler has left the package out. */
function viewerFolder(): string {
  try {
    return path.join(
      path.dirname(createRequire(import.meta.url).resolve('@fastify/swagger-ui/package.json')),
      'static',
    );
  } catch (cause) {
    throw new ShoalError('NOT_FOUND', 'the viewer is not installed here: @fastify/swagger-ui is missing', { cause });
  }
}

function protect(reply: FastifyReply, type: string): FastifyReply {
  return reply
    .header('content-type', type)
    .header('content-security-policy', POLICY)
    .header('x-content-type-options', 'nosniff');
}

function pathOf({ url }: FastifyRequest): string {
  return url.split('?', 1)[0]!;
}
