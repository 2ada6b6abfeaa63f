import type { SampleFrame } from '../firmware-bridge/codec/frame.ts';
import { readBundle } from '../models/bundle/bundle.ts';
import type { Manifest } from '../models/bundle/schema/manifest.ts';
import { BundleRefusal } from '../models/bundle/schema/refusal.ts';
import { type Diagnosis, type OperatorCommand, type Status, UNKNOWN } from './contracts/messages.ts';
import type { AlarmState } from './decide/alarm.ts';
import { Decisions, type WindowAnswer } from './decide/decisions.ts';
import { decisionSettings } from './decide/settings.ts';
import { AdapterStore } from './io/adapter-store.ts';
import { InferenceThread } from './io/inference-thread.ts';
import { LARGEST_BATCH, MODEL, RESULT } from './io/protocol.ts';
import { ReferenceStore } from './io/reference-store.ts';
import { StreamAdapters } from './io/stream-adapters.ts';
import { StreamReferences } from './io/stream-references.ts';
import { BatchPlanner } from './stream/batch-planner.ts';
import { type FrameRefusal, StreamGateway, type WindowJob } from './stream/stream-gateway.ts';
import { StreamMemory } from './stream/stream-memory.ts';

/** Longest that a window is to wait for its answer, as long as the model keeps up. */
const LATENCY_BOUND_MS = 50;

export interface DecisionLoopOptions {
  readonly bundleFolder: string;
  readonly engine: 'onnxruntime' | 'wasm';
  readonly largestStreams: number;
  /** Folder with inference-worker.js and the .wasm files, as a URL with a closing slash. */
  readonly programs: URL;
  /** Where the machines' references are kept; without it they are forgotten at the end. */
  readonly referencesFolder?: string;
  /** Where streams' adapters are kept, and the files of those that begin with one; without it what is given is forgotten at the end. */
  readonly adapters?: { readonly folder: string; readonly configured?: Readonly<Record<string, string>> };
}

export interface DecisionLoopEvents {
  onDiagnosis(diagnosis: Diagnosis): void;
  /** Before its diagnosis, what the graph gave for a window: views, valid during the call. */
  onWindow?(job: WindowJob, answer: WindowAnswer): void;
  /** A stream was silent for so long that its slot is free again. */
  onFree?(stream: string): void;
  /** The model failed on a batch of windows. */
  onFailure(failure: string, windows: number): void;
  onReferenceError(error: Error, path?: string): void;
  /** A stream's adapter is not used, or not kept; without it the base decides. */
  onAdapterError?(error: Error, stream: string): void;
  /** The inference thread ended unasked: nothing is decided any more. */
  onExit(error: Error): void;
}

/**
 * Frames in, diagnoses out: rings, windows, batches, the inference thread, decisions and alarms. What the gateway, live, and `tremolo replay`, from
 * recordings, have in common, so that both decide alike. Knows no broker and no port.
 */
export class DecisionLoop {
  readonly manifest: Manifest;
  readonly #inference: InferenceThread;
  readonly #memory: StreamMemory;
  readonly #streams: StreamGateway;
  readonly #decisions: Decisions;
  readonly #adapters: StreamAdapters;
  readonly #events: DecisionLoopEvents;
  readonly #planner = new BatchPlanner(LARGEST_BATCH, LATENCY_BOUND_MS);
  #runningSinceMs: number | undefined;
  #onIdle: (() => void)[] = [];
  /** Runs the windows that gather between two runs. */
  #pause: NodeJS.Timeout | undefined;

  private constructor(
    manifest: Manifest,
    inference: InferenceThread,
    memory: StreamMemory,
    streams: StreamGateway,
    decisions: Decisions,
    adapters: StreamAdapters,
    events: DecisionLoopEvents,
  ) {
    this.manifest = manifest;
    this.#inference = inference;
    this.#memory = memory;
    this.#streams = streams;
    this.#decisions = decisions;
    this.#adapters = adapters;
    this.#events = events;
  }

