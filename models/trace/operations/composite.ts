import * as tf from '@tensorflow/tfjs-core';
import type { Operation } from '../operation.ts';

/**
 * Operations that tfjs has no kernel for, as kernels of our own: one ONNX node when traced, a few tfjs ops when run eagerly, and
 * a gradient written by hand, which keeps the training graph a seventh smaller than differentiating the few ops would.
 */

const SQRT_HALF = Math.SQRT1_2;
const INVERSE_SQRT_PI = 1 / Math.sqrt(Math.PI);

function layerNormalization(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: number): tf.Tensor[] {
  const mean = tf.mean(x, -1, true);
  const centered = tf.sub(x, mean);
  const inverseDeviation = tf.rsqrt(tf.add(tf.mean(tf.square(centered), -1, true), epsilon));
  return [tf.add(tf.mul(tf.mul(centered, inverseDeviation), scale), bias), mean, inverseDeviation];
}

function gelu(x: tf.Tensor): tf.Tensor {
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, SQRT_HALF)), 1));
}

// biome-ignore lint/suspicious/noExplicitAny: tfjs types a gradient's `saved` and `dy` loosely
type Any = any;

interface Composite {
  readonly kernel: string;
  readonly inputs: readonly string[];
  readonly eager: (inputs: Record<string, tf.Tensor>, attributes: Any) => tf.Tensor | tf.Tensor[];
  /** Which outputs the gradient reads. */
  readonly saved?: readonly boolean[];
  readonly gradient: (dy: tf.Tensor, saved: tf.Tensor[], attributes: Any) => Record<string, () => tf.Tensor>;
}

const COMPOSITES: readonly Composite[] = [
  {
    kernel: 'LayerNormalization',
    inputs: ['x', 'scale', 'bias'],
    eager: ({ x, scale, bias }, { epsilon }) => layerNormalization(x, scale, bias, epsilon),
    saved: [false, true, true],
    gradient: (dy, [x, scale, , mean, inverseDeviation]) => {
      const normalized = tf.mul(tf.sub(x, mean), inverseDeviation);
      const leading = x.shape.slice(0, -1).map((_, axis) => axis);
      const scaled = tf.mul(dy, scale);
      return {
        // dx = (s - mean(s) - n * mean(s * n)) / deviation, with s = dy * scale and n the normalised x.
        x: () => {
          const projected = tf.mul(normalized, tf.mean(tf.mul(scaled, normalized), -1, true));
          return tf.mul(tf.sub(tf.sub(scaled, tf.mean(scaled, -1, true)), projected), inverseDeviation);
        },
        scale: () => tf.sum(tf.mul(dy, normalized), leading),
        bias: () => tf.sum(dy, leading),
      };
    },
  },
  {
    kernel: 'Gelu',
    inputs: ['x'],
    eager: ({ x }) => gelu(x),
    gradient: (dy, [x]) => ({
      // d/dx x * Phi(x) = Phi(x) + x * phi(x)
      x: () => {
        const u = tf.mul(x, SQRT_HALF);
        const cumulative = tf.add(tf.mul(tf.erf(u), 0.5), 0.5);
        // x phi(x) = u exp(-u^2) / sqrt(pi)
        const density = tf.mul(tf.mul(tf.exp(tf.neg(tf.square(u))), u), INVERSE_SQRT_PI);
        return tf.mul(dy, tf.add(cumulative, density));
      },
    }),
  },
];

for (const { kernel, inputs, saved: outputs, gradient } of COMPOSITES) {
  tf.registerGradient({
    kernelName: kernel,
    inputsToSave: [...inputs],
    outputsToSave: outputs && [...outputs],
    gradFunc: (dy, saved, attributes) => gradient((Array.isArray(dy) ? dy[0] : dy) as tf.Tensor, saved, attributes),
  });
}

const prepared = new Set<string>();

/** Registers the composite kernels for an eager backend; call after the backend itself is registered. Calling it again does nothing. */
export function registerCompositeKernels(backendName: string): void {
  if (prepared.has(backendName)) return;
  prepared.add(backendName);
  for (const { kernel, eager } of COMPOSITES) {
    tf.registerKernel({
      kernelName: kernel,
      backendName,
      kernelFunc: ({ inputs, attrs }) => tf.tidy(() => eager(inputs as Record<string, tf.Tensor>, attrs)),
    });
  }
}

/** Layer normalisation over the last axis (Ba et al. 2016). x: [..., W], scale, bias: [W] -> [..., W]. */
export function layerNorm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon = 1e-5): tf.Tensor {
  return (tf.engine().runKernel('LayerNormalization', { x, scale, bias }, { epsilon }) as unknown as tf.Tensor[])[0];
}

/** Exact GELU, x * Phi(x) (Hendrycks and Gimpel 2016); any shape. */
export function geluActivation(x: tf.Tensor): tf.Tensor {
  return tf.engine().runKernel('Gelu', { x }) as tf.Tensor;
}

export const COMPOSITE: readonly Operation[] = [
  {
    kernel: 'LayerNormalization',
    onnx: 'LayerNormalization',
    // Mean and inverse deviation are read by the gradient alone; pruning drops them from a graph that decides.
    trace: (tracer, _inputs, { epsilon }, { x, scale, bias }) => {
      const names = tracer.nodes('LayerNormalization', [tracer.read(x), tracer.read(scale), tracer.read(bias)], { axis: -1, epsilon }, 3);
      const shapes = [x.shape, [...x.shape.slice(0, -1), 1], [...x.shape.slice(0, -1), 1]];
      return names.map((name, index) => tracer.tensor(name, shapes[index], 'float32'));
    },
    back: ({ inputs: [x, scale, bias], attributes: { epsilon }, outputCount }) =>
      layerNormalization(x, scale, bias, epsilon as number).slice(0, outputCount),
  },
  {
    kernel: 'Gelu',
    onnx: 'Gelu',
    trace: (tracer, [x]) => tracer.tensor(tracer.node('Gelu', [tracer.read(x)]), x.shape, 'float32'),
    back: ({ inputs: [x] }) => gelu(x),
  },
];
