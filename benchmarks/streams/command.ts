import { resolve } from 'node:path';
import { disturbedLine, othersReason } from '../harness/disturbance.ts';
import { type BenchVerb, bundleFolder, numberIn, parseVerb, print } from '../verb.ts';
import { measureStreams, type StreamsResult } from './measure.ts';

const HELP = `usage: tremolo bench streams [options]

Sends frames of many simulated sensors through mosquitto to a gateway and measures it: load generator, broker and
gateway are processes of their own. A latency runs from when a window's last frame was due to be sent to when the
generator has its diagnosis. Needs mosquitto.

  --streams N       sensors with three channels at 1 kHz (default 100)
  --seconds S       (default 60)
  --capacity        finds how many streams this machine carries instead; has options of its own
  --aligned         all sensors send at the same instants, instead of each at a phase of its own
  --seed N          of the phases (default 1)
  --bundle FOLDER   default: the bundle shipped with Tremolo
  --profile FOLDER  writes V8 processor profiles of the gateway; not for figures to keep
  --json            one JSON object as the last line

example: tremolo bench streams --streams 100 --seconds 10

Exit code: 0 measured, or mosquitto is missing (says so); 1 failed; 2 wrong usage.
`;

const text = { type: 'string' } as const;
const OPTIONS = { streams: text, seconds: text, seed: text, aligned: { type: 'boolean' }, bundle: text, profile: text } as const;

export const streamsVerb: BenchVerb = {
  name: 'streams',
  summary: 'latency and processor time of the whole path',
  help: HELP,
  async run(argv, context) {
    const { values } = parseVerb('streams', argv, OPTIONS);
    const result = await measureStreams({
      streams: numberIn('streams', values.streams ?? '100', 1, 10_000, true),
      seconds: numberIn('seconds', values.seconds ?? '60', 1, 86_400, true),
      seed: numberIn('seed', values.seed ?? '1', 0, 2 ** 32 - 1, true),
      aligned: values.aligned ?? false,
      bundle: await bundleFolder(context, values.bundle),
      programs: context.programs,
      profile: values.profile && resolve(values.profile),
      progress: (line) => process.stderr.write(`${line}\n`),
    });
    if ('skipped' in result) {
      print(`skipped: ${result.skipped}\n`);
      return result;
    }
    const reason = othersReason(result.load.othersCores);
    const disturbance = { reasons: reason ? [reason] : [] };
    print(`${disturbedLine(disturbance)}${summary(result)}`);
    return { ...result, disturbance };
  },
};

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