  /** Resolves when the bundle is proved on this machine. @throws BundleRefusal where it is refused */
  static async start(options: DecisionLoopOptions, events: DecisionLoopEvents): Promise<DecisionLoop> {
    const { bundleFolder, engine, largestStreams, programs, referencesFolder } = options;
    const { manifest, digest } = await readBundle(bundleFolder);
    const { recipe, classes } = manifest;
    const channels = recipe.channels.length;
    const memory = new StreamMemory({ streams: largestStreams, window: recipe.window, channels });
    const streams = new StreamGateway(
      { window: recipe.window, stride: recipe.stride, channels, sampleRateHz: recipe.sampleRateHz, rateTolerance: 0.01 },
      memory,
      {
        onOpen: (name, slot) => ({ reference: references.open(name, slot), adapter: adapters.open(name, slot) }),
        onFree: (name) => {
          adapters.free(name);
          decisions.forget(name);
          events.onFree?.(name);
        },
      },
    );
    const decisions = new Decisions(
      { settings: decisionSettings(manifest), classes: classes.length, stride: recipe.stride, largestStreams },
      (name, values, windows) => references.commissioned(streams, name, values, windows),
    );
    const store = referencesFolder === undefined ? undefined : new ReferenceStore(referencesFolder);
    const kept = await store
      ?.read(manifest.base, (path, error) => events.onReferenceError(error, path))
      .catch((error: Error) => {
        // A disk that is full or read-only costs the references, not the decisions.
        events.onReferenceError(error, referencesFolder);
        return undefined;
      });
    const inference = await InferenceThread.start({ bundleFolder, memory, engine, programs }, (error) => events.onExit(error));
    if (inference.proof.digest !== digest) {
      await inference.stop();
      throw new BundleRefusal('bundle/manifest', `${bundleFolder} was replaced while it was read; start again`);
    }
    const references = new StreamReferences(inference, store ?? { write: async () => {} }, manifest.base, kept ?? new Map(), (error) =>
      events.onReferenceError(error),
    );
    const adapters = new StreamAdapters(
      inference,
      manifest,
      options.adapters && new AdapterStore(options.adapters.folder, options.adapters.configured),
      (error, stream) => events.onAdapterError?.(error, stream),
    );
    return new DecisionLoop(manifest, inference, memory, streams, decisions, adapters, events);
  }

  /** Rings of the streams, for a candidate that reads the same windows. */
  get memory(): StreamMemory {
    return this.#memory;
  }

  get framesRefused(): Readonly<Record<FrameRefusal, number>> {
    return this.#streams.framesRefused;
  }

  /** Takes a frame, which may be used again afterwards. @returns why it was refused, or undefined */
  accept(stream: string, frame: SampleFrame, nowMs: number): FrameRefusal | undefined {
    const refusal = this.#streams.accept(stream, frame, nowMs);
    this.#pump();
    return refusal;
  }

  /** Hands an operator's word to a stream. @returns the alarm's state afterwards, undefined where the stream is not known */
  operate(stream: string, command: Exclude<OperatorCommand['command'], 'revertAdapter'>): AlarmState | undefined {
    if (command !== 'healthy') return this.#decisions[command](stream);
    this.#decisions.vouch(stream);
    return this.#decisions.alarmOf(stream);
  }

  /**
   * Decides a stream's windows that are cut from now on with another adapter, which takes its place between two batches; kept over a restart. One that
   * is refused changes nothing.
   *
   * @param bytes a safetensors file; undefined for what the configuration names, or none
   * @returns SHA-256 of the file that decides now; undefined where the base decides
   * @throws BundleRefusal bundle/tensors, bundle/not-finite, bundle/adapter
   */
  setAdapter(stream: string, bytes: Uint8Array | undefined): string | undefined {
    return this.#adapters.set(this.#streams, stream, bytes);
  }

  /** The adapter file that decides a stream's windows; undefined where the base does. */
  adapterOf(stream: string): Uint8Array | undefined {
    return this.#adapters.fileOf(stream);
  }

  freeIdle(nowMs: number, idleMs: number): number {
    return this.#streams.freeIdle(nowMs, idleMs);
  }

