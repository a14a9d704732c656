/** Documents and code held together: listings are what the files say, examples run. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const root = new URL('..', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const documents = [
  'README.md',
  ...readdirSync(new URL('docs', root), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.md'))
    .map((f) => `docs/${f}`),
];

/** Code blocks whose first line names a file of the repository: `// lib/…`. */
function listings(markdown: string): { file: string; code: string }[] {
  const blocks = [...markdown.matchAll(/```ts\n\/\/ (\S+\.ts)\n([\s\S]*?)\n```/g)];
  return blocks.map(([, file, code]) => ({ file, code }));
}

describe('documents', () => {
  it.each(documents)('%s lists code as it is in the files', (document) => {
    for (const { file, code } of listings(read(document)))
      expect(read(file), `${document}: listing of ${file}`).toContain(code);
  });

  it.each(documents)('%s has no gaps', (document) => {
    expect(read(document)).not.toMatch(/@@|TODO|TBD/);
  });

  it('shows the loop driver in the guide to writing one', () => {
    expect(listings(read('docs/writing-a-driver.md')).length).toBeGreaterThanOrEqual(5);
  });

  it.each(documents)('%s links to files that exist', (document) => {
    for (const [, target] of read(document).matchAll(/\]\(([^)#:]+)\)/g)) {
      const url = new URL(target, new URL(document, root));
      expect(
        () => (target.endsWith('/') ? readdirSync(url) : readFileSync(url)),
        `${document}: ${target}`,
      ).not.toThrow();
    }
  });
});
