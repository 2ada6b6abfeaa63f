import { disturbedLine } from '../harness/disturbance.ts';
import type { Quantiles } from '../streams/quantiles.ts';
import { type BenchVerb, bundleFolder, numberIn, parseVerb, print } from '../verb.ts';
import { measureSwap } from './measure.ts';

export const swapVerb: BenchVerb = {
  name: 'swap',
  summary: 'another bundle takes over under live streams',
  help: `usage: tremolo bench swap [options]

Sends frames of many simulated sensors through mosquitto to a gateway and pushes another bundle to it meanwhile, shadow included. Counts windows that
were lost or decided twice, and says the latency before the push, from there to the confirmation, after it, and over the whole run. Needs mosquitto.

  --streams N      sensors with three channels at 1 kHz (default 100)
  --seconds S      of the whole run; the push begins after a third (default 45)
  --bundle FOLDER  default: the bundle shipped with Tremolo
  --json           one JSON object as the last line

example: tremolo bench swap --streams 20 --seconds 30
`,
  async run(argv, context) {
    const { programs } = context;
    const text = { type: 'string' } as const;
    const { values } = parseVerb('swap', argv, { streams: text, seconds: text, bundle: text });
    const result = await measureSwap({
      streams: numberIn('streams', values.streams ?? '100', 1, 10_000, true),
      seconds: numberIn('seconds', values.seconds ?? '45', 15, 3600, true),
      bundle: await bundleFolder(context, values.bundle),
      programs,
      progress: (line) => process.stderr.write(`swap: ${line}\n`),
    });
    if ('skipped' in result) {
      print(`skipped: ${result.skipped}\n`);
      return result;
    }
    const { streams, seconds, windowsDecided, windowsExpected, windowsLost, windowsDoubled, before, during, after, whole } = result;
    const line = (name: string, { p50, p99, p999, max }: Quantiles) =>
      `${name}: p50 ${p50} ms, p99 ${p99} ms, p99.9 ${p999} ms, largest ${max} ms\n`;
    print(
      `${disturbedLine(result.disturbance)}${streams} streams for ${seconds} s: ${windowsDecided} of ${windowsExpected} windows decided, ${windowsLost} lost, ${windowsDoubled} doubled\n${line('before', before)}${line('during', during)}${line('after', after)}${line('whole run', whole)}`,
    );
    return result;
  },
};
