import { join } from 'node:path';
import type { Bundle } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { TEACHER } from '../../models/networks/attention-network.ts';
import { openRecordingSet, parseCondition, select } from '../../trainer/data/recording-set.ts';
import { readTarget } from '../../trainer/tune/target.ts';
import { type TuneResult, tuneBundle } from '../../trainer/tune/tune.ts';
import { LOAD_PAIRS, singleLoadBundle } from '../fixtures/single-load.ts';
import type { Context, Measured, Scenario, Skipped } from '../harness/scenario.ts';

/** Drawn labels; the teacher of a load is trained once. */
const DRAWS = [1, 2, 3];
/** What `--rank 2 --targets 'embed.*,head'` of `tremolo tune` says: two ends of the network, and nothing of its layers. */
const SETTINGS = { steps: 60, prefixLength: 4, rank: 2, targets: ['embed.*', 'head'] };

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const rounded = (value: number) => Number(value.toFixed(4));

let running: Promise<Map<string, TuneResult[]>> | undefined;

async function run(data: string, { quick, progress }: Context): Promise<Map<string, TuneResult[]>> {
  const engine = await createOnnxruntimeEngine();
  const set = await openRecordingSet(join(data, 'cwru12'));
  const bundles = new Map<number, Bundle>();
  const made = new Map<string, TuneResult[]>();
  for (const [from, to] of LOAD_PAIRS) {
    const bundle = bundles.get(from) ?? (await singleLoadBundle(engine, data, from, 1, TEACHER));
    bundles.set(from, bundle);
    const read = (load: number) => readTarget(select(set, ['role=main', `load_hp=${load}`].map(parseCondition)), bundle);
    const [target, source] = [await read(to), await read(from)];
    const results: TuneResult[] = [];
    for (const seed of quick ? DRAWS.slice(0, 1) : DRAWS) {
      const result = await tuneBundle(engine, bundle, target, source, {
        ...{ method: 'lora', shots: 1, bankOnly: false },
        settings: { ...SETTINGS, seed },
      });
      results.push(result);
      progress(`${from} -> ${to}, draw ${seed}: ${result.before.target.accuracy} to ${result.after.target.accuracy}`);
    }
    made.set(`${from} -> ${to}`, results);
  }
  return made;
}

async function measured(context: Context, figureOf: (all: readonly TuneResult[]) => number): Promise<Measured | Skipped> {
  const { TREMOLO_DATA } = process.env;
  if (!TREMOLO_DATA) return { skipped: 'TREMOLO_DATA does not name the folder of the real recording sets' };
  running ??= run(TREMOLO_DATA, context);
  const made = await running;
  const details: Record<string, string> = {};
  for (const [pair, results] of made) {
    const over = (value: (one: TuneResult) => number) => rounded(mean(results.map(value)));
    details[pair] =
      `${over(({ before }) => before.target.accuracy)} -> ${over(({ after }) => after.target.accuracy)} (balanced ${over(({ after }) => after.target.balancedAccuracy)}, macro-F1 ${over(({ after }) => after.target.macroF1)}), source ${over(({ after }) => after.source.accuracy)}, ${over(({ seconds }) => seconds)} s`;
  }
  const all = [...made.values()].flat();
  return { figure: figureOf(all), samples: all.length, details };
}

const WHAT = 'cwru12, teacher of one load, LoRA of rank 2 on its ends, one label a class at another load, six pairs';

export const TUNE_TEACHER: readonly Scenario[] = [
  {
    id: 'tune.teacher.lora',
    what: `${WHAT}: accuracy`,
    unit: '',
    target: { atLeast: 0.98 },
    measure: (context) => measured(context, (all) => mean(all.map(({ after }) => after.target.accuracy))),
  },
  {
    id: 'tune.teacher.lora.worst',
    what: `${WHAT}: the pair and draw that comes out worst`,
    unit: '',
    measure: (context) => measured(context, (all) => Math.min(...all.map(({ after }) => after.target.accuracy))),
  },
  {
    id: 'tune.teacher.lora.share',
    what: `${WHAT}: share of its parameters that are trained`,
    unit: '',
    target: { atMost: 0.02 },
    measure: (context) => measured(context, (all) => all[0].trainableShare),
  },
];
