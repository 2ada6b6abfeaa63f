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
  readonly adapter: number;
  /** Physical units a code of each channel, as they were when the window was taken. */
  readonly scales: Float32Array;
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

class Stream {
  readonly index: number;
  readonly name: string;
  readonly tracker = new SequenceTracker();
  readonly scheduler: WindowScheduler;
  /** Never changed in place: windows that wait keep the scales that they were taken with. */
  scales: Float32Array;
  adapter = 0;

  constructor(index: number, name: string, { window, stride, channels }: StreamOptions) {
    this.index = index;
    this.name = name;
    this.scheduler = new WindowScheduler(window, stride);
    this.scales = new Float32Array(channels);
  }
}

/**
 * From frames to windows, for all streams of a gateway: tracks sequences, writes rings, cuts windows, keeps the ledger. No I/O and no clock
 * of its own.
 */
export class StreamGateway {
  readonly #options: StreamOptions;
  readonly #memory: StreamMemory;
  readonly #streams = new Map<string, Stream>();
  readonly #waiting: WindowJob[] = [];
  #running = 0;
  readonly #outcomes: Record<Outcome, number> = { decided: 0, overrun: 0, notFinite: 0, failed: 0 };
  readonly framesRefused: Record<FrameRefusal, number> = { channels: 0, rate: 0, full: 0 };

  constructor(options: StreamOptions, memory: StreamMemory) {
    this.#options = options;
    this.#memory = memory;
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
      this.#waiting.push({
        stream: stream.index,
        end: (before + taken) >>> 0,
        name: stream.name,
        epoch: frame.epoch,
        endSequence: (frame.sequence + from + taken) >>> 0,
        endDeviceUs: frame.deviceTimeUs + ((from + taken) / frame.sampleRateHz) * 1e6,
        arrivedMs: nowMs,
        adapter: stream.adapter,
        scales: stream.scales,
      });
    });
  }

  #refuse(cause: FrameRefusal): FrameRefusal {
    this.framesRefused[cause]++;
    return cause;
  }

  #open(name: string): Stream | undefined {
    if (this.#streams.size >= this.#memory.shape.streams) return undefined;
    const stream = new Stream(this.#streams.size, name, this.#options);
    this.#streams.set(name, stream);
    return stream;
  }

  /** Whether the frame's scales differ from the stream's; takes them over. Codes of two scales must not share a window. */
  #rescaled(stream: Stream, { scales, channelCount }: SampleFrame): boolean {
    if (stream.scales.every((scale, channel) => scale === scales[channel])) return false;
    stream.scales = scales.slice(0, channelCount);
    return true;
  }

  /** Takes up to `largest` waiting windows out of the queue, oldest first; they count as waiting until they are settled. */
  take(largest: number): WindowJob[] {
    const jobs = this.#waiting.splice(0, largest);
    this.#running += jobs.length;
    return jobs;
  }

  settle(outcome: Outcome): void {
    this.#running--;
    this.#outcomes[outcome]++;
  }

  ledger(): Ledger {
    let [samplesReceived, samplesLost, samplesLate, windowsExpected] = [0, 0, 0, 0];
    for (const { tracker, scheduler } of this.#streams.values()) {
      samplesReceived += tracker.received;
      samplesLost += tracker.lost;
      samplesLate += tracker.late;
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
