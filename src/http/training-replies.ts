import { Readable } from 'node:stream';
import type { EventRing } from '../training/event-ring.ts';
import { isRunning, type TrainingRecord, type TrainingState } from '../training/training-record.ts';

/** A training as JSON: names as the protocol has them. */
export function describeTraining(record: TrainingRecord): object {
  const { id, request, state, reason, version, rows, createdAt, updatedAt, classes, progress, heldBack } = record;
  const { batchRows, heldBack: share, version: _, ...asked } = request;
  return {
    id,
    model: request.model,
    version,
    state,
    reason,
    rows,
    classes,
    created_at: createdAt,
    updated_at: updatedAt,
    request: { ...asked, batch_rows: batchRows, held_back: share },
    progress: progress && {
      step: progress.step,
      steps: progress.steps,
      epoch: progress.epoch,
      loss: progress.loss,
      accuracy: progress.accuracy,
      examples: progress.examples,
      compute_ms: progress.computeMs,
      wait_ms: progress.waitMs,
    },
    held_back: heldBack,
    publication: record.publication,
  };
}

/**
 * Server-sent events of a training, until it is over. Whoever reads slowly is sent what is still kept when there is
 * room again; nothing is held for them.
 *
 * @param last the id of the last event that the reader has.
 */
export function eventStream(ring: EventRing, last: number): Readable {
  let seen = last;
  let wanted = false;
  const stream = new Readable({
    read() {
      wanted = true;
      send();
    },
    destroy(error, done) {
      unwatch();
      done(error);
    },
  });
  const send = (): void => {
    while (wanted) {
      const event = ring.after(seen);
      if (event === undefined) return;
      seen = event.id;
      wanted = stream.push(`id: ${event.id}\nevent: ${event.kind}\ndata: ${event.data}\n\n`);
      if (event.kind === 'state' && !isRunning(JSON.parse(event.data) as { state: TrainingState })) {
        wanted = false;
        stream.push(null);
      }
    }
  };
  const unwatch = ring.watch(send);
  return stream;
}
