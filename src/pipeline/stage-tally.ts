import type { AnswerPart } from '../batching/request.ts';
import type { InferResult } from '../serving/infer-result.ts';

/** What the calls of one model took, within a call of a pipeline or in all of them, in milliseconds. */
export interface ModelStages {
  calls: number;
  /** Until a runner took them, waiting for room included. */
  queueMs: number;
  /** Handing over to the executor and back. */
  switchMs: number;
  /** The runs they were part of. */
  computeMs: number;
  /** Their share of the runs they were part of, by rows. */
  sharedMs: number;
  /** Their share of handing over and back, by rows. */
  sharedSwitchMs: number;
}

/** Where the time of a pipeline went. */
export class StageTally {
  readonly models: Map<string, ModelStages> = new Map();
  offloads = 0;
  offloadMs = 0;
  /** Time its own code held the event loop. */
  ownMs = 0;

  /** @param startMs when the model was asked. */
  noteInfer(name: string, { stamps, batch, rows }: InferResult, startMs: number): void {
    const stages = this.#of(name);
    const computeMs = stamps.computeEndMs - stamps.computeStartMs;
    stages.calls++;
    stages.queueMs += stamps.dispatchedMs - startMs;
    const switchMs = stamps.computeStartMs - stamps.dispatchedMs + (stamps.settledMs - stamps.computeEndMs);
    const share = Math.min(1, rows / batch.rows);
    stages.switchMs += switchMs;
    stages.computeMs += computeMs;
    stages.sharedMs += computeMs * share;
    stages.sharedSwitchMs += switchMs * share;
  }

  noteOffload(ms: number): void {
    this.offloads++;
    this.offloadMs += ms;
  }

  /** Adds what another has counted. */
  add({ models, offloads, offloadMs, ownMs }: StageTally): void {
    for (const [name, other] of models) {
      const stages = this.#of(name);
      stages.calls += other.calls;
      stages.queueMs += other.queueMs;
      stages.switchMs += other.switchMs;
      stages.computeMs += other.computeMs;
      stages.sharedMs += other.sharedMs;
      stages.sharedSwitchMs += other.sharedSwitchMs;
    }
    this.offloads += offloads;
    this.offloadMs += offloadMs;
    this.ownMs += ownMs;
  }

  /** Over all models. Calls share the switching of their run, too, so that its share is what counts. */
  sums(): { readonly ownMs: number; readonly sharedMs: number; readonly switchMs: number } {
    let sharedMs = 0;
    let switchMs = 0;
    for (const stages of this.models.values()) {
      sharedMs += stages.sharedMs;
      switchMs += stages.sharedSwitchMs;
    }
    return { ownMs: this.ownMs, sharedMs, switchMs };
  }

  /** For a reply's timing: one part per model, one for work on the pool, one for the pipeline's own code. */
  parts(): AnswerPart[] {
    const parts: AnswerPart[] = [{ name: 'own', ms: this.ownMs, description: '' }];
    for (const [name, { calls, queueMs, switchMs, computeMs, sharedMs }] of this.models) {
      const times = `queue=${text(queueMs)} switch=${text(switchMs)} compute=${text(computeMs)} share=${text(sharedMs)}`;
      const ms = queueMs + switchMs + computeMs;
      parts.push({ name: 'infer', ms, description: `model=${encodeURIComponent(name)} calls=${calls} ${times}` });
    }
    if (this.offloads > 0) {
      parts.push({ name: 'offload', ms: this.offloadMs, description: `calls=${this.offloads}` });
    }
    return parts;
  }

  #of(name: string): ModelStages {
    let stages = this.models.get(name);
    if (stages === undefined) {
      stages = { calls: 0, queueMs: 0, switchMs: 0, computeMs: 0, sharedMs: 0, sharedSwitchMs: 0 };
      this.models.set(name, stages);
    }
    return stages;
  }
}

function text(ms: number): string {
  return ms.toFixed(3);
}
