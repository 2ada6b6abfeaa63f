import { type DualFigures, dualReason } from './dual-model.ts';
import type { Scores } from './metrics.ts';

export interface GateInput {
  /** Of the deployed network on the test part. */
  readonly deployed: Scores;
  readonly baselines: Readonly<Record<string, Scores>>;
  /** Of the float teacher, or of the float network where there is no teacher. */
  readonly float: Scores;
  readonly latencyMs: number;
  readonly allowedLatencyMs: number;
  /** How different the back-up is, where that was measured, and how many classes there are. */
  readonly dual?: DualFigures;
  readonly classes: number;
}

export interface Gate {
  readonly passed: boolean;
  /** What stands against the bundle; empty where it passed. */
  readonly reasons: readonly string[];
}

/** Balanced accuracy that shrinking may cost. */
const ALLOWED_LOSS = 0.005;

const percent = (share: number) => `${(100 * share).toFixed(2)} %`;

/**
 * Whether a bundle is worth deploying: better than the best baseline on the same split (or both perfect), no more than 0.5 points lost by shrinking, fast
 * enough, and a back-up that errs otherwise. All by balanced accuracy, so that a large class hides nothing.
 */
export function gate({ deployed, baselines, float, latencyMs, allowedLatencyMs, dual, classes }: GateInput): Gate {
  const reasons: string[] = [];
  const reached = deployed.balancedAccuracy;
  const [best] = Object.entries(baselines).sort(([, a], [, b]) => b.balancedAccuracy - a.balancedAccuracy);
  if (best) {
    const [name, { balancedAccuracy }] = best;
    if (reached < balancedAccuracy || (reached === balancedAccuracy && reached < 1)) {
      reasons.push(`not better than the baseline ${name}: balanced accuracy ${percent(reached)} against ${percent(balancedAccuracy)}`);
    }
  }
  const lost = float.balancedAccuracy - reached;
  if (lost > ALLOWED_LOSS) reasons.push(`shrinking cost ${(100 * lost).toFixed(2)} points of balanced accuracy, 0.5 are allowed`);
  if (latencyMs > allowedLatencyMs) reasons.push(`one window takes ${latencyMs.toFixed(1)} ms, ${allowedLatencyMs} ms are allowed`);
  const alike = dual && dualReason(dual, classes);
  if (alike) reasons.push(alike);
  return { passed: reasons.length === 0, reasons };
}
