import type { Registry } from 'prom-client';
import { addCounter, addGauge, addHistogram } from './collectors.ts';
import type { PipelineMeters } from './pipeline-meters.ts';

const STAGES = ['queue', 'switch', 'compute'] as const;

/** What the time of pipelines went into. `own` and `compute` are work, `switch` is what brings it together. */
const PARTS = ['own', 'compute', 'switch'] as const;

/**
 * The metrics of pipelines.
 *
 * @param all the counters of every pipeline there is.
 */
export function addPipelineMetrics(registry: Registry, all: () => Iterable<PipelineMeters>): void {
  const each = (visit: (labels: { pipeline: string }, meters: PipelineMeters) => void): void => {
    for (const meters of all()) visit({ pipeline: meters.name }, meters);
  };
  addCounter(registry, {
    name: 'shoal_pipeline_requests_total',
    help: 'Requests to a pipeline, by how they ended: ok, or the code of the error.',
    labelNames: ['pipeline', 'protocol', 'code'],
    read: (report) =>
      each((labels, { outcomes }) => {
        for (const [protocol, counts] of outcomes) {
          for (const [code, count] of counts) report({ ...labels, protocol, code: code.toLowerCase() }, count);
        }
      }),
  });
  addHistogram(registry, {
    name: 'shoal_pipeline_request_duration_seconds',
    help: 'From the headers read to the reply handed to the socket.',
    labelNames: ['pipeline'],
    read: (report) => each((labels, { duration }) => report(labels, duration)),
  });
  addGauge(registry, {
    name: 'shoal_pipeline_inflight_requests',
    help: 'Calls of a pipeline that are under way.',
    labelNames: ['pipeline'],
    read: (report) => each((labels, { version }) => report(labels, version?.inflightRequests ?? 0)),
  });
  addCounter(registry, {
    name: 'shoal_pipeline_infers_total',
    help: 'Answered calls of models by pipelines.',
    labelNames: ['pipeline', 'model'],
    read: (report) =>
      each((labels, { stages }) => {
        for (const [model, { calls }] of stages.models) report({ ...labels, model }, calls);
      }),
  });
  addCounter(registry, {
    name: 'shoal_pipeline_stage_seconds_total',
    help: 'Time of those calls: waiting for a run, handing over and back, and in runs, which they share with others.',
    labelNames: ['pipeline', 'model', 'stage'],
    read: (report) =>
      each((labels, { stages }) => {
        for (const [model, times] of stages.models) {
          for (const stage of STAGES) report({ ...labels, model, stage }, times[`${stage}Ms`] / 1e3);
        }
      }),
  });
  addCounter(registry, {
    name: 'shoal_pipeline_work_seconds_total',
    help: 'What calls of a pipeline cost: its own code, its share of runs by rows (compute), and handing over and back (switch).',
    labelNames: ['pipeline', 'part'],
    read: (report) =>
      each((labels, { stages }) => {
        const { ownMs, sharedMs, switchMs } = stages.sums();
        const ms = { own: ownMs, compute: sharedMs, switch: switchMs };
        for (const part of PARTS) report({ ...labels, part }, ms[part] / 1e3);
      }),
  });
  addHistogram(registry, {
    name: 'shoal_pipeline_loop_hold_seconds',
    help: 'How long the code of a pipeline held the event loop within one of its turns.',
    labelNames: ['pipeline'],
    read: (report) => each((labels, { holds }) => report(labels, holds)),
  });
}
