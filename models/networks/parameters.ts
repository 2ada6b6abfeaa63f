import type { Random } from './random.ts';

/** How a parameter starts. `uniform`: within +-1/sqrt(bound), as for linear layers whose fan-in is `bound`. */
export type Initial = { readonly fill: number } | { readonly uniform: number } | { readonly normal: number };

export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly initial: Initial;
}

export interface Parameter extends ParameterSpec {
  readonly offset: number;
  readonly size: number;
}

/**
 * Where each parameter lies in one flat vector. Weights, adapters, optimiser state and gradients are all such vectors, so that
 * AdamW is a handful of nodes, averaging over workers is one loop, and an adapter is a row of the bank.
 */
export class ParameterLayout {
  readonly parameters: readonly Parameter[];
  readonly size: number;

  constructor(specs: readonly ParameterSpec[]) {
    let offset = 0;
    this.parameters = specs.map((spec) => {
      const size = spec.shape.reduce((product, dim) => product * dim, 1);
      const parameter = { ...spec, offset, size };
      offset += size;
      return parameter;
    });
    this.size = offset;
  }

  get(name: string): Parameter {
    const parameter = this.parameters.find((other) => other.name === name);
    if (!parameter) throw new Error(`there is no parameter ${name}; there are ${this.parameters.map((other) => other.name).join(', ')}`);
    return parameter;
  }

  /** A flat vector of starting values. */
  initialize(random: Random): Float32Array {
    const flat = new Float32Array(this.size);
    for (const { offset, size, initial } of this.parameters) {
      for (let index = offset; index < offset + size; index++) {
        if ('fill' in initial) flat[index] = initial.fill;
        else if ('uniform' in initial) flat[index] = (2 * random.uniform() - 1) / Math.sqrt(initial.uniform);
        else flat[index] = initial.normal * random.normal();
      }
    }
    return flat;
  }

  /** The part of a flat vector that holds one parameter; a view. */
  view(flat: Float32Array, name: string): Float32Array {
    const { offset, size } = this.get(name);
    return flat.subarray(offset, offset + size);
  }
}
