import { randomUUID } from 'node:crypto';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import { type DriftSignal, EVIDENCE_KINDS, type EvidenceKind } from '../contracts/drift.ts';
import type { WindowAnswer } from '../decide/decisions.ts';
import { DEFAULT_REFERENCE } from '../drift/default-reference.ts';
import type { EvidenceWindow } from '../drift/evidence.ts';
import { WindowFeatures } from '../drift/features.ts';
import { type DriftFinding, type MonitorSettings, promisedRunLength, StreamMonitor } from '../drift/monitor.ts';
import { SpectrumMeter } from '../drift/spectrum.ts';
import type { WindowJob } from '../stream/stream-gateway.ts';
import type { KeptDrift } from './drift-store.ts';
import type { Pseudonyms } from './pseudonyms.ts';

/** Streams that are away and remembered, of about 8 kB each. */
const MOST_AWAY = 1000;

export interface DriftServiceOptions {
  readonly manifest: Pick<Manifest, 'recipe' | 'classes' | 'novelty' | 'drift' | 'leaves'>;
  /** Windows to a false alarm that a stream may have in the mean. */
  readonly runLength: number;
  /** What of the windows leaves the site, and how many of them at the most; less where the manifest allows less. */
  readonly evidence: EvidenceKind;
  readonly evidenceWindows: number;
  /** Whether streams leave under their own names; assets never do. */
  readonly names: 'stream' | 'pseudonym';
  readonly pseudonyms: Pseudonyms;
  /** Digest of the bundle that decides, and of a stream's adapter. */
  readonly model: string;
  readonly adapterOf: (stream: string) => string | undefined;
  /** Streams of an earlier run of the same bundle. */
  readonly kept?: ReadonlyMap<string, KeptDrift>;
  /** Copies the codes of a window [window, channels]; false where newer samples have overwritten it. */
  readonly copyWindow: (job: WindowJob, into: Int16Array) => boolean;
}

interface Watched {
  readonly monitor: StreamMonitor;
  /** Rows of the banks that the latest window was decided with. */
  adapter: number;
  reference: number;
  phase: StreamMonitor['phase'];
}

/** The drift monitors of all streams of a gateway: decided windows in, signals out. A quiet window allocates nothing but its call. */
export class DriftService {
  readonly #options: DriftServiceOptions;
  readonly #settings: MonitorSettings;
  readonly #meter: SpectrumMeter;
  readonly #codes: Int16Array;
  readonly #samples: Float32Array;
  #features: WindowFeatures | undefined;
  readonly #streams = new Map<string, Watched>();
  /** Streams of an earlier run that have not come yet, and those that have left. */
  readonly #waiting: Map<string, KeptDrift>;
  /** Streams that were learned and drifts that were said since the start. */
  changes = 0;
  /** The window that is observed: read through one function, so that no window needs a closure of its own. */
  #job: WindowJob | undefined;
  readonly #read = (into: Float32Array) => this.#copy(into);

