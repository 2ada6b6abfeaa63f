import { createHash } from 'node:crypto';
import type { Bundle } from '../../models/bundle/bundle.ts';
import { createNetwork } from '../../models/networks/index.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceInference } from '../../models/training/trace-inference.ts';
import { dualSettings } from '../../runtime/decide/dual-state.ts';
import type { Windows } from '../data/windows.ts';
import { type Attack, attackCurves } from '../evaluate/attacks.ts';
import { type Baselines, runBaselines } from '../evaluate/baselines.ts';
import { BundleDecider } from '../evaluate/bundle-decider.ts';
import { calibrationOf, softmaxRows } from '../evaluate/calibration.ts';
import { type DualFigures, dualFigures } from '../evaluate/dual-model.ts';
import { type Evaluation, evaluateDecisions } from '../evaluate/evaluate.ts';
import { argmaxRows, type Metrics, metricsOf } from '../evaluate/metrics.ts';
import { type RobustnessCurve, robustnessCurves } from '../evaluate/robustness-curves.ts';
import { joinRows, joinWindows, pickWindows } from '../evaluate/sampling.ts';
import type { TrainedNetwork } from '../release/base.ts';
import type { DraftBundle } from '../release/draft-bundle.ts';
import { measureLatency } from '../shrink/latency.ts';
import type { NetworkLine } from './network-line.ts';
import { runNetwork } from './run-windows.ts';
import type { StageOutcome } from './stages.ts';
import { WINDOW, type Workspace } from './workspace.ts';

/** A float network of the line with what it reaches on the test part. */
export interface FloatModel {
  readonly name: 'teacher' | 'student' | 'pruned' | 'back-up';
  readonly trained: TrainedNetwork;
  readonly metrics: Metrics;
  readonly graph: Uint8Array;
  readonly bytes: number;
}

export async function measureFloats({ engine, windows, classes }: Workspace, line: NetworkLine): Promise<FloatModel[]> {
  const models: FloatModel[] = [];
  const add = async (name: FloatModel['name'], trained: TrainedNetwork | undefined) => {
    if (!trained) return;
    const { logits } = await runNetwork(engine, trained, windows.test);
    const metrics = metricsOf(windows.test.labels, argmaxRows(logits, classes.length), classes.length);
    const network = createNetwork(trained.options);
    const graph = encodeOnnx(
      traceInference(network, { input: 'int16', reference: network.reference ?? false, temperature: 1 }, trained.weights),
    );
    models.push({ name, trained, metrics, graph, bytes: graph.length });
  };
  await add('teacher', line.teacher?.result);
  await add('student', line.student.result);
  await add('pruned', line.prune?.result.network);
  await add('back-up', line.backup.result);
  return models;
}

/** The baselines on the same split. */
export function runBaselineStage({
  stages,
  dataKey,
  request,
  windows,
  channels,
  classes,
  signal,
}: Workspace): Promise<StageOutcome<Partial<Baselines>>> {
  const { baselines, seed } = request.choices;
  return stages.run<Partial<Baselines>>({
    name: 'baselines',
    inputs: [dataKey, baselines, seed],
    compute: ({ bar }) =>
      runBaselines(joinWindows([windows.train, windows.validation]), windows.test, [WINDOW, channels.length], classes.length, {
        seed,
        which: baselines,
        onProgress: ({ baseline, share }) => bar.update(share, baseline),
        signal,
      }),
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as Partial<Baselines>,
    summary: (made) =>
      Object.entries(made)
        .map(([name, { balancedAccuracy }]) => `${name} ${(100 * balancedAccuracy).toFixed(1)} %`)
        .join(', ') || 'none asked for',
  });
}

/** How a draft stands faults and attacks. */
export interface Hardening {
  readonly robustness: RobustnessCurve[];
  readonly attacks: Attack[];
  /** Of primary and back-up over everything that the curves are drawn from. */
  readonly dual?: DualFigures;
}

