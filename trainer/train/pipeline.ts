import { DEFAULT_SCHEME } from '../../models/adapters/scheme.ts';
import { type Bundle, refuseForeignFolder } from '../../models/bundle/bundle.ts';
import { createOnnxruntimeEngine } from '../../models/engine/onnxruntime-engine.ts';
import { STUDENT } from '../../models/networks/attention-network.ts';
import { createNetwork } from '../../models/networks/index.ts';
import { BACKUP } from '../../models/networks/mixer-network.ts';
import { encodeOnnx } from '../../models/trace/onnx.ts';
import { traceFrontEnd } from '../../models/training/trace-inference.ts';
import { VERSION } from '../../runtime/version.ts';
import { type Recording, type RecordingEntry, type RecordingSet, readRecording } from '../data/recording-set.ts';
import { resampleRecording } from '../data/resample.ts';
import { type SplitRule, splitRecordings } from '../data/split.ts';
import { classesOf, cutWindows, type Windows } from '../data/windows.ts';
import { argmaxRows, type Metrics, metricsOf, recordingMetrics } from '../evaluate/metrics.ts';
import { RidgeClassifier } from '../evaluate/ridge.ts';
import { ProgressBar } from '../io/progress.ts';
import { Refusal } from '../refusal.ts';
import { makeBundle, type TrainedNetwork } from '../release/make-bundle.ts';
import { runWindows, type TrainSettings, trainNetwork } from './train-network.ts';

const WINDOW = 512;
const STRIDE = 256;
const RIDGE_ALPHA = 1;

export interface PipelineSettings {
  readonly name: string;
  readonly split: SplitRule;
  /** Channels to use; all where absent. */
  readonly channels?: readonly string[];
  /** Rate to resample every recording to; its own where absent. */
  readonly rateHz?: number;
  readonly train: TrainSettings;
}

export interface PipelineResult {
  readonly bundle: Bundle;
  readonly split: string;
  readonly classes: readonly string[];
  readonly params: { readonly student: number; readonly backup: number };
  readonly seconds: number;
  /** Of the deployed int8 student on the test recordings, by window and by recording. */
  readonly test: Metrics & { readonly recordingAccuracy: number };
  readonly baselines: { readonly ridge: Metrics };
}

/** The recordings of one side of a split, read, with one rate and one set of channels. @throws Refusal data/mixed */
export async function readAll(
  set: RecordingSet,
  entries: readonly RecordingEntry[],
  channels?: readonly string[],
  rateHz?: number,
): Promise<Recording[]> {
  const recordings: Recording[] = [];
  for (const entry of entries) {
    const recording = await readRecording(set, entry, channels);
    recordings.push(rateHz === undefined ? recording : resampleRecording(recording, rateHz));
  }
  const [first] = recordings;
  const odd = recordings.find(
    ({ sampleRateHz, channels: names }) => sampleRateHz !== first.sampleRateHz || names.join() !== first.channels.join(),
  );
  if (odd) {
    throw new Refusal(
      'data/mixed',
      `${odd.entry.file} has ${odd.channels} at ${odd.sampleRateHz} Hz, ${first.entry.file} has ${first.channels} at ${first.sampleRateHz} Hz; choose with --where and --channels`,
    );
  }
  return recordings;
}

/** Ridge on the log spectrum: the baseline on the same split. */
export async function ridgeBaseline(train: Windows, test: Windows, channels: number, classes: number): Promise<Metrics> {
  const engine = await createOnnxruntimeEngine();
  const spectrum = createNetwork({ ...STUDENT, channels, classes, tokens: ['spectrum'] });
  const graph = encodeOnnx(traceFrontEnd(spectrum, 'float32'));
  const features = (windows: Windows) => runWindows(engine, graph, windows, [WINDOW, channels], 'features');
  const ridge = new RidgeClassifier(await features(train), train.labels, classes, RIDGE_ALPHA);
  return metricsOf(test.labels, ridge.decide(await features(test)), classes);
}

/** From a recording set to a measured bundle. @throws Refusal on data that cannot be trained on */
export async function trainBundle(
  set: RecordingSet,
  folder: string,
  settings: PipelineSettings,
  signal?: AbortSignal,
): Promise<PipelineResult> {
  const started = performance.now();
  // Before the work, not after it.
  await refuseForeignFolder(folder);
  const split = splitRecordings(set.recordings, settings.split);
  const all = await readAll(set, [...split.train, ...split.test], settings.channels, settings.rateHz);
  const [train, test] = [all.slice(0, split.train.length), all.slice(split.train.length)];
  const classes = classesOf(train);
  if (classes.length < 2) throw new Refusal('data/classes', `${set.name} has one class only (${classes}); a network needs two`);
  const [{ channels, sampleRateHz }] = all;
  const windows = { train: cutWindows(train, classes, WINDOW, STRIDE), test: cutWindows(test, classes, WINDOW, STRIDE) };
  if (windows.test.count === 0) throw new Refusal('data/short', `no test recording of ${set.name} has ${WINDOW} samples`);
  for (const name of classes) {
    if (!windows.train.labels.includes(classes.indexOf(name)))
      throw new Refusal('data/short', `no recording of class ${name} has ${WINDOW} samples`);
  }

  // One thread: the same numbers on every machine of a kind, and the other core stays free.
  const engine = await createOnnxruntimeEngine();
  const trained = async (title: string, options: TrainedNetwork['options']): Promise<TrainedNetwork> => {
    const bar = new ProgressBar(title);
    const began = performance.now();
    const weights = await trainNetwork(
      engine,
      createNetwork(options),
      train,
      classes,
      settings.train,
      ({ step, steps, loss }) => bar.update(step / steps, `step ${step}/${steps}, loss ${loss.toFixed(3)}`),
      signal,
    );
    bar.done(`${settings.train.steps} steps in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    return { options, weights };
  };
  const shape = { channels: channels.length, classes: classes.length };
  const primary = await trained('train student', { ...STUDENT, ...shape });
  const backup = await trained('train back-up', { ...BACKUP, ...shape });

  let test8: PipelineResult['test'] | undefined;
  const bundle = await makeBundle(
    folder,
    engine,
    {
      name: settings.name,
      classes,
      recipe: { sampleRateHz, window: WINDOW, stride: STRIDE, channels: [...channels] },
      primary,
      backup,
      adapter: DEFAULT_SCHEME,
      temperature: 1,
      lineage: { set: set.name, split: split.description, seed: settings.train.seed },
      version: VERSION,
    },
    train,
    async (probabilities) => {
      const made = await probabilities(windows.test);
      const { labels, recordings } = windows.test;
      const metrics = metricsOf(labels, argmaxRows(made, classes.length), classes.length);
      test8 = { ...metrics, recordingAccuracy: recordingMetrics(labels, recordings, made, classes.length).accuracy };
      return metrics;
    },
  );
  const ridge = await ridgeBaseline(windows.train, windows.test, channels.length, classes.length);
  return {
    bundle,
    split: split.description,
    classes,
    params: { student: createNetwork(primary.options).parameters.size, backup: createNetwork(backup.options).parameters.size },
    seconds: (performance.now() - started) / 1000,
    test: test8!,
    baselines: { ridge },
  };
}