  constructor(options: DriftServiceOptions) {
    const { recipe, classes, novelty, drift } = options.manifest;
    const channels = recipe.channels.length;
    this.#options = { ...options, ...strictest(options) };
    this.#waiting = new Map(options.kept);
    this.#settings = {
      reference: drift ?? DEFAULT_REFERENCE,
      runLength: options.runLength,
      classes: classes.length,
      noveltyAbove: novelty?.threshold ?? Number.POSITIVE_INFINITY,
      evidence: options.evidenceWindows,
    };
    this.#meter = new SpectrumMeter({ window: recipe.window, channels, sampleRateHz: recipe.sampleRateHz });
    this.#codes = new Int16Array(recipe.window * channels);
    this.#samples = new Float32Array(recipe.window * channels);
  }

  /** Windows to a false alarm that are kept: fewer than asked where the bundle's calibration supports no more. */
  get promisedRunLength(): number {
    return promisedRunLength(this.#settings.reference, this.#settings.runLength);
  }

  /** A window was decided. @returns the signal, where it is the one that makes a drift sure */
  observe(job: WindowJob, { probabilities, novelty, embedding }: WindowAnswer): DriftSignal | undefined {
    if (!embedding) return undefined;
    this.#features ??= new WindowFeatures(embedding.length);
    let watched = this.#streams.get(job.name);
    if (!watched) {
      const monitor = new StreamMonitor(this.#settings, this.#meter, this.#features, this.#samples);
      this.#restore(monitor, job.name);
      watched = { monitor, adapter: job.adapter, reference: job.reference, phase: monitor.phase };
      this.#streams.set(job.name, watched);
    } else if (watched.adapter !== job.adapter || watched.reference !== job.reference) {
      // Seen through another adapter or commissioning reference, the same machine lies elsewhere.
      watched.adapter = job.adapter;
      watched.reference = job.reference;
      watched.monitor.relearn();
    }
    this.#job = job;
    const finding = watched.monitor.observe(
      { epoch: job.epoch, endSequence: job.endSequence, probabilities, novelty, embedding, shaftSpeedRpm: job.shaftSpeedRpm },
      this.#read,
    );
    if (watched.phase !== watched.monitor.phase) {
      watched.phase = watched.monitor.phase;
      this.changes++;
    }
    return finding && this.#signal(job, finding);
  }

  /** Whether a stream may be in a drift, or is: its windows may become evidence. */
  suspects(stream: string): boolean {
    const phase = this.#streams.get(stream)?.phase;
    return phase === 'gathering' || phase === 'raised';
  }

  /** What the next run is to know. */
  kept(): Map<string, KeptDrift> {
    const kept = new Map(this.#waiting);
    for (const [name, watched] of this.#streams) {
      const own = this.#keptOf(name, watched);
      if (own) kept.set(name, own);
    }
    return kept;
  }

  #keptOf(name: string, { monitor }: Watched): KeptDrift | undefined {
    const states = monitor.kept();
    if (states.length === 0) return undefined;
    return { adapter: this.#options.adapterOf(name), raised: monitor.phase === 'raised', states };
  }

  #restore(monitor: StreamMonitor, name: string): void {
    const kept = this.#waiting.get(name);
    this.#waiting.delete(name);
    if (kept?.adapter !== this.#options.adapterOf(name) || !kept) return;
    try {
      monitor.restore(kept.states, kept.raised);
    } catch (error) {
      // Numbers of a damaged file: the stream is learned anew.
      if (!(error instanceof RangeError)) throw error;
    }
  }

  /** A stream's sensor is stuck, saturated, silent or off its rate: no drift of the machine. */
  sensorFault(stream: string): void {
    this.#streams.get(stream)?.monitor.sensorFault();
  }

  /** A stream's adapter was replaced in its row of the bank, or somebody says that the machine is well as it is. */
  relearn(stream: string): void {
    this.#streams.get(stream)?.monitor.relearn();
  }

  /** A stream has been silent for long: how it was is kept for when it comes back, as a machine does that stood over the weekend. */
  leave(stream: string): void {
    const watched = this.#streams.get(stream);
    this.#streams.delete(stream);
    const kept = watched && this.#keptOf(stream, watched);
    if (!kept) return;
    this.#waiting.set(stream, kept);
    this.changes++;
    // Names that come once must not fill memory and disk: who left first is forgotten.
    for (const name of this.#waiting.keys()) {
      if (this.#waiting.size <= MOST_AWAY) break;
      this.#waiting.delete(name);
    }
  }

  #copy(into: Float32Array): boolean {
    const { scales } = this.#job!;
    if (!this.#options.copyWindow(this.#job!, this.#codes)) return false;
    for (let at = 0, channel = 0; at < into.length; at++) {
      into[at] = this.#codes[at] * scales[channel];
      channel = channel + 1 === scales.length ? 0 : channel + 1;
    }
    return true;
  }

  #signal(job: WindowJob, { cause, benign, severity, estimatedAccuracy, decided, evidence, budget }: DriftFinding): DriftSignal {
    const { manifest, names, pseudonyms, model, adapterOf } = this.#options;
    const asset = pseudonyms.of('asset', job.name);
    const adapter = adapterOf(job.name);
    return {
      id: randomUUID(),
      stream: names === 'stream' ? job.name : asset,
      asset,
      at: new Date().toISOString(),
      cause: { ...cause, channel: manifest.recipe.channels[cause.channel], bandHz: [...cause.bandHz] },
      benign,
      severity,
      // Sums of float32 may exceed 1 by a rounding.
      estimatedAccuracy: { before: Math.min(1, estimatedAccuracy.before), now: Math.min(1, estimatedAccuracy.now) },
      decided: { before: manifest.classes[decided.before], now: manifest.classes[decided.now] },
      model,
      ...(adapter !== undefined && { adapter }),
      budget: { ...budget },
      evidence: this.#evidence(evidence, job.scales),
    };
  }

  #evidence(windows: readonly EvidenceWindow[], scales: Float32Array): DriftSignal['evidence'] {
    const kind = this.#options.evidence;
    if (kind === 'none') return { kind };
    const common = ({ epoch, endSequence, novelty, probabilities }: EvidenceWindow) => ({
      epoch,
      endSequence,
      ...(!Number.isNaN(novelty) && { novelty }),
      probabilities: Array.from(probabilities, (p) => Math.min(1, p)),
    });
    if (kind === 'features') {
      const features = (window: EvidenceWindow) => Array.from(window.features, (value) => (Number.isFinite(value) ? value : null));
      return { kind, windows: windows.map((window) => ({ ...common(window), features: features(window) })) };
    }
    return {
      kind,
      windows: windows.map((window) => ({ ...common(window), scales: Array.from(scales), codes: encode(window.samples, scales) })),
    };
  }
}

/** What both the site and the bundle let leave. */
function strictest({ evidence, names, manifest: { leaves } }: DriftServiceOptions): Pick<DriftServiceOptions, 'evidence' | 'names'> {
  if (!leaves) return { evidence, names };
  return {
    evidence: EVIDENCE_KINDS[Math.max(EVIDENCE_KINDS.indexOf(evidence), EVIDENCE_KINDS.indexOf(leaves.evidence))],
    names: leaves.names === 'pseudonym' ? 'pseudonym' : names,
  };
}

/** The codes that physical samples came from. samples: [window, channels] */
function encode(samples: Float32Array, scales: Float32Array): string {
  const bytes = Buffer.alloc(2 * samples.length);
  samples.forEach((value, at) => {
    const code = Math.round(value / scales[at % scales.length]);
    bytes.writeInt16LE(Math.max(-32_768, Math.min(32_767, code)), 2 * at);
  });
  return bytes.toString('base64');
}
