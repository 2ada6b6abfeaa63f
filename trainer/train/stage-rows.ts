import { type DualFigures, dualNote } from '../evaluate/dual-model.ts';
import type { FloatModel, Hardening } from './measure-stages.ts';
import type { NetworkLine } from './network-line.ts';
import { parameterCount } from './network-stage.ts';
import { type NoveltyFigures, type NoveltyOutcome, noveltyNote } from './novelty-stage.ts';
import type { StageOutcome } from './stages.ts';

/** What a stage left behind. Accuracies are those on the test part; no choice is made by them. */
export interface StageRow {
  readonly name: string;
  readonly status: 'done' | 'cached' | 'taken back';
  readonly seconds: number;
  readonly accuracy?: number;
  readonly balancedAccuracy?: number;
  readonly params?: number;
  /** Of the deciding graph with its weights. */
  readonly bytes?: number;
  /** One window, one thread. */
  readonly latencyMs?: number;
  readonly note?: string;
}

/** All that a training measured. */
export interface Measured {
  readonly leaks: StageOutcome<unknown>;
  readonly line: NetworkLine;
  readonly floats: readonly FloatModel[];
  readonly baselines: StageOutcome<unknown>;
  readonly hardening: StageOutcome<Hardening>;
  readonly latency: ReadonlyMap<string, number>;
  readonly known: NoveltyOutcome | undefined;
  readonly novelty: NoveltyFigures | undefined;
  /** How many there are. */
  readonly classes: number;
}

/** The table of stages in the order in which they ran. */
export function stageRows(
  { leaks, line, floats, baselines, hardening, latency, known, novelty, classes }: Measured,
  int8: StageRow,
): StageRow[] {
  const plain = (name: string, { cached, seconds }: StageOutcome<unknown>, note?: string): StageRow => ({
    name,
    status: cached ? 'cached' : 'done',
    seconds,
    ...(note && { note }),
  });
  const network = (name: FloatModel['name'], outcome: StageOutcome<unknown> | undefined, note?: string): StageRow[] => {
    const model = floats.find((one) => one.name === name);
    if (!outcome || !model) return [];
    const { accuracy, balancedAccuracy } = model.metrics;
    const measured = {
      accuracy,
      balancedAccuracy,
      params: parameterCount(model.trained),
      bytes: model.bytes,
      latencyMs: latency.get(name),
    };
    return [{ ...plain(name, outcome, note), ...measured }];
  };
  const takenBack = line.prune && !line.prune.result.network;
  const pruned: StageRow[] = takenBack
    ? [{ ...plain('pruned', line.prune!, 'lost more than allowed on the validation windows'), status: 'taken back' }]
    : network('pruned', line.prune);
  return [
    plain('leaks', leaks),
    plain('choose', line.choice, line.recipe.name),
    ...network('teacher', line.teacher),
    ...(line.rehearsal ? [plain('rehearsal', joined(line.rehearsal), 'without the validation part')] : []),
    ...network('student', line.student),
    ...pruned,
    ...network('back-up', line.backup, backupNote(line, hardening.result.dual, classes)),
    ...noveltyRow(known, novelty),
    int8,
    plain('baselines', baselines),
    plain('robustness', hardening),
  ];
}

function backupNote({ backupChoice: { result } }: NetworkLine, dual: DualFigures | undefined, classes: number): string {
  const { name } = result.scores[result.best];
  return dual ? `${name}; ${dualNote(dual, classes)}` : name;
}

function noveltyRow(known: NoveltyOutcome | undefined, figures: NoveltyFigures | undefined): StageRow[] {
  if (!known) return [];
  if ('leftOut' in known) return [{ name: 'novelty', status: 'done', seconds: 0, note: `left out: ${known.leftOut}` }];
  const note = figures && noveltyNote(figures);
  return [{ name: 'novelty', status: known.cached ? 'cached' : 'done', seconds: known.seconds, ...(note && { note }) }];
}

/** Student and pruning of a rehearsal as one row. */
function joined({ student, prune }: NonNullable<NetworkLine['rehearsal']>): StageOutcome<unknown> {
  return { ...student, seconds: student.seconds + (prune?.seconds ?? 0), cached: student.cached && (prune?.cached ?? true) };
}
