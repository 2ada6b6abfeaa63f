import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { measureStreams, type StreamsResult } from './measure.ts';

const HELP = `usage: tremolo bench streams [options]

Sends frames of many simulated sensors through mosquitto to a gateway and measures it: load generator, broker and
gateway are processes of their own. A latency runs from when a window's last frame was due to be sent to when the
generator has its diagnosis. Needs mosquitto.

  --streams N       sensors with three channels at 1 kHz (default 100)
  --seconds S       (default 60)
  --aligned         all sensors send at the same instants, instead of each at a phase of its own
  --seed N          of the phases (default 1)
  --bundle FOLDER   default: the bundle shipped with Tremolo
  --profile FOLDER  writes V8 processor profiles of the gateway; not for figures to keep
  --json            one JSON object as the last line

example: tremolo bench streams --streams 100 --seconds 10

Exit code: 0 measured, or mosquitto is missing (says so); 1 failed; 2 wrong usage.
`;

const OPTIONS = {
  streams: { type: 'string', default: '100' },
  seconds: { type: 'string', default: '60' },
  seed: { type: 'string', default: '1' },
  aligned: { type: 'boolean', default: false },
  bundle: { type: 'string' },
  profile: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** @returns the exit code */
export async function streamsCommand(argv: readonly string[], root: string, programs: URL): Promise<number> {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(argv);
  } catch (error) {
    process.stderr.write(`usage/arguments: ${(error as Error).message.split('\n')[0]}; see tremolo bench streams --help\n`);
    return 2;
  }
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const numbers = { streams: Number(values.streams), seconds: Number(values.seconds), seed: Number(values.seed) };
  const inRange = { streams: [1, 10_000], seconds: [1, 86_400], seed: [0, 2 ** 32 - 1] } as const;
  for (const name of ['streams', 'seconds', 'seed'] as const) {
    const [least, most] = inRange[name];
    if (Number.isInteger(numbers[name]) && numbers[name] >= least && numbers[name] <= most) continue;
    process.stderr.write(`usage/number: --${name} is "${values[name]}"; give a whole number from ${least} to ${most}\n`);
    return 2;
  }
  const result = await measureStreams({
    ...numbers,
    aligned: values.aligned,
    bundle: values.bundle ? resolve(values.bundle) : `${root}models/shipped/plant`,
    programs,
    profile: values.profile && resolve(values.profile),
    progress: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write('skipped' in result ? `skipped: ${result.skipped}\n` : summary(result));
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  return 0;
}

function parse(argv: readonly string[]) {
  return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: false }).values;
}

function summary(result: StreamsResult): string {
  const { latencyMs, cpu, generator, broker, load } = result;
  const { p50, p99, p999, max } = latencyMs;
  return [
    `${result.streams} streams for ${result.seconds} s: ${result.windowsDecided} of ${result.windowsExpected} windows decided, ${result.windowsRefused} refused, ${result.windowsLost} lost; ${result.framesLost} frames lost`,
    `frame due to diagnosis received: p50 ${p50} ms, p99 ${p99} ms, p99.9 ${p999} ms, largest ${max} ms`,
    `gateway: ${result.gatewayCpuMsPerStreamSecond} ms of processor time a stream-second (inside the model ${cpu.inside}, outside ${cpu.outside}: ${cpu.outsideOverInside} times), ${result.rssMb} MB`,
    `generator: p99 ${generator.sendLatenessMs.p99} ms late, ${generator.cores} cores; ${broker.name}: ${broker.cores} cores; others: ${load.othersCores} cores, load ${load.before} to ${load.after}`,
    '',
  ].join('\n');
}
