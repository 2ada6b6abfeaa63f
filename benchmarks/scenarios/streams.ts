import { pathToFileURL } from 'node:url';
import type { Context, Measured, Scenario, Skipped, Target } from '../harness/scenario.ts';
import { measureStreams, type StreamsResult } from '../streams/measure.ts';

type Run = StreamsResult | Skipped;

/** One run for all the figures that are read off it. */
function once(streams: number, seconds: number, aligned: boolean): (context: Context) => Promise<Run> {
  let run: Promise<Run> | undefined;
  return ({ quick, root, progress }) => {
    run ??= measureStreams({
      streams,
      seconds: quick ? Math.ceil(seconds / 10) : seconds,
      aligned,
      seed: 1,
      bundle: `${root}models/shipped/plant`,
      programs: pathToFileURL(`${root}dist/`),
      progress,
    });
    return run;
  };
}

const SIZES = [
  { id: '100', what: '100 streams, 30 s', run: once(100, 30, false), p99: 15, rss: 130 },
  { id: '1000', what: '1,000 streams, 60 s', run: once(1000, 60, false), p99: 100, rss: 220, cpu: 0.8, outside: 0.6 },
  { id: '1000.aligned', what: '1,000 streams in step, 30 s', run: once(1000, 30, true) },
];

interface Figure {
  readonly name: string;
  readonly what: string;
  readonly unit: string;
  readonly of: (result: StreamsResult) => number;
  readonly target?: Target;
}

interface Targets {
  readonly p99?: number;
  readonly rss?: number;
  readonly cpu?: number;
  readonly outside?: number;
}

function figures({ p99, rss, cpu: most, outside }: Targets): Figure[] {
  const atMost = (value: number | undefined) => (value === undefined ? undefined : { atMost: value });
  return [
    {
      name: 'undecided',
      what: 'windows lost or refused',
      unit: 'windows',
      of: (run) => run.windowsLost + run.windowsRefused,
      target: atMost(p99 && 0),
    },
    {
      name: 'p99',
      what: 'last frame due to diagnosis received, p99',
      unit: 'ms',
      of: ({ latencyMs }) => latencyMs.p99,
      target: atMost(p99),
    },
    {
      name: 'cpu',
      what: 'gateway, processor time a stream-second',
      unit: 'ms',
      of: (run) => run.gatewayCpuMsPerStreamSecond,
      target: atMost(most),
    },
    {
      name: 'outside',
      what: 'gateway, processor time outside session.run over inside',
      unit: 'x',
      of: ({ cpu }) => cpu.outsideOverInside,
      target: atMost(outside),
    },
    { name: 'rss', what: 'gateway, largest resident memory', unit: 'MB', of: (run) => run.rssMb, target: atMost(rss) },
  ];
}

/**
 * The whole path: generator, mosquitto and gateway as processes of their own, three channels at 1 kHz in frames of 64 samples, an adapter of its own for
 * every stream, drift watched.
 */
export const STREAMS: readonly Scenario[] = SIZES.flatMap(({ id, what, run, ...targets }) =>
  figures(targets).map(
    ({ name, what: figure, unit, of, target }): Scenario => ({
      id: `streams.${id}.${name}`,
      what: `${what}: ${figure}`,
      unit,
      ...(target && { target }),
      async measure(context): Promise<Measured | Skipped> {
        const result = await run(context);
        if ('skipped' in result) return result;
        const { latencyMs, windowsExpected, windowsDecided, adapters, load, cpu, generator } = result;
        return {
          figure: of(result),
          samples: windowsExpected,
          details: {
            'windows decided': windowsDecided,
            'p50, p99, p99.9, largest, ms': `${latencyMs.p50}, ${latencyMs.p99}, ${latencyMs.p999}, ${latencyMs.max}`,
            'inside, outside session.run, ms a stream-second': `${cpu.inside}, ${cpu.outside}`,
            'different adapters': adapters,
            'generator late, p99, ms': generator.sendLatenessMs.p99,
            'cores that other programs used': load.othersCores,
          },
        };
      },
    }),
  ),
);
