import { readFile } from 'node:fs/promises';
import { invalid, messageOf, ShoalError } from '../errors.ts';
import type { ModelVersion } from '../serving/model-version.ts';
import type { TrainingStep } from './descent.ts';
import type { EventRing } from './event-ring.ts';
import type { Example, Labels } from './example-record.ts';
import type { ExampleStore } from './example-store.ts';
import type { FeatureCache } from './feature-cache.ts';
import { type Head, parameterCount } from './head.ts';
import { baseWithHead, baseWithHeadInstead, headModel } from './head-model.ts';
import { outputNames } from './onnx-graph.ts';
import { failedPublication, type Publisher } from './publisher.ts';
import { trainHead } from './train-head.ts';
import { joinLabels, type TrainingLabels } from './training-labels.ts';
import { type Checkpoint, planOf, type TrainHeadOptions, type Turn } from './training-plan.ts';
import type { TrainingFiles, TrainingRecord } from './training-record.ts';

/** What a {@link TrainingRun} works with. */
export interface RunContext {
  readonly version: ModelVersion;
  readonly store: ExampleStore;
  readonly features: FeatureCache;
  readonly publisher: Publisher;
  readonly files: TrainingFiles;
  readonly turn: Turn;
  /** Called with every change of the record. */
  readonly changed: (record: TrainingRecord) => void;
  /** Called after each step with the time it has taken. */
  readonly stepped: (loss: number, rows: number, computeMs: number, waitMs: number) => void;
}

/** Numbers that a head may learn, so that one step of the optimiser holds the event loop for a millisecond at most. */
export const MOST_PARAMETERS = 100_000;

/** How often state is written, and events of steps are sent at most. */
const CHECKPOINT_MS = 2000;
const STEP_EVENT_MS = 50;

/** How long the step that is under way may take when a training is stopped. */
const STOP_MS = 500;

/** One training that is under way. */
export class TrainingRun {
  readonly events: EventRing;
  readonly done: Promise<void>;
  readonly #context: RunContext;
  readonly #controller: AbortController = new AbortController();
  #record: TrainingRecord;
  #stopAs: 'stopped' | 'interrupted' | undefined;

  /** @param resume where it goes on. */
  constructor(record: TrainingRecord, context: RunContext, events: EventRing, resume?: Checkpoint) {
    this.#record = record;
    this.#context = context;
    this.events = events;
    this.done = this.#run(resume);
  }

  get record(): TrainingRecord {
    return this.#record;
  }

  /** Ends it behind the step that is under way; resolves when its state is written. */
  async stop(as: 'stopped' | 'interrupted'): Promise<void> {
    this.#stopAs ??= as;
    const late = setTimeout(() => this.#controller.abort(), this.#record.state === 'training' ? STOP_MS : 0);
    await this.done;
    clearTimeout(late);
  }

  async #run(resume: Checkpoint | undefined): Promise<void> {
    try {
      const { head, options, labels } = await this.#train(resume);
      await this.#finish(head, options, labels);
    } catch (thrown) {
      const state = this.#stopAs ?? 'failed';
      if (state !== 'failed' && thrown instanceof Stop && thrown.checkpoint !== undefined) {
        await this.#context.files.writeCheckpoint(this.#record.id, thrown.checkpoint).catch(() => {});
      }
      await this.#change({ state, reason: state === 'failed' ? messageOf(thrown) : null }).catch(() => {});
    }
  }

