import { pathToFileURL } from 'node:url';
import { type FieldResult, type FieldSide, measureField } from '../field/run.ts';
import { digits } from '../harness/interleave.ts';
import type { Context, Measured, Scenario, Skipped, Target } from '../harness/scenario.ts';

const STREAMS = 50;

let measured: Promise<FieldResult | Skipped> | undefined;

/** All sides in one run: every scenario of a process reads the same. */
function field({ root, peers, quick, progress }: Context): Promise<FieldResult | Skipped> {
  if (!peers && !process.env.TREMOLO_BENCH_PEERS)
    return Promise.resolve({ skipped: 'peers are not installed; --peers installs them into a temporary folder' });
  const programs = pathToFileURL(`${root}dist/`);
  measured ??= measureField({ root, programs, streams: STREAMS, seconds: quick ? 3 : 20, rounds: quick ? 1 : 4, progress });
  return measured;
}

const describe = ({ name, total, inside, outside, p50Ms, p99Ms, rssMb, lines, windowsDecided, windowsExpected }: FieldSide) =>
  `${name}: ${digits(total)} ms a stream-second (model ${digits(inside)}, outside ${digits(outside)}), p50 ${digits(p50Ms)} ms, p99 ${digits(p99Ms)} ms, ${digits(rssMb)} MB, ${lines} lines, ${windowsDecided} of ${windowsExpected} windows`;

const agreementOf = ({ agreement, precision }: FieldSide) =>
  agreement
    ? `its model is ${precision}, ours int8; on ${agreement.windows} windows its probabilities differ by at most ${digits(agreement.int8)} from the bundle's int8 graph, ${digits(agreement.fp32)} from the same network in fp32`
    : '';

const against = (
  kind: 'outside' | 'total' | 'p99' | 'memory' | 'lines',
  what: string,
  of: (side: FieldSide) => number,
  id: string,
  name: string,
  target?: Target,
): Scenario => ({
  id: `field.${kind}.${id}`,
  what: `${name} against Tremolo, ${STREAMS} streams on one broker: times as much ${what}`,
  unit: 'x',
  target,
  async measure(context): Promise<Measured | Skipped> {
    const result = await field(context);
    if ('skipped' in result) return result;
    const reason = result.unable[id];
    if (reason) return { skipped: reason };
    const [ours, theirs] = ['tremolo', id].map((side) => result.sides.find((one) => one.id === side)!);
    const disturbed = result.disturbance.reasons.join('; ');
    return {
      figure: of(theirs) / of(ours),
      samples: theirs.windowsDecided,
      details: {
        ...(disturbed && { DISTURBED: disturbed }),
        // Once a peer.
        ...(kind === 'outside'
          ? { ours: describe(ours), theirs: describe(theirs), agreement: agreementOf(theirs) }
          : { ours: digits(of(ours)), theirs: digits(of(theirs)) }),
      },
    };
  },
});

const NAMES: readonly [id: string, name: string, outside?: Target][] = [
  ['node-red', 'Node-RED with onnxruntime-node', { atLeast: 10 }],
  ['python', 'Python with onnxruntime', { atLeast: 5 }],
  ['python-torch', 'Python with PyTorch (fp32)'],
  ['script', 'a plain script with onnxruntime-node'],
  ['tfjs-wasm', 'a script with tfjs wasm'],
];

export const FIELD: readonly Scenario[] = NAMES.flatMap(([id, name, target]) => [
  against('outside', 'processor time outside the model', ({ outside }) => outside, id, name, target),
  against('total', 'processor time', ({ total }) => total, id, name),
  against('p99', 'latency (p99)', ({ p99Ms }) => p99Ms, id, name),
  against('memory', 'memory', ({ rssMb }) => rssMb, id, name),
  against('lines', 'for its user to write, in lines,', ({ lines }) => lines, id, name),
]).concat({
  id: 'field.ekuiper',
  what: 'eKuiper against Tremolo: windows and messages',
  unit: 'x',
  measure: async () => ({
    skipped:
      'eKuiper comes as a program from its own site, or as a Go module; the Go module proxy has answered that its versions are not available (November 2026)',
  }),
});
