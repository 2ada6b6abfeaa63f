import { randomUUID } from 'node:crypto';
import { readAdapter, sha256 } from '../../models/bundle/bundle.ts';
import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import type { ExampleBook } from '../adapt/example-book.ts';
import { shadowRefusal } from '../adapt/guard.ts';
import { joinWindows, type PlacedWindow, type WindowPlace } from '../adapt/raw-windows.ts';
import { RecentWindows } from '../adapt/recent-windows.ts';
import type { AdaptationReport } from '../contracts/adaptation.ts';
import { type Label, type LabelReceipt, labelledClass } from '../contracts/label.ts';
import type { Diagnosis } from '../contracts/messages.ts';
import type { WindowJob } from '../stream/stream-gateway.ts';
import type { StreamMemory } from '../stream/stream-memory.ts';
import { cannotLearn } from './adapt-bundle.ts';
import { LearningThread, type LearningThreadOptions } from './adapt-thread.ts';
import { signAdapter } from './adapter-statement.ts';
import type { GatewayKey } from './gateway-key.ts';
import { LearnedStore } from './learned-store.ts';
import { LiveWindows } from './live-windows.ts';

/** Unlabelled windows of a stream that hold its sure decisions in place. */
const ANCHORS = 64;
/** Times as long as the shadow's windows should take that is waited for them. */
const SHADOW_PATIENCE = 4;

export interface LearningSettings {
  /** From a stream's last label to the beginning of an adaptation. */
  readonly settleSeconds: number;
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly workShare: number;
  readonly shadowWindows: number;
  readonly recentBytes: number;
  /** Whether adapters leave the gateway. */
  readonly upload: boolean;
}

/** What decides, as the learner sees it; it may come to be another bundle. */
export interface LearningHost {
  readonly manifest: Manifest;
  readonly memory: StreamMemory;
  /** SHA-256 of the manifest, and its folder. */
  bundle(): { readonly digest: string; readonly folder: string };
  /** The adapter file that decides a stream; undefined for the base. */
  adapterOf(stream: string): Uint8Array | undefined;
  setAdapter(stream: string, bytes: Uint8Array | undefined): string | undefined;
}

/** Where what was learned is told; each must arrive. */
export interface LearningEvents {
  onReceipt(receipt: LabelReceipt): void;
  onReport(report: AdaptationReport): void;
  /** An adapter that decides now, where the site lets it out. */
  onAdapter(stream: string, file: Uint8Array): void;
  onTrouble(error: Error, stream?: string): void;
}

export interface LearningOptions extends Omit<LearningThreadOptions, 'bundleFolder'> {
  readonly site: string;
  readonly gateway: string;
  /** Where labels, adapters and the way back are kept. */
  readonly folder: string;
  readonly key: GatewayKey;
  readonly settings: LearningSettings;
}

/**
 * Labels in, adapters out: finds the windows of a label, learns when no more labels come, lets the candidate run beside what decides, and puts it in its place. One
 * stream after the other, in a thread that gives way to decisions.
 */
export class Learning {
  readonly #options: LearningOptions;
  readonly #host: LearningHost;
  readonly #events: LearningEvents;
  readonly #store: LearnedStore;
  readonly #live = new LiveWindows();
  readonly #books = new Map<string, ExampleBook>();
  readonly #due = new Map<string, NodeJS.Timeout>();
  #memory: StreamMemory;
  #recent: RecentWindows;
  #thread: LearningThread | undefined;
  #stopped = false;
  /** Labels, adaptations and ways back, one after the other. */
  #labelling: Promise<void> = Promise.resolve();
  #learning: Promise<void> = Promise.resolve();

  constructor(options: LearningOptions, host: LearningHost, events: LearningEvents) {
    this.#options = options;
    this.#host = host;
    this.#events = events;
    this.#store = new LearnedStore(options.folder);
    this.#memory = host.memory;
    this.#recent = this.#makeRecent();
  }

