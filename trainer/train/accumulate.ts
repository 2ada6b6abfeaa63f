import { emptyTensor, floatTensor, type Session, type TensorData } from '../../models/engine/engine.ts';
import { type OptimizerState, type StepRates, UpdateStepper } from '../../models/training/stepper.ts';
import { addShare, cutBatch, PartFeeds, type PartShape } from './accumulate-parts.ts';
import { PeakMemory } from './peak-memory.ts';
import type { StepOutcome, StepRunner } from './step-runner.ts';

/** Takes a step as several micro-batches one after the other, in the memory of one: gradient accumulation. */
export class AccumulatingRunner implements StepRunner {
  readonly #gradientSession: Session;
  readonly #update: UpdateStepper;
  readonly #shape: PartShape;
  readonly #feeds: PartFeeds;
  readonly #sum: TensorData;
  readonly #nothing: TensorData;
  readonly #fetches: Record<'gradient' | 'loss', TensorData>;
  readonly #memory = new PeakMemory();

  /**
   * @param gradient session of a graph made by traceGradient with `shape.partBatch` samples; @param update of one made by traceUpdate
   * @param initial starting values, [P], copied
   */
  constructor(gradient: Session, update: Session, initial: Float32Array, shape: PartShape) {
    this.#gradientSession = gradient;
    this.#update = new UpdateStepper(update, initial);
    this.#shape = shape;
    this.#feeds = new PartFeeds(gradient.inputs, shape);
    const size = [initial.length];
    this.#sum = emptyTensor('float32', size);
    this.#nothing = emptyTensor('float32', size);
    this.#fetches = { gradient: emptyTensor('float32', size), loss: emptyTensor('float32', []) };
  }

  get optimizer(): OptimizerState {
    return this.#update.optimizer;
  }

  get peakRssBytes(): number {
    return this.#memory.bytes;
  }

  async step(feeds: Readonly<Record<string, TensorData>>, rates: StepRates): Promise<StepOutcome> {
    const sum = (this.#sum.values as Float32Array).fill(0);
    const trainable = floatTensor(this.optimizer.trainable, this.#sum.shape);
    const { gradient, loss } = this.#fetches;
    let total = 0;
    for (const part of cutBatch(feeds, this.#shape)) {
      await this.#gradientSession.run({ ...this.#feeds.fill(feeds, part), trainable, accumulated: this.#nothing }, this.#fetches);
      addShare(sum, gradient.values as Float32Array, part.share);
      total += part.share * (loss.values as Float32Array)[0];
    }
    const gradientNorm = await this.#update.step(this.#sum, rates);
    this.#memory.sample();
    return { loss: total, gradientNorm };
  }

  async release(): Promise<void> {
    await this.#gradientSession.release();
    await this.#update.release();
  }
}
