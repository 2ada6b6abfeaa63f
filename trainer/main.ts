#!/usr/bin/env node
import { CodedRefusal } from '../models/checks/refusal.ts';
import { VERSION } from '../runtime/version.ts';
import { bench } from './commands/bench.ts';
import { type Command, parseCommand } from './commands/command.ts';
import { data } from './commands/data.ts';
import { demo } from './commands/demo.ts';
import { evaluate } from './commands/evaluate.ts';
import { fleet } from './commands/fleet.ts';
import { keys } from './commands/keys.ts';
import { pack } from './commands/pack.ts';
import { push } from './commands/push.ts';
import { record } from './commands/record.ts';
import { replay } from './commands/replay.ts';
import { run } from './commands/run.ts';
import { serve } from './commands/serve.ts';
import { simulate } from './commands/simulate.ts';
import { train } from './commands/train.ts';
import { tune } from './commands/tune.ts';
import { Refusal, SaidWhy } from './refusal.ts';
import { StoreAway } from './server/object-store.ts';

const COMMANDS: readonly Command[] = [
  demo,
  train,
  tune,
  evaluate,
  data,
  run,
  record,
  replay,
  simulate,
  pack,
  keys,
  push,
  fleet,
  serve,
  bench,
];

/** One rule for all verbs. */
const JSON_HELP =
  'With --json the last line of stdout is one JSON object: the result, or {"error":{"code","message"}} beside the line on stderr.';

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ verb }) => verb.length));
  return [
    `tremolo ${VERSION}: edge inference runtime that keeps learning on the device`,
    '',
    'usage: tremolo VERB [options]',
    '',
    ...COMMANDS.map(({ verb, summary }) => `  ${verb.padEnd(width)}  ${summary}`),
    '',
    'Every verb has --help with an example.',
    JSON_HELP,
    'Exit 0: done. 1: failed. 2: wrong usage or bad input.',
  ].join('\n');
}

async function main(argv: readonly string[]): Promise<void> {
  const [verb, ...rest] = argv;
  if (verb === undefined || verb === '--help' || verb === '-h' || verb === 'help') {
    process.stdout.write(`${overview()}\n`);
    return;
  }
  if (verb === '--version') {
    process.stdout.write(`${VERSION}\n`);
    return;
  }
  const command = COMMANDS.find((other) => other.verb === verb);
  if (!command) throw new Refusal('usage/verb', `there is no verb "${verb}"; there are ${COMMANDS.map((other) => other.verb).join(', ')}`);
  const args = parseCommand(command, rest);
  if (args.values.help) {
    process.stdout.write(`${(await command.helpOn?.(args)) ?? command.help}\n\n${JSON_HELP}\n`);
    return;
  }
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => abort.abort(new Refusal('interrupted', `stopped by ${signal}`)));
  }
  const result = await command.run(args, abort.signal);
  if (args.values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** What a shell reports of a program whose reader went away (128 + SIGPIPE): `tremolo … | head` ends here, without a word. */
const READER_GONE = 141;

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(READER_GONE);
  });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const failure = failureOf(error);
  if (process.argv.includes('--json'))
    process.stdout.write(`${JSON.stringify({ error: { code: failure?.code ?? 'bug', message: failure?.message ?? String(error) } })}\n`);
  if (!failure) throw error;
  if (!(error instanceof SaidWhy)) process.stderr.write(`${failure.code}: ${failure.message}\n`);
  process.exitCode = failure.exitCode;
}

/** What is said of an error in one line; undefined where it is a bug, whose stack is wanted. */
function failureOf(error: unknown): { code: string; message: string; exitCode: number } | undefined {
  if (error instanceof CodedRefusal) return { code: error.code, message: error.message, exitCode: error.code === 'interrupted' ? 1 : 2 };
  if (error instanceof SaidWhy) return { code: 'failed', message: error.message, exitCode: error.exitCode };
  if (error instanceof StoreAway) return { code: 'server/objects', message: `${error.message}; run it again later`, exitCode: 1 };
  // Disk full, folder not ours: nobody's mistake in this program.
  const { syscall, code, message } = (error ?? {}) as NodeJS.ErrnoException;
  return syscall === undefined ? undefined : { code: `system/${code}`, message, exitCode: 1 };
}
