import { type AdapterScheme, DEFAULT_SCHEME } from '../../models/adapters/scheme.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../models/networks/attention-network.ts';
import type { NetworkOptions } from '../../models/networks/index.ts';
import { adapterFeeds, BANK_ADAPTERS, floatGraph, int8Graph, load } from '../fixtures/inference.ts';
import { fixture, rawPatchNetwork } from '../fixtures/networks.ts';
import { machineWindows, windowFeeds } from '../fixtures/windows.ts';
import { inProcess, interleaveAnew, ratio, ratioDetails, type Sides } from '../harness/interleave.ts';
import type { Scenario, Target } from '../harness/scenario.ts';

const BATCH = 64;

/** LoRA on attention too: what adapters may cost where feed-forward and head alone do not suffice. */
const WIDE_SCHEME: AdapterScheme = {
  kind: 'lora',
  rank: 4,
  alpha: 8,
  rankStabilized: true,
  targets: ['layer*.attention.q', 'layer*.attention.v', 'layer*.attention.o', 'layer*.ffn.*', 'head'],
};

interface Choice {
  readonly suffix: string;
  readonly what: string;
  readonly scheme: AdapterScheme;
  readonly target?: Target;
  readonly index: (row: number) => number;
}

const MOST: Target = { atMost: 1.2 };
const CHOICES: readonly Choice[] = [
  { suffix: '', what: `${BANK_ADAPTERS} different adapters`, scheme: DEFAULT_SCHEME, target: MOST, index: (row) => row + 1 },
  { suffix: '.one', what: 'one adapter for all', scheme: DEFAULT_SCHEME, target: MOST, index: () => 1 },
  { suffix: '.wide', what: `${BANK_ADAPTERS} different adapters, on attention too`, scheme: WIDE_SCHEME, index: (row) => row + 1 },
];

const bank = (
  id: string,
  name: string,
  options: NetworkOptions,
  int8: boolean,
  { suffix, what, scheme, target, index }: Choice,
): Scenario => ({
  id: `adapter.bank.${id}${suffix}`,
  what: `${name}, batch ${BATCH}, ${what}: times as long as without adapters`,
  unit: 'x',
  target,
  async measure({ quick }) {
    const made = fixture(options);
    const engine = await createOnnxruntimeEngine();
    const graphs = int8
      ? [await int8Graph(engine, made, scheme), await int8Graph(engine, made)]
      : [floatGraph(made, scheme), floatGraph(made)];
    const windows = windowFeeds(made.network, machineWindows(made.network, BATCH));
    const feeds = {
      ...windows,
      ...adapterFeeds(
        made.network,
        scheme,
        Int32Array.from({ length: BATCH }, (_, row) => index(row)),
      ),
    };
    async function sides(): Promise<Sides> {
      const [adapted, bare] = [await load(engine, graphs[0]), await load(engine, graphs[1])];
      return {
        variants: [inProcess('with adapters', () => adapted.run(feeds)), inProcess('without', () => bare.run(windows))],
        release: async () => void (await Promise.all([adapted.release(), bare.release()])),
      };
    }
    const [slow, fast] = await interleaveAnew(sides, { seconds: quick ? 0.5 : 6, sliceMs: 10, leastRounds: quick ? 3 : 7 });
    return {
      figure: ratio(slow, fast).median,
      samples: slow.wallMs.length,
      details: { ...ratioDetails(slow, fast), ...(scheme.kind === 'lora' && { adapted: scheme.targets.join(' ') }) },
    };
  },
});

const SUBJECTS: readonly [id: string, name: string, options: NetworkOptions, int8: boolean][] = [
  ['48', 'student (width 48), fp32', STUDENT, false],
  ['48.int8', 'student (width 48), int8', STUDENT, true],
  ['64', 'raw patches, width 64, fp32', rawPatchNetwork(64), false],
  ['128', 'raw patches, width 128, fp32', rawPatchNetwork(128), false],
];

export const ADAPTER_BANK: readonly Scenario[] = CHOICES.flatMap((choice) =>
  SUBJECTS.map(([id, name, options, int8]) => bank(id, name, options, int8, choice)),
);
