// What watching the event loop costs, per promise: a function of 27 promises, with nothing watching, with the hooks that
// are on while pipelines are served (its promises being another's), and as a pipeline's own. Five rounds, the medians;
// it takes about three seconds. Expected: about 20 ns a promise for others, 110 ns for a pipeline's.
//
//   npm run build && node bench/pipeline-hooks.mjs
import { runSegment, watchLoop } from '../dist/src/pipeline/loop-watch.js';

const PROMISES = 27;
const CALLS = 50_000;
const ROUNDS = 5;
const USER = { held() {}, unhandled() {} };

async function leaf(value) {
  await null;
  return value;
}

async function work() {
  let sum = 0;
  for (let i = 0; i < 5; i++) sum += await leaf(i);
  const all = await Promise.all([leaf(1), leaf(2), leaf(3)]);
  return sum + all.length;
}

async function measure(call) {
  const start = performance.now();
  for (let i = 0; i < CALLS; i++) await call();
  return ((performance.now() - start) * 1e6) / CALLS;
}

const own = () => runSegment(USER, work);
const rounds = [];
for (let i = 0; i <= ROUNDS; i++) {
  const nothing = await measure(work);
  const unwatch = watchLoop();
  const others = await measure(work);
  const pipelines = await measure(own);
  unwatch();
  // The first one warms up.
  if (i > 0) rounds.push({ nothing, others, pipelines });
}

const median = (key) => rounds.map((round) => round[key]).sort((a, b) => a - b)[ROUNDS >> 1];
const [nothing, others, pipelines] = ['nothing', 'others', 'pipelines'].map(median);
console.log(
  `${PROMISES} promises: ${Math.round(nothing)} ns; watched ${Math.round(others)} ns; a pipeline's ${Math.round(pipelines)} ns`,
);
console.log(
  `per promise: ${Math.round((others - nothing) / PROMISES)} ns for others, ${Math.round((pipelines - nothing) / PROMISES)} ns for a pipeline`,
);
