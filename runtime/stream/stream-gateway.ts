import type { SampleFrame } from '../../firmware-bridge/codec/frame.ts';
import { SequenceTracker } from '../../firmware-bridge/codec/sequence.ts';
import type { Ledger } from '../contracts/messages.ts';
import type { StreamMemory } from './stream-memory.ts';
import { WindowScheduler } from './window-scheduler.ts';

/** A complete window that waits for the model or is with it. */
export interface WindowJob {
  readonly stream: number;
  /** Where it ends in the stream's ring, as `StreamMemory.written` counts. */
  readonly end: number;
  readonly name: string;
  readonly epoch: number;
  readonly endSequence: number;
  readonly endDeviceUs: number;
  /** Clock of the gateway when the window's last frame arrived, milliseconds. */
  readonly arrivedMs: number;
  /** Rows of the adapter bank and of the reference bank; 0 for none. */
  readonly adapter: number;
  readonly reference: number;
  /** Physical units a code of each channel, as they were when the window was taken. */
  readonly scales: Float32Array;
  /** Of the window's last frame; absent where the device does not say it. */
  readonly shaftSpeedRpm?: number | undefined;
}

/** What became of a window. */
export type Outcome = 'decided' | keyof Ledger['windowsRefused'];

export type FrameRefusal = 'channels' | 'rate' | 'full';

export interface StreamOptions {
  readonly window: number;
  readonly stride: number;
  readonly channels: number;
  readonly sampleRateHz: number;
  /** Relative difference of a stream's rate from the recipe's that is taken for the same rate. */
  readonly rateTolerance: number;
}

/** What others are told of a stream's place in the rings. */
export interface StreamHooks {
  /** A stream was given a slot. @returns the rows of the two banks that it is decided with; 0 for none */
  readonly onOpen?: (name: string, slot: number) => { readonly reference: number; readonly adapter: number };
  /** A stream was silent for so long that its slot is free again. */
  readonly onFree?: (name: string, slot: number) => void;
}

class Stream {
  readonly index: number;
  readonly name: string;
  readonly tracker: SequenceTracker;
  readonly scheduler: WindowScheduler;
  /** Never changed in place: windows that wait keep the scales that they were taken with. */
  scales: Float32Array;
  adapter = 0;
  reference = 0;
  lastFrameMs = 0;
  /** Windows that wait or run: they read this slot's ring. */
  unsettled = 0;

  constructor(index: number, name: string, tracker: SequenceTracker, { window, stride, channels }: StreamOptions) {
    this.index = index;
    this.name = name;
    this.tracker = tracker;
    this.scheduler = new WindowScheduler(window, stride);
    this.scales = new Float32Array(channels);
  }
}

/** Counts of streams that are gone for good. */
type Departed = Pick<Ledger, 'samplesReceived' | 'samplesLost' | 'samplesLate' | 'windowsExpected'>;

/**
 * From frames to windows, for all streams of a gateway: tracks sequences, writes rings, cuts windows, keeps the ledger. No I/O and no clock
 * of its own.
 */
export class StreamGateway {
  readonly #options: StreamOptions;
  readonly #memory: StreamMemory;
  readonly #hooks: StreamHooks;
  readonly #streams = new Map<string, Stream>();
  /** By slot; undefined where it is free. */
  readonly #slots: (Stream | undefined)[];
  /** Sequence counts of streams without a slot, longest gone first: what they lose until they return is counted. */
  readonly #parked = new Map<string, SequenceTracker>();
  readonly #departed: Record<keyof Departed, number> = { samplesReceived: 0, samplesLost: 0, samplesLate: 0, windowsExpected: 0 };
  readonly #waiting: WindowJob[] = [];
  #running = 0;
  readonly #outcomes: Record<Outcome, number> = { decided: 0, overrun: 0, notFinite: 0, failed: 0, stopped: 0, replaced: 0 };
  readonly framesRefused: Record<FrameRefusal, number> = { channels: 0, rate: 0, full: 0 };

  constructor(options: StreamOptions, memory: StreamMemory, hooks: StreamHooks = {}) {
    this.#options = options;
    this.#memory = memory;
    this.#hooks = hooks;
    this.#slots = new Array<Stream | undefined>(memory.shape.streams).fill(undefined);
  }

