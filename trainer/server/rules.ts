import type { Facts } from './store.ts';

export interface MetricRule {
  /** Topic that the figure comes on; more is better. */
  readonly topic: string;
  /** Share of what it was by which it must have fallen. */
  readonly fall: number;
  /** Figures of a mean: the latest so many against the so many before them. */
  readonly figures: number;
}

export interface RetrainRules {
  readonly metric?: MetricRule;
  /** Sum of severities of drifts since the last retraining; a benign one counts nothing. */
  readonly severity: number;
  /** Labels since the last retraining. */
  readonly labels: number;
  /** No retraining is possible with fewer: there is nothing to learn from. */
  readonly leastLabels: number;
}

/** From how much on all weights are trained. */
export interface FullRules {
  readonly windows: number;
  readonly machines: number;
}

/** Why all weights must be trained, and not a low-rank change of them alone; undefined where that may do. */
export function reasonForFull(
  windows: readonly { readonly gateway: string; readonly stream: string }[],
  rules: FullRules,
): string | undefined {
  const machines = new Set(windows.map(({ gateway, stream }) => `${gateway}/${stream}`)).size;
  if (windows.length >= rules.windows) return `${windows.length} labelled windows`;
  if (machines >= rules.machines) return `labels of ${machines} machines`;
  return undefined;
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Why the model must be retrained now; undefined where it need not, or cannot for want of labels. */
export function reasonToRetrain({ labels, severity, metrics }: Facts, rules: RetrainRules): string | undefined {
  if (labels < rules.leastLabels) return undefined;
  if (labels >= rules.labels) return `${labels} new labels`;
  if (severity >= rules.severity) return `drifts of severity ${severity.toFixed(2)} together`;
  if (!rules.metric) return undefined;
  const { topic, fall, figures } = rules.metric;
  const values = metrics[topic] ?? [];
  if (values.length < 2 * figures) return undefined;
  const now = mean(values.slice(-figures));
  const before = mean(values.slice(-2 * figures, -figures));
  // A metric at or below zero has no share that it could fall by.
  if (before <= 0 || now > (1 - fall) * before) return undefined;
  return `${topic} fell by ${(100 * (1 - now / before)).toFixed(1)} % (${before.toFixed(3)} -> ${now.toFixed(3)})`;
}
