import type { AlarmState } from '../contracts/alarm-state.ts';
import type { KeptAlarm } from './alarm-states.ts';
import { Commissioning } from './commissioning.ts';
import type { DecisionSettings } from './settings.ts';
import { StreamDecider, type StreamDecision, type WindowPlace } from './stream-decider.ts';

/** A window that the model has answered. */
export interface AnsweredWindow extends WindowPlace {
  readonly name: string;
  /** Row of the reference bank that it was decided with; 0 for none. */
  readonly reference: number;
}

/** What the graph gave for it. */
export interface WindowAnswer {
  /** [classes] */
  readonly probabilities: Float32Array;
  readonly novelty?: number | undefined;
  /** Where the window lies for the primary network, [E]; absent where the back-up decided. */
  readonly embedding?: Float32Array | undefined;
  /** [R], where the graph takes references. */
  readonly features?: Float32Array | undefined;
}

export interface CommissioningProgress {
  readonly windows: number;
  readonly needed: number;
}

interface StreamState {
  readonly decider: StreamDecider;
  commissioning: Commissioning | undefined;
}

export interface DecisionOptions {
  readonly settings: DecisionSettings;
  readonly classes: number;
  readonly stride: number;
  /** Streams that are kept at the most; alarms of streams that are gone make room first. */
  readonly largestStreams: number;
}

/** Called once for each stream that has seen enough healthy windows. */
export type OnCommissioned = (stream: string, values: Float32Array, windows: number) => void;

/** The decisions, alarms and commissioning of all streams of a gateway. No I/O and no clock of its own. */
export class Decisions {
  readonly #options: DecisionOptions;
  readonly #onCommissioned: OnCommissioned;
  readonly #streams = new Map<string, StreamState>();
  /** Streams that are gone while their alarm was not normal, longest gone first. */
  readonly #gone = new Map<string, StreamState>();

  /** @param kept alarms from before a restart: of streams that are gone until they return */
  constructor(options: DecisionOptions, onCommissioned: OnCommissioned = () => {}, kept: ReadonlyMap<string, KeptAlarm> = new Map()) {
    this.#options = options;
    this.#onCommissioned = onCommissioned;
    for (const [stream, alarm] of kept) this.#gone.set(stream, this.#newState(alarm));
  }

  /** All alarms that are not normal. */
  keptAlarms(): Map<string, KeptAlarm> {
    const kept = new Map<string, KeptAlarm>();
    for (const streams of [this.#gone, this.#streams])
      for (const [stream, { decider }] of streams) if (decider.kept) kept.set(stream, decider.kept);
    return kept;
  }

  /** The decisions of another bundle: alarms go on, and what was known of healthy windows of another base does not. */
  static after(old: Decisions, options: DecisionOptions, onCommissioned: OnCommissioned): Decisions {
    const next = new Decisions(options, onCommissioned);
    const move = (from: ReadonlyMap<string, StreamState>, to: Map<string, StreamState>) => {
      for (const [name, { decider }] of from)
        to.set(name, {
          decider: StreamDecider.after(decider, options.settings, options.classes, options.stride),
          commissioning: undefined,
        });
    };
    move(old.#streams, next.#streams);
    move(old.#gone, next.#gone);
    return next;
  }

  decide(window: AnsweredWindow, { probabilities, novelty, features }: WindowAnswer): StreamDecision {
    const state = this.#stateOf(window.name);
    const decision = state.decider.decide(window, probabilities, novelty);
    if (features && window.reference === 0) this.#commission(window.name, state, features, decision.healthy);
    return decision;
  }

  /** Healthy windows towards the stream's reference; undefined where it has one, or needs none. */
  commissioning(stream: string): CommissioningProgress | undefined {
    const commissioning = this.#streams.get(stream)?.commissioning;
    return commissioning && { windows: commissioning.seen, needed: this.#options.settings.commissioningWindows };
  }

  /** undefined for a stream that is not known */
  alarmOf(stream: string): AlarmState | undefined {
    return this.#known(stream)?.decider.alarm;
  }

  /** @returns the alarm's state afterwards, undefined for a stream that is not known */
  acknowledge(stream: string): AlarmState | undefined {
    return this.#known(stream)?.decider.acknowledge();
  }

  shelve(stream: string): AlarmState | undefined {
    return this.#known(stream)?.decider.shelve();
  }

  unshelve(stream: string): AlarmState | undefined {
    return this.#known(stream)?.decider.unshelve();
  }

  /** An operator says that a machine is healthy now. @returns false where the stream has a reference, needs none or is not known */
  vouch(stream: string): boolean {
    const commissioning = this.#streams.get(stream)?.commissioning;
    commissioning?.vouch();
    return commissioning !== undefined;
  }

  /** A stream is gone. Its alarm stays where it is not normal: silence does not acknowledge. */
  forget(stream: string): void {
    const state = this.#streams.get(stream);
    this.#streams.delete(stream);
    if (!state || state.decider.alarm === 'normal') return;
    this.#gone.set(stream, state);
    for (const name of this.#gone.keys()) {
      if (this.#gone.size <= this.#options.largestStreams) break;
      this.#gone.delete(name);
    }
  }

  #known(stream: string): StreamState | undefined {
    return this.#streams.get(stream) ?? this.#gone.get(stream);
  }

  #stateOf(stream: string): StreamState {
    let state = this.#streams.get(stream);
    if (!state) {
      state = this.#gone.get(stream) ?? this.#newState();
      this.#gone.delete(stream);
      this.#streams.set(stream, state);
    }
    return state;
  }

  #newState(kept?: KeptAlarm): StreamState {
    const { settings, classes, stride } = this.#options;
    return { decider: new StreamDecider(settings, classes, stride, kept), commissioning: undefined };
  }

  #commission(stream: string, state: StreamState, features: Float32Array, healthy: boolean): void {
    const { commissioningWindows } = this.#options.settings;
    state.commissioning ??= new Commissioning(features.length, commissioningWindows);
    const reference = state.commissioning.add(features, healthy);
    if (!reference) return;
    const { seen } = state.commissioning;
    state.commissioning = undefined;
    this.#onCommissioned(stream, reference, seen);
  }
}
