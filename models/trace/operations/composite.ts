import * as tf from '@tensorflow/tfjs-core';
import type { Operation } from '../operation.ts';

/**
 * Operations that tfjs has no kernel for, as kernels of our own: one ONNX node when traced, a few tfjs ops when run eagerly, and
 * a gradient written by hand, which keeps the training graph a seventh smaller than differentiating the few ops would.
 */

const SQRT_HALF = Math.SQRT1_2;
const INVERSE_SQRT_TWO_PI = 1 / Math.sqrt(2 * Math.PI);

function normalize(x: tf.Tensor, epsilon: number): { normalized: tf.Tensor; inverseDeviation: tf.Tensor } {
  const centered = tf.sub(x, tf.mean(x, -1, true));
  const inverseDeviation = tf.rsqrt(tf.add(tf.mean(tf.square(centered), -1, true), epsilon));
  return { normalized: tf.mul(centered, inverseDeviation), inverseDeviation };
}

function layerNormalization(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: number): tf.Tensor {
  return tf.add(tf.mul(normalize(x, epsilon).normalized, scale), bias);
}

function gelu(x: tf.Tensor): tf.Tensor {
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, SQRT_HALF)), 1));
}

// biome-ignore lint/suspicious/noExplicitAny: tfjs types a gradient's `saved` and `dy` loosely
type Any = any;

interface Composite {
  readonly kernel: string;
  readonly inputs: readonly string[];
  readonly eager: (inputs: Record<string, tf.Tensor>, attributes: Any) => tf.Tensor;
  readonly gradient: (dy: tf.Tensor, saved: tf.Tensor[], attributes: Any) => Record<string, () => tf.Tensor>;
}

const COMPOSITES: readonly Composite[] = [
  {
    kernel: 'LayerNormalization',
    inputs: ['x', 'scale', 'bias'],
    eager: ({ x, scale, bias }, { epsilon }) => layerNormalization(x, scale, bias, epsilon),
    gradient: (dy, [x, scale], { epsilon }) => {
      const { normalized, inverseDeviation } = normalize(x, epsilon);
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
        const cumulative = tf.mul(tf.add(tf.erf(tf.mul(x, SQRT_HALF)), 1), 0.5);
        const density = tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), INVERSE_SQRT_TWO_PI);
        return tf.mul(dy, tf.add(cumulative, tf.mul(x, density)));
      },
    }),
  },
];

for (const { kernel, inputs, gradient } of COMPOSITES) {
  tf.registerGradient({
    kernelName: kernel,
    inputsToSave: [...inputs],
    gradFunc: (dy, saved, attributes) => gradient(dy as tf.Tensor, saved, attributes),
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
  return tf.engine().runKernel('LayerNormalization', { x, scale, bias }, { epsilon }) as tf.Tensor;
}

/** Exact GELU, x * Phi(x) (Hendrycks and Gimpel 2016); any shape. */
export function geluActivation(x: tf.Tensor): tf.Tensor {
  return tf.engine().runKernel('Gelu', { x }) as tf.Tensor;
}

export const COMPOSITE: readonly Operation[] = [
  {
    kernel: 'LayerNormalization',
    onnx: 'LayerNormalization',
    trace: (tracer, _inputs, { epsilon }, { x, scale, bias }) =>
      tracer.tensor(
        tracer.node('LayerNormalization', [tracer.read(x), tracer.read(scale), tracer.read(bias)], { axis: -1, epsilon }),
        x.shape,
        'float32',
      ),
    back: ({ inputs: [x, scale, bias], attributes: { epsilon } }) => layerNormalization(x, scale, bias, epsilon as number),
  },
  {
    kernel: 'Gelu',
    onnx: 'Gelu',
    trace: (tracer, [x]) => tracer.tensor(tracer.node('Gelu', [tracer.read(x)]), x.shape, 'float32'),
    back: ({ inputs: [x] }) => gelu(x),
  },
];
