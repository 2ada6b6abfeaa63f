import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refusal } from '../trainer/refusal.ts';
import { describeMachine } from './harness/machine.ts';
import { type Report, resultsPage, textTable } from './harness/report.ts';
import { type Context, choose, type Row, runScenario } from './harness/scenario.ts';
import { SCENARIOS } from './scenarios/index.ts';
import { parseVerb } from './verb.ts';
import { VERBS } from './verbs.ts';

const HELP = `npm run bench -- [ids or patterns] [options]

Runs benchmark scenarios and prints a table. An id, a family of ids (int8.speed) or a pattern (*.64) chooses; without one all run.

  --list         the ids and what they are
  --json FILE    also writes machine, date and rows to FILE
  --quick        a tenth of the time, to see that everything runs; not for figures to keep
  --peers        may install peers from the package index into a temporary folder
  --page         writes benchmarks/README.md from benchmarks/results/*.json and runs nothing

Measurements with options of their own, see NAME --help: ${Object.keys(VERBS).join(', ')}.

Example: npm run bench -- int8.speed adapter.bank --json benchmarks/results/mine.json

Exit code: 0 done (reached or not), 1 a scenario failed, 2 wrong usage.
`;

/** The nearest folder upwards with a package.json, so that the sources and the build in dist/ find the same files. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(`${folder}/package.json`)) folder = dirname(folder);
  return `${folder}/`;
}

async function writePage(root: string): Promise<void> {
  const folder = `${root}benchmarks/results/`;
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  const reports = await Promise.all(files.map(async (name) => JSON.parse(await readFile(folder + name, 'utf8')) as Report));
  const introduction = await readFile(`${root}benchmarks/introduction.md`, 'utf8');
  const page = resultsPage(
    reports,
    SCENARIOS.map(({ id }) => id),
  );
  await writeFile(`${root}benchmarks/README.md`, `${introduction.trimEnd()}\n\n${page}\n`);
  process.stderr.write(`benchmarks/README.md written from results/ (${files.length})\n`);
}

async function main(): Promise<number> {
  const [first, ...rest] = process.argv.slice(2);
  const context = { root: packageRoot(), programs: new URL('./', import.meta.url) };
  if (first !== undefined && Object.hasOwn(VERBS, first)) return VERBS[first](rest, context);
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    process.stderr.write(`${error.code}: ${error.message}\n`);
    return 2;
  }
  const { values, positionals } = parsed;
  const root = packageRoot();
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (values.page) {
    await writePage(root);
    return 0;
  }
  const ids = SCENARIOS.map(({ id }) => id);
  const unknown = positionals.filter((pattern) => choose([pattern], ids).length === 0);
  if (unknown.length > 0) {
    process.stderr.write(`bench/unknown: no scenario fits ${unknown.join(', ')}; --list shows them all\n`);
    return 2;
  }
  const wanted = choose(positionals.length > 0 ? positionals : ['*'], ids);
  const chosen = SCENARIOS.filter(({ id }) => wanted.includes(id));
  if (values.list) {
    for (const { id, what } of chosen) process.stdout.write(`${id}  ${what}\n`);
    return 0;
  }
  const rows: Row[] = [];
  for (const [index, scenario] of chosen.entries()) {
    const context: Context = {
      quick: values.quick ?? false,
      peers: values.peers ?? false,
      root,
      progress: (line) => process.stderr.write(`[${index + 1}/${chosen.length}] ${scenario.id}: ${line}\n`),
    };
    context.progress(scenario.what);
    rows.push(await runScenario(scenario, context));
  }
  process.stdout.write(`${textTable(rows)}\n`);
  if (values.json) {
    const report: Report = { machine: await describeMachine(), date: new Date().toISOString(), rows };
    await mkdir(dirname(values.json), { recursive: true });
    await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
    process.stderr.write(`written to ${values.json}\n`);
  }
  return rows.some(({ failed }) => failed !== undefined) ? 1 : 0;
}

function parse() {
  const flag = { type: 'boolean' } as const;
  const options = { list: flag, json: { type: 'string' }, quick: flag, peers: flag, page: flag, help: { ...flag, short: 'h' } } as const;
  return parseVerb(undefined, process.argv.slice(2), options, Number.POSITIVE_INFINITY);
}

process.exitCode = await main();
