import type { AlarmState } from '../contracts/alarm-state.ts';
import { nextAlarm } from './alarm.ts';
import { CLEAR, type Evidence, nextCondition } from './alarm-condition.ts';
import type { KeptAlarm } from './alarm-states.ts';
import { conformalPValue } from './conformal.ts';
import type { DecisionSettings } from './settings.ts';
import { LogProbabilitySum } from './smoothing.ts';

/** Where a window lies in its stream. */
export interface WindowPlace {
  readonly epoch: number;
  /** Index of the first sample after the window within the epoch, modulo 2^32. */
  readonly endSequence: number;
}

export interface StreamDecision {
  /** Class index, or -1 for "unknown". */
  readonly decision: number;
  /** Smoothed probability of the most probable class. */
  readonly confidence: number;
  /** Windows that were decided together. */
  readonly windows: number;
  /** Of this window alone; undefined where the bundle has no healthy scores. */
  readonly pValue: number | undefined;
  /** Whether that p-value speaks for a healthy machine; false where there is none. */
  readonly healthy: boolean;
  readonly alarm: AlarmState;
}

/**
 * The decisions and the alarm of one stream, window by window. Smoothing begins anew with an epoch and after a gap longer than its own windows;
 * the alarm does not: a machine is not well because its sensor was switched off and on.
 */
export class StreamDecider {
  readonly #settings: DecisionSettings;
  readonly #stride: number;
  /** p-value of the worst possible window. */
  readonly #leastPValue: number;
  readonly #smoothed: LogProbabilitySum;
  /** Novelty of the last windows, a ring beside that of the probabilities. */
  readonly #novelty: Float64Array;
  #place: WindowPlace | undefined;
  #condition = CLEAR;
  #alarm: AlarmState = 'normal';

  /** @param kept the alarm as it was before a restart */
  constructor(settings: DecisionSettings, classes: number, stride: number, kept?: KeptAlarm) {
    this.#settings = settings;
    this.#stride = stride;
    this.#leastPValue = conformalPValue(settings.healthyScores, 1);
    this.#smoothed = new LogProbabilitySum(settings.smoothingWindows, classes);
    this.#novelty = new Float64Array(settings.smoothingWindows);
    if (!kept) return;
    this.#alarm = kept.alarm;
    this.#condition = { raised: kept.raised, against: 0 };
  }

  /** Another bundle's decisions of the same stream: smoothing begins anew, the alarm does not. */
  static after(old: StreamDecider, settings: DecisionSettings, classes: number, stride: number): StreamDecider {
    const next = new StreamDecider(settings, classes, stride);
    next.#condition = old.#condition;
    next.#alarm = old.#alarm;
    return next;
  }

  get alarm(): AlarmState {
    return this.#alarm;
  }

  /** What must outlive a restart; undefined while the alarm is normal. */
  get kept(): KeptAlarm | undefined {
    return this.#alarm === 'normal' ? undefined : { alarm: this.#alarm, raised: this.#condition.raised };
  }

  /** own: probabilities of this window [classes]; novelty: its score, where the graph gives one */
  decide(place: WindowPlace, own: ArrayLike<number>, novelty?: number): StreamDecision {
    const { normal, healthyScores, healthyFrom, unknownBelow, noveltyAbove, smoothingWindows } = this.#settings;
    if (!this.#follows(place)) this.#smoothed.clear();
    this.#place = place;
    this.#smoothed.push(own);
    const { probabilities, windows } = this.#smoothed;
    this.#novelty.copyWithin(1, 0, smoothingWindows - 1);
    this.#novelty[0] = novelty ?? 0;
    let meanNovelty = 0;
    for (let index = 0; index < windows; index++) meanNovelty += this.#novelty[index] / windows;

    let best = 0;
    for (let column = 1; column < probabilities.length; column++) if (probabilities[column] > probabilities[best]) best = column;
    const pValue = normal >= 0 && healthyScores.length > 0 ? conformalPValue(healthyScores, 1 - own[normal]) : undefined;
    const novel = meanNovelty > noveltyAbove;
    this.#observe(novel, pValue);
    return {
      decision: novel || probabilities[best] < unknownBelow ? -1 : best,
      confidence: probabilities[best],
      windows,
      pValue,
      // Few scores give large p-values to the worst windows too.
      healthy: pValue !== undefined && pValue >= healthyFrom && pValue > this.#leastPValue,
      alarm: this.#alarm,
    };
  }

  acknowledge(): AlarmState {
    this.#alarm = nextAlarm(this.#alarm, 'acknowledge');
    return this.#alarm;
  }

  shelve(): AlarmState {
    this.#alarm = nextAlarm(this.#alarm, 'shelve');
    return this.#alarm;
  }

  unshelve(): AlarmState {
    this.#alarm = nextAlarm(this.#alarm, this.#condition.raised ? 'unshelve-raised' : 'unshelve-clear');
    return this.#alarm;
  }

  /** Whether the windows that are smoothed over lie close enough before this one. */
  #follows({ epoch, endSequence }: WindowPlace): boolean {
    if (!this.#place || this.#place.epoch !== epoch) return false;
    return (endSequence - this.#place.endSequence) >>> 0 <= this.#settings.smoothingWindows * this.#stride;
  }

  #observe(novel: boolean, pValue: number | undefined): void {
    if (this.#settings.normal < 0) return;
    const before = this.#condition;
    this.#condition = nextCondition(before, this.#evidence(novel, pValue), this.#settings);
    if (this.#condition.raised !== before.raised) this.#alarm = nextAlarm(this.#alarm, before.raised ? 'clear' : 'raise');
  }

  #evidence(novel: boolean, pValue: number | undefined): Evidence {
    if (novel) return 'faulty';
    const { normal, alarmBelow, clearFrom, significance } = this.#settings;
    const healthy = this.#smoothed.probabilities[normal];
    if (healthy >= clearFrom) return 'healthy';
    // Few scores, or healthy windows that look as bad as can be, leave no p-value as small as was asked for, and no alarm would ever come.
    const attainable = Math.max(significance, this.#leastPValue);
    return healthy < alarmBelow && (pValue === undefined || pValue <= attainable) ? 'faulty' : 'between';
  }
}
