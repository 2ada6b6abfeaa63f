import { Random } from '../../models/networks/random.ts';

/** What is sent when, and which windows must come of it. All streams send frames of the same length at the same rate. */
export interface SchedulePlan {
  readonly streams: number;
  /** Length of the run; what is left of it after the last whole frame is not sent. */
  readonly seconds: number;
  /** All streams at once, instead of each at a phase of its own within a stride. */
  readonly aligned: boolean;
  readonly seed: number;
  readonly sampleRateHz: number;
  readonly frameSamples: number;
  readonly window: number;
  readonly stride: number;
}

/** One frame that is due. The same object is used for the next. */
export interface DueFrame {
  stream: number;
  frame: number;
  /** From the start of the run, milliseconds. */
  dueMs: number;
}

/**
 * The timetable of a run. Frame k of a stream is due when its last sample is: `phase + (k + 1) * period`. Phases are spread over a whole
 * stride, so that windows of different streams end evenly in time.
 */
export class Schedule {
  readonly plan: SchedulePlan;
  readonly periodMs: number;
  readonly framesPerStream: number;
  readonly windowsPerStream: number;
  readonly #phaseMs: Float64Array;
  /** Streams by their phase within a period: the order in which they send in every period. */
  readonly #order: Uint32Array;
  #slot = 0;
  readonly #due: DueFrame = { stream: 0, frame: 0, dueMs: 0 };

  constructor(plan: SchedulePlan) {
    const { streams, seconds, aligned, seed, sampleRateHz, frameSamples, window, stride } = plan;
    this.plan = plan;
    this.periodMs = (1000 * frameSamples) / sampleRateHz;
    this.framesPerStream = Math.floor((1000 * seconds) / this.periodMs);
    const samples = this.framesPerStream * frameSamples;
    this.windowsPerStream = samples < window ? 0 : Math.floor((samples - window) / stride) + 1;
    const random = new Random(seed);
    const strideMs = (1000 * stride) / sampleRateHz;
    this.#phaseMs = Float64Array.from({ length: streams }, () => (aligned ? 0 : random.uniform() * strideMs));
    const within = (stream: number) => this.#phaseMs[stream] % this.periodMs;
    this.#order = Uint32Array.from({ length: streams }, (_, stream) => stream).sort((a, b) => within(a) - within(b));
  }

  get framesExpected(): number {
    return this.plan.streams * this.framesPerStream;
  }

  get windowsExpected(): number {
    return this.plan.streams * this.windowsPerStream;
  }

  dueMs(stream: number, frame: number): number {
    return this.#phaseMs[stream] + (frame + 1) * this.periodMs;
  }

  /** The next frame that is due by `nowMs`, in order of time; undefined where none is. */
  next(nowMs: number): DueFrame | undefined {
    const { streams } = this.plan;
    for (; !this.done; this.#slot++) {
      const stream = this.#order[this.#slot % streams];
      const phase = this.#phaseMs[stream];
      const periods = Math.floor(this.#slot / streams);
      const frame = periods - Math.floor(phase / this.periodMs) - 1;
      if (frame < 0 || frame >= this.framesPerStream) continue;
      const dueMs = this.dueMs(stream, frame);
      if (dueMs > nowMs) return undefined;
      this.#slot++;
      this.#due.stream = stream;
      this.#due.frame = frame;
      this.#due.dueMs = dueMs;
      return this.#due;
    }
    return undefined;
  }

  /** Whether the last frame was given out. */
  get done(): boolean {
    const { streams, stride, frameSamples } = this.plan;
    return this.#slot >= streams * (this.framesPerStream + Math.ceil(stride / frameSamples) + 1);
  }

  /** Which of a stream's windows ends before this sample; -1 where none does. */
  windowOf(endSequence: number): number {
    const { window, stride } = this.plan;
    const index = (endSequence - window) / stride;
    return Number.isInteger(index) && index >= 0 && index < this.windowsPerStream ? index : -1;
  }

  /** When the last frame of a window is due. */
  windowDueMs(stream: number, window: number): number {
    const { window: length, stride, frameSamples } = this.plan;
    return this.dueMs(stream, Math.ceil((length + window * stride) / frameSamples) - 1);
  }
}
