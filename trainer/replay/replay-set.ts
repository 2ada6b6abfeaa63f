import { readBundle } from '../../models/bundle/bundle.ts';
import type { Diagnosis, Ledger, Status } from '../../runtime/contracts/messages.ts';
import { DecisionLoop } from '../../runtime/decision-loop.ts';
import { type Recording, type RecordingEntry, type RecordingSet, readRecording } from '../data/recording-set.ts';
import { resampleRecording } from '../data/resample.ts';
import { Refusal } from '../refusal.ts';
import { recordingFrames } from './recording-frames.ts';

/** Recordings that are played side by side, so that batches fill. */
const LANES = 32;
/** Streams that one gateway has rings for. */
const LARGEST_RECORDINGS = 10_000;

export interface ReplayOptions {
  readonly bundleFolder: string;
  readonly engine: 'onnxruntime' | 'wasm';
  readonly programs: URL;
  readonly channels?: readonly string[];
  readonly rateHz?: number;
}

/** A recording and what was decided on it. */
export interface ReplayedRecording {
  readonly entry: RecordingEntry;
  readonly diagnoses: readonly Diagnosis[];
}

export interface Replay {
  /** Of the bundle, in the order of its logits. */
  readonly classes: readonly string[];
  readonly recordings: readonly ReplayedRecording[];
  readonly ledger: Ledger;
  readonly status: Pick<Status, 'bundle' | 'engine' | 'dual'>;
  readonly framesRefused: Readonly<Record<string, number>>;
  /** Seconds of signal, and seconds that it took. */
  readonly signalSeconds: number;
  readonly seconds: number;
}

/**
 * Plays every recording as a stream of its own through the gateway's rings, windows, model and decisions, as fast as they go and no faster: a frame
 * waits until the model keeps up, so no window is overwritten. Nothing is kept: machines' references are made anew in each recording.
 *
 * @throws BundleRefusal; Refusal replay/many, replay/channels, replay/rate, replay/failed, and as `readRecording` does
 */
export async function replaySet(
  set: RecordingSet,
  options: ReplayOptions,
  onProgress: (share: number) => void,
  signal: AbortSignal,
): Promise<Replay> {
  const { recordings } = set;
  if (recordings.length > LARGEST_RECORDINGS)
    throw new Refusal(
      'replay/many',
      `${recordings.length} recordings at once are too many; choose at most ${LARGEST_RECORDINGS} with --where`,
    );
  const { manifest } = await readBundle(options.bundleFolder);
  const found = new Map<string, Diagnosis[]>();
  let failure: Error | undefined;
  const fail = (message: string) => {
    failure ??= new Refusal('replay/failed', message);
  };
  const loop = await DecisionLoop.start(
    { ...options, largestStreams: recordings.length, paced: false },
    {
      onDiagnosis: (diagnosis) => found.get(diagnosis.stream)?.push(diagnosis),
      onFailure: (message) => fail(`the engine failed: ${message}`),
      onReferenceError: (error) => fail(error.message),
      onExit: (error) => fail(`the inference thread ended: ${error.message}`),
    },
  );
  const began = performance.now();
  let [done, signalSeconds] = [0, 0];
  const play = async (index: number) => {
    const recording = await readFitting(set, recordings[index], manifest.recipe, options);
    const name = streamName(index);
    found.set(name, []);
    const { window, stride } = manifest.recipe;
    let complete = 0;
    for (const frame of recordingFrames(recording)) {
      signal.throwIfAborted();
      if (failure) throw failure;
      loop.accept(name, frame, performance.now());
      const samples = frame.sequence + frame.samplesPerChannel;
      const windows = samples < window ? 0 : Math.floor((samples - window) / stride) + 1;
      // No lane runs ahead of the model: the ring of its stream would be overwritten.
      if (windows > complete) await loop.idle();
      complete = windows;
    }
    signalSeconds += recording.length / recording.sampleRateHz;
    onProgress(++done / recordings.length);
  };
  try {
    let next = 0;
    const lane = async () => {
      while (next < recordings.length) await play(next++);
    };
    await Promise.all(Array.from({ length: Math.min(LANES, recordings.length) }, lane));
    if (failure) throw failure;
    const { ledger, ...status } = loop.status();
    return {
      classes: manifest.classes,
      recordings: recordings.map((entry, index) => ({ entry, diagnoses: found.get(streamName(index)) ?? [] })),
      ledger: ledger!,
      status,
      framesRefused: { ...loop.framesRefused },
      signalSeconds,
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    await loop.stop();
  }
}

const streamName = (index: number): string => `recording-${index}`;

/** A recording in the shape that the bundle reads. */
export async function readFitting(
  set: RecordingSet,
  entry: RecordingEntry,
  recipe: { readonly channels: readonly string[]; readonly sampleRateHz: number },
  { channels, rateHz }: Pick<ReplayOptions, 'channels' | 'rateHz'>,
): Promise<Recording> {
  const named = entry.channels && recipe.channels.every((name) => entry.channels!.includes(name)) ? recipe.channels : undefined;
  const read = await readRecording(set, entry, channels ?? named);
  const recording = rateHz === undefined ? read : resampleRecording(read, rateHz);
  if (recording.channels.length !== recipe.channels.length)
    throw new Refusal(
      'replay/channels',
      `${entry.file} has ${recording.channels.join(', ')}, the bundle reads ${recipe.channels.join(', ')}; choose with --channels`,
    );
  if (Math.abs(recording.sampleRateHz / recipe.sampleRateHz - 1) > 0.01)
    throw new Refusal(
      'replay/rate',
      `${entry.file} has ${recording.sampleRateHz} Hz, the bundle reads ${recipe.sampleRateHz} Hz; add --rate ${recipe.sampleRateHz}`,
    );
  return recording;
}
