/** Everything that a report may say. A part that was not measured is absent, and its section with it. */
export interface ReportData {
  readonly name: string;
  /** Name of the recording set. */
  readonly set: string;
  /** How the test recordings were chosen, in words. */
  readonly split?: string;
  /** How the validation windows were chosen, in words. */
  readonly validation?: string;
  readonly seed?: number;
  /** Wall-clock time of the whole run. */
  readonly seconds?: number;
  readonly madeOn?: { readonly cpu?: string; readonly node?: string; readonly date?: string };
  /** SHA-256 of the bundle. */
  readonly digest?: string;
  /** Settings worth repeating a run with, as they are to be read. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Names in the order of `confusion` and `recall`. */
  readonly classes: readonly string[];
  readonly params?: Readonly<Partial<Record<Exclude<NetworkStage, 'int8'>, number>>>;
  readonly bytes?: {
    readonly teacherFp32?: number;
    readonly studentFp32?: number;
    readonly prunedFp32?: number;
    readonly int8?: number;
    readonly bundle?: number;
  };
  readonly stages?: readonly ReportStage[];
  /** What the stages' accuracies were measured on. */
  readonly stagesMeasuredOn?: 'test' | 'validation';
  readonly test: ReportTest;
  /** [true class][decided class] counts of test windows. */
  readonly confusion?: readonly (readonly number[])[];
  /** Null: the class is not in the test. */
  readonly recall?: readonly (number | null)[];
  readonly reliability?: ReportReliability;
  readonly robustness?: readonly ReportRobustness[];
  readonly attacks?: readonly ReportAttack[];
  /** What one unit of an attack's budget is, as in `deviations of the channel`. */
  readonly attackUnit?: string;
  readonly curves?: readonly ReportCurve[];
  /** Recordings of each class on each side of the split. */
  readonly data?: readonly { readonly label: string; readonly train: number; readonly validation: number; readonly test: number }[];
  /** Windows that cleaning left out; `share` is of the class's windows. */
  readonly cleaning?: readonly { readonly label: string; readonly stage: string; readonly windows: number; readonly share: number }[];
  readonly baselines?: Readonly<Record<string, Scores>>;
  readonly gate: {
    readonly passed: boolean;
    readonly reasons: readonly string[];
    /** What the bundle and its baselines are compared by; accuracy where absent. */
    readonly metric?: keyof Scores;
  };
}

export interface Scores {
  readonly accuracy: number;
  readonly balancedAccuracy: number;
  readonly macroF1: number;
}

/** Of the deployed int8 student. NaN is as good as absent. */
export interface ReportTest extends Scores {
  readonly windows: number;
  readonly recordingAccuracy?: number;
  readonly vote8?: number;
  readonly ece?: number;
  readonly falseAlarmRate?: number;
}

export type NetworkStage = 'teacher' | 'student' | 'pruned' | 'int8';

export interface ReportStage {
  readonly name: string;
  /** The network that the stage leaves behind, which makes the stage a row of the funnel. */
  readonly network?: NetworkStage;
  readonly status: 'done' | 'cached' | 'taken back';
  readonly seconds?: number;
  readonly accuracy?: number;
  readonly balancedAccuracy?: number;
  readonly params?: number;
  readonly bytes?: number;
  /** For one window. */
  readonly latencyMs?: number;
  readonly note?: string;
}

export interface ReportReliability {
  readonly temperature: number;
  readonly eceBefore: number;
  readonly eceAfter: number;
  /** After temperature scaling, as of `calibrationOf`. */
  readonly bins: readonly {
    readonly from: number;
    readonly to: number;
    readonly count: number;
    readonly confidence: number;
    readonly accuracy: number;
  }[];
}

export interface ReportRobustness {
  /** As of a perturbation: noise, gain, speed, clipping, channel-loss. */
  readonly kind: string;
  /** In the order in which they are drawn. */
  readonly points: readonly {
    readonly label: string;
    readonly level: number;
    readonly accuracy: number;
    readonly balancedAccuracy?: number;
  }[];
}

export interface ReportAttack {
  readonly kind: 'fgsm' | 'pgd';
  /** `success`: share of the windows decided right that the attack turns wrong. */
  readonly points: readonly { readonly epsilon: number; readonly success: number; readonly accuracy?: number }[];
}

export interface ReportCurve {
  /** The network that was trained. */
  readonly name: string;
  readonly points: readonly {
    readonly step: number;
    readonly loss?: number;
    readonly validationLoss?: number;
    readonly validationAccuracy?: number;
  }[];
}
