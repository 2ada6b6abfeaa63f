import { emptyTensor, floatTensor, type Session, scalarTensor, type TensorData } from '../engine/engine.ts';

export interface StepResult {
  readonly loss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  /** [B, K] of this step; overwritten by the next. */
  readonly logits: Float32Array;
}

/** All that a training needs to go on where it was: parameters and both moments [P], steps done. */
export interface OptimizerSnapshot {
  readonly trainable: Float32Array;
  readonly firstMoment: Float32Array;
  readonly secondMoment: Float32Array;
  readonly steps: number;
}

/** Hyper-parameters of one step. */
export interface StepRates {
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Largest global norm of the gradient. */
  readonly clipNorm: number;
}

interface State {
  readonly trainable: TensorData;
  readonly firstMoment: TensorData;
  readonly secondMoment: TensorData;
}

/**
 * Parameters and moments of AdamW, going back and forth between two sets of buffers: a step reads one and writes the other, because an
 * engine may write an output before it has read all of its input.
 */
export class OptimizerState {
  #current: State;
  #next: State;
  #step = 0;
  readonly #scalars = { learningRate: scalarTensor(0), weightDecay: scalarTensor(0), clipNorm: scalarTensor(0), step: scalarTensor(0) };
  readonly #gradientNorm = emptyTensor('float32', []);

  constructor(initial: Float32Array) {
    const shape = [initial.length];
    const state = (values: Float32Array): State => ({
      trainable: floatTensor(values, shape),
      firstMoment: emptyTensor('float32', shape),
      secondMoment: emptyTensor('float32', shape),
    });
    this.#current = state(initial.slice());
    this.#next = state(new Float32Array(initial.length));
  }

  /** [P]; valid until the next step. */
  get trainable(): Float32Array {
    return this.#current.trainable.values as Float32Array;
  }

  /** Steps taken. */
  get steps(): number {
    return this.#step;
  }

  /** A copy, taken between two steps. */
  save(): OptimizerSnapshot {
    const copy = ({ values }: TensorData) => (values as Float32Array).slice();
    const { trainable, firstMoment, secondMoment } = this.#current;
    return { trainable: copy(trainable), firstMoment: copy(firstMoment), secondMoment: copy(secondMoment), steps: this.#step };
  }

  restore(snapshot: OptimizerSnapshot): void {
    const { trainable, firstMoment, secondMoment } = this.#current;
    (trainable.values as Float32Array).set(snapshot.trainable);
    (firstMoment.values as Float32Array).set(snapshot.firstMoment);
    (secondMoment.values as Float32Array).set(snapshot.secondMoment);
    this.#step = snapshot.steps;
  }

  /** @returns the gradient's norm before clipping */
  async advance(
    session: Session,
    feeds: Readonly<Record<string, TensorData>>,
    rates: StepRates,
    fetches: Readonly<Record<string, TensorData>> = {},
  ): Promise<number> {
    this.#step++;
    const scalars = this.#scalars;
    (scalars.learningRate.values as Float32Array)[0] = rates.learningRate;
    (scalars.weightDecay.values as Float32Array)[0] = rates.weightDecay;
    (scalars.clipNorm.values as Float32Array)[0] = rates.clipNorm;
    (scalars.step.values as Float32Array)[0] = this.#step;
    const { trainable, firstMoment, secondMoment } = this.#next;
    await session.run(
      { ...feeds, ...this.#current, ...scalars },
      {
        ...fetches,
        trainableNext: trainable,
        firstMomentNext: firstMoment,
        secondMomentNext: secondMoment,
        gradientNorm: this.#gradientNorm,
      },
    );
    [this.#current, this.#next] = [this.#next, this.#current];
    return (this.#gradientNorm.values as Float32Array)[0];
  }
}

/** Runs a traced training step over and over. */
export class TrainingStepper {
  readonly optimizer: OptimizerState;
  readonly #session: Session;
  readonly #loss = emptyTensor('float32', []);
  readonly #logits: TensorData;

  /** @param session of a graph made by traceTrainingStep; @param initial starting values, [P], copied */
  constructor(session: Session, initial: Float32Array) {
    this.#session = session;
    this.optimizer = new OptimizerState(initial);
    const logits = session.outputs.find(({ name }) => name === 'logits')!;
    this.#logits = emptyTensor('float32', logits.shape as readonly number[]);
  }

  async step(batch: Readonly<Record<string, TensorData>>, rates: StepRates): Promise<StepResult> {
    const gradientNorm = await this.optimizer.advance(this.#session, batch, rates, { loss: this.#loss, logits: this.#logits });
    return { loss: (this.#loss.values as Float32Array)[0], gradientNorm, logits: this.#logits.values as Float32Array };
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** Runs a traced update over and over, on gradients that were computed elsewhere. */
export class UpdateStepper {
  readonly optimizer: OptimizerState;
  readonly #session: Session;
  readonly #gradientScale = scalarTensor(1);

  /** @param session of a graph made by traceUpdate; @param initial starting values, [P], copied */
  constructor(session: Session, initial: Float32Array) {
    this.#session = session;
    this.optimizer = new OptimizerState(initial);
  }

  /** @param gradient of the whole batch's mean loss, [P]; @returns its norm before clipping */
  async step(gradient: TensorData, rates: StepRates): Promise<number> {
    return this.optimizer.advance(this.#session, { gradient, gradientScale: this.#gradientScale }, rates);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** Learning rate of a step: linear warm-up, then half a cosine down to `final` (Loshchilov and Hutter 2017). Steps count from 0. */
export function cosineRate(
  step: number,
  { peak, final, warmUp, steps }: { peak: number; final: number; warmUp: number; steps: number },
): number {
  if (step < warmUp) return (peak * (step + 1)) / warmUp;
  const progress = Math.min(1, (step - warmUp) / Math.max(1, steps - warmUp));
  return final + ((peak - final) * (1 + Math.cos(Math.PI * progress))) / 2;
}
