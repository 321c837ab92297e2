import { CONFIG_FILE_OPTION, formatDefault, OPTION_LIST, type Option } from '../config.ts';
import { summarizeAllowed } from '../config-values.ts';
import { STATUS } from '../errors.ts';
import { ERROR_HELP } from '../protocol/error-help.ts';

/** The blocks of the README that are made from the code, by the name in their markers. */
export const README_BLOCKS: Readonly<Record<string, () => string>> = {
  options: optionsTable,
  errors: errorsTable,
};

/** Every option with its flag, variable and key in `shoal.config.json`, as a Markdown table. */
export function optionsTable(): string {
  const rows = [...OPTION_LIST, CONFIG_FILE_OPTION].map((option) => [
    `\`${option.flag}\``,
    `\`${option.variable}\``,
    option === CONFIG_FILE_OPTION ? '' : `\`${option.key}\``,
    showDefault(option),
    summarizeAllowed(option),
    option.help,
  ]);
  return table(['flag', 'variable', 'key in the file', 'default', 'allowed', 'what it does'], rows);
}

/** Every error code with its HTTP status and a sentence, as a Markdown table. */
export function errorsTable(): string {
  const rows = Object.entries(STATUS).map(([code, status]) => [
    `\`${code}\``,
    code === 'CANCELLED' ? `(${status})` : String(status),
    ERROR_HELP[code as keyof typeof STATUS],
  ]);
  return table(['code', 'status', 'meaning'], rows);
}

/**
 * `text` with the block between `<!-- name -->` and `<!-- /name -->` replaced.
 *
 * @throws {Error} when the markers are not there exactly once and in this order.
 */
export function replaceBlock(text: string, name: string, block: string): string {
  const open = `<!-- ${name} -->`;
  const close = `<!-- /${name} -->`;
  const before = text.split(open);
  const after = text.split(close);
  const start = text.indexOf(open) + open.length;
  const end = text.indexOf(close);
  if (before.length !== 2 || after.length !== 2 || end < start) {
    throw new Error(`expected ${open} and, after it, ${close}, each once`);
  }
  return `${text.slice(0, start)}\n${block}\n${text.slice(end)}`;
}

function showDefault(option: Option): string {
  const text = formatDefault(option);
  return option === CONFIG_FILE_OPTION || option.kind === 'switch' || option.kind === 'list' ? text : `\`${text}\``;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(escapeCell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replace(/<(?=[a-z])/g, '&lt;');
}