  /**
   * Goes on where another ends, with rings of another shape: for a bundle with another recipe. Counts and sequences go on; windows that
   * waited are refused as `replaced`, and each stream fills its first window anew.
   *
   * @throws Error while windows of the other run
   */
  static after(old: StreamGateway, options: StreamOptions, memory: StreamMemory, hooks: StreamHooks = {}): StreamGateway {
    if (old.#running > 0) throw new Error(`${old.#running} windows still run on the old rings`);
    old.refuseWaiting('replaced');
    const next = new StreamGateway(options, memory, hooks);
    for (const [name, tracker] of old.#parked) next.#parked.set(name, tracker);
    Object.assign(next.#departed, old.#departed);
    for (const { name, tracker, scheduler } of old.#streams.values()) {
      next.#departed.windowsExpected += scheduler.expected;
      next.#park(name, tracker);
    }
    Object.assign(next.#outcomes, old.#outcomes);
    Object.assign(next.framesRefused, old.framesRefused);
    return next;
  }

  /** Windows that wait for the model. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** How long the oldest waiting window has waited, milliseconds; 0 where none waits. */
  oldestWaitMs(nowMs: number): number {
    return this.#waiting.length === 0 ? 0 : nowMs - this.#waiting[0].arrivedMs;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /**
   * Takes a frame of a stream. The frame may be reused by the caller afterwards.
   *
   * @returns why the frame was refused, or undefined
   */
  accept(name: string, frame: SampleFrame, nowMs: number): FrameRefusal | undefined {
    const { window, channels, sampleRateHz, rateTolerance } = this.#options;
    if (frame.channelCount !== channels) return this.#refuse('channels');
    if (Math.abs(frame.sampleRateHz / sampleRateHz - 1) > rateTolerance) return this.#refuse('rate');
    const stream = this.#streams.get(name) ?? this.#open(name);
    if (!stream) return this.#refuse('full');
    stream.lastFrameMs = nowMs;
    const arrival = stream.tracker.accept(frame);
    if (arrival === 'late') return undefined;
    const rescaled = this.#rescaled(stream, frame);
    if (arrival !== 'next' || rescaled) stream.scheduler.restart();
    // A frame may be longer than the ring; pieces of a window at most keep it from overtaking itself.
    for (let from = 0; from < frame.samplesPerChannel; from += window) {
      this.#append(stream, frame, from, Math.min(window, frame.samplesPerChannel - from), nowMs);
    }
    return undefined;
  }

  #append(stream: Stream, frame: SampleFrame, from: number, count: number, nowMs: number): void {
    const before = this.#memory.written(stream.index);
    this.#memory.append(stream.index, frame.samples, from, count);
    stream.scheduler.advance(count, (taken) => {
      stream.unsettled++;
      this.#waiting.push({
        stream: stream.index,
        end: (before + taken) >>> 0,
        name: stream.name,
        epoch: frame.epoch,
        endSequence: (frame.sequence + from + taken) >>> 0,
        endDeviceUs: frame.deviceTimeUs + ((from + taken) / frame.sampleRateHz) * 1e6,
        arrivedMs: nowMs,
        adapter: stream.adapter,
        reference: stream.reference,
        scales: stream.scales,
        shaftSpeedRpm: frame.shaftSpeedRpm,
      });
    });
  }

  #refuse(cause: FrameRefusal): FrameRefusal {
    this.framesRefused[cause]++;
    return cause;
  }

  #open(name: string): Stream | undefined {
    const slot = this.#slots.indexOf(undefined);
    if (slot < 0) return undefined;
    const stream = new Stream(slot, name, this.#parked.get(name) ?? new SequenceTracker(), this.#options);
    this.#parked.delete(name);
    this.#slots[slot] = stream;
    this.#streams.set(name, stream);
    Object.assign(stream, this.#hooks.onOpen?.(name, slot));
    return stream;
  }

  /** Windows of a stream that are cut from now on are decided with a row of the reference bank. */
  setReference(name: string, row: number): void {
    const stream = this.#streams.get(name);
    if (stream) stream.reference = row;
  }

  /** The same for the adapter bank. */
  setAdapter(name: string, row: number): void {
    const stream = this.#streams.get(name);
    if (stream) stream.adapter = row;
  }

  /** Calls for each stream that has a slot. */
  forEach(of: (name: string, slot: number) => void): void {
    for (const { name, index } of this.#streams.values()) of(name, index);
  }

  /** The slot of a stream, while it has one. */
  slotOf(name: string): number | undefined {
    return this.#streams.get(name)?.index;
  }

  /**
   * Frees the slots of streams that have sent nothing for so long, and of which no window waits.
   *
   * @returns how many
   */
  freeIdle(nowMs: number, idleMs: number): number {
    let freed = 0;
    for (const stream of this.#streams.values()) {
      if (nowMs - stream.lastFrameMs < idleMs || stream.unsettled > 0) continue;
      this.#free(stream);
      freed++;
    }
    return freed;
  }

  #free(stream: Stream): void {
    this.#streams.delete(stream.name);
    this.#slots[stream.index] = undefined;
    this.#departed.windowsExpected += stream.scheduler.expected;
    this.#park(stream.name, stream.tracker);
    this.#hooks.onFree?.(stream.name, stream.index);
  }

  #park(stream: string, own: SequenceTracker): void {
    this.#parked.set(stream, own);
    // As many as there are slots: names that come once must not fill the memory.
    for (const [name, tracker] of this.#parked) {
      if (this.#parked.size <= this.#slots.length) break;
      this.#parked.delete(name);
      this.#departed.samplesReceived += tracker.received;
      this.#departed.samplesLost += tracker.lost;
      this.#departed.samplesLate += tracker.late;
    }
  }

  /** Whether the frame's scales differ from the stream's; takes them over. Codes of two scales must not share a window. */
  #rescaled(stream: Stream, { scales, channelCount }: SampleFrame): boolean {
    let channel = 0;
    while (channel < channelCount && stream.scales[channel] === scales[channel]) channel++;
    if (channel === channelCount) return false;
    stream.scales = scales.slice(0, channelCount);
    return true;
  }

  /**
   * Takes up to `largest` waiting windows out of the queue, oldest first; they count as waiting until they are settled. Those that newer samples
   * have overwritten are refused here: a model that is late must not spend its time on what is lost, or it would be late for ever.
   */
  take(largest: number): WindowJob[] {
    const jobs: WindowJob[] = [];
    let seen = 0;
    for (; seen < this.#waiting.length && jobs.length < largest; seen++) {
      const job = this.#waiting[seen];
      if (this.#memory.holds(job.stream, job.end)) jobs.push(job);
      else this.#settled(job.stream, 'overrun');
    }
    this.#waiting.splice(0, seen);
    this.#running += jobs.length;
    return jobs;
  }

  /** Copies the codes of a window [window, channels]. @returns false where newer samples have overwritten it */
  copyWindow({ stream, end }: WindowJob, into: Int16Array): boolean {
    return this.#memory.copyWindow(stream, end, into, 0);
  }

  /** A window that was taken has come to its end. */
  settle({ stream }: WindowJob, outcome: Outcome): void {
    this.#running--;
    this.#settled(stream, outcome);
  }

  /** Refuses all that waits: the gateway stops, or a bundle comes that cannot read these rings. */
  refuseWaiting(cause: 'stopped' | 'replaced'): void {
    for (const { stream } of this.#waiting.splice(0)) this.#settled(stream, cause);
  }

  #settled(slot: number, outcome: Outcome): void {
    this.#outcomes[outcome]++;
    // A slot is not freed before its last window is settled.
    this.#slots[slot]!.unsettled--;
  }

  ledger(): Ledger {
    let { samplesReceived, samplesLost, samplesLate, windowsExpected } = this.#departed;
    const count = ({ received, lost, late }: SequenceTracker) => {
      samplesReceived += received;
      samplesLost += lost;
      samplesLate += late;
    };
    for (const tracker of this.#parked.values()) count(tracker);
    for (const { tracker, scheduler } of this.#streams.values()) {
      count(tracker);
      windowsExpected += scheduler.expected;
    }
    const { decided, ...windowsRefused } = this.#outcomes;
    return {
      samplesReceived,
      samplesLost,
      samplesLate,
      windowsExpected,
      windowsDecided: decided,
      windowsWaiting: this.#waiting.length + this.#running,
      windowsRefused,
    };
  }
}