  /** What a status says of the model and its windows. */
  status(): Pick<Status, 'bundle' | 'engine' | 'running' | 'streams' | 'ledger' | 'dual'> {
    return {
      bundle: { name: this.manifest.name, digest: this.#inference.proof.digest },
      engine: this.#inference.proof.engine,
      running: { adapters: this.#adapters.digests },
      streams: this.#streams.streamCount,
      ledger: this.#streams.ledger(),
      dual: this.#inference.results.dualStatus(),
    };
  }

  /** How long the model has been at work on one batch, milliseconds; 0 while it rests. */
  busyMs(nowMs: number): number {
    return this.#runningSinceMs === undefined ? 0 : nowMs - this.#runningSinceMs;
  }

  /** Windows that wait for the model. */
  get waiting(): number {
    return this.#streams.waiting;
  }

  /** Resolves when no window waits or runs. */
  async idle(): Promise<void> {
    if (!this.#inference.busy && this.#streams.waiting === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle.push(resolve);
      this.#pump();
    });
  }

  /** Refuses what waits and ends the inference thread. */
  async stop(): Promise<void> {
    clearTimeout(this.#pause);
    this.refuseWaiting();
    await this.#inference.stop();
    await this.#adapters.saved();
  }

  /** What waits is refused with the cause `stopped`. */
  refuseWaiting(): void {
    this.#streams.refuseWaiting('stopped');
  }

  #pump(): void {
    if (this.#inference.busy) return;
    const now = performance.now();
    const { waiting } = this.#streams;
    if (waiting === 0) {
      for (const resolve of this.#onIdle.splice(0)) resolve();
      return;
    }
    // Where somebody waits for the end, nothing more comes that could share a run.
    const pauseMs = this.#onIdle.length > 0 ? 0 : this.#planner.pauseMs(waiting, now);
    if (pauseMs > 0) {
      this.#pause ??= setTimeout(() => {
        this.#pause = undefined;
        this.#pump();
      }, pauseMs);
      return;
    }
    this.#planner.begin(now);
    const jobs = this.#streams.take(this.#planner.size(waiting, this.#streams.oldestWaitMs(now)));
    if (jobs.length === 0) {
      this.#pump();
      return;
    }
    this.#runningSinceMs = now;
    this.#inference.run(jobs, ({ failure, runMs }) => {
      this.#runningSinceMs = undefined;
      this.#planner.observe(jobs.length, runMs);
      if (failure) this.#events.onFailure(failure, jobs.length);
      jobs.forEach((job, row) => {
        const state = this.#inference.results.states[row];
        const outcome = failure ? 'failed' : state === RESULT.decided ? 'decided' : state === RESULT.overrun ? 'overrun' : 'notFinite';
        if (outcome === 'decided') this.#events.onDiagnosis(this.#diagnose(job, row));
        this.#streams.settle(job, outcome);
      });
      this.#pump();
    });
  }

  #diagnose(job: WindowJob, row: number): Diagnosis {
    const { classes } = this.manifest;
    const answer = this.#inference.answer(row);
    this.#events.onWindow?.(job, answer);
    const { decision, confidence, windows, pValue, alarm } = this.#decisions.decide(job, answer);
    const own = Array.from(answer.probabilities);
    const best = own.indexOf(Math.max(...own));
    return {
      stream: job.name,
      epoch: job.epoch,
      endSequence: job.endSequence,
      endDeviceUs: job.endDeviceUs,
      at: new Date().toISOString(),
      decision: classes[best],
      confidence: own[best],
      probabilities: own,
      smoothed: { decision: classes[decision] ?? UNKNOWN, confidence, windows },
      pValue,
      alarm,
      novelty: answer.novelty,
      commissioning: this.#decisions.commissioning(job.name),
      model: this.#inference.results.models[row] === MODEL.backup ? 'backup' : 'primary',
      latencyMs: performance.now() - job.arrivedMs,
      bundle: this.#inference.proof.digest.slice(0, 12),
      adapter: job.adapter,
    };
  }
}
