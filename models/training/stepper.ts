import { emptyTensor, floatTensor, type Session, scalarTensor, type TensorData } from '../engine/engine.ts';

export interface StepResult {
  readonly loss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  /** [B, K] of this step; overwritten by the next. */
  readonly logits: Float32Array;
}

interface State {
  readonly trainable: TensorData;
  readonly firstMoment: TensorData;
  readonly secondMoment: TensorData;
}

/**
 * Runs a traced training step over and over. Parameters and moments go back and forth between two sets of buffers: a step reads one and
 * writes the other, because an engine may write an output before it has read all of its input.
 */
export class TrainingStepper {
  readonly #session: Session;
  #current: State;
  #next: State;
  #step = 0;
  readonly #scalars = { learningRate: scalarTensor(0), weightDecay: scalarTensor(0), clipNorm: scalarTensor(0), step: scalarTensor(0) };
  readonly #loss = emptyTensor('float32', []);
  readonly #gradientNorm = emptyTensor('float32', []);
  readonly #logits: TensorData;

  /** @param session of a graph made by traceTrainingStep; @param initial starting values, [P], copied */
  constructor(session: Session, initial: Float32Array) {
    this.#session = session;
    const shape = [initial.length];
    const state = (values: Float32Array): State => ({
      trainable: floatTensor(values, shape),
      firstMoment: emptyTensor('float32', shape),
      secondMoment: emptyTensor('float32', shape),
    });
    this.#current = state(initial.slice());
    this.#next = state(new Float32Array(initial.length));
    const logits = session.outputs.find(({ name }) => name === 'logits')!;
    this.#logits = emptyTensor('float32', logits.shape as readonly number[]);
  }

  /** The trained vector; valid until the next step. */
  get trainable(): Float32Array {
    return this.#current.trainable.values as Float32Array;
  }

  get steps(): number {
    return this.#step;
  }

  async step(
    batch: Readonly<Record<string, TensorData>>,
    rate: { learningRate: number; weightDecay: number; clipNorm: number },
  ): Promise<StepResult> {
    this.#step++;
    const scalars = this.#scalars;
    (scalars.learningRate.values as Float32Array)[0] = rate.learningRate;
    (scalars.weightDecay.values as Float32Array)[0] = rate.weightDecay;
    (scalars.clipNorm.values as Float32Array)[0] = rate.clipNorm;
    (scalars.step.values as Float32Array)[0] = this.#step;
    const { trainable, firstMoment, secondMoment } = this.#next;
    await this.#session.run(
      { ...batch, ...this.#current, ...scalars },
      {
        trainableNext: trainable,
        firstMomentNext: firstMoment,
        secondMomentNext: secondMoment,
        loss: this.#loss,
        gradientNorm: this.#gradientNorm,
        logits: this.#logits,
      },
    );
    [this.#current, this.#next] = [this.#next, this.#current];
    return {
      loss: (this.#loss.values as Float32Array)[0],
      gradientNorm: (this.#gradientNorm.values as Float32Array)[0],
      logits: this.#logits.values as Float32Array,
    };
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
