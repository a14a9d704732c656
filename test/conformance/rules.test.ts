import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { FOLDERS, idsOf, LISTS } from './rules.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Every string in the tests that begins as a title with numbers does, and the numbers that tables put before one. */
function titles(): string[] {
  const files = FOLDERS.filter((folder) => existsSync(join(root, folder))).flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => join(root, folder, name)),
  );
  return files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/['"`]([VBHGC][VE\d][^'"`]*)/g)].map(([, text]) =>
      /^[VB]\d+$/.test(text!) ? `${text}:` : text!,
    ),
  );
}

describe('The rules of virtio', () => {
  const shown = new Set(titles().flatMap(idsOf));
  const page = readFileSync(join(root, 'docs/conformance.md'), 'utf8');

  it.each(LISTS)('$title: each has a test, or says why not', ({ rules }) => {
    const missing = Object.entries(rules).filter(([id, { why }]) => why === undefined && !shown.has(id));
    expect(missing.map(([id]) => id)).toEqual([]);
  });

  it.each(LISTS)('$title: none that is said not to apply has a test', ({ rules }) => {
    const excused = Object.entries(rules).filter(([id, { why }]) => why !== undefined && shown.has(id));
    expect(excused.map(([id]) => id)).toEqual([]);
  });

  it('are all on the page that the tests made, and none of them failed', () => {
    const missing = LISTS.flatMap(({ rules }) => Object.keys(rules)).filter((id) => !page.includes(`\n| ${id} |`));
    expect(missing).toEqual([]);
    expect(page).not.toMatch(/\*\*(missing|\d+ of \d+ failed)\*\*/);
  });

  it('are found in titles', () => {
    expect(idsOf('V9, V11: read in one piece')).toEqual(['V9', 'V11']);
    expect(idsOf('V106 to V108: RSS')).toEqual(['V106', 'V107', 'V108']);
    expect(idsOf('G4, CVE-2018-1059: a table')).toEqual(['G4', 'CVE-2018-1059']);
    expect(idsOf('V9 is a rule')).toEqual([]);
  });
});