  /** A window was decided: it is kept for as long as the memory goes round. */
  observe(
    { name, epoch, endSequence, scales, stream, end }: WindowJob,
    { alarm, smoothed }: Pick<Diagnosis, 'alarm' | 'smoothed'>,
    drifting: boolean,
  ): void {
    if (this.#host.memory !== this.#memory) {
      // Another bundle reads other windows: the old ones are of no use to it.
      this.#memory = this.#host.memory;
      this.#recent = this.#makeRecent();
    }
    const place = { epoch, endSequence };
    const remarkable = drifting || alarm !== 'normal' || smoothed.decision !== (this.#host.manifest.decision?.normal ?? 'normal');
    const kept = this.#recent.add(name, place, scales, remarkable, (into, at) => this.#memory.copyWindow(stream, end, into, at));
    if (!kept || !this.#live.waitsFor(name)) return;
    for (const window of this.#recent.find(name, { kind: 'window', ...place })) this.#live.add(name, window);
  }

  /** Keeps the windows that a drift signal gives as evidence, so that a label can name the signal. */
  keepEvidence(stream: string, signal: string, places: readonly WindowPlace[]): void {
    this.#recent.keepEvidence(stream, signal, places);
  }

  /** Takes an annotator's word. Resolves when it is on disk and answered. */
  label(label: Label): Promise<void> {
    // The windows are copied now: the disk may be slow, and they go.
    const windows = this.#recent.find(label.stream, label.subject);
    this.#labelling = this.#labelling
      .then(() => this.#keepLabel(label, windows))
      .catch((error: Error): LabelReceipt['outcome'] => {
        this.#events.onTrouble(error, label.stream);
        return 'notKept';
      })
      .then((outcome) => {
        const { id, stream } = label;
        // The server learns of every label by this, kept or not.
        this.#events.onReceipt({ id, stream, at: new Date().toISOString(), outcome, windows: windows.length, label });
        if (outcome === 'taken') this.#schedule(stream);
      });
    return this.#labelling;
  }

  async #keepLabel(label: Label, windows: readonly PlacedWindow[]): Promise<LabelReceipt['outcome']> {
    const book = await this.#bookOf(label.stream);
    const outcome = this.#outcomeOf(label, book, windows.length);
    if (outcome === 'taken' || outcome === 'unknownClass' || label.verdict === 'reject') {
      book.add({ label, windows });
      await this.#store.writeBook(label.stream, book);
    }
    return outcome;
  }

  /**
   * Decides a stream with the adapter before the one that was learned last, and forgets the labels that came between, so that the next label does not bring
   * it back.
   */
  revert(stream: string): Promise<void> {
    this.#cancel(stream);
    this.#learning = this.#learning.then(() => this.#revert(stream)).catch((error: Error) => this.#events.onTrouble(error, stream));
    return this.#learning;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const stream of [...this.#due.keys()]) this.#cancel(stream);
    this.#live.stop();
    await this.#thread?.stop();
    await this.#labelling;
    await this.#learning;
  }

  #makeRecent(): RecentWindows {
    const { window, channels } = this.#memory.shape;
    return new RecentWindows({ budgetBytes: this.#options.settings.recentBytes, window, channels });
  }

  #outcomeOf(label: Label, book: ExampleBook, windows: number): LabelReceipt['outcome'] {
    const { manifest } = this.#host;
    if (cannotLearn(manifest)) return 'cannotLearn';
    if (book.has(label.id)) return 'repeated';
    if (label.verdict === 'unsure') return 'noted';
    if (windows === 0) return 'windowGone';
    if (!manifest.classes.includes(label.class)) return 'unknownClass';
    return labelledClass(label) === undefined ? 'noted' : 'taken';
  }

  async #bookOf(stream: string): Promise<ExampleBook> {
    const known = this.#books.get(stream) ?? (await this.#store.readBook(stream));
    this.#books.set(stream, known);
    return known;
  }

  #schedule(stream: string): void {
    this.#cancel(stream);
    if (this.#stopped) return;
    const begin = () => {
      this.#due.delete(stream);
      this.#learning = this.#learning.then(() => this.#adapt(stream)).catch((error: Error) => this.#events.onTrouble(error, stream));
    };
    this.#due.set(stream, setTimeout(begin, 1000 * this.#options.settings.settleSeconds));
  }

  #cancel(stream: string): void {
    clearTimeout(this.#due.get(stream));
    this.#due.delete(stream);
  }

  async #adapt(stream: string): Promise<void> {
    if (this.#stopped) return;
    const { settings, site, gateway, key } = this.#options;
    const { manifest } = this.#host;
    const bundle = this.#host.bundle();
    const book = await this.#bookOf(stream);
    const examples = book.examples(manifest.classes);
    if (examples.provenance.length === 0) return;
    const file = this.#host.adapterOf(stream);
    const before = file && sha256(file);
    const learnedFrom = (rows: readonly number[]) => {
      const sources = new Set(rows.map((row) => examples.sources[row]));
      return examples.provenance.filter((_, source) => sources.has(source));
    };
    let common = { stream, labels: examples.provenance.map(({ id }) => id), ...(before && { before }) };
    try {
      const current = file && readAdapter({ manifest }, file, `adapter of ${stream}`);
      this.#thread = await LearningThread.start({ ...this.#options, bundleFolder: bundle.folder });
      if (this.#thread.digest !== bundle.digest) throw new Error('another bundle has come');
      this.#throwIfStopped();
      const { learned, seconds } = await this.#thread.learn({
        examples,
        current,
        anchors: joinWindows(this.#recent.sample(stream, ANCHORS)),
        budget: settings,
      });
      const { adapter, refusal, guard, contested } = learned;
      const labels = learnedFrom(learned.used);
      common = { ...common, labels: labels.map(({ id }) => id) };
      if (!adapter || !guard) return this.#report({ ...common, outcome: 'refused', reason: refusal, ...(guard && { guard }), seconds });

      const history = await this.#store.readHistory(stream);
      const version = history.lastVersion + 1;
      const at = new Date().toISOString();
      const { base } = manifest;
      const parent = before && { parent: before };
      const told = { site, gateway, stream, base, bundle: bundle.digest, ...parent, version, at, labels, guard };
      const signed = signAdapter(manifest, adapter, told, key);
      const digest = sha256(signed);
      const about = { ...common, adapter: digest, guard, seconds };
      this.#report({ ...about, outcome: 'shadow' });
      this.#throwIfStopped();

      const windowMs = (1000 * manifest.recipe.stride) / manifest.recipe.sampleRateHz;
      const windows = await this.#live.next(stream, settings.shadowWindows, SHADOW_PATIENCE * settings.shadowWindows * windowMs);
      if (windows.length < settings.shadowWindows) throw new Error(`only ${windows.length} windows came for the shadow`);
      const figures = await this.#thread.compare({ windows: joinWindows(windows), current, candidate: adapter, contested });
      const { agreement, before: sureBefore, after: sureAfter } = figures;
      const shadow = { windows: figures.windows, agreement, before: sureBefore, after: sureAfter };
      const against = shadowRefusal(figures);
      if (against) return this.#report({ ...about, outcome: 'refused', reason: `shadow: ${against}`, shadow });

      const now = this.#host.adapterOf(stream);
      if ((now && sha256(now)) !== before || this.#host.bundle().digest !== bundle.digest)
        throw new Error('another adapter or bundle came meanwhile');
      const known = book.entries.map(({ label }) => label.id);
      const versions = [...history.versions, { version, adapter: digest, ...(before && { before }), at, labels: known }];
      // The way back is on disk before it may be needed.
      const files = new Map([[digest, signed], ...(file && before ? [[before, file] as const] : [])]);
      await this.#store.writeHistory(stream, { lastVersion: version, versions }, files);
      this.#host.setAdapter(stream, signed);
      this.#report({ ...about, outcome: 'active', shadow });
      if (settings.upload) this.#events.onAdapter(stream, signed);
    } catch (error) {
      this.#report({ ...common, outcome: 'abandoned', reason: (error as Error).message });
    } finally {
      await this.#thread?.stop();
      this.#thread = undefined;
    }
  }

  async #revert(stream: string): Promise<void> {
    const file = this.#host.adapterOf(stream);
    const history = await this.#store.readHistory(stream);
    const last = history.versions.at(-1);
    if (!file || !last || last.adapter !== sha256(file)) {
      this.#report({ stream, outcome: 'refused', reason: 'the adapter that decides was not learned here', labels: [] });
      return;
    }
    const previous = last.before === undefined ? undefined : await this.#store.readAdapter(stream, last.before);
    const adapter = this.#host.setAdapter(stream, previous);
    const versions = history.versions.slice(0, -1);
    await this.#store.writeHistory(stream, { lastVersion: history.lastVersion, versions });
    const book = await this.#bookOf(stream);
    const known = new Set(versions.at(-1)?.labels);
    const forgotten = last.labels.filter((id) => !known.has(id));
    book.forget(forgotten);
    await this.#store.writeBook(stream, book);
    this.#report({ stream, outcome: 'reverted', before: last.adapter, ...(adapter && { adapter }), labels: forgotten });
  }

  #throwIfStopped(): void {
    if (this.#stopped) throw new Error('the gateway stops');
  }

  #report(report: Omit<AdaptationReport, 'id' | 'at'>): void {
    this.#events.onReport({ id: randomUUID(), at: new Date().toISOString(), ...report });
  }
}