  async #train(
    resume: Checkpoint | undefined,
  ): Promise<{ head: Head; options: TrainHeadOptions; labels: TrainingLabels }> {
    const { version, store, features: cache, turn, files } = this.#context;
    const { request, rows, id } = this.#record;
    const { signal } = this.#controller;
    await this.#change({ state: 'collecting', reason: null });
    const records: Labels[] = [];
    for await (const { labels } of store.read(rows)) {
      signal.throwIfAborted();
      records.push(labels);
    }
    const labels = joinLabels(records, { ...request, ...this.#replaced() });
    const found = await cache.collect(version, request.features, store, rows, signal);
    const { classes, targets, width: outputs, names } = labels;
    const options: TrainHeadOptions = {
      ...found,
      outputs,
      ...(classes === undefined ? { targets: targets! } : { classes }),
      hidden: request.hidden,
      activation: request.activation,
      bias: request.bias,
      optimizer: request.optimizer,
      batchRows: request.batchRows,
      epochs: request.epochs,
      ...(request.steps === undefined ? {} : { steps: request.steps }),
      ...(request.patience === undefined ? {} : { patience: request.patience }),
      l2: request.l2,
      heldBack: request.heldBack,
      seed: request.seed,
      turn,
      signal,
      ...(resume === undefined ? {} : { resume }),
    };
    const plan = planOf(options, true);
    const count = parameterCount(plan.shape);
    if (count > MOST_PARAMETERS) throw invalid(`the head has ${count} numbers to learn, at most ${MOST_PARAMETERS}`);
    if (request.publish && plan.judged.length === 0) {
      throw invalid(`held_back is ${request.heldBack}, of ${rows} examples that is none to compare by`);
    }
    await this.#change({ state: 'training', classes: names ?? null });
    const steps = Math.min(plan.maxSteps, request.epochs * Math.ceil(plan.learned.length / request.batchRows));
    return { head: await this.#makeSteps(options, steps, plan.judged.length, files, id), options, labels };
  }

  async #makeSteps(
    options: TrainHeadOptions,
    steps: number,
    judged: number,
    files: TrainingFiles,
    id: string,
  ): Promise<Head> {
    const training = trainHead(options);
    const before = this.#record.progress;
    const spent = { computeMs: before?.computeMs ?? 0, waitMs: before?.waitMs ?? 0 };
    let last = { computeMs: 0, waitMs: 0 };
    let sentMs = 0;
    let writtenMs = performance.now();
    for (;;) {
      const next = await training.next();
      if (next.done === true) return next.value;
      const step: TrainingStep = next.value;
      const { loss, accuracy = null, examples, epoch, heldBack } = step;
      this.#context.stepped(loss, options.batchRows!, step.computeMs - last.computeMs, step.waitMs - last.waitMs);
      last = step;
      const progress = {
        step: step.step,
        steps,
        epoch,
        loss,
        accuracy,
        examples,
        computeMs: spent.computeMs + step.computeMs,
        waitMs: spent.waitMs + step.waitMs,
      };
      this.#record = { ...this.#record, progress };
      if (heldBack !== undefined) {
        const score = { rows: judged, loss: heldBack.loss, accuracy: heldBack.accuracy ?? null };
        this.#record = { ...this.#record, heldBack: score };
        this.events.add('epoch', { epoch, step: step.step, steps, loss, held_back: score });
      }
      const nowMs = performance.now();
      if (nowMs - sentMs >= STEP_EVENT_MS) {
        sentMs = nowMs;
        this.events.add('step', { step: step.step, steps, epoch, loss, accuracy, examples });
      }
      if (this.#stopAs !== undefined) throw new Stop(step.checkpoint());
      if (nowMs - writtenMs >= CHECKPOINT_MS) {
        await files.writeCheckpoint(id, step.checkpoint());
        await this.#change({});
        writtenMs = performance.now();
      }
    }
  }

  async #finish(head: Head, options: TrainHeadOptions, labels: TrainingLabels): Promise<void> {
    const { version, store, files, publisher, turn } = this.#context;
    const { request, rows, id } = this.#record;
    const { signal } = this.#controller;
    const classifies = labels.classes !== undefined;
    const alone = headModel(head, { features: request.features, output: request.output, classifies });
    await files.writeModel(id, [alone]);
    if (!request.publish) {
      await this.#change({ state: 'finished' });
      return;
    }
    await this.#change({ state: 'publishing' });
    const asked = { features: request.features, output: request.output, classifies };
    try {
      const base = await readFile(version.source.file);
      const isThere = outputNames(base).includes(request.output);
      const model = isThere ? baseWithHeadInstead(base, head, asked) : [baseWithHead(base, head, asked)];
      await files.writeModel(id, model);
      const judged = new Set(planOf(options, true).judged);
      const scoring = { examples: (): AsyncIterable<Example> => store.read(rows), labels, judged, turn, signal };
      const publication = await publisher.publish(version, model, id, request.output, scoring, (number) =>
        this.#change({
          publication: { outcome: 'publishing', version: number, reason: '', candidate: null, serving: null },
        }),
      );
      await this.#change({ state: 'finished', publication });
    } catch (thrown) {
      // What was learned is there all the same, as a model to be fetched.
      if (this.#stopAs !== undefined) throw thrown;
      await this.#change({ state: 'finished', publication: failedPublication(thrown) });
    }
  }

  /** What is known of the output that the head is to replace. */
  #replaced(): { replacedWidth: number | undefined; replacedNames: readonly string[] | undefined } {
    const { version } = this.#context;
    const { publish, output } = this.#record.request;
    const spec = version.signature!.outputs.find(({ name }) => name === output);
    if (!publish || spec === undefined) return { replacedWidth: undefined, replacedNames: undefined };
    const width = spec.shape.at(-1)!;
    return { replacedWidth: width > 0 ? width : undefined, replacedNames: version.labels.get(output) };
  }

  async #change(change: Partial<TrainingRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change, updatedAt: new Date().toISOString() };
    this.#context.changed(this.#record);
    // The state lasts longer than the one who is told of it.
    await this.#context.files.write(this.#record);
    if (change.state !== undefined) {
      const { state, reason, publication } = this.#record;
      this.events.add('state', { state, reason, publication });
    }
  }
}

/** Thrown between two steps. */
class Stop extends ShoalError {
  readonly checkpoint: Checkpoint | undefined;

  constructor(checkpoint: Checkpoint) {
    super('CANCELLED', 'the training was stopped');
    this.checkpoint = checkpoint;
  }
}