export function measureRobustness(workspace: Workspace, primary: TrainedNetwork, draft: DraftBundle): Promise<StageOutcome<Hardening>> {
  const { engine, stages, dataKey, request, windows, channels, classes, signal } = workspace;
  const { seed } = request.choices;
  return stages.run<Hardening>({
    name: 'robustness',
    inputs: [dataKey, digestOf(draft), primary.options, seed, request.choices.robustness],
    compute: async ({ bar }) => {
      if (!request.choices.robustness) return { robustness: [], attacks: [] };
      const progress = (from: number, note: string) => (share: number) => bar.update(from + share / 2, note);
      const shape: [number, number] = [WINDOW, channels.length];
      const pairs = new DecisionPairs(draft);
      const robustness = await robustnessCurves(
        (some) => pairs.decide(some),
        windows.test,
        shape,
        classes.length,
        seed,
        progress(0, 'noise, gain, speed'),
        signal,
      );
      const dual = pairs.figures((1000 * workspace.stride) / workspace.sampleRateHz);
      return {
        robustness,
        ...(dual && { dual }),
        // The gradient that attacks climb knows no references.
        attacks: createNetwork(primary.options).reference
          ? []
          : await attackCurves(engine, { ...primary, probabilitiesOf: draft.probabilities }, windows.test, {
              seed,
              signal,
              onProgress: progress(0.5, 'FGSM, PGD'),
            }),
      };
    },
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as Hardening,
    summary: ({ robustness }) => (robustness.length > 0 ? 'noise, gain, speed, clipping, channel loss, FGSM, PGD' : 'not asked for'),
  });
}

function digestOf({ model }: DraftBundle): string {
  const hash = createHash('sha256').update(model.graph);
  for (const bytes of model.files?.values() ?? []) hash.update(bytes);
  return hash.digest('hex');
}

/** Decides by the primary and remembers what the back-up says to the same windows. */
class DecisionPairs {
  readonly #draft: DraftBundle;
  readonly #primary: Float32Array[] = [];
  readonly #backup: Float32Array[] = [];
  readonly #labels: Int32Array[] = [];

  constructor(draft: DraftBundle) {
    this.#draft = draft;
  }

  async decide(windows: Windows): Promise<Float32Array> {
    const own = await this.#draft.probabilities(windows);
    if (!this.#draft.backup) return own;
    this.#primary.push(own);
    this.#backup.push(await this.#draft.backup(windows));
    this.#labels.push(windows.labels);
    return own;
  }

  /** Of a gateway on which a window follows the last after `hopMs`. */
  figures(hopMs: number): DualFigures | undefined {
    if (this.#labels.length === 0) return undefined;
    const labels = Int32Array.from(this.#labels.flatMap((some) => [...some]));
    return dualFigures(joinRows(this.#primary), joinRows(this.#backup), labels, dualSettings(hopMs));
  }
}

/** Milliseconds for one window on one thread, all models in turns. */
export async function measureLatencies(
  { engine, windows }: Workspace,
  floats: readonly FloatModel[],
  draft: DraftBundle,
): Promise<Map<string, number>> {
  const feeds = draft.feeds(pickWindows(windows.test, [0]));
  const rows = await measureLatency(
    engine,
    [...floats.map(({ name, graph }) => ({ name, graph, feeds })), { name: 'int8', ...draft.model, feeds }],
    { batch: 1, rounds: 21 },
  );
  return new Map(rows.map(({ name, latencyMs }) => [name, latencyMs]));
}

/** The test part as the bundle decides it. */
export async function evaluateBundle({ engine, windows, classes }: Workspace, bundle: Bundle): Promise<Evaluation> {
  const decider = await BundleDecider.open(engine, bundle);
  await decider.commission(windows.test);
  const probabilities = await decider.probabilitiesOf(windows.test);
  await decider.release();
  return evaluateDecisions({ ...windows.test, probabilities, classes });
}

/** What the temperature does. */
export async function calibrationBefore(
  { windows, classes }: Workspace,
  draft: DraftBundle,
): Promise<{ temperature: number; eceBefore: number }> {
  const logits = await draft.logits(windows.test);
  const { ece } = calibrationOf(softmaxRows(logits, classes.length), windows.test.labels, classes.length);
  return { temperature: draft.temperature, eceBefore: ece };
}
