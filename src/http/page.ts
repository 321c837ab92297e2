import type { ModelSummary } from '../serving/model-version.ts';

/** What the page says of a pipeline. */
export interface ListedPipeline {
  readonly name: string;
  readonly description: string;
  readonly isReady: boolean;
}

/**
 * The page for people at `/`: what runs, and where to go on. One document without scripts or outside addresses.
 *
 * @param ready why the server is not ready; undefined when it is.
 * @param pipelines what is served beside the models.
 * @param path under which the page was asked for. Its links are relative to its folder, so that they work behind proxies.
 */
export function renderPage(
  version: string,
  models: readonly ModelSummary[],
  ready: string | undefined,
  path = '/',
  pipelines: readonly ListedPipeline[] = [],
): string {
  const folder = path.slice(path.lastIndexOf('/') + 1);
  const rows = models.map(renderModel).join('');
  const table =
    models.length === 0
      ? '<p>No models yet. Put <code>&lt;name&gt;.onnx</code> or <code>&lt;name&gt;/1/model.onnx</code> into the models folder and start again; with <code>--model-control-mode explicit</code>, load it by its name.</p>'
      : `<table><thead><tr><th>model<th>state<th>runs on<th>inputs<th>outputs<th>batching</thead><tbody>${rows}</tbody></table>`;
  const list = pipelines.length === 0 ? '' : `\n<h2>Pipelines</h2>\n<ul>${pipelines.map(renderPipeline).join('')}</ul>`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shoal</title>${folder === '' ? '' : `\n<base href="${escapeHtml(folder)}/">`}
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
  body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
  .table { overflow-x: auto; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8884; }
  code { font-size: .9em; }
  td code { display: block; white-space: nowrap; }
  .ready { color: #137333; } .failed { color: #c5221f; }
  @media (prefers-color-scheme: dark) { .ready { color: #81c995; } .failed { color: #f28b82; } }
</style>
<h1>Shoal ${escapeHtml(version)}</h1>
<p>${ready === undefined ? '<span class="ready">Ready.</span>' : `<span class="failed">Not ready</span>: ${escapeHtml(ready)}.`}
Requests that arrive together share ONNX Runtime calls.</p>
<div class="table">${table}</div>${list}
<p><a href="docs">try it</a> · <a href="openapi.json">OpenAPI</a> · <a href="v2">server</a> · <a href="v2/models">models</a> · <a href="v2/health/ready">readiness</a> · <a href="v2/models/stats">statistics</a> · <a href="metrics">metrics</a></p>
</html>
`;
}

function renderPipeline({ name, description, isReady }: ListedPipeline): string {
  const link = `<a href="${escapeHtml(`pipelines/${encodeURIComponent(name)}`)}">${escapeHtml(name)}</a>`;
  const state = isReady ? '<span class="ready">ready</span>' : '<span class="failed">not ready</span>';
  return `<li>${link}: ${description === '' ? '' : `${escapeHtml(description)}; `}${state}`;
}

function renderModel(model: ModelSummary): string {
  const path = `v2/models/${encodeURIComponent(model.name)}/versions/${model.version}`;
  const state = `<span class="${model.state}">${model.state}</span>${model.reason === undefined || model.state !== 'failed' ? '' : `<br>${escapeHtml(model.reason)}`}`;
  const tensors = (specs: readonly { name: string; datatype: string; shape: readonly number[] }[] = []): string =>
    specs
      .map(({ name, datatype, shape }) => `<code>${escapeHtml(name)}: ${datatype} [${shape.join(', ')}]</code>`)
      .join('');
  const isDown = model.state === 'failed' || model.state === 'unloaded';
  const runs = isDown
    ? ''
    : `${escapeHtml(model.provider)}, ${model.instances} × ${model.threads} thread${model.threads === 1 ? '' : 's'}`;
  const cells = [
    `<a href="${escapeHtml(path)}">${escapeHtml(model.name)}</a> ${model.version}`,
    state,
    runs,
    tensors(model.signature?.inputs),
    tensors(model.signature?.outputs),
    isDown
      ? ''
      : `${escapeHtml(model.batching)}${model.maxBatchSize > 1 ? `; at most ${model.maxBatchSize} rows` : ''}`,
  ];
  return `<tr>${cells.map((cell) => `<td>${cell}`).join('')}`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
