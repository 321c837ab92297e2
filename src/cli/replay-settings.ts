import { OPTION_LIST, type Option, type OptionKey } from '../config.ts';
import { ConfigError, nearest } from '../config-error.ts';
import { describeAllowed, parseValue, type ValueKind } from '../config-values.ts';
import type { ReplaySettings } from '../replay/replay.ts';

/** Names as in `shoal serve`, and how each changes the settings. */
const SETTINGS: Readonly<Record<string, { kind: ValueKind; apply: (value: unknown) => Partial<ReplaySettings> }>> = {
  'max-batch-size': { kind: optionOf('maxBatchSize'), apply: (value) => ({ maxBatchRows: Number(value) }) },
  'preferred-batch-size': {
    kind: optionOf('maxBatchSize'),
    apply: (value) => ({ preferredRows: [Number(value)] }),
  },
  'batch-window': { kind: optionOf('batchWindow'), apply: (value) => ({ windowMs: Number(value) }) },
  scheduling: { kind: optionOf('scheduling'), apply: (value) => ({ splits: value === 'measured' }) },
  instances: {
    kind: { kind: 'count', min: 1, max: 1024 },
    apply: (value) => ({ executors: Number(value), executorsFromMs: [] }),
  },
  'max-queue-rows': { kind: optionOf('maxQueueRows'), apply: (value) => ({ maxQueueRows: Number(value) }) },
};

/** What a server has that is told nothing. */
export const DEFAULTS: ReplaySettings = {
  maxBatchRows: Number(optionOf('maxBatchSize').default),
  preferredRows: [],
  windowMs: 0,
  splits: optionOf('scheduling').default === 'measured',
  executors: 1,
  maxQueueRows: Number(optionOf('maxQueueRows').default),
};

/** What the settings may be, for the help. */
export const SETTING_NAMES: readonly string[] = Object.keys(SETTINGS);

/**
 * Lays settings such as `max-batch-size=8,batch-window=2ms` over others.
 *
 * @param flag what messages call the text.
 * @throws {ConfigError} for an unknown name or a wrong value.
 */
export function withSettings(base: ReplaySettings, text: string, flag: string): ReplaySettings {
  let settings = base;
  for (const part of text.split(',')) {
    const [name = '', value] = part.split('=').map((side) => side.trim());
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (setting === undefined || value === undefined) {
      const near = setting === undefined ? nearest(name, SETTING_NAMES) : undefined;
      const expected = `name=value with ${SETTING_NAMES.join(', ')}${near === undefined ? '' : ` (did you mean ${near}?)`}`;
      throw new ConfigError(flag, part, expected);
    }
    const parsed = parseValue(setting.kind, value);
    if (parsed === undefined) throw new ConfigError(`${flag} ${name}`, value, describeAllowed(setting.kind));
    settings = { ...settings, ...setting.apply(parsed) };
  }
  return settings;
}

function optionOf(key: OptionKey): Option {
  return OPTION_LIST.find((option) => option.key === key)!;
}
