import { bundleModel, FILES, readAdapter, readBundle } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { adapt } from '../../runtime/adapt/adaptation.ts';
import { rowsByClass, takeRows } from '../../runtime/adapt/labelled-features.ts';
import { readReplay } from '../../trainer/tune/front-end.ts';

/** A process of its own, so that the largest memory is that of one adaptation. Its argument is the bundle's folder. */

export interface AdaptationReport {
  /** From the graph's load to the trained adapter, and of it the training alone. */
  readonly seconds: number;
  readonly trainingSeconds: number;
  readonly cpuSeconds: number;
  readonly steps: number;
  /** Longest time between two turns of the event loop: what decisions on the same thread would wait. */
  readonly longestStepMs: number;
  /** Resident memory before, and the largest of the process, megabytes of 10^6 bytes. */
  readonly beforeMb: number;
  readonly peakMb: number;
  readonly examples: number;
}

/** Labelled windows of each class that an operator has given. */
const SHOTS = 5;

const bundle = await readBundle(process.argv[2], ['core', 'adapt']);
const engine = await createOnnxruntimeEngine({ threads: 1 });
const beforeMb = process.memoryUsage.rss() / 1e6;
const beganMs = performance.now();
const before = process.cpuUsage();
const session = await engine.load(bundleModel(bundle, FILES.adapt));
const initial = readAdapter(bundle, bundle.files.get(FILES.adapter)!, FILES.adapter);
const replay = readReplay(bundle);
const examples = takeRows(
  replay,
  rowsByClass(replay.labels).flatMap((rows) => rows.slice(0, SHOTS)),
);
const trainingMs = performance.now();
let [steps, lastMs, longestStepMs] = [0, trainingMs, 0];
await adapt(session, initial, examples, replay, undefined, {
  onStep: async ({ step }) => {
    steps = step;
    longestStepMs = Math.max(longestStepMs, performance.now() - lastMs);
    await new Promise<void>((resolve) => setImmediate(resolve));
    lastMs = performance.now();
  },
});
const { user, system } = process.cpuUsage(before);
const report: AdaptationReport = {
  seconds: (performance.now() - beganMs) / 1000,
  trainingSeconds: (performance.now() - trainingMs) / 1000,
  cpuSeconds: (user + system) / 1e6,
  steps,
  longestStepMs,
  beforeMb,
  // Kibibytes (getrusage).
  peakMb: (process.resourceUsage().maxRSS * 1024) / 1e6,
  examples: examples.labels.length,
};
process.stdout.write(`${JSON.stringify(report)}\n`);
