import { readManifest } from '../../models/bundle/bundle.ts';
import { cannotLearn } from '../../runtime/io/adapt-bundle.ts';
import { Refusal } from '../../trainer/refusal.ts';
import { DisturbanceWatch, disturbedLine, familyCpuMs } from '../harness/disturbance.ts';
import { digits } from '../harness/interleave.ts';
import { type BenchVerb, bundleFolder, parseVerb, print } from '../verb.ts';
import { measureAdaptation } from './measure.ts';

export const adaptVerb: BenchVerb = {
  name: 'adapt',
  summary: 'one adaptation on this processor',
  help: `usage: tremolo bench adapt [BUNDLE] [options]

Trains an adapter on this processor as a gateway does, through the bundle's adapt.onnx with its replay windows: time, processor time, and the largest
memory of a process that does nothing else. One thread.

  BUNDLE   a bundle folder with its adapt part (default: the bundle shipped with Tremolo)
  --json   one JSON object as the last line

example: tremolo bench adapt
`,
  async run(argv, context) {
    const { programs, signal } = context;
    const { positionals } = parseVerb('adapt', argv, {}, 1);
    const bundle = await bundleFolder(context, positionals[0]);
    const reason = cannotLearn((await readManifest(bundle)).manifest);
    if (reason) throw new Refusal('bench/adapt', `${bundle} cannot learn on a gateway: ${reason}`);
    const watch = new DisturbanceWatch(familyCpuMs);
    const report = await measureAdaptation(bundle, programs, signal);
    const disturbance = watch.finish();
    const { steps, examples, seconds, cpuSeconds, longestStepMs, beforeMb, peakMb } = report;
    print(
      `${disturbedLine(disturbance)}${steps} steps on ${examples} labelled windows and replay: ${digits(seconds)} s, ${digits(cpuSeconds)} s of processor time, longest step ${digits(longestStepMs)} ms; memory at most ${digits(peakMb)} MB, ${digits(beforeMb)} MB before\n`,
    );
    return { ...report, disturbance };
  },
};
