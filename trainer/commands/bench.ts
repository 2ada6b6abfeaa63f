import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, type ParsedArguments, textOption } from './command.ts';

/** A program of its own: the server's rooms do not look at the benchmarks. */
const BENCH = fileURLToPath(new URL('./bench.js', import.meta.url));

const STREAMS_TEXTS = ['streams', 'seconds', 'seed', 'bundle', 'profile'] as const;
const FLAGS = ['aligned', 'list', 'quick', 'peers'] as const;

function argumentsOf(args: ParsedArguments, json: readonly string[]): string[] {
  return [
    ...args.positionals,
    ...STREAMS_TEXTS.flatMap((name) => (textOption(args, name) === undefined ? [] : [`--${name}`, textOption(args, name)!])),
    ...FLAGS.flatMap((name) => (args.values[name] ? [`--${name}`] : [])),
    ...json,
  ];
}

/** Runs the program; it prints what it found, save for the line of JSON. */
async function runBench(argv: readonly string[], signal: AbortSignal, hidesLast: boolean): Promise<string> {
  const child = spawn(process.execPath, [BENCH, ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) text += chunk;
  const code = child.exitCode ?? (await new Promise<number | null>((resolve) => child.once('exit', resolve)));
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
  const lines = text.trimEnd().split('\n');
  const last = hidesLast ? (lines.pop() ?? '') : '';
  if (lines.some((line) => line !== '')) process.stdout.write(`${lines.join('\n')}\n`);
  // It has said why.
  if (code !== 0) process.exitCode = code ?? 1;
  return last;
}

export const bench: Command = {
  verb: 'bench',
  summary: 'measure this machine: many streams, or scenarios by id',
  help: `usage: tremolo bench streams [options]
       tremolo bench [ids or patterns] [--list] [--quick] [--peers]

streams: sends frames of many simulated sensors through mosquitto to a gateway, each a process of its own. A latency
runs from when a window's last frame was due to be sent to when its diagnosis is back.

  --streams N       sensors with three channels at 1 kHz (default 100)
  --seconds S       (default 60)
  --aligned         all sensors send at the same instants, instead of each at a phase of its own
  --seed N          of the phases (default 1)
  --bundle FOLDER   default: the bundle shipped with Tremolo
  --profile FOLDER  writes V8 processor profiles of the gateway; not for figures to keep

Without streams: the scenarios behind benchmarks/README.md; --list shows their ids.

example: tremolo bench streams --streams 100 --seconds 10 --json`,
  options: {
    ...Object.fromEntries(STREAMS_TEXTS.map((name) => [name, { type: 'string' as const }])),
    ...Object.fromEntries(FLAGS.map((name) => [name, { type: 'boolean' as const }])),
  },
  positionals: 64,
  async run(args, signal) {
    if (args.positionals[0] === 'streams') {
      const line = await runBench(argumentsOf(args, ['--json']), signal, true);
      return line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {};
    }
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-bench-'));
    try {
      const file = join(folder, 'report.json');
      await runBench(argumentsOf(args, args.values.list ? [] : ['--json', file]), signal, false);
      // There is none of a list, nor where the arguments were refused.
      const text = await readFile(file, 'utf8').catch(() => '{}');
      return JSON.parse(text) as Record<string, unknown>;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
