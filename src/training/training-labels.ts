import { invalid } from '../errors.ts';
import type { Labels } from './example-record.ts';
import type { TrainingRequest } from './training-request.ts';

/** Labels of all rows of a training: either classes or targets. */
export interface TrainingLabels {
  readonly classes: Uint32Array | undefined;
  /** `[rows, width]`. */
  readonly targets: Float64Array | undefined;
  /** Outputs of the head: classes, or numbers of a target. */
  readonly width: number;
  /** Names of the classes in order; undefined where they are numbers. */
  readonly names: readonly string[] | undefined;
}

/** What decides how many classes there are, and their order. */
export interface LabelChoice extends Pick<TrainingRequest, 'classes' | 'loss'> {
  /** Classes of the output that is to be replaced; undefined where there is none. */
  readonly replacedWidth: number | undefined;
  /** Names of the classes of that output, as the model's configuration has them. */
  readonly replacedNames: readonly string[] | undefined;
}

/**
 * The labels of the records as numbers.
 *
 * @throws {ShoalError} INVALID_REQUEST when they do not go with what was asked for.
 */
export function joinLabels(records: readonly Labels[], choice: LabelChoice): TrainingLabels {
  const kind = records[0]?.kind;
  if (kind === undefined) throw invalid('there are no examples');
  const fitting = kind === 'targets' ? 'squared-error' : 'cross-entropy';
  if (choice.loss !== undefined && choice.loss !== fitting) {
    throw invalid(`loss is ${choice.loss}, expected ${fitting}, for the examples have ${kind}`);
  }
  if (kind === 'targets') return joinTargets(records, choice);
  const names = kind === 'names' ? namesOf(records, choice) : undefined;
  const index = new Map(names?.map((name, i) => [name, i]));
  const classes: number[] = [];
  for (const labels of records) {
    if (labels.kind === 'classes') classes.push(...labels.classes);
    else if (labels.kind === 'names') {
      for (const name of labels.names) {
        const place = index.get(name);
        if (place === undefined) throw invalid(`an example has the label '${name}', which is none of the classes`);
        classes.push(place);
      }
    }
  }
  const largest = classes.reduce((most, one) => Math.max(most, one), 0);
  const { classes: asked, replacedWidth } = choice;
  const given = typeof asked === 'number' ? asked : asked?.length;
  const width = given ?? names?.length ?? Math.max(replacedWidth ?? 0, largest + 1);
  if (largest >= width) throw invalid(`an example has the label ${largest}, expected one of ${width} classes from 0`);
  checkWidth(width, replacedWidth);
  if (new Set(classes).size < 2) throw invalid('all examples have the same label, expected two classes at least');
  const shown = names ?? (Array.isArray(asked) ? (asked as readonly string[]) : undefined);
  return { classes: Uint32Array.from(classes), targets: undefined, width, names: shown };
}

function joinTargets(records: readonly Labels[], { classes, replacedWidth }: LabelChoice): TrainingLabels {
  if (classes !== undefined) throw invalid('classes are given, and the examples have targets');
  const all = records.filter((labels) => labels.kind === 'targets');
  const { width } = all[0]!;
  checkWidth(width, replacedWidth);
  const targets = new Float64Array(all.reduce((sum, { values }) => sum + values.length, 0));
  let at = 0;
  for (const { values } of all) {
    targets.set(values, at);
    at += values.length;
  }
  return { classes: undefined, targets, width, names: undefined };
}

/** As asked for, or as the model's labels have them if these have all, or in alphabetical order. */
function namesOf(records: readonly Labels[], { classes, replacedNames }: LabelChoice): readonly string[] {
  if (Array.isArray(classes)) return classes as readonly string[];
  if (classes !== undefined) throw invalid(`classes is ${String(classes)}, expected names, as the examples have them`);
  const found = new Set(records.flatMap((labels) => (labels.kind === 'names' ? labels.names : [])));
  if (replacedNames !== undefined && [...found].every((name) => replacedNames.includes(name))) return replacedNames;
  return [...found].sort();
}

function checkWidth(width: number, replaced: number | undefined): void {
  if (replaced === undefined || width === replaced) return;
  throw invalid(
    `the head has ${width} outputs, the output that it is to replace has ${replaced}; name another output, or train it on its own`,
  );
}
