// A piece of work goes on within one turn of the event loop for this long; shorter than what waiting events notice.
const TURN_MS = 1;

type Resume = () => boolean;

// All work in progress shares one queue, so that many large bodies at once hold the loop no longer than one.
const queue: Resume[] = [];
let scheduled = false;

/**
 * Drives a generator that yields where it may be paused. Without a yield its result comes back at once; otherwise as a
 * promise, and the work goes on in later turns of the event loop, taking turns with other such work.
 *
 * @throws whatever the generator throws before its first yield; later it rejects the promise.
 */
export function runSliced<T>(work: Generator<void, T, void>): T | Promise<T> {
  const first = work.next();
  if (first.done) return first.value;
  return new Promise<T>((resolve, reject) => {
    enqueue(() => {
      try {
        const next = work.next();
        if (next.done) resolve(next.value);
        return next.done === true;
      } catch (error) {
        reject(error);
        return true;
      }
    });
  });
}

function enqueue(resume: Resume): void {
  queue.push(resume);
  if (scheduled) return;
  scheduled = true;
  setImmediate(runTurn);
}

function runTurn(): void {
  const until = performance.now() + TURN_MS;
  do {
    const resume = queue.shift()!;
    if (!resume()) queue.push(resume);
  } while (queue.length > 0 && performance.now() < until);
  scheduled = queue.length > 0;
  if (scheduled) setImmediate(runTurn);
}
