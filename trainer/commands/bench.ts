import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { SaidWhy } from '../refusal.ts';
import type { Command, ParsedArguments } from './command.ts';

const execute = promisify(execFile);

/** A program of its own: the server's rooms do not look at the benchmarks. */
const BENCH = fileURLToPath(new URL('./bench.js', import.meta.url));

/** Measurements with options of their own; their last line is the JSON that this verb returns. */
export const BENCH_VERBS = ['engine', 'streams', 'swap', 'adapt', 'push', 'soak', 'compare'] as const;

const TEXTS = ['streams', 'gateways', 'seconds', 'seed', 'bundle', 'profile', 'hours', 'tune', 'html'] as const;
const FLAGS = ['aligned', 'capacity', 'list', 'quick', 'peers'] as const;

function argumentsOf({ values, positionals }: ParsedArguments, json: readonly string[]): string[] {
  return [
    ...(values.compare ? ['compare'] : []),
    ...positionals,
    ...TEXTS.flatMap((name) => (values[name] === undefined ? [] : [`--${name}=${values[name]}`])),
    ...FLAGS.flatMap((name) => (values[name] ? [`--${name}`] : [])),
    ...json,
  ];
}

/** Which of the measurements is asked for; undefined where it is scenarios. */
function nameOf({ values, positionals }: ParsedArguments): string | undefined {
  return values.compare ? 'compare' : BENCH_VERBS.find((name) => name === positionals[0]);
}

/** Runs the program; it prints what it found, save for the line of JSON. */
async function runBench(
  argv: readonly string[],
  signal: AbortSignal,
  hidesLast: boolean,
): Promise<{ readonly last: string; readonly code: number }> {
  const child = spawn(process.execPath, [BENCH, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) text += chunk;
  const code = child.exitCode ?? (await new Promise<number | null>((resolve) => child.once('exit', resolve)));
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
  const lines = text.trimEnd().split('\n');
  const last = hidesLast && lines.at(-1)?.startsWith('{') ? (lines.pop() ?? '') : '';
  if (lines.some((line) => line !== '')) process.stdout.write(`${lines.join('\n')}\n`);
  return { last, code: code ?? 1 };
}

export const bench: Command = {
  verb: 'bench',
  summary: 'measure this device: engines, streams, hours, or scenarios by id',
  help: `usage: tremolo bench engine [BUNDLE] [--seconds S] [--tune gateway.yaml] [--html FILE]
       tremolo bench streams [--capacity] [options]
       tremolo bench swap [--streams N] [--seconds S]
       tremolo bench adapt [BUNDLE]
       tremolo bench push [--gateways N]
       tremolo bench soak [--hours H] [--streams N] [--html FILE]
       tremolo bench --compare A.json B.json
       tremolo bench [ids or patterns] [--list] [--quick] [--peers]

engine: runs the bundle in every way there is (onnxruntime and wasm, int8 and fp32, threads, batches) and says how many streams this device
carries and how; --tune writes that into the gateway's configuration. Under a minute.
streams: sends frames of many simulated sensors through mosquitto to a gateway, each a process of its own. A latency
runs from when a window's last frame was due to be sent to when its diagnosis is back. --capacity finds how many streams keep p99 below 100 ms.
swap: another bundle is pushed under live streams: windows lost or doubled, latency before, during and after.
adapt: one adaptation as a gateway does it: time, processor time, longest step, largest memory.
push: one adapter with tremolo push to many simulated gateways on one broker: seconds to the last confirmation, and what went over the wire.
soak: the same for hours, watching jitter, memory and garbage collection.
--compare: two results of --json side by side.

Each of these has options of its own: tremolo bench NAME --help, and tremolo bench streams --capacity --help.

A figure of a run that something disturbed is printed with what disturbed it. Without a name: the scenarios behind benchmarks/README.md; --list
shows their ids.

  --list   ids of the scenarios and what they are
  --quick  a tenth of the time, to see that everything runs; not for figures to keep
  --peers  may install peers from the package index into a temporary folder

example: tremolo bench engine --seconds 5 --html engine.html`,
  options: {
    ...Object.fromEntries(TEXTS.map((name) => [name, { type: 'string' as const }])),
    ...Object.fromEntries([...FLAGS, 'compare'].map((name) => [name, { type: 'boolean' as const }])),
  },
  positionals: 64,
  async helpOn({ values, positionals }) {
    const name = nameOf({ values, positionals });
    if (name === undefined) return undefined;
    const { stdout } = await execute(process.execPath, [BENCH, name, ...(values.capacity ? ['--capacity'] : []), '--help']);
    return stdout.trimEnd();
  },
  async run(args, signal) {
    if (nameOf(args) !== undefined) {
      const { last, code } = await runBench(argumentsOf(args, ['--json']), signal, true);
      if (code !== 0) throw new SaidWhy(code);
      return JSON.parse(last) as Record<string, unknown>;
    }
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-bench-'));
    try {
      const file = join(folder, 'report.json');
      const { code } = await runBench(argumentsOf(args, args.values.list ? [] : ['--json', file]), signal, false);
      if (args.values.list) return {};
      const text = await readFile(file, 'utf8').catch(() => undefined);
      if (text === undefined) throw new SaidWhy(code);
      // A scenario that failed is a row of its report all the same.
      process.exitCode = code;
      return JSON.parse(text) as Record<string, unknown>;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
