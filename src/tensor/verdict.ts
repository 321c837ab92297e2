/** Whether rows that share a run keep their answers: what is known of each output, and how the parts of it add up. */

/**
 * What a row's output is beside other rows, compared with the same row alone, from the best to the worst:
 * the same bits; the same but for rounding; not known; another answer, because rows influence each other.
 */
export const VERDICTS = ['bit-exact', 'rounding', 'unknown', 'leaking'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** Where rows come from that are compared: made up, given with the model's configuration, or those of requests. */
export const EVIDENCES = ['generated', 'samples', 'real'] as const;
export type Evidence = (typeof EVIDENCES)[number];

/** What is known of one output. */
export interface OutputVerdict {
  readonly name: string;
  readonly verdict: Verdict;
  /** The largest absolute difference seen, where it could be rounding; 0 when there was none. */
  readonly largestDifference: number;
  /** The same in units in the last place: how many representable numbers lie between the two. */
  readonly largestUlps: number;
}

/** The worst of several verdicts; `unknown` when there are none. */
export function worstOf(verdicts: readonly Verdict[]): Verdict {
  return verdicts.length === 0 ? 'unknown' : verdicts.reduce((a, b) => (isWorse(b, a) ? b : a));
}

/** What is known of an output after one more comparison. What was unknown is known then. */
export function addVerdict(known: OutputVerdict, more: OutputVerdict): OutputVerdict {
  const verdict = known.verdict === 'unknown' || isWorse(more.verdict, known.verdict) ? more.verdict : known.verdict;
  return {
    name: known.name,
    verdict,
    largestDifference: Math.max(known.largestDifference, more.largestDifference),
    largestUlps: Math.max(known.largestUlps, more.largestUlps),
  };
}

/** What is said of outputs of a row that change beside other rows. */
export function describeInfluence(leaking: readonly OutputVerdict[]): string {
  const names = leaking.map(({ name }) => `'${name}'`).join(', ');
  return leaking.length === 1
    ? `rows influence each other: output ${names} of a row changes beside other rows`
    : `rows influence each other: outputs ${names} of a row change beside other rows`;
}

function isWorse(a: Verdict, b: Verdict): boolean {
  return VERDICTS.indexOf(a) > VERDICTS.indexOf(b);
}

/** An output of which nothing is known yet. */
export function unknownOutput({ name }: { readonly name: string }): OutputVerdict {
  return { name, verdict: 'unknown', largestDifference: 0, largestUlps: 0 };
}
