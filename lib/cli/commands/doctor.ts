/** `linecard doctor`: what this machine lacks, what for, and the command that mends it. */
import { Command } from 'commander';
import type { Action } from '../action.ts';
import type { Check } from '../doctor/check.ts';
import { kernel } from '../doctor/kernel.ts';
import { basics, speed } from '../doctor/machine.ts';
import { privileges } from '../doctor/privileges.ts';
import { type Sources, systemSources } from '../doctor/sources.ts';
import { EXIT } from '../failure.ts';
import { toJson } from '../json.ts';
import type { Terminal } from '../terminal.ts';

/** A heading and its checks. */
export interface Section {
  readonly title: string;
  readonly checks: readonly Check[];
}

/** Looks at everything. */
export function diagnose(sources: Sources): Section[] {
  return [
    { title: 'Needed by everything', checks: basics(sources) },
    { title: 'For speed', checks: speed(sources) },
    { title: 'For network interfaces and devices: privileges', checks: privileges(sources) },
    { title: 'For network interfaces and devices: kernel', checks: kernel(sources) },
  ];
}

/** Of most terminals. */
const WIDTH = 80;

type Style = Terminal['style'];

function checkLines({ ok, required, found, purpose, fix }: Check, style: Style): string[] {
  const mark = ok ? style('green', '✓') : required ? style('red', '✗') : style('yellow', '–');
  const why = style('dim', `for: ${purpose}`);
  const oneLine = found.length + purpose.length + 12 <= WIDTH;
  return [
    `  ${mark} ${found}${oneLine ? `  (${why})` : ''}`,
    ...(oneLine ? [] : [`      ${why}`]),
    ...(fix === undefined ? [] : [`      fix: ${fix}`]),
  ];
}

/** The findings as lines: ✓ is there, ✗ is missing, – is missing and can be done without. */
export function doctorLines(sections: readonly Section[], style: Style): string[] {
  const body = sections.flatMap(({ title, checks }) => [
    style('bold', title),
    ...checks.flatMap((check) => checkLines(check, style)),
    '',
  ]);
  const all = sections.flatMap(({ checks }) => checks);
  const missing = all.filter(({ ok, required }) => !ok && required).length;
  const absent = all.filter(({ ok, required }) => !ok && !required).length;
  const optional =
    absent === 0 ? 'nothing is missing' : `${absent} optional ${absent === 1 ? 'thing is' : 'things are'} missing (–)`;
  const end =
    missing === 0
      ? `linecard works here; ${optional}.`
      : `linecard does not work here: ${missing} required ${missing === 1 ? 'thing is' : 'things are'} missing (✗).`;
  return [...body, end];
}

/** The findings for programs. */
export function doctorJson(sections: readonly Section[]): string {
  const checks = sections.flatMap(({ title, checks }) => checks.map((check) => ({ section: title, ...check })));
  return toJson({ ok: healthy(sections), checks });
}

/** True when nothing is missing that everything needs. */
export const healthy = (sections: readonly Section[]): boolean =>
  sections.every(({ checks }) => checks.every(({ ok, required }) => ok || !required));

/** Makes the command. `sources` is the machine. */
export function doctorCommand(action: Action, sources = systemSources): Command {
  return new Command('doctor')
    .description('say what this machine lacks, what for, and how to mend it')
    .option('-j, --json', 'one JSON object')
    .action(({ json = false }: { json?: boolean }) =>
      action((terminal) => {
        const sections = diagnose(sources());
        const text = json
          ? doctorJson(sections)
          : doctorLines(sections, (format, t) => terminal.style(format, t)).join('\n');
        terminal.out(`${text}\n`);
        return healthy(sections) ? EXIT.ok : EXIT.failed;
      }),
    );
}
