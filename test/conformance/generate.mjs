/** Runs the tests behind virtio's rules, and writes what came of them into docs/conformance.md: `npm run conformance`. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ELSEWHERE, FOLDERS, idsOf, LISTS } from './rules.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = join(root, 'docs/conformance.md');
const [BEGIN, END] = ['<!-- made by npm run conformance: begin -->', '<!-- made by npm run conformance: end -->'];

/** Every test that was run: title, file, and whether it passed. */
function runTests() {
  const folder = mkdtempSync(join(tmpdir(), 'linecard-conformance-'));
  const output = join(folder, 'results.json');
  const folders = FOLDERS.filter((name) => existsSync(join(root, name)));
  const args = ['vitest', 'run', '--reporter=json', `--outputFile=${output}`, ...folders];
  spawnSync('npx', args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  const { testResults } = JSON.parse(readFileSync(output, 'utf8'));
  rmSync(folder, { recursive: true });
  return testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ title, ancestorTitles, status }) => ({
      // A table's numbers may be those of its group.
      title: [...ancestorTitles, title].find((text) => idsOf(text).length > 0) ?? title,
      file: relative(root, name),
      passed: status === 'passed',
    })),
  );
}

const escaped = (text) => text.replaceAll('|', '\\|');

function rowOf(id, { section, why }, tests) {
  const mine = tests.filter(({ title }) => idsOf(title).includes(id));
  const name = section === '' ? id : `${id} | ${section}`;
  if (mine.length === 0)
    return `| ${name} | ${why ?? 'no test'} | ${why === undefined ? '**missing**' : 'does not apply'} |`;
  const failed = mine.filter(({ passed }) => !passed).length;
  const what = escaped(mine[0].title.replace(/^[^:]*: /, ''));
  const file = mine[0].file.replace(/^test\//, '');
  const more = mine.length > 1 ? `, and ${mine.length - 1} more` : '';
  return `| ${name} | ${what} (\`${file}\`${more}) | ${failed === 0 ? 'passed' : `**${failed} of ${mine.length} failed**`} |`;
}

function tableOf({ title, rules }, tests) {
  const entries = Object.entries(rules);
  const head =
    entries[0][1].section === ''
      ? ['| lie | shown by | result |', '|---|---|---|']
      : ['| rule | section | shown by | result |', '|---|---|---|---|'];
  return [`### ${title}`, '', ...head, ...entries.map(([id, rule]) => rowOf(id, rule, tests)), ''];
}

function cveTable(tests) {
  const ids = [...new Set(tests.flatMap(({ title }) => idsOf(title)).filter((id) => id.startsWith('CVE-')))].sort();
  const rows = [
    ...ids.map((id) => rowOf(id, { section: '' }, tests)),
    ...Object.entries(ELSEWHERE).map(([id, why]) => `| ${id} | ${why} | does not apply |`),
  ];
  return ['### How others were broken', '', '| CVE | shown by | result |', '|---|---|---|', ...rows, ''];
}

const tests = runTests();
const made = [...LISTS.flatMap((list) => tableOf(list, tests)), ...cveTable(tests)];
const text = readFileSync(page, 'utf8');
const [before, rest] = text.split(BEGIN);
const after = rest?.split(END)[1];
if (after === undefined) throw new Error(`${page} has no place for it: ${BEGIN} … ${END}`);
writeFileSync(page, `${before}${BEGIN}\n\n${made.join('\n')}\n${END}${after}`);
const failed = tests.filter(({ title, passed }) => idsOf(title).length > 0 && !passed);
for (const { title, file } of failed) console.error(`failed: ${title} (${file})`);
process.exit(failed.length === 0 ? 0 : 1);
