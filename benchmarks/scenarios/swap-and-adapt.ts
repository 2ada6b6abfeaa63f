import { measureAdaptation } from '../adapt/measure.ts';
import { measureLearningLatency } from '../adapt/under-load.ts';
import { digits, quantile } from '../harness/interleave.ts';
import type { Measured, Scenario, Skipped } from '../harness/scenario.ts';
import { measureSwap, type SwapResult } from '../swap/measure.ts';

const STREAMS = 100;

/** The last run and its arguments: two scenarios look at one run. */
const runs = new Map<string, Promise<SwapResult | Skipped>>();

const swap = (id: string, what: string, unit: string, target: Scenario['target'], figure: (result: SwapResult) => number): Scenario => ({
  id,
  what: `a bundle takes over under ${STREAMS} live streams: ${what}`,
  unit,
  target,
  async measure({ root, quick, progress }): Promise<Measured | Skipped> {
    const seconds = quick ? 20 : 60;
    const run =
      runs.get(root) ??
      measureSwap({ streams: STREAMS, seconds, bundle: `${root}models/shipped/plant`, programs: new URL(`file://${root}dist/`), progress });
    runs.set(root, run);
    const result = await run;
    if ('skipped' in result) return result;
    const { windowsExpected, windowsDecided, before, during, after, whole, pushSeconds, disturbance } = result;
    return {
      figure: figure(result),
      samples: windowsExpected,
      details: {
        decided: windowsDecided,
        'p99 before, during, after, whole run': `${before.p99}, ${during.p99}, ${after.p99}, ${whole.p99} ms`,
        'p99.9': `${before.p999}, ${during.p999}, ${after.p999}, ${whole.p999} ms`,
        largest: `${before.max}, ${during.max}, ${after.max}, ${whole.max} ms`,
        'push to confirmation': `${digits(pushSeconds)} s`,
        disturbed: disturbance.reasons.join(', ') || 'no',
      },
    };
  },
});

const adapt: Scenario = {
  id: 'adapt.seconds',
  what: 'one adaptation of the shipped bundle as on a gateway, 60 steps, one thread: median',
  unit: 's',
  async measure({ root, quick, progress }): Promise<Measured> {
    const reports: Awaited<ReturnType<typeof measureAdaptation>>[] = [];
    for (let round = 0; round < (quick ? 1 : 7); round++) {
      reports.push(await measureAdaptation(`${root}models/shipped/plant`, new URL(`file://${root}dist/`)));
      progress(`${digits(reports.at(-1)!.seconds)} s`);
    }
    const median = (of: (report: (typeof reports)[number]) => number) => quantile(reports.map(of), 0.5);
    return {
      figure: median(({ seconds }) => seconds),
      samples: reports.length,
      details: {
        'processor time': `${digits(median(({ cpuSeconds }) => cpuSeconds))} s`,
        'longest step': `${digits(median(({ longestStepMs }) => longestStepMs))} ms`,
        'largest memory': `${digits(median(({ peakMb }) => peakMb))} MB`,
        'memory before': `${digits(median(({ beforeMb }) => beforeMb))} MB`,
        'labelled windows': reports[0].examples,
      },
    };
  },
};

const learning: Scenario = {
  id: 'adapt.p99',
  what: `latency of ${STREAMS} live streams while the gateway learns one adapter after the other, p99 against the same run without`,
  unit: 'x',
  target: { atMost: 1.1 },
  async measure({ root, quick, progress }): Promise<Measured | Skipped> {
    const seconds = quick ? 20 : 90;
    const result = await measureLearningLatency({
      ...{ streams: STREAMS, seconds, bundle: `${root}models/shipped/plant`, programs: new URL(`file://${root}dist/`), progress },
    });
    if ('skipped' in result) return result;
    const { windowsExpected, windowsDecided, adaptations, learningSeconds, before, during, after, disturbance } = result;
    return {
      figure: during.p99 / before.p99,
      samples: windowsExpected,
      details: {
        decided: windowsDecided,
        adaptations,
        'processor time of learning': `${digits(learningSeconds)} s`,
        'p50 before, during, after': `${before.p50}, ${during.p50}, ${after.p50} ms`,
        'p99 before, during, after': `${before.p99}, ${during.p99}, ${after.p99} ms`,
        'p99.9': `${before.p999}, ${during.p999}, ${after.p999} ms`,
        disturbed: disturbance.reasons.join(', ') || 'no',
      },
    };
  },
};

export const SWAP_AND_ADAPT: readonly Scenario[] = [
  swap(
    'swap.windows',
    'windows lost or decided twice',
    '',
    { atMost: 0 },
    ({ windowsLost, windowsDoubled }) => windowsLost + windowsDoubled,
  ),
  // The bound of p99.9 that a gateway keeps without a swap: here nothing at all may be later.
  swap(
    'swap.p999',
    'largest latency from frame due to diagnosis, from the push to the confirmation',
    'ms',
    { atMost: 50 },
    ({ during }) => during.max,
  ),
  adapt,
  learning,
];
