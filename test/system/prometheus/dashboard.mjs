// The queries of a Grafana dashboard, with Grafana's variables filled in as it would.
import { readFileSync } from 'node:fs';

const VARIABLES = { job: '.*', model: '.*', version: '.*', __rate_interval: '10s', __interval: '1s', __range: '1m' };

/** Replaces `$name` and `${name}`; an unknown variable is an error, since Grafana would send it as it is. */
function fill(text) {
  return text.replace(/\$\{?(\w+)\}?/g, (whole, name) => {
    if (!(name in VARIABLES)) throw new Error(`unknown dashboard variable ${whole}`);
    return VARIABLES[name];
  });
}

/** Every query of the dashboard in `file`: those of its panels and those that fill its variables. */
export function dashboardQueries(file) {
  const { panels, templating } = JSON.parse(readFileSync(file, 'utf8'));
  const ids = panels.map((panel) => panel.id);
  if (new Set(ids).size !== ids.length) throw new Error('two panels have the same id');
  const ofPanels = panels
    .flatMap((panel) => [panel, ...(panel.panels ?? [])])
    .flatMap((panel) =>
      (panel.targets ?? []).map(({ expr }) => ({ title: panel.title, expr: fill(expr), isVariable: false })),
    );
  const ofVariables = templating.list
    .filter((variable) => variable.type === 'query')
    .map((variable) => {
      const [, metric, label] = /^label_values\((?:(.+), *)?(\w+)\)$/.exec(variable.definition) ?? [];
      if (label === undefined) throw new Error(`cannot read the query of variable ${variable.name}`);
      return { title: `variable ${variable.name}`, isVariable: true, metric: metric && fill(metric), label };
    });
  return [...ofPanels, ...ofVariables];
}
